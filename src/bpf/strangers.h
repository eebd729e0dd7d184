/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_BPF_STRANGERS_H
#define PAWSD_BPF_STRANGERS_H

/*
 * What leaves by an interface to the servers as it is. The rules have let it go, so that no queue sees it, and the engine counts
 * nothing of it, nor hears which TSval a server has been sent.
 */

/* The destination of a connection to the packet's dst; NULL where the engine has to say. */
inline_always const struct fastpath_candidate *match(const struct passage *p)
{
	struct fastpath_policy_key key = {.len = 128};
	uint32_t zero = 0;
	void *policies = bpf_map_lookup_elem(&fast_policies, &zero);

	if (!policies)
		return NULL;
	memcpy(&key.addr, p->segment.key.dst, sizeof(key.addr));
	return fastpath_choose(bpf_map_lookup_elem(policies, &key), (uint16_t)p->segment.key.dst_port);
}

/* engine_note_foreign_tsval() */
inline_always void note_foreign_tsval(const struct passage *p, struct world *w)
{
	struct addr server;

	if (!p->segment.ts_at)
		return;
	memcpy(&server, p->segment.key.dst, sizeof(server));
	clock_note_stamped(&w->clock, (uint32_t)(p->tick / 1000), &server);
	if (p->segment.tsval)
		clock_raise_server(&w->clock, p->tick, &server, p->segment.tsval);
}

/* It passes, for that reason, if it is for a destination that is rewritten; of all others the programs say nothing. */
__attribute__((noinline)) int fast_pass(struct __sk_buff *skb, struct passage *p, uint32_t reason)
{
	const struct fastpath_candidate *policy;
	struct world w = {0};

	if (!p || reason >= REASON_COUNT || !enter(&w))
		return LEAVE;
	policy = match(p);
	if (!policy || policy->mode != MODE_REWRITE)
		return LEAVE;
	note_foreign_tsval(p, &w);
	p->left = p->segment.tsval;
	return done(skb, p, w.shared, policy->slot, (enum reason)reason);
}

/* Of no flow: engine.c, handle_stranger(). */
inline_always int fast_stranger(struct __sk_buff *skb, struct passage *p)
{
	return fast_pass(skb, p, p->segment.flags & TCP_SYN ? REASON_SYNACK_UNKNOWN
				 : !p->segment.ts_at	    ? REASON_NO_TIMESTAMPS
							    : REASON_MIDSTREAM_OUT);
}

/*
 * A segment of a flow that takes thought. Connections of such flows are queued, so that this one has been on its way here while
 * that was found out, and is dropped: what the client said, or what its offset would make of it, may be newer than all
 * that the engine sends from now on, and would end the connection. It will be sent again, and queued.
 */
inline_always int drop(struct __sk_buff *skb, const struct fastpath_shared *shared, uint32_t slot)
{
	if (shared->frozen_tick)
		skb->cb[0] = REASON_OUT_DROPPED;
	count(slot, REASON_OUT_DROPPED);
	return TC_ACT_SHOT;
}

/* A packet of a flow that is no plain one: one that is none of ours passes, as does that of a stripped or an observed one. */
inline_always int fast_thoughtful(struct __sk_buff *skb, struct passage *p, const struct fastpath_shared *shared, struct flow *flow)
{
	const struct flow now = {.word = atomic_load(&flow->word)};

	if (now.state == FLOW_FREE) /* it has just been forgotten */
		return fast_stranger(skb, p);
	if (now.mode == MODE_REWRITE)
		return p->segment.ts_at ? drop(skb, shared, now.slot) : LEAVE;
	if (now.mode == MODE_OFF && !(p->segment.flags & TCP_SYN) && move_on(p) == MOVED)
		flow->last_seen_s = (uint32_t)(p->tick / 1000);
	return fast_pass(skb, p, REASON_FLOW_NOT_REWRITTEN);
}

#endif
