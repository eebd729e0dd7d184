/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What outlives the process: locks, files set aside, flows found again. */
#include "state_world.h"

#include "drain.h"

static void test_second_daemon_is_refused(void **unused)
{
	struct state first = open_state(), second = {.runtime_lock = -1, .state_lock = -1};
	char pid[32];

	(void)unused;
	assert_int_equal(state_open(&config, &second, error, sizeof(error)), -1);
	snprintf(pid, sizeof(pid), "process %d", getpid());
	assert_non_null(strstr(error, "runtime_dir"));
	assert_non_null(strstr(error, pid));
	state_close(&second);

	/* Only the state directory in common. */
	second = (struct state){.runtime_lock = -1, .state_lock = -1};
	strcat(config.runtime_dir, "2");
	assert_int_equal(state_open(&config, &second, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "state_dir"));
	state_close(&second);
	state_close(&first);
}

static void test_directory_that_cannot_be(void **unused)
{
	struct state state = {.runtime_lock = -1, .state_lock = -1};

	(void)unused;
	strcpy(config.runtime_dir, "/proc/nothing/here");
	assert_int_equal(state_open(&config, &state, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "[daemon] runtime_dir = /proc/nothing/here"));
	state_close(&state);
}

static void test_flows_are_forgotten(void **unused)
{
	struct state state = open_state();
	struct state_flows parts;

	(void)unused;
	assert_int_equal(state_map_flows(&config, 0, CAPACITY, &parts, error, sizeof(error)), 0);
	state_forget_flows(&config);
	assert_false(is_there("run/flows.0"));
	assert_true(is_there("run/shared"));
	state_close(&state);
}

/* One directory for both, in two spellings. */
static void test_one_directory(void **unused)
{
	struct state state;

	(void)unused;
	strcpy(config.state_dir, config.runtime_dir);
	strcat(config.state_dir, "/");
	state = open_state();
	state_close(&state);
}

static void test_flows_are_found_again(void **unused)
{
	struct state state = open_state();
	struct state_flows parts;

	(void)unused;
	assert_int_equal(state_map_flows(&config, 0, CAPACITY, &parts, error, sizeof(error)), 0);
	assert_false(parts.adopted);
	((struct flow *)parts.kept)[3].state = FLOW_ESTABLISHED;
	((struct flow *)parts.kept)[3].offset = 4711;
	((uint8_t *)parts.kept)[flow_table_kept_bytes(CAPACITY) - 1] = 2;
	assert_int_equal(state_map_flows(&config, 0, CAPACITY, &parts, error, sizeof(error)), 0);
	assert_true(parts.adopted);
	assert_int_equal(((struct flow *)parts.kept)[3].offset, 4711);
	assert_int_equal(((uint8_t *)parts.kept)[flow_table_kept_bytes(CAPACITY) - 1], 2);

	/* Another size: not converted, but not lost either. */
	assert_int_equal(state_map_flows(&config, 0, CAPACITY * 2, &parts, error, sizeof(error)), 0);
	assert_false(parts.adopted);
	assert_int_equal(((struct flow *)parts.kept)[3].offset, 0);
	assert_true(is_there("run/flows.0.aside"));
	state_close(&state);
}

static void test_damaged_files_are_set_aside(void **unused)
{
	struct state state = open_state();
	struct state_flows parts;

	(void)unused;
	state_close(&state);
	write_file("run/shared", "rubbish");
	write_file("run/flows.0", "");
	state = open_state();
	assert_int_equal(state_map_flows(&config, 0, CAPACITY, &parts, error, sizeof(error)), 0);
	assert_true(is_there("run/shared.aside"));
	assert_true(is_there("run/flows.0.aside"));
	assert_int_equal(state.old_names.count, 2);
	state_close(&state);
}

static void test_drain_set(void **unused)
{
	struct drain_set a, b;
	struct addr server = {.byte = {1}};

	(void)unused;
	assert_true(drain_set_open(&a) && drain_set_open(&b));
	assert_true(drain_set_equal(&a, &b));
	for (uint32_t i = 0; i < DRAIN_MAX + 10; i++) {
		server.byte[14] = (uint8_t)(i >> 8);
		server.byte[15] = (uint8_t)i;
		drain_set_add(&a, &server, (uint16_t)(443 + i / 65536));
		drain_set_add(&a, &server, (uint16_t)(443 + i / 65536));
	}
	assert_int_equal(a.count, DRAIN_MAX);
	assert_true(a.overflow);
	for (uint32_t i = DRAIN_MAX; i-- > 0;)
		drain_set_add(&b, &a.entries[i].server, a.entries[i].port);
	assert_true(drain_set_equal(&a, &b));
	assert_false(b.overflow);
	drain_set_close(&b);
	assert_true(drain_set_open(&b));
	drain_set_add(&b, &server, 443);
	assert_false(drain_set_equal(&a, &b));
	drain_set_close(&a);
	drain_set_close(&b);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_second_daemon_is_refused),
		TEST(test_directory_that_cannot_be),
		TEST(test_flows_are_forgotten),
		TEST(test_one_directory),
		TEST(test_flows_are_found_again),
		TEST(test_damaged_files_are_set_aside),
		TEST(test_drain_set),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
