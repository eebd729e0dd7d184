/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Servers that answer nobody: what is no evidence, and what is once they answer again. */
#include "diagnosis_world.h"

enum {
	TRIALS = 400,
};

static void test_dead_after_a_while(void **state)
{
	uint32_t found[CONFIDENCE_COUNT] = {0};

	(void)state;
	for (uint32_t trial = 0; trial < TRIALS; trial++) {
		forget();
		for (uint32_t i = 0; i < 20; i++)
			connects(1, (uint32_t)test_random64() | 1);
		for (uint32_t i = 0; i < 20; i++)
			fails(1, (uint32_t)test_random64() | 1, 2);
		finish();
		found[judge(1, FINDING_RECYCLE)]++;
	}
	assert_int_equal(found[CONFIDENCE_NONE], TRIALS);
}

/*
 * What a server may remember only grows, so that some clients' SYNs are newer before it dies and older after that: by clients
 * that looks as if it parted them.
 */
static void test_dead_for_known_clients(void **state)
{
	enum { CLIENTS = 24 };
	uint32_t offsets[CLIENTS], found[CONFIDENCE_COUNT] = {0};

	(void)state;
	for (uint32_t trial = 0; trial < TRIALS; trial++) {
		forget();
		for (uint32_t i = 0; i < 2 * CLIENTS; i++) {
			try_client = i % CLIENTS;
			if (i < CLIENTS)
				connects(1, offsets[i] = (uint32_t)test_random64() | 1);
			else
				fails(1, offsets[try_client] + (uint32_t)(tick - START), 2);
		}
		try_client = 0;
		finish();
		assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 0);
		assert_int_equal(server_at(1)->signs[SIGN_SILENT] + diagnosis_newer(server_at(1), 0), CLIENTS);
		found[judge(1, FINDING_RECYCLE)]++;
	}
	assert_int_equal(found[CONFIDENCE_NONE], TRIALS);
}

/* A SYN without an answer, and one of anybody that has one `ms` later: whether the first has been dropped. */
static bool is_evidence_after(uint64_t ms)
{
	bool is_counted;

	forget();
	connects(1, 5000000);
	fails(1, 1000000, 2); /* the second a second before */
	tick += ms - 1000 - 10;
	connects(1, 5300000);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 0); /* is looked at once a second */
	finish();
	is_counted = server_at(1)->syns[SYN_OLDER][0];
	assert_int_equal(server_at(1)->signs[SIGN_SILENT], !is_counted);
	assert_int_equal(server_at(1)->examples[FINDING_RECYCLE][0].tsval, is_counted ? 1000000 : 0);
	return is_counted;
}

/* The server has dropped it if it lives, and if it may remember for so long. */
static void test_alive_soon_enough(void **state)
{
	(void)state;
	assert_true(is_evidence_after(1500));
	assert_true(is_evidence_after(61000));
	assert_false(is_evidence_after(61001));
	assert_false(is_evidence_after(100000));
}

/* Nothing more is heard: the last ones may have been dropped, unless a newer one has had no answer either. */
static void test_quiet_in_the_end(void **state)
{
	(void)state;
	connects(1, 5000000);
	fails(1, 1000000, 2);
	finish();
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 1);
	forget();
	connects(1, 5000000);
	fails(1, 1000000, 2);
	fails(1, 5010000, 2);
	fails(1, 1000000, 2);
	finish();
	assert_int_equal(diagnosis_newer(server_at(1), 0), 1);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 0);
	assert_int_equal(server_at(1)->signs[SIGN_SILENT], 2);
	/* A running pawsd comes to the same, once the client has given up. */
	forget();
	connects(1, 5000000);
	fails(1, 1000000, 2);
	for (uint32_t second = 0; second < 127; second++)
		diagnosis_advance(&diagnosis, tick += 1000);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 0);
	for (uint32_t second = 0; second < 5; second++)
		diagnosis_advance(&diagnosis, tick += 1000);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 1);
}

/* Of many servers at once: the attempts of one are no evidence about another. */
static void test_each_server_by_itself(void **state)
{
	(void)state;
	connects(1, 5000000);
	connects(2, 5000000);
	fails(1, 1000000, 2);
	fails(1, 5010000, 2);
	fails(2, 1000000, 2);
	connects(2, 5020000);
	finish();
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 0);
	assert_int_equal(server_at(2)->syns[SYN_OLDER][0], 1);
}

/* Nobody else is served; but as all is forgotten the very SYN is, which shows that the server lives. */
static void test_answered_after_all(void **state)
{
	static const uint32_t seconds[] = {1, 3, 7, 15, 31};
	struct endpoints ends;
	const struct example *example;

	(void)state;
	connects(1, 5000000);
	ends = ends_of(1);
	isn = 12345;
	for (uint32_t i = 0; i < 5; i++) {
		syn(&ends, 1000 * seconds[i]);
		tick += 1000ull << i;
		diagnosis_advance(&diagnosis, tick);
	}
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 0);
	assert_int_equal(server_at(1)->signs[SIGN_SILENT], 1);
	tick += 35000;
	syn(&ends, 63000);
	tick += 10;
	synack(&ends, 63000);
	assert_int_equal(server_at(1)->syns[SYN_PLAIN][1], 2);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 1);
	assert_int_equal(server_at(1)->signs[SIGN_SILENT], 0);
	/* The example is the SYN that was dropped, not the last. */
	example = &server_at(1)->examples[FINDING_RECYCLE][0];
	assert_int_equal(example->tsval, 1000);
	assert_int_equal(example->other, 5000010);
	assert_int_equal(example->tick, START + 10);
	assert_int_equal(example->syn, 4);
}

static void never_told(void *context, enum finding finding, const struct example *example, bool is_taken_back)
{
	(void)context;
	(void)finding;
	(void)example;
	fail_msg("told of evidence%s", is_taken_back ? " that is taken back" : "");
}

/* A late answer to the very SYN: neither silent nor dropped. */
static void test_not_silent_after_all(void **state)
{
	struct endpoints ends;

	(void)state;
	diagnosis.on_evidence = never_told;
	connects(1, 5000000);
	ends = ends_of(1);
	isn = 12345;
	syn(&ends, 1000);
	tick += 3500;
	diagnosis_advance(&diagnosis, tick);
	assert_int_equal(server_at(1)->signs[SIGN_SILENT], 1);
	synack(&ends, 1000);
	connects(1, 5010000);
	finish();
	assert_int_equal(server_at(1)->signs[SIGN_SILENT], 0);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 0);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][1], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_dead_after_a_while, begin),
		cmocka_unit_test_setup(test_dead_for_known_clients, begin),
		cmocka_unit_test_setup(test_alive_soon_enough, begin),
		cmocka_unit_test_setup(test_quiet_in_the_end, begin),
		cmocka_unit_test_setup(test_each_server_by_itself, begin),
		cmocka_unit_test_setup(test_answered_after_all, begin),
		cmocka_unit_test_setup(test_not_silent_after_all, begin),
	};

	return cmocka_run_group_tests_name("diagnosis, silent servers", tests, test_random_setup, NULL);
}
