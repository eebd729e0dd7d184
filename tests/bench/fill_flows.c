/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fill_flows CONFIG FLOWS: leaves behind what a pawsd that was killed would have, with so many rewritten flows
 * (IPv4, the even ones of bench_packet.h) in its table. For one worker; the configuration must rewrite 198.18.0.0/15.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench_packet.h"
#include "config.h"
#include "engine.h"
#include "state.h"

static uint8_t packet[2048];

static void fail(const char *why)
{
	fprintf(stderr, "fill_flows: %s\n", why);
	exit(1);
}

static void *allocate(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		fail("out of memory");
	return memory;
}

static uint32_t send(struct engine *engine, uint64_t tick, const struct shape *shape, enum reason expected)
{
	struct made made = make_packet(packet, shape);
	struct packet_input input = {.data = packet,
				     .len = made.len,
				     .direction = shape->outbound ? DIRECTION_OUT : DIRECTION_IN};
	enum reason reason = engine_handle(engine, &input, tick);

	if (reason != expected)
		fail(reason_table[reason].name);
	return get32(packet + made.tsval_at);
}

static void open_flow(struct engine *engine, uint64_t tick, uint32_t flow)
{
	struct shape syn = {.flow = flow, .outbound = true, .syn = true, .flags = TCP_SYN, .isn = 1,
			    .tsval = client_tsval(flow, 0)};
	struct shape synack = {.flow = flow, .syn = true, .flags = TCP_SYN | TCP_ACK, .isn = 8, .tsval = 55};
	struct shape ack = {.flow = flow, .outbound = true, .flags = TCP_ACK, .isn = 2,
			    .tsval = client_tsval(flow, 0), .tsecr = 55};

	synack.tsecr = send(engine, tick, &syn, REASON_SYN_REWRITTEN);
	send(engine, tick, &synack, REASON_SYNACK_REWRITTEN);
	send(engine, tick, &ack, REASON_OUT_REWRITTEN);
}

int main(int argc, char **argv)
{
	static const uint64_t secret[2] = {1, 2};
	struct slot_names *names = allocate(sizeof(*names));
	struct config_report errors, warnings;
	struct state_flows parts;
	struct engine engine = {0};
	struct state state;
	struct config *config;
	char error[1024];

	if (argc != 3)
		fail("usage: fill_flows CONFIG FLOWS");
	slot_names_init(names);
	config = config_load(argv[1], names, &errors, &warnings);
	if (!config)
		fail(errors.lines[0]);
	if (state_open(config, &state, error, sizeof(error)) < 0 ||
	    state_map_flows(config, 0, config->flows_max, &parts, error, sizeof(error)) < 0)
		fail(error);
	*state.names = *names;
	engine.policy = config->policy;
	engine.counters = allocate(sizeof(*engine.counters));
	engine.clock = (struct clock){.shared = state.clock, .base = epoch_tsval_base(&state.epoch)};
	memcpy(engine.timeout_s, config->timeout_s, sizeof(engine.timeout_s));
	flow_table_init(&engine.table, parts.kept, allocate(flow_table_index_bytes(config->flows_max)),
			config->flows_max, secret);
	for (uint32_t i = 0; i < strtoul(argv[2], NULL, 10); i++)
		open_flow(&engine, clock_publish(&engine.clock, state_now(&state)), 2 * i);
	printf("%u flows\n", engine.table.used);
	return 0;
}
