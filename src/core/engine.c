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

#include "seq.h"

/* One packet on its way through the engine. */
struct passage {
	struct engine *engine;
	struct packet packet;
	uint64_t tick;
	enum direction direction; /* as the interfaces tell */
	struct flow *flow;	  /* NULL if unknown */
	bool outbound;		  /* of a known flow: from client to server */
	uint16_t slot;		  /* where it is counted */
};

static void set_state(struct engine *engine, struct flow *flow, enum flow_state state)
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

static void forget_flow(struct engine *engine, struct flow *flow)
{
	counter_add(&engine->counters->flows[flow->slot][flow->state], (uint64_t)-1);
	flow_table_remove(&engine->table, flow);
}

/* A TSval leaves that pawsd did not choose. */
static void note_foreign_tsval(struct passage *p)
{
	if (p->packet.ts && p->packet.tsval)
		clock_raise_server(&p->engine->clock, p->tick, &p->packet.dst, p->packet.tsval);
}

/* True while SYNs are all that the flow has sent, so that nothing else can be echoed. */
static bool has_sent_only_syns(const struct flow *flow)
{
	return flow_in_handshake(flow) && !(flow->flags & FLOW_SIMULTANEOUS);
}

/* A RST during the handshake does not count: tsval_high stays that of the last SYN, to be echoed. */
static void note_emitted(struct passage *p, uint32_t tsval)
{
	if (!has_sent_only_syns(p->flow))
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

/*
 * Which way a packet of no flow goes, and whose destination it is. Where the interfaces do not
 * tell, the side that the policy names is the server's.
 */
static enum direction find_direction(struct passage *p, const struct destination **ret_destination)
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

/* The client's TSval behind a TSecr that echoes one of several SYNs of the flow. */
static bool find_syn_pair(const struct passage *p, uint32_t tsecr, uint32_t *ret_tsval)
{
	const struct syn_pairs *block = flow_table_pairs(&p->engine->table, p->flow);

	for (uint32_t i = 0; block && i < block->count; i++) {
		if (block->pair[i].emitted == tsecr) {
			*ret_tsval = block->pair[i].tsval;
			return true;
		}
	}
	return false;
}

/*
 * The client's TSval behind a TSecr: that of a SYN, or what the flow's offset makes of it.
 * False when it was never emitted.
 */
static bool find_echo(const struct passage *p, uint32_t tsecr, uint32_t *ret_tsval)
{
	const struct flow *flow = p->flow;

	if (find_syn_pair(p, tsecr, ret_tsval))
		return true;
	*ret_tsval = tsecr - flow->offset;
	if (has_sent_only_syns(flow))
		return !flow->pairs && tsecr == flow->tsval_high;
	return !seq_after(tsecr, flow->tsval_high);
}

static void push_syn_pair(struct syn_pairs *block, uint32_t tsval, uint32_t emitted)
{
	if (block->count == SYN_PAIRS_MAX) {
		memmove(&block->pair[1], &block->pair[2], sizeof(block->pair[0]) * (SYN_PAIRS_MAX - 2));
		block->count--;
	}
	block->pair[block->count].tsval = tsval;
	block->pair[block->count].emitted = emitted;
	block->count++;
}

/*
 * The flow's block of SYN pairs. Without one, its offset describes its one SYN; when a block is
 * made, that SYN goes into it. NULL when none is to be had: then only the last SYN's echo is known.
 */
static struct syn_pairs *open_syn_pairs(struct passage *p)
{
	struct flow *flow = p->flow;
	struct syn_pairs *block = flow_table_pairs(&p->engine->table, flow);

	if (!block) {
		block = flow_table_add_pairs(&p->engine->table, flow);
		if (block)
			push_syn_pair(block, flow->tsval_high - flow->offset, flow->tsval_high);
	}
	return block;
}

static void drop_old_syn_pairs(struct passage *p, uint32_t tsecr)
{
	const struct syn_pairs *block = flow_table_pairs(&p->engine->table, p->flow);

	if (block && seq_after(tsecr, block->pair[block->count - 1].emitted))
		flow_table_drop_pairs(&p->engine->table, p->flow);
}

/* Sends the SYN at hand out with TSval `emitted`. */
static void emit_syn(struct passage *p, uint32_t emitted)
{
	struct flow *flow = p->flow;

	flow->offset = emitted - p->packet.tsval;
	flow->tsval_high = emitted;
	if (p->packet.tsval == 0)
		flow->flags |= FLOW_ANCHOR_PENDING;
	else
		flow->flags &= (uint8_t)~FLOW_ANCHOR_PENDING;
	packet_set_tsval(&p->packet, emitted);
}

static enum reason apply_mode_to_syn(struct passage *p, const uint32_t *previous)
{
	switch ((enum mode)p->flow->mode) {
	case MODE_REWRITE:
		emit_syn(p, clock_syn_tsval(&p->engine->clock, p->tick, &p->flow->server, previous));
		return REASON_SYN_REWRITTEN;
	case MODE_STRIP:
		packet_strip_timestamps(&p->packet);
		return REASON_SYN_STRIPPED;
	case MODE_OBSERVE:
	case MODE_OFF:
		break;
	}
	note_foreign_tsval(p);
	p->flow->tsval_high = p->packet.tsval;
	return REASON_SYN_OBSERVED;
}

/* A SYN that opens a connection: on a new four-tuple, or on one whose old flow is past. */
static enum reason handle_new_syn(struct passage *p)
{
	struct engine *engine = p->engine;
	const struct packet *packet = &p->packet;
	const struct destination *destination;
	enum direction direction = find_direction(p, &destination);
	uint32_t last_tsval = 0;
	const uint32_t *previous = NULL;
	enum reason reason;

	if (p->flow) {
		if (p->flow->mode == MODE_REWRITE) {
			last_tsval = p->flow->tsval_high;
			previous = &last_tsval;
		}
		forget_flow(engine, p->flow);
	}
	if (direction == DIRECTION_IN)
		return REASON_SYN_FROM_OUTSIDE;
	if (destination->mode == MODE_OFF) {
		note_foreign_tsval(p);
		return REASON_SYN_POLICY_OFF;
	}
	if (!packet->ts)
		return REASON_SYN_NO_TIMESTAMPS;
	if (!engine->table.free_flow)
		engine_sweep(engine, ENGINE_SWEEP_WHEN_FULL, p->tick);
	p->flow = flow_table_add(&engine->table, &packet->src, packet->src_port, &packet->dst, packet->dst_port);
	if (!p->flow) {
		note_foreign_tsval(p);
		return REASON_TABLE_FULL;
	}
	p->flow->isn = packet->seq;
	p->flow->mode = (uint8_t)destination->mode;
	p->flow->repair = (uint8_t)destination->repair;
	p->flow->slot = destination->slot;
	p->flow->last_seen_s = engine_seconds(p->tick);
	reason = apply_mode_to_syn(p, previous);
	set_state(engine, p->flow, FLOW_SYN_SENT);
	return reason;
}

/* The SYN of a known connection once more. */
static enum reason handle_repeated_syn(struct passage *p)
{
	struct flow *flow = p->flow;
	bool rewritten = flow->mode == MODE_REWRITE;
	uint32_t tsval = p->packet.tsval, emitted = tsval, previous;
	struct syn_pairs *block;

	if (!p->packet.ts)
		return REASON_SYN_NO_TIMESTAMPS;
	if (flow->mode == MODE_STRIP) {
		packet_strip_timestamps(&p->packet);
		return REASON_SYN_STRIPPED;
	}
	if (!rewritten)
		note_foreign_tsval(p);
	if (!flow_in_handshake(flow)) {
		/* A copy that the network held back. */
		if (rewritten)
			packet_set_tsval(&p->packet, tsval + flow->offset);
		return rewritten ? REASON_SYN_RETRANSMITTED : REASON_SYN_OBSERVED;
	}
	if (flow->state == FLOW_CLOSE)
		set_state(p->engine, flow, FLOW_SYN_SENT);
	if (rewritten) {
		/* Newer than the SYN before it, so that an echo tells them apart; a mere copy need not be. */
		previous = flow->tsval_high - (tsval == flow->tsval_high - flow->offset);
		emitted = clock_syn_tsval(&p->engine->clock, p->tick, &flow->server, &previous);
	}
	block = open_syn_pairs(p);
	if (block)
		push_syn_pair(block, tsval, emitted);
	flow->tsval_high = emitted;
	if (!rewritten)
		return REASON_SYN_OBSERVED;
	emit_syn(p, emitted);
	return REASON_SYN_RETRANSMITTED;
}

static enum reason handle_syn(struct passage *p)
{
	struct flow *flow = p->flow;

	if (!flow)
		return handle_new_syn(p);
	if (!p->outbound) {
		if (flow_in_handshake(flow))
			flow->flags |= FLOW_SIMULTANEOUS;
		return REASON_SYN_FROM_OUTSIDE;
	}
	return flow->isn == p->packet.seq ? handle_repeated_syn(p) : handle_new_syn(p);
}

static enum reason repair_synack(struct passage *p)
{
	switch ((enum repair)p->flow->repair) {
	case REPAIR_ECHO:
		packet_set_tsecr(&p->packet, p->flow->tsval_high - p->flow->offset);
		return REASON_SYNACK_REPAIRED_ECHO;
	case REPAIR_ZERO:
		packet_set_tsecr(&p->packet, 0);
		return REASON_SYNACK_REPAIRED_ZERO;
	case REPAIR_OFF:
		break;
	}
	return REASON_SYNACK_FOREIGN_TSECR;
}

static enum reason handle_synack_in(struct passage *p)
{
	struct flow *flow = p->flow;
	uint32_t tsval;
	bool known;

	if (flow_in_handshake(flow))
		set_state(p->engine, flow, FLOW_SYN_RECV);
	if (!p->packet.ts)
		return REASON_SYNACK_NO_TIMESTAMPS;
	if (flow->mode == MODE_STRIP) {
		packet_strip_timestamps(&p->packet);
		return REASON_SYNACK_STRIPPED;
	}
	if (p->packet.tsecr == 0)
		return REASON_SYNACK_TSECR_ZERO;
	known = find_echo(p, p->packet.tsecr, &tsval);
	if (flow->mode != MODE_REWRITE)
		return known ? REASON_SYNACK_OBSERVED : REASON_SYNACK_OBSERVED_FOREIGN;
	if (!known)
		return repair_synack(p);
	packet_set_tsecr(&p->packet, tsval);
	return REASON_SYNACK_REWRITTEN;
}

/* P3's exception: the first real TSval of a client that sent 0 in its SYN. */
static void anchor(struct passage *p)
{
	struct flow *flow = p->flow;
	uint32_t emitted = seq_max((uint32_t)p->tick, flow->tsval_high);

	open_syn_pairs(p);
	flow->offset = (emitted ? emitted : 1) - p->packet.tsval;
	flow->flags &= (uint8_t)~FLOW_ANCHOR_PENDING;
}

static enum reason handle_segment_out(struct passage *p)
{
	struct flow *flow = p->flow;
	enum reason reason = REASON_OUT_REWRITTEN;
	uint32_t tsval;

	if (flow->mode != MODE_REWRITE) {
		note_foreign_tsval(p);
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

static enum reason handle_segment_in(struct passage *p)
{
	struct flow *flow = p->flow;
	uint32_t tsecr = p->packet.tsecr, tsval;

	if (flow->mode != MODE_REWRITE)
		return REASON_FLOW_NOT_REWRITTEN;
	if (!p->packet.ts)
		return REASON_FLOW_NO_TIMESTAMPS;
	if (tsecr == 0)
		return REASON_IN_TSECR_ZERO;
	if (!find_echo(p, tsecr, &tsval))
		return REASON_IN_FOREIGN_TSECR;
	if (flow->pairs)
		drop_old_syn_pairs(p, tsecr);
	packet_set_tsecr(&p->packet, tsval);
	return REASON_IN_REWRITTEN;
}

static enum reason handle_synack(struct passage *p)
{
	struct flow *flow = p->flow;
	bool simultaneous = flow && (flow->flags & FLOW_SIMULTANEOUS) && flow_in_handshake(flow);

	if (flow && !p->outbound)
		return simultaneous ? handle_segment_in(p) : handle_synack_in(p);
	if (simultaneous)
		return handle_segment_out(p);
	/* A machine inside answers somebody outside; a flow of ours on this four-tuple is past. */
	if (flow)
		forget_flow(p->engine, flow);
	p->flow = NULL;
	return REASON_SYNACK_UNKNOWN;
}

/* A packet that belongs to no flow and makes none. */
static enum reason handle_stranger(struct passage *p, bool is_synack)
{
	const struct destination *destination;
	enum direction direction = find_direction(p, &destination);

	if (direction != DIRECTION_IN)
		note_foreign_tsval(p);
	if (is_synack)
		return REASON_SYNACK_UNKNOWN;
	if (!p->packet.ts)
		return REASON_NO_TIMESTAMPS;
	return direction == DIRECTION_IN ? REASON_MIDSTREAM_IN : REASON_MIDSTREAM_OUT;
}

static enum reason handle_flow_segment(struct passage *p)
{
	set_state(p->engine, p->flow, flow_next_state(p->flow, p->outbound, p->packet.flags));
	return p->outbound ? handle_segment_out(p) : handle_segment_in(p);
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
		return handle_syn(p);
	if ((p->packet.flags & syn_ack) == syn_ack) {
		reason = handle_synack(p);
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
			forget_flow(engine, flow);
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
