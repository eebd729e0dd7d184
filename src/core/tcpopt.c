/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tcpopt.h"

#include <stddef.h>

enum reason tcpopt_find_timestamps(uint8_t *options, uint32_t len, uint8_t **ret_ts)
{
	enum reason reason;
	uint32_t at;

	if (tcpopt_is_usual(options, len)) {
		*ret_ts = options + 2;
		return REASON_COUNT;
	}
	reason = tcpopt_scan(options, len, &at);
	*ret_ts = at == TCPOPT_NOWHERE ? NULL : options + at;
	return reason;
}
