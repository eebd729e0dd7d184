/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FASTPATH_H
#define PAWSD_FASTPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "flow.h"
#include "flow_loan.h"
#include "policy.h"
#include "reason.h"

/*
 * What pawsd and its programs in the kernel (src/bpf/) have in common: memory that both map. All of it outlives the
 * process, as the programs do.
 */

enum {
	FASTPATH_MAGIC = 0x66777061, /* "apwf" */
	FASTPATH_VERSION = 2,	     /* another layout or meaning of anything in here, or in flow.h */
	FASTPATH_HEADS_A_VALUE = 16, /* of the kernel's arrays each value takes at least 8 bytes */
	FASTPATH_CHAIN_MAX = 16,
	FASTPATH_WANS_MAX = 16,
};

/* Marks of packets. Of the two programs of an interface the first comes before netfilter, the last behind it. */
enum fastpath_mark {
	FASTPATH_MARK_NONE = 0,	      /* nobody has looked at it */
	FASTPATH_MARK_DONE_FIRST = 1, /* by the first program: nothing more is to be done */
	FASTPATH_MARK_SLOW = 2,	      /* likewise: for the queue */
	FASTPATH_MARK_OTHER = 3,      /* likewise: of nothing that is known here */
	FASTPATH_MARK_FIRST = 3,      /* the bits of these */
	FASTPATH_MARK_DONE_LAST = 4,  /* nothing is left to the last program: it has done with it, or the queue has */
	FASTPATH_MARK_LABEL = 5,      /* by the first program: done, and its connection is to be labelled as one of the programs' */
	FASTPATH_MARK_ALL = 7,
};

struct fastpath_heads {
	uint32_t head[FASTPATH_HEADS_A_VALUE];
};

enum fastpath_flag {
	FASTPATH_DRAINING = 1,	/* no new connection is rewritten */
	FASTPATH_RULES_LAG = 2, /* engine.h */
	FASTPATH_HOLD = 4,	/* nothing is opened: flow_table_take_over() */
	FASTPATH_OPENS_NONE = FASTPATH_DRAINING | FASTPATH_RULES_LAG | FASTPATH_HOLD,
	FASTPATH_ROUTES_UNKNOWN = 8, /* in tests: every packet from a client is one to the servers */
};

struct fastpath_shared {
	uint32_t magic, version, flow_version, capacity; /* the first in here, in all versions */
	uint32_t head_mask, client_mask, client_most;
	uint32_t flags;	 /* enum fastpath_flag */
	uint32_t is_roomy; /* a quarter of the table is free, and more: else none is opened, as what comes in may be forged */
	uint32_t mark_shift; /* enum fastpath_mark, shifted by that */
	uint32_t clock_base, clock_max_lead_ms;
	uint32_t lent_mask;
	uint32_t wan_count, wan[FASTPATH_WANS_MAX]; /* interfaces to the servers; none: all that a packet did not come in by */
	uint32_t covered_count, covered[FASTPATH_WANS_MAX]; /* those where programs see packets */
	int64_t clock_offset_ms; /* of the tick, from CLOCK_BOOTTIME */
	uint64_t frozen_tick;	 /* in tests: what time it is; 0: what the kernel says */
	uint64_t secret[2];
	struct flow_loan loan;
	/* Of the program that has looked at the time last: the jiffy, and the tick, the lower 32 bits of either. */
	_Alignas(64) uint64_t glance;
	_Alignas(64) struct clock_shared clock;
};

/* Of one processor, for one slot of counters. */
struct fastpath_counts {
	uint64_t reason[REASON_COUNT];
	uint64_t flows[FLOW_STATE_COUNT]; /* gauge: to be added to the workers', wraps */
};

/* What the policy says of a prefix. */
struct fastpath_policy_key {
	uint32_t len; /* of 128; IPv4 is mapped */
	struct addr addr;
};

/* The destinations of which one matches there, best first. */
enum {
	FASTPATH_CANDIDATES = 4,
	FASTPATH_PORT_RANGES = 4,
};

enum fastpath_condition {
	FASTPATH_ALWAYS,
	FASTPATH_BY_PORT,
	FASTPATH_BY_MORE, /* by sources, or more ports than there is room for: the engine has to say */
};

struct fastpath_candidate {
	uint16_t slot;
	uint8_t mode;	   /* enum mode */
	uint8_t repair;	   /* enum repair */
	uint8_t condition; /* enum fastpath_condition */
	uint8_t range_count;
	struct port_range ports[FASTPATH_PORT_RANGES];
};

/* Where none of these matches there are more of them, and the engine has to say; also of what no prefix is told of. */
struct fastpath_policy {
	struct fastpath_candidate candidates[FASTPATH_CANDIDATES];
};

static inline bool fastpath_has_port(const struct fastpath_candidate *candidate, uint16_t port)
{
	for (uint32_t i = 0; i < FASTPATH_PORT_RANGES; i++)
		if (i < candidate->range_count && port >= candidate->ports[i].first && port <= candidate->ports[i].last)
			return true;
	return false;
}

/* Which of them a connection to `port` (host order) belongs to; NULL where the engine has to say. `policy`: NULL as well. */
static inline const struct fastpath_candidate *fastpath_choose(const struct fastpath_policy *policy, uint16_t port)
{
	for (uint32_t i = 0; policy && i < FASTPATH_CANDIDATES; i++) {
		const struct fastpath_candidate *candidate = &policy->candidates[i];

		if (candidate->condition == FASTPATH_BY_MORE)
			return NULL;
		if (candidate->condition == FASTPATH_ALWAYS || fastpath_has_port(candidate, port))
			return candidate;
	}
	return NULL;
}

#endif
