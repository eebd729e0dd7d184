/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FASTPATH_MAPS_H
#define PAWSD_FASTPATH_MAPS_H

#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "counters.h"
#include "event.h"
#include "fastpath.h"

/*
 * The memory of the fast path, which the kernel keeps as long as its programs, and by name ("pinned") until somebody takes
 * the name away: one array of the kernel for each of these. What the programs do not look at is there as well, so that a
 * flow and what belongs to it live and go together.
 *
 * X(ID, name, whether the programs look at it, bytes of a value)
 */
#define FASTPATH_MAP_TABLE(X) \
	X(SHARED, "fast_shared", true, sizeof(struct fastpath_shared)) \
	X(FLOWS, "fast_flows", true, sizeof(struct flow)) \
	X(SYNS, "fast_syns", true, sizeof(struct flow_syn)) \
	X(HEADS, "fast_heads", true, sizeof(struct fastpath_heads)) \
	X(CLIENTS, "fast_clients", true, sizeof(struct client_use)) \
	X(LENT, "fast_lent", true, sizeof(uint64_t)) \
	X(COUNTS, "fast_counts", true, sizeof(struct fastpath_counts)) \
	X(EVENTS, "fast_events", true, sizeof(struct event_ring)) \
	X(PAIRS, "fast_pairs", false, FASTPATH_PLAIN_VALUE) \
	X(SCALED, "fast_scaled", false, FASTPATH_PLAIN_VALUE) \
	X(OWNER, "fast_owner", false, FASTPATH_PLAIN_VALUE)

enum {
	FASTPATH_PLAIN_VALUE = 4096, /* of what the programs do not look at values mean nothing */
};

enum fastpath_map {
#define X(id, name, is_shown, bytes) FASTPATH_MAP_##id,
	FASTPATH_MAP_TABLE(X)
#undef X
	FASTPATH_MAPS,
};

extern const char *const fastpath_map_names[FASTPATH_MAPS];
extern const bool fastpath_map_is_shown[FASTPATH_MAPS];
extern const uint32_t fastpath_map_value_bytes[FASTPATH_MAPS];

/* What the worker keeps there. */
struct fastpath_owner {
	struct fastpath_interface interfaces[FASTPATH_INTERFACES_MAX]; /* where programs are; the first in here, in all versions */
	struct slot_names names; /* what the numbers of slots mean, in flows, counters and policy */
	struct counters counters;
};

struct fastpath_sizes {
	uint32_t capacity; /* flows */
	uint32_t lent;	   /* places that may be lent, a power of 2 */
	uint32_t cpus;	   /* numbers of processors there may be */
};

/* How many values a map has. */
uint32_t fastpath_map_entries(enum fastpath_map map, const struct fastpath_sizes *sizes);

/* All its bytes. */
size_t fastpath_map_bytes(enum fastpath_map map, const struct fastpath_sizes *sizes);

struct fastpath_sizes fastpath_sizes_for(uint32_t capacity, uint32_t cpus);

#endif
