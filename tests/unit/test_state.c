/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What outlives the process: locks, files set aside, flows found again, a clock that never steps back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "drain.h"
#include "flow_table.h"
#include "state.h"

enum {
	CAPACITY = 1024,
};

static char directory[] = "/tmp/pawsd-test-state-XXXXXX";
static struct config config;
static char error[1024];

static struct state open_state(void)
{
	struct state state = {.runtime_lock = -1, .state_lock = -1};

	if (state_open(&config, &state, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	return state;
}

static void write_file(const char *name, const char *text)
{
	char path[160];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static bool is_there(const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return access(path, F_OK) == 0;
}

static uint64_t realtime_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int set_up(void **state)
{
	char run[sizeof(directory) + 8], var[sizeof(directory) + 8];

	(void)state;
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(run, sizeof(run), "%s/run", directory);
	snprintf(var, sizeof(var), "%s/var", directory);
	memset(&config, 0, sizeof(config));
	strcpy(config.runtime_dir, run);
	strcpy(config.state_dir, var);
	config.rules.workers = 1;
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

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

static void test_clock_follows_the_time_of_day(void **unused)
{
	struct state state = open_state();

	(void)unused;
	assert_in_range(state_now(&state), realtime_ms() - 50, realtime_ms() + 50);
	/* Set forward while we run: we follow, but step by step, for flows age by this clock. */
	state.clock_offset_ms -= 2500;
	assert_int_equal(state_save_clock(&state, 0, error, sizeof(error)), 0);
	assert_in_range(state_now(&state), realtime_ms() - 1550, realtime_ms() - 1450);
	assert_int_equal(state_save_clock(&state, 0, error, sizeof(error)), 0);
	assert_int_equal(state_save_clock(&state, 0, error, sizeof(error)), 0);
	assert_in_range(state_now(&state), realtime_ms() - 50, realtime_ms() + 50);
	/* Set back while we run: we go on. */
	state.clock_offset_ms += 5000;
	assert_int_equal(state_save_clock(&state, 0, error, sizeof(error)), 0);
	assert_in_range(state_now(&state), realtime_ms() + 4900, realtime_ms() + 5100);
	state_close(&state);
}

static void test_clock_never_steps_back_over_a_reboot(void **unused)
{
	struct state state = open_state();
	char run[256];

	(void)unused;
	state.clock_offset_ms += 3600000; /* the time of day was an hour ahead and is right now */
	assert_int_equal(state_save_clock(&state, 700, error, sizeof(error)), 0);
	state_close(&state);
	snprintf(run, sizeof(run), "rm -rf %s", config.runtime_dir);
	assert_int_equal(system(run), 0);
	state = open_state();
	assert_true(state_now(&state) >= realtime_ms() + 3600000 + 700 - 50);
	state_close(&state);
}

static void test_clock_never_steps_back_over_a_crash(void **unused)
{
	struct state state = open_state();
	uint64_t reached = state_now(&state) + 20000;

	(void)unused;
	state.clock->published = reached;
	state_close(&state);
	state = open_state();
	assert_true(state_now(&state) >= reached);
	state_close(&state);
}

/* The time of day was set forward between two processes of one boot: flows must not age by that. */
static void test_clock_does_not_jump_over_a_restart(void **unused)
{
	struct state state = open_state();

	(void)unused;
	state.clock_offset_ms -= 7200000;
	assert_int_equal(state_save_clock(&state, 0, error, sizeof(error)), 0);
	state_close(&state);
	state = open_state();
	assert_in_range(state_now(&state), realtime_ms() - 7199100, realtime_ms() - 7198900);
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

static void test_damaged_clock_is_set_aside(void **unused)
{
	struct state state = open_state();

	(void)unused;
	state_close(&state);
	write_file("var/clock", "pawsd-clock 1 99999999999999 1 7\n");
	write_file("run/shared", "of another boot\n");
	state = open_state();
	assert_true(is_there("var/clock.aside"));
	assert_in_range(state_now(&state), realtime_ms() - 50, realtime_ms() + 1000);
	state_close(&state);
	write_file("var/clock", "pawsd-clo");
	write_file("run/shared", "of another boot\n");
	state = open_state();
	assert_in_range(state_now(&state), realtime_ms() - 50, realtime_ms() + 1000);
	state_close(&state);
}

static void test_flows_are_found_again(void **unused)
{
	struct state state = open_state();
	struct state_flows parts;

	(void)unused;
	assert_int_equal(state_map_flows(&config, 0, CAPACITY, &parts, error, sizeof(error)), 0);
	assert_false(parts.adopted);
	parts.flows[3].state = FLOW_ESTABLISHED;
	parts.flows[3].offset = 4711;
	parts.pairs[flow_table_pair_capacity(CAPACITY) - 1].count = 2;
	assert_int_equal(state_map_flows(&config, 0, CAPACITY, &parts, error, sizeof(error)), 0);
	assert_true(parts.adopted);
	assert_int_equal(parts.flows[3].offset, 4711);
	assert_int_equal(parts.pairs[flow_table_pair_capacity(CAPACITY) - 1].count, 2);

	/* Another size: not converted, but not lost either. */
	assert_int_equal(state_map_flows(&config, 0, CAPACITY * 2, &parts, error, sizeof(error)), 0);
	assert_false(parts.adopted);
	assert_int_equal(parts.flows[3].offset, 0);
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

/* A clock that was never reached, in either file, is not gone on with. */
static void test_damaged_clock_starts_afresh(void **unused)
{
	static const uint64_t damaged[] = {UINT64_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, 1ull << 52};
	struct state state;
	char text[128];

	(void)unused;
	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		state = open_state();
		state.clock->published = damaged[i];
		state_close(&state);
		state = open_state();
		assert_true(state_now(&state) - realtime_ms() + 5000 < 10000);
		*state.shared_offset_ms = damaged[i] == UINT64_MAX ? INT64_MAX : (int64_t)damaged[i];
		state_close(&state);
		state = open_state();
		assert_true(state_now(&state) - realtime_ms() + 5000 < 10000);
		state_close(&state);

		snprintf(text, sizeof(text), "pawsd-clock 1 %llu 1 %u\n", (unsigned long long)damaged[i],
			 (uint32_t)(damaged[i] ^ 1));
		write_file("var/clock", text);
		write_file("run/shared", "");
		state = open_state();
		assert_true(state_now(&state) - realtime_ms() + 5000 < 10000);
		assert_true(is_there("var/clock.aside"));
		state_close(&state);
	}
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
		TEST(test_clock_follows_the_time_of_day),
		TEST(test_clock_never_steps_back_over_a_reboot),
		TEST(test_clock_never_steps_back_over_a_crash),
		TEST(test_clock_does_not_jump_over_a_restart),
		TEST(test_flows_are_forgotten),
		TEST(test_one_directory),
		TEST(test_damaged_clock_is_set_aside),
		TEST(test_flows_are_found_again),
		TEST(test_damaged_files_are_set_aside),
		TEST(test_damaged_clock_starts_afresh),
		TEST(test_drain_set),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
