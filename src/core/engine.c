/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of a packet.
 *
 * A packet is parsed, then looked up: the table finds a flow by its two endpoints, whichever of
 * them is the client. There are three kinds of packet:
 *
 *   SYN      makes a flow, or moves on the one whose SYN it repeats. Here the policy is asked,
 *            the TSval taken from the shared clock (P1) and the offset set: new minus old.
 *   SYN/ACK  brings back the TSecr of one of the SYNs, which is turned into what the client
 *            sent with it (P4), or repaired.
 *   segment  all the rest: TSval plus offset on the way out, TSecr minus offset on the way in.
 *
 * When a SYN is repeated its TSval is taken from the clock again, for a client's clock may be
 * slower than ours and the time between the two long. So each SYN may have had an offset of its
 * own. The flow's is that of the last one: whatever the client sends later is not older than
 * that SYN, and so, shifted by the same amount, not older than anything the server has seen.
 * The pairs (client's TSval, emitted TSval) of all SYNs are kept for a minute after the server
 * has echoed something newer than the last of them.
 *
 * A client whose clock is faster than ours would run away from it. When a flow is further ahead of
 * where its SYN began than a clock of 1 kHz could bring it, it is scaled from then on (scaled.h).
 *
 * Packets that belong to no flow pass. What they carry out of the house still counts: a server
 * remembers TSvals of flows that are not rewritten just as well, so they raise its mark.
 *
 * Every path ends in a `return reason`; engine_handle() alone counts it, under the slot that
 * was noted on the way.
 */
#include "engine.h"

#include "engine_internal.h"
#include "plain.h"
#include "seq.h"

enum {
	SYN_PAIRS_KEEP_MS = PLAIN_LATE_MS,
};

/* Exchanges the flow's word, and moves its gauge. False where somebody was faster; *before is what it is now. */
static bool change(struct engine *engine, struct flow *flow, uint64_t *before, uint64_t after)
{
	const struct flow was = {.word = *before}, now = {.word = after};
	uint64_t *gauges = engine->counters->flows[now.slot];

	if (*before == after)
		return true;
	if (!atomic_exchange_if(&flow->word, before, after))
		return false;
	if (was.state == now.state)
		return true;
	if (was.state != FLOW_FREE)
		counter_add(&gauges[was.state], (uint64_t)-1);
	counter_add(&gauges[now.state], 1);
	return true;
}

void engine_set_state(struct engine *engine, struct flow *flow, enum flow_state state)
{
	uint64_t before = atomic_load(&flow->word);
	struct flow now;

	/* Last, so that whoever finds the table after a kill finds a whole flow. */
	do {
		now.word = before;
		now.state = (uint8_t)state;
	} while (!change(engine, flow, &before, now.word));
}

void engine_note_foreign_tsval(struct passage *p)
{
	struct clock *clock = &p->engine->clock;

	if (!p->packet.ts)
		return;
	clock_note_stamped(clock, engine_seconds(p->tick), &p->packet.ends.dst);
	if (p->packet.tsval)
		clock_raise_server(clock, p->tick, &p->packet.ends.dst, p->packet.tsval);
}

/* The destination on the far side of a packet that leaves (or comes in, for `outbound` false). */
static const struct destination *match_far_side(const struct passage *p, bool outbound)
{
	const struct packet *packet = &p->packet;

	return outbound ? policy_match(p->engine->policy, &packet->ends.dst, packet->ends.dst_port, &packet->ends.src)
			: policy_match(p->engine->policy, &packet->ends.src, packet->ends.src_port, &packet->ends.dst);
}

enum direction engine_find_direction(struct passage *p, const struct destination **ret_destination)
{
	enum direction direction = p->packet.input->direction;

	if (direction == DIRECTION_UNKNOWN) {
		*ret_destination = match_far_side(p, true);
		if ((*ret_destination)->mode != MODE_OFF) {
			direction = DIRECTION_OUT;
		} else if (match_far_side(p, false)->mode != MODE_OFF) {
			*ret_destination = match_far_side(p, false);
			direction = DIRECTION_IN;
		}
	} else {
		*ret_destination = match_far_side(p, direction == DIRECTION_OUT);
	}
	p->slot = (*ret_destination)->slot;
	return direction;
}

/* A SYN/ACK that the network holds back longer than that has lost its client anyway. */
static void drop_old_syn_pairs(struct passage *p, uint32_t tsecr)
{
	const struct syn_pairs *block = flow_table_pairs(&p->engine->table, p->flow);

	if (block && engine_syn_age_ms(p) > SYN_PAIRS_KEEP_MS &&
	    seq_after(tsecr, block->pair[block->count - 1].emitted + SYN_PAIRS_KEEP_MS))
		flow_table_drop_pairs(&p->engine->table, p->flow);
}

/* P3's exception: the first real TSval of a client that sent 0 in its SYN. */
static void anchor(struct passage *p)
{
	struct flow *flow = p->flow;
	/* Newer than the SYN, so that an echo tells them apart, and one in between for what was overtaken. */
	uint32_t emitted = seq_max(clock_tsval(&p->engine->clock, p->tick), flow->tsval_high + 2);

	flow->offset = (emitted ? emitted : 1) - p->packet.tsval;
	flow_clear_flags(flow, FLOW_ANCHOR_PENDING);
}

static bool has_run_away(const struct passage *p, uint32_t tsval)
{
	return plain_has_run_away(&p->engine->clock, p->tick, p->flow, flow_table_syn(&p->engine->table, p->flow), tsval);
}

/* False where no block is to be had: the flow runs on with its offset. */
static bool start_scaling(struct passage *p)
{
	struct flow *flow = p->flow;
	struct flow_table *table = &p->engine->table;
	uint32_t most = p->engine->client_most.scaled;
	struct scaled start;

	if (most && flow_table_use_of_client(table, &flow->client)->scaled >= most)
		return false;
	scaled_start(&start, flow->tsval_high - flow->offset, flow->tsval_high,
		     clock_tsval(&p->engine->clock, p->tick));
	return flow_table_add_scaled(table, flow, &start) != NULL;
}

/*
 * A flow has run away with `tsval`. Returns what is to be said instead, if no scaled flow comes of it. What a
 * client sends before it has a connection, a RST to a SYN/ACK that it dislikes or the end of another connection, may
 * say anything, and another SYN may follow with an offset of its own: nothing newer than the SYN then. It is only in
 * a simultaneous open that segments of the handshake tell the time.
 */
static uint32_t hold_back(struct passage *p, uint32_t tsval, enum reason *reason)
{
	struct flow *flow = p->flow;

	if (flow_in_handshake(flow))
		return flow->flags & FLOW_SIMULTANEOUS ? tsval : flow->tsval_high;
	if (!start_scaling(p))
		*reason = REASON_OUT_UNSCALED;
	return tsval;
}

/* TSval 0 of a client that sends 0 where it means none: in its SYN, and maybe in a RST or a keep-alive. */
static bool is_no_reading(const struct passage *p)
{
	return p->packet.tsval == 0 && (p->flow->flags & FLOW_SYN_ZERO);
}

/*
 * True for a segment that was overtaken by the one that set the anchor: by that it would not be newer than the SYN. It
 * leaves as the one in between, and is remembered as if it were one more SYN, for its echo to be told from others (P4).
 */
static bool was_overtaken(struct passage *p, uint32_t shifted)
{
	struct flow *flow = p->flow;
	struct syn_pairs *block;

	if (!(flow->flags & FLOW_SYN_ZERO) || flow_in_handshake(flow) || engine_syn_age_ms(p) > SYN_PAIRS_KEEP_MS ||
	    seq_after(shifted, flow->syn_tsval + 1))
		return false;
	block = engine_open_syn_pairs(p);
	if (block && flow->syn_tsval + 1) /* 0 is never sent: then it leaves as the SYN has left */
		engine_remember_pair(block, p->packet.tsval, flow->syn_tsval + 1);
	return block != NULL;
}

/*
 * True for a segment of an older connection on the four-tuple that would say what time it is: what an anchor is or how
 * fast the client's clock runs. Its sequence number tells, as far as it can.
 */
static bool is_misleading(const struct passage *p)
{
	const struct flow *flow = p->flow;

	if ((flow->flags & FLOW_SCALED) ||
	    !((flow->flags & FLOW_ANCHOR_PENDING) || has_run_away(p, p->packet.tsval + flow->offset)))
		return false;
	if (flow_in_handshake(flow))
		return !(flow->flags & FLOW_SIMULTANEOUS) && !engine_is_of_connection(p, flow);
	return engine_syn_age_ms(p) <= SYN_PAIRS_KEEP_MS &&
	       seq_after(flow_table_syn(&p->engine->table, flow)->isn, packet_seq(&p->packet));
}

/* A segment to the server whose TSval is not just shifted, or may be too far ahead of the clock. */
__attribute__((noinline)) static enum reason emit_with_care(struct passage *p)
{
	struct flow *flow = p->flow;
	uint32_t now = clock_tsval(&p->engine->clock, p->tick), tsval;
	enum reason reason = REASON_OUT_REWRITTEN;

	if (is_misleading(p)) {
		packet_set_tsval(&p->packet, flow->tsval_high);
		return reason;
	}
	if ((flow->flags & FLOW_ANCHOR_PENDING) && p->packet.tsval) {
		anchor(p);
		reason = REASON_OUT_ANCHORED;
	}
	tsval = p->packet.tsval + flow->offset;
	if (!(flow->flags & FLOW_SCALED) && has_run_away(p, tsval) && !is_no_reading(p))
		tsval = hold_back(p, tsval, &reason);
	if (is_no_reading(p)) {
		tsval = flow->tsval_high;
	} else if (was_overtaken(p, tsval)) {
		tsval = flow->syn_tsval + 1;
	} else if (flow->flags & FLOW_SCALED) {
		tsval = scaled_emit(flow_table_scaled(&p->engine->table, flow), p->packet.tsval, flow->offset, now);
		reason = REASON_OUT_SCALED;
	}
	if (tsval == 0) /* would be taken for "no timestamp" */
		tsval = UINT32_MAX;
	plain_note_emitted(&p->engine->clock, p->tick, flow, tsval);
	packet_set_tsval(&p->packet, tsval);
	return reason;
}

__attribute__((always_inline)) static inline enum reason handle_segment_out(struct passage *p, uint64_t word)
{
	struct flow *flow = p->flow;
	const struct flow now = {.word = word, .offset = flow->offset};
	struct clock *clock = &p->engine->clock;
	uint32_t tsval;

	if (now.mode != MODE_REWRITE) {
		engine_note_foreign_tsval(p);
		if (now.mode == MODE_OBSERVE && p->packet.ts && p->packet.tsval)
			flow->tsval_high = flow->tsval_high ? seq_max(flow->tsval_high, p->packet.tsval) : p->packet.tsval;
		return REASON_FLOW_NOT_REWRITTEN;
	}
	if (!p->packet.ts)
		return REASON_FLOW_NO_TIMESTAMPS;
	if (!plain_shift_out(clock, p->tick, &now, p->packet.tsval, &tsval))
		return emit_with_care(p);
	plain_note_emitted(clock, p->tick, flow, tsval);
	packet_set_tsval(&p->packet, tsval);
	return REASON_OUT_REWRITTEN;
}

enum reason engine_handle_segment_out(struct passage *p)
{
	return handle_segment_out(p, atomic_load(&p->flow->word));
}

__attribute__((always_inline)) static inline enum reason handle_segment_in(struct passage *p, uint64_t word)
{
	const struct flow *flow = p->flow;
	const struct flow now = {.word = word, .offset = flow->offset, .syn_tsval = flow->syn_tsval,
				 .tsval_high = atomic_load(&flow->tsval_high)};
	uint32_t tsecr = p->packet.tsecr, tsval;

	if (now.mode != MODE_REWRITE) {
		if (now.block && p->packet.ts)
			drop_old_syn_pairs(p, tsecr);
		return REASON_FLOW_NOT_REWRITTEN;
	}
	if (!p->packet.ts)
		return REASON_FLOW_NO_TIMESTAMPS;
	if (tsecr == 0)
		return REASON_IN_TSECR_ZERO;
	if (plain_is_echo(&now, tsecr))
		tsval = tsecr - now.offset;
	else if (!engine_find_echo(p, tsecr, &tsval))
		return engine_leave_if_gone_past(p, tsecr) ? REASON_IN_GONE_PAST : REASON_IN_FOREIGN_TSECR;
	if (now.block)
		drop_old_syn_pairs(p, tsecr);
	packet_set_tsecr(&p->packet, tsval);
	return now.flags & FLOW_SCALED ? REASON_IN_SCALED : REASON_IN_REWRITTEN;
}

/* A packet that belongs to no flow and makes none. */
static enum reason handle_stranger(struct passage *p, bool is_synack)
{
	const struct destination *destination;
	enum direction direction = engine_find_direction(p, &destination);

	if (direction != DIRECTION_IN)
		engine_note_foreign_tsval(p);
	if (is_synack)
		return REASON_SYNACK_UNKNOWN;
	if (!p->packet.ts)
		return REASON_NO_TIMESTAMPS;
	return direction == DIRECTION_IN ? REASON_MIDSTREAM_IN : REASON_MIDSTREAM_OUT;
}

/* True where flow_next_state() would leave the flow as it is. */
static bool stays_established(const struct flow *now, uint8_t tcp_flags)
{
	return now->state == FLOW_ESTABLISHED && !(tcp_flags & (TCP_FIN | TCP_RST));
}

/* Moves the flow on. */
__attribute__((noinline)) static void change_state(struct passage *p)
{
	struct flow *flow = p->flow, now;
	const bool is_own = engine_is_of_connection(p, flow), is_silent = engine_is_silent(p, flow);
	uint64_t before = atomic_load(&flow->word);

	do {
		now.word = before;
		plain_move_on(&now, is_own, is_silent, p->outbound, p->packet.flags);
	} while (!change(p->engine, flow, &before, now.word));
}

/* A server's answer to a SYN that is no SYN/ACK. Of two flows on the four-tuple it may be taken for one of the elder. */
static bool is_answer_to_syn(const struct passage *p)
{
	return !p->outbound && (atomic_load(&p->flow->state) == FLOW_SYN_SENT ||
				(p->younger && atomic_load(&p->younger->state) == FLOW_SYN_SENT));
}

/* `word`: the flow's, which somebody else may be changing. It is looked at once. */
__attribute__((always_inline)) static inline enum reason handle_segment(struct passage *p, uint64_t word)
{
	engine_note_seen(p);
	return p->outbound ? handle_segment_out(p, word) : handle_segment_in(p, word);
}

/* Apart, so that the code for most segments is no larger. */
__attribute__((noinline)) static enum reason handle_living(struct passage *p)
{
	return handle_segment(p, atomic_load(&p->flow->word));
}

/* A segment of a flow that is not just established. */
__attribute__((noinline)) static enum reason handle_turn(struct passage *p)
{
	const struct flow now = {.word = atomic_load(&p->flow->word)};
	bool is_told = p->engine->events && now.mode != MODE_OFF &&
		       ((p->packet.flags & (TCP_FIN | TCP_RST)) || is_answer_to_syn(p));
	enum reason reason;

	p->is_in_handshake = now.state == FLOW_SYN_SENT || now.state == FLOW_SYN_RECV;
	p->is_second_fin = p->outbound && (p->packet.flags & TCP_FIN) &&
			   (now.flags & (FLOW_FIN_IN | FLOW_FIN_OUT)) == FLOW_FIN_IN;
	if (plain_is_of_unknown(&now, engine_is_of_connection(p, p->flow), p->packet.flags)) {
		reason = handle_stranger(p, false);
	} else {
		change_state(p);
		reason = handle_living(p);
	}
	if (is_told)
		engine_tell(p, p->outbound, reason);
	return reason;
}

/* True for nearly all packets: segments of a plain flow by which nothing of it changes but what it has sent last. */
static bool runs_on(const struct flow *now, uint8_t tcp_flags)
{
	return !(tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)) && now->state == FLOW_ESTABLISHED && plain_is(now);
}

/* All that is asked of the word of such a flow is known. */
static enum reason handle_running(struct passage *p)
{
	const struct flow now = {.state = FLOW_ESTABLISHED, .mode = MODE_REWRITE};

	return handle_segment(p, now.word);
}

/* A SYN or SYN/ACK, or a RST of no known flow, has been handled. */
static enum reason tell(struct passage *p, bool outbound, enum reason reason)
{
	bool is_ours = p->flow ? p->flow->mode != MODE_OFF : reason != REASON_SYN_POLICY_OFF;

	if (p->engine->events && is_ours && reason != REASON_SYN_FROM_OUTSIDE)
		engine_tell(p, outbound, reason);
	return reason;
}

/* A SYN, a SYN/ACK, or what belongs to no known flow. */
__attribute__((noinline)) static enum reason handle_opening(struct passage *p)
{
	const uint8_t syn_ack = TCP_SYN | TCP_ACK;
	enum reason reason;

	if ((p->packet.flags & syn_ack) == TCP_SYN)
		return tell(p, true, engine_handle_syn(p));
	if ((p->packet.flags & syn_ack) == syn_ack) {
		reason = engine_handle_synack(p);
		return p->flow ? tell(p, p->outbound, reason) : tell(p, false, handle_stranger(p, true));
	}
	reason = handle_stranger(p, false);
	return p->packet.flags & TCP_RST ? tell(p, false, reason) : reason;
}

/* Any other packet of a known flow. */
__attribute__((noinline)) static enum reason handle_known(struct passage *p)
{
	struct flow now = {.word = atomic_load(&p->flow->word)};

	if (now.flags & FLOW_HAS_ELDER) {
		p->flow = engine_choose_flow(p);
		now.word = atomic_load(&p->flow->word);
	}
	p->slot = now.slot;
	if (p->packet.flags & TCP_SYN)
		return handle_opening(p);
	/* The elder may be established, and answer for the younger. */
	if ((p->younger && is_answer_to_syn(p)) || !stays_established(&now, p->packet.flags))
		return handle_turn(p);
	return handle_living(p);
}

static enum reason dispatch(struct passage *p)
{
	struct flow now;

	p->flow = flow_table_look_up(&p->engine->table, &p->packet.ends, &p->outbound);
	if (!p->flow)
		return handle_opening(p);
	now.word = atomic_load(&p->flow->word);
	if (!runs_on(&now, p->packet.flags))
		return handle_known(p);
	p->slot = now.slot;
	return handle_running(p);
}

enum reason engine_handle(struct engine *engine, const struct packet_input *input, uint64_t tick)
{
	struct passage p;
	enum reason reason = packet_parse(input, &p.packet);

	p.engine = engine;
	p.tick = tick;
	p.slot = SLOT_NONE;
	p.elder = NULL;
	p.younger = NULL;
	if (reason == REASON_COUNT)
		reason = dispatch(&p);
	counter_add(&engine->counters->reason[p.slot][reason], 1);
	return reason;
}
