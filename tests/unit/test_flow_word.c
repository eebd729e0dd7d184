/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What somebody else changes in a flow while the engine does: flags, states, the newest TSval. As the kernel's programs do, on
 * other processors. Nothing that either has done is undone by the other, and the gauges of both make up what there is.
 */
#include "core_test.h"
#include "engine_world.h"

#include <pthread.h>
#include <time.h>

#include "plain.h"
#include "seq.h"

enum {
	ROUNDS = 60000,
	MEETINGS = ROUNDS / 4, /* rounds in which the other did something as well: at least so many, where processors are to be had, */
	MEETING_MOST_S = 3,    /* or for so long */
	LOOKS = 20, /* how often it is looked whether what was done stays done */
	OLD_S = 1000000,
	NOW_S = OLD_S + 10000,
};

static struct engine_world world;
static struct flow *flow;
static struct test_segment to_server;
static bool is_over;
static uint32_t problems, turns, renewed, begun;

static int begin(void **state)
{
	(void)state;
	world_make(&world, 64, (uint64_t)NOW_S * 1000);
	to_server = (struct test_segment){.src = test_addr(false, 0x0a000001), .src_port = 40000,
					  .dst = test_addr(false, WORLD_NET), .dst_port = 443, .seq = 100};
	is_over = false;
	problems = turns = renewed = begun = 0;
	return 0;
}

static int end(void **state)
{
	(void)state;
	world_free(&world);
	return 0;
}

static enum reason pass(bool outbound, uint8_t flags)
{
	struct test_segment segment = to_server;
	uint8_t data[TEST_PACKET_MAX];
	struct packet_input input = {.data = data, .direction = outbound ? DIRECTION_OUT : DIRECTION_IN};
	uint32_t tcp_at;

	segment.flags = flags;
	segment.ack = segment.seq + 1;
	segment.seq += !(flags & TCP_SYN);
	if (!outbound) {
		segment.src = to_server.dst;
		segment.src_port = to_server.dst_port;
		segment.dst = to_server.src;
		segment.dst_port = to_server.src_port;
	}
	test_segment_ts(&segment, (uint32_t)world.tick, 0);
	input.len = test_build(&segment, data, &tcp_at);
	return engine_handle(&world.engine, &input, world.tick);
}

static void open_flow(void)
{
	bool outbound;

	assert_int_equal(pass(true, TCP_SYN), REASON_SYN_REWRITTEN);
	flow = flow_table_find(&world.engine.table, &to_server.src, to_server.src_port, &to_server.dst, to_server.dst_port, &outbound);
	assert_non_null(flow);
}

static void note_if(bool is_wrong)
{
	if (is_wrong)
		__atomic_add_fetch(&problems, 1, __ATOMIC_RELAXED);
}

/* Sets and clears a flag that nobody else does, and a block's neighbours keep their bits. */
static void *change_own_flag(void *context)
{
	const uint16_t own = *(const uint16_t *)context;

	while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
		flow_set_flags(flow, own);
		for (int i = 0; i < LOOKS; i++)
			note_if(!(atomic_load(&flow->flags) & own));
		flow_clear_flags(flow, own);
		for (int i = 0; i < LOOKS; i++)
			note_if(atomic_load(&flow->flags) & own);
		__atomic_add_fetch(&turns, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static bool have_met_enough(uint32_t meetings, time_t begun_s)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return meetings >= MEETINGS || now.tv_sec - begun_s > MEETING_MOST_S;
}

static void run_beside(void *(*other)(void *), void *context, void (*own)(void))
{
	pthread_t thread;
	struct timespec start;
	uint32_t meetings = 0;

	clock_gettime(CLOCK_MONOTONIC, &start);
	assert_int_equal(pthread_create(&thread, NULL, other, context), 0);
	while (!__atomic_load_n(&turns, __ATOMIC_RELAXED))
		sched_yield();
	for (uint32_t i = 0; i < ROUNDS || !have_met_enough(meetings, start.tv_sec); i++) {
		uint32_t before = __atomic_load_n(&turns, __ATOMIC_RELAXED);

		own();
		meetings += __atomic_load_n(&turns, __ATOMIC_RELAXED) != before;
	}
	__atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(problems, 0);
}

static void change_other_flags(void)
{
	flow_set_flags(flow, FLOW_STAMPED);
	note_if(!(atomic_load(&flow->flags) & FLOW_STAMPED));
	flow_clear_flags(flow, FLOW_STAMPED);
	note_if(atomic_load(&flow->flags) & FLOW_STAMPED);
}

static void test_flags(void **state)
{
	uint16_t other = FLOW_WENT_BACK;

	(void)state;
	open_flow();
	run_beside(change_own_flag, &other, change_other_flags);
	assert_int_equal(flow->state, FLOW_SYN_SENT);
	assert_int_equal(flow->mode, MODE_REWRITE);
}

/* Of a flow that is left alone time and again. */
static void leave_alone(void)
{
	struct flow now;
	uint64_t before = atomic_load(&flow->word);

	do {
		now.word = before;
		now.mode = MODE_REWRITE;
	} while (!atomic_exchange_if(&flow->word, &before, now.word));
	flow_leave_alone(flow);
	now.word = atomic_load(&flow->word);
	note_if(now.mode != MODE_OFF);
}

static void test_mode(void **state)
{
	uint16_t other = FLOW_WENT_BACK;

	(void)state;
	open_flow();
	run_beside(change_own_flag, &other, leave_alone);
}

/* A RST, and both sides go on: two changes of state by the engine, or three. */
static void reset_and_go_on(void)
{
	pass(false, TCP_RST | TCP_ACK);
	pass(true, TCP_ACK);
	pass(false, TCP_ACK);
	note_if(atomic_load(&flow->state) != FLOW_ESTABLISHED);
}

static void test_states(void **state)
{
	uint16_t other = FLOW_STAMPED;

	(void)state;
	open_flow();
	pass(false, TCP_SYN | TCP_ACK);
	pass(true, TCP_ACK);
	assert_int_equal(flow->state, FLOW_ESTABLISHED);
	run_beside(change_own_flag, &other, reset_and_go_on);
	world_check(&world);
}

/* A block comes and its mark with it. */
static void scale(void)
{
	struct scaled start;
	struct flow_table *table = &world.engine.table;
	struct flow now;

	scaled_start(&start, 1, 1, 1);
	note_if(!flow_table_add_scaled(table, flow, &start));
	now.word = atomic_load(&flow->word);
	note_if(!(now.flags & FLOW_SCALED) || !now.block);
	atomic_store(&flow->block, 0); /* only for it to be done again */
	flow_clear_flags(flow, FLOW_SCALED);
	table->free_scaled = 1;
}

static void test_blocks(void **state)
{
	uint16_t other = FLOW_WENT_BACK;

	(void)state;
	open_flow();
	run_beside(change_own_flag, &other, scale);
}

/* The newest of what either has sent stays. */
static void *raise_by_sending(void *context)
{
	(void)context;
	while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
		uint32_t tsval = atomic_load(&flow->tsval_high) + 1;

		plain_note_emitted(&world.engine.clock, world.tick, flow, tsval);
		note_if(seq_after(tsval, atomic_load(&flow->tsval_high)));
		__atomic_add_fetch(&turns, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void raise_more(void)
{
	for (int i = 0; i < LOOKS; i++) {
		uint32_t tsval = atomic_load(&flow->tsval_high) + 1 + (i & 1);

		flow_raise(flow, tsval);
		note_if(seq_after(tsval, atomic_load(&flow->tsval_high)));
	}
}

static void test_newest(void **state)
{
	(void)state;
	open_flow();
	run_beside(raise_by_sending, NULL, raise_more);
}

/* Whoever has looked before somebody else has changed it ends nothing. */
static void test_stale_look(void **state)
{
	uint64_t word;

	(void)state;
	open_flow();
	word = flow->word;
	flow_set_flags(flow, FLOW_WENT_BACK);
	assert_false(flow_table_remove_if(&world.engine.table, flow, word));
	assert_int_equal(flow->state, FLOW_SYN_SENT);
	assert_true(flow->flags & FLOW_WENT_BACK);
	assert_int_equal(world.engine.table.used, 1);
	assert_true(flow_table_remove_if(&world.engine.table, flow, flow->word));
	assert_int_equal(flow->state, FLOW_FREE);
	assert_int_equal(world.engine.table.used, 0);
}

/* As src/bpf/handshakes.h, fast_syn(): a SYN takes the place of an ended flow, once in each round. */
static void *begin_anew(void *context)
{
	uint32_t round = 0;

	(void)context;
	while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
		uint64_t before;
		struct flow now;

		if (__atomic_load_n(&begun, __ATOMIC_ACQUIRE) == round)
			continue;
		now.word = before = __atomic_load_n(&flow->word, __ATOMIC_ACQUIRE);
		atomic_store(&flow->last_seen_s, NOW_S);
		if (now.state == FLOW_TIME_WAIT) {
			now.state = FLOW_SYN_SENT;
			renewed += atomic_exchange_if(&flow->word, &before, now.word);
		}
		__atomic_store_n(&turns, ++round, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* What is over is swept away, or has begun anew: one of the two. */
static void test_sweep(void **state)
{
	struct engine *engine = &world.engine;
	pthread_t thread;
	struct timespec start;
	uint32_t meetings = 0;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &start);
	open_flow();
	assert_int_equal(pthread_create(&thread, NULL, begin_anew, NULL), 0);
	for (uint32_t round = 1; round <= ROUNDS || !have_met_enough(meetings, start.tv_sec); round++) {
		uint32_t before = renewed;

		atomic_store(&flow->last_seen_s, OLD_S);
		flow->state = FLOW_TIME_WAIT;
		memset(world.counters->flows, 0, sizeof(world.counters->flows));
		world.counters->flows[WORLD_SLOT_REWRITE][FLOW_TIME_WAIT] = 1;
		__atomic_store_n(&begun, round, __ATOMIC_RELEASE);
		for (uint32_t wait = test_random(600); wait > 0; wait--)
			atomic_load(&turns);
		engine_sweep(engine, 1, world.tick); /* that place */
		meetings += __atomic_load_n(&turns, __ATOMIC_RELAXED) == round;
		while (__atomic_load_n(&turns, __ATOMIC_ACQUIRE) != round)
			sched_yield();
		assert_int_equal(flow->state, renewed != before ? FLOW_SYN_SENT : FLOW_FREE);
		assert_int_equal(world.counters->flows[WORLD_SLOT_REWRITE][FLOW_TIME_WAIT], renewed != before);
		if (renewed == before) {
			assert_ptr_equal(flow_table_add(&engine->table, &to_server.src, 40000, &to_server.dst, 443), flow);
			flow->slot = WORLD_SLOT_REWRITE;
			flow->mode = MODE_REWRITE;
		}
	}
	__atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_flags, begin, end),
		cmocka_unit_test_setup_teardown(test_mode, begin, end),
		cmocka_unit_test_setup_teardown(test_states, begin, end),
		cmocka_unit_test_setup_teardown(test_blocks, begin, end),
		cmocka_unit_test_setup_teardown(test_newest, begin, end),
		cmocka_unit_test_setup_teardown(test_stale_look, begin, end),
		cmocka_unit_test_setup_teardown(test_sweep, begin, end),
	};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
