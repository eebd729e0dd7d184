/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_BPF_SYNS_BEHIND_H
#define PAWSD_BPF_SYNS_BEHIND_H

/* SYNs behind netfilter, on the servers' side: what a program does not do with there nobody does. */

/* Why no flow is made for the SYN, by what is so for all; REASON_COUNT: one is, if there is room. */
inline_always uint32_t find_reason_to_pass(const struct passage *p, const struct fastpath_shared *shared)
{
	if (!p->segment.ts_at)
		return REASON_SYN_NO_TIMESTAMPS;
	if (shared->flags & FASTPATH_RULES_LAG)
		return REASON_SYN_POLICY_OFF;
	if (shared->flags & FASTPATH_DRAINING)
		return REASON_SYN_DRAINING;
	/* 0 would take an anchor. The rules queue those, and while a table is taken over all SYNs. */
	return (shared->flags & FASTPATH_HOLD) || !p->segment.tsval ? REASON_TABLE_FULL : REASON_COUNT;
}

/* What it opens is none of ours, nor is what was there before: engine_syn.c, pass_new_syn(). */
inline_always uint32_t pass_syn(struct passage *p, uint32_t reason)
{
	struct world w = {0};

	if (p->flow_at && look_up_flow(&w, p->flow_at - 1))
		flow_leave_alone(w.flow);
	p->flow_at = 0;
	p->is_told = reason != REASON_SYN_POLICY_OFF;
	return reason;
}

/*
 * Has the flow, whose connection is over, be that of the SYN. False for one that has a block, which is its owner's to take
 * away, one that is being taken away, and where others are faster.
 */
inline_always bool reuse(const struct passage *p, struct flow *flow, uint64_t word)
{
	struct flow was = {0};

	for (uint32_t tries = 0; tries < ATOMIC_TRIES; tries++) {
		was.word = atomic_load(&flow->word);
		if (was.state == FLOW_FREE || was.block)
			return false;
		flow->last_seen_s = (uint32_t)(p->tick / 1000);
		if (change(flow, was.word, word))
			return true;
	}
	return false;
}

/* Nobody will find it any more, who looks for its four-tuple: it is swept as one that was reset. */
inline_always void retire(struct flow *flow)
{
	struct flow was = {.word = atomic_load(&flow->word)}, now = was;

	now.state = FLOW_CLOSE;
	now.mode = MODE_OFF;
	now.repair = FLOW_RETIRED;
	if (was.state != FLOW_FREE)
		change(flow, was.word, now.word);
}

/*
 * The newest TSval that is known on the four-tuple, whose first flow is p->flow_at, or 0: as make_way() in engine_syn.c. What is
 * behind that flow is over as well.
 */
__attribute__((noinline)) int fast_last_tsval(struct passage *p)
{
	const struct fastpath_shared *shared = find_shared();
	struct world w = {0};
	uint32_t last, next;

	if (!p || !shared || !look_up_flow(&w, p->flow_at - 1))
		return 0;
	const struct clock clock = {.base = shared->clock_base};

	last = w.flow->tsval_high;
	next = atomic_load(&w.flow->next);
	for (int i = 0; i < FASTPATH_CHAIN_MAX && next && look_up_flow(&w, next - 1); i++) {
		if (flow_key_is_outbound(&p->segment.key, w.flow)) {
			last = clock_furthest(&clock, p->tick, last, w.flow->tsval_high);
			retire(w.flow);
		}
		next = atomic_load(&w.flow->next);
	}
	return (int)last;
}

/* Has a place of its own be a flow in front of all that is known on the four-tuple. Returns a reason, REASON_COUNT where it is. */
__attribute__((noinline)) int fast_open(struct passage *p, uint64_t word, uint32_t last)
{
	struct world w = {0};
	struct client_use *use;
	uint32_t at = 0, *head;

	if (!p || !enter(&w))
		return REASON_TABLE_FULL;
	head = head_of(p);
	use = use_of_client(w.shared, p->segment.key.src);
	if (use && w.shared->client_most && use->flows >= w.shared->client_most)
		return REASON_CLIENT_QUOTA;
	if (!use || !head || !take_place(w.shared, &at) || !look_up_flow(&w, at))
		return REASON_TABLE_FULL;
	begin(p, w.flow);
	w.flow->last_seen_s = (uint32_t)(p->tick / 1000);
	p->left = emit_syn(p, &w, w.flow, last);
	atomic_store_release(&w.flow->word, word);
	if (!link_flow(p, w.shared, head, w.flow, at))
		return REASON_TABLE_FULL;
	__sync_fetch_and_add(&use->flows, 1);
	count_state(p->slot, FLOW_SYN_SENT, 1);
	p->flow_at = at + 1;
	return REASON_COUNT;
}

/* The SYN once more of a connection that began under another policy: its mode is that of then. */
inline_always bool has_begun_otherwise(const struct passage *p, const struct world *w)
{
	const struct flow now = {.word = atomic_load(&w->flow->word)};

	return (now.mode == MODE_OBSERVE || now.mode == MODE_STRIP) && now.state != FLOW_FREE && flow_in_handshake(&now) &&
	       w->syn->isn == p->segment.seq && plain_syn_age_ms(w->syn, p->tick) <= PLAIN_SYN_SPAN_MAX_MS;
}

inline_always uint32_t open_in_front(struct passage *p, struct flow *older, uint64_t word, uint32_t last)
{
	const uint32_t reason = (uint32_t)fast_open(p, word, last);

	if (reason == REASON_COUNT)
		retire(older);
	return reason;
}

/*
 * The SYN of a connection that conntrack has not known before: whatever is known on its four-tuple is over. The rules queue
 * those that are another SYN of one, and what the programs cannot decide. Returns its reason; REASON_COUNT: it is none of ours.
 */
__attribute__((noinline)) int fast_syn_last(struct passage *p)
{
	struct world w = {0};
	const struct fastpath_candidate *policy;
	uint32_t reason, last;
	uint64_t word;

	if (!p || !enter(&w))
		return REASON_COUNT;
	policy = match(p);
	if (!policy || policy->mode != MODE_REWRITE) {
		/* The rules bring none of it: what it opens must not be taken for a flow that was. */
		if (p->flow_at && look_up_flow(&w, p->flow_at - 1) && w.flow->mode == MODE_REWRITE)
			flow_leave_alone(w.flow);
		return REASON_COUNT;
	}
	reason = find_reason_to_pass(p, w.shared);
	if (reason != REASON_COUNT)
		return (int)pass_syn(p, reason);
	word = word_of_syn(policy, p->flow_at ? 0 : FLOW_FIRST);
	p->slot = policy->slot;
	if (p->flow_at && look_up_flow(&w, p->flow_at - 1)) {
		if (has_begun_otherwise(p, &w))
			return w.flow->mode == MODE_OBSERVE ? REASON_SYN_OBSERVED : REASON_FLOW_NOT_REWRITTEN;
		last = (uint32_t)fast_last_tsval(p);
		if (reuse(p, w.flow, word))
			p->left = emit_syn(p, &w, w.flow, last);
		else
			reason = open_in_front(p, w.flow, word, last);
	} else {
		reason = (uint32_t)fast_open(p, word, 0);
	}
	if (reason != REASON_COUNT)
		return (int)pass_syn(p, reason);
	p->is_told = true;
	return REASON_SYN_REWRITTEN;
}

inline_always int fast_syn_behind(struct __sk_buff *skb, struct passage *p)
{
	const uint32_t reason = (uint32_t)fast_syn_last(p);

	if (reason == REASON_SYN_REWRITTEN)
		return fast_end_syn(skb, p);
	return reason == REASON_COUNT ? LEAVE : fast_pass(skb, p, reason);
}

#endif
