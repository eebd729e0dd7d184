/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SYN: where flows begin and offsets are chosen. See engine.c. */
#include "engine_internal.h"

#include "seq.h"

/* Now, as struct flow_syn has it. */
static uint32_t syn_time(const struct passage *p)
{
	return (uint32_t)(p->tick / FLOW_SYN_TIME_MS);
}

/* Remembers what the SYN at hand leaves with. */
static void note_syn(struct passage *p, uint32_t emitted)
{
	struct flow *flow = p->flow;

	flow->syn_tsval = emitted;
	flow->tsval_high = emitted;
	flow_table_syn(&p->engine->table, flow)->time = syn_time(p);
}

/* Sends the SYN at hand out with TSval `emitted`; `reading`: the newest that the client's SYNs have had. */
static void emit_syn(struct passage *p, uint32_t emitted, uint32_t reading)
{
	struct flow *flow = p->flow;

	flow->offset = emitted - reading;
	if (p->packet.tsval == 0)
		flow_set_flags(flow, FLOW_ANCHOR_PENDING | FLOW_SYN_ZERO);
	else
		flow_clear_flags(flow, FLOW_ANCHOR_PENDING | FLOW_SYN_ZERO);
	note_syn(p, emitted);
	packet_set_tsval(&p->packet, emitted);
}

/* `last_tsval`: the newest known on the four-tuple, or 0. */
static enum reason apply_mode_to_syn(struct passage *p, uint32_t last_tsval)
{
	const uint32_t *previous = last_tsval ? &last_tsval : NULL;

	switch ((enum mode)p->flow->mode) {
	case MODE_REWRITE:
		emit_syn(p, clock_syn_tsval(&p->engine->clock, p->tick, &p->flow->server, previous), p->packet.tsval);
		return REASON_SYN_REWRITTEN;
	case MODE_STRIP:
		p->flow->tsval_high = last_tsval;
		packet_strip_timestamps(&p->packet);
		return REASON_SYN_STRIPPED;
	case MODE_OBSERVE:
	case MODE_OFF:
		break;
	}
	engine_note_foreign_tsval(p);
	note_syn(p, p->packet.tsval);
	return REASON_SYN_OBSERVED;
}

static bool are_rules_ready(const struct engine *engine, const struct packet *packet)
{
	if (!engine->rules_lag)
		return true;
	return engine->rules_policy && policy_match(engine->rules_policy, &packet->ends.dst, packet->ends.dst_port,
						    &packet->ends.src)->mode == MODE_REWRITE;
}

/* True where the client of the packet's connection may not have another flow. */
static bool is_at_quota(const struct engine *engine, const struct addr *client)
{
	uint32_t most = engine->client_most.flows;

	return most && flow_table_use_of_client(&engine->table, client)->flows >= most;
}

/* True where it would still not, if it gave one of its flows back. */
static bool is_beyond_quota(const struct engine *engine, const struct addr *client)
{
	uint32_t most = engine->client_most.flows;

	return most && flow_table_use_of_client(&engine->table, client)->flows > most;
}

/* The same, for a SYN on a four-tuple of which nothing is known, once what is given up has made room. */
static bool is_share_full(struct passage *p, const struct addr *client)
{
	if (is_at_quota(p->engine, client))
		engine_push_out(p, flow_table_use_of_client(&p->engine->table, client));
	return is_at_quota(p->engine, client);
}

/* True where p->flow, which has no elder, is to be kept behind a new one that begins with `isn`. */
static bool is_to_be_kept(const struct passage *p, uint32_t isn)
{
	return engine_may_be_elder(p->flow) && flow_table_syn(&p->engine->table, p->flow)->isn != isn &&
	       flow_table_has_room(&p->engine->table) && !is_at_quota(p->engine, &p->flow->client);
}

/* True where the server has answered the younger, p->flow, and nothing has been heard of the elder since its SYN. */
static bool is_elder_past(const struct passage *p, const struct flow *elder, uint32_t isn)
{
	const struct flow *younger = p->flow;
	uint32_t syn_s = engine_seconds(p->tick - engine_syn_age_ms(p));

	return younger->state == FLOW_SYN_RECV && !engine_is_word_alone(younger) && engine_may_be_elder(younger) &&
	       flow_table_syn(&p->engine->table, younger)->isn != isn && seq_after(syn_s, elder->last_seen_s);
}

/*
 * Finds the flow whose place a new connection is to take, *ret_past, NULL where there is none; but for one that may be alive
 * and that there is room for: that one is p->flow then. Returns the newest TSval that is known on the four-tuple, or 0.
 */
static uint32_t make_way(struct passage *p, uint32_t isn, struct flow **ret_past)
{
	struct flow *flow = p->flow, *elder = flow && (flow->flags & FLOW_HAS_ELDER) ? p->elder : NULL;
	uint32_t last_tsval;

	*ret_past = NULL;
	if (!flow)
		return 0;
	last_tsval = clock_furthest(&p->engine->clock, p->tick, flow->tsval_high, elder ? elder->tsval_high : 0);
	if (elder && is_elder_past(p, elder, isn)) {
		engine_forget_flow(p->engine, elder);
		flow_clear_flags(flow, FLOW_HAS_ELDER);
		elder = NULL;
		if (flow_table_has_room(&p->engine->table)) /* its place may have to rest */
			return last_tsval;
	} else if (!elder && is_to_be_kept(p, isn)) {
		return last_tsval;
	}
	if (elder || !is_beyond_quota(p->engine, &flow->client))
		*ret_past = flow;
	else
		engine_forget_flow(p->engine, flow);
	p->flow = elder;
	return last_tsval;
}

/* Servers of the RHEL 7 family drop it while others' timestamps are fresh. */
static enum reason reason_of_bare_syn(const struct passage *p)
{
	return clock_is_stamped(&p->engine->clock, p->tick, &p->packet.ends.dst) ? REASON_SYN_NO_TIMESTAMPS_MIXED
										 : REASON_SYN_NO_TIMESTAMPS;
}

/* Why no flow is to be made for a new SYN; REASON_COUNT where one is. */
static enum reason find_reason_to_pass(const struct passage *p, enum direction direction,
				       const struct destination *destination)
{
	const struct packet *packet = &p->packet;

	if (direction == DIRECTION_IN)
		return REASON_SYN_FROM_OUTSIDE;
	if (destination->mode == MODE_OFF ||
	    (destination->mode == MODE_REWRITE && !are_rules_ready(p->engine, packet)))
		return REASON_SYN_POLICY_OFF;
	if (!packet->ts)
		return reason_of_bare_syn(p);
	return destination->mode == MODE_REWRITE && p->engine->is_draining ? REASON_SYN_DRAINING : REASON_COUNT;
}

/* The SYN passes: what it opens is none of our flows, nor is what was there before. */
static enum reason pass_new_syn(struct passage *p, enum reason reason)
{
	if (p->flow)
		engine_forget_connections(p);
	if (reason != REASON_SYN_FROM_OUTSIDE)
		engine_note_foreign_tsval(p);
	return reason;
}

/*
 * Since p->flow was looked for somebody else may have opened another on the four-tuple, of a SYN or SYN/ACK at this very moment.
 * The later one counts, and is `flow`: there are never three.
 */
static void forget_opened_meanwhile(struct passage *p, struct flow *flow)
{
	struct flow_table *table = &p->engine->table;
	struct flow *other = table->loan ? flow_table_find_elder(table, flow) : NULL;

	for (; other && other != p->flow; other = flow_table_find_elder(table, flow))
		engine_forget_flow(p->engine, other);
}

/*
 * Makes p->flow a new one between these ends, in front of what it was, which is the new one's elder, or instead of `past`.
 * NULL where there is no room; then p->flow is what it was.
 */
static struct flow *add_flow(struct passage *p, const struct endpoints *ends, struct flow *past, uint32_t isn, enum mode mode)
{
	struct engine *engine = p->engine;
	struct flow *flow = past;

	if (past) {
		engine_renew_flow(engine, past);
	} else {
		engine_make_room(p);
		flow = flow_table_add(&engine->table, &ends->src, ends->src_port, &ends->dst, ends->dst_port);
	}
	if (!flow)
		return NULL;
	forget_opened_meanwhile(p, flow);
	*flow_table_syn(&engine->table, flow) = (struct flow_syn){isn, syn_time(p)};
	flow->mode = mode & 0xf;
	flow->slot = p->slot;
	flow->last_seen_s = engine_seconds(p->tick);
	if (p->flow)
		flow_set_flags(flow, FLOW_HAS_ELDER);
	p->flow = flow;
	return flow;
}

/*
 * True where a SYN that passes may be an old one, and what runs on its four-tuple goes on: it makes a flow all the same,
 * of MODE_OFF.
 */
static bool is_to_be_known(const struct passage *p, enum reason reason)
{
	return reason != REASON_SYN_FROM_OUTSIDE && p->flow && ((p->flow->flags & FLOW_HAS_ELDER) ||
						       is_to_be_kept(p, packet_seq(&p->packet)));
}

/* The next on the four-tuple is to be newer than the last that was rewritten, and than what passes. */
static void note_passing_syn(struct passage *p, uint32_t last_tsval)
{
	p->flow->tsval_high = last_tsval;
	engine_note_foreign_tsval(p);
}

/* Nothing is known on the four-tuple that the server has answered. */
static bool is_first(const struct flow *flow)
{
	return !flow || ((flow->flags & FLOW_FIRST) && engine_is_unanswered(flow));
}

/* A SYN that opens a connection: on a new four-tuple, or on one whose old flow is past, or will be. */
static enum reason handle_new_syn(struct passage *p)
{
	struct engine *engine = p->engine;
	const struct endpoints *ends = &p->packet.ends;
	const struct destination *destination;
	enum direction direction = engine_find_direction(p, &destination);
	enum reason reason = find_reason_to_pass(p, direction, destination);
	uint16_t first = is_first(p->flow) ? FLOW_FIRST : 0;
	uint32_t isn = packet_seq(&p->packet), last_tsval;
	struct flow *past;

	if (reason != REASON_COUNT && !is_to_be_known(p, reason))
		return pass_new_syn(p, reason);
	last_tsval = make_way(p, isn, &past);
	/* Whoever has a flow behind this one is below it, or gives one back. */
	if (!p->flow && !past && is_share_full(p, &ends->src))
		return pass_new_syn(p, reason == REASON_COUNT ? REASON_CLIENT_QUOTA : reason);
	if (!add_flow(p, ends, past, isn, reason == REASON_COUNT ? destination->mode : MODE_OFF))
		return pass_new_syn(p, reason == REASON_COUNT ? REASON_TABLE_FULL : reason);
	p->flow->repair = destination->repair & 0xf;
	flow_set_flags(p->flow, first);
	if (reason == REASON_COUNT)
		reason = apply_mode_to_syn(p, last_tsval);
	else
		note_passing_syn(p, last_tsval);
	engine_set_state(engine, p->flow, FLOW_SYN_SENT);
	return reason;
}

/* The last quarter of the table, and of a client's share, is for SYNs: what comes from outside may be forged. */
static bool has_room_for_unseen(const struct passage *p)
{
	const struct engine *engine = p->engine;
	uint32_t flows = flow_table_use_of_client(&engine->table, &p->flow->client)->flows, most = engine->client_most.flows;

	return flow_table_has_room(&engine->table) && flow_table_used(&engine->table) < engine->table.capacity - engine->table.capacity / 4 &&
	       (!most || flows < most - most / 4);
}

/* Over, and not by the word of somebody outside: the client has sent its FIN. */
static bool is_ended(const struct flow *flow)
{
	return flow->state == FLOW_LAST_ACK || flow->state == FLOW_TIME_WAIT;
}

void engine_know_unseen(struct passage *p)
{
	const struct endpoints *ends = &p->packet.ends, from_client = {ends->dst, ends->src, ends->dst_port, ends->src_port};
	uint32_t last_tsval = p->flow->tsval_high;

	if (p->elder && (engine_may_be_elder(p->elder) || !engine_is_word_alone(p->younger)))
		return;
	if (p->elder) /* what is over need not be told from one of two such words: the later one counts */
		engine_forget_flow(p->engine, p->younger);
	/* Whatever its state says: that may be somebody else's word, too. */
	if (has_room_for_unseen(p)) {
		if (!add_flow(p, &from_client, NULL, packet_ack(&p->packet) - 1, MODE_OFF))
			return;
		p->flow->tsval_high = last_tsval;
		flow_set_flags(p->flow, FLOW_UNSEEN);
		engine_set_state(p->engine, p->flow, FLOW_SYN_RECV);
	} else if (is_ended(p->flow)) {
		engine_forget_flow(p->engine, p->flow);
	}
}

/*
 * What a repeated SYN is sent with, and remembered by. When all blocks of pairs are in use the
 * flow keeps its offset if that makes the SYN no older than need be; then the offset explains all
 * of its SYNs. If not, only the last one's echo is known.
 */
static uint32_t choose_repeated_tsval(struct passage *p)
{
	struct flow *flow = p->flow;
	struct syn_pairs *block = engine_open_syn_pairs(p);
	uint32_t tsval = p->packet.tsval, shifted = tsval + flow->offset, emitted;
	bool is_mere_copy = block ? block->pair[block->count - 1].tsval == tsval : shifted == flow->syn_tsval;
	/* Newer than the SYN before it, so that an echo tells them apart; a mere copy need not be. */
	uint32_t previous = is_mere_copy ? flow->syn_tsval - 1 : flow->tsval_high;
	const struct flow *other = flow == p->elder ? p->younger : p->elder;

	if (other)
		previous = clock_furthest(&p->engine->clock, p->tick, previous, other->tsval_high);
	emitted = clock_syn_tsval(&p->engine->clock, p->tick, &flow->server, &previous);
	if (block) {
		engine_push_pair(block, tsval, emitted);
		flow_clear_flags(flow, FLOW_ONE_OFFSET); /* the SYNs before the block was had are forgotten */
	} else if (shifted - emitted <= p->engine->clock.max_lead_ms) {
		emitted = shifted ? shifted : emitted;
		if (!(flow->flags & FLOW_OFFSET_MOVED))
			flow_set_flags(flow, FLOW_ONE_OFFSET);
		if (seq_after(emitted, clock_tsval(&p->engine->clock, p->tick)))
			clock_raise(&p->engine->clock, p->tick, &flow->server, emitted);
	} else {
		flow_clear_flags(flow, FLOW_ONE_OFFSET);
		flow_set_flags(flow, FLOW_OFFSET_MOVED);
	}
	return emitted;
}

/* The same where nothing is changed. */
static enum reason observe_repeated_syn(struct passage *p)
{
	struct syn_pairs *block = engine_open_syn_pairs(p);

	engine_note_foreign_tsval(p);
	if (block)
		engine_push_pair(block, p->packet.tsval, p->packet.tsval);
	note_syn(p, p->packet.tsval);
	return REASON_SYN_OBSERVED;
}

/*
 * What the SYN with the client's `tsval` went out with; where that is not known, what the offset says. A SYN that is
 * later than what has been sent since, by a clock too fast, is the last one again. *ret_known: its echo is known as well.
 */
static uint32_t emitted_with(const struct passage *p, uint32_t tsval, bool *ret_known)
{
	const struct syn_pairs *block = flow_table_pairs(&p->engine->table, p->flow);
	uint32_t shifted = tsval + p->flow->offset;

	*ret_known = true;
	for (uint32_t i = block ? block->count : 0; i > 0; i--) {
		if (block->pair[i - 1].tsval == tsval)
			return block->pair[i - 1].emitted;
	}
	*ret_known = false;
	if ((tsval == 0 && (p->flow->flags & FLOW_SYN_ZERO)) || seq_after(shifted, p->flow->tsval_high))
		return p->flow->syn_tsval;
	return shifted ? shifted : UINT32_MAX;
}

/* True when that TSval of the client's has left in one of the SYNs that are remembered. */
static bool was_said_in_syn(const struct passage *p, uint32_t tsval)
{
	const struct syn_pairs *block = flow_table_pairs(&p->engine->table, p->flow);

	for (uint32_t i = 0; block && i < block->count; i++) {
		if (block->pair[i].tsval == tsval)
			return true;
	}
	return false;
}

/*
 * A SYN of the handshake once more. If it is a copy of an older one the client's clock has come further since: its
 * next segment must not be older than this SYN, whatever its clock's rate.
 */
static void emit_repeated_syn(struct passage *p)
{
	uint32_t said = flow_said_in_syn(p->flow), reading = p->packet.tsval, emitted;
	bool is_old_copy = said && reading && seq_after(said, reading) && was_said_in_syn(p, reading);

	emitted = choose_repeated_tsval(p);
	emit_syn(p, emitted, reading);
	if (is_old_copy) { /* as if the newest SYN had left once more just behind it, so that the echoes differ */
		emitted = emitted + 1 ? emitted + 1 : 1;
		p->flow->offset = emitted - said;
		note_syn(p, emitted);
	}
}

/*
 * A SYN that the network held back until the handshake was over. If it is older than the last one a server may echo it
 * all the same.
 */
static void emit_late_syn(struct passage *p)
{
	struct flow *flow = p->flow;
	bool is_known;
	uint32_t emitted = emitted_with(p, p->packet.tsval, &is_known);

	if (!is_known && seq_after(flow->syn_tsval, emitted))
		flow_set_flags(flow, flow->syn_tsval - emitted <= SYN_SPAN_MAX_MS ? FLOW_ONE_OFFSET : FLOW_WENT_BACK);
	packet_set_tsval(&p->packet, emitted);
}

/* The SYN of a known connection once more. */
static enum reason handle_repeated_syn(struct passage *p)
{
	struct flow *flow = p->flow;

	engine_note_seen(p);
	if (!p->packet.ts)
		return reason_of_bare_syn(p);
	if (flow->state == FLOW_CLOSE && flow_in_handshake(flow)) {
		flow_clear_flags(flow, FLOW_ANSWERED);
		engine_set_state(p->engine, flow, FLOW_SYN_SENT);
	}
	if (flow->mode == MODE_STRIP) {
		packet_strip_timestamps(&p->packet);
		return REASON_SYN_STRIPPED;
	}
	if (flow->mode == MODE_OFF) {
		engine_note_foreign_tsval(p);
		return REASON_SYN_POLICY_OFF;
	}
	if (flow->mode == MODE_OBSERVE)
		return observe_repeated_syn(p);
	if (flow_in_handshake(flow))
		emit_repeated_syn(p);
	else
		emit_late_syn(p);
	return REASON_SYN_RETRANSMITTED;
}

/*
 * True for a SYN with the flow's own ISN that is taken for a new connection's all the same, as of a client that has
 * restarted and begins with the same numbers: so long after the last one that it is no copy; or the old connection is over,
 * and nothing that it has sent, late or not, is as new. Or the SYN before it passed, and has had no answer, so that this
 * one may be rewritten if the policy says so by now, or is over.
 */
static bool begins_anew(const struct passage *p)
{
	const struct flow *flow = p->flow;
	const struct scaled *scaled = flow_table_scaled(&p->engine->table, flow);
	uint32_t newest = scaled ? scaled->echo[scaled->count - 1].tsval : flow->tsval_high - flow->offset;

	if (flow == p->elder)
		return false;
	if (engine_syn_age_ms(p) > SYN_LATE_MAX_MS)
		return true;
	if (flow->mode == MODE_OFF)
		return engine_is_unanswered(flow) || is_ended(flow);
	return p->packet.ts && p->packet.tsval && flow->mode == MODE_REWRITE && !flow_in_handshake(flow) &&
	       (is_ended(flow) || flow->state == FLOW_CLOSE) && seq_after(p->packet.tsval, newest);
}

enum reason engine_handle_syn(struct passage *p)
{
	struct flow *flow = p->flow;

	if (!flow)
		return handle_new_syn(p);
	if (!p->outbound) {
		engine_note_seen(p);
		if (!flow_in_handshake(flow))
			return REASON_SYN_FROM_OUTSIDE;
		flow_set_flags(flow, FLOW_SIMULTANEOUS);
		return engine_strip_if_due(p) ? REASON_SYN_STRIPPED : REASON_SYN_FROM_OUTSIDE;
	}
	return engine_is_own_isn(p) && !begins_anew(p) ? handle_repeated_syn(p) : handle_new_syn(p);
}
