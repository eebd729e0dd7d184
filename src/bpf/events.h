/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_BPF_EVENTS_H
#define PAWSD_BPF_EVENTS_H

/* What is told of handshakes and ends, for the diagnosis: as src/core/engine_event.c does it, to a ring of each processor's own. */

inline_always void note_ends(const struct passage *p, bool outbound, struct event *event)
{
	const struct flow_key *key = &p->segment.key;

	memcpy(&event->ends.src, outbound ? key->src : key->dst, 16);
	memcpy(&event->ends.dst, outbound ? key->dst : key->src, 16);
	event->ends.src_port = (uint16_t)(outbound ? key->src_port : key->dst_port);
	event->ends.dst_port = (uint16_t)(outbound ? key->dst_port : key->src_port);
}

/* False: it is of none. */
inline_always bool note_flow(const struct passage *p, struct event *event)
{
	struct world w = {0};

	if (!p->flow_at || !look_up_flow(&w, p->flow_at - 1))
		return false;
	event->high = w.flow->tsval_high;
	if (w.flow->syn_tsval)
		event->span = w.flow->tsval_high - w.flow->syn_tsval;
	event->age_ms = (uint32_t)plain_syn_age_ms(w.syn, p->tick);
	return true;
}

__attribute__((noinline)) int fast_tell(struct passage *p, uint32_t slot, uint32_t reason)
{
	uint32_t cpu = bpf_get_smp_processor_id();
	struct event_ring *ring = bpf_map_lookup_elem(&fast_events, &cpu);
	struct event *event;
	bool outbound;
	uint8_t flags;

	if (!ring || !p)
		return 0;
	event = event_begin(ring);
	if (!event)
		return 0;
	outbound = p->side & SIDE_OUT;
	memset(event, 0, sizeof(*event));
	event->tick = p->tick;
	event->serial = bpf_ktime_get_boot_ns(); /* what comes first in a millisecond, on whichever processor */
	event->number = outbound ? p->segment.seq : p->segment.ack;
	event->slot = (uint16_t)slot;
	event->tcp_flags = p->segment.flags;
	event->reason = (uint8_t)reason;
	flags = p->told | (outbound ? EVENT_OUTBOUND : 0);
	note_ends(p, outbound, event);
	if (p->segment.ts_at) {
		flags |= EVENT_TIMESTAMPS | EVENT_LEFT_WITH;
		event->tsval = p->segment.tsval;
		event->tsecr = p->segment.tsecr;
		event->left = p->left;
	}
	event->flags = flags | (note_flow(p, event) ? EVENT_KNOWN : 0);
	event_end(ring);
	return 0;
}

#endif
