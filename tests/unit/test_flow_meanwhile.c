/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What another processor changes in a flow in the very moment in which it is changed here: the other's turn comes where that could
 * be. test_flow_word.c leaves it to chance when.
 */
#include "atomic.h"

#include <stddef.h>

static uint64_t others_bits;

#undef atomic_or
#undef atomic_and
#define atomic_or(at, bits) (*(at) |= others_bits, (void)__atomic_fetch_or(at, bits, __ATOMIC_RELAXED))
#define atomic_and(at, bits) (*(at) |= others_bits, (void)__atomic_fetch_and(at, bits, __ATOMIC_RELAXED))
#include "flow.h"

#include "core_test.h"
#include "policy.h"

static uint32_t *changed_at, changed_to;

/* Somebody else's turn comes right behind the look. */
static uint32_t look(uint32_t *at)
{
	uint32_t seen = __atomic_load_n(at, __ATOMIC_RELAXED);

	if (at == changed_at)
		*at = changed_to;
	changed_at = NULL;
	return seen;
}

#undef atomic_load
#define atomic_load(at) look(at)
#include "../src/core/flow_next.c"

static void raise_to(uint32_t high, uint32_t tsval, uint32_t others, uint32_t expected)
{
	struct flow flow = {.tsval_high = high};

	changed_at = &flow.tsval_high;
	changed_to = others;
	flow_raise(&flow, tsval);
	assert_null(changed_at);
	assert_int_equal(flow.tsval_high, expected);
}

static void test_others_are_newer(void **state)
{
	(void)state;
	raise_to(100, 200, 300, 300);
	raise_to(UINT32_MAX - 5, UINT32_MAX, 3, 3);
}

static void test_others_are_older(void **state)
{
	(void)state;
	raise_to(100, 200, 150, 200);
	raise_to(100, 200, 200, 200);
	raise_to(UINT32_MAX - 5, 3, UINT32_MAX, 3);
}

static void test_nothing_to_raise(void **state)
{
	(void)state;
	raise_to(300, 200, 400, 400);
	raise_to(200, 200, 200, 200);
}

static void test_others_set_flags(void **state)
{
	struct flow flow = {.mode = MODE_REWRITE, .state = FLOW_ESTABLISHED, .flags = FLOW_STAMPED};

	(void)state;
	others_bits = (struct flow){.flags = FLOW_WENT_BACK}.word;
	flow_leave_alone(&flow);
	assert_int_equal(flow.mode, MODE_OFF);
	assert_int_equal(flow.flags, FLOW_STAMPED | FLOW_WENT_BACK);
	others_bits = (struct flow){.flags = FLOW_ANSWERED}.word;
	flow_clear_flags(&flow, FLOW_STAMPED);
	assert_int_equal(flow.flags, FLOW_ANSWERED | FLOW_WENT_BACK);
	others_bits = (struct flow){.flags = FLOW_HAS_LIVED}.word;
	flow_set_flags(&flow, FLOW_STAMPED);
	assert_int_equal(flow.flags, FLOW_STAMPED | FLOW_ANSWERED | FLOW_WENT_BACK | FLOW_HAS_LIVED);
	assert_int_equal(flow.state, FLOW_ESTABLISHED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_others_are_newer),
		cmocka_unit_test(test_others_are_older),
		cmocka_unit_test(test_nothing_to_raise),
		cmocka_unit_test(test_others_set_flags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
