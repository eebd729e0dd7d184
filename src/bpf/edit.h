/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_BPF_EDIT_H
#define PAWSD_BPF_EDIT_H

/* What becomes of a packet: the only place that changes its bytes and its mark. */

inline_always int mark(struct __sk_buff *skb, const struct fastpath_shared *shared, enum fastpath_mark mark)
{
	skb->mark |= (uint32_t)mark << (shared->mark_shift & 31);
	return LEAVE;
}

/* Done, under that reason. */
inline_always int done(struct __sk_buff *skb, struct passage *p, const struct fastpath_shared *shared, uint32_t slot,
		       enum reason reason)
{
	if (shared->frozen_tick)
		skb->cb[0] = (uint32_t)reason;
	count(slot, reason);
	if (p->is_told)
		fast_tell(p, slot, reason);
	if (!(p->side & SIDE_PRE))
		return mark(skb, shared, FASTPATH_MARK_DONE_LAST);
	return mark(skb, shared, p->is_sample ? FASTPATH_MARK_LABEL : FASTPATH_MARK_DONE_FIRST);
}

/* Behind netfilter there is no queue any more. */
inline_always int leave_to_queue(struct __sk_buff *skb, const struct passage *p, const struct fastpath_shared *shared)
{
	return p->side & SIDE_PRE ? mark(skb, shared, FASTPATH_MARK_SLOW) : LEAVE;
}

/* Nothing is known of it: the rules decide. */
inline_always int leave_to_rules(struct __sk_buff *skb, const struct passage *p, const struct fastpath_shared *shared)
{
	return p->side & SIDE_PRE ? mark(skb, shared, FASTPATH_MARK_OTHER) : LEAVE;
}

/* Writes four bytes of the packet, where they lie if that can be. False: it cannot be done. */
inline_always bool write32(struct __sk_buff *skb, uint32_t at, uint32_t bytes)
{
	const uint32_t place = at & 0x3ff;
	uint8_t *word = (uint8_t *)(long)skb->data + place;

	if (place != at || word + sizeof(bytes) > (uint8_t *)(long)skb->data_end)
		return bpf_skb_store_bytes(skb, at, &bytes, sizeof(bytes), 0) == 0;
	*(uint32_t *)(void *)word = bytes;
	return true;
}

/* The 32 bits at `at` become `new`, host byte order; then it is done. */
inline_always int replace32(struct __sk_buff *skb, struct passage *p, const struct fastpath_shared *shared, uint32_t at,
			    uint32_t old, uint32_t new, uint32_t slot, enum reason reason)
{
	uint32_t from = bpf_htonl(old), to = bpf_htonl(new);
	const uint32_t bytes = to;

	if ((at - p->segment.tcp_at) & 1) { /* its bytes count in the other halves of their words */
		from = from << 8 | from >> 24;
		to = to << 8 | to >> 24;
	}
	if (bpf_l4_csum_replace(skb, p->segment.tcp_at + 16, from, to, sizeof(to)) < 0)
		return leave_to_queue(skb, p, shared);
	if (!write32(skb, at, bytes))
		return TC_ACT_SHOT; /* its checksum would be wrong */
	p->left = new;
	return done(skb, p, shared, slot, reason);
}

#endif
