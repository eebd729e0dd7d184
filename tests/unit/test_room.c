/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Room for new connections in a table in which others look for flows as well, so that places rest before they are used again. */
#include "core_test.h"
#include "engine_world.h"

#include <pthread.h>

#include "flow_key.h"

enum {
	CAPACITY = 256,
	LENT = 4,
	BEGIN_MS = 1000000000,
	GRACE_MS = 250,
	SECONDS = 20,
	TURNS = 4000,
	LOSSES = 20,
};

static struct engine_world world;
static struct flow_loan loan;
static uint64_t lent[LENT];
static struct flow_limbo limbo[CAPACITY];
static bool is_over, may_take, is_taking;
static uint32_t rounds_begun, rounds_ended;

static int begin(void **state)
{
	(void)state;
	world_make(&world, CAPACITY, BEGIN_MS);
	loan = (struct flow_loan){0};
	flow_table_share(&world.engine.table, &loan, lent, LENT, limbo);
	return 0;
}

static int end(void **state)
{
	(void)state;
	world_free(&world);
	return 0;
}

static enum reason pass(bool outbound, uint32_t client, uint8_t flags, uint32_t number)
{
	struct test_segment segment = {.src = test_addr(false, 0x0a000000 + client), .src_port = 40000,
				       .dst = test_addr(false, WORLD_NET), .dst_port = 443, .seq = number, .flags = flags};
	const struct test_segment turned = segment;
	uint8_t data[TEST_PACKET_MAX];
	struct packet_input input = {.data = data, .direction = outbound ? DIRECTION_OUT : DIRECTION_IN};
	uint32_t tcp_at;

	if (!outbound) {
		segment.src = turned.dst;
		segment.src_port = turned.dst_port;
		segment.dst = turned.src;
		segment.dst_port = turned.src_port;
		segment.ack = number;
	}
	test_segment_ts(&segment, (uint32_t)world.tick, 0);
	input.len = test_build(&segment, data, &tcp_at);
	return engine_handle(&world.engine, &input, world.tick);
}

static struct flow *find(uint32_t client)
{
	const struct addr addr = test_addr(false, 0x0a000000 + client), server = test_addr(false, WORLD_NET);
	bool outbound;

	return flow_table_find(&world.engine.table, &addr, 40000, &server, 443, &outbound);
}

static void establish(uint32_t client)
{
	assert_int_equal(pass(true, client, TCP_SYN, 99), REASON_SYN_REWRITTEN);
	pass(false, client, TCP_SYN | TCP_ACK, 100);
	pass(true, client, TCP_ACK, 100);
	assert_int_equal(find(client)->state, FLOW_ESTABLISHED);
}

/* No place is free, and none ever will be. */
static void fill(uint32_t but)
{
	for (uint32_t i = 0; i < CAPACITY - but; i++)
		establish(1 + i);
}

/* A connection that is over makes room for the next on its four-tuple, in its own place. */
static void test_next_on_the_four_tuple(void **state)
{
	struct flow *flow;
	uint32_t next;

	(void)state;
	fill(0);
	assert_false(flow_table_has_room(&world.engine.table));
	flow = find(7);
	next = flow->next;
	flow_set_flags(flow, FLOW_WENT_BACK);
	for (int i = 0; i < 2; i++) {
		pass(!i, 7, TCP_FIN | TCP_ACK, 100);
		pass(i, 7, TCP_ACK, 101);
	}
	assert_int_equal(flow->state, FLOW_TIME_WAIT);
	assert_int_equal(pass(true, 7, TCP_SYN, 5000), REASON_SYN_REWRITTEN);
	assert_ptr_equal(find(7), flow);
	assert_int_equal(flow->next, next);
	assert_int_equal(flow->state, FLOW_SYN_SENT);
	assert_int_equal(flow->flags, 0);
	assert_int_equal(flow_table_syn(&world.engine.table, flow)->isn, 5000);
	assert_int_equal(flow_table_use_of_client(&world.engine.table, &flow->client)->flows, 1);
	world_check(&world);
}

/* Of two on the four-tuple the elder is past, and its place rests: then the younger is not kept, either. */
static void test_third_on_the_four_tuple(void **state)
{
	const struct flow *flow;

	(void)state;
	fill(1);
	world.tick += 2000;
	assert_int_equal(pass(true, 7, TCP_SYN, 5000), REASON_SYN_REWRITTEN);
	world.tick += 2000;
	pass(false, 7, TCP_SYN | TCP_ACK, 5001);
	flow = find(7);
	assert_int_equal(flow->state, FLOW_SYN_RECV);
	assert_true(flow->flags & FLOW_HAS_ELDER);
	assert_false(flow_table_has_room(&world.engine.table));
	assert_int_equal(pass(true, 7, TCP_SYN, 9000), REASON_SYN_REWRITTEN);
	assert_ptr_equal(find(7), flow);
	assert_false(flow->flags & FLOW_HAS_ELDER);
	world_check(&world);
}

/* A client with more than its share, since that has become less, gives back. */
static void test_less_of_a_share(void **state)
{
	(void)state;
	establish(7);
	world.engine.client_most.flows = 1;
	flow_table_add(&world.engine.table, &find(7)->client, 1, &find(7)->server, 443);
	pass(true, 7, TCP_RST, 100);
	assert_int_equal(pass(true, 7, TCP_SYN, 5000), REASON_CLIENT_QUOTA);
	assert_null(find(7));
}

/* SYNs that nobody answers, a fifth of the table a second: all of them are rewritten, though places rest. */
static void test_flood(void **state)
{
	const uint32_t each_ms = 5 * 1000 / CAPACITY;
	uint32_t generation = 0, grace_ms = 0, client = 1000;

	(void)state;
	for (uint32_t ms = 0; ms < SECONDS * 1000; ms += each_ms) {
		world.tick += each_ms;
		if (ms - grace_ms >= GRACE_MS) {
			flow_table_grace(&world.engine.table, generation);
			generation = world.engine.table.generation;
			grace_ms = ms;
		}
		assert_int_equal(pass(true, client++, TCP_SYN, 5000), REASON_SYN_REWRITTEN);
	}
	assert_true(world.counters->pushed_out > 0);
	assert_int_equal(world_count(&world, REASON_TABLE_FULL), 0);
	world_check(&world);
}

/* What runs is not pushed out, and has the table to the last place. */
static void test_last_places(void **state)
{
	(void)state;
	fill(0);
	assert_int_equal(pass(true, 5000, TCP_SYN, 1), REASON_TABLE_FULL);
	assert_int_equal(world.counters->pushed_out, 0);
}

/* The last place is there, and is not there: somebody else takes it and gives it back. */
static void *take_and_give_back(void *context)
{
	(void)context;
	while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
		uint32_t tail = 0;

		__atomic_store_n(&is_taking, __atomic_load_n(&may_take, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
		if (!__atomic_load_n(&is_taking, __ATOMIC_RELAXED) || !atomic_exchange_if32(&loan.tail, &tail, 1))
			continue;
		for (int i = 0; i < 20; i++)
			atomic_load(&loan.tail);
		tail = 1;
		atomic_exchange_if32(&loan.tail, &tail, 0);
	}
	return NULL;
}

static void let_take(bool may)
{
	__atomic_store_n(&may_take, may, __ATOMIC_RELEASE);
	while (__atomic_load_n(&is_taking, __ATOMIC_ACQUIRE) != may)
		sched_yield();
}

/* One flow, and a place that is lent. */
static void begin_with_two(void)
{
	const uint64_t secret[2] = {1, 2};

	memset(world.flows, 0, flow_table_kept_bytes(2));
	flow_table_init(&world.engine.table, world.flows, world.index, 2, secret);
	loan = (struct flow_loan){0};
	establish(7);
	flow_table_share(&world.engine.table, &loan, lent, LENT, limbo);
	flow_table_lend(&world.engine.table);
	assert_int_equal(loan.head, 1);
}

/* Somebody takes the place by which an elder was to be kept: the SYN passes, and nothing on its four-tuple is ours any more. */
static void test_room_lost(void **state)
{
	uint32_t lost = 0;
	pthread_t thread;

	(void)state;
	is_over = may_take = is_taking = false;
	assert_int_equal(pthread_create(&thread, NULL, take_and_give_back, NULL), 0);
	for (uint32_t i = 0; i < TURNS && lost < LOSSES; i++) {
		enum reason reason;

		begin_with_two();
		let_take(true);
		reason = pass(true, 7, TCP_SYN, 5000);
		let_take(false);
		if (reason == REASON_TABLE_FULL) {
			assert_null(find(7));
			lost++;
		} else {
			assert_int_equal(reason, REASON_SYN_REWRITTEN);
		}
	}
	__atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	printf("# lost %u times\n", lost);
}

/* Opens a flow on a four-tuple, if there is none, as the programs do it: once in each round. */
static void *open_beside(void *context)
{
	const struct endpoints ends = {test_addr(false, 0x0a000000 + 7), test_addr(false, WORLD_NET), 40000, 443};
	const struct flow_table *table = &world.engine.table;
	const struct flow_key key = flow_key_of(&ends);
	uint32_t *head = &table->heads[flow_key_hash(&key, table->secret) & table->head_mask], round = 0;

	(void)context;
	while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
		const struct flow now = {.mode = MODE_REWRITE, .slot = WORLD_SLOT_REWRITE, .state = FLOW_SYN_SENT};
		struct flow *flow;
		uint32_t next, tail;

		if (__atomic_load_n(&rounds_begun, __ATOMIC_ACQUIRE) == round)
			continue;
		next = __atomic_load_n(head, __ATOMIC_ACQUIRE);
		tail = atomic_load(&loan.tail);
		if (!find(7) && tail != loan.head && atomic_exchange_if32(&loan.tail, &tail, tail + 1)) {
			flow = &world.flows[lent[tail % LENT]];
			flow->client = ends.src;
			flow->server = ends.dst;
			flow->client_port = 40000;
			flow->server_port = 443;
			flow->last_seen_s = (uint32_t)(world.tick / 1000);
			flow_table_syn(table, flow)->isn = 4000;
			atomic_store_release(&flow->word, now.word);
			flow->next = next;
			if (!atomic_exchange_if32(head, &next, (uint32_t)(flow - world.flows) + 1))
				atomic_store_release(&flow->word, (struct flow){.mode = FLOW_GIVEN_BACK}.word);
		}
		__atomic_store_n(&rounds_ended, ++round, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* The engine, and a program at the same time, open a flow on one four-tuple: there is one, or two that know of each other. */
static void test_opened_at_once(void **state)
{
	struct flow_table *table = &world.engine.table;
	uint32_t both = 0;
	pthread_t thread;

	(void)state;
	table->grace = table->generation + 1; /* nobody looks between rounds */
	is_over = false;
	rounds_begun = rounds_ended = 0;
	assert_int_equal(pthread_create(&thread, NULL, open_beside, NULL), 0);
	/* Beside other work of the machine it may take a while until they meet. */
	for (uint32_t i = 0; i < TURNS || (both == 0 && i < 100 * TURNS); i++) {
		struct flow *flow, *elder;

		flow_table_lend(table);
		__atomic_store_n(&rounds_begun, i + 1, __ATOMIC_RELEASE);
		for (uint32_t wait = test_random(400); wait > 0; wait--)
			atomic_load(&rounds_ended);
		assert_int_equal(pass(true, 7, TCP_SYN, 5000), REASON_SYN_REWRITTEN);
		while (__atomic_load_n(&rounds_ended, __ATOMIC_ACQUIRE) != i + 1)
			sched_yield();
		flow = find(7);
		assert_non_null(flow);
		elder = flow_table_find_elder(table, flow);
		assert_int_equal(elder != NULL, (flow->flags & FLOW_HAS_ELDER) != 0);
		both += elder != NULL;
		while ((flow = find(7)) != NULL)
			flow_table_remove(table, flow);
		engine_sweep(&world.engine, CAPACITY, world.tick);
	}
	__atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_true(both > 0);
	fill(0);
}

/* A place that was taken for nothing is the owner's once more. */
static void test_given_back(void **state)
{
	struct flow_table *table = &world.engine.table;
	struct flow *flow;

	(void)state;
	flow_table_lend(table);
	assert_int_equal(loan.head, LENT);
	flow = &world.flows[lent[loan.tail++]];
	flow->word = (struct flow){.mode = FLOW_GIVEN_BACK}.word;
	engine_sweep(&world.engine, CAPACITY, world.tick);
	assert_int_equal(flow->word, 0);
	fill(0);
	assert_int_equal(flow->state, FLOW_ESTABLISHED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_next_on_the_four_tuple, begin, end),
		cmocka_unit_test_setup_teardown(test_third_on_the_four_tuple, begin, end),
		cmocka_unit_test_setup_teardown(test_less_of_a_share, begin, end),
		cmocka_unit_test_setup_teardown(test_flood, begin, end),
		cmocka_unit_test_setup_teardown(test_last_places, begin, end),
		cmocka_unit_test_setup_teardown(test_room_lost, begin, end),
		cmocka_unit_test_setup_teardown(test_opened_at_once, begin, end),
		cmocka_unit_test_setup_teardown(test_given_back, begin, end),
	};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
