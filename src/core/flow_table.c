/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "flow_table.h"

#include <string.h>

#include "flow_key.h"
#include "flow_table_internal.h"
#include "policy.h"

enum {
	FLOWS_PER_PAIR_BLOCK = 4,
	FLOWS_PER_SCALED_BLOCK = 32,
	BLOCKS_MAX = 65534, /* flow->block has 16 bits */
	FLOWS_PER_CLIENT_USE = 2, /* a client that is worth counting has more */
	CLIENT_USES_MIN = 4096,
};

static uint32_t block_capacity(uint32_t capacity, uint32_t flows_per_block)
{
	uint32_t blocks = capacity / flows_per_block + 1;

	return blocks < BLOCKS_MAX ? blocks : BLOCKS_MAX;
}

uint32_t flow_table_pair_capacity(uint32_t capacity)
{
	return block_capacity(capacity, FLOWS_PER_PAIR_BLOCK);
}

uint32_t flow_table_scaled_capacity(uint32_t capacity)
{
	return block_capacity(capacity, FLOWS_PER_SCALED_BLOCK);
}

static uint32_t next_power_of_two(uint32_t n)
{
	uint32_t power = 1;

	while (power < n)
		power *= 2;
	return power;
}

uint32_t flow_table_head_count(uint32_t capacity)
{
	return next_power_of_two(capacity);
}

uint32_t flow_table_client_count(uint32_t capacity)
{
	uint32_t uses = capacity / FLOWS_PER_CLIENT_USE;

	return next_power_of_two(uses > CLIENT_USES_MIN ? uses : CLIENT_USES_MIN);
}

size_t flow_table_kept_bytes(uint32_t capacity)
{
	return capacity * (sizeof(struct flow) + sizeof(struct flow_syn)) +
	       flow_table_pair_capacity(capacity) * sizeof(struct syn_pairs) +
	       flow_table_scaled_capacity(capacity) * sizeof(struct scaled);
}

size_t flow_table_index_bytes(uint32_t capacity)
{
	return flow_table_head_count(capacity) * sizeof(uint32_t) + flow_table_client_count(capacity) * sizeof(struct client_use);
}

static inline uint32_t *find_head(const struct flow_table *table, const struct flow_key *key)
{
	return &table->heads[flow_key_hash(key, table->secret) & table->head_mask];
}

uint32_t *flow_table_head_of(const struct flow_table *table, const struct flow *flow)
{
	struct flow_key key = flow_key_of(&(const struct endpoints){flow->client, flow->server, flow->client_port, flow->server_port});

	return find_head(table, &key);
}

/* In front of its chain, as others may do at the same time. */
static void push_into_chain(struct flow_table *table, uint32_t *head, struct flow *flow)
{
	uint32_t next = atomic_load(head);

	do
		atomic_store(&flow->next, next);
	while (!atomic_exchange_if32(head, &next, (uint32_t)(flow - table->flows) + 1));
}

static void take_out_of_chain(struct flow_table *table, uint32_t *head, struct flow *flow)
{
	const uint32_t self = (uint32_t)(flow - table->flows) + 1;
	uint32_t next = self, *link;

	if (atomic_exchange_if32(head, &next, atomic_load(&flow->next)))
		return;
	/* Behind the first nobody else changes anything. */
	do {
		link = &table->flows[next - 1].next;
		next = atomic_load_acquire(link);
	} while (next != self);
	atomic_store(link, atomic_load(&flow->next));
}

struct client_use *flow_table_use(const struct flow_table *table, const struct addr *client)
{
	struct addr whose = *client;

	if (addr_family(client) == FAMILY_IPV6)
		memset(whose.byte + 8, 0, 8);
	return &table->clients[hash_bytes16(whose.byte, table->secret[1]) & table->client_mask];
}

void flow_table_link(struct flow_table *table, struct flow *flow)
{
	push_into_chain(table, flow_table_head_of(table, flow), flow);
	flow_table_count_in(table, flow);
}

void flow_table_count_in(struct flow_table *table, const struct flow *flow)
{
	__atomic_add_fetch(&flow_table_use(table, &flow->client)->flows, 1, __ATOMIC_RELAXED);
	table->used++;
	if (table->used_end <= flow - table->flows)
		table->used_end = (uint32_t)(flow - table->flows) + 1;
}

struct flow *flow_table_look_up(const struct flow_table *table, const struct endpoints *ends, bool *ret_outbound)
{
	const struct flow_key key = flow_key_of(ends);

	for (uint32_t next = atomic_load_acquire(find_head(table, &key)); next;) {
		struct flow *flow = &table->flows[next - 1];

		if (flow_key_is_outbound(&key, flow)) {
			*ret_outbound = true;
			return flow;
		}
		if (flow_key_is_inbound(&key, flow)) {
			*ret_outbound = false;
			return flow;
		}
		next = atomic_load_acquire(&flow->next);
	}
	return NULL;
}

const uint32_t *flow_table_prefetch_head(const struct flow_table *table, const struct endpoints *ends)
{
	const struct flow_key key = flow_key_of(ends);
	const uint32_t *head = find_head(table, &key);

	__builtin_prefetch(head);
	return head;
}

void flow_table_prefetch_flow(const struct flow_table *table, const uint32_t *head)
{
	if (*head)
		__builtin_prefetch(&table->flows[*head - 1], 1);
}

struct flow *flow_table_find_elder(const struct flow_table *table, const struct flow *flow)
{
	for (uint32_t next = flow->next; next; next = table->flows[next - 1].next) {
		struct flow *other = &table->flows[next - 1];

		if (flow_is_between(other, &flow->client, flow->client_port, &flow->server, flow->server_port))
			return other;
	}
	return NULL;
}

static struct flow *take_free(struct flow_table *table)
{
	struct flow *flow;

	flow_loan_empty_limbo(table);
	if (!table->free_flow)
		return flow_loan_take_back(table);
	flow = &table->flows[table->free_flow - 1];
	table->free_flow = flow->next;
	return flow;
}

struct flow *flow_table_add(struct flow_table *table, const struct addr *client, uint16_t client_port,
			    const struct addr *server, uint16_t server_port)
{
	struct flow *flow = take_free(table);

	if (!flow)
		return NULL;
	*flow = (struct flow){
		.client = *client,
		.server = *server,
		.client_port = client_port,
		.server_port = server_port,
	};
	*flow_table_syn(table, flow) = (struct flow_syn){0};
	flow_table_link(table, flow);
	return flow;
}

/* Where both change they do so at once. */
static void change_block(struct flow *flow, uint16_t clear, uint16_t set, uint16_t number)
{
	uint64_t before = atomic_load(&flow->word);
	struct flow now;

	do {
		now.word = before;
		now.flags = (uint16_t)((now.flags & ~clear) | set);
		now.block = number;
	} while (!atomic_exchange_if(&flow->word, &before, now.word));
}

static void drop_scaled(struct flow_table *table, struct flow *flow)
{
	struct scaled *block = flow_table_scaled(table, flow);

	if (!block)
		return;
	block->next_free = table->free_scaled;
	table->free_scaled = atomic_load(&flow->block);
	change_block(flow, FLOW_SCALED, 0, 0);
	table->scaled_used--;
	flow_table_use(table, &flow->client)->scaled--;
}

/* Ends the flow, which stays where it is found. False where its word is not `word`. */
static bool end_flow(struct flow_table *table, struct flow *flow, uint64_t word)
{
	struct flow gone = {.word = word};

	gone.state = FLOW_FREE;
	if (!atomic_exchange_if(&flow->word, &word, gone.word))
		return false;
	flow_table_drop_pairs(table, flow);
	drop_scaled(table, flow);
	return true;
}

bool flow_table_remove_if(struct flow_table *table, struct flow *flow, uint64_t word)
{
	if (!end_flow(table, flow, word))
		return false;
	__atomic_sub_fetch(&flow_table_use(table, &flow->client)->flows, 1, __ATOMIC_RELAXED);
	take_out_of_chain(table, flow_table_head_of(table, flow), flow);
	if (table->loan)
		flow_loan_put_into_limbo(table, flow);
	else
		flow_table_push(table, &table->free_flow, flow);
	table->used--;
	return true;
}

uint64_t flow_table_remove(struct flow_table *table, struct flow *flow)
{
	uint64_t word;

	do
		word = atomic_load(&flow->word);
	while (!flow_table_remove_if(table, flow, word));
	return word;
}

uint64_t flow_table_renew(struct flow_table *table, struct flow *flow)
{
	uint64_t word;

	do
		word = atomic_load(&flow->word);
	while (!end_flow(table, flow, word));
	atomic_store(&flow->word, 0);
	flow->offset = flow->tsval_high = flow->syn_tsval = flow->last_seen_s = 0;
	*flow_table_syn(table, flow) = (struct flow_syn){0};
	return word;
}

struct flow_syn *flow_table_syn(const struct flow_table *table, const struct flow *flow)
{
	return &table->syns[flow - table->flows];
}

const struct client_use *flow_table_use_of_client(const struct flow_table *table, const struct addr *client)
{
	return flow_table_use(table, client);
}

static uint16_t share_of_blocks(const struct flow_table *table, uint32_t flows, uint32_t blocks)
{
	uint64_t share = (uint64_t)blocks * flows / table->capacity;

	return (uint16_t)(share == 0 && flows > 0 ? 1 : share < blocks ? share : blocks);
}

struct client_use flow_table_due(const struct flow_table *table, uint32_t flows)
{
	return (struct client_use){flows, share_of_blocks(table, flows, table->pair_capacity),
				   share_of_blocks(table, flows, table->scaled_capacity)};
}

struct syn_pairs *flow_table_pairs(const struct flow_table *table, const struct flow *flow)
{
	const struct flow now = {.word = atomic_load(&flow->word)};
	uint16_t number = now.flags & FLOW_SCALED ? table->scaled[now.block - 1].pairs : now.block;

	return number ? &table->pairs[number - 1] : NULL;
}

struct syn_pairs *flow_table_add_pairs(struct flow_table *table, struct flow *flow)
{
	struct syn_pairs *block;
	uint16_t number;

	if (!table->free_pairs)
		return NULL;
	number = (uint16_t)table->free_pairs;
	block = &table->pairs[number - 1];
	table->free_pairs = block->next_free;
	block->next_free = 0;
	block->count = 0;
	/* Last, so that a kill leaves no flow with another's pairs. */
	__atomic_store_n(flow_table_pairs_number(table, flow), number, __ATOMIC_RELEASE);
	table->pairs_used++;
	flow_table_use(table, &flow->client)->pairs++;
	return block;
}

void flow_table_drop_pairs(struct flow_table *table, struct flow *flow)
{
	struct syn_pairs *block = flow_table_pairs(table, flow);
	uint16_t *number = flow_table_pairs_number(table, flow);

	if (!block)
		return;
	block->next_free = table->free_pairs;
	table->free_pairs = atomic_load(number);
	atomic_store(number, 0);
	table->pairs_used--;
	flow_table_use(table, &flow->client)->pairs--;
}

struct scaled *flow_table_scaled(const struct flow_table *table, const struct flow *flow)
{
	const struct flow now = {.word = atomic_load(&flow->word)};

	return now.flags & FLOW_SCALED ? &table->scaled[now.block - 1] : NULL;
}

struct scaled *flow_table_add_scaled(struct flow_table *table, struct flow *flow, const struct scaled *start)
{
	const uint16_t number = (uint16_t)table->free_scaled;
	struct scaled *block;

	if (!number)
		return NULL;
	block = &table->scaled[number - 1];
	table->free_scaled = block->next_free;
	*block = *start;
	block->pairs = atomic_load(&flow->block);
	block->next_free = 0;
	change_block(flow, 0, FLOW_SCALED, number);
	table->scaled_used++;
	flow_table_use(table, &flow->client)->scaled++;
	return block;
}
