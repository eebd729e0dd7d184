/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_ENGINE_WORLD_H
#define PAWSD_TESTS_ENGINE_WORLD_H

/* An engine with its memory and a policy of every mode, for the unit tests. */

#include "../tools/table_check.h"
#include "core_test.h"

#include "engine.h"
#include "policy_build.h"

enum {
	WORLD_NET = 0xcb007100, /* 203.0.113.0/24, and the last bytes of 2001:db8::/32 addresses */
	WORLD_SLOT_REWRITE = 2, /* port 443 */
	WORLD_SLOT_STRIP,	/* 80 */
	WORLD_SLOT_OBSERVE,	/* 81 */
	WORLD_SLOT_ECHO,	/* the second address, 443 */
	WORLD_SLOT_ZERO,	/* the second address, 80 */
	WORLD_SLOTS = 8, /* all that are looked at */
};

struct engine_world {
	struct engine engine;
	struct flow *flows; /* the beginning of what the table keeps */
	uint32_t *index, capacity;
	struct counters *counters;
	struct policy *policy;
	uint64_t tick;
};

static inline struct destination world_destination(const char *name, uint16_t slot, enum mode mode, enum repair repair,
						   uint16_t port, bool second)
{
	struct destination destination = {.slot = slot, .enabled = true, .mode = mode, .repair = repair};

	snprintf(destination.name, sizeof(destination.name), "%s", name);
	if (!port)
		return destination;
	destination.prefixes = calloc(2, sizeof(*destination.prefixes));
	destination.ports = calloc(1, sizeof(*destination.ports));
	assert_true(destination.prefixes && destination.ports);
	destination.prefix_count = 2;
	destination.port_count = 1;
	destination.ports[0] = (struct port_range){port, port};
	for (int i = 0; i < 2; i++) {
		destination.prefixes[i].addr = test_addr(i, WORLD_NET + second);
		destination.prefixes[i].family = (enum family)i;
		destination.prefixes[i].len = (uint8_t)((i ? 96 : 0) + (second ? 32 : 24));
	}
	return destination;
}

static inline struct policy *world_policy(void)
{
	struct destination *all = calloc(6, sizeof(*all));
	struct policy *policy;

	assert_non_null(all);
	all[0] = world_destination("default", SLOT_DEFAULT, MODE_OFF, REPAIR_OFF, 0, false);
	all[1] = world_destination("rewrite", WORLD_SLOT_REWRITE, MODE_REWRITE, REPAIR_OFF, 443, false);
	all[2] = world_destination("strip", WORLD_SLOT_STRIP, MODE_STRIP, REPAIR_OFF, 80, false);
	all[3] = world_destination("observe", WORLD_SLOT_OBSERVE, MODE_OBSERVE, REPAIR_OFF, 81, false);
	all[4] = world_destination("echo", WORLD_SLOT_ECHO, MODE_REWRITE, REPAIR_ECHO, 443, true);
	all[5] = world_destination("zero", WORLD_SLOT_ZERO, MODE_REWRITE, REPAIR_ZERO, 80, true);
	policy = policy_build(all, 6);
	assert_non_null(policy);
	return policy;
}

static inline void world_make(struct engine_world *world, uint32_t capacity, uint64_t tick)
{
	static const uint32_t timeouts[FLOW_STATE_COUNT] = {
#define X(id, name, timeout_s, help) [FLOW_##id] = timeout_s,
		FLOW_STATE_TABLE(X)
#undef X
	};
	uint64_t secret[2] = {test_random64(), test_random64()};

	memset(world, 0, sizeof(*world));
	world->tick = tick;
	world->capacity = capacity;
	world->flows = calloc(1, flow_table_kept_bytes(capacity));
	world->index = malloc(flow_table_index_bytes(capacity));
	world->counters = calloc(1, sizeof(*world->counters));
	world->engine.clock.shared = calloc(1, sizeof(*world->engine.clock.shared));
	assert_true(world->flows && world->index && world->counters && world->engine.clock.shared);
	flow_table_init(&world->engine.table, world->flows, world->index, capacity, secret);
	world->engine.clock.max_lead_ms = 60000;
	world->engine.counters = world->counters;
	world->engine.policy = world->policy = world_policy();
	memcpy(world->engine.timeout_s, timeouts, sizeof(timeouts));
}

static inline void world_free(struct engine_world *world)
{
	policy_free(world->policy);
	free(world->flows);
	free(world->index);
	free(world->counters);
	free(world->engine.clock.shared);
}

static inline uint64_t world_count(const struct engine_world *world, enum reason reason)
{
	uint64_t sum = 0;

	for (uint32_t slot = 0; slot < WORLD_SLOTS; slot++)
		sum += world->counters->reason[slot][reason];
	return sum;
}

/* Table, flows and gauges agree. */
static inline void world_check(const struct engine_world *world)
{
	uint64_t found[WORLD_SLOTS][FLOW_STATE_COUNT] = {{0}};
	uint32_t used = 0, pairs = 0;

	for (uint32_t i = 0; i < world->capacity; i++) {
		const struct flow *flow = &world->flows[i];

		if (flow->state == FLOW_FREE)
			continue;
		used++;
		pairs += flow_table_pairs(&world->engine.table, flow) != NULL;
		assert_true(flow->state < FLOW_STATE_COUNT && flow->slot < WORLD_SLOTS);
		found[flow->slot][flow->state]++;
		assert_true(table_reaches(&world->engine.table, flow));
	}
	assert_int_equal(used, world->engine.table.used);
	assert_int_equal(pairs, world->engine.table.pairs_used);
	for (uint32_t slot = 0; slot < WORLD_SLOTS; slot++)
		for (int s = 1; s < FLOW_STATE_COUNT; s++)
			assert_int_equal(world->counters->flows[slot][s], found[slot][s]);
}

/* A reason that has not come up, REASON_COUNT if all have; one is the kernel's programs' alone. */
static inline int world_missing_reason(const uint64_t seen[REASON_COUNT])
{
	int i = 0;

	while (i < REASON_COUNT && (seen[i] || i == REASON_OUT_DROPPED))
		i++;
	return i;
}

#endif
