/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tcpopt.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* NOP, NOP, timestamps and nothing else: how nearly all segments of a connection look (RFC 7323, appendix A). */
static bool is_usual(const uint8_t *options, uint32_t len)
{
	static const uint8_t usual[] = {TCPOPT_NOP, TCPOPT_NOP, TCPOPT_TIMESTAMPS, TCPOPT_TIMESTAMPS_LEN};

	return len == 12 && memcmp(options, usual, sizeof(usual)) == 0;
}

enum reason tcpopt_find_timestamps(uint8_t *options, uint32_t len, uint8_t **ret_ts)
{
	uint32_t at = 0;

	if (is_usual(options, len)) {
		*ret_ts = options + 2;
		return REASON_COUNT;
	}
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
