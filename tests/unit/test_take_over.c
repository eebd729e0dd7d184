/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A table whose owner has died is taken over while others go on with what is in it. Whatever he was at when he was killed,
 * nothing is lost but what he was taking away, and each place has its use once more.
 */
#include "../tools/table_check.h"
#include "core_test.h"

#include <pthread.h>

#include "flow_table.h"
#include "policy.h"

enum {
	CAPACITY = 256,
	FLOWS = 100,
	LENT = 64,
	TURNS = 1000,
	CLIENT = 0x0a000001,
	SERVER = 0xcb007101,
};

static const uint64_t secret[2] = {0x0123456789abcdef, 0xfedcba9876543210};
static struct flow_table table;
static struct flow_table_memory memory;
static struct flow_loan loan;
static uint64_t lent[LENT];
static struct flow_limbo limbo[CAPACITY];
static void *kept, *index_memory;
static struct addr client, server;
static bool is_over;
static uint32_t missed, moved, rounds;

static struct flow *add(uint16_t port)
{
	struct flow *flow = flow_table_add(&table, &client, port, &server, 443);

	assert_non_null(flow);
	flow->mode = MODE_REWRITE;
	flow->state = FLOW_ESTABLISHED;
	flow_table_syn(&table, flow)->isn = port;
	return flow;
}

static struct flow *find(uint16_t port)
{
	bool outbound;

	return flow_table_find(&table, &client, port, &server, 443, &outbound);
}

/* Some of the flows have blocks of either kind. */
static int begin(void **state)
{
	(void)state;
	client = test_addr(false, CLIENT);
	server = test_addr(false, SERVER);
	kept = calloc(1, flow_table_kept_bytes(CAPACITY));
	index_memory = calloc(1, flow_table_index_bytes(CAPACITY));
	memory = flow_table_memory_of(kept, index_memory, CAPACITY);
	loan = (struct flow_loan){0};
	flow_table_open(&table, &memory, CAPACITY, secret);
	flow_table_share(&table, &loan, lent, LENT, limbo);
	for (uint16_t port = 0; port < FLOWS; port++) {
		struct flow *flow = add(port);
		struct scaled scaled;

		scaled_start(&scaled, port, port, port);
		if (port % 10 == 0)
			flow_table_add_pairs(&table, flow)->count = 1;
		if (port % 30 == 0)
			assert_non_null(flow_table_add_scaled(&table, flow, &scaled));
	}
	flow_table_lend(&table);
	return 0;
}

static int end(void **state)
{
	(void)state;
	free(kept);
	free(index_memory);
	return 0;
}

static bool take_over(void)
{
	memset(&table, 0xa5, sizeof(table));
	return flow_table_take_over(&table, &memory, CAPACITY, secret, &loan, lent, LENT, limbo);
}

/* All but flow number `but` are there, with their blocks, and what nobody has is to be had; behind a grace period all of it. */
static void check_sound(uint32_t but, uint32_t resting)
{
	uint32_t flows = 0, pairs = 0, scaled = 0, room = 0;
	const struct client_use *use = flow_table_use_of_client(&table, &client);

	for (uint16_t port = 0; port < FLOWS; port++) {
		const struct flow *flow = find(port);

		assert_int_equal(flow != NULL, port != but);
		if (!flow)
			continue;
		assert_int_equal(flow_table_syn(&table, flow)->isn, port);
		assert_int_equal(flow_table_pairs(&table, flow) != NULL, port % 10 == 0);
		assert_int_equal(flow_table_scaled(&table, flow) != NULL, port % 30 == 0);
		flows++;
		pairs += port % 10 == 0;
		scaled += port % 30 == 0;
	}
	assert_int_equal(flow_table_used(&table), flows);
	assert_int_equal(table.pairs_used, pairs);
	assert_int_equal(table.scaled_used, scaled);
	assert_int_equal(use->flows, flows);
	assert_int_equal(use->pairs, pairs);
	assert_int_equal(use->scaled, scaled);
	flow_table_lend(&table);
	assert_int_equal(loan.head - loan.tail, LENT);
	while (flow_table_has_room(&table))
		add((uint16_t)(1000 + room++));
	assert_int_equal(room, CAPACITY - flows - resting);
	for (uint32_t i = 0; i < 2; i++)
		flow_table_grace(&table, table.generation);
	while (flow_table_has_room(&table))
		add((uint16_t)(1000 + room++));
	assert_int_equal(room, CAPACITY - flows);
	for (uint16_t port = 1000; port < 1000 + room; port++)
		assert_non_null(find(port));
	for (pairs = table.pairs_used; flow_table_add_pairs(&table, find((uint16_t)(1000 + pairs))) != NULL; pairs++)
		;
	assert_int_equal(pairs, table.pair_capacity);
}

static void test_as_it_was(void **state)
{
	(void)state;
	assert_true(take_over());
	check_sound(FLOWS, 0);
}

/* The steps in which flow_table_remove() and flow_table_add() go; after `step` of them the process is killed. */
static void remove_in_part(uint32_t step, uint16_t port)
{
	struct flow *flow = find(port);

	if (step > 0)
		flow->state = FLOW_FREE;
	if (step > 1)
		flow_table_drop_pairs(&table, flow);
	if (step > 2 && flow_table_scaled(&table, flow)) {
		table.scaled[flow->block - 1].next_free = table.free_scaled;
		flow->flags = 0;
		flow->block = 0;
	}
	if (step > 3)
		memory.clients[0].flows -= 5; /* any client's */
	if (step > 4) {
		const uint32_t self = (uint32_t)(flow - table.flows) + 1;

		for (uint32_t i = 0; i <= table.head_mask; i++)
			if (atomic_load(&table.heads[i]) == self)
				atomic_store(&table.heads[i], flow->next);
		for (uint32_t i = 0; i < CAPACITY; i++) {
			struct flow *other = &table.flows[i];

			if (other != flow && atomic_load(&other->state) != FLOW_FREE && other->next == self)
				atomic_store(&other->next, flow->next);
		}
	}
}

static void test_killed_while_removing(void **state)
{
	(void)state;
	for (uint32_t step = 0; step <= 5; step++) {
		for (uint16_t port = 0; port <= 30; port += 5) {
			end(state);
			begin(state);
			remove_in_part(step, port);
			assert_true(take_over());
			check_sound(step ? port : FLOWS, step && step < 5);
		}
	}
}

/* A place that was taken, and has no flow yet; in a chain or not; or was given back. */
static void test_killed_while_adding(void **state)
{
	struct flow *flow;

	(void)state;
	flow = flow_table_add(&table, &client, 5000, &server, 443);
	assert_true(take_over());
	assert_null(find(5000));
	check_sound(FLOWS, 1);
	end(state);
	begin(state);
	flow = &table.flows[lent[loan.tail++ % LENT]];
	flow->word = (struct flow){.mode = FLOW_GIVEN_BACK}.word;
	assert_true(take_over());
	assert_int_equal(flow->word, 0);
	check_sound(FLOWS, 0);
	/* A block that no flow names yet, and one that has nothing in it. */
	end(state);
	begin(state);
	assert_non_null(flow_table_add_pairs(&table, find(1)));
	find(1)->block = 0;
	assert_non_null(flow_table_add_pairs(&table, find(2)));
	assert_true(take_over());
	check_sound(FLOWS, 0);
}

/* What an engine never makes: a third on a four-tuple, a second without a word, one in a strange chain, one of no sense. */
static void test_what_cannot_be(void **state)
{
	struct flow *younger, *third, *strange;

	(void)state;
	younger = add(50);
	assert_true(take_over());
	assert_null(flow_table_find_elder(&table, younger));
	end(state);
	begin(state);
	younger = add(50);
	flow_set_flags(younger, FLOW_HAS_ELDER);
	third = add(50);
	flow_set_flags(third, FLOW_HAS_ELDER);
	assert_true(take_over());
	assert_ptr_equal(find(50), third);
	assert_ptr_equal(flow_table_find_elder(&table, third), younger);
	assert_null(flow_table_find_elder(&table, younger));
	assert_int_equal(flow_table_used(&table), FLOWS + 1);
	find(60)->state = FLOW_STATE_COUNT;
	find(61)->client_port = 6161;
	find(62)->block = 0xffff;
	strange = find(62);
	assert_true(take_over());
	assert_int_equal(strange->word, 0);
	assert_null(find(60));
	assert_null(find(61));
	assert_null(find(6161));
	assert_null(find(62));
	assert_int_equal(flow_table_used(&table), FLOWS - 2);
}

static void test_damaged(void **state)
{
	(void)state;
	find(7)->next = (uint32_t)(find(7) - table.flows) + 1;
	assert_false(take_over());
	end(state);
	begin(state);
	find(7)->next = CAPACITY + 1;
	assert_false(take_over());
	flow_table_open(&table, &memory, CAPACITY, secret);
	flow_table_share(&table, &loan, lent, LENT, limbo);
	assert_int_equal(table.used, FLOWS);
}

/* Looks for flows and moves them on, as programs do that do not know of any of this. */
static void *go_on(void *context)
{
	const struct flow_table *was = context;

	while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
		for (uint16_t port = 0; port < FLOWS; port++) {
			bool outbound;
			struct flow *flow = flow_table_find(was, &client, port, &server, 443, &outbound), now;
			uint64_t before;

			if (!flow) {
				__atomic_add_fetch(&missed, 1, __ATOMIC_RELAXED);
				continue;
			}
			now.word = before = atomic_load(&flow->word);
			now.state = now.state == FLOW_ESTABLISHED ? FLOW_FIN_WAIT : FLOW_ESTABLISHED;
			if (before && atomic_exchange_if(&flow->word, &before, now.word))
				__atomic_add_fetch(&moved, 1, __ATOMIC_RELAXED);
			atomic_store(&flow->last_seen_s, port);
		}
		__atomic_add_fetch(&rounds, 1, __ATOMIC_ACQ_REL);
	}
	return NULL;
}

/* As membarrier() does it. */
static void wait_for_grace(void)
{
	const uint32_t begun = __atomic_load_n(&rounds, __ATOMIC_SEQ_CST);

	while (__atomic_load_n(&rounds, __ATOMIC_ACQUIRE) - begun < 2)
		sched_yield();
}

/* Nobody is led astray meanwhile, though the owner dies time and again, and what he was taking away is put in order. */
static void test_at_the_same_time(void **state)
{
	struct flow_table was = table;
	pthread_t thread;

	(void)state;
	is_over = false;
	missed = moved = rounds = 0;
	assert_int_equal(pthread_create(&thread, NULL, go_on, &was), 0);
	for (uint32_t turn = 0; turn < TURNS; turn++) {
		uint16_t port = (uint16_t)(2000 + turn % 50);

		if (!find(port) && flow_table_has_room(&table))
			add(port);
		else if (find(port))
			remove_in_part(turn % 2 ? 1 : 5, port);
		wait_for_grace();
		assert_true(take_over());
	}
	__atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(missed, 0);
	assert_true(moved > 0);
	for (uint16_t port = 0; port < FLOWS; port++)
		assert_non_null(find(port));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_as_it_was, begin, end),
		cmocka_unit_test_setup_teardown(test_killed_while_removing, begin, end),
		cmocka_unit_test_setup_teardown(test_killed_while_adding, begin, end),
		cmocka_unit_test_setup_teardown(test_what_cannot_be, begin, end),
		cmocka_unit_test_setup_teardown(test_damaged, begin, end),
		cmocka_unit_test_setup_teardown(test_at_the_same_time, begin, end),
	};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
