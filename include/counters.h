/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_COUNTERS_H
#define PAWSD_COUNTERS_H

#include <stdint.h>

#include "flow.h"
#include "policy.h"
#include "reason.h"

/*
 * One worker's counters. It alone writes them, others read at any time: each is one aligned
 * word, read and written whole. Counters and gauges go on across reloads, for a destination
 * keeps its slot as long as its name is in the configuration.
 */
struct counters {
	uint64_t reason[DESTINATION_SLOTS][REASON_COUNT];
	uint64_t flows[DESTINATION_SLOTS][FLOW_STATE_COUNT]; /* gauge; [FLOW_FREE] is unused */
	uint64_t pushed_out; /* flows whose place a new one was given: engine_full.c */
};

static inline void counter_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline uint64_t counter_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#endif
