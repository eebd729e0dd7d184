/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TCPOPT_H
#define PAWSD_TCPOPT_H

#include <stdint.h>

#include "reason.h"

enum {
	TCPOPT_EOL = 0,
	TCPOPT_NOP = 1,
	TCPOPT_TIMESTAMPS = 8, /* RFC 7323, 3.2 */
	TCPOPT_AO = 29,	       /* RFC 5925 */
	TCPOPT_TIMESTAMPS_LEN = 10,
};

/*
 * Finds the timestamp option among the `len` bytes of TCP options at `options` (0 to 40, the
 * header's data offset decides). This is the only code in pawsd that reads option lengths.
 *
 * Returns REASON_COUNT when the options are sound, and *ret_ts points at the option's kind
 * byte, ten bytes of it readable, or is NULL where there is none. Otherwise the reason why
 * the segment must pass unmodified: MALFORMED_OPTIONS, DUPLICATE_TIMESTAMPS or TCP_AO.
 */
enum reason tcpopt_find_timestamps(uint8_t *options, uint32_t len, uint8_t **ret_ts);

#endif
