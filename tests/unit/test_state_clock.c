/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A clock that never steps back, over crash, restart and reboot, and that gateways have in common. */
#include "state_world.h"

#include <pthread.h>

#include "hash.h"

static void test_clock_follows_the_time_of_day(void **unused)
{
	struct state state = open_state();

	(void)unused;
	assert_in_range(state_now(&state), realtime_ms() - 50, realtime_ms() + 50);
	/* Set forward while we run: we follow, but step by step, for flows age by this clock. */
	state.clock_offset_ms -= 700;
	save_clock(&state, false);
	assert_in_range(state_now(&state), realtime_ms() - 500, realtime_ms() - 400);
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
	struct clock clock = clock_of(&state);
	uint64_t reached = state_now(&state) + 20000, high;
	struct addr server = {.byte = {1}};

	(void)unused;
	clock_raise(&clock, state_now(&state), &server, clock_tsval(&clock, state_now(&state)) + 700);
	high = state.clock->high;
	assert_int_not_equal(high, 0);
	state.clock->published = reached;
	state_close(&state);
	state = open_state();
	assert_true(state_now(&state) >= reached);
	assert_int_equal(state.clock->high, high);
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
	assert_in_range(state_now(&state), realtime_ms() - 7199850, realtime_ms() - 7199650);
	/* No faster than that a mark is still there when a server's 60 seconds are over. */
	assert_true(60000 * (STATE_SAVE_INTERVAL_MS + 250) / STATE_SAVE_INTERVAL_MS <= CLOCK_MARK_AGE_MS);
	state_close(&state);
}

/* Nor where the file with the running clock is lost: the clock file knows the boot. */
static void test_clock_does_not_jump_without_shared(void **unused)
{
	struct state state = open_state();

	(void)unused;
	state.clock_offset_ms -= 7200000;
	save_clock(&state, false);
	state_close(&state);
	write_file("run/shared", "of another version");
	state = open_state();
	assert_in_range(state_now(&state), realtime_ms() - 7199850, realtime_ms() - 7199000);
	state_close(&state);
}

/* Whichever bit of the running clock is another: no jump that would expire flows, or make SYNs look old. */
static void test_damaged_bits_of_the_clock(void **unused)
{
	struct state state = open_state();

	(void)unused;
	state.clock_offset_ms -= 7200000;
	save_clock(&state, false);
	for (int bit = 0; bit < 64; bit++) {
		for (int which = 0; which < 2; which++) {
			uint64_t now = state_now(&state);

			clock_publish(&(struct clock){.shared = state.clock}, now);
			if (which)
				state.clock->published ^= 1ull << bit;
			else
				*state.shared_offset_ms ^= (int64_t)(1ull << bit);
			state_close(&state);
			state = open_state();
			/* a minute is within doubt */
			assert_in_range(state_now(&state) + 500, now, now + 62000);
			state_close(&state);
			write_file("run/shared", "");
			state = open_state();
		}
	}
	state_close(&state);
}

/* A clock file of the version before this one: read, but it does not know whose boot it was. */
static void test_clock_file_of_version_2(void **unused)
{
	static uint64_t marks[CLOCK_SERVER_SLOTS];
	struct state state = open_state();
	struct clock_reading reading;
	char text[512], sum[32];

	(void)unused;
	snprintf(text, sizeof(text), "pawsd-clock 2\ntick 1795564801234\nrealtime 1795564801230\nlast yes\nepoch 1795564800000\n"
				     "secret 00112233445566778899aabbccddeeff\nmark 7 5 9\n");
	snprintf(sum, sizeof(sum), "sum %016llx\n", (unsigned long long)hash_text(text, strlen(text)));
	strcat(text, sum);
	write_file("var/clock", text);
	assert_true(clock_file_read(state.clock_path, &reading, marks));
	assert_int_equal(reading.tick, 1795564801234);
	assert_int_equal(reading.boot_id[0], 0);
	assert_int_equal(marks[7], 5ull << 32 | 9);
	state_close(&state);
}

/* A byte of the epoch in the mapped file: the one in the clock file has been in force, and its marks stay. */
static void test_damaged_epoch_in_shared(void **unused)
{
	struct state state = open_state();
	struct clock clock = clock_of(&state);
	struct addr server = {.byte = {1}};
	uint32_t ahead = clock_tsval(&clock, state_now(&state)) + 5000000;
	uint8_t *secret;

	(void)unused;
	clock_raise_server(&clock, state_now(&state), &server, ahead);
	save_clock(&state, false);
	/* it lies behind the pointers into the file, and before the clock */
	secret = memmem(state.rules_digest, (size_t)((uint8_t *)state.clock - (uint8_t *)state.rules_digest),
			state.epoch.secret, sizeof(state.epoch.secret));
	assert_non_null(secret);
	secret[3] ^= 0x10;
	state.clock->secret ^= 1;
	state_close(&state);
	state = open_state();
	clock = clock_of(&state);
	assert_in_range(clock_syn_tsval(&clock, state_now(&state), &server, NULL) - ahead, 0, 1);
	state_close(&state);
}

/* Whatever a damaged byte says, new connections are rewritten. */
static void test_draining_survives_but_is_not_made_up(void **unused)
{
	struct state state = open_state();

	(void)unused;
	assert_false(state_is_draining(&state));
	for (size_t i = 0; i < sizeof(*state.draining); i++) {
		for (unsigned byte = 0; byte <= UINT8_MAX; byte++) {
			state_set_draining(&state, false);
			((uint8_t *)state.draining)[i] = (uint8_t)byte;
			assert_false(state_is_draining(&state));
		}
	}
	state_set_draining(&state, true);
	state_close(&state);
	state = open_state();
	assert_true(state_is_draining(&state));
	state_set_draining(&state, false);
	state_close(&state);
	state = open_state();
	assert_false(state_is_draining(&state));
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

/* A clock that was never reached, in either file, is not gone on with. */
static void test_damaged_clock_starts_afresh(void **unused)
{
	static const uint64_t damaged[] = {UINT64_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, 1ull << 52};
	size_t len;
	char *text;
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
		text = clock_file_text(&reading, &clock, realtime_ms(), &len);
		assert_non_null(text);
		assert_int_equal(clock_file_store(state.clock_path, text, len), 0);
		free(text);
		write_file("run/shared", "");
		state = open_state();
		assert_true(state_now(&state) - realtime_ms() + 5000 < 10000);
		assert_true(is_there("var/clock.aside"));
		state_close(&state);
	}
}

static struct clock_shared in_kernel;
static uint64_t raised[CLOCK_SERVER_SLOTS];
static uint32_t rounds;
static bool is_over;

/* As the kernel's programs, which go on without the process. */
static void *raise_marks(void *unused)
{
	while (!atomic_load(&is_over)) {
		for (uint32_t slot = 0; slot < CLOCK_SERVER_SLOTS; slot++) {
			uint64_t before = atomic_load(&in_kernel.server[slot]);

			raised[slot] += atomic_exchange_if(&in_kernel.server[slot], &before, before + 1);
		}
		atomic_store(&rounds, rounds + 1);
	}
	return unused;
}

/* Another process has the marks that programs are raising: what these have raised stays. */
static void test_marks_raised_while_they_are_taken_over(void **unused)
{
	struct state state = open_state();
	struct clock_shared *own = state.clock;
	const uint64_t published = own->published;
	pthread_t thread;

	(void)unused;
	state_move_clock(&state, &in_kernel, false);
	assert_ptr_equal(state.clock, &in_kernel);
	assert_int_equal(pthread_create(&thread, NULL, raise_marks, NULL), 0);
	for (uint64_t later = 1; atomic_load(&rounds) < 100; later++) {
		state.clock = own;
		own->published = published + later;
		state_move_clock(&state, &in_kernel, true);
		assert_int_equal(in_kernel.published, published + later);
	}
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
	assert_memory_equal(in_kernel.server, raised, sizeof(raised));
	/* Those of another epoch are no marks. */
	state.clock = own;
	memset(own->server, 0, sizeof(own->server));
	in_kernel.secret++;
	state_move_clock(&state, &in_kernel, true);
	assert_memory_equal(&in_kernel, own, sizeof(in_kernel));
	state_close(&state);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_clock_follows_the_time_of_day),
		TEST(test_clock_never_steps_back_over_a_reboot),
		TEST(test_clock_never_steps_back_over_a_crash),
		TEST(test_clock_does_not_jump_over_a_restart),
		TEST(test_clock_does_not_jump_without_shared),
		TEST(test_damaged_bits_of_the_clock),
		TEST(test_clock_file_of_version_2),
		TEST(test_damaged_epoch_in_shared),
		TEST(test_draining_survives_but_is_not_made_up),
		TEST(test_marks_survive_a_reboot),
		TEST(test_any_prefix_is_safe),
		TEST(test_gateways_agree),
		TEST(test_another_epoch),
		TEST(test_damaged_clock_is_set_aside),
		TEST(test_damaged_clock_starts_afresh),
		TEST(test_marks_raised_while_they_are_taken_over),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
