/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_HASH_H
#define PAWSD_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Keyed hashes for tables that strangers fill: the key is random and never leaves the process,
 * so that nobody outside can choose addresses and ports that fall into one chain.
 */

/* Stirs every bit of `x` into every other: two rounds of xor-shift and odd multiplication. */
static inline uint64_t hash_mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

/* A check of a text's bytes: not keyed, the same in every process. */
static inline uint64_t hash_text(const char *text, size_t len)
{
	uint64_t sum = len;

	for (size_t i = 0; i < len; i++)
		sum = hash_mix(sum ^ (uint8_t)text[i]);
	return sum;
}

/* The two halves of a 128-bit product, one folded onto the other: stirs as well, for fewer instructions. */
static inline uint64_t hash_multiply(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Hash of 16 bytes under a 64-bit key. */
static inline uint64_t hash_bytes16(const uint8_t *bytes, uint64_t key)
{
	uint64_t half[2];

	memcpy(half, bytes, sizeof(half));
	half[0] = hash_multiply(half[0] ^ key, 0x9e3779b97f4a7c15u);
	return hash_multiply(half[0] ^ half[1], 0xd6e8feb86659fd93u);
}

#endif
