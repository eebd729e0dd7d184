/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Events of several rings are taken in the order in which things happened. */
#include "core_test.h"

#include "watch.h"

enum {
	RINGS = 3,
	TICK = 5000,
};

static struct watch watch;
static struct event_ring rings[RINGS]; /* of the kernel's programs */

static int begin(void **state)
{
	(void)state;
	memset(rings, 0, sizeof(rings));
	if (!watch_open(&watch, 1, false))
		return -1;
	watch_add_rings(&watch, rings, RINGS);
	return 0;
}

static int end(void **state)
{
	(void)state;
	watch_close(&watch);
	return 0;
}

static void push(struct event_ring *ring, uint64_t tick, uint64_t serial, uint8_t tcp_flags)
{
	event_push(ring, &(struct event){.tick = tick, .serial = serial, .tcp_flags = tcp_flags, .reason = REASON_SYN_REWRITTEN});
}

static void check_told(const uint8_t *tcp_flags, uint32_t count)
{
	watch_take(&watch, TICK + 10);
	assert_int_equal(watch.told_count, count);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(watch.told[i].event.tcp_flags, tcp_flags[i]);
}

static void test_by_tick(void **state)
{
	(void)state;
	push(&rings[0], TICK + 2, 3, 3);
	push(&rings[1], TICK, 9, 1);
	push(&rings[2], TICK + 1, 1, 2);
	check_told((uint8_t[]){1, 2, 3}, 3);
}

/* A SYN and what answers it within the millisecond, on other processors. */
static void test_within_a_tick(void **state)
{
	(void)state;
	push(&rings[2], TICK, 10, 1);
	push(&rings[0], TICK, 20, 2);
	push(&rings[1], TICK, 30, 3);
	push(&rings[0], TICK, 40, 4);
	check_told((uint8_t[]){1, 2, 3, 4}, 4);
}

/* What the worker tells has no such number. */
static void test_worker(void **state)
{
	(void)state;
	push(&rings[0], TICK, 10, 2);
	push(&watch.rings[0], TICK, 99, 1);
	push(&watch.rings[0], TICK + 1, 100, 3);
	check_told((uint8_t[]){1, 2, 3}, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_by_tick, begin, end),
		cmocka_unit_test_setup_teardown(test_within_a_tick, begin, end),
		cmocka_unit_test_setup_teardown(test_worker, begin, end),
	};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
