/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_FUZZ_ENGINE_H
#define PAWSD_TESTS_FUZZ_ENGINE_H

#include "engine.h"

/*
 * An engine with its memory, every part of exactly its size. This is the one place in the fuzz
 * targets that knows how an engine is put together.
 */

enum {
	FUZZ_SLOTS = 8, /* all that policies here use; the counters of others must not be touched */
};

struct fuzz_engine {
	struct engine engine;
	struct flow *flows; /* the beginning of what the table keeps */
	uint32_t *index, capacity;
	bool is_memory_borrowed; /* flows are the caller's */
	uint64_t handled;	 /* packets, since the counters began */
};

/* An empty table. All time-outs are `timeout_s`, or the defaults where that is 0. */
void fuzz_engine_open(struct fuzz_engine *engine, uint32_t capacity, uint32_t max_lead_ms, uint32_t timeout_s,
		      const struct policy *policy);

/* The same over the table's memory and the clock that the caller has; takes up what is in them. */
void fuzz_engine_open_over(struct fuzz_engine *engine, uint32_t capacity, uint32_t max_lead_ms,
			   void *kept, struct clock_shared *clock, const struct policy *policy);
void fuzz_engine_close(struct fuzz_engine *engine);

/* As if another process took over: index and counters are made anew from what is in the table. */
void fuzz_engine_restart(struct fuzz_engine *engine);

/* One packet, and checks that exactly one counter has moved, the one of the reason returned. */
enum reason fuzz_engine_handle(struct fuzz_engine *engine, const struct packet_input *input, uint64_t tick);

/* Table, free list and gauges agree. */
void fuzz_engine_check(const struct fuzz_engine *engine);

/* What the shared clock reads at `tick`, as a TSval. */
uint32_t fuzz_engine_clock_tsval(const struct fuzz_engine *engine, uint64_t tick);

/* Which mark of the shared clock a server has; others may have the same. */
uint32_t fuzz_engine_server_slot(const struct fuzz_engine *engine, const struct addr *server);

/* True when the engine still knows this connection, whose SYN had that ISN. */
bool fuzz_engine_has_flow(const struct fuzz_engine *engine, const struct endpoints *ends, uint32_t isn);

#endif
