/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A table in which somebody else opens flows, at the same time: as the kernel's programs do, on other processors. */
#include "../tools/table_check.h"
#include "core_test.h"

#include <pthread.h>

#include "flow_key.h"
#include "flow_table.h"
#include "plain.h"

enum {
	CAPACITY = 256,
	LENT = 64,
	OTHERS = 2,
	ROUNDS = 40000,
	TURNS = 300,
	FOR_GOOD = 40, /* flows that stay, and must be found at any time */
};

static struct flow_table table;
static struct flow_loan loan;
static uint64_t lent[LENT];
static struct flow_limbo limbo[CAPACITY];
static void *kept, *index_memory;
static bool is_over, is_missed;

static struct addr server;

static struct addr client_of(uint32_t number)
{
	return test_addr(false, 0x0a000000 + number);
}

static int begin(void **state)
{
	const uint64_t secret[2] = {test_random64(), test_random64()};

	(void)state;
	server = test_addr(false, 0xcb007101);
	kept = calloc(1, flow_table_kept_bytes(CAPACITY));
	index_memory = calloc(1, flow_table_index_bytes(CAPACITY));
	loan = (struct flow_loan){0};
	flow_table_init(&table, kept, index_memory, CAPACITY, secret);
	flow_table_share(&table, &loan, lent, LENT, limbo);
	/* A few long chains. */
	table.head_mask = 3;
	return 0;
}

static int end(void **state)
{
	(void)state;
	free(kept);
	free(index_memory);
	return 0;
}

/* As src/bpf/handshakes.h does it. False where no place is lent. */
static bool open_flow(const struct addr *client, uint16_t port)
{
	const struct endpoints ends = {*client, server, port, 443};
	const struct flow_key key = flow_key_of(&ends);
	uint32_t tail = atomic_load(&loan.tail), at, next;
	uint32_t *head = &table.heads[flow_key_hash(&key, table.secret) & table.head_mask];
	struct flow *flow;

	do {
		if (tail == __atomic_load_n(&loan.head, __ATOMIC_ACQUIRE))
			return false;
		at = (uint32_t)__atomic_load_n(&lent[tail % LENT], __ATOMIC_RELAXED);
	} while (!atomic_exchange_if32(&loan.tail, &tail, tail + 1));
	flow = &table.flows[at];
	flow->client = *client;
	flow->server = server;
	flow->client_port = port;
	flow->server_port = 443;
	flow->state = FLOW_SYN_SENT;
	next = atomic_load(head);
	do
		atomic_store(&flow->next, next);
	while (!atomic_exchange_if32(head, &next, at + 1));
	__atomic_add_fetch(&loan.opened, 1, __ATOMIC_RELAXED);
	return true;
}

static struct flow *find(uint32_t client, uint16_t port)
{
	const struct addr addr = client_of(client);
	bool outbound;

	return flow_table_find(&table, &addr, port, &server, 443, &outbound);
}

static void test_lending(void **state)
{
	const struct addr client = client_of(1);
	uint32_t opened = 0;

	(void)state;
	assert_false(open_flow(&client, 1));
	flow_table_lend(&table);
	assert_int_equal(loan.head, LENT);
	while (open_flow(&client, (uint16_t)(1000 + opened)))
		opened++;
	assert_int_equal(opened, LENT);
	assert_int_equal(flow_table_used(&table), LENT);
	flow_table_lend(&table);
	assert_int_equal(loan.head - loan.tail, LENT);
	/* What is lent, and nobody has taken, is the owner's as well. */
	for (uint32_t i = 0; i < CAPACITY - LENT; i++)
		assert_non_null(flow_table_add(&table, &client, (uint16_t)(5000 + i), &server, 443));
	assert_false(flow_table_has_room(&table));
	assert_null(flow_table_add(&table, &client, 1, &server, 443));
	assert_int_equal(flow_table_used(&table), CAPACITY);
	for (uint32_t i = 0; i < opened; i++)
		assert_non_null(find(1, (uint16_t)(1000 + i)));
}

/* The place of a flow that has gone is nobody's for a while, and who stands there finds the way on. */
static void test_limbo(void **state)
{
	const struct addr client = client_of(1);
	struct flow *flow;
	uint32_t next;

	(void)state;
	for (uint32_t i = 0; i < CAPACITY; i++)
		assert_non_null(flow_table_add(&table, &client, (uint16_t)(5000 + i), &server, 443));
	flow = find(1, 5100);
	next = flow->next;
	flow_table_remove(&table, flow);
	assert_int_equal(flow->next, next);
	/* As one would write who had taken it for an ended flow just before. */
	memset(flow_table_syn(&table, flow), 0x5a, sizeof(struct flow_syn));
	assert_null(find(1, 5100));
	assert_false(flow_table_has_room(&table));
	/* Who began to wait before it went does not know whether somebody has seen it since. */
	flow_table_grace(&table, table.generation);
	flow_table_lend(&table);
	assert_int_equal(loan.head, 0);
	assert_null(flow_table_add(&table, &client, 1, &server, 443));
	flow_table_grace(&table, table.generation);
	assert_true(flow_table_has_room(&table));
	flow_table_lend(&table);
	assert_int_equal(loan.head - loan.tail, 1);
	assert_non_null(flow_table_add(&table, &client, 1, &server, 443));
	assert_int_equal(flow_table_used(&table), CAPACITY);
}

/* Flows without end, each of which the owner finds in the end and takes away. */
static void *open_many(void *context)
{
	const uint32_t number = *(const uint32_t *)context;
	const struct addr client = client_of(number);
	uint32_t opened = 0;

	while (opened < ROUNDS && !__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
		if (open_flow(&client, (uint16_t)opened))
			opened++;
		else
			sched_yield();
	}
	return NULL;
}

/* What they opened, in the order in which they did. */
static void take_away(uint32_t next[OTHERS + 1])
{
	for (uint32_t i = 1; i <= OTHERS; i++) {
		struct flow *flow = next[i] < ROUNDS ? find(i, (uint16_t)next[i]) : NULL;

		if (flow) {
			flow_table_remove(&table, flow);
			next[i]++;
		}
	}
}

/* As many as there is room for, of the owner's own, also in places that are lent; each is found, and is no other's. */
static uint32_t fill_and_empty(void)
{
	static struct flow *flows[CAPACITY];
	const struct addr own = client_of(77);
	uint32_t count = 0;

	while (count < CAPACITY && (flows[count] = flow_table_add(&table, &own, (uint16_t)count, &server, 443)))
		count++;
	for (uint32_t i = 0; i < count; i++) {
		assert_ptr_equal(find(77, (uint16_t)i), flows[i]);
		flow_table_remove(&table, flows[i]);
	}
	return count;
}

static void test_at_the_same_time(void **state)
{
	pthread_t threads[OTHERS + 1];
	uint32_t numbers[OTHERS + 1], next[OTHERS + 1] = {0}, mine = 0, rounds = 0;
	const struct addr stays = client_of(99);

	(void)state;
	is_over = false;
	for (uint32_t i = 0; i < FOR_GOOD; i++)
		assert_non_null(flow_table_add(&table, &stays, (uint16_t)i, &server, 443));
	for (uint32_t i = 1; i <= OTHERS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, open_many, &numbers[i]), 0);
	}
	while (next[1] < ROUNDS || next[2] < ROUNDS) {
		flow_table_grace(&table, table.generation); /* nobody looks at anything but the heads of chains */
		flow_table_lend(&table);
		take_away(next);
		for (uint32_t i = 0; i < FOR_GOOD; i += 7)
			assert_non_null(find(99, (uint16_t)i));
		if (rounds++ % 16 == 0)
			mine += fill_and_empty();
	}
	__atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
	for (uint32_t i = 1; i <= OTHERS; i++)
		pthread_join(threads[i], NULL);
	assert_true(mine > 0);
	assert_int_equal(flow_table_used(&table), FOR_GOOD);
	for (uint32_t i = 0; i < FOR_GOOD; i++)
		assert_non_null(find(99, (uint16_t)i));
}

/* Looks for what stays, and says when it looks at nothing. */
static void *look_all_the_time(void *context)
{
	uint32_t *rounds = context;

	while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
		for (uint32_t i = 0; i < FOR_GOOD; i++)
			if (!find(99, (uint16_t)i))
				__atomic_store_n(&is_missed, true, __ATOMIC_RELAXED);
		__atomic_add_fetch(rounds, 1, __ATOMIC_ACQ_REL);
	}
	return NULL;
}

/* As membarrier() does it: the one who looks has looked up once. */
static void wait_for_grace(const uint32_t *rounds)
{
	const uint32_t begin_round = __atomic_load_n(rounds, __ATOMIC_SEQ_CST);

	while (__atomic_load_n(rounds, __ATOMIC_ACQUIRE) - begin_round < 2)
		sched_yield();
}

/* Flows come and go between those that stay. Who looks for these is never led astray. */
static void test_grace(void **state)
{
	const struct addr stays = client_of(99), goes = client_of(1);
	uint32_t rounds = 0, generation, count = 0, came = 0;
	struct flow *flows[CAPACITY];
	pthread_t thread;

	(void)state;
	is_over = is_missed = false;
	for (uint32_t i = 0; i < FOR_GOOD; i++) {
		assert_non_null(flow_table_add(&table, &stays, (uint16_t)i, &server, 443));
		assert_non_null(flow_table_add(&table, &goes, (uint16_t)i, &server, 443));
	}
	for (uint32_t i = 0; i < FOR_GOOD; i++)
		flow_table_remove(&table, find(1, (uint16_t)i));
	assert_int_equal(pthread_create(&thread, NULL, look_all_the_time, &rounds), 0);
	for (uint32_t turn = 0; turn < TURNS; turn++) {
		generation = table.generation;
		while (count < CAPACITY && (flows[count] = flow_table_add(&table, &goes, (uint16_t)came, &server, 443))) {
			came++;
			count++;
		}
		while (count > 0)
			flow_table_remove(&table, flows[--count]);
		wait_for_grace(&rounds);
		flow_table_grace(&table, generation);
	}
	__atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_false(is_missed);
	assert_true(came > TURNS * (CAPACITY / 4));
	assert_int_equal(flow_table_used(&table), FOR_GOOD);
}

/* What another processor has noted may be a little later than the tick at hand. */
static void test_ticks_apart(void **state)
{
	const uint64_t tick = 1000000;
	const struct flow_syn syn = {.time = (uint32_t)(tick / FLOW_SYN_TIME_MS)};
	const struct flow flow = {.last_seen_s = (uint32_t)(tick / 1000)};

	(void)state;
	assert_int_equal(plain_syn_age_ms(&syn, tick - FLOW_SYN_TIME_MS), 0);
	assert_int_equal(plain_syn_age_ms(&syn, tick), 0);
	assert_int_equal(plain_syn_age_ms(&syn, tick + 2 * FLOW_SYN_TIME_MS), 2 * FLOW_SYN_TIME_MS);
	assert_false(plain_is_silent(&flow, tick - 10));
	assert_false(plain_is_silent(&flow, tick + 1999));
	assert_true(plain_is_silent(&flow, tick + 2000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lending, begin, end),
		cmocka_unit_test_setup_teardown(test_limbo, begin, end),
		cmocka_unit_test_setup_teardown(test_grace, begin, end),
		cmocka_unit_test_setup_teardown(test_at_the_same_time, begin, end),
		cmocka_unit_test(test_ticks_apart),
	};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
