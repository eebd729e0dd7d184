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

/* As the daemon saves its clock; the worker's view of it. */
static struct clock clock_of(const struct state *state)
{
	return (struct clock){.shared = state->clock, .max_lead_ms = 1000, .base = epoch_tsval_base(&state->epoch)};
}

static void save_clock(struct state *state, bool is_last)
{
	struct clock clock = clock_of(state);

	assert_int_equal(state_save_clock(state, &clock, is_last, error, sizeof(error)), 0);
}

/* All that a reboot takes away. */
static void reboot(struct state *state)
{
	char command[256];

	state_close(state);
	snprintf(command, sizeof(command), "rm -rf %s", config.runtime_dir);
	assert_int_equal(system(command), 0);
	*state = open_state();
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
	save_clock(&state, false);
	assert_in_range(state_now(&state), realtime_ms() - 1550, realtime_ms() - 1450);
	save_clock(&state, false);
	save_clock(&state, false);
	assert_in_range(state_now(&state), realtime_ms() - 50, realtime_ms() + 50);
	/* Set back while we run: we go on, a little slower. */
	state.clock_offset_ms += 5000;
	state.saved_boottime_ms -= 300000;
	save_clock(&state, false);
	assert_in_range(state_now(&state), realtime_ms() + 4650, realtime_ms() + 4750);
	save_clock(&state, false);
	assert_in_range(state_now(&state), realtime_ms() + 4600, realtime_ms() + 4750);
	state.saved_boottime_ms -= 3600000000;
	save_clock(&state, false);
	assert_in_range(state_now(&state), realtime_ms() - 50, realtime_ms() + 50);
	state_close(&state);
}

static void test_clock_never_steps_back_over_a_reboot(void **unused)
{
	struct state state = open_state();
	struct clock clock = clock_of(&state);
	struct addr server = {.byte = {1}};

	(void)unused;
	state.clock_offset_ms += 3600000; /* the time of day was an hour ahead and is right now */
	clock_raise(&clock, state_now(&state), &server, clock_tsval(&clock, state_now(&state)) + 700);
	save_clock(&state, true);
	reboot(&state);
	assert_in_range(state_now(&state), realtime_ms() + 3600000 + 700 - 60, realtime_ms() + 3600000 + 700 + 60);
	/* after a crash it is not known how far it went on */
	save_clock(&state, false);
	reboot(&state);
	assert_true(state_now(&state) >= realtime_ms() + 3600000 + 700 + STATE_SAVE_INTERVAL_MS);
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
	save_clock(&state, false);
	state_close(&state);
	state = open_state();
	assert_in_range(state_now(&state), realtime_ms() - 7199100, realtime_ms() - 7198900);
	state_close(&state);
}

/* P1 over a reboot: a server that knows a TSval far ahead of the clock gets none that is older. */
static void test_marks_survive_a_reboot(void **unused)
{
	struct state state = open_state();
	struct clock clock = clock_of(&state);
	struct addr server = {.byte = {1}}, other = {.byte = {2}};
	uint32_t ahead = clock_tsval(&clock, state_now(&state)) + 5000000;

	(void)unused;
	clock_raise_server(&clock, state_now(&state), &server, ahead);
	save_clock(&state, false);
	reboot(&state);
	clock = clock_of(&state);
	assert_in_range(clock_syn_tsval(&clock, state_now(&state), &server, NULL) - ahead, 0, 1);
	assert_in_range(clock_syn_tsval(&clock, state_now(&state), &other, NULL) - clock_tsval(&clock, state_now(&state)),
			0, 50);
	state_close(&state);
}

static size_t read_file(const char *name, char *ret_text, size_t size)
{
	char path[160];
	FILE *file;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "r");
	assert_non_null(file);
	len = fread(ret_text, 1, size - 1, file);
	ret_text[len] = '\0';
	fclose(file);
	return len;
}

/* Whatever part of the files a crash has left, and whichever byte it has spoilt: known for what it is. */
static void test_any_prefix_is_safe(void **unused)
{
	static char whole[4096], part[4096], epoch[256];
	struct state state = open_state();
	struct clock clock = clock_of(&state);
	uint64_t marks[2] = {0};
	static uint64_t all_marks[CLOCK_SERVER_SLOTS];
	struct clock_reading reading;
	uint32_t base = clock.base;
	size_t len;

	(void)unused;
	for (uint8_t i = 0; i < 3; i++)
		clock_raise_server(&clock, state_now(&state), &(struct addr){.byte = {i}},
				   clock_tsval(&clock, state_now(&state)) + 5000000);
	save_clock(&state, false);
	len = read_file("var/clock", whole, sizeof(whole));
	read_file("var/epoch", epoch, sizeof(epoch));
	assert_true(clock_file_read(state.clock_path, &reading, all_marks));
	for (size_t i = 0; i < len; i++) {
		memcpy(part, whole, len + 1);
		part[i] = '\0';
		write_file("var/clock", part);
		assert_false(clock_file_read(state.clock_path, &reading, all_marks));
		memcpy(part, whole, len + 1);
		part[i] ^= 1;
		write_file("var/clock", part);
		assert_false(clock_file_read(state.clock_path, &reading, all_marks));
		for (uint32_t slot = 0; slot < CLOCK_SERVER_SLOTS; slot++)
			marks[0] |= all_marks[slot];
	}
	assert_int_equal(marks[0], 0);
	/* an epoch that is cut off comes back from the clock file */
	for (size_t i = 0; i + 1 < strlen(epoch); i += 7) {
		write_file("var/clock", whole);
		snprintf(part, sizeof(part), "%.*s", (int)i, epoch);
		write_file("var/epoch", part);
		reboot(&state);
		assert_int_equal(epoch_tsval_base(&state.epoch), base);
		assert_true(is_there("var/epoch.aside"));
		read_file("var/epoch", part, sizeof(part));
		assert_string_equal(part, epoch);
	}
	state_close(&state);
}

/* Two gateways with a common address and a common epoch: the same clock but for their own error. */
static void test_gateways_agree(void **unused)
{
	struct state first = open_state(), second;
	struct clock one = clock_of(&first), two;
	char text[256];

	(void)unused;
	read_file("var/epoch", text, sizeof(text));
	strcat(config.runtime_dir, "2");
	strcat(config.state_dir, "2");
	second = open_state();
	two = clock_of(&second);
	assert_int_not_equal(one.base, two.base);
	state_close(&second);
	write_file("var2/epoch", text);
	second = open_state();
	two = clock_of(&second);
	assert_int_equal(one.base, two.base);
	assert_int_equal(first.clock->secret, second.clock->secret);
	assert_in_range(state_now(&second) - state_now(&first) + 20, 0, 40);
	state_close(&second);
	state_close(&first);
}

/* Marks made under another epoch are worth nothing, those of the same one stay. */
static void test_another_epoch(void **unused)
{
	struct state state = open_state();
	struct clock clock = clock_of(&state);
	struct addr server = {.byte = {1}};
	uint32_t ahead = clock_tsval(&clock, state_now(&state)) + 5000000;

	(void)unused;
	clock_raise_server(&clock, state_now(&state), &server, ahead);
	state_close(&state);
	state = open_state();
	assert_in_range(clock_syn_tsval(&clock, state_now(&state), &server, NULL) - ahead, 0, 1);
	state_close(&state);
	write_file("var/epoch", "pawsd-epoch 1\nepoch 1795564800000\nsecret 00112233445566778899aabbccddeeff\n");
	state = open_state();
	clock = clock_of(&state);
	assert_in_range(clock_syn_tsval(&clock, state_now(&state), &server, NULL) - clock_tsval(&clock, state_now(&state)),
			0, 50);
	assert_false(is_there("var/epoch.aside"));
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
	write_file("var/clock", "pawsd-clock 2\ntick 99999999999999\nrealtime 1\nlast yes\n");
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

/* A clock that was never reached, in either file, is not gone on with. */
static void test_damaged_clock_starts_afresh(void **unused)
{
	static const uint64_t damaged[] = {UINT64_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, 1ull << 52};
	struct clock_reading reading;
	struct state state;
	struct clock clock;

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

		reading = (struct clock_reading){.tick = damaged[i], .realtime_ms = 1, .epoch = state.epoch};
		clock = clock_of(&state);
		assert_int_equal(clock_file_write(state.clock_path, &reading, &clock, realtime_ms()), 0);
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
		TEST(test_marks_survive_a_reboot),
		TEST(test_any_prefix_is_safe),
		TEST(test_gateways_agree),
		TEST(test_another_epoch),
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
