/* SPDX-License-Identifier: GPL-2.0-or-later */
/* P7: which reasons fit a packet. */
#include "gateway.h"

enum {
	STAMPED_SURELY_S = 59,
	STAMPED_NEVER_S = 70,
	HANDSHAKE_BYTES = 128 * 1024,
};

#define BIT(id) (1ull << REASON_##id)

_Static_assert(REASON_COUNT <= 64, "a set of reasons is a word");

static uint64_t fit_bare_syn(const struct world *world, const struct oracle *oracle, const struct crossing *c)
{
	const struct history *history = &oracle->histories[server_of(world, c->segment->server)->address];
	uint64_t age_us = world->now_us - history->stamped_us;
	bool maybe = history->alive_us && world->now_us - history->alive_us < SECONDS(STAMPED_NEVER_S);

	if (!history->stamped_us || age_us > SECONDS(STAMPED_NEVER_S))
		return BIT(SYN_NO_TIMESTAMPS) | (maybe ? BIT(SYN_NO_TIMESTAMPS_MIXED) : 0);
	if (age_us < SECONDS(STAMPED_SURELY_S))
		return BIT(SYN_NO_TIMESTAMPS_MIXED);
	return BIT(SYN_NO_TIMESTAMPS) | BIT(SYN_NO_TIMESTAMPS_MIXED);
}

static uint64_t fit_syn(const struct world *world, const struct oracle *oracle, const struct crossing *c,
			const struct oracle_flow *flow, bool first)
{
	const struct server *server = server_of(world, c->segment->server);
	enum mode mode = server->mode[world->policy_epoch];
	uint64_t fit = 0;

	/* conntrack begins anew with a copy of its SYN that comes when it is over, and behind the NAT there is nobody else to ask. */
	if (!first && engine_room_is_wan(&c->gateway->room) && flow->fin_out && flow->fin_in)
		fit |= BIT(SYN_REWRITTEN);
	if (!first)
		return fit | (flow->mode == MODE_STRIP ? BIT(SYN_STRIPPED)
			      : flow->managed	       ? BIT(SYN_RETRANSMITTED)
						       : BIT(SYN_OBSERVED));
	/* Where two clients send their SYNs from one four-tuple, both flows may be known. */
	if (flow->had_previous && (c->segment->source.serial > 1 || c->segment->copy))
		fit |= BIT(SYN_RETRANSMITTED) | BIT(SYN_POLICY_OFF) | BIT(SYN_OBSERVED);
	if (mode == MODE_OFF)
		return fit | BIT(SYN_POLICY_OFF);
	if (mode == MODE_REWRITE && world->rules_lag && server->mode[world->policy_epoch - 1] != MODE_REWRITE)
		return fit | BIT(SYN_POLICY_OFF);
	if (c->before.ts_at < 0)
		return fit_bare_syn(world, oracle, c);
	if (c->table_was_full)
		fit |= BIT(TABLE_FULL);
	if (world->scenario->quota)
		fit |= BIT(CLIENT_QUOTA);
	if (mode == MODE_STRIP)
		return fit | BIT(SYN_STRIPPED);
	return fit | (mode == MODE_REWRITE ? BIT(SYN_REWRITTEN) : BIT(SYN_OBSERVED));
}

static uint64_t fit_out(const struct crossing *c, const struct oracle_flow *flow)
{
	uint64_t as_is = BIT(OUT_REWRITTEN);

	if (engine_room_may_run_away(&c->gateway->room))
		as_is |= BIT(OUT_UNSCALED);
	if (!flow || flow->midstream)
		return c->before.ts_at >= 0 ? BIT(MIDSTREAM_OUT) : BIT(NO_TIMESTAMPS) | BIT(FLOW_NOT_REWRITTEN);
	if (!flow->managed)
		return BIT(FLOW_NOT_REWRITTEN);
	if (c->before.ts_at < 0)
		return BIT(FLOW_NO_TIMESTAMPS);
	if (flow->forsaken)
		return as_is | BIT(OUT_ANCHORED) | BIT(OUT_SCALED);
	if (flow->scaled) /* one that the anchor has overtaken is none of the scaled ones */
		return BIT(OUT_SCALED) | (flow->zero_syn ? BIT(OUT_REWRITTEN) : 0);
	return flow->zero_syn && !flow->offset_known ? BIT(OUT_ANCHORED) : as_is;
}

static uint64_t fit_synack(const struct crossing *c, const struct oracle_flow *flow)
{
	if (!flow || flow->midstream)
		return BIT(SYNACK_UNKNOWN);
	if (c->before.ts_at < 0)
		return BIT(SYNACK_NO_TIMESTAMPS);
	if (flow->mode == MODE_STRIP)
		return BIT(SYNACK_STRIPPED);
	if (c->before.tsecr == 0)
		return BIT(SYNACK_TSECR_ZERO);
	if (!flow->managed)
		return BIT(SYNACK_OBSERVED) | BIT(SYNACK_OBSERVED_FOREIGN);
	return BIT(SYNACK_REWRITTEN) | BIT(SYNACK_REPAIRED_ECHO) | BIT(SYNACK_REPAIRED_ZERO) |
	       BIT(SYNACK_FOREIGN_TSECR);
}

static uint64_t fit_in(const struct crossing *c, const struct oracle_flow *flow)
{
	if (!flow || flow->midstream)
		return c->before.ts_at >= 0 ? BIT(MIDSTREAM_IN) : BIT(NO_TIMESTAMPS) | BIT(FLOW_NOT_REWRITTEN);
	if (!flow->managed)
		return BIT(FLOW_NOT_REWRITTEN);
	if (c->before.ts_at < 0)
		return BIT(FLOW_NO_TIMESTAMPS);
	if (c->before.tsecr == 0)
		return BIT(IN_TSECR_ZERO);
	if (flow->forsaken)
		return BIT(IN_FOREIGN_TSECR) | BIT(IN_SCALED) | BIT(IN_REWRITTEN);
	return BIT(IN_FOREIGN_TSECR) | (flow->scaled ? BIT(IN_SCALED) : BIT(IN_REWRITTEN));
}

/* A segment of an older connection on the four-tuple, whose flow may still be known behind the new one's. */
static uint64_t fit_elder(const struct crossing *c)
{
	if (c->before.flags & SYN)
		return c->segment->outbound ? 0 : BIT(SYNACK_UNKNOWN) | BIT(FLOW_NOT_REWRITTEN);
	if (c->before.ts_at < 0)
		return BIT(FLOW_NO_TIMESTAMPS) | BIT(FLOW_NOT_REWRITTEN);
	if (c->segment->outbound)
		return BIT(OUT_REWRITTEN) | BIT(OUT_SCALED) | BIT(OUT_UNSCALED) | BIT(FLOW_NOT_REWRITTEN);
	return BIT(FLOW_NOT_REWRITTEN) | (c->before.tsecr == 0 ? BIT(IN_TSECR_ZERO)
								: BIT(IN_REWRITTEN) | BIT(IN_SCALED) | BIT(IN_FOREIGN_TSECR));
}

/* A segment in the handshake that is none of its connection, by its numbers: maybe of one that pawsd does not know. */
static uint64_t fit_beside(const struct crossing *c, const struct oracle_flow *flow)
{
	uint32_t number = c->segment->outbound ? c->before.seq : c->before.ack;

	if (!flow->handshake || (c->before.flags & (SYN | RST)) || number - flow->isn - 1 < HANDSHAKE_BYTES)
		return 0;
	if (c->before.ts_at < 0)
		return BIT(NO_TIMESTAMPS);
	return c->segment->outbound ? BIT(MIDSTREAM_OUT) : BIT(MIDSTREAM_IN);
}

/* A connection that is none of pawsd's is known all the same where an older one may be alive behind it. */
static uint64_t fit_off(const struct crossing *c)
{
	if (c->before.ts_at >= 0)
		return c->before.flags & SYN && c->segment->outbound ? BIT(SYN_POLICY_OFF) : BIT(FLOW_NOT_REWRITTEN);
	if (c->before.flags & SYN)
		return c->segment->outbound ? BIT(SYN_NO_TIMESTAMPS) : BIT(SYNACK_NO_TIMESTAMPS);
	return BIT(FLOW_NOT_REWRITTEN);
}

void oracle_check_reason(struct world *world, const struct oracle *oracle, const struct crossing *c,
			 const struct oracle_flow *flow, bool first, bool maybe_gone)
{
	uint64_t fit;

	if (world->run == RUN_PLAIN)
		return;
	if (world->run == RUN_TEXTBOOK) {
		count_rule(world, RULE_P7_REASON, false);
		return;
	}
	if ((c->before.flags & (SYN | ACK)) == SYN)
		fit = c->segment->outbound ? fit_syn(world, oracle, c, flow, first) : BIT(SYN_FROM_OUTSIDE);
	else if ((c->before.flags & SYN) && !c->segment->outbound)
		fit = fit_synack(c, flow);
	else if (c->before.flags & SYN)
		fit = BIT(SYNACK_UNKNOWN);
	else
		fit = c->segment->outbound ? fit_out(c, flow) : fit_in(c, flow);
	if (flow && flow->plan != c->segment->plan)
		fit |= fit_elder(c);
	if (flow && !flow->midstream)
		fit |= fit_beside(c, flow);
	if (flow && !flow->managed && (flow->had_previous || flow->left_alone || c->before.ts_at < 0))
		fit |= fit_off(c);
	if (flow && flow->left_alone)
		fit |= BIT(IN_GONE_PAST);
	if (maybe_gone)
		fit |= BIT(MIDSTREAM_OUT) | BIT(MIDSTREAM_IN) | BIT(NO_TIMESTAMPS) | BIT(SYNACK_UNKNOWN);
	/* Where the interfaces do not tell, a side that the policy names is the server's; and if it is off? */
	if (!world->scenario->directions_known && !c->segment->outbound &&
	    server_of(world, c->segment->server)->mode[world->policy_epoch] == MODE_OFF) {
		fit |= fit & BIT(MIDSTREAM_IN) ? BIT(MIDSTREAM_OUT) : 0;
		fit |= fit & BIT(SYN_FROM_OUTSIDE) ? BIT(SYN_POLICY_OFF) : 0;
	}
	check_rule(world, RULE_P7_REASON, fit >> c->reason & 1,
		   "plan %u: \"%s\" does not fit (flags %02x, %s, first %d)", c->segment->plan,
		   reason_table[c->reason].name, c->before.flags, c->segment->outbound ? "out" : "in", first);
}
