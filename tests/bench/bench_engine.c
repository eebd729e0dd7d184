/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_packet.h"
#include "engine.h"
#include "policy_build.h"

/*
 * bench_engine FLOWS PACKETS: puts traces through engine_handle(), each of PACKETS packets, beside FLOWS
 * live flows, half of them IPv6. tests/bench/run counts the instructions from outside, between
 * bench_trace_begin() and bench_trace_end(); here only the trace is printed, one a line: its path ("established",
 * "syn" or "full"), "IPv4" or "IPv6", and what it is. Every packet must end under the reason that the trace is
 * about, else exit status 1.
 *
 * bench_engine memory FLOWS: prints the bytes of a table for so many flows.
 *
 * bench_engine ahead FLOWS PACKETS: nanoseconds a packet of random flows, in batches, without and with
 * engine_look_ahead(); the best of some rounds, one after the other in turn.
 */

enum {
	FLOWS_A_MS = 50, /* while the table fills */
	GRO_BYTES = 60000,
	SMALL_BYTES = 52, /* behind the TCP header */
	START_TICK = 10000000,
};

/* What the client and the server of a flow know. */
struct bench_flow {
	uint32_t syn_tick;
	uint32_t emitted; /* TSval that the server saw last */
};

struct bench {
	struct engine engine;
	struct policy *policy;
	struct bench_flow *flows;
	uint32_t live, packets; /* flows with a handshake behind them, packets of a trace */
	uint64_t tick;
	uint32_t random;
};

static uint8_t packet[65536];

/* Entering these is what starts and ends a measurement. */
void bench_trace_begin(void);
void bench_trace_end(void);

__attribute__((noinline)) void bench_trace_begin(void)
{
	__asm__ volatile("");
}

__attribute__((noinline)) void bench_trace_end(void)
{
	__asm__ volatile("" : : : "memory");
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		abort();
	return memory;
}

/* ---- the engine ---- */

static struct policy *make_policy(void)
{
	struct destination *all = allocate(DESTINATIONS + 1, sizeof(*all));

	for (uint32_t i = 0; i <= DESTINATIONS; i++) {
		struct destination *destination = &all[i];

		snprintf(destination->name, sizeof(destination->name), i ? "d%u" : "default", i);
		destination->slot = (uint16_t)(SLOT_DEFAULT + i);
		destination->enabled = true;
		if (i == 0)
			continue;
		destination->mode = MODE_REWRITE;
		destination->prefixes = allocate(FAMILY_COUNT, sizeof(*destination->prefixes));
		destination->prefix_count = FAMILY_COUNT;
		for (int family = 0; family < FAMILY_COUNT; family++) {
			struct prefix *prefix = &destination->prefixes[family];

			prefix->addr = make_addr(family == FAMILY_IPV6, server_number(i - 1, 0));
			prefix->family = (enum family)family;
			prefix->len = family == FAMILY_IPV6 ? 120 : 24;
		}
		destination->ports = allocate(1, sizeof(*destination->ports));
		destination->ports[0] = (struct port_range){443, 443};
		destination->port_count = 1;
	}
	return policy_build(all, DESTINATIONS + 1);
}

static void make_engine(struct engine *engine, uint32_t capacity)
{
	static const uint32_t timeouts[FLOW_STATE_COUNT] = {
#define X(id, name, timeout_s, help) [FLOW_##id] = timeout_s,
		FLOW_STATE_TABLE(X)
#undef X
	};
	static const uint64_t secret[2] = {0x9e3779b97f4a7c15u, 0xdeadbeefcafef00du};

	memset(engine, 0, sizeof(*engine));
	memcpy(engine->timeout_s, timeouts, sizeof(timeouts));
	engine->counters = allocate(1, sizeof(*engine->counters));
	engine->clock.shared = allocate(1, sizeof(*engine->clock.shared));
	engine->clock.max_lead_ms = 1000;
	flow_table_init(&engine->table, allocate(1, flow_table_kept_bytes(capacity)),
			allocate(1, flow_table_index_bytes(capacity)), capacity, secret);
}

/* ---- packets ---- */

static enum reason send(struct bench *bench, const struct shape *shape, uint32_t *ret_tsval)
{
	struct made made = make_packet(packet, shape);
	struct packet_input input = {
		.data = packet,
		.len = made.len,
		.gso = shape->payload > SMALL_BYTES,
		.direction = shape->outbound ? DIRECTION_OUT : DIRECTION_IN,
	};
	enum reason reason = engine_handle(&bench->engine, &input, bench->tick);

	*ret_tsval = get32(packet + made.tsval_at);
	return reason;
}

static void must_be(enum reason got, enum reason expected)
{
	if (got == expected)
		return;
	fprintf(stderr, "a packet ended under %s, not %s\n", reason_table[got].name, reason_table[expected].name);
	exit(1);
}

static uint32_t client_clock(const struct bench *bench, uint32_t flow)
{
	return client_tsval(flow, (uint32_t)bench->tick - bench->flows[flow].syn_tick);
}

static void send_syn(struct bench *bench, uint32_t flow, uint32_t isn, enum reason expected)
{
	struct shape shape = {.flow = flow, .outbound = true, .syn = true, .flags = TCP_SYN, .isn = isn};

	if (expected == REASON_SYN_REWRITTEN)
		bench->flows[flow].syn_tick = (uint32_t)bench->tick;
	shape.tsval = client_clock(bench, flow);
	must_be(send(bench, &shape, &bench->flows[flow].emitted), expected);
}

static void send_synack(struct bench *bench, uint32_t flow)
{
	struct shape shape = {.flow = flow, .syn = true, .flags = TCP_SYN | TCP_ACK, .isn = 8, .tsval = 55,
			      .tsecr = bench->flows[flow].emitted};
	uint32_t tsval;

	must_be(send(bench, &shape, &tsval), REASON_SYNACK_REWRITTEN);
}

static uint32_t payload_of(bool gro)
{
	return gro ? GRO_BYTES : SMALL_BYTES;
}

/* `ahead_ms`: the client's clock ticks that much earlier than ours. */
static void send_out(struct bench *bench, uint32_t flow, bool gro, uint32_t ahead_ms)
{
	struct shape shape = {.flow = flow, .outbound = true, .payload = payload_of(gro), .flags = TCP_ACK, .isn = 2,
			      .tsval = client_clock(bench, flow) + ahead_ms, .tsecr = 55};

	must_be(send(bench, &shape, &bench->flows[flow].emitted), REASON_OUT_REWRITTEN);
}

static void send_in(struct bench *bench, uint32_t flow, bool gro)
{
	struct shape shape = {.flow = flow, .payload = payload_of(gro), .flags = TCP_ACK, .isn = 10, .tsval = 77,
			      .tsecr = bench->flows[flow].emitted};
	uint32_t tsval;

	must_be(send(bench, &shape, &tsval), REASON_IN_REWRITTEN);
}

/* ---- traces ---- */

enum step {
	STEP_OUT,
	STEP_OUT_AHEAD,
	STEP_IN,
	STEP_SYN,
	STEP_SYN_AGAIN,
	STEP_SYNACK,
	STEP_REUSE,	 /* a new connection on a live flow's four-tuple */
	STEP_TABLE_FULL, /* a new connection that finds no room */
};

static void do_step(struct bench *bench, enum step step, uint32_t flow, bool gro)
{
	switch (step) {
	case STEP_OUT:
		send_out(bench, flow, gro, 0);
		break;
	case STEP_OUT_AHEAD:
		send_out(bench, flow, gro, 1);
		break;
	case STEP_IN:
		send_in(bench, flow, gro);
		break;
	case STEP_SYN:
		send_syn(bench, flow, 1, REASON_SYN_REWRITTEN);
		break;
	case STEP_SYN_AGAIN:
		send_syn(bench, flow, 1, REASON_SYN_RETRANSMITTED);
		break;
	case STEP_SYNACK:
		send_synack(bench, flow);
		break;
	case STEP_REUSE:
		send_syn(bench, flow, bench->random, REASON_SYN_REWRITTEN);
		break;
	case STEP_TABLE_FULL:
		send_syn(bench, flow, 1, REASON_TABLE_FULL);
		break;
	}
}

/* A live flow of that IP version, any, or the trace's number'th of those that are to come. */
static uint32_t pick_flow(struct bench *bench, enum step step, bool ipv6, uint32_t number)
{
	if (step == STEP_SYN || step == STEP_SYN_AGAIN || step == STEP_SYNACK)
		return bench->live + number * 2 + ipv6;
	if (step == STEP_TABLE_FULL)
		return bench->live + (3 * bench->packets + number) * 2 + ipv6;
	bench->random = bench->random * 1664525 + 1013904223;
	return (bench->random >> 8) % (bench->live / 2) * 2 + ipv6;
}

static void run_trace(struct bench *bench, const char *name, enum step step, bool ipv6, bool gro)
{
	bench_trace_begin();
	for (uint32_t i = 0; i < bench->packets; i++) {
		/* In a full table no time passes: unanswered SYNs of the traces before would give up their places. */
		bench->tick += i % 10 == 0 && step != STEP_TABLE_FULL;
		clock_publish(&bench->engine.clock, bench->tick);
		do_step(bench, step, pick_flow(bench, step, ipv6, i), gro);
	}
	bench_trace_end();
	printf("%s IPv%d %s%s\n", step <= STEP_IN ? "established" : step == STEP_TABLE_FULL ? "full" : "syn",
	       ipv6 ? 6 : 4, name, gro ? ", GRO" : "");
}

/* What room the traces have left. */
static void fill_rest(struct bench *bench)
{
	for (uint32_t i = 2 * bench->packets; bench->engine.table.free_flow; i++) {
		send_syn(bench, bench->live + i, 1, REASON_SYN_REWRITTEN);
		send_synack(bench, bench->live + i);
	}
}

static void run_traces(struct bench *bench)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++)
		for (int gro = 0; gro < 2; gro++) {
			run_trace(bench, "out", STEP_OUT, ipv6, gro);
			run_trace(bench, "out, 1 ms ahead of the clock", STEP_OUT_AHEAD, ipv6, gro);
			run_trace(bench, "in", STEP_IN, ipv6, gro);
		}
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		run_trace(bench, "SYN", STEP_SYN, ipv6, false);
		run_trace(bench, "SYN/ACK", STEP_SYNACK, ipv6, false);
		run_trace(bench, "SYN again", STEP_SYN_AGAIN, ipv6, false);
	}
	for (int ipv6 = 0; ipv6 < 2; ipv6++)
		run_trace(bench, "SYN on a known four-tuple", STEP_REUSE, ipv6, false);
	fill_rest(bench);
	for (int ipv6 = 0; ipv6 < 2; ipv6++)
		run_trace(bench, "SYN, the table full", STEP_TABLE_FULL, ipv6, false);
}

static void fill_table(struct bench *bench)
{
	for (uint32_t flow = 0; flow < bench->live; flow++) {
		bench->tick += flow % FLOWS_A_MS == 0;
		clock_publish(&bench->engine.clock, bench->tick);
		send_syn(bench, flow, 1, REASON_SYN_REWRITTEN);
		send_synack(bench, flow);
		send_out(bench, flow, false, 0);
	}
	if (bench->engine.table.used != bench->live)
		abort();
}

/* ---- looking ahead ---- */

/* Nanoseconds a packet for a batch of segments, each of some flow. */
static double time_batch(struct bench *bench, bool looks_ahead)
{
	static uint8_t bytes[ENGINE_AHEAD_MAX][2048];
	struct packet_input inputs[ENGINE_AHEAD_MAX];
	struct timespec begin, end;

	for (uint32_t i = 0; i < ENGINE_AHEAD_MAX; i++) {
		uint32_t flow = pick_flow(bench, STEP_OUT, i & 1, 0);
		struct shape shape = {.flow = flow, .outbound = true, .payload = SMALL_BYTES, .flags = TCP_ACK, .isn = 2,
				      .tsval = client_clock(bench, flow), .tsecr = 55};
		struct made made = make_packet(bytes[i], &shape);

		inputs[i] = (struct packet_input){.data = bytes[i], .len = made.len, .direction = DIRECTION_OUT};
	}
	clock_gettime(CLOCK_MONOTONIC, &begin);
	if (looks_ahead)
		engine_look_ahead(&bench->engine, inputs, ENGINE_AHEAD_MAX);
	for (uint32_t i = 0; i < ENGINE_AHEAD_MAX; i++)
		must_be(engine_handle(&bench->engine, &inputs[i], bench->tick), REASON_OUT_REWRITTEN);
	clock_gettime(CLOCK_MONOTONIC, &end);
	return ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / ENGINE_AHEAD_MAX;
}

static void time_look_ahead(struct bench *bench)
{
	double best[2] = {1e9, 1e9};

	for (int round = 0; round < 20; round++) {
		for (int looks_ahead = 0; looks_ahead < 2; looks_ahead++) {
			double sum = 0;
			uint32_t batches = bench->packets / ENGINE_AHEAD_MAX + 1;

			for (uint32_t i = 0; i < batches; i++)
				sum += time_batch(bench, looks_ahead);
			if (sum / batches < best[looks_ahead])
				best[looks_ahead] = sum / batches;
		}
	}
	printf("%u flows: %.1f ns a packet, %.1f with a look ahead\n", bench->live, best[0], best[1]);
}

int main(int argc, char **argv)
{
	bool times_ahead = argc == 4 && strcmp(argv[1], "ahead") == 0;
	struct bench bench = {.tick = START_TICK, .random = 1};
	uint32_t capacity;

	if (argc == 3 && strcmp(argv[1], "memory") == 0) {
		capacity = (uint32_t)strtoul(argv[2], NULL, 10);
		printf("%zu\n", flow_table_kept_bytes(capacity) + flow_table_index_bytes(capacity));
		return 0;
	}
	if (argc != 3 && !times_ahead) {
		fprintf(stderr, "usage: bench_engine FLOWS PACKETS | memory FLOWS | ahead FLOWS PACKETS\n");
		return 2;
	}
	argv += times_ahead;
	bench.live = (uint32_t)strtoul(argv[1], NULL, 10);
	bench.packets = (uint32_t)strtoul(argv[2], NULL, 10);
	capacity = bench.live + 4 * bench.packets; /* room for the traces' new flows, and elders */
	bench.flows = allocate(bench.live + 8 * bench.packets, sizeof(*bench.flows));
	make_engine(&bench.engine, capacity);
	bench.engine.policy = bench.policy = make_policy();
	fill_table(&bench);
	if (times_ahead)
		time_look_ahead(&bench);
	else
		run_traces(&bench);
	return 0;
}
