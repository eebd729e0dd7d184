/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../tools/table_check.h"
#include "fuzz_engine.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "hash.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define FUZZ_POISON(from, bytes) __asan_poison_memory_region(from, bytes)
#endif
#endif
#ifndef FUZZ_POISON
#define FUZZ_POISON(from, bytes) (void)0
#endif

/* Fixed keys: an input does the same in every run. */
static const uint64_t table_secret[2] = {0x0123456789abcdef, 0xfedcba9876543210};
static const uint64_t clock_secret = 0x5bd1e995c6a4a793;
static const uint32_t clock_base = 0x9e3779b9;

/* Too large to be made for each input. */
static struct clock_shared clock_memory;
static struct counters counters;

static void *claim(size_t bytes)
{
	void *memory = calloc(1, bytes);

	if (!memory)
		fuzz_fail("out of memory");
	return memory;
}

static void begin_counters(struct fuzz_engine *engine)
{
	memset(counters.reason, 0, FUZZ_SLOTS * sizeof(counters.reason[0]));
	memset(counters.flows, 0, FUZZ_SLOTS * sizeof(counters.flows[0]));
	FUZZ_POISON(counters.reason[FUZZ_SLOTS], (DESTINATION_SLOTS - FUZZ_SLOTS) * sizeof(counters.reason[0]));
	FUZZ_POISON(counters.flows[FUZZ_SLOTS], (DESTINATION_SLOTS - FUZZ_SLOTS) * sizeof(counters.flows[0]));
	engine->engine.counters = &counters;
	engine->handled = 0;
}

static void adopt(struct fuzz_engine *engine)
{
	uint16_t slots[DESTINATION_SLOTS] = {0};

	for (uint16_t i = 0; i < FUZZ_SLOTS; i++)
		slots[i] = i;
	begin_counters(engine);
	memset(engine->index, 0xa5, flow_table_index_bytes(engine->capacity));
	flow_table_init(&engine->engine.table, engine->flows, engine->index, engine->capacity, table_secret);
	engine_adopt(&engine->engine, slots);
}

static void set_timeouts(struct fuzz_engine *engine, uint32_t timeout_s)
{
	static const uint32_t presets[FLOW_STATE_COUNT] = {
#define X(id, name, preset_s, help) [FLOW_##id] = preset_s,
		FLOW_STATE_TABLE(X)
#undef X
	};

	for (int i = 0; i < FLOW_STATE_COUNT; i++)
		engine->engine.timeout_s[i] = timeout_s ? timeout_s : presets[i];
}

void fuzz_engine_open(struct fuzz_engine *engine, uint32_t capacity, uint32_t max_lead_ms, uint32_t timeout_s,
		      const struct policy *policy)
{
	void *kept = claim(flow_table_kept_bytes(capacity));

	memset(&clock_memory, 0, sizeof(clock_memory));
	clock_memory.secret = clock_secret;
	fuzz_engine_open_over(engine, capacity, max_lead_ms, kept, &clock_memory, policy);
	engine->is_memory_borrowed = false;
	set_timeouts(engine, timeout_s);
}

void fuzz_engine_open_over(struct fuzz_engine *engine, uint32_t capacity, uint32_t max_lead_ms,
			   void *kept, struct clock_shared *clock, const struct policy *policy)
{
	*engine = (struct fuzz_engine){
		.capacity = capacity,
		.flows = kept,
		.index = claim(flow_table_index_bytes(capacity)),
		.is_memory_borrowed = true,
	};
	engine->engine.clock = (struct clock){.shared = clock, .max_lead_ms = max_lead_ms, .base = clock_base};
	engine->engine.policy = policy;
	set_timeouts(engine, 0);
	adopt(engine);
}

void fuzz_engine_close(struct fuzz_engine *engine)
{
	if (!engine->is_memory_borrowed)
		free(engine->flows);
	free(engine->index);
}

void fuzz_engine_restart(struct fuzz_engine *engine)
{
	/* Where the memory for the index lies is for the new process to say. */
	free(engine->index);
	engine->index = claim(flow_table_index_bytes(engine->capacity));
	adopt(engine);
}

static uint64_t sum_of(enum reason reason)
{
	uint64_t sum = 0;

	for (uint32_t slot = 0; slot < FUZZ_SLOTS; slot++)
		sum += counters.reason[slot][reason];
	return sum;
}

static uint64_t sum_of_all(void)
{
	uint64_t sum = 0;

	for (int reason = 0; reason < REASON_COUNT; reason++)
		sum += sum_of((enum reason)reason);
	return sum;
}

enum reason fuzz_engine_handle(struct fuzz_engine *engine, const struct packet_input *input, uint64_t tick)
{
	uint64_t before[REASON_COUNT];
	enum reason reason;

	for (int i = 0; i < REASON_COUNT; i++)
		before[i] = sum_of((enum reason)i);
	clock_publish(&engine->engine.clock, tick);
	engine_look_ahead(&engine->engine, input, 1);
	reason = engine_handle(&engine->engine, input, tick);
	FUZZ_CHECK(reason < REASON_COUNT);
	FUZZ_CHECK(sum_of(reason) == before[reason] + 1);
	engine->handled++;
	/* No other has moved, for none goes back. */
	FUZZ_CHECK(sum_of_all() == engine->handled);
	return reason;
}

void fuzz_engine_check(const struct fuzz_engine *engine)
{
	const struct flow_table *table = &engine->engine.table;
	uint64_t gauges[FUZZ_SLOTS][FLOW_STATE_COUNT] = {{0}};
	uint32_t used = 0, pairs = 0, scaled = 0, free_flows = 0, free_pairs = 0, free_scaled = 0;


	for (uint32_t i = 0; i < engine->capacity; i++) {
		const struct flow *flow = &engine->flows[i];

		if (flow->state == FLOW_FREE)
			continue;
		FUZZ_CHECK(flow->state < FLOW_STATE_COUNT && flow->slot < FUZZ_SLOTS);
		gauges[flow->slot][flow->state]++;
		used++;
		pairs += flow_table_pairs(table, flow) != NULL;
		scaled += flow_table_scaled(table, flow) != NULL;
		/* Found, and no other in its place. */
		FUZZ_CHECK(table_reaches(table, flow));
	}
	for (int slot = 0; slot < FUZZ_SLOTS; slot++)
		for (int state = FLOW_FREE + 1; state < FLOW_STATE_COUNT; state++)
			FUZZ_CHECK(counters.flows[slot][state] == gauges[slot][state]);
	for (uint32_t next = table->free_flow; next && free_flows <= engine->capacity; free_flows++)
		next = engine->flows[next - 1].next;
	for (uint32_t next = table->free_pairs; next && free_pairs <= table->pair_capacity; free_pairs++)
		next = table->pairs[next - 1].next_free;
	for (uint32_t next = table->free_scaled; next && free_scaled <= table->scaled_capacity; free_scaled++)
		next = table->scaled[next - 1].next_free;
	FUZZ_CHECK(used == table->used && used + free_flows == engine->capacity);
	FUZZ_CHECK(pairs == table->pairs_used && pairs + free_pairs == table->pair_capacity);
	FUZZ_CHECK(scaled == table->scaled_used && scaled + free_scaled == table->scaled_capacity);
}

uint32_t fuzz_engine_clock_tsval(const struct fuzz_engine *engine, uint64_t tick)
{
	return clock_tsval(&engine->engine.clock, tick);
}

uint32_t fuzz_engine_server_slot(const struct fuzz_engine *engine, const struct addr *server)
{
	return (uint32_t)(hash_bytes16(server->byte, engine->engine.clock.shared->secret) % CLOCK_SERVER_SLOTS);
}

bool fuzz_engine_has_flow(const struct fuzz_engine *engine, const struct endpoints *ends, uint32_t isn)
{
	const struct flow_table *table = &engine->engine.table;
	const struct flow *flow;
	bool outbound;

	for (flow = flow_table_look_up(table, ends, &outbound); flow; flow = flow_table_find_elder(table, flow)) {
		if (flow_table_syn(table, flow)->isn == isn)
			return true;
	}
	return false;
}
