/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tcpopt.h"

#include <stddef.h>

enum reason tcpopt_find_timestamps(uint8_t *options, uint32_t len, uint8_t **ret_ts)
{
	uint32_t at = 0;

	*ret_ts = NULL;
	while (at < len) {
		uint8_t kind = options[at];
		uint32_t option_len;

		if (kind == TCPOPT_EOL)
			break;
		if (kind == TCPOPT_NOP) {
			at++;
			continue;
		}
		if (at + 1 >= len)
			return REASON_MALFORMED_OPTIONS;
		option_len = options[at + 1];
		if (option_len < 2 || option_len > len - at)
			return REASON_MALFORMED_OPTIONS;
		if (kind == TCPOPT_AO)
			return REASON_TCP_AO;
		if (kind == TCPOPT_TIMESTAMPS) {
			if (option_len != TCPOPT_TIMESTAMPS_LEN)
				return REASON_MALFORMED_OPTIONS;
			if (*ret_ts)
				return REASON_DUPLICATE_TIMESTAMPS;
			*ret_ts = options + at;
		}
		at += option_len;
	}
	return REASON_COUNT;
}
