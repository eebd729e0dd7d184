/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core_test.h"

#include <pthread.h>

#include "clock.h"
#include "seq.h"

enum {
	SERVERS = 4,
	HISTORY = 4096,
	KNOWN_MS = 60000, /* P1 */
	LEAD_MS = 60000,
};

#define DAY_MS (24u * 3600 * 1000)

static struct clock_shared shared;
static struct clock clock_under_test;

static struct addr server_addr(uint32_t number)
{
	return test_addr(number % 2, 0xcb007100 + number);
}

static void clock_reset(void)
{
	memset(&shared, 0, sizeof(shared));
	memset(&clock_under_test, 0, sizeof(clock_under_test));
	clock_under_test.shared = &shared;
	clock_under_test.max_lead_ms = LEAD_MS;
}

static uint32_t syn(uint64_t tick, uint32_t server)
{
	struct addr addr = server_addr(server);

	return clock_syn_tsval(&clock_under_test, tick, &addr, NULL);
}

static void raise_server(uint64_t tick, uint32_t server, uint32_t tsval)
{
	struct addr addr = server_addr(server);

	clock_raise_server(&clock_under_test, tick, &addr, tsval);
}

static void raise_all(uint64_t tick, uint32_t server, uint32_t tsval)
{
	struct addr addr = server_addr(server);

	clock_raise(&clock_under_test, tick, &addr, tsval);
}

static uint32_t as_syn(uint64_t tick)
{
	return (uint32_t)tick ? (uint32_t)tick : 1;
}

/* ---- single properties ---- */

static void test_publish_never_steps_back(void **state)
{
	uint64_t newest = 0, tick = 1000;

	(void)state;
	clock_reset();
	for (int round = 0; round < 100000; round++) {
		tick = newest + test_random(2000) - (newest > 1000 ? 1000 : 0);
		if (round == 50000)
			tick = (1ull << 32) + 5;
		newest = tick > newest ? tick : newest;
		assert_int_equal(clock_publish(&clock_under_test, tick), newest);
		assert_int_equal(shared.published, newest);
	}
}

/* With nothing else known, a SYN carries the clock, and never 0. */
static void test_plain_clock(void **state)
{
	static const uint64_t edges[] = {1, 2, 1000, 0x7fffffff, 0x80000000, 0x80000001, 0xfffeffff, 0xfffffffe,
					 0xffffffff, 0x100000000, 0x100000001, 0x17fffffff, 0x180000000, 0x200000000,
					 0x1ffffffff, 0xfffffffff};

	(void)state;
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		clock_reset();
		assert_int_equal(syn(edges[i], 0), as_syn(edges[i]));
		assert_int_equal(clock_lead_ms(&clock_under_test, edges[i]), 0);
	}
	for (int round = 0; round < 100000; round++) {
		uint64_t tick = test_random64() >> test_random(40);

		clock_reset();
		assert_int_equal(syn(tick, (uint32_t)round % SERVERS), as_syn(tick));
	}
}

static void test_previous_is_always_older(void **state)
{
	(void)state;
	for (int round = 0; round < 100000; round++) {
		uint64_t tick = 0x100000000 + test_random64() % 0x100000000;
		uint32_t previous = (uint32_t)tick + test_random(0x7fffff00) - 0x3fffff80, got;
		struct addr addr = server_addr(0);

		if (round % 10 == 0)
			previous = (uint32_t)tick - 2 + test_random(4);
		if (round % 100 == 0)
			tick = 0x200000000 - 2 + test_random(4), previous = (uint32_t)tick - 2 + test_random(4);
		clock_reset();
		got = clock_syn_tsval(&clock_under_test, tick, &addr, &previous);
		assert_true(seq_after(got, previous));
		assert_int_not_equal(got, 0);
		assert_false(seq_after((uint32_t)tick, got));
		/* no newer than need be */
		if (seq_after((uint32_t)tick, previous))
			assert_int_equal(got, as_syn(tick));
		else
			assert_int_equal(got, previous + 1 ? previous + 1 : 1);
		/* and remembered: the next one to this server is not older, while it counts */
		assert_false(seq_after(got, syn(tick + 1 + test_random(KNOWN_MS - 1), 0)));
	}
}

static void test_lead_is_bounded(void **state)
{
	uint64_t tick = 5000000;
	uint32_t others;

	(void)state;
	clock_reset();
	for (int round = 0; round < 200000; round++, tick += test_random(3)) {
		raise_all(tick, 0, (uint32_t)tick + 1 + test_random(round % 2 ? LEAD_MS + 10 : 0x7ffffff0));
		assert_true(clock_lead_ms(&clock_under_test, tick) <= LEAD_MS);
		others = syn(tick, 1);
		assert_true(others - (uint32_t)tick <= LEAD_MS + 1);
	}
}

/* Within the lead every server's SYNs follow, beyond it only the one's. */
static void test_raise(void **state)
{
	static const uint32_t aheads[] = {1, 2, 1000, LEAD_MS - 1, LEAD_MS, LEAD_MS + 1, 1000000, 0x7fffffff};

	(void)state;
	for (size_t i = 0; i < sizeof(aheads) / sizeof(aheads[0]); i++) {
		uint64_t tick = test_random64() >> 20 | 1u << 20;
		uint32_t tsval = (uint32_t)tick + aheads[i];
		bool within = aheads[i] <= LEAD_MS;

		if (tsval == 0 || tsval + 1 == 0 || (uint32_t)tick == 0)
			continue;
		clock_reset();
		raise_all(tick, 0, tsval);
		assert_int_equal(syn(tick, 0), tsval);
		assert_int_equal(syn(tick, 1), within ? tsval : (uint32_t)tick);
		assert_int_equal(clock_lead_ms(&clock_under_test, tick), within ? aheads[i] : 0);
		if (aheads[i] > 2) /* in a later millisecond, one more */
			assert_int_equal(syn(tick + 1, 0), tsval + 1);
	}
}

static void test_server_mark_ages(void **state)
{
	(void)state;
	for (int round = 0; round < 2000; round++) {
		uint64_t tick = test_random64() >> 20 | 1u << 20;
		uint32_t tsval = (uint32_t)tick + DAY_MS, age = 1 + test_random(KNOWN_MS);

		if (tsval > 0xfffffff0 || tsval < 10)
			continue;
		clock_reset();
		raise_server(tick, 0, tsval);
		assert_int_equal(syn(tick, 0), tsval);
		assert_int_equal(syn(tick + age, 0), tsval + 1);
		clock_reset();
		raise_server(tick, 0, tsval);
		tick += CLOCK_MARK_AGE_MS + 1 + test_random(1000);
		assert_int_equal(syn(tick, 0), as_syn(tick));
	}
}

/* After some quiet the clock alone counts, however long the quiet was. */
static void test_old_marks_do_not_count(void **state)
{
	static const uint64_t quiets[] = {66000, 70000, 3600000, DAY_MS, 20ull * DAY_MS, 0x7fffffff, 0x80000000,
					  0x80000001, 25ull * DAY_MS, 30ull * DAY_MS, 45ull * DAY_MS, 0xffffffffu - 3600000,
					  0x100000000 + 2 * 66000, 60ull * DAY_MS, 100ull * DAY_MS};

	(void)state;
	for (int round = 0; round < 2000; round++)
		for (size_t i = 0; i < sizeof(quiets) / sizeof(quiets[0]); i++) {
			uint64_t tick = test_random64() >> 24, later = tick + quiets[i];

			clock_reset();
			raise_all(tick, 0, (uint32_t)tick + 1 + test_random(LEAD_MS));
			raise_server(tick, 0, (uint32_t)tick + (uint32_t)test_random64());
			raise_server(tick, 1, (uint32_t)tick + test_random(0x7fffffff));
			assert_int_equal(syn(later, 0), as_syn(later));
			assert_int_equal(syn(later, 1), as_syn(later));
			assert_int_equal(clock_lead_ms(&clock_under_test, later), 0);
			/* nor do they stand in the way of new ones */
			raise_server(later, 1, (uint32_t)later + 500);
			assert_int_equal(syn(later, 1), (uint32_t)later + 500 ? (uint32_t)later + 500 : 1);
			raise_all(later, 0, (uint32_t)later + 5);
			assert_int_equal(clock_lead_ms(&clock_under_test, later), 5);
		}
}

/* Workers' batches begin at slightly different ticks: a mark from the near future counts. */
static void test_mark_from_a_later_batch(void **state)
{
	uint64_t tick = 10000000;

	(void)state;
	for (uint32_t ahead = 1; ahead < 200; ahead++) {
		clock_reset();
		raise_server(tick + ahead, 0, 20000000);
		raise_all(tick + ahead, 1, (uint32_t)tick + ahead + 5000);
		assert_false(seq_after(20000000, syn(tick, 0)));
		assert_false(seq_after((uint32_t)tick + ahead + 5000, syn(tick, 1)));
		/* an older one does not take it back */
		raise_server(tick, 0, 15000000);
		assert_false(seq_after(20000000, syn(tick, 0)));
	}
}

/* A worker whose batch began earlier sends its SYN after one of a later batch: not with less. */
static void test_syn_of_an_earlier_batch(void **state)
{
	const uint64_t starts[] = {10000000, 0x100000000u - 3, 0x300000000u - 100};
	uint32_t previous;

	(void)state;
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		for (uint32_t late_ms = 1; late_ms < 200; late_ms++) {
			uint64_t tick = starts[i], later = tick + late_ms;
			struct addr addr = server_addr(0);

			clock_reset();
			clock_publish(&clock_under_test, tick);
			assert_int_equal(syn(tick, 0), as_syn(tick));
			clock_publish(&clock_under_test, later);
			assert_int_equal(syn(later, 1), as_syn(later));
			assert_int_equal(syn(tick, 0), as_syn(later));
			/* nor does a mark that the clock has reached meanwhile make it less */
			raise_server(tick, 2, (uint32_t)tick + late_ms / 2);
			assert_int_equal(syn(tick, 2), as_syn(later));
			previous = (uint32_t)later + 7;
			assert_int_equal(clock_syn_tsval(&clock_under_test, tick, &addr, &previous),
					 as_syn(previous + 1ull));
		}
}

/* The marks that are written down are those that would be missed: fresh, and ahead of the clock. */
static void test_marks_worth_keeping(void **state)
{
	uint64_t tick = 5000000, mark = 0;
	uint32_t found = 0;

	(void)state;
	clock_reset();
	raise_server(tick, 0, (uint32_t)tick + 200000); /* ahead for a minute and more */
	raise_server(tick, 1, (uint32_t)tick + 20000);	/* overtaken before it ages */
	raise_server(tick, 2, (uint32_t)tick - 1000);	/* behind from the beginning */
	for (uint32_t slot = 0; slot < CLOCK_SERVER_SLOTS; slot++) {
		uint64_t now = clock_mark_ahead(&clock_under_test, tick + 100, slot);
		uint64_t later = clock_mark_ahead(&clock_under_test, tick + 30000, slot);

		found += now != 0;
		if (later) {
			assert_int_equal(mark, 0);
			assert_int_equal(later, now);
			assert_int_equal(later >> 32, (uint32_t)tick + 200000);
			mark = later;
		}
		assert_int_equal(clock_mark_ahead(&clock_under_test, tick + CLOCK_MARK_AGE_MS + 1, slot), 0);
	}
	assert_int_equal(found, 2);
	assert_int_not_equal(mark, 0);
}

/* When timestamps went to a server last: for a minute, and from another worker's next second on. */
static void test_stamped(void **state)
{
	const struct addr addr = server_addr(0), other = server_addr(1);

	(void)state;
	for (uint64_t tick = 5000000; tick < 5002000; tick += 37) {
		uint32_t now_s = (uint32_t)(tick / 1000);

		clock_reset();
		assert_false(clock_is_stamped(&clock_under_test, tick, &addr));
		clock_note_stamped(&clock_under_test, now_s, &addr);
		assert_true(clock_is_stamped(&clock_under_test, tick, &addr));
		assert_false(clock_is_stamped(&clock_under_test, tick, &other));
		assert_true(clock_is_stamped(&clock_under_test, tick + KNOWN_MS, &addr));
		assert_false(clock_is_stamped(&clock_under_test, tick + CLOCK_MARK_AGE_MS + 1000, &addr));
		assert_true(clock_is_stamped(&clock_under_test, tick - 1000, &addr));
		/* what has ended before does not take it back */
		clock_note_stamped(&clock_under_test, now_s - 100, &addr);
		assert_true(clock_is_stamped(&clock_under_test, tick, &addr));
	}
}

/* ---- several workers at once ---- */

enum {
	WORKERS = 4,
	WORKER_STEPS = 50000,
};

static void *run_worker(void *context)
{
	struct clock clock = {.shared = &shared, .max_lead_ms = LEAD_MS};
	uint32_t number = (uint32_t)(uintptr_t)context;
	struct addr server = server_addr(0);

	for (uint32_t i = 1; i <= WORKER_STEPS; i++) {
		uint64_t tick = 10000000 + i / 1000;

		if (clock_publish(&clock, tick) < tick)
			return "published less than was said";
		clock_raise(&clock, tick, &server, (uint32_t)tick + 1000 + i / 10 * WORKERS + number);
		clock_raise_server(&clock, tick, &server, 20000000 + i * WORKERS + number);
		/* at once, while the others raise it: not older than its own last one */
		if (seq_after(20000000 + i * WORKERS + number, clock_syn_tsval(&clock, tick, &server, NULL)))
			return "a SYN is older than what this worker has sent";
	}
	return NULL;
}

/* What one worker sends no other takes back. */
static void test_workers_share_the_marks(void **state)
{
	pthread_t thread[WORKERS];
	void *problem;
	uint64_t tick = 10000000 + WORKER_STEPS / 1000;

	(void)state;
	clock_reset();
	for (uintptr_t i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run_worker, (void *)i), 0);
	for (int i = 0; i < WORKERS; i++) {
		assert_int_equal(pthread_join(thread[i], &problem), 0);
		if (problem)
			fail_msg("%s", (const char *)problem);
	}
	assert_int_equal(shared.published, tick);
	assert_false(seq_after(20000000 + WORKER_STEPS * WORKERS + WORKERS - 1, syn(tick, 0)));
	assert_in_range(clock_lead_ms(&clock_under_test, tick), 1000 + WORKER_STEPS / 10 * WORKERS + WORKERS - 1, LEAD_MS);
}

/* ---- P1 over random histories ---- */

struct sent {
	uint64_t tick;
	uint32_t server, tsval;
};

static struct sent history[HISTORY];
static uint32_t history_count;

static void note_sent(uint64_t tick, uint32_t server, uint32_t tsval)
{
	history[history_count++ % HISTORY] = (struct sent){.tick = tick, .server = server, .tsval = tsval};
}

static void check_p1(uint64_t tick, uint32_t server, uint32_t tsval)
{
	uint32_t count = history_count < HISTORY ? history_count : HISTORY;

	assert_int_not_equal(tsval, 0);
	assert_false(seq_after((uint32_t)tick, tsval));
	for (uint32_t i = 0; i < count; i++)
		if (history[i].server == server && tick - history[i].tick <= KNOWN_MS)
			if (seq_after(history[i].tsval, tsval))
				fail_msg("SYN %u at %llu to server %u, which got %u at %llu", tsval,
					 (unsigned long long)tick, server, history[i].tsval,
					 (unsigned long long)history[i].tick);
}

/* What a slow clock sends several times over, or anything. */
static uint32_t random_tsval(uint64_t tick, uint32_t server, uint32_t spread)
{
	for (uint32_t i = history_count; i > 0 && i + HISTORY > history_count && test_random(2); i--) {
		const struct sent *sent = &history[(i - 1) % HISTORY];

		if (sent->server == server && tick - sent->tick <= KNOWN_MS)
			return sent->tsval - 1 + test_random(3);
	}
	return (uint32_t)tick + test_random(2 * spread) - spread;
}

static uint64_t random_step(void)
{
	switch (test_random(12)) {
	case 0:
		return test_random(5000);
	case 1:
		return test_random(70000);
	case 2:
		return test_random(50) ? 0 : test_random(40) * (uint64_t)DAY_MS;
	default:
		return test_random(40);
	}
}

/*
 * TSvals of unmanaged flows lie within a quarter of the space around the clock, so that
 * "newer" has a meaning for any three of them.
 */
static void run_history(uint64_t tick, uint32_t spread)
{
	clock_reset();
	history_count = 0;
	for (int step = 0; step < 3000; step++) {
		uint32_t server = test_random(SERVERS), tsval;

		tick += random_step();
		clock_publish(&clock_under_test, tick);
		switch (test_random(4)) {
		case 0:
			tsval = random_tsval(tick, server, spread);
			raise_server(tick, server, tsval);
			note_sent(tick, server, tsval);
			break;
		case 1:
			tsval = (uint32_t)tick + 1 + test_random(test_random(2) ? spread : 3);
			raise_all(tick, server, tsval);
			note_sent(tick, server, tsval);
			break;
		default:
			tsval = syn(tick, server);
			check_p1(tick, server, tsval);
			note_sent(tick, server, tsval);
		}
		assert_true(clock_lead_ms(&clock_under_test, tick) <= LEAD_MS);
	}
}

static void test_p1_over_random_histories(void **state)
{
	(void)state;
	for (int round = 0; round < 150; round++) {
		run_history(test_random64() >> 24, 0x20000000);
		run_history(test_random64() >> 24, 100000);
		run_history(0x100000000u * (1 + test_random(3)) - test_random(200000), 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_publish_never_steps_back),
		cmocka_unit_test(test_plain_clock),
		cmocka_unit_test(test_previous_is_always_older),
		cmocka_unit_test(test_lead_is_bounded),
		cmocka_unit_test(test_raise),
		cmocka_unit_test(test_server_mark_ages),
		cmocka_unit_test(test_old_marks_do_not_count),
		cmocka_unit_test(test_mark_from_a_later_batch),
		cmocka_unit_test(test_syn_of_an_earlier_batch),
		cmocka_unit_test(test_marks_worth_keeping),
		cmocka_unit_test(test_stamped),
		cmocka_unit_test(test_workers_share_the_marks),
		cmocka_unit_test(test_p1_over_random_histories),
	};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
