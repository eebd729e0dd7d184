/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prefixes: their text, what is said about a wrong one, and ranges cut into them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "policy_build.h"

static struct addr address(const char *text)
{
	struct prefix prefix;
	const char *error = prefix_parse(text, &prefix);

	if (error)
		fail_msg("%s %s", text, error);
	return prefix.addr;
}

static void test_prefix_parse_accepts(void **state)
{
	static const struct {
		const char *text, *formatted;
		enum family family;
		uint8_t len;
	} cases[] = {
		{"0.0.0.0/0", "0.0.0.0/0", FAMILY_IPV4, 0},
		{"192.0.2.0/24", "192.0.2.0/24", FAMILY_IPV4, 24},
		{"192.0.2.7", "192.0.2.7", FAMILY_IPV4, 32},
		{"192.0.2.7/32", "192.0.2.7", FAMILY_IPV4, 32},
		{"128.0.0.0/1", "128.0.0.0/1", FAMILY_IPV4, 1},
		{"::/0", "::/0", FAMILY_IPV6, 0},
		{"2001:db8::/32", "2001:db8::/32", FAMILY_IPV6, 32},
		{"2001:DB8:0:0:0:0:0:1", "2001:db8::1", FAMILY_IPV6, 128},
		{"2001:db8:0:0:8000::/65", "2001:db8:0:0:8000::/65", FAMILY_IPV6, 65},
		{"2001:db8::8000:0:0:0/64", NULL, FAMILY_IPV6, 64},
		{"::fffe:0:0/95", "::fffe:0:0/95", FAMILY_IPV6, 95},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct prefix prefix;
		char text[64];
		const char *error = prefix_parse(cases[i].text, &prefix);

		if (!cases[i].formatted) {
			assert_non_null(error);
			continue;
		}
		if (error)
			fail_msg("%s %s", cases[i].text, error);
		assert_int_equal(prefix.family, cases[i].family);
		assert_int_equal(prefix.len, cases[i].len);
		prefix_format(&prefix, text, sizeof(text));
		assert_string_equal(text, cases[i].formatted);
	}
}

static void test_prefix_parse_explains(void **state)
{
	static const char not_address[] = "is not an IPv4 or IPv6 address or prefix";
	static const char bad_len4[] = "has no valid prefix length: for IPv4 it is a number from 0 to 32";
	static const char bad_len6[] = "has no valid prefix length: for IPv6 it is a number from 0 to 128";
	static const char *const cases[][2] = {
		{"192.0.2.1/24", "has host bits set; did you mean 192.0.2.0/24"},
		{"0.0.0.1/0", "has host bits set; did you mean 0.0.0.0/0"},
		{"192.0.2.3/31", "has host bits set; did you mean 192.0.2.2/31"},
		{"2001:db8::1/32", "has host bits set; did you mean 2001:db8::/32"},
		{"::ffff:192.0.2.0/64", "has host bits set; did you mean ::/64"},
		{"2001:db8:0:0:8000::/64", "has host bits set; did you mean 2001:db8::/64"},
		{"192.0.2.0/33", bad_len4},
		{"192.0.2.0/", bad_len4},
		{"192.0.2.0/-1", bad_len4},
		{"192.0.2.0/+8", bad_len4},
		{"192.0.2.0/024", bad_len4},
		{"192.0.2.0/24 ", bad_len4},
		{"192.0.2.0/24/24", bad_len4},
		{"192.0.2.0/4294967320", bad_len4},
		{"192.0.2.0/255.0.255.0", bad_len4},
		{"192.0.2.0/255.255.255.0", "has a netmask in place of a prefix length; did you mean 192.0.2.0/24"},
		{"2001:db8::/129", bad_len6},
		{"2001:db8::/x", bad_len6},
		{"", not_address},
		{"/24", not_address},
		{" 192.0.2.0", not_address},
		{"192.0.2", not_address},
		{"192.0.2.256", not_address},
		{"192.0.2.01", not_address},
		{"example.org", not_address},
		{"2001:db8", not_address},
		{"2001:db8:::/32", not_address},
		{"11111111111111111111111111111111111111111111111111111111111111111111111", not_address},
		{"fe80::1%eth0", "has a scope (%...), which is not possible here"},
		{"::ffff:192.0.2.1", "is IPv4 written as IPv6; did you mean 192.0.2.1/32"},
		{"::ffff:192.0.2.0/120", "is IPv4 written as IPv6; did you mean 192.0.2.0/24"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct prefix prefix;
		const char *error = prefix_parse(cases[i][0], &prefix);

		if (!error)
			fail_msg("%s was accepted", cases[i][0]);
		if (strcmp(error, cases[i][1]) != 0)
			fail_msg("%s: %s", cases[i][0], error);
	}
}

struct collected {
	size_t count;
	size_t used;
	char text[2000];
};

static void collect_prefix(void *context, const struct prefix *prefix)
{
	struct collected *collected = context;
	char text[64];

	prefix_format(prefix, text, sizeof(text));
	collected->count++;
	collected->used += (size_t)snprintf(collected->text + collected->used,
					    sizeof(collected->text) - collected->used, "%s ", text);
	assert_true(collected->used < sizeof(collected->text));
}

static void test_each_prefix(void **state)
{
	static const struct {
		const char *first, *last;
		uint8_t min_len;
		const char *prefixes;
	} cases[] = {
		{"0.0.0.0", "255.255.255.255", 0, "0.0.0.0/0 "},
		{"0.0.0.0", "255.255.255.255", 1, "0.0.0.0/1 128.0.0.0/1 "},
		{"192.0.2.0", "192.0.2.255", 1, "192.0.2.0/24 "},
		{"192.0.2.1", "192.0.2.1", 1, "192.0.2.1 "},
		{"192.0.2.1", "192.0.2.6", 1, "192.0.2.1 192.0.2.2/31 192.0.2.4/31 192.0.2.6 "},
		{"255.255.255.254", "255.255.255.255", 1, "255.255.255.254/31 "},
		{"0.0.0.0", "127.255.255.254", 8,
		 NULL /* 127 of /8 and the rest of the last */},
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0, "::/0 "},
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1, "::/1 8000::/1 "},
		{"2001:db8::", "2001:db8:0:2:ffff:ffff:ffff:ffff", 1, "2001:db8::/63 2001:db8:0:2::/64 "},
		{"2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::", 1,
		 "2001:db8::ffff:ffff:ffff:ffff 2001:db8:0:1:: "},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct addr first = address(cases[i].first), last = address(cases[i].last);
		struct collected collected = {0};

		policy_each_prefix(addr_family(&first), &first, &last, cases[i].min_len, collect_prefix, &collected);
		if (cases[i].prefixes)
			assert_string_equal(collected.text, cases[i].prefixes);
		else
			assert_int_equal(collected.count, 127 + 24);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix_parse_accepts),
		cmocka_unit_test(test_prefix_parse_explains),
		cmocka_unit_test(test_each_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
