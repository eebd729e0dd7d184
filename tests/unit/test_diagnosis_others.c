/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What else is found of servers than tw_recycle (test_diagnosis.c), what is not, and what all of it takes. */
#include "diagnosis_world.h"

/* ---- the others ---- */

static void challenge(const struct endpoints *ends, uint32_t tsecr)
{
	tell(ends, false, TCP_ACK, isn + 0x40000000, 900, tsecr, tsecr, REASON_MIDSTREAM_IN, 0);
}

static void reset(const struct endpoints *ends, uint32_t number)
{
	tell(ends, true, TCP_RST, number, 0, 0, 0, REASON_FLOW_NO_TIMESTAMPS, EVENT_KNOWN);
}

static void test_time_wait(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		const struct endpoints ends = ends_of(1);

		isn = (uint32_t)test_random64();
		syn(&ends, 1000000);
		challenge(&ends, 2000000);
		challenge(&ends, 2000000); /* a copy */
		reset(&ends, isn + 0x40000000);
		tick += 1000;
		syn(&ends, 1001000);
		synack(&ends, 1001000);
		assert_int_equal(judge(1, FINDING_TIME_WAIT), i < 2 ? CONFIDENCE_LIKELY : CONFIDENCE_CERTAIN);
	}
	finish();
	assert_int_equal(judge(1, FINDING_BUSY_TUPLE), CONFIDENCE_NONE);
	assert_int_equal(server_at(1)->signs[SIGN_CHALLENGED_OLDER], 3);
	assert_int_equal(server_at(1)->signs[SIGN_CHALLENGED_RESET], 3);
	assert_int_equal(server_at(1)->examples[FINDING_TIME_WAIT][0].other, 2000000);
}

/* Of the connection before, and late: the SYN is answered behind it, and the client has no quarrel with it. */
static void test_late_segment(void **state)
{
	const struct endpoints ends = ends_of(1);

	(void)state;
	isn = 70;
	syn(&ends, 3000000);
	challenge(&ends, 2000000);
	synack(&ends, 3000000);
	finish();
	nothing_found(1);
}

/* In FIN_WAIT2, say: the TSval was newer. */
static void test_busy_tuple(void **state)
{
	const struct endpoints ends = ends_of(1), bare = ends_of(1);

	(void)state;
	isn = 70;
	syn(&ends, 3000000);
	challenge(&ends, 2000000);
	syn(&bare, 0);
	challenge(&bare, 2000000);
	finish();
	assert_int_equal(judge(1, FINDING_TIME_WAIT), CONFIDENCE_NONE);
	assert_int_equal(judge(1, FINDING_BUSY_TUPLE), CONFIDENCE_LIKELY);
	assert_int_equal(server_at(1)->signs[SIGN_CHALLENGED_OTHER], 2);
}

/* Where connections are alive whose four-tuples are given away, TSvals make no difference. */
static void test_alive(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 12; i++) {
		const struct endpoints ends = ends_of(1);

		isn = (uint32_t)test_random64();
		syn(&ends, 2000000);
		challenge(&ends, i % 2 ? 1000000 : 3000000);
		reset(&ends, isn + 0x40000000);
	}
	finish();
	assert_int_equal(judge(1, FINDING_TIME_WAIT), CONFIDENCE_NONE);
	assert_int_equal(judge(1, FINDING_BUSY_TUPLE), CONFIDENCE_CERTAIN);
}

/* The ACK that completes a handshake, or keeps one alive, is no challenge. */
static void test_no_challenge(void **state)
{
	const struct endpoints ends = ends_of(1), late = ends_of(1), unseen = ends_of(1);

	(void)state;
	isn = 80;
	syn(&ends, 3000000);
	tell(&ends, false, TCP_ACK, isn + 1, 900, 3000000, 3000000, REASON_FLOW_NOT_REWRITTEN, EVENT_KNOWN);
	synack(&ends, 3000000);
	challenge(&ends, 4000000);
	syn(&late, 3000000);
	tick += 4000;
	challenge(&late, 4000000);
	syn(&unseen, 3000000); /* its SYN/ACK is not seen */
	tell(&unseen, false, TCP_ACK, isn + 1, 900, 3000000, 3000000, REASON_FLOW_NOT_REWRITTEN, EVENT_KNOWN);
	finish();
	nothing_found(1);
}

static void test_foreign(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		const struct endpoints ends = ends_of(1);

		isn = (uint32_t)test_random64();
		syn(&ends, 538477964);
		tell(&ends, false, TCP_SYN | TCP_ACK, isn + 1, 0, 2174718965u, 2174718965u, REASON_SYNACK_OBSERVED_FOREIGN,
		     EVENT_KNOWN);
		assert_int_equal(judge(1, FINDING_FOREIGN_TSECR), i == 0 ? CONFIDENCE_POSSIBLE : i == 1 ? CONFIDENCE_LIKELY
													   : CONFIDENCE_LIKELY);
		reset(&ends, isn + 1);
	}
	finish();
	assert_int_equal(judge(1, FINDING_FOREIGN_TSECR), CONFIDENCE_CERTAIN);
	assert_int_equal(server_at(1)->signs[SIGN_FOREIGN_RESET], 3);
	assert_int_equal(server_at(1)->signs[SIGN_FOREIGN_REPAIRED], 0);
	assert_int_equal(server_at(1)->syns[SYN_PLAIN][0], 0);
}

/* SYNs that are under way when what was seen is forgotten left by the mode of before, and tell nothing of the new one. */
static void test_forgotten_while_under_way(void **state)
{
	const struct endpoints refused = ends_of(1), foreign = ends_of(1), late = ends_of(1);
	struct server_evidence nothing = {0}, *server;

	(void)state;
	isn = 70;
	syn(&refused, 1000000);
	syn(&foreign, 1000000);
	syn(&late, 1000000);
	server = &diagnosis.servers[server_at(1) - diagnosis.servers];
	challenge(&refused, 2000000);
	diagnosis_forget(&diagnosis, server);
	for (int i = 0; i < 3; i++) {
		challenge(&refused, 2000000);
		reset(&refused, isn + 0x40000000);
		tell(&foreign, false, TCP_SYN | TCP_ACK, isn + 1, 0, 2174718965u, 2174718965u, REASON_SYNACK_OBSERVED_FOREIGN, EVENT_KNOWN);
		reset(&foreign, isn + 1);
		tick += 4000;
		syn(&refused, 1004000);
		syn(&foreign, 1004000);
		syn(&late, 1004000);
	}
	synack(&late, 1004000);
	finish();
	assert_memory_equal(server->syns, nothing.syns, sizeof(nothing.syns));
	assert_memory_equal(server->signs, nothing.signs, sizeof(nothing.signs));
	/* The next one is another matter. */
	isn = 71;
	syn(&refused, 1000000);
	challenge(&refused, 2000000);
	assert_int_equal(server->signs[SIGN_CHALLENGED_OLDER], 1);
}

static void test_foreign_repaired(void **state)
{
	const struct endpoints ends = ends_of(1);

	(void)state;
	isn = 5;
	syn(&ends, 538477964);
	tell(&ends, false, TCP_SYN | TCP_ACK, isn + 1, 0, 2174718965u, 538477964, REASON_SYNACK_REPAIRED_ECHO, EVENT_KNOWN);
	finish();
	assert_int_equal(server_at(1)->signs[SIGN_FOREIGN_REPAIRED], 1);
	assert_int_equal(judge(1, FINDING_FOREIGN_TSECR), CONFIDENCE_LIKELY);
}

/* What is echoed is of an earlier copy of the SYN, or a later one, which was not seen; to a client that is gone, too. */
static void test_unseen_copy(void **state)
{
	static const struct {
		uint32_t tsecr;
		bool is_foreign;
	} cases[] = {
		{3000000 - 1000, false}, {3000000 - 63000, false}, {3000000 + 450, false},
		{3000000 + 5000, true}, {3000000 - 1000000, true}, {3000000 ^ 0x80000000u, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct endpoints ends = ends_of(1);

		forget();
		isn = 5;
		syn(&ends, 3000000);
		tick += 500;
		tell(&ends, false, TCP_SYN | TCP_ACK, isn + 1, 777, cases[i].tsecr, cases[i].tsecr,
		     REASON_SYNACK_OBSERVED_FOREIGN, EVENT_KNOWN);
		reset(&ends, isn + 1);
		finish();
		assert_int_equal(judge(1, FINDING_FOREIGN_TSECR), cases[i].is_foreign ? CONFIDENCE_LIKELY : CONFIDENCE_NONE);
	}
}

/* A server that lets the handshake's end wait repeats its SYN/ACK with what that said, which is not seen of observed connections. */
static void test_repeated_synack(void **state)
{
	const struct endpoints ends = ends_of(1);

	(void)state;
	isn = 5;
	syn(&ends, 3000000);
	synack(&ends, 3000000);
	tell(&ends, false, TCP_SYN | TCP_ACK, isn + 1, 778, 3000100, 3000100, REASON_SYNACK_OBSERVED_FOREIGN, EVENT_KNOWN);
	reset(&ends, isn + 1);
	finish();
	nothing_found(1);
}

static void test_zero_is_no_fault(void **state)
{
	const struct endpoints ends = ends_of(1);

	(void)state;
	isn = 5;
	syn(&ends, 538477964);
	tell(&ends, false, TCP_SYN | TCP_ACK, isn + 1, 0, 0, 0, REASON_SYNACK_TSECR_ZERO, EVENT_KNOWN);
	finish();
	assert_int_equal(server_at(1)->signs[SIGN_FOREIGN], 0);
	nothing_found(1);
}

static void test_closed_port(void **state)
{
	(void)state;
	connects(1, 9000000);
	for (uint32_t i = 0; i < 20; i++) {
		const struct endpoints ends = ends_of(1);

		isn = (uint32_t)test_random64();
		syn(&ends, i % 2 ? 1000000 : 9000000 + (uint32_t)tick);
		tell(&ends, false, TCP_RST | TCP_ACK, isn + 1, 0, 0, 0, REASON_FLOW_NO_TIMESTAMPS, EVENT_KNOWN);
	}
	finish();
	nothing_found(1);
	assert_int_equal(server_at(1)->signs[SIGN_REFUSED], 20);
	assert_int_equal(server_at(1)->syns[SYN_OLDER][1], 10);
}

/* ---- memory ---- */

static void test_scanner_does_not_wipe_evidence(void **state)
{
	uint32_t before;

	(void)state;
	for (uint32_t i = 0; i < 6; i++) {
		connects(1, 5000000 + (uint32_t)tick);
		fails(1, 1000000, 1);
	}
	finish();
	assert_int_equal(judge(1, FINDING_RECYCLE), CONFIDENCE_LIKELY);
	for (uint32_t i = 0; i < 100000; i++) {
		const struct endpoints ends = {test_addr(0, 0x0a000006), test_addr(0, 0x50000000 + i), 4000, 443};

		isn = i;
		syn(&ends, 1000);
		tick += i % 16 == 0;
	}
	assert_int_equal(judge(1, FINDING_RECYCLE), CONFIDENCE_LIKELY);
	assert_int_equal(diagnosis.evicted, 0);
	/* Nor does it make anybody forget what servers may remember. */
	before = server_at(1)->syns[SYN_OLDER][0];
	fails(1, 1000000, 1);
	connects(1, 5000000 + (uint32_t)tick);
	finish();
	assert_int_equal(server_at(1)->syns[SYN_OLDER][0], before + 1);
}

static void test_clock_rates(void **state)
{
	static const uint32_t rates[] = {100, 250, 1000, 1000000};

	(void)state;
	for (uint32_t i = 0; i < 4; i++) {
		const struct event fin = {
			.tick = tick,
			.ends = {test_addr(0, 0x0a000100 + i), test_addr(0, NET + 1), 4000, 443},
			.left = 1,
			.span = rates[i] * 20,
			.age_ms = 20000,
			.tcp_flags = TCP_FIN | TCP_ACK,
			.flags = EVENT_OUTBOUND | EVENT_KNOWN | EVENT_TIMESTAMPS | EVENT_LEFT_WITH,
		};

		diagnosis_take(&diagnosis, &fin);
	}
	for (uint32_t i = 0; i < 4; i++) {
		const struct addr addr = test_addr(0, 0x0a000100 + i);
		bool is_there = false;

		for (size_t j = 0; j < DIAGNOSIS_CLIENTS; j++)
			is_there |= diagnosis.clients[j].last_tick && addr_equal(&diagnosis.clients[j].addr, &addr) &&
				    diagnosis.clients[j].hz == rates[i];
		assert_true(is_there);
	}
}

static void test_ring(void **state)
{
	static struct event_ring ring;
	struct event event = {0};

	(void)state;
	assert_false(event_take(&ring, &event));
	for (uint32_t i = 0; i < EVENT_RING_SIZE + 10; i++) {
		event.serial = i;
		event_push(&ring, &event);
	}
	assert_int_equal(ring.lost, 10);
	for (uint32_t i = 0; i < EVENT_RING_SIZE; i++) {
		assert_true(event_take(&ring, &event));
		assert_int_equal(event.serial, i);
	}
	assert_false(event_take(&ring, &event));
	event_push(&ring, &event);
	assert_true(event_take(&ring, &event));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_time_wait, begin),
		cmocka_unit_test_setup(test_late_segment, begin),
		cmocka_unit_test_setup(test_busy_tuple, begin),
		cmocka_unit_test_setup(test_alive, begin),
		cmocka_unit_test_setup(test_no_challenge, begin),
		cmocka_unit_test_setup(test_foreign, begin),
		cmocka_unit_test_setup(test_forgotten_while_under_way, begin),
		cmocka_unit_test_setup(test_foreign_repaired, begin),
		cmocka_unit_test_setup(test_unseen_copy, begin),
		cmocka_unit_test_setup(test_repeated_synack, begin),
		cmocka_unit_test_setup(test_zero_is_no_fault, begin),
		cmocka_unit_test_setup(test_closed_port, begin),
		cmocka_unit_test_setup(test_scanner_does_not_wipe_evidence, begin),
		cmocka_unit_test_setup(test_clock_rates, begin),
		cmocka_unit_test(test_ring),
	};

	return cmocka_run_group_tests_name("diagnosis, others", tests, test_random_setup, NULL);
}
