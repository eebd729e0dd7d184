/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core_test.h"

#include "checksum.h"

enum {
	HEADER = 60,
	FIELD = 16,	/* of the checksum in the header */
	PSEUDO = 0x4506, /* some sum beyond the header, as every segment has */
};

static uint16_t load_memory_order(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, 2);
	return value;
}

static void test_add_is_the_plain_sum(void **state)
{
	uint8_t data[200], sum[2];

	(void)state;
	for (int round = 0; round < 20000; round++) {
		uint32_t len = test_random(sizeof(data) - 8), skip = test_random(8);
		uint16_t folded;

		test_random_bytes(data, sizeof(data));
		if (round % 4 == 0)
			memset(data, round % 8 ? 0xff : 0, sizeof(data));
		folded = checksum_fold(checksum_add(0, data + skip, len));
		memcpy(sum, &folded, 2);
		assert_int_equal(test_get16(sum), test_sum(0, data + skip, len));
	}
}

static void test_add_goes_on_from_a_sum(void **state)
{
	uint8_t data[64];

	(void)state;
	for (int round = 0; round < 10000; round++) {
		uint32_t cut = test_random(32) * 2;

		test_random_bytes(data, sizeof(data));
		assert_int_equal(checksum_fold(checksum_add(checksum_add(0, data, cut), data + cut, 64 - cut)),
				 checksum_fold(checksum_add(0, data, 64)));
	}
}

static uint16_t fold_slowly(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void test_fold_of_any_sum(void **state)
{
	static const uint64_t edges[] = {0, 1, 0xfffe, 0xffff, 0x10000, 0x1fffe, 0x1ffff, 0xffffffff, 0x100000000,
					 0x1fffffffe, 0xffffffffffff, 0xfffeffffffff0001u, 0x10000ffffffffu, UINT64_MAX - 1, UINT64_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
		assert_int_equal(checksum_fold(edges[i]), fold_slowly(edges[i]));
	for (int round = 0; round < 1000000; round++) {
		uint64_t sum = test_random64() >> test_random(64);

		assert_int_equal(checksum_fold(sum), fold_slowly(sum));
	}
}

static void make_header(uint8_t *header, int round)
{
	test_random_bytes(header, HEADER);
	if (round % 5 == 0)
		memset(header, 0xff, HEADER);
	else if (round % 5 == 1)
		memset(header, 0, HEADER);
	test_put16(header + FIELD, 0);
	test_put16(header + FIELD, ~test_sum(PSEUDO, header, HEADER) & 0xffff);
}

/* Replaces `len` bytes at `at` in a header that is valid, or off by `error`. */
static void check_replace(uint32_t at, uint32_t len, int round, uint32_t error)
{
	uint8_t header[HEADER], before[HEADER], bytes[16];
	bool valid;

	make_header(header, round);
	test_put16(header + FIELD, test_get16(header + FIELD) ^ error);
	memcpy(before, header, HEADER);
	valid = test_sum(PSEUDO, header, HEADER) == 0xffff;
	test_random_bytes(bytes, sizeof(bytes));
	if (round % 7 == 0)
		memset(bytes, round % 2 ? 0xff : 0, sizeof(bytes));
	if (round % 7 == 1)
		memcpy(bytes, header + at, len);
	checksum_replace(header + FIELD, header, header + at, bytes, len);
	assert_memory_equal(header + at, bytes, len);
	for (uint32_t i = 0; i < HEADER; i++)
		if (i - at >= len && i - FIELD >= 2)
			assert_int_equal(header[i], before[i]);
	assert_int_equal(test_sum(PSEUDO, header, HEADER) == 0xffff, valid);
}

static void test_replace_everywhere(void **state)
{
	(void)state;
	for (uint32_t len = 1; len <= 16; len++)
		for (uint32_t at = 0; at + len <= HEADER; at++) {
			if (at < FIELD + 2 && at + len > FIELD)
				continue;
			for (int round = 0; round < 70; round++) {
				check_replace(at, len, round, 0);
				check_replace(at, len, round, 1 + test_random(0xfffe));
			}
		}
}

/* Every old and new value of one word, with every checksum that matters: nothing else is in it. */
static void test_replace_one_word_exhaustively(void **state)
{
	uint8_t header[HEADER];

	(void)state;
	memset(header, 0, sizeof(header));
	for (uint32_t old = 0; old < 0x10000; old += 0x101)
		for (uint32_t new = 0; new < 0x10000; new += 0x3f) {
			uint8_t bytes[2];

			test_put16(header + 30, old);
			test_put16(header + FIELD, 0);
			test_put16(header + FIELD, ~test_sum(PSEUDO, header, HEADER) & 0xffff);
			test_put16(bytes, new);
			checksum_replace(header + FIELD, header, header + 30, bytes, 2);
			assert_int_equal(test_sum(PSEUDO, header, HEADER), 0xffff);
		}
}

static void test_tcp_checksum(void **state)
{
	static uint8_t tcp[66000];

	(void)state;
	for (int round = 0; round < 5000; round++) {
		uint32_t len = round % 100 ? 20 + test_random(1500) : 20 + test_random(65980);
		struct addr src, dst;
		uint8_t made[2];
		uint16_t sum;

		test_random_bytes(tcp, len);
		src = test_addr(round % 2, (uint32_t)test_random64());
		dst = test_addr(round % 2, (uint32_t)test_random64());
		if (round % 2)
			test_random_bytes(src.byte, 16);
		if (round % 6 == 1) /* an IPv4-mapped address on one side of IPv6 */
			src = test_addr(false, (uint32_t)test_random64());
		test_put16(tcp + FIELD, test_sum_pseudo(&src, &dst, len));
		sum = checksum_finish_tcp(tcp, len);
		memcpy(made, &sum, 2);
		memcpy(tcp + FIELD, made, 2);
		assert_int_equal(load_memory_order(tcp + FIELD), sum);
		assert_true(test_checksum_valid(&src, &dst, tcp, len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add_is_the_plain_sum),
		cmocka_unit_test(test_add_goes_on_from_a_sum),
		cmocka_unit_test(test_fold_of_any_sum),
		cmocka_unit_test(test_replace_everywhere),
		cmocka_unit_test(test_replace_one_word_exhaustively),
		cmocka_unit_test(test_tcp_checksum),
	};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
