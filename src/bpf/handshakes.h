/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_BPF_HANDSHAKES_H
#define PAWSD_BPF_HANDSHAKES_H

/* SYN and SYN/ACK. */

enum {
	IPV4_ROUTES = 2, /* AF_INET */
	IPV6_ROUTES = 10,
};

/* A place that pawsd has lent. */
inline_always bool take_place(struct fastpath_shared *shared, uint32_t *ret_at)
{
	uint32_t tail = atomic_load(&shared->loan.tail);

	for (uint32_t tries = 0; tries < ATOMIC_TRIES; tries++) {
		uint32_t at = tail & shared->lent_mask;
		const uint64_t *place;

		if (tail == atomic_load_acquire(&shared->loan.head))
			return false;
		place = bpf_map_lookup_elem(&fast_lent, &at);
		if (!place)
			return false;
		*ret_at = (uint32_t)*place;
		if (atomic_exchange_if32(&shared->loan.tail, &tail, tail + 1))
			return true;
	}
	return false;
}

/* Nobody has found it yet; its owner does by and by. */
inline_always void give_back(struct flow *flow)
{
	struct flow now = {.mode = FLOW_GIVEN_BACK};

	atomic_store_release(&flow->word, now.word);
}

/*
 * In front of the chain, where nobody has changed that since it was looked through: he may have opened the same. Else the
 * place is given back.
 */
inline_always bool link_flow(const struct passage *p, struct fastpath_shared *shared, uint32_t *head, struct flow *flow, uint32_t at)
{
	uint32_t next = p->head_was;

	flow->next = next;
	if (atomic_exchange_if32(head, &next, at + 1)) { /* what was written before is seen before */
		__sync_fetch_and_add(&shared->loan.opened, 1);
		return true;
	}
	give_back(flow);
	return false;
}

inline_always struct client_use *use_of_client(const struct fastpath_shared *shared, const uint64_t client[2])
{
	struct addr whose;
	uint32_t at;

	memcpy(&whose, client, sizeof(whose));
	if (client[0] != 0 || (uint32_t)client[1] != bpf_htonl(0xffff)) /* IPv6: the /64 */
		memset(whose.byte + 8, 0, 8);
	at = (uint32_t)hash_bytes16(whose.byte, shared->secret[1]) & shared->client_mask;
	return bpf_map_lookup_elem(&fast_clients, &at);
}

/*
 * What a new connection needs lies far apart, and has not been used for long: the processor is to fetch all of it at once, not one
 * after the other as it is asked for.
 */
inline_always void fetch_for_syn(const struct passage *p, const struct fastpath_shared *shared)
{
	const struct client_use *use = use_of_client(shared, p->segment.key.src);
	uint32_t at = atomic_load(&shared->loan.tail) & shared->lent_mask;
	const uint64_t *place = bpf_map_lookup_elem(&fast_lent, &at);
	const struct flow *flow;

	if (use)
		(void)atomic_load(&use->flows);
	if (!place)
		return;
	at = (uint32_t)*place;
	flow = bpf_map_lookup_elem(&fast_flows, &at);
	if (flow)
		(void)atomic_load(&flow->word);
}

/* True where the packet will be forwarded, by an interface to the servers. */
__attribute__((noinline)) int fast_is_to_servers(struct __sk_buff *skb, struct passage *p)
{
	struct fastpath_shared *shared = find_shared();
	struct bpf_fib_lookup route = {.l4_protocol = IPPROTO_TCP, .ifindex = skb->ifindex};
	long found;

	if (!p || !shared)
		return false;
	if (shared->flags & FASTPATH_ROUTES_UNKNOWN)
		return true;
	route.sport = bpf_htons((uint16_t)p->segment.key.src_port);
	route.dport = bpf_htons((uint16_t)p->segment.key.dst_port);
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		route.family = IPV4_ROUTES;
		memcpy(&route.ipv4_src, (const char *)p->segment.key.src + 12, sizeof(route.ipv4_src));
		memcpy(&route.ipv4_dst, (const char *)p->segment.key.dst + 12, sizeof(route.ipv4_dst));
	} else {
		route.family = IPV6_ROUTES;
		memcpy(route.ipv6_src, p->segment.key.src, sizeof(route.ipv6_src));
		memcpy(route.ipv6_dst, p->segment.key.dst, sizeof(route.ipv6_dst));
	}
	found = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return false;
	for (uint32_t i = 0; i < FASTPATH_WANS_MAX && i < shared->wan_count; i++)
		if (shared->wan[i] == route.ifindex)
			return true;
	return !shared->wan_count && route.ifindex != skb->ifindex;
}

/* The flow of the packet, a SYN, in a place of its own, which nobody finds yet. */
inline_always void begin(const struct passage *p, struct flow *flow)
{
	memcpy(&flow->client, p->segment.key.src, 16);
	memcpy(&flow->server, p->segment.key.dst, 16);
	flow->client_port = (uint16_t)p->segment.key.src_port;
	flow->server_port = (uint16_t)p->segment.key.dst_port;
}

inline_always uint64_t word_of_syn(const struct fastpath_candidate *policy, uint16_t flags)
{
	const struct flow now = {.flags = flags, .slot = policy->slot, .mode = MODE_REWRITE, .repair = policy->repair & 0xf,
				 .state = FLOW_SYN_SENT};

	return now.word;
}

/* What the SYN leaves with, and what is known of it. `last`: the newest TSval that is known on the four-tuple, or 0. */
inline_always uint32_t emit_syn(const struct passage *p, struct world *w, struct flow *flow, uint32_t last)
{
	uint32_t emitted;

	clock_publish(&w->clock, p->tick);
	emitted = clock_syn_tsval(&w->clock, p->tick, &flow->server, last ? &last : NULL);
	flow->offset = emitted - p->segment.tsval;
	flow->syn_tsval = emitted;
	flow->tsval_high = emitted;
	w->syn->isn = p->segment.seq;
	w->syn->time = (uint32_t)(p->tick / FLOW_SYN_TIME_MS);
	return emitted;
}

/*
 * The SYN of a new connection, on a four-tuple of which nothing is known or whose old connection is over: true where it has a flow
 * now, and fast_end_syn() is to see to the packet. Else it is for the queue.
 */
__attribute__((noinline)) int fast_syn(struct __sk_buff *skb, struct passage *p)
{
	struct world w = {0};
	const struct fastpath_candidate *policy;
	struct flow *flow = NULL;
	struct client_use *use = NULL;
	uint64_t before = 0, word;
	uint32_t at = 0, last = 0, *head;

	if (!p || !enter(&w))
		return false;
	if (p->flow_at && look_up_flow(&w, p->flow_at - 1))
		flow = w.flow;
	head = head_of(p);
	if (!head || !(p->side & SIDE_OUT) || (flow && !p->outbound))
		return false;
	if (flow) {
		const struct flow now = {.word = atomic_load(&flow->word)};

		before = now.word;
		if (!plain_is(&now) || (now.state != FLOW_LAST_ACK && now.state != FLOW_TIME_WAIT) ||
		    w.syn->isn == p->segment.seq)
			return false;
		last = flow->tsval_high;
	}
	policy = match(p);
	if (!policy || policy->mode != MODE_REWRITE || (w.shared->flags & FASTPATH_OPENS_NONE) || !p->segment.ts_at ||
	    !p->segment.tsval || (!flow && !w.shared->is_roomy) || !fast_is_to_servers(skb, p))
		return false;
	word = word_of_syn(policy, flow ? 0 : FLOW_FIRST);
	p->slot = policy->slot;
	if (!flow) {
		use = use_of_client(w.shared, p->segment.key.src);
		if (!use || (w.shared->client_most && use->flows >= w.shared->client_most) || !take_place(w.shared, &at))
			return false;
		if (!look_up_flow(&w, at))
			return false;
		flow = w.flow;
		begin(p, flow);
	}
	flow->last_seen_s = (uint32_t)(p->tick / 1000); /* before the word: or its owner would find it to be over */
	if (p->flow_at && !change(flow, before, word))
		return false;
	p->left = emit_syn(p, &w, flow, last);
	if (!p->flow_at) {
		atomic_store_release(&flow->word, word);
		if (!link_flow(p, w.shared, head, flow, at))
			return false;
		if (use)
			__sync_fetch_and_add(&use->flows, 1);
		count_state(p->slot, FLOW_SYN_SENT, 1);
		p->flow_at = at + 1;
	}
	p->is_told = true;
	p->is_sample = true;
	return true;
}

/* The SYN leaves with p->left. */
__attribute__((noinline)) int fast_end_syn(struct __sk_buff *skb, struct passage *p)
{
	struct fastpath_shared *shared = find_shared();

	if (!p || !shared)
		return LEAVE;
	return replace32(skb, p, shared, p->segment.ts_at + 2, p->segment.tsval, p->left, p->slot, REASON_SYN_REWRITTEN);
}

inline_always int fast_syn_before(struct __sk_buff *skb, struct passage *p, const struct fastpath_shared *shared)
{
	return fast_syn(skb, p) ? fast_end_syn(skb, p) : leave_to_queue(skb, p, shared);
}

/* ---- SYN/ACK ---- */

/*
 * The SYN/ACK answers a SYN that nobody here has seen: what it opens is none of ours. It is known as a flow of MODE_OFF, in
 * front of the one that was on its four-tuple: engine_know_unseen().
 */
inline_always void know_unseen(const struct passage *p, struct world *w)
{
	struct client_use *use = use_of_client(w->shared, p->segment.key.dst);
	const uint32_t most = w->shared->client_most;
	struct flow *older = w->flow, now = {0};
	uint32_t *head = head_of(p), at;

	if (!use || !head || (w->shared->flags & FASTPATH_HOLD) || !w->shared->is_roomy || (most && use->flows >= most - most / 4) || !take_place(w->shared, &at)) {
		now.word = atomic_load(&older->word);
		if (now.state == FLOW_LAST_ACK || now.state == FLOW_TIME_WAIT)
			flow_leave_alone(older);
		return;
	}
	if (!look_up_flow(w, at))
		return;
	now.slot = older->slot;
	now.flags = FLOW_UNSEEN | FLOW_HAS_ELDER;
	now.state = FLOW_SYN_RECV;
	memcpy(&w->flow->client, p->segment.key.dst, 16);
	memcpy(&w->flow->server, p->segment.key.src, 16);
	w->flow->client_port = (uint16_t)p->segment.key.dst_port;
	w->flow->server_port = (uint16_t)p->segment.key.src_port;
	w->flow->offset = 0;
	w->flow->syn_tsval = 0;
	w->flow->tsval_high = older->tsval_high;
	w->flow->last_seen_s = (uint32_t)(p->tick / 1000);
	w->syn->isn = p->segment.ack - 1;
	w->syn->time = (uint32_t)(p->tick / FLOW_SYN_TIME_MS);
	atomic_store_release(&w->flow->word, now.word);
	if (!link_flow(p, w->shared, head, w->flow, at))
		return; /* the server says it again */
	__sync_fetch_and_add(&use->flows, 1);
	count_state(now.slot, FLOW_SYN_RECV, 1);
}

/* Once more: where what was known is past, the later word counts. */
inline_always void renew_unseen(const struct passage *p, const struct world *w)
{
	struct world younger = {0};
	struct flow now = {.word = atomic_load(&w->flow->word)}, other = {0};

	if ((now.state != FLOW_LAST_ACK && now.state != FLOW_TIME_WAIT && now.state != FLOW_CLOSE) ||
	    !look_up_flow(&younger, p->younger_at - 1))
		return;
	other.word = atomic_load(&younger.flow->word);
	if (!plain_is_word_alone(&other))
		return;
	younger.syn->isn = p->segment.ack - 1;
	younger.syn->time = (uint32_t)(p->tick / FLOW_SYN_TIME_MS);
	younger.flow->last_seen_s = (uint32_t)(p->tick / 1000);
}

__attribute__((noinline)) int fast_synack(struct __sk_buff *skb, struct passage *p)
{
	struct world w = {0};
	struct flow *flow;
	enum move move;
	uint32_t tsval;

	if (!p || !enter(&w))
		return LEAVE;
	if (!look_up_flow(&w, p->flow_at - 1))
		return leave_to_queue(skb, p, w.shared);
	flow = w.flow;
	if (p->outbound)
		return leave_to_queue(skb, p, w.shared);
	p->is_told = p->is_sample = true;
	p->left = p->segment.tsecr;
	if (plain_bytes_since_syn(w.syn, p->segment.ack) >= PLAIN_HANDSHAKE_BYTES_MAX) {
		if (p->side & SIDE_PRE)
			return leave_to_queue(skb, p, w.shared);
		if (p->segment.ts_at)
			p->younger_at ? renew_unseen(p, &w) : know_unseen(p, &w);
		return done(skb, p, w.shared, flow->slot, REASON_SYNACK_UNKNOWN);
	}
	move = move_on(p);
	if (move == MOVE_THOUGHT || (move == MOVE_LOST && (p->side & SIDE_PRE)))
		return leave_to_queue(skb, p, w.shared);
	flow->last_seen_s = (uint32_t)(p->tick / 1000);
	if (!p->segment.ts_at)
		return done(skb, p, w.shared, flow->slot, REASON_SYNACK_NO_TIMESTAMPS);
	clock_note_stamped(&w.clock, (uint32_t)(p->tick / 1000), &flow->server);
	if (p->segment.tsecr == 0)
		return done(skb, p, w.shared, flow->slot, REASON_SYNACK_TSECR_ZERO);
	if (plain_shift_in(flow, w.syn, p->tick, p->segment.tsecr, &tsval)) {
		return replace32(skb, p, w.shared, p->segment.ts_at + 6, p->segment.tsecr, tsval, flow->slot, REASON_SYNACK_REWRITTEN);
	}
	if (plain_is_of_a_raw_syn(flow, w.syn, p->tick, p->segment.tsval, p->segment.tsecr)) {
		flow_leave_alone(flow);
		return done(skb, p, w.shared, flow->slot, REASON_SYNACK_UNKNOWN);
	}
	if (flow->repair == REPAIR_OFF)
		return done(skb, p, w.shared, flow->slot, REASON_SYNACK_FOREIGN_TSECR);
	tsval = flow->repair == REPAIR_ECHO ? flow_said_in_syn(flow) : 0;
	return replace32(skb, p, w.shared, p->segment.ts_at + 6, p->segment.tsecr, tsval, flow->slot,
			 flow->repair == REPAIR_ECHO ? REASON_SYNACK_REPAIRED_ECHO : REASON_SYNACK_REPAIRED_ZERO);
}

#endif
