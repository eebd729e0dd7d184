/* SPDX-License-Identifier: GPL-2.0-or-later */
/* P5, P6 and P7: what happens to the bytes, and what is counted. */
#include "gateway.h"

enum {
	AUDIT_EVERY = 512,
};

static bool may_change(const struct crossing *c, uint32_t at)
{
	uint32_t check_at = c->before.tcp_at + 16, ts_at = (uint32_t)c->before.ts_at;
	bool strip = c->after.ts_at < 0 && (c->before.flags & SYN);

	if (c->before.ts_at < 0)
		return false;
	if (at == check_at || at == check_at + 1)
		return true;
	if (strip)
		return at >= ts_at && at < ts_at + 10 && c->wire->data[at] == 1;
	if (c->segment->outbound)
		return at >= ts_at + 2 && at < ts_at + 6;
	return at >= ts_at + 6 && at < ts_at + 10;
}

static void check_checksum(struct world *world, const struct crossing *c, bool changed)
{
	bool before, after;

	if (c->wire->gso || c->wire->unready) {
		if (!changed)
			return;
		if (c->wire->gso)
			after = c->before.checksum == c->after.checksum;
		else
			after = wire_is_checksum_valid(c->wire->data, &c->after) != c->segment->bad_checksum;
		check_rule(world, RULE_P6_UNREADY, after, "plan %u: checksum %04x became %04x (GSO: %d)",
			   c->segment->plan, c->before.checksum, c->after.checksum, c->wire->gso);
		return;
	}
	before = !c->segment->bad_checksum;
	after = wire_is_checksum_valid(c->wire->data, &c->after);
	check_rule(world, RULE_P6_CHECKSUM, before == after, "plan %u: checksum valid before: %d, after: %d",
		   c->segment->plan, before, after);
}

void oracle_check_bytes(struct world *world, const struct crossing *c, const struct oracle_flow *flow)
{
	const uint8_t *before = c->before_data, *after = c->wire->data;
	/* What is an older connection's may be rewritten, whatever the new one's policy. */
	bool is_elders = flow && flow->plan != c->segment->plan && !(c->before.flags & SYN);
	bool inside = is_elders || (flow && !flow->midstream && (flow->managed || flow->mode == MODE_STRIP));
	bool changed = memcmp(before, after, c->wire->len) != 0, good = true;

	check_checksum(world, c, changed);
	if (c->reason >= 0)
		check_rule(world, RULE_P7_REASON, !changed || reason_table[c->reason].action == ACTION_MODIFY,
			   "plan %u: \"%s\" changes nothing, but something did", c->segment->plan,
			   reason_table[c->reason].name);
	if (!inside) {
		check_rule(world, RULE_P5_OUTSIDE, !changed, "plan %u: packet outside of the policy was changed",
			   c->segment->plan);
		return;
	}
	for (uint32_t i = 0; changed && i < c->wire->len; i++)
		good &= before[i] == after[i] || may_change(c, i);
	check_rule(world, RULE_P5_BYTES, good, "plan %u: more than the timestamps was changed", c->segment->plan);
	if (!(c->before.flags & SYN) && c->before.ts_at >= 0)
		check_rule(world, RULE_P8_RUNNING, c->after.ts_at >= 0, "plan %u: lost its timestamps",
			   c->segment->plan);
}

static uint64_t sum_slots(const struct world *world, const struct crossing *c, int reason)
{
	const struct counters *counters = c->gateway->room.counters;
	uint64_t sum = 0;

	for (uint32_t slot = 0; slot < engine_room_slot(world->scenario->server_count); slot++)
		sum += counters->reason[slot][reason];
	return sum;
}

void oracle_check_counter(struct world *world, struct oracle *oracle, const struct crossing *c)
{
	bool good;

	if (world->run == RUN_PLAIN)
		return;
	if (world->run == RUN_TEXTBOOK) {
		count_rule(world, RULE_P7_COUNTER, c->reason == -1);
		count_rule(world, RULE_P9_TABLE, c->gateway->textbook.count <= world->scenario->capacity);
		return;
	}
	oracle->expected[c->reason]++;
	good = sum_slots(world, c, c->reason) == oracle->expected[c->reason];
	if (oracle->until_audit-- == 0) {
		oracle->until_audit = AUDIT_EVERY;
		for (int i = 0; i < REASON_COUNT; i++)
			good &= sum_slots(world, c, i) == oracle->expected[i];
	}
	check_rule(world, RULE_P7_COUNTER, good, "plan %u: counters disagree, \"%s\"", c->segment->plan,
		   reason_table[c->reason].name);
	check_rule(world, RULE_P9_TABLE, flow_table_used(&c->gateway->room.engine.table) <= c->gateway->room.capacity,
		   "%u flows", flow_table_used(&c->gateway->room.engine.table));
}
