/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SIM_RNG_H
#define PAWSD_SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

#include "hash.h"

/*
 * Randomness that depends on nothing but the seed and what it is for: the fate of a packet is drawn
 * from (seed, connection, how many packets its sender has sent), not from a stream that all share.
 * So the three runs of a seed see the same losses and delays, as long as the same packets are sent.
 */
struct rng {
	uint64_t state;
};

enum rng_use {
	RNG_SCENARIO = 1,
	RNG_CLIENT,
	RNG_SERVER,
	RNG_PLAN,
	RNG_ARRIVAL,
	RNG_SOCKET,
	RNG_LEG,
	RNG_WIRE,
	RNG_NOISE,
	RNG_NAT,
	RNG_GATEWAY,
};

static inline struct rng rng_make(uint64_t seed, enum rng_use use, uint64_t index)
{
	return (struct rng){hash_mix(hash_mix(seed * 0x9e3779b97f4a7c15u + (uint64_t)use) ^ index)};
}

/* splitmix64 */
static inline uint64_t rng_next(struct rng *rng)
{
	uint64_t x = rng->state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static inline uint32_t rng_u32(struct rng *rng)
{
	return (uint32_t)(rng_next(rng) >> 32);
}

/* 0 .. n - 1 */
static inline uint32_t rng_below(struct rng *rng, uint32_t n)
{
	return (uint32_t)((uint64_t)rng_u32(rng) * n >> 32);
}

static inline uint32_t rng_between(struct rng *rng, uint32_t low, uint32_t high)
{
	return low + rng_below(rng, high - low + 1);
}

static inline bool rng_chance(struct rng *rng, uint32_t per_million)
{
	return rng_below(rng, 1000000) < per_million;
}

#endif
