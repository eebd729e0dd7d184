/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fast path: packets of plain flows are rewritten where they come in, by tc, and no queue sees them. What needs
 * thought is left to the queue: it is marked, and the rules see to the rest.
 *
 * A program sits on either way of one interface. One of them comes before netfilter, and can leave packets to the queue;
 * the other comes behind it, and does its best with what it is given. On the clients' side it is what they send that comes
 * before netfilter, with inner addresses; on the servers' side what they receive, with public ones.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#pragma clang attribute push(__attribute__((always_inline)), apply_to = function)
#pragma clang attribute push(__attribute__((internal_linkage)), apply_to = function)
#include "event.h"
#include "fastpath.h"
#include "flow_key.h"
#include "packet.h"
#include "plain.h"
#include "tcpopt.h"

#include "../core/clock.c"
#include "../core/flow_next.c"
#pragma clang attribute pop
#pragma clang attribute pop

#define inline_always static __attribute__((always_inline)) inline

#include "memory.h"
#include "parse.h"
#include "flows.h"
#include "events.h"
#include "edit.h"
#include "strangers.h"
#include "segments.h"
#include "handshakes.h"
#include "syns_behind.h"

/* False: none of ours, or none that can be read. */
__attribute__((noinline)) int fast_parse(struct __sk_buff *skb, struct passage *p, uint32_t link_len)
{
	if (!p)
		return false;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return parse_ipv4(skb, link_len, p->side, &p->segment);
	return skb->protocol == bpf_htons(ETH_P_IPV6) && parse_ipv6(skb, link_len, p->side, &p->segment);
}

/*
 * True for a packet that has been looked at, here or on another interface, or that is none for this one: what is not for this
 * host, and what belongs to a VLAN's interface, which has programs of its own.
 */
inline_always bool is_anothers(const struct __sk_buff *skb, const struct fastpath_shared *shared, enum side side)
{
	const uint32_t mark = skb->mark >> (shared->mark_shift & 31);

	if (skb->vlan_present || ((side & SIDE_PRE) && skb->pkt_type != PACKET_HOST))
		return true;
	if (side & SIDE_PRE)
		return mark & FASTPATH_MARK_FIRST;
	if (is_last_out(side))
		return mark & (FASTPATH_MARK_DONE_FIRST | FASTPATH_MARK_DONE_LAST);
	/* What nobody knew before netfilter may be known here: it had another address there. */
	return (mark & FASTPATH_MARK_DONE_LAST) || (mark & FASTPATH_MARK_FIRST) == FASTPATH_MARK_DONE_FIRST;
}

/*
 * A server among the clients, or a client among the servers: what it says is for behind netfilter, and may have come through the
 * queue by then.
 */
inline_always bool is_astray(const struct passage *p)
{
	return p->side & SIDE_OUT ? !p->outbound : (p->side & SIDE_PRE) && p->outbound;
}

/* Of a flow that has run ahead of the clock the engine is to think before more of it leaves: behind netfilter nobody can. */
inline_always bool is_for_thought(const struct passage *p, const struct world *w, const struct fastpath_shared *shared)
{
	const struct clock clock = {.max_lead_ms = shared->clock_max_lead_ms, .base = shared->clock_base};

	return !plain_is(w->flow) || ((p->side & (SIDE_PRE | SIDE_OUT)) == SIDE_PRE && plain_is_ahead(&clock, p->tick, w->flow) &&
				      plain_has_run_away(&clock, p->tick, w->flow, w->syn, w->flow->tsval_high));
}

inline_always int handle(struct __sk_buff *skb, uint32_t link_len, enum side side)
{
	struct fastpath_shared *shared = find_shared();
	struct passage p = {.side = side};
	struct world w = {0};
	uint8_t flags;

	if (!shared || is_anothers(skb, shared, side))
		return LEAVE;
	if (!parse_at_a_glance(skb, &p.segment) && !fast_parse(skb, &p, link_len))
		return leave_to_rules(skb, &p, shared);
	flags = p.segment.flags & (TCP_SYN | TCP_ACK);
	if (flags == TCP_SYN && (side & SIDE_OUT))
		fetch_for_syn(&p, shared);
	if (!fast_find(&p))
		return leave_to_queue(skb, &p, shared);
	if (!p.flow_at && flags != TCP_SYN && !is_last_out(side))
		return leave_to_rules(skb, &p, shared);
	if (p.flow_at && is_astray(&p))
		return leave_to_queue(skb, &p, shared);
	if (!p.flow_at || flags == TCP_SYN) {
		look_at_the_time(&p, shared);
		if (flags != TCP_SYN)
			return fast_stranger(skb, &p);
		return is_last_out(side) ? fast_syn_behind(skb, &p) : fast_syn_before(skb, &p, shared);
	}
	if (!look_up_flow(&w, p.flow_at - 1))
		return leave_to_queue(skb, &p, shared);
	glance_at_the_time(&p, shared);
	if (p.is_rough && is_for_thought(&p, &w, shared))
		look_at_the_time(&p, shared);
	if (runs_on(&p, w.flow) && !is_for_thought(&p, &w, shared)) {
		use_clock(&w, shared);
		note_seen(&p, w.flow);
		return p.outbound ? handle_out(skb, &p, &w) : handle_in(skb, &p, &w);
	}
	if (!(side & (SIDE_PRE | SIDE_OUT)) && (w.flow->flags & FLOW_HAS_ELDER) &&
	    (!fast_choose(&p) || !look_up_flow(&w, p.flow_at - 1)))
		return LEAVE;
	if (is_for_thought(&p, &w, shared))
		return is_last_out(side) ? fast_thoughtful(skb, &p, shared, w.flow) : leave_to_queue(skb, &p, shared);
	return flags & TCP_SYN ? fast_synack(skb, &p) : fast_segment(skb, &p);
}

SEC("tc") int lan_ingress(struct __sk_buff *skb)
{
	return handle(skb, ETH_HLEN, SIDE_PRE | SIDE_OUT);
}

SEC("tc") int lan_egress(struct __sk_buff *skb)
{
	return handle(skb, ETH_HLEN, 0);
}

SEC("tc") int wan_ingress(struct __sk_buff *skb)
{
	return handle(skb, ETH_HLEN, SIDE_PRE);
}

SEC("tc") int wan_egress(struct __sk_buff *skb)
{
	return handle(skb, ETH_HLEN, SIDE_OUT);
}

char _license[] SEC("license") = "GPL";
