/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine against the naive judge (naive.h). The input: mode, beginning of the clock, size of
 * the table, lead, then traffic (traffic.h). FUZZ_OTHER: 0 sweeps the whole table, 1 a part of
 * it, 2 is a restart, after which all flows must go on.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz_engine.h"
#include "naive.h"
#include "policy_build.h"
#include "traffic.h"

enum {
	TIMEOUT_S = 120,
	SLOT = 2,
	ELAPSED_MAX_MS = 1 << 29, /* so that "newer" means the same to the end */
	PACKETS_MAX = 400,
};

/* Clock readings to begin with: today, and just before the TSval wraps, turns negative, ... */
static const uint64_t starts[] = {
	1700000000000, 0x18b00000000 - 5000, 0x18b80000000 - 5000, 0x18b00000000 + 1, 1,
};

static const struct {
	enum mode mode;
	enum repair repair;
} modes[] = {
	{MODE_REWRITE, REPAIR_ECHO}, {MODE_REWRITE, REPAIR_OFF}, {MODE_REWRITE, REPAIR_ZERO},
	{MODE_STRIP, REPAIR_OFF}, {MODE_OBSERVE, REPAIR_ECHO},
};

enum {
	MODES = sizeof(modes) / sizeof(modes[0]),
};

static void add_prefix(struct destination *destination, const struct addr *addr)
{
	destination->prefixes[destination->prefix_count++] =
		(struct prefix){.addr = *addr, .family = addr_family(addr), .len = addr_family(addr) ? 128 : 32};
}

/* The mode for traffic.h's servers, off for all else. */
static const struct policy *get_policy(unsigned int mode)
{
	static const uint16_t ports[4];
	static struct policy *policies[MODES];
	struct destination *both;
	struct fuzz_traffic traffic;

	if (policies[mode])
		return policies[mode];
	both = calloc(2, sizeof(*both));
	if (!both || !(both[1].prefixes = calloc(4, sizeof(struct prefix))))
		fuzz_fail("out of memory");
	both[0] = (struct destination){.name = "default", .slot = SLOT_DEFAULT, .enabled = true};
	strcpy(both[1].name, "all");
	both[1].slot = SLOT;
	both[1].enabled = true;
	both[1].mode = modes[mode].mode;
	both[1].repair = modes[mode].repair;
	fuzz_traffic_begin(&traffic, 0, 0, ports);
	for (unsigned int i = 0; i < FUZZ_CONNECTIONS; i += 16)
		add_prefix(&both[1], &traffic.connections[i].server);
	policies[mode] = policy_build(both, 2);
	if (!policies[mode])
		fuzz_fail("out of memory");
	return policies[mode];
}

static void handle_packet(struct fuzz_engine *engine, struct naive *naive, struct fuzz_packet *packet, uint64_t tick)
{
	struct fuzz_input bytes = {packet->input.data, packet->input.len};
	uint8_t *before = fuzz_copy(bytes);
	enum reason reason = fuzz_engine_handle(engine, &packet->input, tick);

	naive_trace(&packet->input, before, tick, reason);
	naive_judge(naive, &packet->input, before, tick, reason);
	/* A SYN that found the table full had a part of it swept. */
	naive_judge_sweep(naive, tick, TIMEOUT_S, false);
	free(before);
	fuzz_traffic_done(packet);
}

static void handle_other(struct fuzz_engine *engine, struct naive *naive, uint8_t what, uint64_t tick)
{
	switch (what % 3) {
	case 0:
		engine_sweep(&engine->engine, engine->capacity, tick);
		naive_judge_sweep(naive, tick, TIMEOUT_S, true);
		break;
	case 1:
		engine_sweep(&engine->engine, engine->capacity / 3 + 1, tick);
		naive_judge_sweep(naive, tick, TIMEOUT_S, false);
		break;
	case 2:
		fuzz_engine_restart(engine);
		naive_judge_sweep(naive, tick, TIMEOUT_S, false);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t ports[4] = {443, 80, 8080, 1};
	static const uint32_t leads_ms[4] = {1000, 0, 60000, 30}, capacities[4] = {256, 64, 8, 1};
	struct fuzz_input input = {data, size};
	unsigned int mode = fuzz_take8(&input) % MODES;
	uint64_t start = starts[fuzz_take8(&input) % (sizeof(starts) / sizeof(starts[0]))];
	uint8_t sizes = fuzz_take8(&input);
	struct fuzz_engine engine;
	struct fuzz_traffic traffic;
	struct fuzz_packet packet;
	struct naive *naive;
	enum fuzz_event event;

	fuzz_engine_open(&engine, capacities[sizes & 3], leads_ms[sizes >> 2 & 3], TIMEOUT_S, get_policy(mode));
	naive = naive_new(&engine, modes[mode].mode, modes[mode].repair);
	fuzz_traffic_begin(&traffic, start, ELAPSED_MAX_MS, ports);
	for (int i = 0; i < PACKETS_MAX && (event = fuzz_traffic_next(&traffic, &input, &packet)) != FUZZ_END; i++) {
		if (event == FUZZ_OTHER)
			handle_other(&engine, naive, packet.other, traffic.tick);
		else if (fuzz_event_has_packet(event))
			handle_packet(&engine, naive, &packet, traffic.tick);
	}
	fuzz_engine_check(&engine);
	naive_free(naive);
	fuzz_engine_close(&engine);
	return 0;
}
