/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checksum.h"

#include <string.h>

uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t len)
{
	uint32_t word;
	uint16_t half;

	for (; len >= 4; data += 4, len -= 4) {
		memcpy(&word, data, 4);
		sum += word;
	}
	if (len >= 2) {
		memcpy(&half, data, 2);
		sum += half;
		data += 2;
		len -= 2;
	}
	if (len) {
		half = 0;
		memcpy(&half, data, 1);
		sum += half;
	}
	return sum;
}

uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/*
 * RFC 1624: HC' = ~(~HC + ~m + m'). The words are the ones that the header's alignment makes:
 * both byte strings are laid out with the same parity, zero around them, and ~m of a zero
 * byte is balanced by putting the old bytes in as they are and complementing the whole words,
 * since the bytes around them enter both sums alike.
 */
void checksum_replace(uint8_t *checksum, const uint8_t *base, uint8_t *at, const uint8_t *new_bytes, size_t len)
{
	uint8_t before[18] = {0}, after[18] = {0};
	size_t odd = (size_t)(at - base) & 1;
	uint64_t sum_before, sum_after;
	uint16_t check;

	memcpy(before + odd, at, len);
	memcpy(after + odd, new_bytes, len);
	memcpy(at, new_bytes, len);
	sum_before = checksum_fold(checksum_add(0, before, sizeof(before)));
	sum_after = checksum_fold(checksum_add(0, after, sizeof(after)));

	memcpy(&check, checksum, 2);
	check = (uint16_t)~checksum_fold((uint16_t)~check + (uint64_t)(uint16_t)~sum_before + sum_after);
	memcpy(checksum, &check, 2);
}

uint16_t checksum_finish_tcp(const uint8_t *tcp, uint32_t len)
{
	return (uint16_t)~checksum_fold(checksum_add(0, tcp, len));
}
