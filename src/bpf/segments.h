/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_BPF_SEGMENTS_H
#define PAWSD_BPF_SEGMENTS_H

/* Packets of running connections, and of those that end. */

/* The connection is none of ours from now on. */
inline_always void leave_alone(struct flow *flow)
{
	struct flow now = {0};
	uint64_t before;

	now.word = before = atomic_load(&flow->word);
	if (now.state == FLOW_FREE)
		return;
	now.mode = MODE_OFF;
	change(flow, before, now.word);
}

inline_always int handle_out(struct __sk_buff *skb, const struct passage *p, struct world *w)
{
	struct flow *flow = w->flow;
	uint32_t tsval;

	if (!p->segment.ts_at)
		return done(skb, w->shared, flow->slot, REASON_FLOW_NO_TIMESTAMPS);
	if (!plain_shift_out(&w->clock, p->tick, flow, p->segment.tsval, &tsval))
		return leave_to_queue(skb, w->shared);
	plain_note_emitted(&w->clock, p->tick, flow, tsval);
	replace32(skb, p, p->segment.ts_at + 2, p->segment.tsval, tsval);
	return done(skb, w->shared, flow->slot, REASON_OUT_REWRITTEN);
}

inline_always int handle_in(struct __sk_buff *skb, const struct passage *p, struct world *w)
{
	struct flow *flow = w->flow;
	uint32_t tsval, tsecr = p->segment.tsecr;

	if (!p->segment.ts_at)
		return done(skb, w->shared, flow->slot, REASON_FLOW_NO_TIMESTAMPS);
	if (tsecr == 0)
		return done(skb, w->shared, flow->slot, REASON_IN_TSECR_ZERO);
	if (plain_is_echo(flow, tsecr)) {
		tsval = tsecr - flow->offset;
	} else if (!plain_shift_in(flow, w->syn, p->tick, tsecr, &tsval)) {
		if (!plain_has_gone_past(flow, tsecr))
			return done(skb, w->shared, flow->slot, REASON_IN_FOREIGN_TSECR);
		leave_alone(flow);
		return done(skb, w->shared, flow->slot, REASON_IN_GONE_PAST);
	}
	replace32(skb, p, p->segment.ts_at + 6, tsecr, tsval);
	return done(skb, w->shared, flow->slot, REASON_IN_REWRITTEN);
}

enum move {
	MOVED,
	MOVE_STRANGER, /* of a connection that began without pawsd */
	MOVE_LOST,     /* somebody else has moved it meanwhile */
};

/* Moves the flow on where the segment does that: see engine.c, is_of_unknown() and change_state(). */
inline_always enum move move_on(const struct passage *p, struct world *w)
{
	struct flow *flow = w->flow, now = {0};
	const uint8_t flags = p->segment.flags;
	const bool is_reset = flags & TCP_RST;
	uint64_t before;

	now.word = before = atomic_load(&flow->word);
	if (now.state == FLOW_FREE) /* its owner is taking it away, or has not made it yet */
		return MOVE_STRANGER;
	if (now.state == FLOW_ESTABLISHED && !(flags & (TCP_FIN | TCP_RST)))
		return MOVED;
	if (flow_in_handshake(&now)) {
		uint32_t number = p->outbound ? p->segment.seq : p->segment.ack;
		bool is_ours = (p->outbound || (flags & TCP_ACK)) &&
			       plain_bytes_since_syn(w->syn, number) < PLAIN_HANDSHAKE_BYTES_MAX;

		if (!is_ours && (now.flags & FLOW_FIRST) && !is_reset)
			return MOVE_STRANGER;
		if (!is_ours && (p->outbound || !is_reset))
			return MOVED;
	}
	if (now.state == FLOW_CLOSE && !is_reset && plain_is_silent(flow, p->tick))
		now.flags |= FLOW_ALIVE_OUT | FLOW_ALIVE_IN;
	now.state = (uint8_t)flow_next_state(&now, p->outbound, flags);
	return change(flow, before, now.word) ? MOVED : MOVE_LOST;
}

inline_always int handle_stranger(struct __sk_buff *skb, const struct passage *p, struct world *w)
{
	if (p->side & SIDE_PRE)
		return leave_to_queue(skb, w->shared);
	return done(skb, w->shared, w->flow->slot,
		    !p->segment.ts_at ? REASON_NO_TIMESTAMPS : p->side & SIDE_OUT ? REASON_MIDSTREAM_OUT : REASON_MIDSTREAM_IN);
}

__attribute__((noinline)) int fast_segment(struct __sk_buff *skb, struct passage *p)
{
	struct world w = {0};
	enum move move;

	if (!p || !enter(&w) || !look_up_flow(&w, p->flow_at - 1))
		return LEAVE;
	move = move_on(p, &w);
	if (move == MOVE_STRANGER)
		return handle_stranger(skb, p, &w);
	if (move == MOVE_LOST && (p->side & SIDE_PRE))
		return leave_to_queue(skb, w.shared);
	w.flow->last_seen_s = (uint32_t)(p->tick / 1000);
	return p->outbound ? handle_out(skb, p, &w) : handle_in(skb, p, &w);
}

#endif
