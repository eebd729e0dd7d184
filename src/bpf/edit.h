/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_BPF_EDIT_H
#define PAWSD_BPF_EDIT_H

/* What becomes of a packet: the only place that changes its bytes and its mark. */

/* The 32 bits at `at` become `new`, host byte order. */
inline_always void replace32(struct __sk_buff *skb, const struct passage *p, uint32_t at, uint32_t old, uint32_t new)
{
	uint32_t from = bpf_htonl(old), to = bpf_htonl(new);
	uint32_t bytes = to;

	if ((at - p->segment.tcp_at) & 1) { /* its bytes count in the other halves of their words */
		from = from << 8 | from >> 24;
		to = to << 8 | to >> 24;
	}
	bpf_l4_csum_replace(skb, p->segment.tcp_at + 16, from, to, sizeof(to));
	bpf_skb_store_bytes(skb, at, &bytes, sizeof(bytes), 0);
}

inline_always int mark(struct __sk_buff *skb, const struct fastpath_shared *shared, enum fastpath_mark mark)
{
	skb->mark |= (uint32_t)mark << (shared->mark_shift & 31);
	return LEAVE;
}

/* Done, under that reason. */
inline_always int done(struct __sk_buff *skb, const struct fastpath_shared *shared, uint32_t slot, enum reason reason)
{
	if (shared->frozen_tick)
		skb->cb[0] = (uint32_t)reason;
	count(slot, reason);
	return mark(skb, shared, FASTPATH_MARK_DONE_OUT);
}

inline_always int leave_to_queue(struct __sk_buff *skb, const struct fastpath_shared *shared)
{
	return mark(skb, shared, FASTPATH_MARK_SLOW);
}

#endif
