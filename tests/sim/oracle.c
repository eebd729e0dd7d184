/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The oracle: follows each connection, and asks of each packet what was promised. See oracle.h. */
#include "gateway.h"

#define NEARLY_HALF (((int64_t)1 << 31) - ((int64_t)1 << 28))

enum {
	MAYBE_GONE_S = 110,	  /* pawsd's time-outs of 120 s, and of 2 h, less what a clock may step */
	MAYBE_GONE_HALF_S = 7000,
	PUSHED_OUT_MS = 1900,	  /* two seconds, likewise */
	RAW_NEAR_MS = 130000,
};

static bool is_pure_syn(const struct crossing *c)
{
	return (c->before.flags & (SYN | ACK)) == SYN;
}

/* Its SYN has had no answer for so long that the engine may have given its place to another. */
static bool is_maybe_pushed_out(const struct world *world, const struct crossing *c, const struct oracle_flow *flow)
{
	return flow && c->gateway->has_pushed_out && flow->handshake && !flow->answered &&
	       world->now_us - flow->last_us > MS(PUSHED_OUT_MS);
}

/* So long quiet that the engine may have forgotten it. */
static bool is_maybe_gone(const struct world *world, const struct crossing *c, const struct oracle_flow *flow)
{
	uint64_t quiet_us;

	if (!flow || flow->midstream)
		return false;
	quiet_us = world->now_us - flow->last_us;
	if (is_maybe_pushed_out(world, c, flow))
		return true;
	if (quiet_us > SECONDS(MAYBE_GONE_HALF_S) && (flow->fin_out || flow->fin_in))
		return true;
	return quiet_us > SECONDS(MAYBE_GONE_S) &&
	       (flow->handshake || flow->reset || (flow->fin_out && flow->fin_in));
}

static bool is_lost(const struct crossing *c)
{
	return c->reason == REASON_MIDSTREAM_OUT || c->reason == REASON_MIDSTREAM_IN ||
	       c->reason == REASON_NO_TIMESTAMPS || c->reason == REASON_SYNACK_UNKNOWN;
}

/*
 * A SYN went past pawsd, the server has taken it, and pawsd has noticed: the connection is none of its own. What another
 * gateway has made of a SYN may by chance look like what the client says.
 */
static bool is_of_a_raw_syn(const struct world *world, const struct crossing *c)
{
	uint32_t apart = c->before.tsecr - c->segment->echo, most = world->scenario->gateway_count > 1 ? RAW_NEAR_MS : 0;

	return c->reason == REASON_SYNACK_UNKNOWN && !c->segment->outbound && !c->segment->bogus &&
	       c->before.ts_at >= 0 && apart + most <= 2 * most;
}

static bool is_off(const struct world *world, const struct server *server)
{
	enum mode mode = server->mode[world->policy_epoch];

	return mode == MODE_OFF || (mode == MODE_REWRITE && world->rules_lag &&
				    server->mode[world->policy_epoch - 1] != MODE_REWRITE);
}

/* A SYN that opens a connection: what the oracle expects to become of it. */
static struct oracle_flow *begin_flow(struct world *world, struct oracle *oracle, const struct crossing *c)
{
	const struct server *server = server_of(world, c->segment->server);
	struct oracle_flow *flow = oracle_find(oracle, c->key), old = {0};
	bool passed = c->reason == REASON_TABLE_FULL || c->reason == REASON_CLIENT_QUOTA;

	if (flow) {
		old = *flow;
		oracle_remove(oracle, flow);
	}
	flow = oracle_add(oracle, c->key);
	flow->server = c->segment->server;
	flow->plan = c->segment->plan;
	flow->isn = c->before.seq;
	flow->handshake = true;
	flow->mode = (uint8_t)server->mode[world->policy_epoch];
	flow->repair = (uint8_t)server->repair;
	if (old.newest_us) {
		flow->had_previous = true;
		flow->had_managed_previous = old.managed;
		flow->previous_position = old.newest_position;
		flow->previous_us = old.sent_us;
	}
	/* One that has sent SYNs on this four-tuple before may still be known, with the policy of then. */
	if (flow->had_previous && (c->segment->source.serial > 1 || c->segment->copy)) {
		if (c->reason == REASON_SYN_RETRANSMITTED)
			flow->mode = MODE_REWRITE;
		if (c->reason == REASON_SYN_OBSERVED)
			flow->mode = MODE_OBSERVE;
		flow->managed = c->reason == REASON_SYN_RETRANSMITTED;
		if (flow->managed || c->reason == REASON_SYN_OBSERVED)
			return flow;
	}
	flow->midstream = is_off(world, server) || c->before.ts_at < 0 || passed || c->reason == REASON_SYN_POLICY_OFF;
	flow->managed = !flow->midstream && flow->mode == MODE_REWRITE;
	if (passed)
		count_rule(world, RULE_APART_FULL, false);
	return flow;
}

/*
 * Its SYN had to be so far ahead that it may pass the middle of the circle on its way: no comparison is worth
 * anything then, and nothing is asked of it any more.
 */
static void forsake_far_one(const struct world *world, const struct segment *syn, struct oracle_flow *flow)
{
	if (world->run != RUN_PAWSD || llabs(flow->syn_ahead_ms) < NEARLY_HALF)
		return;
	flow->forsaken = true;
	oracle_spare_client(world, syn);
}

/* Whether the SYN, or what the anchor is, has been on its way for so long that its client's clock looks fast. */
static void note_held_back(const struct world *world, const struct crossing *c, struct oracle_flow *flow)
{
	const struct segment *segment = c->segment;
	const struct socket *socket = socket_of_client(world, segment->client, segment->client_port, segment->server);

	flow->syn_held_back = socket && socket->plan.number == segment->plan && c->before.tsval &&
			      (socket_tsval(world, socket) - c->before.tsval) /
					      client_of(world, segment->client)->ticks_per_us >
				      MS(MAX_LEAD_MS / 2);
}

/* The SYN of a connection that has sent one before: the engine does not take it for a repeated one. */
static bool is_taken_for_new(const struct crossing *c, const struct oracle_flow *flow)
{
	return c->reason != (flow->mode == MODE_STRIP ? REASON_SYN_STRIPPED
			     : flow->managed	      ? REASON_SYN_RETRANSMITTED
						      : REASON_SYN_OBSERVED);
}

static struct oracle_flow *judge_syn(struct world *world, struct oracle *oracle, struct crossing *c,
				     struct oracle_flow *flow, bool *ret_first)
{
	*ret_first = !flow || flow->midstream || flow->isn != c->before.seq ||
		     (is_maybe_pushed_out(world, c, flow) && is_taken_for_new(c, flow));
	if (*ret_first)
		flow = begin_flow(world, oracle, c);
	if (c->before.ts_at < 0)
		return flow;
	if (flow->managed && flow->handshake) {
		flow->zero_syn = c->before.tsval == 0;
		oracle_check_syn(world, oracle, c, flow, *ret_first);
		flow->syn_us = world->now_us;
		flow->syn_ahead_ms = oracle_position(c->tick, c->after.tsval) - (int64_t)c->tick;
		note_held_back(world, c, flow);
		forsake_far_one(world, c->segment, flow);
	}
	if (!flow->midstream && flow->mode == MODE_STRIP)
		check_rule(world, RULE_P8_STRIP, c->after.ts_at < 0, "plan %u: SYN kept its timestamps",
			   c->segment->plan);
	if (flow->managed)
		oracle_add_pair(world, flow, c->before.tsval, c->after.tsval, true);
	return flow;
}

/*
 * Of a scaled flow: in the order of the client's, as far as that can be told. What comes late may leave as one of its
 * successors, for not all are remembered; but not as anything newer than has been sent.
 */
static bool is_in_order(const struct world *world, const struct crossing *c, const struct oracle_flow *flow)
{
	bool is_late = !seq_after(c->after.tsval, flow->newest);

	for (uint32_t i = flow->pair_count, n = 0; i-- > 0 && n < 64; n++) {
		const struct pair *pair = &flow->pairs[i];

		if (pair->at_us + MINUTES(10) < world->now_us)
			break;
		if (pair->syn && flow->zero_syn)
			continue;
		if (seq_after(c->before.tsval, pair->tsval) && seq_after(pair->emitted, c->after.tsval))
			return false;
		if (!is_late && seq_after(pair->tsval, c->before.tsval) && seq_after(c->after.tsval, pair->emitted))
			return false;
	}
	return true;
}

static bool is_fast(const struct client *client)
{
	return client->ticks_per_us > 0.1 || client->wild;
}

/*
 * Where nothing scales, a client whose clock is fast runs away: further than the lead, and than a clock
 * that is somewhat off. (pawsd lets it where it has no memory left for more, and where none but a program behind netfilter sees it.)
 */
static void check_run_away(struct world *world, const struct crossing *c, const struct oracle_flow *flow)
{
	int64_t position = oracle_position(c->tick, c->after.tsval);
	int64_t age_ms = (int64_t)(world->now_us - flow->syn_us) / 1000;
	bool good = position <= (int64_t)c->tick + flow->syn_ahead_ms + 2 * MAX_LEAD_MS + age_ms / 200;

	if (!is_fast(client_of(world, c->segment->client)))
		return;
	if (world->run == RUN_PAWSD && engine_room_may_run_away(&c->gateway->room))
		count_rule(world, RULE_APART_SCALED, good);
	else
		check_rule(world, RULE_P3_SCALED, good, "plan %u: not scaled, %lld ms ahead of the clock",
			   c->segment->plan, (long long)(position - (int64_t)c->tick));
}

/* Of a client whose SYN said 0: overtaken by the segment that set the offset, it leaves as the one after the SYN. */
static bool was_overtaken(const struct crossing *c, const struct oracle_flow *flow)
{
	uint32_t shifted = c->before.tsval + flow->offset, after_syn = 0;

	for (uint32_t i = 0; i < flow->pair_count; i++) {
		if (flow->pairs[i].syn)
			after_syn = flow->pairs[i].emitted + 1;
	}
	return flow->zero_syn && c->after.tsval == after_syn && !seq_after(shifted, after_syn);
}

/* No faster than 1 kHz and what a clock may be off by: such a client's flow has no need to be scaled. */
static bool is_slow_clock(const struct client *client)
{
	return client->ticks_per_us < 0.001 * 1.0006 && !client->wild;
}

/* Its SYNs have overtaken each other: how long the last one had been on its way nobody can know. */
static bool are_syns_overtaken(const struct oracle_flow *flow)
{
	uint32_t newest = 0, last = 0;

	for (uint32_t i = 0; i < flow->pair_count; i++) {
		if (!flow->pairs[i].syn)
			continue;
		last = flow->pairs[i].tsval;
		newest = i && seq_after(newest, last) ? newest : last;
	}
	return newest != last;
}

/* A segment of a connection that is rewritten: P3, and P10 where a restart lies before it. */
static void judge_offset(struct world *world, const struct crossing *c, struct oracle_flow *flow)
{
	const struct client *client = client_of(world, c->segment->client);
	uint32_t offset = c->after.tsval - c->before.tsval;
	bool same = offset == flow->offset || (c->after.tsval == UINT32_MAX && offset == flow->offset - 1);

	if (c->reason == REASON_OUT_SCALED) {
		int64_t position = oracle_position(c->tick, c->after.tsval), tick = (int64_t)c->tick;
		int64_t run_on = flow->newest_position + 2 + (int64_t)(world->now_us - flow->newest_us) / 1000;

		check_rule(world, RULE_P3_OFFSET, !is_slow_clock(client) || flow->syn_held_back || are_syns_overtaken(flow), "plan %u: scaled, with %.3f ticks a ms",
			   c->segment->plan, client->ticks_per_us * 1000);

		/*
		 * Where its SYN had to be ahead, or it had run ahead when blocks were short, it stays so. One held
		 * back since before it began keeps its offset.
		 */
		check_rule(world, flow->ran_away && engine_room_is_wan(&c->gateway->room) ? RULE_APART_SCALED : RULE_P3_SCALED,
			   (same && flow->offset_known) ||
				   (is_in_order(world, c, flow) &&
				    (position <= tick + flow->syn_ahead_ms + MAX_LEAD_MS || position <= run_on)),
			   "plan %u: scaled TSval %u after %u, %lld ahead of the clock", c->segment->plan,
			   c->after.tsval, flow->newest, (long long)(position - tick));
		return;
	}
	check_run_away(world, c, flow);
	if (!flow->offset_known) {
		if (c->reason == REASON_OUT_ANCHORED)
			note_held_back(world, c, flow);
		flow->offset = offset;
		flow->offset_known = true;
		flow->restarted = false;
		return;
	}
	same = same || was_overtaken(c, flow);
	check_rule(world, RULE_P3_OFFSET, same, "plan %u: offset %u became %u", c->segment->plan, flow->offset, offset);
	if (flow->restarted)
		check_rule(world, RULE_P10_OFFSET, same, "plan %u: offset %u became %u over a restart",
			   c->segment->plan, flow->offset, offset);
	flow->restarted = false;
}

static void judge_out(struct world *world, const struct crossing *c, struct oracle_flow *flow)
{
	if ((c->before.flags & ACK) && !(c->before.flags & RST))
		flow->handshake = false;
	if (!flow->managed || c->before.ts_at < 0 || c->after.ts_at < 0)
		return;
	/* No room for one more fast clock: after half an hour nothing can be told of its TSvals any more. */
	if (c->reason == REASON_OUT_UNSCALED)
		flow->ran_away = true;
	/* A fast clock that there was no room for has gone nobody knows how far round. */
	if (flow->ran_away && world->now_us - flow->newest_us > MINUTES(25)) {
		flow->forsaken = true;
		oracle_spare_client(world, c->segment);
	}
	if (!flow->forsaken)
		judge_offset(world, c, flow);
	oracle_add_pair(world, flow, c->before.tsval, c->after.tsval, false);
	if (flow->scaled) {
		struct socket *socket = socket_of_client(world, c->segment->client, c->segment->client_port,
							 c->segment->server);

		if (socket && socket->plan.number == c->segment->plan)
			client_note_crossing(socket, &c->segment->source);
	}
}

static void judge_in(struct world *world, const struct crossing *c, struct oracle_flow *flow)
{
	if (flow->mode == MODE_STRIP && (c->before.flags & SYN) && c->before.ts_at >= 0)
		check_rule(world, RULE_P8_STRIP, c->after.ts_at < 0, "plan %u: SYN/ACK kept its timestamps",
			   c->segment->plan);
	if (flow->managed && !flow->forsaken && c->before.ts_at >= 0 && c->after.ts_at >= 0)
		oracle_check_echo(world, c, flow);
}

static void follow(struct world *world, const struct crossing *c, struct oracle_flow *flow)
{
	if (c->before.flags & FIN) {
		flow->fin_out |= c->segment->outbound;
		flow->fin_in |= !c->segment->outbound;
	}
	if (c->before.flags & RST) {
		flow->reset = true;
		flow->answered &= !c->segment->outbound;
	}
	flow->answered |= !c->segment->outbound && (c->before.flags & (SYN | ACK)) == (SYN | ACK);
	flow->last_us = world->now_us;
}

/*
 * When timestamps went to a server: pawsd notes it of a flow at its SYN/ACK, and else when it sweeps, so
 * that for some seconds both answers fit.
 */
static void note_alive(const struct world *world, struct oracle *oracle, const struct crossing *c,
		       struct oracle_flow *flow)
{
	struct history *history = &oracle->histories[server_of(world, c->segment->server)->address];

	history->alive_us = world->now_us;
	if (!flow || flow->midstream || flow->mode == MODE_STRIP || c->segment->outbound || !(c->before.flags & SYN) ||
	    c->before.ts_at < 0)
		return;
	history->stamped_us = world->now_us;
}

/* The server knows the client's own TSvals, for some went past while pawsd was away: the flow is left alone. */
static void judge_gone_past(struct world *world, const struct crossing *c, struct oracle_flow *flow)
{
	const struct socket *socket =
		socket_of_client(world, c->segment->client, c->segment->client_port, c->segment->server);

	check_rule(world, RULE_P3_OFFSET,
		   !socket || socket->plan.number != c->segment->plan || flow->plan != c->segment->plan || socket->victim,
		   "plan %u: left alone, though nothing of it has gone past (TSecr %u)", c->segment->plan, c->before.tsecr);
	flow->left_alone = flow->midstream = true;
	flow->managed = false;
}

void oracle_judge(struct world *world, struct oracle *oracle, struct crossing *c)
{
	struct oracle_flow *flow = oracle_find(oracle, c->key);
	bool maybe_gone = is_maybe_gone(world, c, flow), first = false, outbound = c->segment->outbound;
	bool pairs_full = world->run == RUN_PAWSD &&
			  c->gateway->room.engine.table.pairs_used == c->gateway->room.engine.table.pair_capacity;

	if (flow && ((maybe_gone && is_lost(c)) || is_of_a_raw_syn(world, c))) {
		flow->left_alone |= is_of_a_raw_syn(world, c);
		flow->midstream = true;
		flow->managed = false;
	}
	if (flow && c->reason == REASON_IN_GONE_PAST)
		judge_gone_past(world, c, flow);
	if (c->reason == REASON_OUT_SCALED && flow)
		flow->scaled = true;
	if (flow)
		flow->pairs_out |= pairs_full && flow->handshake;
	if (outbound && is_pure_syn(c))
		flow = judge_syn(world, oracle, c, flow, &first);
	else if (!flow && outbound) {
		flow = oracle_add(oracle, c->key);
		flow->midstream = true;
		flow->server = c->segment->server;
	}
	oracle_check_reason(world, oracle, c, flow, first, maybe_gone);
	oracle_check_counter(world, oracle, c);
	oracle_check_bytes(world, c, flow);
	note_alive(world, oracle, c, flow);
	if (!flow)
		return;
	/* Where the SYN went elsewhere, or by while the daemon was down, an older flow on the four-tuple is meant. */
	if (flow->plan != c->segment->plan && !is_pure_syn(c))
		count_rule(world, RULE_APART_VICTIM, c->after.tsval == c->before.tsval);
	else if (!flow->midstream && outbound && !is_pure_syn(c))
		judge_out(world, c, flow);
	else if (!flow->midstream && !outbound)
		judge_in(world, c, flow);
	follow(world, c, flow);
	if (outbound && c->after.ts_at >= 0)
		oracle_note_sent(world, oracle, c, flow);
	c->segment->source.managed = flow->managed || (first && c->before.ts_at < 0 && flow->mode == MODE_REWRITE &&
							!is_off(world, server_of(world, c->segment->server)));
}
