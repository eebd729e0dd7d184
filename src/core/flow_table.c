/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "flow_table.h"

#include <string.h>

#include "hash.h"
#include "policy.h"

enum {
	FLOWS_PER_PAIR_BLOCK = 4,
	PAIR_BLOCKS_MAX = 65534, /* flow->pairs has 16 bits */
};

uint32_t flow_table_pair_capacity(uint32_t capacity)
{
	uint32_t blocks = capacity / FLOWS_PER_PAIR_BLOCK + 1;

	return blocks < PAIR_BLOCKS_MAX ? blocks : PAIR_BLOCKS_MAX;
}

static uint32_t head_count(uint32_t capacity)
{
	uint32_t count = 1;

	while (count < capacity)
		count *= 2;
	return count;
}

size_t flow_table_heads_bytes(uint32_t capacity)
{
	return head_count(capacity) * sizeof(uint32_t);
}

static uint64_t hash_endpoint(const struct flow_table *table, const struct addr *addr, uint16_t port)
{
	return hash_bytes16(addr->byte, table->secret[0] ^ port);
}

/* The same for both directions, so that one look finds the flow whoever is the client. */
static uint32_t *find_head(const struct flow_table *table, const struct addr *a, uint16_t a_port,
			   const struct addr *b, uint16_t b_port)
{
	uint64_t sum = hash_endpoint(table, a, a_port) + hash_endpoint(table, b, b_port);

	return &table->heads[hash_mix(sum ^ table->secret[1]) & table->head_mask];
}

static uint32_t *head_of_flow(const struct flow_table *table, const struct flow *flow)
{
	return find_head(table, &flow->client, flow->client_port, &flow->server, flow->server_port);
}

static void push_flow(struct flow_table *table, uint32_t *list, struct flow *flow)
{
	flow->next = *list;
	*list = (uint32_t)(flow - table->flows) + 1;
}

/* What an earlier process left may have been cut off or written by another hand. */
static bool is_sound(const struct flow_table *table, const struct flow *flow)
{
	return flow->state > FLOW_FREE && flow->state < FLOW_STATE_COUNT && flow->mode <= MODE_MAX &&
	       flow->repair <= REPAIR_MAX && flow->pairs <= table->pair_capacity;
}

/*
 * Blocks of SYN pairs in use are those that a flow names, each by one flow; the first to name
 * it has it. `next_free` of a used block is set to itself plus one for that.
 */
static void rebuild_pairs(struct flow_table *table)
{
	for (uint32_t i = 0; i < table->pair_capacity; i++)
		table->pairs[i].next_free = 0;
	for (uint32_t i = 0; i < table->capacity; i++) {
		struct flow *flow = &table->flows[i];
		struct syn_pairs *block;

		if (flow->state == FLOW_FREE || !flow->pairs)
			continue;
		block = flow_table_pairs(table, flow);
		if (block->next_free || block->count == 0 || block->count > SYN_PAIRS_MAX) {
			flow->pairs = 0;
			continue;
		}
		block->next_free = flow->pairs;
		table->pairs_used++;
	}
	for (uint32_t i = table->pair_capacity; i-- > 0;) {
		if (table->pairs[i].next_free)
			continue;
		table->pairs[i].next_free = table->free_pairs;
		table->free_pairs = i + 1;
	}
}

void flow_table_init(struct flow_table *table, struct flow *flows, struct syn_pairs *pairs, uint32_t *heads,
		     uint32_t capacity, const uint64_t secret[2])
{
	*table = (struct flow_table){
		.flows = flows,
		.pairs = pairs,
		.heads = heads,
		.capacity = capacity,
		.pair_capacity = flow_table_pair_capacity(capacity),
		.head_mask = head_count(capacity) - 1,
		.secret = {secret[0], secret[1]},
	};
	memset(heads, 0, flow_table_heads_bytes(capacity));
	for (uint32_t i = capacity; i-- > 0;) {
		struct flow *flow = &flows[i];
		bool outbound;

		if (is_sound(table, flow) && !flow_table_find(table, &flow->client, flow->client_port, &flow->server,
							      flow->server_port, &outbound)) {
			push_flow(table, head_of_flow(table, flow), flow);
			table->used++;
			continue;
		}
		flow->state = FLOW_FREE;
		push_flow(table, &table->free_flow, flow);
	}
	rebuild_pairs(table);
}

static bool is_between(const struct flow *flow, const struct addr *client, uint16_t client_port,
		       const struct addr *server, uint16_t server_port)
{
	return flow->client_port == client_port && flow->server_port == server_port &&
	       addr_equal(&flow->client, client) && addr_equal(&flow->server, server);
}

struct flow *flow_table_find(const struct flow_table *table, const struct addr *src, uint16_t src_port,
			     const struct addr *dst, uint16_t dst_port, bool *ret_outbound)
{
	uint32_t next = *find_head(table, src, src_port, dst, dst_port);

	while (next) {
		struct flow *flow = &table->flows[next - 1];

		if (is_between(flow, src, src_port, dst, dst_port)) {
			*ret_outbound = true;
			return flow;
		}
		if (is_between(flow, dst, dst_port, src, src_port)) {
			*ret_outbound = false;
			return flow;
		}
		next = flow->next;
	}
	return NULL;
}

struct flow *flow_table_add(struct flow_table *table, const struct addr *client, uint16_t client_port,
			    const struct addr *server, uint16_t server_port)
{
	struct flow *flow;

	if (!table->free_flow)
		return NULL;
	flow = &table->flows[table->free_flow - 1];
	table->free_flow = flow->next;
	*flow = (struct flow){
		.client = *client,
		.server = *server,
		.client_port = client_port,
		.server_port = server_port,
	};
	push_flow(table, head_of_flow(table, flow), flow);
	table->used++;
	return flow;
}

void flow_table_remove(struct flow_table *table, struct flow *flow)
{
	uint32_t self = (uint32_t)(flow - table->flows) + 1;
	uint32_t *link = head_of_flow(table, flow);

	__atomic_store_n(&flow->state, FLOW_FREE, __ATOMIC_RELEASE);
	flow_table_drop_pairs(table, flow);
	while (*link != self)
		link = &table->flows[*link - 1].next;
	*link = flow->next;
	push_flow(table, &table->free_flow, flow);
	table->used--;
}

struct syn_pairs *flow_table_pairs(const struct flow_table *table, const struct flow *flow)
{
	return flow->pairs ? &table->pairs[flow->pairs - 1] : NULL;
}

struct syn_pairs *flow_table_add_pairs(struct flow_table *table, struct flow *flow)
{
	struct syn_pairs *block;

	if (!table->free_pairs)
		return NULL;
	flow->pairs = (uint16_t)table->free_pairs;
	block = &table->pairs[flow->pairs - 1];
	table->free_pairs = block->next_free;
	block->count = 0;
	table->pairs_used++;
	return block;
}

void flow_table_drop_pairs(struct flow_table *table, struct flow *flow)
{
	struct syn_pairs *block = flow_table_pairs(table, flow);

	if (!block)
		return;
	block->next_free = table->free_pairs;
	table->free_pairs = flow->pairs;
	flow->pairs = 0;
	table->pairs_used--;
}
