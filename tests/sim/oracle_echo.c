/* SPDX-License-Identifier: GPL-2.0-or-later */
/* P4: what becomes of a TSecr. */
#include "gateway.h"

enum {
	SYN_SPAN_MS = 150000, /* pawsd takes the SYNs before the last to be no further from it */
};

/* Every pair that may be meant, newest first. */
static bool is_known_echo(const struct oracle_flow *flow, uint32_t tsecr, uint32_t tsval, bool syn, bool *ret_emitted)
{
	*ret_emitted = false;
	for (uint32_t i = flow->pair_count; i-- > 0;) {
		const struct pair *pair = &flow->pairs[i];

		if (pair->emitted != tsecr || pair->syn != syn)
			continue;
		*ret_emitted = true;
		/* 2^32 - 1 stands for 0 as well, one tick later. */
		if (pair->tsval == tsval || (tsecr == UINT32_MAX && pair->tsval == tsval + 1))
			return true;
	}
	return false;
}

static bool is_of_a_syn(const struct oracle_flow *flow, uint32_t tsval)
{
	for (uint32_t i = 0; i < flow->pair_count; i++)
		if (flow->pairs[i].syn && flow->pairs[i].tsval == tsval)
			return true;
	return false;
}

/* Not newer than the newest, and not much older than the first. */
static bool is_within(const struct oracle_flow *flow, uint32_t tsecr)
{
	return !seq_after(tsecr, flow->newest) && flow->pair_count &&
	       (!flow->pairs[0].syn || !seq_after(flow->pairs[0].emitted - SYN_SPAN_MS, tsecr));
}

/* One that was never sent. */
static void check_foreign(struct world *world, const struct crossing *c, const struct oracle_flow *flow)
{
	uint32_t tsecr = c->before.tsecr, now = c->after.tsecr;
	bool synack = c->before.flags & SYN, good;
	int want = REASON_IN_FOREIGN_TSECR;

	/* It might be one, for all that the engine remembers. */
	if (flow->ran_away || (!(synack && flow->handshake) && is_within(flow, tsecr)))
		return;
	good = now == tsecr;
	if (synack && flow->repair == REPAIR_ECHO) {
		good = is_of_a_syn(flow, now);
		want = REASON_SYNACK_REPAIRED_ECHO;
	} else if (synack && flow->repair == REPAIR_ZERO) {
		good = now == 0;
		want = REASON_SYNACK_REPAIRED_ZERO;
	} else if (synack) {
		want = REASON_SYNACK_FOREIGN_TSECR;
	}
	good &= world->run == RUN_PLAIN || c->reason == want;
	check_rule(world, RULE_P4_FOREIGN, good, "plan %u: TSecr %u, never sent, became %u", c->segment->plan, tsecr,
		   now);
}

/* The newest of the client's TSvals that were emitted so, or a newer one that it has really sent. */
static bool is_scaled_echo(const struct oracle_flow *flow, uint32_t tsecr, uint32_t tsval)
{
	const struct pair *sent = NULL;

	for (uint32_t i = flow->pair_count; i-- > 0 && !sent;)
		if (flow->pairs[i].tsval == tsval)
			sent = &flow->pairs[i];
	for (uint32_t i = 0; sent && i < flow->pair_count; i++) {
		const struct pair *pair = &flow->pairs[i];
		bool comparable = pair->at_us + MINUTES(30) > sent->at_us && sent->at_us + MINUTES(30) > pair->at_us;

		if (pair->emitted == tsecr && comparable ? seq_after(pair->tsval, tsval) : pair->at_us > sent->at_us)
			if (pair->emitted == tsecr)
				return false;
	}
	return sent;
}

void oracle_spare_client(const struct world *world, const struct segment *segment)
{
	struct socket *socket = socket_of_client(world, segment->client, segment->client_port, segment->server);

	if (socket && socket->plan.number == segment->plan)
		socket->victim = true;
}

void oracle_check_echo(struct world *world, const struct crossing *c, struct oracle_flow *flow)
{
	uint32_t tsecr = c->before.tsecr, now = c->after.tsecr;
	bool emitted, syn, good;
	enum rule rule = RULE_P4_SEGMENT;

	if (tsecr == 0) {
		check_rule(world, RULE_P4_ZERO, now == 0, "plan %u: TSecr 0 became %u", c->segment->plan, now);
		return;
	}
	good = is_known_echo(flow, tsecr, now, true, &emitted);
	syn = emitted;
	if (syn) {
		rule = flow->pairs_out ? RULE_APART_PAIRS : RULE_P4_SYN;
	}
	if (!good && !(c->before.flags & SYN)) {
		good = is_known_echo(flow, tsecr, now, false, &emitted);
		syn |= emitted;
	}
	if (!good && flow->scaled && syn)
		good = is_scaled_echo(flow, tsecr, now);
	if (!syn) {
		check_foreign(world, c, flow);
		return;
	}
	if (!good && rule == RULE_APART_PAIRS)
		oracle_spare_client(world, c->segment);
	if (!good && world_has_gone_round(world, c->segment->client, flow->pairs[0].at_us) && !flow->scaled)
		rule = RULE_APART_SCALED;
	check_rule(world, rule, good, "plan %u: TSecr %u became %u, which the client did not send with it (\"%s\")",
		   c->segment->plan, tsecr, now, c->reason >= 0 ? reason_table[c->reason].name : "");
}
