/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core_test.h"

#include "scaled.h"
#include "seq.h"

/*
 * Scaled flows against their whole history: every segment that a fast client has sent is kept
 * here with what it was emitted with, so that each echo can be held to the promises.
 */

enum {
	HISTORY = 200000,
};

struct client {
	struct scaled scaled;
	uint32_t offset;
	uint64_t now_us, rate; /* ticks of its clock in a second */
	uint32_t base, clock_base;
	uint32_t count; /* of sent[] */
	struct {
		uint64_t at_us;
		uint32_t tsval, emitted;
	} sent[HISTORY];
};

static struct client client;

static uint32_t client_tsval(uint64_t at_us)
{
	return client.base + (uint32_t)((unsigned __int128)at_us * client.rate / 1000000);
}

static uint32_t clock_now(void)
{
	return client.clock_base + (uint32_t)(client.now_us / 1000);
}

static void note_sent(uint32_t tsval, uint32_t emitted)
{
	assert_true(client.count < HISTORY);
	client.sent[client.count].at_us = client.now_us;
	client.sent[client.count].tsval = tsval;
	client.sent[client.count++].emitted = emitted;
}

/* Its last segment before the switch was emitted `lead_ms` ahead of the clock. */
static void client_start(uint64_t rate, uint32_t lead_ms)
{
	memset(&client.scaled, 0xa5, sizeof(client.scaled));
	client.rate = rate;
	client.base = (uint32_t)test_random64();
	client.now_us = 1000000000;
	/* every third begins shortly before the clock wraps; what was emitted last is not 0 */
	client.clock_base = test_random(3) ? (uint32_t)test_random64() : 0u - 1000000 - 1001 - test_random(3000);
	client.count = 0;
	client.offset = clock_now() + lead_ms - client_tsval(client.now_us);
	note_sent(client_tsval(client.now_us), clock_now() + lead_ms);
	scaled_start(&client.scaled, client.sent[0].tsval, client.sent[0].emitted, clock_now());
}

static void client_send(void)
{
	uint32_t tsval = client_tsval(client.now_us);
	uint32_t last = client.sent[client.count - 1].emitted;
	uint32_t emitted = scaled_emit(&client.scaled, tsval, client.offset, clock_now());

	assert_int_not_equal(emitted, 0);
	assert_false(seq_after(last, emitted)); /* never back */
	/* by one further ahead than the flow was already, at most */
	if (seq_after(emitted, clock_now()))
		assert_true(emitted - clock_now() <= client.sent[0].emitted + 1 - (client.clock_base + 1000000));
	note_sent(tsval, emitted);
}

/*
 * An echo of segment `i`: what comes back was really sent, is not older than the segment, and so much newer at most
 * that a round trip looks at least half as long as it was, give or take some milliseconds.
 */
static uint64_t sum_of_ages_us, sum_of_errors_us;

static void check_echo(uint32_t i, uint32_t slack_us)
{
	uint64_t age_us = client.now_us - client.sent[i].at_us;
	uint32_t tsval, at = i;

	assert_true(scaled_find_echo(&client.scaled, client.sent[i].emitted, client.offset, &tsval));
	assert_false(seq_after(client.sent[i].tsval, tsval));
	while (at < client.count && client.sent[at].tsval != tsval)
		at++;
	if (at == client.count)
		fail_msg("echo of %u: %u was never sent", client.sent[i].emitted, tsval);
	sum_of_ages_us += age_us;
	sum_of_errors_us += client.sent[at].at_us - client.sent[i].at_us;
	if (client.sent[at].at_us - client.sent[i].at_us > age_us / 2 + slack_us)
		fail_msg("echo of a segment %llu us old becomes one %llu us newer", (unsigned long long)age_us,
			 (unsigned long long)(client.sent[at].at_us - client.sent[i].at_us));
}

static void test_echoes(void **state)
{
	static const uint64_t rates[] = {2000, 10000, 1000000, 3579545};

	(void)state;
	for (int round = 0; round < 60; round++) {
		uint32_t lead_ms = test_random(2) ? test_random(1000) : 0, pace_us = 1 + test_random(20000);

		client_start(rates[test_random(4)], lead_ms);
		for (int i = 0; i < 3000; i++) {
			client.now_us += test_random(2 * pace_us) + (test_random(500) ? 0 : test_random(3000000));
			if (client_tsval(client.now_us) == client.sent[client.count - 1].tsval)
				continue;
			client_send();
			/* up to 30 s late; where the flow waits for the clock a tick lasts two milliseconds */
			for (int j = 0; j < 4; j++) {
				uint32_t back = test_random(j % 2 ? 30 : 1000);
				uint32_t at = client.count - 1 - (back < client.count ? back : 0);

				if (client.now_us - client.sent[at].at_us < 30000000)
					check_echo(at, lead_ms ? 8000 : 6000);
			}
		}
	}
	print_message("# round trips look %.1f %% too short on average\n",
		      100.0 * (double)sum_of_errors_us / (double)sum_of_ages_us);
	assert_true(sum_of_errors_us * 5 < sum_of_ages_us);
}

/* What the network holds back or sends twice is emitted with what fits between its neighbours. */
static void test_order(void **state)
{
	(void)state;
	for (int round = 0; round < 100; round++) {
		client_start(1000000, test_random(3) ? 0 : 700);
		for (int i = 0; i < 500; i++) {
			uint32_t which, emitted;

			client.now_us += 1 + test_random(5000);
			client_send();
			which = client.count - 1 - test_random(client.count < 100 ? client.count : 100);
			emitted = scaled_emit(&client.scaled, client.sent[which].tsval, client.offset, clock_now());
			assert_false(seq_after(client.sent[which].emitted, emitted));
			assert_false(seq_after(emitted, client.sent[client.count - 1].emitted));
		}
		/* from before the switch: with the flow's offset */
		if (client.scaled.knows_switch)
			assert_int_equal(scaled_emit(&client.scaled, client.sent[0].tsval - 5, client.offset, clock_now()),
					 client.sent[0].emitted - 5);
	}
}

static void test_never_sent(void **state)
{
	uint32_t tsval;

	(void)state;
	client_start(1000000, 0);
	for (int i = 0; i < 100; i++) {
		client.now_us += 3000;
		client_send();
		assert_false(scaled_find_echo(&client.scaled, clock_now() + 1, client.offset, &tsval));
	}
	/* older than the switch: the offset, exactly */
	assert_true(scaled_find_echo(&client.scaled, client.sent[0].emitted - 9, client.offset, &tsval));
	assert_int_equal(tsval, client.sent[0].tsval - 9);
	assert_true(scaled_find_echo(&client.scaled, client.sent[0].emitted, client.offset, &tsval));
	assert_int_equal(tsval, client.sent[0].tsval);
}

/* The client's clock goes round while the flow is idle, the switch is long forgotten. */
static void test_idle(void **state)
{
	(void)state;
	for (int round = 0; round < 200; round++) {
		client_start(1000000, test_random(2) * 900);
		for (int i = 0; i < 200; i++) {
			client.now_us += i % 40 ? 1 + test_random(3000) : (uint64_t)(1 + test_random(20000)) * 1000000;
			client_send();
			check_echo(client.count - 1, 2000);
		}
	}
}

/* Where there is no more room it is an older echo that goes, whatever lies behind the last one. */
static void test_newest_is_kept(void **state)
{
	struct {
		struct scaled scaled;
		uint32_t behind[2];
	} block;
	uint32_t tsval;

	(void)state;
	scaled_start(&block.scaled, 1000, 5000, 5000);
	for (uint32_t i = 1; i < 1000; i++) {
		block.behind[0] = block.behind[1] = 5000 + i - 2;
		assert_int_equal(scaled_emit(&block.scaled, 1000 + 1000 * i, 4000, 5000 + i), 5000 + i);
		assert_true(scaled_find_echo(&block.scaled, 5000 + i - 1, 4000, &tsval));
		assert_int_equal(tsval, 1000 + 1000 * (i - 1));
	}
}

/* Whatever becomes of the clock, which must not step back (P2): the order inside the flow stays (P3). */
static void test_clock_steps_back(void **state)
{
	uint32_t last, tsval;

	(void)state;
	client_start(1000000, 0);
	client.now_us += 5000;
	client_send();
	last = client.sent[1].emitted;
	tsval = client.sent[1].tsval + 3000;
	assert_int_equal(scaled_emit(&client.scaled, tsval, client.offset, last - 4), last);
	assert_true(scaled_find_echo(&client.scaled, last, client.offset, &tsval));
	assert_int_equal(tsval, client.sent[1].tsval + 3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echoes),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_never_sent),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_newest_is_kept),
		cmocka_unit_test(test_clock_steps_back),
	};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
