/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TCPOPT_H
#define PAWSD_TCPOPT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "reason.h"

enum {
	TCPOPT_EOL = 0,
	TCPOPT_NOP = 1,
	TCPOPT_TIMESTAMPS = 8, /* RFC 7323, 3.2 */
	TCPOPT_AO = 29,	       /* RFC 5925 */
	TCPOPT_TIMESTAMPS_LEN = 10,
	TCPOPT_LEN_MAX = 40, /* of all options of a segment */
	TCPOPT_NOWHERE = UINT8_MAX,
};

/* NOP, NOP, timestamps and nothing else: how nearly all segments of a connection look (RFC 7323, appendix A). */
static inline bool tcpopt_is_usual(const uint8_t *options, uint32_t len)
{
	static const uint8_t usual[] = {TCPOPT_NOP, TCPOPT_NOP, TCPOPT_TIMESTAMPS, TCPOPT_TIMESTAMPS_LEN};

	return len == 12 && memcmp(options, usual, sizeof(usual)) == 0;
}

/*
 * Looks for the timestamp option among the `len` bytes of TCP options at `options`, at most TCPOPT_LEN_MAX. This is the
 * only code in pawsd that reads option lengths.
 *
 * Returns REASON_COUNT when the options are sound, and *ret_at is where the option's kind byte is, ten bytes of the option
 * readable, or TCPOPT_NOWHERE. Otherwise the reason why the segment must pass unmodified: MALFORMED_OPTIONS,
 * DUPLICATE_TIMESTAMPS or TCP_AO.
 */
static inline enum reason tcpopt_scan(const uint8_t *options, uint32_t len, uint32_t *ret_at)
{
	uint32_t at = 0;

	*ret_at = TCPOPT_NOWHERE;
	for (uint32_t looked = 0; looked < TCPOPT_LEN_MAX && at < len; looked++) {
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
			if (*ret_at != TCPOPT_NOWHERE)
				return REASON_DUPLICATE_TIMESTAMPS;
			*ret_at = at;
		}
		at += option_len;
	}
	return REASON_COUNT;
}

/* The same, as a pointer: *ret_ts is the option's kind byte, or NULL. */
enum reason tcpopt_find_timestamps(uint8_t *options, uint32_t len, uint8_t **ret_ts);

#endif
