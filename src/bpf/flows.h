/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_BPF_FLOWS_H
#define PAWSD_BPF_FLOWS_H

/* Where flows are found, and how what is known of one is changed by several processors at once. */

inline_always void count(uint32_t slot, enum reason reason)
{
	uint32_t at = bpf_get_smp_processor_id() * DESTINATION_SLOTS + slot;
	struct fastpath_counts *counts = bpf_map_lookup_elem(&fast_counts, &at);

	if (counts)
		counts->reason[reason]++;
}

inline_always void count_state(uint32_t slot, uint32_t state, uint64_t n)
{
	uint32_t at = bpf_get_smp_processor_id() * DESTINATION_SLOTS + slot;
	struct fastpath_counts *counts = bpf_map_lookup_elem(&fast_counts, &at);

	if (!counts)
		return;
	/* Compared and used from one register: the verifier of Linux 6.1 forgets the limit of what is read from the stack anew. */
	__asm__ volatile("" : "+r"(state));
	if (state < FLOW_STATE_COUNT)
		counts->flows[state] += n;
}

inline_always uint32_t *head_of(const struct passage *p)
{
	uint32_t value = p->head_at / FASTPATH_HEADS_A_VALUE;
	struct fastpath_heads *heads = bpf_map_lookup_elem(&fast_heads, &value);

	return heads ? &heads->head[p->head_at % FASTPATH_HEADS_A_VALUE] : NULL;
}

inline_always struct fastpath_shared *find_shared(void)
{
	const uint32_t zero = 0;

	return bpf_map_lookup_elem(&fast_shared, &zero);
}

inline_always bool look_up_flow(struct world *w, uint32_t at)
{
	w->flow = bpf_map_lookup_elem(&fast_flows, &at);
	w->syn = bpf_map_lookup_elem(&fast_syns, &at);
	return w->flow && w->syn;
}

inline_always void use_clock(struct world *w, struct fastpath_shared *shared)
{
	w->shared = shared;
	w->clock = (struct clock){.shared = &shared->clock, .max_lead_ms = shared->clock_max_lead_ms, .base = shared->clock_base};
}

inline_always bool enter(struct world *w)
{
	struct fastpath_shared *shared = find_shared();

	if (!shared)
		return false;
	use_clock(w, shared);
	return true;
}

/* Has p->tick be the time. It does not step back. */
inline_always void look_at_the_time(struct passage *p, struct fastpath_shared *shared)
{
	struct clock clock = {.shared = &shared->clock};
	const uint64_t jiffies = bpf_jiffies64(); /* before the time, which may be of the next one */

	p->tick = shared->frozen_tick;
	if (!p->tick)
		p->tick = bpf_ktime_get_boot_ns() / 1000000 + (uint64_t)shared->clock_offset_ms;
	p->tick = clock_publish(&clock, p->tick);
	if (atomic_load(&shared->glance) != (jiffies << 32 | (uint32_t)p->tick))
		atomic_store(&shared->glance, jiffies << 32 | (uint32_t)p->tick);
	p->is_rough = false;
}

/*
 * The kernel's clock takes long to read, beside all else that is to be done for most segments. So the first one in a millisecond
 * reads it, and the others have it from him: their tick is earlier than now by less than a jiffy.
 */
inline_always void glance_at_the_time(struct passage *p, struct fastpath_shared *shared)
{
	const uint64_t glance = atomic_load(&shared->glance);

	if (shared->frozen_tick || glance >> 32 != (uint32_t)bpf_jiffies64()) {
		look_at_the_time(p, shared);
		return;
	}
	p->tick = atomic_load(&shared->clock.published);
	if (seq_after((uint32_t)glance, (uint32_t)p->tick)) /* this processor has not seen yet what was published */
		p->tick += (uint32_t)glance - (uint32_t)p->tick;
	p->is_rough = true;
}

/*
 * Once a second: processors that handle both ways of a flow need not have its memory from each other for that. The connection's label
 * is renewed then, or by one of 64 packets, where it is mostly those of the other way that come first in a second.
 */
inline_always void note_seen(struct passage *p, struct flow *flow)
{
	const uint32_t now_s = (uint32_t)(p->tick / 1000);

	p->is_sample = ((uint32_t)p->tick + p->segment.seq + p->segment.ack) % 64 == 0;
	if (flow->last_seen_s == now_s)
		return;
	flow->last_seen_s = now_s;
	p->is_sample = true;
}

/* Finds the packet's flow. False where it cannot be told whether there is one. */
inline_always int fast_find(struct passage *p)
{
	struct fastpath_shared *shared = find_shared();
	uint32_t *head, next;

	if (!p || !shared)
		return false;
	p->head_at = (uint32_t)flow_key_hash(&p->segment.key, shared->secret) & shared->head_mask;
	p->flow_at = 0;
	head = head_of(p);
	if (!head)
		return false;
	p->head_was = next = atomic_load(head);
	for (int i = 0; i < FASTPATH_CHAIN_MAX; i++) {
		uint32_t at = next - 1;
		struct flow *flow;

		if (!next)
			return true;
		flow = bpf_map_lookup_elem(&fast_flows, &at);
		if (!flow)
			return false;
		p->outbound = flow_key_is_outbound(&p->segment.key, flow);
		if (p->outbound || flow_key_is_inbound(&p->segment.key, flow)) {
			p->flow_at = next;
			return true;
		}
		next = atomic_load(&flow->next);
	}
	return false;
}

/*
 * Of two flows on the four-tuple the one that a packet to the client means, as far as that is told by its number:
 * engine_choose_flow(). False where it cannot be told.
 */
__attribute__((noinline)) int fast_choose(struct passage *p)
{
	struct world younger = {0}, elder = {0};
	uint32_t next;

	if (!p || !look_up_flow(&younger, p->flow_at - 1))
		return false;
	next = atomic_load(&younger.flow->next);
	for (int i = 0; i < FASTPATH_CHAIN_MAX && next; i++) {
		if (!look_up_flow(&elder, next - 1))
			return false;
		if (flow_key_is_inbound(&p->segment.key, elder.flow)) {
			if (plain_means_elder(younger.flow, younger.syn, elder.flow, elder.syn, p->tick, false, p->segment.flags,
					      p->segment.ack)) {
				p->younger_at = p->flow_at;
				p->flow_at = next;
			}
			return true;
		}
		next = atomic_load(&elder.flow->next);
	}
	return false;
}

/* Exchanges the flow's word, and moves the gauges. False where somebody else was faster. */
inline_always bool change(struct flow *flow, uint64_t before, uint64_t after)
{
	struct flow was = {.word = before}, now = {.word = after};

	if (before == after)
		return true;
	if (!atomic_exchange_if(&flow->word, &before, after))
		return false;
	if (was.state != now.state || was.slot != now.slot) {
		count_state(was.slot, was.state, (uint64_t)-1);
		count_state(now.slot, now.state, 1);
	}
	return true;
}

enum move {
	MOVED,
	MOVE_STRANGER, /* of a connection that began without pawsd */
	MOVE_THOUGHT,  /* the flow is no plain one, or no longer */
	MOVE_LOST,     /* somebody else has changed it meanwhile */
};

/* Moves the packet's flow on where the packet does that: a SYN/ACK, or as engine.c, handle_turn() a segment. */
__attribute__((noinline)) int fast_move(struct passage *p)
{
	struct world w = {0};
	struct flow now = {0};
	uint64_t before;
	uint8_t flags;
	bool is_own;

	if (!p || !look_up_flow(&w, p->flow_at - 1))
		return MOVE_THOUGHT;
	flags = p->segment.flags;
	now.word = before = atomic_load(&w.flow->word);
	if (!plain_is(&now) && !(is_last_out(p->side) && now.mode == MODE_OFF && now.state != FLOW_FREE))
		return MOVE_THOUGHT;
	if (flags & TCP_SYN) {
		if (flow_in_handshake(&now))
			now.state = FLOW_SYN_RECV;
		if (p->segment.ts_at)
			now.flags |= FLOW_STAMPED;
	} else if (now.state != FLOW_ESTABLISHED || (flags & (TCP_FIN | TCP_RST))) {
		is_own = plain_bytes_come(w.syn, p->outbound, flags, p->outbound ? p->segment.seq : p->segment.ack) <
			 PLAIN_HANDSHAKE_BYTES_MAX;
		if (plain_is_of_unknown(&now, is_own, flags))
			return MOVE_STRANGER;
		plain_move_on(&now, is_own, plain_is_silent(w.flow, p->tick), p->outbound, flags);
	}
	return change(w.flow, before, now.word) ? MOVED : MOVE_LOST;
}

inline_always enum move move_on(struct passage *p)
{
	int move = MOVE_LOST;

	for (uint32_t tries = 0; tries < ATOMIC_TRIES && move == MOVE_LOST; tries++)
		move = fast_move(p);
	return (enum move)move;
}

#endif
