/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core_test.h"

#include "tcpopt.h"

/*
 * The option iterator against another one, which first cuts the bytes into options and then
 * judges the list. Where a segment has several faults any of them will do as the reason.
 */

enum {
	OPTIONS_MAX = 40,
};

struct cut_option {
	uint32_t at, len;
	uint8_t kind;
};

struct verdict {
	bool malformed, duplicate, ao;
	int ts_at; /* of the first, or -1 */
};

/* Returns the number of options; *ret_sound is false where they end in the middle of one. */
static uint32_t cut_options(const uint8_t *bytes, uint32_t len, struct cut_option *ret, bool *ret_sound)
{
	uint32_t count = 0, at = 0;

	*ret_sound = true;
	while (at != len && bytes[at] != 0) {
		uint32_t left = len - at;

		if (bytes[at] == 1) {
			at += 1;
			continue;
		}
		*ret_sound = left >= 2 && bytes[at + 1] >= 2 && bytes[at + 1] <= left;
		if (!*ret_sound)
			break;
		ret[count++] = (struct cut_option){.at = at, .len = bytes[at + 1], .kind = bytes[at]};
		at += bytes[at + 1];
	}
	return count;
}

static struct verdict judge(const uint8_t *bytes, uint32_t len)
{
	struct verdict verdict = {.ts_at = -1};
	struct cut_option options[OPTIONS_MAX];
	bool sound;
	uint32_t count = cut_options(bytes, len, options, &sound);

	verdict.malformed = !sound;
	for (uint32_t i = 0; i < count; i++) {
		if (options[i].kind == 29)
			verdict.ao = true;
		if (options[i].kind != 8)
			continue;
		if (options[i].len != 10)
			verdict.malformed = true;
		else if (verdict.ts_at >= 0)
			verdict.duplicate = true;
		else
			verdict.ts_at = (int)options[i].at;
	}
	return verdict;
}

static struct test_guard guard;

static void check(const uint8_t *bytes, uint32_t len)
{
	struct verdict verdict = judge(bytes, len);
	uint8_t *options = guard.end - len, *ts = guard.first;
	enum reason reason;

	memcpy(options, bytes, len);
	reason = tcpopt_find_timestamps(options, len, &ts);
	assert_memory_equal(options, bytes, len);
	if (!verdict.malformed && !verdict.duplicate && !verdict.ao) {
		assert_int_equal(reason, REASON_COUNT);
		assert_ptr_equal(ts, verdict.ts_at < 0 ? NULL : options + verdict.ts_at);
		return;
	}
	assert_true((verdict.malformed && reason == REASON_MALFORMED_OPTIONS) ||
		    (verdict.duplicate && reason == REASON_DUPLICATE_TIMESTAMPS) ||
		    (verdict.ao && reason == REASON_TCP_AO));
}

/* All strings of up to six of the bytes that mean something, at the very end of what is readable. */
static void test_all_short_strings(void **state)
{
	static const uint8_t alphabet[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 29, 255};
	uint8_t bytes[6];

	(void)state;
	for (uint32_t len = 0; len <= sizeof(bytes); len++) {
		uint32_t count = 1;

		for (uint32_t i = 0; i < len; i++)
			count *= sizeof(alphabet);
		for (uint32_t number = 0; number < count; number++) {
			uint32_t rest = number;

			for (uint32_t i = 0; i < len; i++, rest /= (uint32_t)sizeof(alphabet))
				bytes[i] = alphabet[rest % sizeof(alphabet)];
			check(bytes, len);
		}
	}
}

/* Two bytes of any value, in front of a timestamp option and behind it. */
static void test_all_pairs_around_timestamps(void **state)
{
	static const uint8_t ts[] = {8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
	uint8_t bytes[14];

	(void)state;
	for (uint32_t pair = 0; pair < 0x10000; pair++) {
		memset(bytes, 1, sizeof(bytes));
		test_put16(bytes, pair);
		memcpy(bytes + 2, ts, sizeof(ts));
		check(bytes, 14);
		check(bytes, 12);
		memcpy(bytes, ts, sizeof(ts));
		test_put16(bytes + 10, pair);
		check(bytes, 12);
		check(bytes, 11);
	}
}

static uint32_t random_option(uint8_t *at, uint32_t room)
{
	static const uint8_t common[][2] = {{8, 10}, {8, 10}, {2, 4}, {3, 3}, {4, 2}, {5, 10}, {19, 18}, {29, 16}, {34, 10}};
	uint32_t which = test_random(16), len;

	if (which >= sizeof(common) / sizeof(common[0])) {
		at[0] = which == 15 ? 0 : 1;
		return 1;
	}
	test_random_bytes(at, room);
	at[0] = common[which][0];
	len = common[which][1];
	if (room > 1)
		at[1] = (uint8_t)len;
	return len < room ? len : room;
}

static void test_random_lists(void **state)
{
	uint8_t bytes[OPTIONS_MAX];

	(void)state;
	for (int round = 0; round < 1000000; round++) {
		uint32_t len = test_random(OPTIONS_MAX + 1), at = 0;

		while (at < len)
			at += random_option(bytes + at, len - at);
		if (len && round % 2)
			bytes[test_random(len)] = (uint8_t)test_random64();
		check(bytes, len);
	}
}

static void test_random_noise(void **state)
{
	uint8_t bytes[OPTIONS_MAX];

	(void)state;
	for (int round = 0; round < 300000; round++) {
		test_random_bytes(bytes, sizeof(bytes));
		for (uint32_t i = 0; i < sizeof(bytes); i++)
			bytes[i] &= round % 2 ? 0x0f : 0xff;
		check(bytes, test_random(OPTIONS_MAX + 1));
	}
}

static int setup(void **state)
{
	guard = test_guard_make(64);
	return test_random_setup(state);
}

/* Where what is known at a glance has its timestamp option, or -1. */
static int place_at_a_glance(const uint8_t *bytes, uint32_t len)
{
	if (len == TCPOPT_USUAL_SYN_LEN && tcpopt_is_usual_syn(test_get32(bytes), test_get32(bytes + 4), test_get32(bytes + 16)))
		return TCPOPT_USUAL_SYN_AT;
	if (test_get32(bytes) == TCPOPT_USUAL && (len == 12 || tcpopt_is_usual_sack(test_get32(bytes + 12), len)))
		return 2;
	return -1;
}

/* Each of the usual layouts is known, and nothing that comes of it by another byte or two is taken for what it is not. */
static void test_usual(void **state)
{
	static const uint8_t syn[] = {2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7};
	static const uint32_t lens[] = {20, 12, 24, 32, 40};
	size_t known = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		const uint32_t len = lens[i];
		uint8_t usual[OPTIONS_MAX] = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 5, (uint8_t)(len - 14)};

		if (len == sizeof(syn))
			memcpy(usual, syn, sizeof(syn));
		assert_int_not_equal(place_at_a_glance(usual, len), -1);
		for (uint32_t number = 0; number < len * 256 + 40000; number++) {
			uint8_t bytes[OPTIONS_MAX], *ts;
			int place;

			memcpy(bytes, usual, sizeof(bytes));
			bytes[number / 256 % len] = (uint8_t)number;
			if (number >= len * 256)
				bytes[test_random(len)] = (uint8_t)test_random(12);
			place = place_at_a_glance(bytes, len);
			known += place >= 0;
			if (place < 0)
				continue;
			assert_int_equal(tcpopt_find_timestamps(bytes, len, &ts), REASON_COUNT);
			assert_ptr_equal(ts, bytes + place);
		}
	}
	assert_in_range(known, 1000, 200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_short_strings),
		cmocka_unit_test(test_all_pairs_around_timestamps),
		cmocka_unit_test(test_random_lists),
		cmocka_unit_test(test_random_noise),
		cmocka_unit_test(test_usual),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
