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

/* NOP, NOP, timestamps and nothing else, which is how nearly all segments of a connection look (RFC 7323, appendix A), begins so. */
enum {
	TCPOPT_USUAL = TCPOPT_NOP << 24 | TCPOPT_NOP << 16 | TCPOPT_TIMESTAMPS << 8 | TCPOPT_TIMESTAMPS_LEN,
};

static inline bool tcpopt_is_usual(const uint8_t *options, uint32_t len)
{
	return len == 12 && ((uint32_t)options[0] << 24 | (uint32_t)options[1] << 16 | (uint32_t)options[2] << 8 | options[3]) == TCPOPT_USUAL;
}

/* The same, and behind it nothing but NOP, NOP and SACK: RFC 2018, 3. `next`: the four bytes behind these twelve. */
static inline bool tcpopt_is_usual_sack(uint32_t next, uint32_t len)
{
	return len > 12 + 4 && next == (0x01010500 | (len - 12 - 2));
}

/* What Linux says in a SYN or a SYN/ACK with timestamps: MSS, SACK permitted, timestamps, NOP, window scale. */
enum {
	TCPOPT_USUAL_SYN_LEN = 20,
	TCPOPT_USUAL_SYN_AT = 6, /* of the timestamp option */
};

/* Of the first, the second and the last four of these bytes. */
static inline bool tcpopt_is_usual_syn(uint32_t first, uint32_t second, uint32_t last)
{
	return first >> 16 == 0x0204 && second == 0x0402080a && last >> 8 == 0x010303;
}

/* How far one has got, looking for the timestamp option. Begins with `found` nowhere and all else 0. */
struct tcpopt_scan {
	uint32_t at;
	uint32_t found;	    /* where its kind byte is, ten bytes of the option readable, or TCPOPT_NOWHERE */
	enum reason reason; /* at the end: REASON_COUNT, or why the segment must pass: MALFORMED_OPTIONS, DUPLICATE_TIMESTAMPS, TCP_AO */
};

static inline bool tcpopt_stop(struct tcpopt_scan *scan, enum reason reason)
{
	scan->reason = reason;
	return false;
}

/*
 * Looks at the next of the options, `len` bytes at `options`, at most TCPOPT_LEN_MAX. This is the only code in pawsd that
 * reads option lengths. False at the end, which comes after as many steps as there are bytes, and one.
 */
static inline bool tcpopt_step(const uint8_t *options, uint32_t len, struct tcpopt_scan *scan)
{
	const uint32_t at = scan->at;
	uint32_t option_len = 1;
	uint8_t kind;

	if (at >= len || at >= TCPOPT_LEN_MAX)
		return tcpopt_stop(scan, REASON_COUNT);
	kind = options[at];
	if (kind == TCPOPT_EOL)
		return tcpopt_stop(scan, REASON_COUNT);
	if (kind != TCPOPT_NOP) {
		if (at + 1 >= len)
			return tcpopt_stop(scan, REASON_MALFORMED_OPTIONS);
		option_len = options[at + 1];
		if (option_len < 2 || option_len > len - at)
			return tcpopt_stop(scan, REASON_MALFORMED_OPTIONS);
		if (kind == TCPOPT_AO)
			return tcpopt_stop(scan, REASON_TCP_AO);
	}
	if (kind == TCPOPT_TIMESTAMPS) {
		if (option_len != TCPOPT_TIMESTAMPS_LEN)
			return tcpopt_stop(scan, REASON_MALFORMED_OPTIONS);
		if (scan->found != TCPOPT_NOWHERE)
			return tcpopt_stop(scan, REASON_DUPLICATE_TIMESTAMPS);
		scan->found = at;
	}
	scan->at = at + option_len;
	return true;
}

/* All steps. *ret_ts is the option's kind byte, or NULL. Returns the reason. */
enum reason tcpopt_find_timestamps(uint8_t *options, uint32_t len, uint8_t **ret_ts);

#endif
