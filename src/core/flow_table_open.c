/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an earlier process has left: its flows are taken into an index that is made anew, or with the index as it is. */
#include <string.h>

#include "flow_table_internal.h"
#include "policy.h"

/* Of places, while chains are gone through: struct flow_limbo.generation. */
enum {
	REACHED = 1,
	REACHED_AND_LEFT,
};

/* What an earlier process left may have been cut off or written by another hand. */
static bool is_sound(const struct flow_table *table, const struct flow *flow)
{
	const struct flow now = {.word = atomic_load(&flow->word)};

	if (now.state <= FLOW_FREE || now.state >= FLOW_STATE_COUNT || now.mode > MODE_MAX || now.repair > REPAIR_MAX)
		return false;
	if (!(now.flags & FLOW_SCALED))
		return now.block <= table->pair_capacity;
	return now.block > 0 && now.block <= table->scaled_capacity;
}

/* Takes the flow's block of SYN pairs for it, or takes its number away where the block cannot be its own. */
static void adopt_pairs(struct flow_table *table, struct flow *flow)
{
	uint16_t *at = flow_table_pairs_number(table, flow);
	const uint16_t number = atomic_load(at);
	struct syn_pairs *block;

	if (number == 0)
		return;
	if (number <= table->pair_capacity) {
		block = &table->pairs[number - 1];
		if (!block->next_free && block->count > 0 && block->count <= SYN_PAIRS_MAX) {
			block->next_free = number;
			table->pairs_used++;
			flow_table_use(table, &flow->client)->pairs++;
			return;
		}
	}
	atomic_store(at, 0);
}

/* False where the block cannot be the flow's own. */
static bool adopt_scaled(struct flow_table *table, struct flow *flow)
{
	const uint16_t number = atomic_load(&flow->block);
	struct scaled *block = &table->scaled[number - 1];

	if (block->next_free || block->count == 0 || block->count > SCALED_ECHOES)
		return false;
	block->next_free = number;
	table->scaled_used++;
	flow_table_use(table, &flow->client)->scaled++;
	return true;
}

/*
 * Blocks in use are those that a flow names, each by one flow; the first to name it has it.
 * `next_free` of a used block is set to itself plus one for that, until all have been asked.
 */
static void rebuild_free_lists(struct flow_table *table)
{
	for (uint32_t i = table->pair_capacity; i-- > 0;) {
		struct syn_pairs *block = &table->pairs[i];

		if (block->next_free) {
			block->next_free = 0;
			continue;
		}
		block->next_free = table->free_pairs;
		table->free_pairs = i + 1;
	}
	for (uint32_t i = table->scaled_capacity; i-- > 0;) {
		struct scaled *block = &table->scaled[i];

		if (block->next_free) {
			block->next_free = 0;
			continue;
		}
		block->next_free = table->free_scaled;
		table->free_scaled = i + 1;
	}
}

/* Whether the flow's four-tuple is free, or has a flow that may be this one's elder. */
static bool has_place(const struct flow_table *table, const struct flow *flow)
{
	bool same_way;
	const struct flow *there = flow_table_find(table, &flow->client, flow->client_port, &flow->server,
						   flow->server_port, &same_way);

	return !there || (same_way && (flow->flags & FLOW_HAS_ELDER) && !(there->flags & FLOW_HAS_ELDER));
}

/* Takes the flow's blocks for it. False where it is not sound. */
static bool adopt_blocks(struct flow_table *table, struct flow *flow)
{
	if (!is_sound(table, flow) || ((atomic_load(&flow->flags) & FLOW_SCALED) && !adopt_scaled(table, flow)))
		return false;
	adopt_pairs(table, flow);
	return true;
}

/* Takes a flow of an earlier process into the index, or frees it. */
static void adopt_flow(struct flow_table *table, struct flow *flow)
{
	if (!is_sound(table, flow) || !has_place(table, flow) || !adopt_blocks(table, flow)) {
		flow->state = FLOW_FREE;
		flow_table_push(table, &table->free_flow, flow);
		return;
	}
	flow_table_link(table, flow);
}

static void rebuild_index(struct flow_table *table)
{
	/* Elders first, for they stand behind the younger. */
	for (uint32_t i = table->capacity; i-- > 0;)
		if (!(table->flows[i].flags & FLOW_HAS_ELDER))
			adopt_flow(table, &table->flows[i]);
	for (uint32_t i = table->capacity; i-- > 0;)
		if (table->flows[i].flags & FLOW_HAS_ELDER)
			adopt_flow(table, &table->flows[i]);
	rebuild_free_lists(table);
}

struct flow_table_memory flow_table_memory_of(void *kept, void *index, uint32_t capacity)
{
	struct flow_table_memory memory = {.flows = kept, .heads = index};

	memory.syns = (struct flow_syn *)(memory.flows + capacity);
	memory.pairs = (struct syn_pairs *)(memory.syns + capacity);
	memory.scaled = (struct scaled *)(memory.pairs + flow_table_pair_capacity(capacity));
	memory.clients = (struct client_use *)(memory.heads + flow_table_head_count(capacity));
	return memory;
}

/* The table before anything is in it: all blocks are free, and nobody has anything. */
static void begin(struct flow_table *table, const struct flow_table_memory *memory, uint32_t capacity, const uint64_t secret[2])
{
	*table = (struct flow_table){
		.flows = memory->flows,
		.syns = memory->syns,
		.pairs = memory->pairs,
		.scaled = memory->scaled,
		.heads = memory->heads,
		.clients = memory->clients,
		.capacity = capacity,
		.pair_capacity = flow_table_pair_capacity(capacity),
		.scaled_capacity = flow_table_scaled_capacity(capacity),
		.head_mask = flow_table_head_count(capacity) - 1,
		.client_mask = flow_table_client_count(capacity) - 1,
		.secret = {secret[0], secret[1]},
	};
	memset(table->clients, 0, flow_table_client_count(capacity) * sizeof(*table->clients));
	for (uint32_t i = 0; i < table->pair_capacity; i++)
		table->pairs[i].next_free = 0;
	for (uint32_t i = 0; i < table->scaled_capacity; i++)
		table->scaled[i].next_free = 0;
}

void flow_table_open(struct flow_table *table, const struct flow_table_memory *memory, uint32_t capacity, const uint64_t secret[2])
{
	begin(table, memory, capacity, secret);
	memset(table->heads, 0, flow_table_head_count(capacity) * sizeof(*table->heads));
	rebuild_index(table);
}

void flow_table_init(struct flow_table *table, void *kept, void *index, uint32_t capacity, const uint64_t secret[2])
{
	const struct flow_table_memory memory = flow_table_memory_of(kept, index, capacity);

	flow_table_open(table, &memory, capacity, secret);
}

/* How many of the chain before `flow` are on its four-tuple; both ways, where one goes the other. */
static uint32_t count_before(const struct flow_table *table, uint32_t head, const struct flow *flow, bool *ret_may_be_elder)
{
	uint32_t count = 0;

	*ret_may_be_elder = true;
	for (const struct flow *other; (other = &table->flows[head - 1]) != flow; head = atomic_load(&other->next)) {
		const bool same = flow_is_between(other, &flow->client, flow->client_port, &flow->server, flow->server_port);

		if (!same && !flow_is_between(other, &flow->server, flow->server_port, &flow->client, flow->client_port))
			continue;
		count++;
		*ret_may_be_elder = same && (atomic_load(&other->flags) & FLOW_HAS_ELDER);
	}
	return count;
}

/* True for a flow that stays in the chain that it was found in. */
static bool is_kept(struct flow_table *table, uint32_t *head, struct flow *flow)
{
	bool may_be_elder;
	uint32_t before;

	if (!is_sound(table, flow) || flow_table_head_of(table, flow) != head)
		return false;
	before = count_before(table, atomic_load(head), flow, &may_be_elder);
	return (before == 0 || (before == 1 && may_be_elder)) && adopt_blocks(table, flow);
}

/* Ends it for those who stand on it. They find their way on. */
static void end_for_all(struct flow *flow)
{
	uint64_t before = atomic_load(&flow->word);

	while (!atomic_exchange_if(&flow->word, &before, 0))
		;
}

/* Goes through a chain. Each place reached is noted in limbo[]. False where the chain leads where it cannot. */
static bool take_over_chain(struct flow_table *table, uint32_t *head)
{
	uint32_t *link = head, next;

	while ((next = atomic_load_acquire(link)) != 0) {
		struct flow *flow;

		if (next > table->capacity || table->limbo[next - 1].generation)
			return false;
		flow = &table->flows[next - 1];
		table->limbo[next - 1].generation = REACHED;
		if (is_kept(table, head, flow)) {
			flow_table_count_in(table, flow);
			link = &flow->next;
		} else {
			end_for_all(flow);
			table->limbo[next - 1].generation = REACHED_AND_LEFT;
			atomic_store(link, atomic_load(&flow->next));
		}
	}
	return true;
}

bool flow_table_take_over(struct flow_table *table, const struct flow_table_memory *memory, uint32_t capacity,
			  const uint64_t secret[2], struct flow_loan *loan, uint64_t *lent, uint32_t count,
			  struct flow_limbo *limbo)
{
	uint32_t rest = 0;

	begin(table, memory, capacity, secret);
	*loan = (struct flow_loan){0};
	flow_table_share(table, loan, lent, count, limbo);
	memset(limbo, 0, capacity * sizeof(*limbo));
	for (uint32_t i = 0; i <= table->head_mask; i++)
		if (!take_over_chain(table, &table->heads[i]))
			return false;
	rebuild_free_lists(table);
	for (uint32_t i = capacity; i-- > 0;) {
		if (limbo[i].generation)
			continue;
		atomic_store(&table->flows[i].word, 0);
		flow_table_push(table, &table->free_flow, &table->flows[i]);
	}
	/* What was found and left rests; the others stand in front of it, which is no place that is still to be looked at. */
	for (uint32_t i = 0; i < capacity; i++)
		if (limbo[i].generation == REACHED_AND_LEFT)
			limbo[rest++] = (struct flow_limbo){.place = i, .generation = table->generation};
	table->limbo_count = rest;
	return true;
}
