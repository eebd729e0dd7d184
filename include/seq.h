/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SEQ_H
#define PAWSD_SEQ_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Wrap-safe comparison of 32-bit TCP values (TSval, TSecr, sequence numbers), as RFC 7323
 * section 5.2 and the kernel's before()/after() do it. Nowhere else in pawsd are two of
 * them compared with < or >.
 */
static inline bool seq_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

/* Of two that may both be newer than the other, the one that is further from `base` in the direction of newer. */
static inline uint32_t seq_furthest(uint32_t base, uint32_t a, uint32_t b)
{
	return (int32_t)(b - base) > (int32_t)(a - base) ? b : a;
}

/* The newer of the two; `a` where they are equal or exactly half the space apart. */
static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
	return seq_after(b, a) ? b : a;
}

#endif
