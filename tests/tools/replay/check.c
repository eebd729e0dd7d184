/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../table_check.h"
#include "../../fastpath/front.h"
#include "replay.h"
#include "seq.h"

/* Where the option's values lie behind its kind byte. */
enum {
	TSVAL_AT = 2,
	TSECR_AT = 6,
	OPTION_BYTES = 10,
	CHECKSUM_AT = 16,
};

static uint32_t load_u32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static bool in_range(uint32_t value, struct range range)
{
	return value - range.first <= range.last - range.first;
}

static void format_range(struct range range, char *ret_text, size_t size)
{
	if (range.first == range.last)
		snprintf(ret_text, size, "%u", range.first);
	else
		snprintf(ret_text, size, "%u..%u", range.first, range.last);
}

/* Exactly one counter, of one destination, went up by one: that of `reason`. */
static void check_counters(struct world *world, enum reason reason, const char *destination)
{
	int found_slot = -1, expected_slot = destination[0] ? world_slot(world, destination) : -1;

	for (int slot = 0; slot < DESTINATION_SLOTS; slot++) {
		const uint64_t *now = world->counters->reason[slot], *before = world->counters_before->reason[slot];

		for (int i = 0; i < REASON_COUNT; i++) {
			if (now[i] == before[i])
				continue;
			if (i != (int)reason || now[i] != before[i] + 1 || found_slot >= 0)
				world_problem(world, "counter %s of \"%s\" went from %llu to %llu; the reason is %s",
					      reason_table[i].name, world->slot_name[slot], (unsigned long long)before[i],
					      (unsigned long long)now[i], reason_table[reason].name);
			found_slot = slot;
		}
	}
	if (found_slot < 0)
		world_problem(world, "no counter went up for %s", reason_table[reason].name);
	else if (destination[0] && found_slot != expected_slot)
		world_problem(world, "counted for \"%s\", expected \"%s\"", world->slot_name[found_slot], destination);
	if (reason_table[reason].action == ACTION_MODIFY && found_slot == SLOT_NONE)
		world_problem(world, "%s counted for no destination", reason_table[reason].name);
}

/* May this byte differ after the engine had the packet? */
static bool may_change(const struct segment *segment, const struct expectation *expectation,
		       const struct built *built, uint32_t at)
{
	uint32_t checksum = built->tcp_at + CHECKSUM_AT;

	if (at - checksum < 2)
		return !segment->gso;
	if (built->ts_at == NOT_SET)
		return false;
	if (expectation->no_ts)
		return at - (uint32_t)built->ts_at < OPTION_BYTES;
	return at - (uint32_t)built->ts_at - (segment->outbound ? TSVAL_AT : TSECR_AT) < 4;
}

static void check_bytes(struct world *world, const struct segment *segment, const struct expectation *expectation,
			const struct built *built, const uint8_t *before)
{
	for (uint32_t i = 0; i < built->len; i++)
		if (built->data[i] != before[i] && !may_change(segment, expectation, built, i))
			world_problem(world, "byte %u changed from %02x to %02x", i, before[i], built->data[i]);
}

static void check_timestamps(struct world *world, const struct expectation *expectation, const struct built *built)
{
	const uint8_t *option = built->data + built->ts_at;
	uint32_t tsval = load_u32(option + TSVAL_AT), tsecr = load_u32(option + TSECR_AT);
	char tsval_text[32], tsecr_text[32];

	if (expectation->no_ts) {
		for (int i = 0; i < OPTION_BYTES; i++)
			if (option[i] != 1) {
				world_problem(world, "byte %d of the stripped option is %02x, not NOP", i, option[i]);
				return;
			}
		return;
	}
	if (in_range(tsval, expectation->tsval) && in_range(tsecr, expectation->tsecr))
		return;
	format_range(expectation->tsval, tsval_text, sizeof(tsval_text));
	format_range(expectation->tsecr, tsecr_text, sizeof(tsecr_text));
	world_problem(world, "expected <TS val %s ecr %s>, got <TS val %u ecr %u>", tsval_text, tsecr_text, tsval, tsecr);
}

static void check_checksum(struct world *world, const struct segment *segment, const struct built *built,
			   const uint8_t *before)
{
	bool valid = build_checksum_valid(built, built->data);

	if (segment->gso) /* not even looked at; check_bytes() has seen that it is the same */
		return;
	if (segment->checksum_not_ready) {
		if (!valid)
			world_problem(world, "the checksum was to be filled in and is not valid");
	} else if (valid != build_checksum_valid(built, before)) {
		world_problem(world, "the checksum was %s and is %s", valid ? "invalid" : "valid",
			      valid ? "valid" : "invalid");
	}
}

static void check_outcome(struct world *world, const struct segment *segment, const struct expectation *expectation,
			  const struct built *built, const uint8_t *before, enum reason reason)
{
	const struct reason_info *info = &reason_table[reason];
	bool changed = memcmp(built->data, before, built->len) != 0;

	if (expectation->reason != REASON_COUNT && reason != expectation->reason)
		world_problem(world, "expected %s, got %s", reason_table[expectation->reason].name, info->name);
	else if (!expectation->any && info->total != expectation->total)
		world_problem(world, "expected %s, got %s", reason_total_names[expectation->total], info->name);
	if (info->action == ACTION_PASS && changed)
		world_problem(world, "%s is to pass, and bytes changed", info->name);
	if (info->action == ACTION_PASS && expectation->no_ts)
		world_problem(world, "%s passes, but the option was expected to go", info->name);
	if (info->action == ACTION_MODIFY && !changed && !expectation->ts && !expectation->any)
		world_problem(world, "%s is to modify, and nothing changed", info->name);
	check_bytes(world, segment, expectation, built, before);
	if ((expectation->ts || expectation->no_ts) && built->ts_at != NOT_SET)
		check_timestamps(world, expectation, built);
	else if (changed && !expectation->any)
		world_problem(world, "changed; the expected option is not given");
	if (info->action == ACTION_MODIFY)
		check_checksum(world, segment, built, before);
}

static bool same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
	return addr_equal(&a->addr, &b->addr) && a->port == b->port;
}

/* P1, whatever the line expects: not older than what the server got, newer than the last connection's. */
static void check_syn(struct world *world, uint32_t tsval, bool first)
{
	uint32_t count = world->history_count < HISTORY_MAX ? world->history_count : HISTORY_MAX;

	for (uint32_t i = 0; i < count; i++) {
		const struct sent *sent = &world->history[i];
		bool same = same_endpoint(&sent->client, &world->client) && same_endpoint(&sent->server, &world->server);
		bool recent = world->now_ms - sent->now_ms <= 60000 &&
			      addr_equal(&sent->server.addr, &world->server.addr);

		if (recent && seq_after(sent->tsval, tsval))
			world_problem(world, "a SYN with TSval %u, %u was sent there %lld ms ago", tsval, sent->tsval,
				      (long long)(world->now_ms - sent->now_ms));
		else if (recent && same && first && tsval == sent->tsval)
			world_problem(world, "a new connection with TSval %u, the old one on its four-tuple sent it too",
				      tsval);
	}
}

/* A copy of a SYN that comes when the connection runs opens nothing. */
static bool opens_connection(const struct world *world, enum reason reason, uint32_t isn)
{
	const struct flow_table *table = &world->engine.table;
	const struct flow *flow;
	bool outbound;

	if (reason != REASON_SYN_RETRANSMITTED)
		return reason == REASON_SYN_REWRITTEN;
	flow = flow_table_find(table, &world->client.addr, world->client.port, &world->server.addr, world->server.port,
			       &outbound);
	if (flow && flow_table_syn(table, flow)->isn != isn)
		flow = flow_table_find_elder(table, flow);
	return flow && (flow->state == FLOW_SYN_SENT || flow->state == FLOW_SYN_RECV);
}

/* What the engine could not or was not to read says nothing. */
static void note_sent(struct world *world, const struct built *built, enum reason reason)
{
	struct sent *sent = &world->history[world->history_count % HISTORY_MAX];
	uint32_t tsval;

	if (built->ts_at == NOT_SET || reason >= REASON_TRUNCATED || reason_table[reason].total == TOTAL_STRIPPED ||
	    built->data[built->ts_at] != 8)
		return;
	tsval = load_u32(built->data + built->ts_at + TSVAL_AT);
	if (tsval == 0) {
		if (reason_table[reason].action == ACTION_MODIFY)
			world_problem(world, "TSval 0 was emitted");
		return;
	}
	if (opens_connection(world, reason, load_u32(built->data + built->tcp_at + 4)))
		check_syn(world, tsval, reason == REASON_SYN_REWRITTEN);
	*sent = (struct sent){world->client, world->server, world->now_ms, tsval};
	world->history_count++;
}

void check_packet(struct world *world, const struct segment *segment, const struct expectation *expectation)
{
	struct built built;
	struct packet_input input;
	uint64_t tick = world_tick(world);
	uint8_t *before;
	enum reason reason;

	build_packet(segment, &world->client, &world->server, &built);
	before = malloc(built.len ? built.len : 1);
	if (!before)
		abort();
	memcpy(before, built.data, built.len);
	memcpy(world->counters_before, world->counters, sizeof(*world->counters));
	input = (struct packet_input){
		.data = built.data, .len = built.len, .truncated = segment->truncated, .gso = segment->gso,
		.csum_not_ready = segment->checksum_not_ready,
		.direction = segment->outbound ? DIRECTION_OUT : DIRECTION_IN,
	};
	if (segment->wan_given)
		input.direction = segment->wan;
	else if (world->wan_unknown)
		input.direction = DIRECTION_UNKNOWN;
	if (clock_publish(&world->engine.clock, tick) != tick)
		world_problem(world, "the shared clock is not at %llu", (unsigned long long)tick);
	if (world->front) {
		const char *problem;

		reason = front_handle(world->front, &input, tick, &problem);
		if (problem)
			world_problem(world, "fast path: %s", problem);
	} else {
		reason = engine_handle(&world->engine, &input, tick);
	}
	if ((unsigned int)reason >= REASON_COUNT) {
		world_problem(world, "engine_handle() returned %d", (int)reason);
	} else {
		check_outcome(world, segment, expectation, &built, before, reason);
		check_counters(world, reason, expectation->destination);
		if (segment->outbound)
			note_sent(world, &built, reason);
	}
	check_world(world);
	free(before);
	free(built.data);
}

static void check_flow(struct world *world, const struct flow *flow, uint64_t found[][FLOW_STATE_COUNT])
{

	if (flow->state >= FLOW_STATE_COUNT || flow->slot >= DESTINATION_SLOTS) {
		world_problem(world, "a flow with state %u, slot %u", flow->state, flow->slot);
		return;
	}
	found[flow->slot][flow->state]++;
	if (!table_reaches(&world->engine.table, flow))
		world_problem(world, "a flow cannot be found");
}

void check_world(struct world *world)
{
	static uint64_t found[DESTINATION_SLOTS][FLOW_STATE_COUNT];
	uint32_t used = 0, pairs_used = 0;

	memset(found, 0, sizeof(found));
	for (uint32_t i = 0; i < world->capacity; i++) {
		const struct flow *flow = &world->engine.table.flows[i];

		if (flow->state == FLOW_FREE)
			continue;
		used++;
		pairs_used += flow_table_pairs(&world->engine.table, flow) != NULL;
		check_flow(world, flow, found);
	}
	if (used != flow_table_used(&world->engine.table) || pairs_used != world->engine.table.pairs_used)
		world_problem(world, "%u flows and %u blocks of pairs in the table, it says %u and %u", used, pairs_used,
			      flow_table_used(&world->engine.table), world->engine.table.pairs_used);
	for (uint32_t slot = 0; slot < DESTINATION_SLOTS; slot++)
		for (uint32_t state = 0; state < FLOW_STATE_COUNT; state++)
			if (found[slot][state] != world->counters->flows[slot][state])
				world_problem(world, "gauge %s of \"%s\" says %llu, there are %llu",
					      flow_state_names[state], world->slot_name[slot],
					      (unsigned long long)world->counters->flows[slot][state],
					      (unsigned long long)found[slot][state]);
}
