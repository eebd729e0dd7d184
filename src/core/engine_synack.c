/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SYN/ACK: what is echoed is the client's own again, or repaired. See engine.c. */
#include "engine_internal.h"

#include "plain.h"

bool engine_strip_if_due(struct passage *p)
{
	if (p->flow->mode != MODE_STRIP || !p->packet.ts)
		return false;
	packet_strip_timestamps(&p->packet);
	return true;
}

static enum reason repair_synack(struct passage *p)
{
	switch ((enum repair)p->flow->repair) {
	case REPAIR_ECHO:
		packet_set_tsecr(&p->packet, flow_said_in_syn(p->flow));
		return REASON_SYNACK_REPAIRED_ECHO;
	case REPAIR_ZERO:
		packet_set_tsecr(&p->packet, 0);
		return REASON_SYNACK_REPAIRED_ZERO;
	case REPAIR_OFF:
		break;
	}
	return REASON_SYNACK_FOREIGN_TSECR;
}

/* The SYN that the server has taken went past pawsd. */
static bool is_of_a_raw_syn(const struct passage *p)
{
	const struct flow *flow = p->flow;

	return flow->mode == MODE_REWRITE && plain_is_of_a_raw_syn(flow, flow_table_syn(&p->engine->table, flow), p->tick,
								   p->packet.tsval, p->packet.tsecr);
}

/* The connection is none of ours from now on. That is remembered, for a copy of the SYN may follow. */
static enum reason leave_alone(struct passage *p)
{
	flow_leave_alone(p->flow);
	flow_table_drop_pairs(&p->engine->table, p->flow);
	return REASON_SYNACK_UNKNOWN;
}

static enum reason handle_synack_in(struct passage *p)
{
	struct flow *flow = p->flow;
	uint32_t tsval;
	bool known;

	if (flow_in_handshake(flow))
		engine_set_state(p->engine, flow, FLOW_SYN_RECV);
	if (!p->packet.ts)
		return REASON_SYNACK_NO_TIMESTAMPS;
	if (flow->mode == MODE_STRIP) {
		packet_strip_timestamps(&p->packet);
		return REASON_SYNACK_STRIPPED;
	}
	if (flow->mode == MODE_OFF)
		return REASON_FLOW_NOT_REWRITTEN;
	flow_set_flags(flow, FLOW_STAMPED);
	clock_note_stamped(&p->engine->clock, engine_seconds(p->tick), &flow->server);
	if (p->packet.tsecr == 0)
		return REASON_SYNACK_TSECR_ZERO;
	known = engine_find_echo(p, p->packet.tsecr, &tsval);
	if (flow->mode != MODE_REWRITE)
		return known ? REASON_SYNACK_OBSERVED : REASON_SYNACK_OBSERVED_FOREIGN;
	if (!known)
		return is_of_a_raw_syn(p) ? leave_alone(p) : repair_synack(p);
	packet_set_tsecr(&p->packet, tsval);
	return REASON_SYNACK_REWRITTEN;
}

/*
 * True for an answer to a SYN with another ISN: that went past pawsd, as they do while nobody listens to the queue or
 * it is full, or it was an earlier connection's.
 */
static bool is_of_unseen(const struct passage *p)
{
	return p->flow->mode != MODE_OFF && !engine_is_of_connection(p, p->flow);
}

enum reason engine_handle_synack(struct passage *p)
{
	struct flow *flow = p->flow;

	if (flow && !p->outbound && is_of_unseen(p)) {
		if (p->packet.ts && flow->mode != MODE_STRIP)
			engine_know_unseen(p);
		return REASON_SYNACK_UNKNOWN;
	}
	if (flow && !p->outbound) {
		engine_note_seen(p);
		return handle_synack_in(p);
	}
	/* In a simultaneous open the client's SYN/ACK repeats its SYN. */
	if (flow && engine_is_own_isn(p)) {
		engine_note_seen(p);
		if (flow_in_handshake(flow))
			flow_set_flags(flow, FLOW_SIMULTANEOUS);
		return engine_strip_if_due(p) ? REASON_SYNACK_STRIPPED : engine_handle_segment_out(p);
	}
	/* A machine inside answers somebody outside; a flow of ours on this four-tuple is past. */
	if (flow)
		engine_forget_connections(p);
	return REASON_SYNACK_UNKNOWN;
}

