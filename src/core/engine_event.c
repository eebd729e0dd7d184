/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the engine tells of handshakes and ends: event.h. */
#include "engine_internal.h"
#include "event.h"

/* The timestamp option's two values; packet.h gives them as they came. */
enum {
	TSVAL_AT = 2,
	TSECR_AT = 6,
};

static uint32_t load32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void tell_of_flow(const struct passage *p, struct event *event)
{
	const struct flow *flow = p->flow;

	event->flags |= EVENT_KNOWN;
	event->high = flow->tsval_high;
	/* Of a scaled flow what it has sent is the shared clock's, and a SYN with TSval 0 tells no time. */
	if (!(flow->flags & (FLOW_SCALED | FLOW_SYN_ZERO)) && flow->syn_tsval)
		event->span = flow->tsval_high - flow->syn_tsval;
	event->age_ms = (uint32_t)engine_syn_age_ms(p);
}

void engine_tell(struct passage *p, bool outbound, enum reason reason)
{
	const struct packet *packet = &p->packet;
	const struct endpoints *ends = &packet->ends;
	struct event_ring *ring = p->engine->events;
	struct event event = {
		.tick = p->tick,
		.serial = p->engine->serial,
		.ends = outbound ? *ends : (struct endpoints){ends->dst, ends->src, ends->dst_port, ends->src_port},
		.number = outbound ? packet_seq(packet) : packet_ack(packet),
		.slot = p->slot,
		.tcp_flags = packet->flags,
		.reason = (uint8_t)reason,
		.flags = outbound ? EVENT_OUTBOUND : 0,
	};

	if ((packet->flags & TCP_FIN) && p->flow && p->is_second_fin)
		event.flags |= EVENT_SERVER_FIRST;
	if (!(packet->flags & TCP_SYN) && p->flow && p->is_in_handshake)
		event.flags |= EVENT_HANDSHAKE;
	if (packet->ts || reason == REASON_SYN_STRIPPED || reason == REASON_SYNACK_STRIPPED) {
		event.flags |= EVENT_TIMESTAMPS;
		event.tsval = packet->tsval;
		event.tsecr = packet->tsecr;
	}
	if (packet->ts) { /* it still has it */
		event.flags |= EVENT_LEFT_WITH;
		event.left = load32(packet->ts + (outbound ? TSVAL_AT : TSECR_AT));
	}
	if (p->flow)
		tell_of_flow(p, &event);
	event_push(ring, &event);
}
