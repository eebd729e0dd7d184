/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The policy as the kernel's programs know it, looked up as they do, against policy_match(). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>

#include "../tools/policy_spec.h"
#include "fastpath_policy.h"
#include "policy_random.h"

struct entry {
	struct fastpath_policy_key key;
	struct fastpath_policy value;
};

struct entries {
	struct entry *entry;
	size_t count;
};

/* ---- a longest-prefix map, by its definition ---- */

static bool has_prefix(const struct addr *addr, const struct fastpath_policy_key *key)
{
	for (uint32_t bit = 0; bit < key->len; bit++)
		if ((addr->byte[bit / 8] ^ key->addr.byte[bit / 8]) & (0x80 >> bit % 8))
			return false;
	return true;
}

static const struct fastpath_policy *look_up(const struct entries *entries, const struct addr *addr)
{
	const struct entry *best = NULL;

	for (size_t i = 0; i < entries->count; i++)
		if (has_prefix(addr, &entries->entry[i].key) && (!best || entries->entry[i].key.len > best->key.len))
			best = &entries->entry[i];
	return best ? &best->value : NULL;
}

static void put_entry(void *context, const struct fastpath_policy_key *key, const struct fastpath_policy *value)
{
	struct entries *entries = context;

	assert_true(key->len <= 128);
	for (uint32_t bit = key->len; bit < 128; bit++)
		assert_false(key->addr.byte[bit / 8] & (0x80 >> bit % 8));
	for (size_t i = 0; i < entries->count; i++)
		assert_false(entries->entry[i].key.len == key->len && has_prefix(&key->addr, &entries->entry[i].key));
	entries->entry = spec_append(entries->entry, entries->count, sizeof(*entries->entry));
	entries->entry[entries->count++] = (struct entry){*key, *value};
}

static struct entries entries_of(const struct policy *policy)
{
	struct entries ret = {0};
	size_t count;

	assert_true(fastpath_policy_each(policy, put_entry, &ret));
	assert_true(fastpath_policy_count(policy, &count));
	assert_int_equal(count, ret.count);
	return ret;
}

/* ---- what has to be found ---- */

/* Whether the programs can know: of all that comes before the destination and of itself there is room for the conditions. */
static bool is_tellable(const struct policy *policy, uint32_t group, const struct destination *destination)
{
	const uint16_t *candidates = policy->candidates + policy->groups[group].first;

	for (uint32_t i = 0; i < FASTPATH_CANDIDATES; i++) {
		const struct destination *candidate = &policy->destinations[candidates[i]];

		if (candidate->source_count > 0 || candidate->port_count > FASTPATH_PORT_RANGES)
			return false;
		if (candidate == destination)
			return true;
	}
	return false;
}

struct search {
	struct addr addr;
	uint32_t group;
};

static void find_group(void *context, const struct addr *first, const struct addr *last, uint32_t group)
{
	struct search *search = context;

	if (memcmp(first, &search->addr, sizeof(*first)) <= 0 && memcmp(&search->addr, last, sizeof(*last)) <= 0)
		search->group = group;
}

static uint32_t group_of(const struct policy *policy, const struct addr *addr)
{
	struct search search = {.addr = *addr, .group = UINT32_MAX};

	policy_each_range(policy, addr_family(addr), find_group, &search);
	assert_int_not_equal(search.group, UINT32_MAX);
	return search.group;
}

static void check_addr(const struct policy *policy, const struct entries *entries, const struct addr *server)
{
	const struct fastpath_policy *value = look_up(entries, server);
	const uint32_t group = group_of(policy, server);

	for (uint32_t i = 0; i < 30; i++) {
		const uint16_t port = (uint16_t)(i < 26 ? i : random_below(65536));
		const struct addr client = random_addr(addr_family(server));
		const struct destination *expected = policy_match(policy, server, port, &client);
		const struct fastpath_candidate *found = fastpath_choose(value, port);

		if (!found) {
			assert_false(expected->mode == MODE_REWRITE && is_tellable(policy, group, expected));
			continue;
		}
		assert_true(is_tellable(policy, group, expected));
		assert_int_equal(found->slot, expected->slot);
		assert_int_equal(found->mode, expected->mode);
		assert_int_equal(found->repair, expected->repair);
	}
}

/* ---- how few entries there can be ---- */

enum { VALUES_MAX = 64 };

struct world {
	struct addr *start; /* of all ranges, ascending, IPv4 in its place */
	size_t count;
	uint32_t value[4096];
	struct fastpath_policy values[VALUES_MAX];
	uint32_t value_count;
	size_t needed;
};

static const struct fastpath_policy engine_has_to_say = {.candidates[0].condition = FASTPATH_BY_MORE};

static uint32_t number_of(struct world *world, const struct fastpath_policy *value)
{
	if (!value)
		value = &engine_has_to_say;
	for (uint32_t i = 0; i < world->value_count; i++)
		if (memcmp(&world->values[i], value, sizeof(*value)) == 0)
			return i;
	assert_true(world->value_count < VALUES_MAX);
	world->values[world->value_count] = *value;
	return world->value_count++;
}

static void add_start(void *context, const struct addr *first, const struct addr *last, uint32_t group)
{
	struct world *world = context;

	(void)last;
	(void)group;
	world->start = spec_append(world->start, world->count, sizeof(*world->start));
	world->start[world->count++] = *first;
}

static int compare_addrs(const void *left, const void *right)
{
	return memcmp(left, right, sizeof(struct addr));
}

static size_t last_at_or_before(const struct world *world, const struct addr *addr)
{
	size_t ret = 0;

	while (ret + 1 < world->count && compare_addrs(&world->start[ret + 1], addr) <= 0)
		ret++;
	return ret;
}

/* The set of values, as bits, that can be said of a prefix; each time that its halves have none in common costs an entry. */
static uint64_t naive_set(struct world *world, struct addr first, uint32_t len)
{
	struct addr last = first, middle = first;

	for (uint32_t bit = len; bit < 128; bit++)
		last.byte[bit / 8] |= (uint8_t)(0x80 >> bit % 8);

	const size_t begin = last_at_or_before(world, &first), end = last_at_or_before(world, &last);
	uint64_t sets[2], all = 0;

	for (size_t i = begin; i <= end; i++)
		all |= UINT64_C(1) << world->value[i];
	if ((all & (all - 1)) == 0)
		return all;
	middle.byte[len / 8] |= (uint8_t)(0x80 >> len % 8);
	sets[0] = naive_set(world, first, len + 1);
	sets[1] = naive_set(world, middle, len + 1);
	if (sets[0] & sets[1])
		return sets[0] & sets[1];
	world->needed++;
	return sets[0] | sets[1];
}

/* By the tree of all prefixes, as the paper has it: as many entries as halves at odds, and one if nothing said is wrong of all. */
static size_t fewest_entries(const struct policy *policy, const struct entries *entries)
{
	static struct world world;
	static const struct addr lowest, mapped = {.byte = {[10] = 0xff, [11] = 0xff}};
	struct addr behind = {.byte = {[9] = 1}};

	world = (struct world){0};
	number_of(&world, NULL);
	policy_each_range(policy, FAMILY_IPV4, add_start, &world);
	policy_each_range(policy, FAMILY_IPV6, add_start, &world);
	add_start(&world, &mapped, &mapped, 0);
	add_start(&world, &behind, &behind, 0);
	qsort(world.start, world.count, sizeof(*world.start), compare_addrs);
	assert_true(world.count <= sizeof(world.value) / sizeof(world.value[0]));
	for (size_t i = 0; i < world.count; i++)
		world.value[i] = number_of(&world, look_up(entries, &world.start[i]));
	if (!(naive_set(&world, lowest, 0) & 1))
		world.needed++;
	free(world.start);
	return world.needed;
}

/* ---- random policies ---- */

/* In a space of 64 addresses of either family, so that prefixes of several values lie side by side. */
static void crowd(struct destination *destination)
{
	destination->port_count = destination->source_count = 0;
	destination->mode = random_below(4) ? MODE_REWRITE : MODE_OFF;
	for (size_t i = 0; i < destination->prefix_count; i++) {
		struct prefix *prefix = &destination->prefixes[i];
		const uint8_t bytes[16] = {10, 0, 0, (uint8_t)random_below(64), [15] = (uint8_t)random_below(64)};

		prefix->addr = prefix->family == FAMILY_IPV4 ? addr_from_ipv4(bytes) : addr_from_ipv6(bytes);
		prefix->len = (uint8_t)((prefix->family == FAMILY_IPV4 ? 26 : 122) + random_below(7));
		clear_host_bits(prefix);
	}
}

static struct policy *random_policy(uint64_t seed, size_t *ret_prefixes)
{
	size_t count;
	struct destination *destinations = random_destinations(seed, &count);
	const uint32_t many = random_below(3), share = 1 + random_below(4);

	*ret_prefixes = 0;
	for (size_t i = 0; i < count; i++) {
		struct destination *d = &destinations[i];

		d->slot = (uint16_t)(i + 1);
		d->repair = random_below(3);
		/* Few kinds of destinations, so that neighbours are often alike. */
		if (many == 0 && random_below(4) < share) {
			d->slot = 1;
			d->repair = REPAIR_OFF;
			d->port_count = d->source_count = 0;
			d->mode = random_below(2) ? MODE_REWRITE : MODE_OFF;
		}
		if (many == 1) {
			d->slot = (uint16_t)(i % 4 + 1);
			d->repair = REPAIR_OFF;
			crowd(d);
		}
		if (d->enabled)
			*ret_prefixes += d->prefix_count;
	}
	struct policy *policy = policy_build(destinations, count);

	assert_non_null(policy);
	if (random_below(3) == 0) {
		const struct policy_trial trial = {
			.server = interesting_addr(policy->destinations, policy->destination_count),
			.port = (uint16_t)random_below(10),
			.mode = random_below(4),
			.repair = random_below(3),
		};

		policy = policy_change_trial(policy, &trial, 1000);
		assert_non_null(policy);
		(*ret_prefixes)++;
	}
	return policy;
}

static void check_policy(const struct policy *policy, size_t prefixes)
{
	static const uint8_t edges[][16] = {
		{0},
		{[10] = 0xff, [11] = 0xfe, [12] = 0xff, [13] = 0xff, [14] = 0xff, [15] = 0xff},
		{[10] = 0xff, [11] = 0xff},
		{[10] = 0xff, [11] = 0xff, [12] = 0xff, [13] = 0xff, [14] = 0xff, [15] = 0xff},
		{[9] = 1},
		{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
	};
	struct entries entries = entries_of(policy);

	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		const struct addr addr = addr_from_ipv6(edges[i]);

		check_addr(policy, &entries, &addr);
	}
	for (size_t i = 0; i < 300; i++) {
		const struct addr addr = interesting_addr(policy->destinations, policy->destination_count);

		check_addr(policy, &entries, &addr);
	}
	assert_true(entries.count <= prefixes + 2);
	assert_int_equal(entries.count, fewest_entries(policy, &entries));
	free(entries.entry);
}

static void test_random_policies(void **state)
{
	(void)state;

	for (uint64_t seed = 1; seed <= 400; seed++) {
		size_t prefixes;
		struct policy *policy = random_policy(seed, &prefixes);

		check_policy(policy, prefixes);
		policy_free(policy);
	}
}

/* ---- single ones ---- */

static size_t count_entries(const char *spec)
{
	struct policy *policy = spec_policy(spec);
	size_t prefixes = 0;
	struct entries entries = entries_of(policy);
	const size_t count = entries.count;

	for (size_t i = 0; i < policy->destination_count; i++)
		prefixes += policy->destinations[i].prefix_count;
	random_state = 1;
	check_policy(policy, prefixes);
	free(entries.entry);
	policy_free(policy);
	return count;
}

static void test_as_few_as_can_be(void **state)
{
	(void)state;

	assert_int_equal(count_entries("default off\n"), 0);
	assert_int_equal(count_entries("default rewrite\n"), 1);
	/* Off, observed, stripped, by sources: all the same to the programs. */
	assert_int_equal(count_entries("default off\n"
				       "a observe 10.0.0.0/8\n"
				       "b strip 10.1.0.0/16,2001:db8::/32\n"
				       "c rewrite 10.2.0.0/16 sources=192.168.0.0/16\n"
				       "d rewrite 10.3.0.0/16 disabled\n"),
			 0);
	/* Neighbours are one, and a hole is one more. */
	assert_int_equal(count_entries("default off\nx rewrite 10.0.0.0/9,10.128.0.0/10,10.192.0.0/10\n"), 1);
	assert_int_equal(count_entries("default off\nx rewrite 10.0.0.0/8\ny off 10.1.2.3\n"), 2);
	assert_int_equal(count_entries("default off\nx rewrite 2001:db8::/32\ny off 2001:db8::1\nz rewrite 2001:db8::1/128\n"), 2);
	/* A family has nothing of the other. */
	assert_int_equal(count_entries("default off\nx rewrite ::/0\n"), 2);
	assert_int_equal(count_entries("default off\nx rewrite 0.0.0.0/0\n"), 1);
	assert_int_equal(count_entries("default off\nx rewrite ::/0\ny rewrite 0.0.0.0/0\n"), 2);
	/* They touch, at either border of IPv4. */
	assert_int_equal(count_entries("default off\nx rewrite ::fffe:0:0/96,::1:0:0:0/96\ny rewrite 0.0.0.0/0 ports=1\n"), 3);
	assert_int_equal(count_entries("default rewrite\nx strip ::fffe:0:0/96\ny strip 0.0.0.0/0\n"), 2);
	/* What may be said of a half is more than what is in most of it. */
	assert_int_equal(count_entries("default off\n"
				       "a rewrite 10.0.0.0/30,10.0.0.4\nb rewrite 10.0.0.0/28\nc rewrite 10.0.0.9\n"),
			 4);
	/* Five candidates, of which the last is not told. */
	assert_int_equal(count_entries("default off\n"
				       "a off 10.0.0.0/8 ports=1\nb off 10.0.0.0/8 ports=2\nc off 10.0.0.0/8 ports=3\n"
				       "d off 10.0.0.0/8 ports=4\ne rewrite 10.0.0.0/8\n"),
			 0);
	assert_int_equal(count_entries("default off\n"
				       "a off 10.0.0.0/8 ports=1,3,5,7\nb rewrite 10.0.0.0/8 ports=9,11,13,15\n"
				       "c rewrite 10.0.0.0/8 ports=17,19,21,23,25\n"),
			 1);
}

/* ---- size ---- */

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

enum { MANY = 100000 };

/* MANY prefixes of `len` bits all over a family, of `kinds` destinations in turns; the default as given. */
static struct policy *big_policy(enum mode mode, enum family family, uint8_t len, size_t kinds, enum mode others)
{
	struct destination *destinations = calloc(kinds + 1, sizeof(*destinations));

	assert_non_null(destinations);
	destinations[0] = (struct destination){.enabled = true, .mode = mode, .slot = 1};
	for (size_t i = 0; i < kinds; i++)
		destinations[i + 1] = (struct destination){.enabled = true, .mode = others, .slot = (uint16_t)(i + 2)};
	for (size_t i = 0; i < MANY; i++) {
		struct destination *d = &destinations[1 + i % kinds];
		struct prefix prefix = {.family = family, .len = len};
		uint8_t raw[16];

		for (size_t k = 0; k < sizeof(raw); k++)
			raw[k] = (uint8_t)random_below(256);
		raw[0] |= 0x20;
		prefix.addr = family == FAMILY_IPV4 ? addr_from_ipv4(raw) : addr_from_ipv6(raw);
		clear_host_bits(&prefix);
		d->prefixes = spec_append(d->prefixes, d->prefix_count, sizeof(prefix));
		d->prefixes[d->prefix_count++] = prefix;
	}
	return policy_build(destinations, kinds + 1);
}

static void test_many_prefixes(void **state)
{
	static const struct {
		enum mode mode, others;
		enum family family;
		uint8_t len;
		size_t kinds;
	} cases[] = {
		{MODE_OFF, MODE_REWRITE, FAMILY_IPV4, 24, 1},	   {MODE_REWRITE, MODE_OFF, FAMILY_IPV4, 32, 1},
		{MODE_OFF, MODE_REWRITE, FAMILY_IPV4, 32, 1000},   {MODE_REWRITE, MODE_OFF, FAMILY_IPV6, 64, 1},
		{MODE_REWRITE, MODE_OFF, FAMILY_IPV6, 128, 1},	   {MODE_REWRITE, MODE_REWRITE, FAMILY_IPV6, 128, 1000},
		{MODE_REWRITE, MODE_REWRITE, FAMILY_IPV4, 17, 1000},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		random_state = i;
		struct policy *policy = big_policy(cases[i].mode, cases[i].family, cases[i].len, cases[i].kinds, cases[i].others);
		const double begin = seconds();
		size_t count;

		assert_non_null(policy);
		assert_true(fastpath_policy_count(policy, &count));
		const double took = seconds() - begin;

		print_message("# default %d, prefixes of %u bits, %zu kinds: %u and %u ranges, %zu entries, %.0f ms\n", cases[i].mode,
			      cases[i].len, cases[i].kinds, policy->ranges[0].count, policy->ranges[1].count, count, took * 1e3);
		assert_true(count <= MANY + 2);
		policy_free(policy);
		if (took > 2)
			fail_msg("took %.3f s", took);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_policies),
		cmocka_unit_test(test_as_few_as_can_be),
		cmocka_unit_test(test_many_prefixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
