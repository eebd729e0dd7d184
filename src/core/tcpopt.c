/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tcpopt.h"

#include <stddef.h>

/* Apart, so that the usual costs no more than it must. */
__attribute__((noinline)) static enum reason find_among_others(uint8_t *options, uint32_t len, uint8_t **ret_ts)
{
	struct tcpopt_scan scan = {.found = TCPOPT_NOWHERE};

	while (tcpopt_step(options, len, &scan))
		;
	*ret_ts = scan.found == TCPOPT_NOWHERE ? NULL : options + scan.found;
	return scan.reason;
}

enum reason tcpopt_find_timestamps(uint8_t *options, uint32_t len, uint8_t **ret_ts)
{
	if (!tcpopt_is_usual(options, len))
		return find_among_others(options, len, ret_ts);
	*ret_ts = options + 2;
	return REASON_COUNT;
}
