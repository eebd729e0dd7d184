/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets that the fast path's programs must have seen, and that bear no mark of theirs: a rule of somebody else's has set
 * the mark anew, or there are no programs just now. What they have rewritten must not be rewritten once more.
 */
#include "engine_internal.h"

#include "plain.h"

/* Whichever way: a program sees but one of them before netfilter. */
static bool is_done(const struct engine *engine, const struct flow *flow, const struct packet *packet, uint64_t tick, bool outbound)
{
	if (outbound)
		return plain_is_done_out(flow, flow_table_syn(&engine->table, flow), tick, packet->flags, packet_seq(packet),
					 packet->tsval);
	return plain_is_done_in(flow, packet->flags, packet->tsecr);
}

enum reason engine_handle_unmarked(struct engine *engine, const struct packet_input *input, uint64_t tick)
{
	struct packet packet;
	const struct flow *flow = NULL;
	bool outbound = false;

	if (packet_parse(input, &packet) == REASON_COUNT && packet.ts)
		flow = flow_table_look_up(&engine->table, &packet.ends, &outbound);
	if (!flow || !is_done(engine, flow, &packet, tick, outbound))
		return engine_handle(engine, input, tick);
	counter_add(&engine->counters->reason[flow->slot][REASON_MARK_LOST], 1);
	return REASON_MARK_LOST;
}
