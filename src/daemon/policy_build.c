/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Builds a policy: cuts each family's address space at the borders of all prefixes.
 *
 * Two prefixes are either nested or apart. So all prefixes of a family, sorted by first
 * address and the wider before the narrower, are visited once with a stack of those that are
 * open: at each border the top of the stack is the most specific prefix there. What holds
 * under a prefix (its group) is known when it is opened: its own destinations in order, and
 * then, unless one of these is without conditions, the group of the prefix around it.
 *
 * Lists are interned: equal lists get one number. Groups are looked up twice, first by (group
 * around, own destinations), which is short, and only when that is new by the whole list. So
 * 100 000 prefixes cost a sort and 100 000 short look-ups.
 */
#include <stdlib.h>
#include <string.h>

#include "intern.h"
#include "policy_build.h"
#include "policy_internal.h"
#include "range_key.h"

/* A prefix of an enabled destination. */
struct span {
	struct range_key first;
	uint16_t destination;
	uint8_t len;
	bool comes_last; /* of those with the same prefix: it has no ports, and is no trial */
};

struct open_prefix {
	struct range_key last;
	uint32_t group;
};

struct builder {
	struct policy *policy;
	struct intern groups, memo;
	uint32_t *memo_groups; /* by number in memo */
	size_t memo_capacity;
	uint16_t *list;		/* scratch: a list being made, destination_count + 2 words */
	uint32_t *seen;		/* by destination: the last list that it is in */
	uint32_t seen_stamp;
	struct open_prefix stack[129 + 1];
	size_t depth;
};

/* Adds a candidate to the list being made. Returns whether it ends the list. */
static bool list_add(struct builder *builder, size_t *count, uint16_t candidate)
{
	const struct destination *destination = &builder->policy->destinations[candidate];

	/* A destination that is in already, by a longer prefix, would have matched there. */
	if (builder->seen[candidate] != builder->seen_stamp) {
		builder->seen[candidate] = builder->seen_stamp;
		builder->list[(*count)++] = candidate;
	}
	return candidate == 0 || (destination->port_count == 0 && destination->source_count == 0);
}

static bool grow_memo(struct builder *builder, uint32_t number)
{
	if (number < builder->memo_capacity)
		return true;
	uint32_t *larger = reallocarray(builder->memo_groups, (size_t)number * 2 + 64, sizeof(*larger));

	if (!larger)
		return false;
	builder->memo_groups = larger;
	builder->memo_capacity = (size_t)number * 2 + 64;
	return true;
}

/* The group under a prefix with these destinations, inside of one with group `around`. */
static uint32_t make_group(struct builder *builder, uint32_t around, const struct span *spans, size_t span_count)
{
	size_t count = 0;
	bool is_new, ended = false;

	builder->seen_stamp++;
	for (size_t i = 0; i < span_count && !ended; i++)
		ended = list_add(builder, &count, spans[i].destination);

	/* An ended list is the group by itself; another one stands before `around`. */
	const uint16_t around_words[2] = {(uint16_t)(around >> 16), (uint16_t)around};

	if (!ended) {
		memcpy(builder->list + count, around_words, sizeof(around_words));
		const uint32_t number = intern_list(&builder->memo, builder->list, count + 2, &is_new);

		if (number == UINT32_MAX)
			return UINT32_MAX;
		if (!is_new)
			return builder->memo_groups[number];
		const struct policy_group rest = builder->groups.lists[around];

		for (uint32_t i = 0; i < rest.count && !ended; i++)
			ended = list_add(builder, &count, builder->groups.words[rest.first + i]);
		if (!grow_memo(builder, number))
			return UINT32_MAX;
		return builder->memo_groups[number] = intern_list(&builder->groups, builder->list, count, &is_new);
	}
	return intern_list(&builder->groups, builder->list, count, &is_new);
}

/* From `start` on `group` holds. Ranges of no addresses vanish, equal neighbours become one. */
static void put_range(struct policy_ranges *ranges, struct range_key start, uint32_t group)
{
	if (ranges->count > 0 && range_key_equal(ranges->start[ranges->count - 1], start))
		ranges->count--;
	if (ranges->count > 0 && ranges->group[ranges->count - 1] == group)
		return;
	ranges->start[ranges->count] = start;
	ranges->group[ranges->count] = group;
	ranges->count++;
}

/* Closes the prefixes that end before `key`; all of them if `key` is NULL. */
static void close_prefixes(struct builder *builder, struct policy_ranges *ranges, const struct range_key *key)
{
	while (builder->depth > 0) {
		struct range_key next = builder->stack[builder->depth - 1].last;

		if (key && range_key_compare(next, *key) >= 0)
			return;
		builder->depth--;
		if (range_key_next(&next))
			put_range(ranges, next, builder->depth > 0 ? builder->stack[builder->depth - 1].group : 0);
	}
}

static bool sweep(struct builder *builder, struct policy_ranges *ranges, const struct span *spans, size_t count)
{
	put_range(ranges, (struct range_key){0}, 0);
	for (size_t i = 0, end; i < count; i = end) {
		for (end = i + 1; end < count; end++)
			if (spans[end].len != spans[i].len || !range_key_equal(spans[end].first, spans[i].first))
				break;
		close_prefixes(builder, ranges, &spans[i].first);

		const uint32_t around = builder->depth > 0 ? builder->stack[builder->depth - 1].group : 0;
		const uint32_t group = make_group(builder, around, spans + i, end - i);

		if (group == UINT32_MAX)
			return false;
		builder->stack[builder->depth++] = (struct open_prefix){
			.last = range_key_last(spans[i].first, spans[i].len),
			.group = group,
		};
		put_range(ranges, spans[i].first, group);
	}
	close_prefixes(builder, ranges, NULL);
	return true;
}

static int compare_spans(const void *left, const void *right)
{
	const struct span *a = left, *b = right;
	const int by_address = range_key_compare(a->first, b->first);

	if (by_address)
		return by_address;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	if (a->comes_last != b->comes_last)
		return a->comes_last ? 1 : -1;
	return (a->destination > b->destination) - (a->destination < b->destination);
}

static size_t collect_spans(const struct policy *policy, enum family family, struct span *spans)
{
	size_t count = 0;

	for (size_t i = 1; i < policy->destination_count; i++) {
		const struct destination *destination = &policy->destinations[i];

		for (size_t k = 0; destination->enabled && k < destination->prefix_count; k++) {
			const struct prefix *prefix = &destination->prefixes[k];

			if (prefix->family != family)
				continue;
			spans[count++] = (struct span){
				.first = range_key_first(addr_to_key(&prefix->addr, family), prefix->len),
				.destination = (uint16_t)i,
				.len = prefix->len,
				.comes_last = destination->port_count == 0 && !destination->is_trial,
			};
		}
	}
	qsort(spans, count, sizeof(*spans), compare_spans);
	return count;
}

static void fill_index(struct policy_ranges *ranges)
{
	uint32_t range = 0;

	for (uint32_t i = 0; i < 65536; i++) {
		while (range < ranges->count && ranges->start[range].hi >> 48 < i)
			range++;
		ranges->index[i] = range;
	}
	ranges->index[65536] = ranges->count;
}

static bool build_ranges(struct builder *builder, enum family family, size_t prefix_count)
{
	struct policy_ranges *ranges = &builder->policy->ranges[family];
	struct span *spans = calloc(prefix_count + 1, sizeof(*spans));
	const size_t count = spans ? collect_spans(builder->policy, family, spans) : 0;

	/* A prefix has two borders. */
	ranges->start = calloc(2 * count + 1, sizeof(*ranges->start));
	ranges->group = calloc(2 * count + 1, sizeof(*ranges->group));
	ranges->index = calloc(65537, sizeof(*ranges->index));
	const bool done = spans && ranges->start && ranges->group && ranges->index &&
			  sweep(builder, ranges, spans, count);

	if (done)
		fill_index(ranges);
	free(spans);
	return done;
}

static int compare_ports(const void *left, const void *right)
{
	const struct port_range *a = left, *b = right;

	return (a->first > b->first) - (a->first < b->first);
}

/* Sorts the ports, and makes one range of those that overlap or touch. */
static void merge_ports(struct destination *destination)
{
	struct port_range *ports = destination->ports;
	size_t kept = 0;

	if (destination->port_count < 2)
		return;
	qsort(ports, destination->port_count, sizeof(*ports), compare_ports);
	for (size_t i = 1; i < destination->port_count; i++) {
		if (ports[i].first > (uint32_t)ports[kept].last + 1)
			ports[++kept] = ports[i];
		else if (ports[i].last > ports[kept].last)
			ports[kept].last = ports[i].last;
	}
	destination->port_count = kept + 1;
}

static int compare_prefixes(const void *left, const void *right)
{
	const struct prefix *a = left, *b = right;

	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	const int by_address = range_key_compare(addr_to_key(&a->addr, a->family), addr_to_key(&b->addr, b->family));

	return by_address ? by_address : a->len - b->len;
}

static bool prefix_is_within(const struct prefix *inner, const struct prefix *outer)
{
	return inner->family == outer->family && inner->len >= outer->len &&
	       range_key_equal(range_key_first(addr_to_key(&inner->addr, inner->family), outer->len),
			       addr_to_key(&outer->addr, outer->family));
}

/* Sorts the sources, and drops those that lie within others. */
static void merge_sources(struct destination *destination)
{
	struct prefix *sources = destination->sources;
	size_t kept = 0;

	if (destination->source_count < 2)
		return;
	qsort(sources, destination->source_count, sizeof(*sources), compare_prefixes);
	for (size_t i = 1; i < destination->source_count; i++)
		if (!prefix_is_within(&sources[i], &sources[kept]))
			sources[++kept] = sources[i];
	destination->source_count = kept + 1;
}

static bool build(struct builder *builder, struct policy *policy)
{
	size_t prefix_count = 0;
	bool is_new;
	static const uint16_t only_default[1] = {0};

	for (size_t i = 0; i < policy->destination_count; i++) {
		merge_ports(&policy->destinations[i]);
		merge_sources(&policy->destinations[i]);
		prefix_count += policy->destinations[i].prefix_count;
	}
	builder->list = calloc(policy->destination_count + 2, sizeof(*builder->list));
	builder->seen = calloc(policy->destination_count + 1, sizeof(*builder->seen));
	if (!builder->list || !builder->seen || intern_list(&builder->groups, only_default, 1, &is_new) != 0)
		return false;
	for (enum family family = 0; family < FAMILY_COUNT; family++)
		if (!build_ranges(builder, family, prefix_count))
			return false;
	return true;
}

void policy_free_destinations(struct destination *destinations, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(destinations[i].prefixes);
		free(destinations[i].ports);
		free(destinations[i].sources);
	}
	free(destinations);
}

struct policy *policy_build(struct destination *destinations, size_t count)
{
	struct builder builder = {.policy = calloc(1, sizeof(*builder.policy))};
	struct policy *policy = builder.policy;

	if (policy)
		*policy = (struct policy){.destinations = destinations, .destination_count = count};
	const bool done = policy && build(&builder, policy);

	free(builder.list);
	free(builder.seen);
	free(builder.memo_groups);
	intern_free(&builder.memo);
	free(builder.groups.slots);
	builder.groups.slots = NULL;
	if (done) {
		policy->groups = builder.groups.lists;
		policy->group_count = builder.groups.list_count;
		policy->candidates = builder.groups.words;
		return policy;
	}
	intern_free(&builder.groups);
	if (policy)
		policy_free(policy);
	else
		policy_free_destinations(destinations, count);
	return NULL;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	policy_free_destinations(policy->destinations, policy->destination_count);
	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		free(policy->ranges[family].start);
		free(policy->ranges[family].group);
		free(policy->ranges[family].index);
	}
	free(policy->groups);
	free(policy->candidates);
	free(policy);
}

void policy_each_range(const struct policy *policy, enum family family, policy_range_fn each, void *context)
{
	const struct policy_ranges *ranges = &policy->ranges[family];

	for (uint32_t i = 0; i < ranges->count; i++) {
		struct range_key end = {UINT64_MAX, UINT64_MAX};

		if (i + 1 < ranges->count)
			end = range_key_previous(ranges->start[i + 1]);
		const struct addr first = addr_from_key(ranges->start[i], family);
		const struct addr last = addr_from_key(end, family);

		each(context, &first, &last, ranges->group[i]);
	}
}
