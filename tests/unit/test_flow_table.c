/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../tools/table_check.h"
#include "core_test.h"

#include "flow_table.h"
#include "policy.h"

/* The table against a plain list, over random operations and restarts; and over garbage. */

enum {
	CAPACITY_MAX = 200,
	CLIENTS = 8,
	PORTS = 6,
	SERVERS = 3,
	BEHIND = 4096,
};

struct key {
	struct addr client, server;
	uint16_t client_port, server_port;
};

struct naive_flow {
	struct key key;
	struct flow *flow;
	uint32_t mark;	/* what was written into the flow */
	uint32_t pairs; /* what was written into its pairs; 0: none */
	uint32_t scaled; /* what was written into its scaled block; 0: none */
};

static struct flow_table table;
static struct flow *flows; /* the beginning of what the table keeps */
static uint32_t *index_memory;
static uint32_t capacity;
static struct naive_flow naive[CAPACITY_MAX + 1];
static uint32_t naive_count;

static struct key random_key(void)
{
	bool ipv6 = test_random(2);

	return (struct key){
		.client = test_addr(ipv6, 0x0a000001 + test_random(CLIENTS)),
		.server = test_addr(ipv6, 0xcb007101 + test_random(SERVERS)),
		.client_port = (uint16_t)(40000 + test_random(PORTS)),
		.server_port = 443,
	};
}

static bool same_key(const struct key *a, const struct key *b)
{
	return addr_equal(&a->client, &b->client) && addr_equal(&a->server, &b->server) &&
	       a->client_port == b->client_port && a->server_port == b->server_port;
}

static struct naive_flow *naive_find(const struct key *key)
{
	for (uint32_t i = 0; i < naive_count; i++)
		if (same_key(&naive[i].key, key))
			return &naive[i];
	return NULL;
}

static struct flow *find(const struct key *key, bool forward, bool *ret_outbound)
{
	return forward ? flow_table_find(&table, &key->client, key->client_port, &key->server, key->server_port,
					 ret_outbound)
		       : flow_table_find(&table, &key->server, key->server_port, &key->client, key->client_port,
					 ret_outbound);
}

static void table_make(uint32_t size)
{
	free(flows);
	free(index_memory);
	capacity = size;
	flows = calloc(1, flow_table_kept_bytes(size) + BEHIND);
	index_memory = malloc(flow_table_index_bytes(size));
	assert_true(flows && index_memory);
	memset((uint8_t *)flows + flow_table_kept_bytes(size), 1, BEHIND); /* not the table's */
	naive_count = 0;
}

static void table_init(void)
{
	uint64_t secret[2] = {test_random64(), test_random64()};

	test_random_bytes((uint8_t *)index_memory, flow_table_index_bytes(capacity));
	test_random_bytes((uint8_t *)&table, sizeof(table));
	flow_table_init(&table, flows, index_memory, capacity, secret);
}

static void check_find(const struct key *key)
{
	struct naive_flow *expected = naive_find(key);
	bool outbound = true;

	assert_ptr_equal(find(key, true, &outbound), expected ? expected->flow : NULL);
	assert_true(outbound);
	outbound = false;
	assert_ptr_equal(find(key, false, &outbound), expected ? expected->flow : NULL);
	assert_false(outbound);
}

/* What a client is said to have is at least its own, and nothing that nobody has. */
static void check_client(const struct addr *client)
{
	const struct client_use *use = flow_table_use_of_client(&table, client);
	struct client_use own = {0}, all = {0};

	for (uint32_t i = 0; i < naive_count; i++) {
		bool is_own = addr_equal(&naive[i].key.client, client);
		uint16_t pairs = naive[i].pairs != 0, scaled = naive[i].scaled != 0;

		own = is_own ? (struct client_use){own.flows + 1, own.pairs + pairs, own.scaled + scaled} : own;
		all = (struct client_use){all.flows + 1, all.pairs + pairs, all.scaled + scaled};
	}
	assert_in_range(use->flows, own.flows, all.flows);
	assert_in_range(use->pairs, own.pairs, all.pairs);
	assert_in_range(use->scaled, own.scaled, all.scaled);
}

static void check_all(void)
{
	uint32_t with_pairs = 0, with_scaled = 0;

	assert_int_equal(table.used, naive_count);
	for (uint32_t i = 0; i < naive_count; i++) {
		const struct flow *flow = naive[i].flow;
		const struct syn_pairs *block = flow_table_pairs(&table, flow);
		const struct scaled *scaled = flow_table_scaled(&table, flow);

		check_find(&naive[i].key);
		assert_int_equal(flow_table_syn(&table, flow)->isn, naive[i].mark);
		assert_int_equal(block != NULL, naive[i].pairs != 0);
		if (block) {
			assert_int_equal(block->count, 1 + naive[i].pairs % SYN_PAIRS_MAX);
			assert_int_equal(block->pair[0].tsval, naive[i].pairs);
		}
		with_pairs += block != NULL;
		assert_int_equal(scaled != NULL, naive[i].scaled != 0);
		if (scaled)
			assert_int_equal(scaled->switch_tsval, naive[i].scaled);
		with_scaled += scaled != NULL;
		check_client(&naive[i].key.client);
	}
	assert_int_equal(table.pairs_used, with_pairs);
	assert_int_equal(table.scaled_used, with_scaled);
	for (uint32_t i = 0; i < BEHIND; i++)
		assert_int_equal(((uint8_t *)flows)[flow_table_kept_bytes(capacity) + i], 1);
}

static void step_add(void)
{
	struct key key = random_key();
	struct naive_flow *entry = &naive[naive_count];

	if (naive_find(&key))
		return;
	entry->flow = flow_table_add(&table, &key.client, key.client_port, &key.server, key.server_port);
	assert_int_equal(entry->flow != NULL, naive_count < capacity);
	if (!entry->flow)
		return;
	/* new, but for the key and the links */
	assert_int_equal(entry->flow->state, FLOW_FREE);
	assert_true(entry->flow->offset == 0 && entry->flow->tsval_high == 0 && entry->flow->last_seen_s == 0 &&
		    entry->flow->syn_tsval == 0 && entry->flow->flags == 0 && entry->flow->mode == 0 &&
		    entry->flow->repair == 0 && entry->flow->slot == 0 && entry->flow->block == 0);
	assert_true(flow_table_syn(&table, entry->flow)->isn == 0 && flow_table_syn(&table, entry->flow)->time == 0);
	entry->key = key;
	entry->mark = flow_table_syn(&table, entry->flow)->isn = (uint32_t)test_random64();
	entry->pairs = entry->scaled = 0;
	entry->flow->state = (uint8_t)(1 + test_random(FLOW_STATE_COUNT - 1));
	naive_count++;
}

static void step_remove(void)
{
	uint32_t which = test_random(naive_count ? naive_count : 1);

	if (!naive_count)
		return;
	flow_table_remove(&table, naive[which].flow);
	assert_int_equal(naive[which].flow->state, FLOW_FREE);
	naive[which] = naive[--naive_count];
}

static void step_pairs(void)
{
	struct naive_flow *entry = &naive[test_random(naive_count ? naive_count : 1)];
	uint32_t used = table.pairs_used;
	struct syn_pairs *block;

	if (!naive_count)
		return;
	if (entry->pairs) {
		flow_table_drop_pairs(&table, entry->flow);
		assert_null(flow_table_pairs(&table, entry->flow));
		entry->pairs = 0;
		flow_table_drop_pairs(&table, entry->flow); /* none: nothing happens */
		return;
	}
	block = flow_table_add_pairs(&table, entry->flow);
	assert_int_equal(block != NULL, used < flow_table_pair_capacity(capacity));
	if (!block)
		return;
	assert_int_equal(block->count, 0);
	assert_ptr_equal(flow_table_pairs(&table, entry->flow), block);
	entry->pairs = 1 + test_random(0xffffff);
	block->count = 1 + entry->pairs % SYN_PAIRS_MAX;
	block->pair[0].tsval = entry->pairs;
}

static void step_scaled(void)
{
	struct naive_flow *entry = &naive[test_random(naive_count ? naive_count : 1)];
	uint32_t used = table.scaled_used;
	struct scaled start, *block;

	if (!naive_count || entry->scaled)
		return;
	entry->scaled = 1 + test_random(0xffffff);
	scaled_start(&start, 1, entry->scaled, 3);
	block = flow_table_add_scaled(&table, entry->flow, &start);
	assert_int_equal(block != NULL, used < flow_table_scaled_capacity(capacity));
	if (block)
		assert_int_equal(block->count, 1);
	else
		entry->scaled = 0;
	assert_ptr_equal(flow_table_scaled(&table, entry->flow), block);
}

static void run_steps(int steps, uint32_t eagerness)
{
	for (int step = 0; step < steps; step++) {
		struct key key = random_key();

		if (test_random(100) < eagerness)
			step_add();
		else if (test_random(2))
			step_remove();
		else if (test_random(3))
			step_pairs();
		else
			step_scaled();
		check_find(&key);
		if (step % 50 == 0)
			check_all();
		if (test_random(400) == 0) { /* another process, another secret, the same memory */
			table_init();
			check_all();
		}
	}
}

static void test_against_a_list(void **state)
{
	static const uint32_t sizes[] = {1, 2, 3, 7, 8, 15, 16, 17, 64, 100, CAPACITY_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		table_make(sizes[i]);
		table_init();
		assert_true(flow_table_pair_capacity(capacity) >= 1);
		for (int round = 0; round < 10; round++) {
			run_steps(500, 80);
			run_steps(500, 30);
			check_all();
		}
	}
}

/* Endpoints that differ in one thing, and mirrored ones, are different flows or the same one. */
static void test_keys_are_whole(void **state)
{
	struct addr a = test_addr(false, 0x0a000001), b = test_addr(false, 0x0a000002), a6 = test_addr(true, 0x0a000001);
	struct flow *flow;
	bool outbound;

	(void)state;
	table_make(1); /* one chain: all are compared */
	table_init();
	flow = flow_table_add(&table, &a, 1000, &b, 2000);
	assert_ptr_equal(flow_table_find(&table, &a, 1000, &b, 2000, &outbound), flow);
	assert_true(outbound);
	assert_ptr_equal(flow_table_find(&table, &b, 2000, &a, 1000, &outbound), flow);
	assert_false(outbound);
	assert_null(flow_table_find(&table, &a, 2000, &b, 1000, &outbound));
	assert_null(flow_table_find(&table, &b, 1000, &a, 2000, &outbound));
	assert_null(flow_table_find(&table, &a, 1000, &b, 2001, &outbound));
	assert_null(flow_table_find(&table, &a, 1001, &b, 2000, &outbound));
	assert_null(flow_table_find(&table, &a, 1000, &a, 2000, &outbound));
	assert_null(flow_table_find(&table, &b, 1000, &b, 2000, &outbound));
	assert_null(flow_table_find(&table, &a6, 1000, &b, 2000, &outbound));
	/* of two IPv6 networks the same host numbers */
	flow_table_remove(&table, flow);
	b = test_addr(true, 0x0a000002);
	flow = flow_table_add(&table, &a6, 1000, &b, 2000);
	a = a6;
	a.byte[7] = 1;
	assert_ptr_equal(flow_table_find(&table, &a6, 1000, &b, 2000, &outbound), flow);
	assert_null(flow_table_find(&table, &a, 1000, &b, 2000, &outbound));
	assert_null(flow_table_find(&table, &b, 2000, &a, 1000, &outbound));
}

static void test_capacities(void **state)
{
	(void)state;
	for (uint32_t size = 1; size < 5000000; size += 1 + size / 3) {
		/* flow->block, plus one, must fit in 16 bits */
		assert_in_range(flow_table_pair_capacity(size), 1, UINT16_MAX - 1);
		assert_in_range(flow_table_scaled_capacity(size), 1, UINT16_MAX - 1);
	}
	assert_in_range(flow_table_kept_bytes(1000000) + flow_table_index_bytes(1000000), 80000000, 96000000);
}

/* Whatever lies in the memory: afterwards the table is whole, and all of its room usable. */
static void check_after_garbage(void)
{
	uint32_t used = 0, pairs_used = 0, scaled_used = 0;
	uint8_t *named = calloc(flow_table_pair_capacity(capacity) + 1, 1);
	uint8_t *scaled_named = calloc(flow_table_scaled_capacity(capacity) + 1, 1);

	assert_true(named && scaled_named);
	for (uint32_t i = 0; i < capacity; i++) {
		struct flow *flow = &flows[i];

		if (flow->state == FLOW_FREE)
			continue;
		used++;
		assert_true(flow->state < FLOW_STATE_COUNT);
		assert_true(flow->mode <= MODE_REWRITE && flow->repair <= REPAIR_ZERO);
		assert_true(table_reaches(&table, flow));
		if (flow->flags & FLOW_SCALED) {
			scaled_used++;
			assert_in_range(flow->block, 1, flow_table_scaled_capacity(capacity));
			assert_int_equal(scaled_named[flow->block]++, 0);
			assert_in_range(flow_table_scaled(&table, flow)->count, 1, SCALED_ECHOES);
		}
		if (!flow_table_pairs(&table, flow))
			continue;
		pairs_used++;
		assert_int_equal(named[flow_table_pairs(&table, flow) - table.pairs]++, 0);
		assert_in_range(flow_table_pairs(&table, flow)->count, 1, SYN_PAIRS_MAX);
	}
	assert_int_equal(table.used, used);
	assert_int_equal(table.pairs_used, pairs_used);
	assert_int_equal(table.scaled_used, scaled_used);
	free(named);
	free(scaled_named);
}

static void fill_and_empty(void)
{
	uint32_t room = capacity - table.used, blocks = flow_table_pair_capacity(capacity) - table.pairs_used;
	struct addr a = test_addr(true, 77), b = test_addr(true, 78);

	for (uint32_t i = 0; i < room; i++) {
		struct flow *flow = flow_table_add(&table, &a, (uint16_t)(1000 + i), &b, 9);

		assert_non_null(flow);
		flow->state = FLOW_ESTABLISHED;
		if (i < blocks)
			assert_non_null(flow_table_add_pairs(&table, flow));
		else if (i == blocks)
			assert_null(flow_table_add_pairs(&table, flow));
	}
	assert_null(flow_table_add(&table, &a, 999, &b, 9));
	for (uint32_t i = 0; i < capacity; i++)
		if (flows[i].state != FLOW_FREE)
			flow_table_remove(&table, &flows[i]);
	assert_int_equal(table.used, 0);
	assert_int_equal(table.pairs_used, 0);
	assert_int_equal(table.scaled_used, 0);
	assert_int_equal(flow_table_use_of_client(&table, &a)->flows, 0);
	assert_int_equal(flow_table_use_of_client(&table, &a)->pairs, 0);
	assert_int_equal(flow_table_use_of_client(&table, &a)->scaled, 0);
}

static void spoil(int round)
{
	size_t bytes = flow_table_kept_bytes(capacity);

	if (round % 4 == 0) {
		test_random_bytes((uint8_t *)flows, bytes);
		for (uint32_t i = 0; i < capacity && round % 8; i++) {
			flows[i].state = (uint8_t)test_random(FLOW_STATE_COUNT + 1);
			flows[i].mode = test_random(MODE_REWRITE + 2) & 0xf;
			flows[i].repair = test_random(REPAIR_ZERO + 2) & 0xf;
			flows[i].block = (uint16_t)test_random(flow_table_pair_capacity(capacity) + 3);
		}
		for (uint32_t i = 0; i < flow_table_pair_capacity(capacity); i++)
			table.pairs[i].count = test_random(SYN_PAIRS_MAX + 3);
		for (uint32_t i = 0; i < flow_table_scaled_capacity(capacity); i++)
			table.scaled[i].count = (uint8_t)test_random(SCALED_ECHOES + 3);
		return;
	}
	for (uint32_t i = test_random(20); i > 0; i--) {
		((uint8_t *)flows)[test_random((uint32_t)(capacity * sizeof(*flows)))] = (uint8_t)test_random64();
		((uint8_t *)flows)[test_random((uint32_t)bytes)] = (uint8_t)test_random64();
		flows[test_random(capacity)] = flows[test_random(capacity)]; /* one flow twice */
	}
}

static void test_garbage(void **state)
{
	(void)state;
	for (int round = 0; round < 3000; round++) {
		table_make(1 + test_random(60));
		table_init();
		run_steps(100, 70);
		spoil(round);
		table_init();
		check_after_garbage();
		fill_and_empty();
		naive_count = 0;
		run_steps(50, 70);
		check_all();
	}
}

/* A scaled flow that names no block: what lies before the blocks is none, though it may look like one. */
static void test_scaled_without_block(void **state)
{
	struct addr a = test_addr(false, 1), b = test_addr(false, 2);
	const struct scaled looks_sound = {.count = 1};
	struct flow *flow;

	(void)state;
	table_make(100);
	table_init();
	flow = flow_table_add(&table, &a, 1, &b, 2);
	flow->flags = FLOW_SCALED;
	flow->state = FLOW_ESTABLISHED;
	memcpy((uint8_t *)table.scaled - sizeof(looks_sound), &looks_sound, sizeof(looks_sound));
	table_init();
	assert_int_equal(table.used, 0);
	assert_int_equal(table.scaled_used, 0);
}

/* A flow that is being made or removed when the process dies is there or not, never half. */
static void test_state_is_the_last_word(void **state)
{
	struct addr a = test_addr(false, 1), b = test_addr(false, 2);
	struct flow *flow;
	bool outbound;

	(void)state;
	table_make(4);
	table_init();
	flow = flow_table_add(&table, &a, 1, &b, 2);
	table_init(); /* before the state was set */
	assert_int_equal(table.used, 0);
	assert_null(flow_table_find(&table, &a, 1, &b, 2, &outbound));
	flow = flow_table_add(&table, &a, 1, &b, 2);
	flow->state = FLOW_SYN_SENT;
	table_init();
	assert_int_equal(table.used, 1);
	assert_ptr_equal(flow_table_find(&table, &a, 1, &b, 2, &outbound), flow);
	flow->state = FLOW_FREE; /* removing begins with this */
	table_init();
	assert_int_equal(table.used, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_a_list),
		cmocka_unit_test(test_keys_are_whole),
		cmocka_unit_test(test_capacities),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_scaled_without_block),
		cmocka_unit_test(test_state_is_the_last_word),
	};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
