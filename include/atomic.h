/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_ATOMIC_H
#define PAWSD_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Words that several processors, or the kernel and pawsd, change at the same time. Each is one aligned word, read and
 * written whole; no order among different words is implied. In the kernel's programs there is no other way to say it, and
 * a loop has to have an end: there after ATOMIC_TRIES, here when it has succeeded.
 */

#ifdef __bpf__

#define atomic_load(at) (*(const volatile __typeof__(*(at)) *)(at))
#define atomic_store(at, value) (*(volatile __typeof__(*(at)) *)(at) = (value))
#define atomic_or(at, bits) ((void)__sync_fetch_and_or(at, bits))
#define atomic_and(at, bits) ((void)__sync_fetch_and_and(at, bits))
#define ATOMIC_TRIES 16u

#ifdef __TARGET_ARCH_x86 /* which keeps loads in order, and stores: AMD64 manual, volume 2, 7.1 */
static inline void atomic_keep_order(void)
{
	__asm__ volatile("" ::: "memory"); /* the compiler, too */
}

static inline uint32_t atomic_load_acquire(const uint32_t *at)
{
	uint32_t seen = atomic_load(at);

	atomic_keep_order();
	return seen;
}

#define atomic_store_release(at, value) (atomic_keep_order(), atomic_store(at, value))
#else /* a whole barrier: there is no other before Linux 6.16 */
#define atomic_load_acquire(at) __sync_fetch_and_add(at, 0)
#define atomic_store_release(at, value) ((void)__sync_lock_test_and_set(at, value)) /* what was written before is seen before */
#endif

static inline bool atomic_exchange_if(uint64_t *at, uint64_t *expected, uint64_t wanted)
{
	uint64_t seen = __sync_val_compare_and_swap(at, *expected, wanted);
	bool done = seen == *expected;

	*expected = seen;
	return done;
}

static inline bool atomic_exchange_if32(uint32_t *at, uint32_t *expected, uint32_t wanted)
{
	uint32_t seen = __sync_val_compare_and_swap(at, *expected, wanted);
	bool done = seen == *expected;

	*expected = seen;
	return done;
}

#else

#define atomic_load(at) __atomic_load_n(at, __ATOMIC_RELAXED)
#define atomic_load_acquire(at) __atomic_load_n(at, __ATOMIC_ACQUIRE)
#define atomic_store(at, value) __atomic_store_n(at, value, __ATOMIC_RELAXED)
#define atomic_store_release(at, value) __atomic_store_n(at, value, __ATOMIC_RELEASE)
#define atomic_or(at, bits) ((void)__atomic_fetch_or(at, bits, __ATOMIC_RELAXED))
#define atomic_and(at, bits) ((void)__atomic_fetch_and(at, bits, __ATOMIC_RELAXED))
#define ATOMIC_TRIES UINT32_MAX

/* Sets *at to `wanted` if it is *expected; else *expected is what it was. What was written before is seen before. */
static inline bool atomic_exchange_if(uint64_t *at, uint64_t *expected, uint64_t wanted)
{
	return __atomic_compare_exchange_n(at, expected, wanted, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static inline bool atomic_exchange_if32(uint32_t *at, uint32_t *expected, uint32_t wanted)
{
	return __atomic_compare_exchange_n(at, expected, wanted, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

#endif

#endif
