/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine with every mode in its policy, and a world that changes under it: what must hold
 * for any packet whatever. The input: size of the table, lead, beginning of the clock, then
 * traffic (traffic.h). FUZZ_OTHER: sweeps, restarts, reloads, rules that lag behind, another
 * worker that is ahead.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz_engine.h"
#include "naive.h"
#include "policy_build.h"
#include "traffic.h"

enum {
	PACKETS_MAX = 1000,
	POLICIES = 3,
};

static const uint16_t ports[4] = {443, 80, 81, 82};

static struct destination make_destination(const char *name, uint16_t slot, enum mode mode, enum repair repair,
					   uint16_t port, const struct addr *servers)
{
	struct destination destination = {.slot = slot, .enabled = true, .mode = mode, .repair = repair};

	strcpy(destination.name, name);
	if (!port)
		return destination;
	destination.prefixes = calloc(FAMILY_COUNT, sizeof(*destination.prefixes));
	destination.ports = calloc(1, sizeof(*destination.ports));
	if (!destination.prefixes || !destination.ports)
		fuzz_fail("out of memory");
	destination.prefix_count = FAMILY_COUNT;
	destination.port_count = 1;
	destination.ports[0] = (struct port_range){port, port};
	for (int i = 0; i < FAMILY_COUNT; i++)
		destination.prefixes[i] =
			(struct prefix){.addr = servers[i], .family = (enum family)i, .len = i ? 128 : 32};
	return destination;
}

/* All modes; the same but everything is off; the same but the default rewrites everything. */
static const struct policy *get_policy(unsigned int which)
{
	static struct policy *policies[POLICIES];
	enum { COUNT = 6 };
	struct destination *all;
	struct fuzz_traffic traffic;
	struct addr servers[2][FAMILY_COUNT];

	if (policies[which])
		return policies[which];
	all = calloc(COUNT, sizeof(*all));
	if (!all)
		fuzz_fail("out of memory");
	fuzz_traffic_begin(&traffic, 0, 0, ports);
	for (int i = 0; i < 4; i++)
		servers[i / 2][i % 2] = traffic.connections[i * 16].server;
	all[0] = make_destination("default", SLOT_DEFAULT, which == 2 ? MODE_REWRITE : MODE_OFF, REPAIR_OFF, 0, NULL);
	all[1] = make_destination("rewrite", 2, MODE_REWRITE, REPAIR_OFF, 443, servers[0]);
	all[2] = make_destination("strip", 3, MODE_STRIP, REPAIR_OFF, 80, servers[0]);
	all[3] = make_destination("observe", 4, MODE_OBSERVE, REPAIR_OFF, 81, servers[0]);
	all[4] = make_destination("echo", 5, MODE_REWRITE, REPAIR_ECHO, 443, servers[1]);
	all[5] = make_destination("zero", 6, MODE_REWRITE, REPAIR_ZERO, 80, servers[1]);
	for (int i = 1; which == 1 && i < COUNT; i++)
		all[i].mode = MODE_OFF;
	policies[which] = policy_build(all, COUNT);
	if (!policies[which])
		fuzz_fail("out of memory");
	return policies[which];
}

/* Which of the packet's bytes a reason may change, as its name says. */
static void check_change(const struct fuzz_packet *packet, const uint8_t *before, enum reason reason)
{
	const struct reason_info *info = &reason_table[reason];
	struct naive_segment segment;
	bool is_tcp = !packet->input.truncated && naive_parse(before, packet->input.len, &segment);
	bool is_in = strncmp(info->name, "in_", 3) == 0 || strncmp(info->name, "synack_", 7) == 0;

	if (info->action == ACTION_PASS) {
		FUZZ_CHECK(memcmp(before, packet->input.data, packet->input.len) == 0);
		return;
	}
	FUZZ_CHECK(is_tcp && segment.has_ts);
	if (strstr(info->name, "_stripped"))
		naive_check_bytes(&packet->input, before, &segment, segment.ts_at, 10);
	else
		naive_check_bytes(&packet->input, before, &segment, segment.ts_at + (is_in ? 6 : 2), 4);
	if (!is_in && !strstr(info->name, "_stripped"))
		FUZZ_CHECK(memcmp(packet->input.data + segment.ts_at + 2, "\0\0\0\0", 4) != 0);
}

static void handle_packet(struct fuzz_engine *engine, struct fuzz_packet *packet, uint64_t tick)
{
	struct fuzz_input bytes = {packet->input.data, packet->input.len};
	uint8_t *before = fuzz_copy(bytes);
	enum reason reason = fuzz_engine_handle(engine, &packet->input, tick);

	naive_trace(&packet->input, before, tick, reason);
	check_change(packet, before, reason);
	if (engine->capacity <= 64)
		fuzz_engine_check(engine);
	free(before);
	fuzz_traffic_done(packet);
}

static void handle_other(struct fuzz_engine *engine, uint8_t what, uint64_t tick)
{
	struct engine *inner = &engine->engine;

	switch (what & 7) {
	case 0:
		engine_sweep(inner, engine->capacity, tick);
		break;
	case 1:
		engine_sweep(inner, engine->capacity / 3 + 1, tick);
		break;
	case 2:
		fuzz_engine_restart(engine);
		break;
	case 3: /* a reload begins: the rules are still those of the old policy */
		inner->rules_policy = inner->policy;
		inner->policy = get_policy((what >> 3) % POLICIES);
		inner->rules_lag = true;
		break;
	case 4:
		inner->rules_lag = false;
		break;
	case 5:
		inner->rules_lag = true;
		inner->rules_policy = NULL;
		inner->is_draining = what >> 3 & 1;
		break;
	case 6: /* another worker's batch has begun a little later */
		clock_publish(&inner->clock, tick + (what >> 3) * 7u);
		break;
	case 7:
		tick = clock_publish(&inner->clock, tick);
		FUZZ_CHECK(clock_lead_ms(&inner->clock, tick) <= inner->clock.max_lead_ms);
		break;
	}
	fuzz_engine_check(engine);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t leads_ms[4] = {1000, 0, 60000, 30}, capacities[4] = {16, 256, 3, 1};
	struct fuzz_input input = {data, size};
	uint8_t sizes = fuzz_take8(&input);
	uint64_t tick = 1700000000000 + ((uint64_t)fuzz_take32(&input) << (sizes >> 4));
	struct fuzz_engine engine;
	struct fuzz_traffic traffic;
	struct fuzz_packet packet;
	enum fuzz_event event;

	fuzz_engine_open(&engine, capacities[sizes & 3], leads_ms[sizes >> 2 & 3], 0, get_policy(0));
	fuzz_traffic_begin(&traffic, tick, UINT64_MAX, ports);
	for (int i = 0; i < PACKETS_MAX && (event = fuzz_traffic_next(&traffic, &input, &packet)) != FUZZ_END; i++) {
		if (event == FUZZ_OTHER)
			handle_other(&engine, packet.other, traffic.tick);
		else if (fuzz_event_has_packet(event))
			handle_packet(&engine, &packet, traffic.tick);
	}
	fuzz_engine_check(&engine);
	fuzz_engine_close(&engine);
	return 0;
}
