/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a TSecr stands for: the pairs of a flow's SYNs, and its offset. See engine.c. */
#include "engine_internal.h"

#include "plain.h"
#include "seq.h"

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

/* See engine_internal.h. The order matters: SYNs first, whose offsets may have been others. */
bool engine_find_echo(const struct passage *p, uint32_t tsecr, uint32_t *ret_tsval)
{
	const struct flow *flow = p->flow;

	if (flow->block && find_syn_pair(p, tsecr, ret_tsval))
		return true;
	/* After so long it is the clock's round after. */
	if ((flow->flags & FLOW_SYN_ZERO) && tsecr == flow->syn_tsval && engine_syn_age_ms(p) <= INT32_MAX) {
		*ret_tsval = 0;
		return true;
	}
	if (flow->flags & FLOW_SCALED)
		return plain_is_in_range(flow, flow_table_syn(&p->engine->table, flow), p->tick, tsecr) &&
		       scaled_find_echo(flow_table_scaled(&p->engine->table, flow), tsecr, flow->offset, ret_tsval);
	/* With pairs, those are all that has been sent as long as that is SYNs alone. */
	if (flow->block && engine_has_sent_only_syns(flow))
		return false;
	return plain_shift_in(flow, flow_table_syn(&p->engine->table, flow), p->tick, tsecr, ret_tsval);
}

bool engine_leave_if_gone_past(struct passage *p, uint32_t tsecr)
{
	if (!plain_has_gone_past(p->flow, tsecr))
		return false;
	flow_leave_alone(p->flow);
	return true;
}

void engine_push_pair(struct syn_pairs *block, uint32_t tsval, uint32_t emitted)
{
	if (block->count == SYN_PAIRS_MAX) {
		memmove(&block->pair[1], &block->pair[2], sizeof(block->pair[0]) * (SYN_PAIRS_MAX - 2));
		block->count--;
	}
	block->pair[block->count].tsval = tsval;
	block->pair[block->count].emitted = emitted;
	block->count++;
}

void engine_remember_pair(struct syn_pairs *block, uint32_t tsval, uint32_t emitted)
{
	uint32_t last = block->count - 1;

	if (block->pair[last].emitted != emitted)
		engine_push_pair(block, tsval, emitted);
	else if (seq_after(tsval, block->pair[last].tsval))
		block->pair[last].tsval = tsval;
}

/*
 * The flow's block of SYN pairs. Without one, its offset describes its one SYN; when a block is
 * made, that SYN goes into it. NULL when none is to be had.
 */
struct syn_pairs *engine_open_syn_pairs(struct passage *p)
{
	struct flow *flow = p->flow;
	struct flow_table *table = &p->engine->table;
	struct syn_pairs *block = flow_table_pairs(table, flow);
	uint32_t most = p->engine->client_most.pairs;

	if (!block && (!most || flow_table_use_of_client(table, &flow->client)->pairs < most)) {
		block = flow_table_add_pairs(table, flow);
		if (block)
			engine_push_pair(block, flow_said_in_syn(flow), flow->syn_tsval);
	}
	return block;
}
