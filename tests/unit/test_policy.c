/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The building of policies and their matching; random ones against a naive matcher. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>

#include "../tools/policy_spec.h"
#include "policy_random.h"
#include "range_key.h"

static struct addr address(const char *text)
{
	struct prefix prefix;
	const char *error = prefix_parse(text, &prefix);

	if (error)
		fail_msg("%s %s", text, error);
	return prefix.addr;
}

static const char *match(const struct policy *policy, const char *server, uint16_t port, const char *client)
{
	const struct addr server_addr = address(server), client_addr = address(client);

	return policy_match(policy, &server_addr, port, &client_addr)->name;
}

/* ---- the order of candidates ---- */

static void test_longest_prefix_wins(void **state)
{
	struct policy *policy = spec_policy("default observe\n"
					    "wide rewrite 10.0.0.0/8\n"
					    "hole off 10.1.0.0/16\n"
					    "inside strip 10.1.2.0/24\n"
					    "host rewrite 10.1.2.3\n"
					    "top off 255.255.255.255\n"
					    "six rewrite 2001:db8::/32\n"
					    "sixhole off 2001:db8:0:0:8000::/65\n"
					    "sixtop off ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n");
	(void)state;

	assert_string_equal(match(policy, "9.255.255.255", 80, "192.168.0.1"), "default");
	assert_string_equal(match(policy, "10.0.0.0", 80, "192.168.0.1"), "wide");
	assert_string_equal(match(policy, "10.0.255.255", 80, "192.168.0.1"), "wide");
	assert_string_equal(match(policy, "10.1.0.0", 80, "192.168.0.1"), "hole");
	assert_string_equal(match(policy, "10.1.2.2", 80, "192.168.0.1"), "inside");
	assert_string_equal(match(policy, "10.1.2.3", 80, "192.168.0.1"), "host");
	assert_string_equal(match(policy, "10.1.2.4", 80, "192.168.0.1"), "inside");
	assert_string_equal(match(policy, "10.1.3.0", 80, "192.168.0.1"), "hole");
	assert_string_equal(match(policy, "10.2.0.0", 80, "192.168.0.1"), "wide");
	assert_string_equal(match(policy, "11.0.0.0", 80, "192.168.0.1"), "default");
	assert_string_equal(match(policy, "255.255.255.254", 80, "192.168.0.1"), "default");
	assert_string_equal(match(policy, "255.255.255.255", 80, "192.168.0.1"), "top");
	assert_string_equal(match(policy, "2001:db8::7fff:ffff:ffff:ffff", 80, "2001::1"), "six");
	assert_string_equal(match(policy, "2001:db8::8000:0:0:0", 80, "2001::1"), "sixhole");
	assert_string_equal(match(policy, "2001:db8:0:1::", 80, "2001::1"), "six");
	assert_string_equal(match(policy, "::", 80, "2001::1"), "default");
	assert_string_equal(match(policy, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 80, "2001::1"), "default");
	assert_string_equal(match(policy, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 80, "2001::1"), "sixtop");
	policy_free(policy);
}

static void test_ties(void **state)
{
	struct policy *policy = spec_policy("default off\n"
					    "first rewrite 10.0.0.0/8 sources=192.168.0.0/16\n"
					    "second strip 10.0.0.0/8\n"
					    "third observe 10.0.0.0/8\n"
					    "https rewrite 10.0.0.0/8 ports=443\n"
					    "alt strip 10.0.0.0/8 ports=8080,443\n"
					    "narrow rewrite 10.9.0.0/16 ports=22\n");
	(void)state;

	assert_string_equal(match(policy, "10.0.0.1", 443, "192.168.0.1"), "https");
	assert_string_equal(match(policy, "10.0.0.1", 8080, "192.168.0.1"), "alt");
	assert_string_equal(match(policy, "10.0.0.1", 80, "192.168.0.1"), "first");
	assert_string_equal(match(policy, "10.0.0.1", 80, "172.16.0.1"), "second");
	assert_string_equal(match(policy, "10.9.0.1", 22, "172.16.0.1"), "narrow");
	assert_string_equal(match(policy, "10.9.0.1", 443, "172.16.0.1"), "https");
	/* third is never reached, so it is in no list; [default] neither. */
	assert_int_equal(policy->group_count, 3);
	assert_int_equal(policy->groups[1].count, 4);
	assert_int_equal(policy->groups[2].count, 5);
	policy_free(policy);
}

/* The very last address of a prefix is still inside of it, and a destination is in a list once. */
static void test_nested_with_ports(void **state)
{
	struct policy *policy = spec_policy("default off\n"
					    "web rewrite 2001:db8::/32,2001:db8:1::/48 ports=443\n"
					    "all strip 2001:db8::/32\n"
					    "last observe 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff ports=22\n");
	(void)state;

	assert_string_equal(match(policy, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 22, "2001::1"), "last");
	assert_string_equal(match(policy, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 80, "2001::1"), "all");
	assert_string_equal(match(policy, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 443, "2001::1"), "web");
	assert_string_equal(match(policy, "2001:db9::", 443, "2001::1"), "default");
	assert_int_equal(policy->group_count, 3); /* default; web all; last web all */
	policy_free(policy);
}

static void test_disabled_matches_nothing(void **state)
{
	struct policy *policy = spec_policy("default off\n"
					    "wide rewrite 10.0.0.0/8\n"
					    "gone strip 10.1.0.0/16 disabled\n");
	(void)state;

	assert_string_equal(match(policy, "10.1.0.1", 80, "192.168.0.1"), "wide");
	assert_int_equal(policy->destination_count, 3);
	assert_int_equal(policy->ranges[FAMILY_IPV4].count, 3);
	policy_free(policy);
}

static void test_everything(void **state)
{
	struct policy *policy = spec_policy("default off\n"
					    "four rewrite 0.0.0.0/0\n"
					    "six strip ::/0 ports=443\n");
	(void)state;

	assert_string_equal(match(policy, "0.0.0.0", 80, "192.168.0.1"), "four");
	assert_string_equal(match(policy, "255.255.255.255", 80, "192.168.0.1"), "four");
	assert_string_equal(match(policy, "::", 443, "2001::1"), "six");
	assert_string_equal(match(policy, "ffff::", 443, "2001::1"), "six");
	assert_string_equal(match(policy, "ffff::", 80, "2001::1"), "default");
	assert_int_equal(policy->ranges[FAMILY_IPV4].count, 1);
	assert_int_equal(policy->ranges[FAMILY_IPV6].count, 1);
	policy_free(policy);
}

static void test_ports_are_merged(void **state)
{
	struct policy *policy = spec_policy("default off\n"
					    "x rewrite 10.0.0.0/8 ports=8000-8100,443,80,81,8050-8200,65535,0,82-90,92\n");
	const struct destination *x = &policy->destinations[1];
	static const struct port_range expected[] = {{0, 0}, {80, 90}, {92, 92}, {443, 443}, {8000, 8200},
						     {65535, 65535}};
	(void)state;

	assert_int_equal(x->port_count, 6);
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(x->ports[i].first, expected[i].first);
		assert_int_equal(x->ports[i].last, expected[i].last);
	}
	for (uint32_t port = 0; port <= 65535; port++) {
		bool is_in = false;

		for (size_t i = 0; i < 6; i++)
			is_in |= port >= expected[i].first && port <= expected[i].last;
		assert_int_equal(policy_has_port(x, (uint16_t)port), is_in);
	}
	policy_free(policy);
}

static void test_sources(void **state)
{
	struct policy *policy = spec_policy("default off\n"
					    "x rewrite 10.0.0.0/8,2001:db8::/32 "
					    "sources=192.168.4.0/24,2001:db8::/48,192.168.0.0/22,192.168.1.0/24\n"
					    "four rewrite 10.1.0.0/16 sources=0.0.0.0/0\n");
	(void)state;

	assert_int_equal(policy->destinations[1].source_count, 3);
	assert_string_equal(match(policy, "10.0.0.1", 80, "192.168.0.0"), "x");
	assert_string_equal(match(policy, "10.0.0.1", 80, "192.168.2.0"), "x");
	assert_string_equal(match(policy, "10.0.0.1", 80, "192.168.4.255"), "x");
	assert_string_equal(match(policy, "10.0.0.1", 80, "192.168.5.0"), "default");
	assert_string_equal(match(policy, "10.0.0.1", 80, "192.167.255.255"), "default");
	assert_string_equal(match(policy, "2001:db8::1", 80, "2001:db8:0:ffff::1"), "x");
	assert_string_equal(match(policy, "2001:db8::1", 80, "2001:db8:0:ffff:ffff:ffff:ffff:ffff"), "x");
	assert_string_equal(match(policy, "2001:db8::1", 80, "2001:db8:1::"), "default");
	assert_string_equal(match(policy, "2001:db8::1", 80, "::1"), "default");
	assert_string_equal(match(policy, "10.1.0.1", 80, "255.255.255.255"), "four");
	policy_free(policy);
}

/* ---- random policies against the definition ---- */

static bool naive_contains(const struct prefix *prefix, const struct addr *addr)
{
	struct prefix same_len = {.addr = *addr, .family = addr_family(addr), .len = prefix->len};

	if (same_len.family != prefix->family)
		return false;
	clear_host_bits(&same_len);
	return addr_equal(&same_len.addr, &prefix->addr);
}

/* Straight from the definition in policy.h, on a copy of what policy_build() was given. */
static size_t naive_match(const struct destination *destinations, size_t count, const struct addr *server,
			  uint16_t port, const struct addr *client)
{
	size_t best = 0;
	int best_len = -1;

	for (size_t i = 1; i < count; i++) {
		const struct destination *d = &destinations[i];
		bool has_port = d->port_count == 0, has_source = d->source_count == 0;
		int len = -1;

		for (size_t k = 0; k < d->port_count; k++)
			has_port |= port >= d->ports[k].first && port <= d->ports[k].last;
		for (size_t k = 0; k < d->source_count; k++)
			has_source |= naive_contains(&d->sources[k], client);
		for (size_t k = 0; k < d->prefix_count; k++)
			if (naive_contains(&d->prefixes[k], server) && d->prefixes[k].len > len)
				len = d->prefixes[k].len;
		if (!d->enabled || !has_port || !has_source || len < 0)
			continue;
		if (len > best_len || (len == best_len && d->port_count && !destinations[best].port_count)) {
			best = i;
			best_len = len;
		}
	}
	return best;
}

static void *copy_of(const void *data, size_t bytes)
{
	void *copy = malloc(bytes + 1);

	assert_non_null(copy);
	if (bytes)
		memcpy(copy, data, bytes);
	return copy;
}

static struct destination *copy_destinations(const struct destination *destinations, size_t count)
{
	struct destination *copy = copy_of(destinations, count * sizeof(*copy));

	for (size_t i = 0; i < count; i++) {
		struct destination *d = &copy[i];

		d->prefixes = copy_of(d->prefixes, d->prefix_count * sizeof(*d->prefixes));
		d->ports = copy_of(d->ports, d->port_count * sizeof(*d->ports));
		d->sources = copy_of(d->sources, d->source_count * sizeof(*d->sources));
	}
	return copy;
}

static void check_shape(const struct policy *policy)
{
	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		const struct policy_ranges *ranges = &policy->ranges[family];

		assert_true(ranges->count >= 1);
		assert_true(ranges->start[0].hi == 0 && ranges->start[0].lo == 0);
		for (uint32_t i = 0; i < ranges->count; i++) {
			assert_true(ranges->group[i] < policy->group_count);
			if (i == 0)
				continue;
			assert_true(range_key_compare(ranges->start[i - 1], ranges->start[i]) < 0);
			assert_int_not_equal(ranges->group[i - 1], ranges->group[i]);
		}
	}
	for (size_t i = 0; i < policy->group_count; i++) {
		const struct policy_group *a = &policy->groups[i];

		for (uint32_t k = 0; k < a->count; k++) {
			const struct destination *d = &policy->destinations[policy->candidates[a->first + k]];
			const bool is_open = d->port_count == 0 && d->source_count == 0;

			assert_int_equal(is_open, k + 1 == a->count);
		}
		for (size_t j = 0; j < i; j++) {
			const struct policy_group *b = &policy->groups[j];

			assert_true(a->count != b->count ||
				    memcmp(policy->candidates + a->first, policy->candidates + b->first,
					   a->count * sizeof(uint16_t)) != 0);
		}
	}
}

static void test_random_policies(void **state)
{
	size_t not_default = 0;
	(void)state;

	for (uint64_t seed = 1; seed <= 400; seed++) {
		size_t count;
		struct destination *destinations = random_destinations(seed, &count);
		struct destination *copy = copy_destinations(destinations, count);
		struct policy *policy = policy_build(destinations, count);

		assert_non_null(policy);
		check_shape(policy);
		for (int i = 0; i < 500; i++) {
			const struct addr server = interesting_addr(copy, count);
			const struct addr client = random_addr(addr_family(&server));
			const uint16_t port = (uint16_t)random_below(25);
			const size_t expected = naive_match(copy, count, &server, port, &client);
			const struct destination *got = policy_match(policy, &server, port, &client);

			if (got != &policy->destinations[expected]) {
				char text[64];

				addr_format(&server, text, sizeof(text));
				fail_msg("seed %lu: %s port %u: %s instead of d%zu", (unsigned long)seed, text, port,
					 got->name, expected);
			}
			not_default += expected != 0;
		}
		policy_free(policy);
		policy_free(policy_build(copy, count));
	}
	/* The draw must be worth something. */
	assert_in_range(not_default, 50000, 199999);
}

struct range_check {
	const struct policy *policy;
	enum family family;
	uint32_t count;
	bool at_end;
	struct range_key expected;
};

static struct range_key raw_key(const struct addr *addr)
{
	struct range_key key = {0};

	for (int i = 0; i < 8; i++) {
		key.hi = key.hi << 8 | addr->byte[i];
		key.lo = key.lo << 8 | addr->byte[i + 8];
	}
	return key;
}

/* Ranges follow each other without a gap, and every prefix cut from one lies inside of it. */
static void check_prefix(void *context, const struct prefix *prefix)
{
	struct range_check *check = context;
	const uint32_t len = prefix->len + (prefix->family == FAMILY_IPV4 ? 96u : 0u);
	struct range_key end = range_key_last(raw_key(&prefix->addr), len);

	assert_true(prefix->len >= 1);
	assert_true(range_key_equal(raw_key(&prefix->addr), check->expected));
	check->expected = end;
	range_key_next(&check->expected);
}

static void check_range(void *context, const struct addr *first, const struct addr *last, uint32_t group)
{
	struct range_check *check = context;
	struct range_key end = raw_key(last);

	if (check->count == 0)
		check->expected = raw_key(first);
	assert_int_equal(group, check->policy->ranges[check->family].group[check->count++]);
	policy_each_prefix(check->family, first, last, 1, check_prefix, check);
	range_key_next(&end);
	assert_true(range_key_equal(check->expected, end));
}

static void test_ranges_cover_all(void **state)
{
	(void)state;

	for (uint64_t seed = 1; seed <= 50; seed++) {
		size_t count;
		struct destination *destinations = random_destinations(seed, &count);
		struct policy *policy = policy_build(destinations, count);

		assert_non_null(policy);
		for (enum family family = 0; family < FAMILY_COUNT; family++) {
			struct range_check check = {.policy = policy, .family = family};

			policy_each_range(policy, family, check_range, &check);
			assert_int_equal(check.count, policy->ranges[family].count);
			/* One behind the last address: of ::ffff:0:0/96, or of all. */
			assert_int_equal(check.expected.hi, 0);
			assert_true(check.expected.lo == (family == FAMILY_IPV4 ? UINT64_C(1) << 48 : 0));
		}
		policy_free(policy);
	}
}

/* ---- size ---- */

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/*
 * `hosts` addresses of one destination, all inside of a prefix that `around` destinations with a port
 * of their own each share: long lists under many prefixes.
 */
static struct policy *big_policy(size_t hosts, size_t around)
{
	struct destination *destinations = calloc(around + 2, sizeof(*destinations));
	struct destination *list = &destinations[1];

	assert_non_null(destinations);
	destinations[0].enabled = true;
	*list = (struct destination){.enabled = true, .mode = MODE_REWRITE, .prefix_count = hosts, .name = "list"};
	list->prefixes = calloc(hosts, sizeof(*list->prefixes));
	list->ports = calloc(1, sizeof(*list->ports));
	assert_true(list->prefixes && list->ports);
	list->ports[list->port_count++] = (struct port_range){443, 443};
	for (size_t i = 0; i < hosts; i++) {
		const uint32_t host = (uint32_t)i * 2654435761u >> 8 << 1;
		const uint8_t bytes[4] = {10, (uint8_t)(host >> 16), (uint8_t)(host >> 8), (uint8_t)host};

		list->prefixes[i] = (struct prefix){addr_from_ipv4(bytes), FAMILY_IPV4, 32};
	}
	for (size_t i = 0; i < around; i++) {
		struct destination *d = &destinations[i + 2];
		const uint8_t bytes[4] = {10, 0, 0, 0};

		*d = (struct destination){.enabled = true, .mode = MODE_STRIP, .prefix_count = 1, .port_count = 1};
		d->prefixes = calloc(1, sizeof(*d->prefixes));
		d->ports = calloc(1, sizeof(*d->ports));
		assert_true(d->prefixes && d->ports);
		d->prefixes[0] = (struct prefix){addr_from_ipv4(bytes), FAMILY_IPV4, 8};
		d->ports[0] = (struct port_range){(uint16_t)(1000 + i), (uint16_t)(1000 + i)};
	}
	return policy_build(destinations, around + 2);
}

static void test_big_lists_build_fast(void **state)
{
	const double begin = seconds();
	struct policy *policy = big_policy(100000, 900);
	const double built = seconds();
	(void)state;

	assert_non_null(policy);
	assert_in_range(policy->ranges[FAMILY_IPV4].count, 100000, 200002);
	assert_int_equal(policy->group_count, 3);
	assert_string_equal(match(policy, "10.0.0.0", 443, "192.168.0.1"), "list");
	policy_free(policy);
	if (built - begin > 0.5)
		fail_msg("took %.3f s", built - begin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_longest_prefix_wins),
		cmocka_unit_test(test_ties),
		cmocka_unit_test(test_nested_with_ports),
		cmocka_unit_test(test_disabled_matches_nothing),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_ports_are_merged),
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_random_policies),
		cmocka_unit_test(test_ranges_cover_all),
		cmocka_unit_test(test_big_lists_build_fast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
