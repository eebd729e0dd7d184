/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FASTPATH_MEMORY_H
#define PAWSD_FASTPATH_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "fastpath_maps.h"
#include "flow_table.h"
#include "state.h"

/* The daemon's side of the fast path: the memory that it has in common with the kernel's programs. */
struct fastpath_memory {
	void *maps[FASTPATH_MAPS]; /* by enum fastpath_map, mapped; all NULL: there is none */
	struct fastpath_sizes sizes;
	bool is_old; /* an earlier process has left it, with its flows */
	bool is_live; /* and programs may be at work on it */
	bool is_carried; /* it is new, and has flows */
};

static inline struct fastpath_shared *fastpath_shared_of(const struct fastpath_memory *memory)
{
	return memory->maps[FASTPATH_MAP_SHARED];
}

static inline struct fastpath_owner *fastpath_owner_of(const struct fastpath_memory *memory)
{
	return memory->maps[FASTPATH_MAP_OWNER];
}

/* Forgets what is mapped. */
void fastpath_memory_unmap(struct fastpath_memory *memory);

/* The memory of a flow table in there. */
struct flow_table_memory fastpath_table_memory(const struct fastpath_memory *memory);

/* Copies flows and what belongs to them, of a table for `capacity` flows to one of at least that. */
void fastpath_copy_flows(struct flow_table_memory *to, const struct flow_table_memory *from, uint32_t capacity);

/*
 * What the programs have to know before they handle a packet, and are told once: the table's, the clock's. They leave all SYNs to
 * the queue until fastpath_set_flags() says otherwise.
 */
struct engine;
void fastpath_tell(struct fastpath_memory *memory, const struct engine *engine, const struct fastpath_config *config,
		   int64_t clock_offset_ms);

/* Any time. enum fastpath_flag */
void fastpath_set_flags(struct fastpath_memory *memory, uint32_t flags);

/* Returns when no program that had begun before is still at work. */
void fastpath_wait_for_programs(void);

/* What they have counted. */
uint64_t fastpath_count(const struct fastpath_memory *memory, uint32_t slot, enum reason reason);
uint64_t fastpath_count_flows(const struct fastpath_memory *memory, uint32_t slot, enum flow_state state);
/* While no program runs. */
void fastpath_forget_flow_counts(struct fastpath_memory *memory);

#endif
