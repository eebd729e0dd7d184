/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two connections on one four-tuple.
 *
 * A SYN with another ISN on a four-tuple in use says that the client has begun anew, or it is an
 * old connection's SYN that the network has held back: only what is said about it tells. So the
 * flow that is there, alive or about to be, is kept for a while, behind the new one in its chain: the
 * elder. Segments go to whom their sequence numbers mean. Once the server has taken the new SYN the
 * elder is past; if it never does, the new flow is forgotten in its time, and nothing has happened to
 * the elder.
 */
#include "engine_internal.h"

/* By which it is told what a segment is about. */
static uint32_t number_of(const struct passage *p)
{
	return p->outbound ? packet_seq(&p->packet) : packet_ack(&p->packet);
}

bool engine_is_of_connection(const struct passage *p, const struct flow *flow)
{
	return plain_bytes_come(flow_table_syn(&p->engine->table, flow), p->outbound, p->packet.flags, number_of(p)) <
	       PLAIN_HANDSHAKE_BYTES_MAX;
}

bool engine_may_be_elder(const struct flow *flow)
{
	return flow->mode != MODE_STRIP && flow->state != FLOW_LAST_ACK && flow->state != FLOW_TIME_WAIT &&
	       flow->state != FLOW_CLOSE;
}

/* A SYN or SYN/ACK of the client means the flow with its ISN, any other the younger. */
static bool is_elders_syn(const struct passage *p, const struct flow *elder)
{
	return p->outbound && flow_table_syn(&p->engine->table, elder)->isn == packet_seq(&p->packet);
}

struct flow *engine_choose_flow(struct passage *p)
{
	struct flow *younger = p->flow, *elder = flow_table_find_elder(&p->engine->table, younger);
	const uint8_t flags = p->packet.flags;

	if (!elder) {
		flow_clear_flags(younger, FLOW_HAS_ELDER);
		return younger;
	}
	p->elder = elder;
	p->younger = younger;
	if ((flags & TCP_SYN) && (p->outbound || !(flags & TCP_ACK)))
		return is_elders_syn(p, elder) ? elder : younger;
	if (plain_means_elder(younger, flow_table_syn(&p->engine->table, younger), elder, flow_table_syn(&p->engine->table, elder),
			      p->tick, p->outbound, flags, number_of(p)))
		return elder;
	/* What the server says may be said to an old SYN; and a RST the client's answer to that. */
	if (p->outbound && !(flags & TCP_RST)) {
		engine_forget_flow(p->engine, elder);
		flow_clear_flags(younger, FLOW_HAS_ELDER);
	}
	return younger;
}

void engine_forget_connections(struct passage *p)
{
	if (p->flow->flags & FLOW_HAS_ELDER)
		engine_forget_flow(p->engine, p->elder);
	engine_forget_flow(p->engine, p->flow);
	p->flow = NULL;
}
