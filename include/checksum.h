/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_CHECKSUM_H
#define PAWSD_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3). Sums
 * are over 16-bit words as they lie in memory, so they need no byte swapping; a finished
 * checksum is stored and loaded with memcpy.
 */

/* Adds `len` bytes at `data`, the first of them at an even offset, to the unfolded `sum`. */
uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t len);

/* Folds an unfolded sum to 16 bits (not complemented). */
uint16_t checksum_fold(uint64_t sum);

/*
 * The checksum after a 32-bit field has changed from `old` to `new`, of a packet whose checksum was `check`,
 * all as they lie in memory; `odd`: the field begins at an odd distance from the header's beginning, so
 * that its bytes count in the other halves of their words: in this arithmetic, a turn by 8 bits. Valid if and
 * only if it was before.
 */
static inline uint16_t checksum_update32(uint16_t check, uint32_t old, uint32_t new, bool odd)
{
	uint64_t sum = (uint64_t)(uint32_t)~old + new;
	uint32_t change = (uint32_t)sum + (uint32_t)(sum >> 32);

	if (odd)
		change = change << 8 | change >> 24;
	change = (change >> 16) + (change & 0xffff) + (uint16_t)~check;
	change = (change >> 16) + (change & 0xffff);
	return (uint16_t) ~(change + (change >> 16));
}

/*
 * Overwrites `len` bytes at `at` with `new_bytes` and updates the 16-bit checksum at
 * `checksum`, both inside the header that begins at `base`: a byte at an odd distance from
 * `base` counts in the other half of its word. The packet's checksum is valid afterwards if
 * and only if it was before. `len` <= 16.
 */
void checksum_replace(uint8_t *checksum, const uint8_t *base, uint8_t *at, const uint8_t *new_bytes,
		      size_t len);

/*
 * Finishes the checksum of the TCP segment of `len` bytes at `tcp`, whose checksum field holds the
 * sum of the pseudo-header, as the kernel leaves it for the hardware (CHECKSUM_PARTIAL;
 * skb_checksum_help() does the same). So it need not be known what the pseudo-header was made of: with an
 * IPv6 routing header that is not the destination in the header. In memory order, ready to be stored.
 */
uint16_t checksum_finish_tcp(const uint8_t *tcp, uint32_t len);

#endif
