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

/* The two halves of the 128-bit product of a and b, one folded onto the other, by products of 64 bits alone. */
static inline uint64_t hash_multiply_in_parts(uint64_t a, uint64_t b)
{
	const uint64_t a_low = (uint32_t)a, a_high = a >> 32, b_low = (uint32_t)b, b_high = b >> 32;
	const uint64_t low = a_low * b_low, cross = a_high * b_low + (low >> 32), other = a_low * b_high + (uint32_t)cross;
	const uint64_t high = a_high * b_high + (cross >> 32) + (other >> 32);

	return (other << 32 | (uint32_t)low) ^ high;
}

/* The same: stirs as well as hash_mix(), for fewer instructions. */
static inline uint64_t hash_multiply(uint64_t a, uint64_t b)
{
#if defined(__SIZEOF_INT128__) && !defined(__bpf__)
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
	return hash_multiply_in_parts(a, b);
#endif
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
