/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verdicts about servers from what is told of their handshakes: the right one for each failure, and none for what only looks like it. */
#include "diagnosis_world.h"

enum {
	TRIALS = 400,
};

/* ---- tw_recycle ---- */

static void test_recycle(void **state)
{
	uint32_t newest = 0xfffff000u; /* the TSvals wrap around in the midst of it */

	(void)state;
	for (int i = 0; i < 10; i++) {
		connects(1, newest);
		fails(1, newest - 500000000u, 3);
		newest += 4000;
	}
	connects(1, newest);
	finish();
	assert_int_equal(judge(1, FINDING_RECYCLE), CONFIDENCE_CERTAIN);
	assert_int_equal(judge(1, FINDING_RECYCLE_BARE), CONFIDENCE_NONE);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 10);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][1], 0);
	assert_int_equal(server_at(1)->signs[SIGN_SILENT], 0);
	assert_int_equal(diagnosis_newer(server_at(1), 1), 10); /* the first met no stamp */
	assert_int_equal(server_at(1)->syns[SYN_PLAIN][1], 1);
}

static void test_few_are_no_proof(void **state)
{
	(void)state;
	connects(1, 5000000);
	fails(1, 1000000, 3);
	fails(1, 1000000, 3);
	connects(1, 5020000);
	finish();
	nothing_found(1);
	/* Three and three: chance does that once in twenty times. */
	forget();
	for (uint32_t i = 0; i < 4; i++) {
		connects(1, 5000000 + i * 10000);
		if (i < 3)
			fails(1, 1000000, 3);
	}
	finish();
	assert_int_equal(judge(1, FINDING_RECYCLE), CONFIDENCE_NONE);
}

/* However seldom chance does it: two are an accident. */
static void test_two_are_no_proof(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 40; i++)
		connects(1, 5000000 + (uint32_t)tick);
	fails(1, 1000000, 3);
	fails(1, 1000000, 3);
	connects(1, 5000000 + (uint32_t)tick); /* the client is served */
	finish();
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 2);
	nothing_found(1);
}

/* What is older than what the server remembers does not take its place. */
static void test_older_stamp(void **state)
{
	(void)state;
	connects(1, 9000000);
	connects(1, 1000000);
	fails(1, 5000000, 1);
	connects(1, 9020000);
	finish();
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 1);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][1], 1);
}

/* Older SYNs are answered as well as newer ones: a server of today. */
static void test_healthy(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		connects(1, (uint32_t)test_random64() | 1);
	finish();
	nothing_found(1);
	assert_true(server_at(1)->syns[SYN_OLDER][1] > 10);
}

/* What is so is found as seldom as it says; with room enough that this here is not mere chance. */
static void check_found_by_chance(const char *what, const uint32_t found[CONFIDENCE_COUNT])
{
	print_message("# of %d %s: %u possible, %u likely, %u certain\n", TRIALS, what, found[CONFIDENCE_POSSIBLE],
		      found[CONFIDENCE_LIKELY], found[CONFIDENCE_CERTAIN]);
	assert_true(found[CONFIDENCE_POSSIBLE] <= TRIALS / 20);
	assert_true(found[CONFIDENCE_LIKELY] <= TRIALS / 50);
	assert_true(found[CONFIDENCE_CERTAIN] <= 2);
}

static void test_one_host_alone_is_never_older(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 50; i++) {
		uint32_t tsval = (uint32_t)tick;

		if (i % 3 == 2)
			fails(1, tsval, 2);
		else
			connects(1, tsval);
	}
	finish();
	nothing_found(1);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0] + server_at(1)->syns[SYN_OLDER][1], 0);
}

/* A network that loses `percent` of connects whatever their TSval; how many are called tw_recycle, and how sure. */
static void test_loss_is_not_recycle(void **state)
{
	static const uint32_t percents[] = {2, 10, 30, 60};
	uint32_t found[CONFIDENCE_COUNT] = {0};

	(void)state;
	for (uint32_t trial = 0; trial < TRIALS; trial++) {
		uint32_t percent = percents[trial % 4];

		forget();
		for (uint32_t i = 0; i < 60; i++) {
			uint32_t tsval = (uint32_t)test_random64() | 1;

			if (test_random(100) < percent)
				fails(1, tsval, 1);
			else
				connects(1, tsval);
		}
		finish();
		found[judge(1, FINDING_RECYCLE)]++;
	}
	check_found_by_chance("lossy networks", found);
}

static void test_stamp_is_forgotten(void **state)
{
	(void)state;
	connects(1, 5000000);
	tick += 58000;
	fails(1, 1000000, 1);
	assert_non_null(server_at(1));
	tick += 10000;
	fails(1, 1000000, 1);
	connects(1, 5000000);
	finish();
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 1);
	assert_int_equal(server_at(1)->syns[SYN_PLAIN][0], 1);
	/* Between 59 and 61 s nobody can tell. */
	forget();
	connects(1, 5000000);
	tick += 59990;
	fails(1, 1000000, 1);
	connects(1, 5100000);
	finish();
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 0);
	assert_int_equal(server_at(1)->syns[SYN_PLAIN][0], 0);
}

/* One tick behind is not older yet. */
static void test_one_behind(void **state)
{
	(void)state;
	connects(1, 5000000); /* remembered: 5000010 */
	fails(1, 5000009, 1);
	fails(1, 5000008, 1);
	connects(1, 5010000);
	finish();
	assert_int_equal(diagnosis_newer(server_at(1), 0), 1);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 1);
}

/* A path of two seconds: each SYN is answered, after it was sent again. */
static void test_late_answers(void **state)
{
	const struct endpoints first = ends_of(1);

	(void)state;
	isn = 1;
	connects(1, 5000000);
	for (uint32_t i = 0; i < 10; i++) {
		const struct endpoints ends = i ? ends_of(1) : first;

		isn = (uint32_t)test_random64();
		syn(&ends, 1000000);
		tick += 1000;
		syn(&ends, 1001000);
		tick += 1000;
		synack(&ends, 1000000);
	}
	finish();
	nothing_found(1);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], 0);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][1], 10);
	for (uint32_t i = 0; i < DIAGNOSIS_EXAMPLES; i++)
		assert_int_equal(server_at(1)->examples[FINDING_RECYCLE][i].tick, 0);
}

static void test_bare(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 10; i++) {
		connects(1, 5000000 + (uint32_t)tick);
		fails(1, 0, 3);
	}
	finish();
	assert_int_equal(judge(1, FINDING_RECYCLE_BARE), CONFIDENCE_CERTAIN);
	assert_int_equal(judge(1, FINDING_RECYCLE), CONFIDENCE_NONE);
	/* Answered, as by Linux 2.6.32 and whatever has no tw_recycle. */
	forget();
	for (uint32_t i = 0; i < 8; i++) {
		connects(1, 5000000 + (uint32_t)tick);
		connects(1, 0);
	}
	finish();
	nothing_found(1);
}

/* However large the numbers are, and however far apart. */
static void test_large_counts(void **state)
{
	static const uint32_t cases[][4] = {{10, 0, 0, 400}, {10, 0, 0, 4000}, {20, 0, 0, 20000}, {2000, 0, 0, 6}, {8640, 0, 0, 20},
					    {100000, 1000, 1000, 4000000}, {UINT32_MAX, 0, 0, UINT32_MAX}};
	struct server_evidence evidence;
	double chance;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&evidence, 0, sizeof(evidence));
		memcpy(evidence.syns[SYN_OLDER], cases[i], 2 * sizeof(uint32_t));
		memcpy(evidence.syns[SYN_NEWER], &cases[i][2], 2 * sizeof(uint32_t));
		assert_int_equal(diagnosis_judge(&evidence, FINDING_RECYCLE, &chance), CONFIDENCE_CERTAIN);
	}
	/* By the binomials themselves: 1 of C(23, 10). */
	memset(&evidence, 0, sizeof(evidence));
	evidence.syns[SYN_OLDER][0] = 10;
	evidence.syns[SYN_NEWER][1] = 13;
	diagnosis_judge(&evidence, FINDING_RECYCLE, &chance);
	assert_true(chance > 0.999 / 1144066 && chance < 1.001 / 1144066);
}

/* A filtered port, tried by those who happen to be behind. */
static void test_filtered_port(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 20; i++) {
		connects(1, 5000000 + (uint32_t)tick);
		try_port = 445;
		fails(1, i % 2 ? 0 : 1000000, 2);
		try_port = 443;
	}
	finish();
	for (size_t i = 0; i < DIAGNOSIS_SERVERS; i++) {
		double chance;

		for (enum finding finding = 0; diagnosis.servers[i].last_tick && finding < FINDING_COUNT; finding++)
			assert_int_equal(diagnosis_judge(&diagnosis.servers[i], finding, &chance), CONFIDENCE_NONE);
	}
}

/* One client that is never served, and happens to be behind, or to have no timestamps. Of several it is another matter. */
static void test_filtered_client(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 40; i++) {
		try_client = 1 + i % 10;
		connects(1, 5000000 + (uint32_t)tick);
		try_client = 99;
		fails(1, i % 2 ? 0 : 1000000, 2);
	}
	try_client = 0;
	finish();
	nothing_found(1);
	forget();
	for (uint32_t i = 0; i < 40; i++) {
		try_client = 1 + i % 10;
		connects(1, 5000000 + (uint32_t)tick);
		try_client = 100 + i % 8;
		fails(1, 1000000, 2);
	}
	try_client = 0;
	finish();
	assert_true(judge(1, FINDING_RECYCLE) >= CONFIDENCE_LIKELY);
}

/* Clients that were served, first while nothing was remembered, then though they are behind, or bare, and are cut off. */
static void test_cut_off(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 8; i++) {
		struct endpoints ends;

		try_client = 10 + i;
		ends = ends_of(1);
		isn = i;
		syn(&ends, 1000000);
		synack(&ends, 1000000);
	}
	for (uint32_t i = 0; i < 200; i++) {
		try_client = i % 20 < 10 ? i % 20 : 0;
		connects(1, 5000000 + (uint32_t)tick);
		try_client = 10 + i % 8;
		if (i < 40)
			connects(1, try_client % 3 ? 1000000 : 0);
		else
			fails(1, try_client % 3 ? 1000000 : 0, 2);
	}
	try_client = 0;
	finish();
	nothing_found(1);
	assert_true(server_at(1)->syns[SYN_OLDER][0] > 3 * server_at(1)->syns[SYN_OLDER][1]);
}

/* Clients whose way loses most, and that are always behind: what comes through is of the same kind. */
static void test_lossy_way(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 160; i++) {
		try_client = i % 10;
		connects(1, 5000000 + (uint32_t)tick);
		try_client = 10 + i % 8;
		if (i / 8 % 4 == 3)
			connects(1, 1000000);
		else
			fails(1, 1000000, 2);
	}
	try_client = 0;
	finish();
	nothing_found(1);
	assert_true(server_at(1)->syns[SYN_OLDER][0] > 2 * server_at(1)->syns[SYN_OLDER][1]);
}

/* Single SYNs without timestamps, of one client that is served as well, and of many that are not. */
static void test_flood(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 300; i++) {
		try_client = i % 3;
		connects(1, 5000000 + (uint32_t)tick);
		try_client = i % 2 ? 0 : 100 + i;
		fails(1, 0, 1);
	}
	try_client = 0;
	finish();
	nothing_found(1);
	assert_int_equal(server_at(1)->syns[SYN_BARE][0], 0);
}

static enum confidence judge_counts(const uint32_t counts[static 6])
{
	struct server_evidence evidence;
	double chance;

	memset(&evidence, 0, sizeof(evidence));
	memcpy(evidence.syns[SYN_OLDER], counts, 2 * sizeof(uint32_t));
	memcpy(evidence.syns[SYN_NEWER], counts + 2, 2 * sizeof(uint32_t));
	memcpy(evidence.syns[SYN_MEANWHILE], counts + 4, 2 * sizeof(uint32_t));
	return diagnosis_judge(&evidence, FINDING_RECYCLE, &chance);
}

/* Whatever chance says: what drops newer ones as well is something else, all the time or meanwhile. */
static void test_overload(void **state)
{
	static const struct {
		uint32_t counts[6]; /* older, newer, meanwhile: unanswered, answered */
		enum confidence confidence;
	} cases[] = {
		{{590, 413, 598, 554, 0, 0}, CONFIDENCE_NONE},	    /* less patient clients */
		{{2548, 2090, 0, 3000, 137, 223}, CONFIDENCE_NONE}, /* a rush */
		{{2548, 2090, 0, 3000, 0, 0}, CONFIDENCE_CERTAIN},
		{{2548, 2090, 0, 3000, 3, 357}, CONFIDENCE_CERTAIN}, /* every other server behind the address */
		{{300, 2, 400, 600, 40, 60}, CONFIDENCE_CERTAIN},    /* in a network that loses two of five */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(judge_counts(cases[i].counts), cases[i].confidence);
}

/* A quarter of a minute is meanwhile, and a SYN's copies are of its kind. */
static void test_meanwhile(void **state)
{
	struct endpoints ends;

	(void)state;
	connects(1, 5000000);
	connects(1, 5001000);
	fails(1, 1000000, 1);
	connects(1, 5002000);
	tick += 13000;
	connects(1, 5003000);
	tick += 2000;
	connects(1, 5004000);
	finish();
	assert_int_equal(server_at(1)->syns[SYN_PLAIN][1], 1);
	assert_int_equal(server_at(1)->syns[SYN_NEWER][1], 2);
	assert_int_equal(server_at(1)->syns[SYN_MEANWHILE][1], 2);
	tick += 20000;
	ends = ends_of(1);
	isn = 7;
	syn(&ends, 5030000);
	fails(1, 1000000, 1);
	isn = 7;
	syn(&ends, 5031000);
	fails(1, 5032000, 2);
	finish();
	assert_int_equal(server_at(1)->syns[SYN_NEWER][0], 1);
	assert_int_equal(server_at(1)->syns[SYN_MEANWHILE][0], 1);
}

/* Its answer acknowledges the data in the SYN (RFC 7413). */
static void test_fast_open(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 12; i++) {
		const struct endpoints ends = ends_of(1);

		connects(1, 5000000 + (uint32_t)tick);
		isn = (uint32_t)test_random64();
		syn(&ends, 1000000);
		tell(&ends, false, TCP_SYN | TCP_ACK, isn + 1 + 1400, 777, 1000000, 1000000, REASON_SYNACK_OBSERVED, EVENT_KNOWN);
	}
	finish();
	nothing_found(1);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][1], 12);
}

static void test_evidence_fades(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 10; i++) {
		connects(1, 5000000 + (uint32_t)tick);
		fails(1, 1000000, 1);
	}
	finish();
	assert_true(judge(1, FINDING_RECYCLE) >= CONFIDENCE_LIKELY);
	for (uint32_t i = 0; i < 8 * DIAGNOSIS_SERVERS; i++) {
		tick += 8 * 3600 * 1000 / (8 * DIAGNOSIS_SERVERS);
		diagnosis_advance(&diagnosis, tick);
	}
	assert_true(server_at(1)->syns[SYN_OLDER][0] <= 2);
	nothing_found(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_recycle, begin),
		cmocka_unit_test_setup(test_few_are_no_proof, begin),
		cmocka_unit_test_setup(test_two_are_no_proof, begin),
		cmocka_unit_test_setup(test_older_stamp, begin),
		cmocka_unit_test_setup(test_healthy, begin),
		cmocka_unit_test_setup(test_one_host_alone_is_never_older, begin),
		cmocka_unit_test_setup(test_loss_is_not_recycle, begin),
		cmocka_unit_test_setup(test_stamp_is_forgotten, begin),
		cmocka_unit_test_setup(test_one_behind, begin),
		cmocka_unit_test_setup(test_late_answers, begin),
		cmocka_unit_test_setup(test_bare, begin),
		cmocka_unit_test_setup(test_large_counts, begin),
		cmocka_unit_test_setup(test_filtered_port, begin),
		cmocka_unit_test_setup(test_filtered_client, begin),
		cmocka_unit_test_setup(test_cut_off, begin),
		cmocka_unit_test_setup(test_lossy_way, begin),
		cmocka_unit_test_setup(test_flood, begin),
		cmocka_unit_test_setup(test_overload, begin),
		cmocka_unit_test_setup(test_meanwhile, begin),
		cmocka_unit_test_setup(test_fast_open, begin),
		cmocka_unit_test_setup(test_evidence_fades, begin),
	};

	return cmocka_run_group_tests_name("diagnosis", tests, test_random_setup, NULL);
}
