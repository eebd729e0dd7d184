/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_BPF_SEGMENTS_H
#define PAWSD_BPF_SEGMENTS_H

/* Packets of running connections, and of those that end. */

/*
 * What is not newer than a time that has been is not ahead of what time it is. What may be is no news where the clock has been
 * raised as far.
 */
inline_always bool asks_the_time(const struct passage *p, const struct world *w)
{
	const uint32_t tsval = p->segment.tsval + w->flow->offset, now = clock_tsval(&w->clock, p->tick);

	return seq_after(tsval, now) && (!clock_is_raised(&w->clock, p->tick, tsval) || seq_after(tsval, now + w->clock.max_lead_ms));
}

inline_always int handle_out(struct __sk_buff *skb, struct passage *p, struct world *w)
{
	struct flow *flow = w->flow;
	enum reason reason = REASON_OUT_REWRITTEN;
	uint32_t tsval;

	if (!p->segment.ts_at)
		return done(skb, p, w->shared, flow->slot, REASON_FLOW_NO_TIMESTAMPS);
	if (p->is_rough && asks_the_time(p, w))
		look_at_the_time(p, w->shared);
	if (!plain_shift_out(&w->clock, p->tick, flow, p->segment.tsval, &tsval) &&
	    (!tsval || plain_has_run_away(&w->clock, p->tick, flow, w->syn, tsval))) {
		if (p->side & SIDE_PRE)
			return leave_to_queue(skb, p, w->shared);
		tsval = plain_shift_at_a_loss(&w->clock, p->tick, flow, w->syn, p->segment.seq, p->segment.tsval, &reason);
	}
	plain_note_emitted(&w->clock, p->tick, flow, tsval);
	return replace32(skb, p, w->shared, p->segment.ts_at + 2, p->segment.tsval, tsval, flow->slot, reason);
}

inline_always int handle_in(struct __sk_buff *skb, struct passage *p, struct world *w)
{
	struct flow *flow = w->flow;
	uint32_t tsval, tsecr = p->segment.tsecr;

	if (!p->segment.ts_at)
		return done(skb, p, w->shared, flow->slot, REASON_FLOW_NO_TIMESTAMPS);
	if (tsecr == 0)
		return done(skb, p, w->shared, flow->slot, REASON_IN_TSECR_ZERO);
	if (plain_is_echo(flow, tsecr)) {
		tsval = tsecr - flow->offset;
	} else if (!plain_shift_in(flow, w->syn, p->tick, tsecr, &tsval)) {
		if (!plain_has_gone_past(flow, tsecr))
			return done(skb, p, w->shared, flow->slot, REASON_IN_FOREIGN_TSECR);
		flow_leave_alone(flow);
		return done(skb, p, w->shared, flow->slot, REASON_IN_GONE_PAST);
	}
	return replace32(skb, p, w->shared, p->segment.ts_at + 6, tsecr, tsval, flow->slot, REASON_IN_REWRITTEN);
}

inline_always int handle_stranger(struct __sk_buff *skb, struct passage *p, struct world *w)
{
	if (p->side & SIDE_PRE)
		return leave_to_queue(skb, p, w->shared);
	if (p->side & SIDE_OUT)
		note_foreign_tsval(p, w);
	return done(skb, p, w->shared, w->flow->slot,
		    !p->segment.ts_at ? REASON_NO_TIMESTAMPS : p->side & SIDE_OUT ? REASON_MIDSTREAM_OUT : REASON_MIDSTREAM_IN);
}

/* What is to be told of it, and what there was before: engine.c, handle_turn(). */
inline_always void note_turn(struct passage *p, const struct flow *flow)
{
	const uint16_t fins = FLOW_FIN_IN | FLOW_FIN_OUT;
	const uint8_t flags = p->segment.flags;
	const struct flow now = {.word = atomic_load(&flow->word)};

	if (!(flags & (TCP_FIN | TCP_RST)) && (p->outbound || now.state != FLOW_SYN_SENT))
		return;
	p->is_told = true;
	p->left = p->outbound ? p->segment.tsval : p->segment.tsecr;
	if (now.state == FLOW_SYN_SENT || now.state == FLOW_SYN_RECV)
		p->told = EVENT_HANDSHAKE;
	if (p->outbound && (flags & TCP_FIN) && (now.flags & fins) == FLOW_FIN_IN)
		p->told |= EVENT_SERVER_FIRST;
}

__attribute__((noinline)) int fast_segment(struct __sk_buff *skb, struct passage *p)
{
	struct world w = {0};
	enum move move;

	if (!p || !enter(&w))
		return LEAVE;
	if (!look_up_flow(&w, p->flow_at - 1))
		return leave_to_queue(skb, p, w.shared);
	note_turn(p, w.flow);
	move = move_on(p);
	if (move == MOVE_STRANGER)
		return handle_stranger(skb, p, &w);
	if (move == MOVE_THOUGHT && is_last_out(p->side))
		return drop(skb, w.shared, w.flow->slot);
	if (move == MOVE_THOUGHT || (move == MOVE_LOST && (p->side & SIDE_PRE)))
		return leave_to_queue(skb, p, w.shared);
	note_seen(p, w.flow);
	return p->outbound ? handle_out(skb, p, &w) : handle_in(skb, p, &w);
}

/* True for nearly all packets: segments by which nothing of their flow changes but what it has sent last. */
inline_always bool runs_on(const struct passage *p, const struct flow *flow)
{
	const struct flow now = {.word = atomic_load(&flow->word)};

	return now.state == FLOW_ESTABLISHED && !(p->segment.flags & (TCP_SYN | TCP_FIN | TCP_RST)) && plain_is(&now);
}

#endif
