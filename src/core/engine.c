/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of a packet.
 *
 * A packet is parsed, then looked up: the table finds a flow by its two endpoints, whichever of
 * them is the client. There are three kinds of packet:
 *
 *   SYN      makes a flow, or moves on the one whose SYN it repeats. Here the policy is asked,
 *            the TSval taken from the shared clock (P1) and the offset set: new minus old.
 *   SYN/ACK  brings back the TSecr of one of the SYNs, which is turned into what the client
 *            sent with it (P4), or repaired.
 *   segment  all the rest: TSval plus offset on the way out, TSecr minus offset on the way in.
 *
 * When a SYN is repeated its TSval is taken from the clock again, for a client's clock may be
 * slower than ours and the time between the two long. So each SYN may have had an offset of its
 * own. The flow's is that of the last one: whatever the client sends later is not older than
 * that SYN, and so, shifted by the same amount, not older than anything the server has seen.
 * The pairs (client's TSval, emitted TSval) of all SYNs are kept until the server echoes
 * something newer than the last of them.
 *
 * Packets that belong to no flow pass. What they carry out of the house still counts: a server
 * remembers TSvals of flows that are not rewritten just as well, so they raise its mark.
 *
 * Every path ends in a `return reason`; engine_handle() alone counts it, under the slot that
 * was noted on the way.
 */
#include "engine.h"

#include "engine_internal.h"
#include "seq.h"

void engine_set_state(struct engine *engine, struct flow *flow, enum flow_state state)
{
	uint64_t *gauges = engine->counters->flows[flow->slot];

	if (flow->state == state)
		return;
	if (flow->state != FLOW_FREE)
		counter_add(&gauges[flow->state], (uint64_t)-1);
	if (state != FLOW_FREE)
		counter_add(&gauges[state], 1);
	/* Last, so that whoever finds the table after a kill finds a whole flow. */
	__atomic_store_n(&flow->state, (uint8_t)state, __ATOMIC_RELEASE);
}

void engine_forget_flow(struct engine *engine, struct flow *flow)
{
	counter_add(&engine->counters->flows[flow->slot][flow->state], (uint64_t)-1);
	flow_table_remove(&engine->table, flow);
}

void engine_note_foreign_tsval(struct passage *p)
{
	if (p->packet.ts && p->packet.tsval)
		clock_raise_server(&p->engine->clock, p->tick, &p->packet.dst, p->packet.tsval);
}

bool engine_has_sent_only_syns(const struct flow *flow)
{
	return flow_in_handshake(flow) && !(flow->flags & FLOW_SIMULTANEOUS);
}

/* A RST during the handshake does not count: tsval_high stays that of the last SYN, to be echoed. */
static void note_emitted(struct passage *p, uint32_t tsval)
{
	if (!engine_has_sent_only_syns(p->flow))
		p->flow->tsval_high = seq_max(p->flow->tsval_high, tsval);
	if (seq_after(tsval, (uint32_t)p->tick))
		clock_raise(&p->engine->clock, p->tick, &p->flow->server, tsval);
}

/* The destination on the far side of a packet that leaves (or comes in, for `outbound` false). */
static const struct destination *match_far_side(const struct passage *p, bool outbound)
{
	const struct packet *packet = &p->packet;

	return outbound ? policy_match(p->engine->policy, &packet->dst, packet->dst_port, &packet->src)
			: policy_match(p->engine->policy, &packet->src, packet->src_port, &packet->dst);
}

enum direction engine_find_direction(struct passage *p, const struct destination **ret_destination)
{
	enum direction direction = p->direction;

	if (direction == DIRECTION_UNKNOWN) {
		*ret_destination = match_far_side(p, true);
		if ((*ret_destination)->mode != MODE_OFF) {
			direction = DIRECTION_OUT;
		} else if (match_far_side(p, false)->mode != MODE_OFF) {
			*ret_destination = match_far_side(p, false);
			direction = DIRECTION_IN;
		}
	} else {
		*ret_destination = match_far_side(p, direction == DIRECTION_OUT);
	}
	p->slot = (*ret_destination)->slot;
	return direction;
}

static void drop_old_syn_pairs(struct passage *p, uint32_t tsecr)
{
	const struct syn_pairs *block = flow_table_pairs(&p->engine->table, p->flow);

	if (block && seq_after(tsecr, block->pair[block->count - 1].emitted))
		flow_table_drop_pairs(&p->engine->table, p->flow);
}

/* P3's exception: the first real TSval of a client that sent 0 in its SYN. */
static void anchor(struct passage *p)
{
	struct flow *flow = p->flow;
	uint32_t emitted = seq_max((uint32_t)p->tick, flow->tsval_high);

	engine_open_syn_pairs(p);
	flow->offset = (emitted ? emitted : 1) - p->packet.tsval;
	flow->flags &= (uint8_t)~FLOW_ANCHOR_PENDING;
}

enum reason engine_handle_segment_out(struct passage *p)
{
	struct flow *flow = p->flow;
	enum reason reason = REASON_OUT_REWRITTEN;
	uint32_t tsval;

	if (flow->mode != MODE_REWRITE) {
		engine_note_foreign_tsval(p);
		return REASON_FLOW_NOT_REWRITTEN;
	}
	if (!p->packet.ts)
		return REASON_FLOW_NO_TIMESTAMPS;
	if ((flow->flags & FLOW_ANCHOR_PENDING) && p->packet.tsval) {
		anchor(p);
		reason = REASON_OUT_ANCHORED;
	}
	tsval = p->packet.tsval + flow->offset;
	if (tsval == 0) /* would be taken for "no timestamp"; one tick earlier is never too new */
		tsval = UINT32_MAX;
	note_emitted(p, tsval);
	packet_set_tsval(&p->packet, tsval);
	return reason;
}

enum reason engine_handle_segment_in(struct passage *p)
{
	struct flow *flow = p->flow;
	uint32_t tsecr = p->packet.tsecr, tsval;

	if (flow->mode != MODE_REWRITE)
		return REASON_FLOW_NOT_REWRITTEN;
	if (!p->packet.ts)
		return REASON_FLOW_NO_TIMESTAMPS;
	if (tsecr == 0)
		return REASON_IN_TSECR_ZERO;
	if (!engine_find_echo(p, tsecr, &tsval))
		return REASON_IN_FOREIGN_TSECR;
	if (flow->pairs)
		drop_old_syn_pairs(p, tsecr);
	packet_set_tsecr(&p->packet, tsval);
	return REASON_IN_REWRITTEN;
}

/* A packet that belongs to no flow and makes none. */
static enum reason handle_stranger(struct passage *p, bool is_synack)
{
	const struct destination *destination;
	enum direction direction = engine_find_direction(p, &destination);

	if (direction != DIRECTION_IN)
		engine_note_foreign_tsval(p);
	if (is_synack)
		return REASON_SYNACK_UNKNOWN;
	if (!p->packet.ts)
		return REASON_NO_TIMESTAMPS;
	return direction == DIRECTION_IN ? REASON_MIDSTREAM_IN : REASON_MIDSTREAM_OUT;
}

static enum reason handle_flow_segment(struct passage *p)
{
	engine_set_state(p->engine, p->flow, flow_next_state(p->flow, p->outbound, p->packet.flags));
	return p->outbound ? engine_handle_segment_out(p) : engine_handle_segment_in(p);
}

static enum reason dispatch(struct passage *p)
{
	const uint8_t syn_ack = TCP_SYN | TCP_ACK;
	enum reason reason;

	p->flow = flow_table_find(&p->engine->table, &p->packet.src, p->packet.src_port, &p->packet.dst,
				  p->packet.dst_port, &p->outbound);
	if (p->flow) {
		p->slot = p->flow->slot;
		p->flow->last_seen_s = engine_seconds(p->tick);
	}
	if ((p->packet.flags & syn_ack) == TCP_SYN)
		return engine_handle_syn(p);
	if ((p->packet.flags & syn_ack) == syn_ack) {
		reason = engine_handle_synack(p);
		return p->flow ? reason : handle_stranger(p, true);
	}
	return p->flow ? handle_flow_segment(p) : handle_stranger(p, false);
}

enum reason engine_handle(struct engine *engine, const struct packet_input *input, uint64_t tick)
{
	struct passage p = {
		.engine = engine, .tick = tick, .direction = input->direction, .slot = SLOT_NONE};
	enum reason reason = packet_parse(input, &p.packet);

	if (reason == REASON_COUNT)
		reason = dispatch(&p);
	counter_add(&engine->counters->reason[p.slot][reason], 1);
	return reason;
}

void engine_sweep(struct engine *engine, uint32_t count, uint64_t tick)
{
	struct flow_table *table = &engine->table;
	uint32_t now_s = engine_seconds(tick);

	for (uint32_t i = 0; i < count && i < table->capacity; i++) {
		struct flow *flow = &table->flows[table->sweep_hand];

		table->sweep_hand = (table->sweep_hand + 1) % table->capacity;
		if (flow->state != FLOW_FREE && (int32_t)(now_s - flow->last_seen_s) > (int32_t)engine->timeout_s[flow->state])
			engine_forget_flow(engine, flow);
	}
}

void engine_adopt(struct engine *engine, const uint16_t *slots)
{
	struct flow_table *table = &engine->table;

	for (uint32_t i = 0; i < table->capacity; i++) {
		struct flow *flow = &table->flows[i];

		if (flow->state == FLOW_FREE)
			continue;
		flow->slot = flow->slot < DESTINATION_SLOTS ? slots[flow->slot] : (uint16_t)SLOT_NONE;
		counter_add(&engine->counters->flows[flow->slot][flow->state], 1);
	}
}
