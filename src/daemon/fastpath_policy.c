/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes a longest-prefix map of a policy.
 *
 * The ranges of both families, IPv4 mapped, are put into one line, where each has a value, and neighbours have different ones.
 * A map with the fewest entries is found as Draves, King, Venkatachary and Zill do ("Constructing Optimal IP Routing Tables",
 * 1999), on the binary tree of all prefixes. Upwards, each gets a set of values: said of all of it, any one of them leaves as
 * few entries inside of it as can be. That is what the sets of its halves have in common; or, where that is nothing, and
 * whatever is said one of the halves needs an entry of its own, what is in either. Downwards, a prefix gets an entry where
 * what holds around it is not in its set.
 *
 * Of the tree no more is kept than the forks, prefixes with borders of ranges in both halves, and the ends, those that begin
 * at a border and are all of the range behind it. On the way up from one of them the other half is of one value each time:
 * that of the range before all borders in there, or that of the range behind them. So a set on the way is made of the one
 * below and these two, which three bits tell.
 */
#include <stdlib.h>
#include <string.h>

#include "fastpath_policy.h"
#include "policy_build.h"
#include "policy_internal.h"
#include "range_key.h"

enum {
	KEY_BITS = 128,
	NOTHING = 0, /* the value of which there need be no entry: the engine has to say */
};

/* Ascending values; of one alone, the value itself is `at`. */
struct set {
	uint32_t count;
	uint32_t at; /* into words */
};

struct told {
	struct fastpath_policy value;
	uint32_t group;
};

struct line {
	const struct policy *policy;
	struct told *told;	  /* what is told of each group, equal ones next to each other */
	uint32_t *value_of_group; /* NOTHING, or an index into told, plus one */
	struct range_key *start;  /* of each range; those without a border between them are one */
	uint32_t *value;
	uint32_t count;
	struct range_key from, to; /* while they are collected: what is taken */
	struct set *below;	   /* of forks and ends, in the order in which they are come by */
	uint32_t below_count;
	uint32_t *words;
	size_t word_count, word_capacity;
	fastpath_policy_fn each;
	void *context;
};

/* ---- values ---- */

static struct fastpath_candidate make_candidate(const struct destination *destination)
{
	struct fastpath_candidate ret = {
		.slot = destination->slot,
		.mode = (uint8_t)destination->mode,
		.repair = (uint8_t)destination->repair,
		.condition = destination->port_count > 0 ? FASTPATH_BY_PORT : FASTPATH_ALWAYS,
	};

	if (destination->source_count > 0 || destination->port_count > FASTPATH_PORT_RANGES)
		return (struct fastpath_candidate){.condition = FASTPATH_BY_MORE};
	for (size_t i = 0; i < destination->port_count; i++)
		ret.ports[ret.range_count++] = destination->ports[i];
	return ret;
}

/* Behind the last that is rewritten there is nothing to tell. */
static struct fastpath_policy make_value(const struct policy *policy, uint32_t number)
{
	const struct policy_group *group = &policy->groups[number];
	struct fastpath_policy ret = {0};
	uint32_t count = 0;

	for (uint32_t i = 0; i < FASTPATH_CANDIDATES && i < group->count; i++) {
		ret.candidates[i] = make_candidate(&policy->destinations[policy->candidates[group->first + i]]);
		if (ret.candidates[i].condition == FASTPATH_BY_MORE)
			break;
		if (ret.candidates[i].mode == MODE_REWRITE)
			count = i + 1;
	}
	for (uint32_t i = count; i < FASTPATH_CANDIDATES; i++)
		ret.candidates[i] = (struct fastpath_candidate){.condition = FASTPATH_BY_MORE};
	return ret;
}

bool fastpath_policy_decides(const struct policy *policy, uint32_t group, uint32_t candidate)
{
	return candidate < FASTPATH_CANDIDATES && make_value(policy, group).candidates[candidate].condition != FASTPATH_BY_MORE;
}

_Static_assert(sizeof(struct fastpath_candidate) == 6 + FASTPATH_PORT_RANGES * sizeof(struct port_range),
	       "values are compared by their bytes, so there must be none between their fields");

static int compare_told(const void *left, const void *right)
{
	const struct told *a = left, *b = right;

	return memcmp(&a->value, &b->value, sizeof(a->value));
}

/* Equal values, equal numbers. */
static bool number_values(struct line *line)
{
	const size_t count = line->policy->group_count;
	uint32_t first = 0;

	line->told = calloc(count, sizeof(*line->told));
	line->value_of_group = calloc(count, sizeof(*line->value_of_group));
	if (!line->told || !line->value_of_group)
		return false;
	for (uint32_t i = 0; i < count; i++)
		line->told[i] = (struct told){.value = make_value(line->policy, i), .group = i};
	qsort(line->told, count, sizeof(*line->told), compare_told);
	for (uint32_t i = 0; i < count; i++) {
		const struct told *told = &line->told[i];

		if (compare_told(told, &line->told[first]) != 0)
			first = i;
		if (told->value.candidates[0].condition != FASTPATH_BY_MORE)
			line->value_of_group[told->group] = first + 1;
	}
	return true;
}

/* ---- ranges ---- */

static void add_range(void *context, const struct addr *first, const struct addr *last, uint32_t group)
{
	struct line *line = context;
	const uint32_t value = line->value_of_group[group];
	struct range_key start = addr_to_key(first, FAMILY_IPV6);

	if (range_key_compare(addr_to_key(last, FAMILY_IPV6), line->from) < 0 || range_key_compare(start, line->to) > 0)
		return;
	if (range_key_compare(start, line->from) < 0)
		start = line->from;
	if (line->count > 0 && line->value[line->count - 1] == value)
		return;
	line->start[line->count] = start;
	line->value[line->count++] = value;
}

static void add_ranges(struct line *line, enum family family, struct range_key from, struct range_key to)
{
	line->from = from;
	line->to = to;
	policy_each_range(line->policy, family, add_range, line);
}

/* Whatever is said of ::ffff:0:0/96 as IPv6 means nothing: there is IPv4. */
static bool collect_ranges(struct line *line)
{
	const struct policy_ranges *ranges = line->policy->ranges;
	const size_t most = (size_t)ranges[FAMILY_IPV4].count + ranges[FAMILY_IPV6].count + 1;
	const struct range_key lowest = {0, 0}, highest = {UINT64_MAX, UINT64_MAX};
	const struct range_key mapped = {.lo = UINT64_C(0xffff) << 32};
	struct range_key behind = range_key_last(mapped, 96);

	line->start = calloc(most, sizeof(*line->start));
	line->value = calloc(most, sizeof(*line->value));
	line->below = calloc(2 * most, sizeof(*line->below));
	if (!line->start || !line->value || !line->below)
		return false;
	add_ranges(line, FAMILY_IPV6, lowest, range_key_previous(mapped));
	add_ranges(line, FAMILY_IPV4, mapped, behind);
	range_key_next(&behind);
	add_ranges(line, FAMILY_IPV6, behind, highest);
	return true;
}

/* ---- sets ---- */

static struct set set_of(uint32_t value)
{
	return (struct set){.count = 1, .at = value};
}

static const uint32_t *set_values(const struct line *line, const struct set *set)
{
	return set->count == 1 ? &set->at : line->words + set->at;
}

static bool set_has(const struct line *line, const struct set *set, uint32_t value)
{
	const uint32_t *values = set_values(line, set);
	uint32_t low = 0, high = set->count;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;

		if (values[middle] < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low < set->count && values[low] == value;
}

static bool reserve_words(struct line *line, size_t count)
{
	size_t capacity = line->word_capacity;
	uint32_t *larger;

	if (line->word_count + count <= capacity)
		return true;
	capacity = capacity * 2 + count + 1024;
	if (capacity > UINT32_MAX)
		return false;
	larger = reallocarray(line->words, capacity, sizeof(*larger));
	if (!larger)
		return false;
	line->words = larger;
	line->word_capacity = capacity;
	return true;
}

/* What is in both, or what is in either. */
static bool set_join(struct line *line, const struct set *a, const struct set *b, bool in_both, struct set *ret)
{
	uint32_t i = 0, k = 0, count = 0;

	if (!reserve_words(line, (size_t)a->count + b->count))
		return false;
	const uint32_t *as = set_values(line, a), *bs = set_values(line, b);
	uint32_t *values = line->words + line->word_count;

	while (i < a->count || k < b->count) {
		const bool has_a = i < a->count && (k == b->count || as[i] <= bs[k]);
		const bool has_b = k < b->count && (i == a->count || bs[k] <= as[i]);
		const uint32_t value = has_a ? as[i] : bs[k];

		i += has_a;
		k += has_b;
		if (!in_both || (has_a && has_b))
			values[count++] = value;
	}
	if (count == 1) {
		*ret = set_of(values[0]);
		return true;
	}
	*ret = (struct set){.count = count, .at = (uint32_t)line->word_count};
	line->word_count += count;
	return true;
}

/* ---- forks and ends ---- */

/* The one place in a prefix that lies in ranges `low` to `high` from which its borders are reached. */
struct place {
	struct range_key first;
	uint32_t len;
	bool is_end;
	uint32_t left_low, left_high; /* of a fork: ranges in which its halves lie */
	uint32_t right_low, right_high;
};

static bool key_bit(struct range_key key, uint32_t bit)
{
	return (bit < 64 ? key.hi >> (63 - bit) : key.lo >> (127 - bit)) & 1;
}

static struct range_key key_flip(struct range_key key, uint32_t bit)
{
	if (bit < 64)
		key.hi ^= UINT64_C(1) << (63 - bit);
	else
		key.lo ^= UINT64_C(1) << (127 - bit);
	return key;
}

/* How many leading bits two different keys share. */
static uint32_t shared_bits(struct range_key a, struct range_key b)
{
	if (a.hi != b.hi)
		return (uint32_t)__builtin_clzll(a.hi ^ b.hi);
	return 64 + (uint32_t)__builtin_clzll(a.lo ^ b.lo);
}

static uint32_t trailing_zeros(struct range_key key)
{
	return key.lo ? (uint32_t)__builtin_ctzll(key.lo) : 64 + (uint32_t)__builtin_ctzll(key.hi);
}

static struct place find_place(const struct line *line, uint32_t low, uint32_t high)
{
	const struct range_key *start = line->start;
	const struct range_key border = start[low + 1];
	struct place ret = {.first = border, .right_high = high};
	struct range_key middle;

	if (high == low + 1) {
		ret.is_end = true;
		ret.len = KEY_BITS - trailing_zeros(border);
		return ret;
	}
	ret.len = shared_bits(border, start[high]);
	ret.first = range_key_first(border, ret.len);
	ret.left_low = range_key_equal(border, ret.first) ? low + 1 : low;
	middle = key_flip(ret.first, ret.len);

	/* The last range that begins before the middle, and the one that the middle is in. */
	uint32_t before = low + 1, from = high;

	while (from - before > 1) {
		const uint32_t at = before + (from - before) / 2;

		if (range_key_compare(start[at], middle) < 0)
			before = at;
		else
			from = at;
	}
	ret.left_high = before;
	ret.right_low = range_key_equal(start[from], middle) ? from : before;
	return ret;
}

/* Sets on the way up from a place, by the length of their prefixes. */
enum {
	WITH_LEFT = 1, /* the value of the range before all borders */
	WITH_RIGHT = 2,
	WITH_BELOW = 4,
};

struct way {
	struct place place;
	struct set below; /* of the place */
	uint32_t left, right;
	uint8_t made_of[KEY_BITS + 1];
};

static uint32_t other_half(const struct way *way, uint32_t len)
{
	return key_bit(way->place.first, len) ? way->left : way->right;
}

static bool way_has(const struct line *line, const struct way *way, uint32_t len, uint32_t value)
{
	const uint8_t made_of = way->made_of[len];

	return ((made_of & WITH_LEFT) && value == way->left) || ((made_of & WITH_RIGHT) && value == way->right) ||
	       ((made_of & WITH_BELOW) && set_has(line, &way->below, value));
}

static void climb(const struct line *line, struct way *way, uint32_t top)
{
	uint32_t len = way->place.len;

	for (way->made_of[len] = WITH_BELOW; len > top; len--) {
		const uint8_t other = key_bit(way->place.first, len - 1) ? WITH_LEFT : WITH_RIGHT;

		way->made_of[len - 1] = other;
		if (!way_has(line, way, len, other_half(way, len - 1)))
			way->made_of[len - 1] |= way->made_of[len];
	}
}

static bool set_on_way(struct line *line, const struct way *way, uint32_t len, struct set *ret)
{
	const uint8_t made_of = way->made_of[len];
	const struct set left = set_of(way->left), right = set_of(way->right);

	*ret = made_of & WITH_BELOW ? way->below : made_of & WITH_LEFT ? left : right;
	if ((made_of & WITH_BELOW) && (made_of & WITH_LEFT) && !set_join(line, ret, &left, false, ret))
		return false;
	return !(made_of & WITH_RIGHT) || set_join(line, ret, &right, false, ret);
}

/* ---- upwards, and downwards ---- */

/* The set of a prefix of length `top` that lies in ranges `low` to `high`. */
static bool gather(struct line *line, uint32_t top, uint32_t low, uint32_t high, struct set *ret)
{
	const uint32_t number = line->below_count;
	struct way way = {.left = line->value[low], .right = line->value[high]};
	struct set left, right;

	*ret = set_of(way.right);
	if (low == high)
		return true;
	line->below_count++;
	way.place = find_place(line, low, high);
	way.below = *ret;
	if (!way.place.is_end) {
		const struct place *place = &way.place;

		if (!gather(line, place->len + 1, place->left_low, place->left_high, &left) ||
		    !gather(line, place->len + 1, place->right_low, place->right_high, &right) ||
		    !set_join(line, &left, &right, true, &way.below))
			return false;
		if (way.below.count == 0 && !set_join(line, &left, &right, false, &way.below))
			return false;
	}
	line->below[number] = way.below;
	climb(line, &way, top);
	return set_on_way(line, &way, top, ret);
}

static void say(const struct line *line, struct range_key first, uint32_t len, uint32_t value)
{
	static const struct fastpath_policy nothing = {.candidates[0].condition = FASTPATH_BY_MORE};
	const struct fastpath_policy_key key = {.len = len, .addr = addr_from_key(first, FAMILY_IPV6)};

	line->each(line->context, &key, value == NOTHING ? &nothing : &line->told[value - 1].value);
}

/* Says what is to be said of that prefix; `around` holds around it. */
static void scatter(struct line *line, struct range_key first, uint32_t top, uint32_t low, uint32_t high, uint32_t around)
{
	struct way way = {.left = line->value[low], .right = line->value[high]};

	if (low == high) {
		if (way.left != around)
			say(line, first, top, way.left);
		return;
	}
	way.below = line->below[line->below_count++];
	way.place = find_place(line, low, high);
	climb(line, &way, top);

	const struct place *place = &way.place;

	for (uint32_t len = top; len <= place->len; len++) {
		if (!way_has(line, &way, len, around)) {
			const uint8_t made_of = way.made_of[len];

			around = made_of & WITH_LEFT ? way.left : made_of & WITH_RIGHT ? way.right : *set_values(line, &way.below);
			say(line, range_key_first(place->first, len), len, around);
		}
		if (len < place->len && other_half(&way, len) != around)
			say(line, key_flip(range_key_first(place->first, len + 1), len), len + 1, other_half(&way, len));
	}
	if (place->is_end)
		return;
	scatter(line, place->first, place->len + 1, place->left_low, place->left_high, around);
	scatter(line, key_flip(place->first, place->len), place->len + 1, place->right_low, place->right_high, around);
}

bool fastpath_policy_each(const struct policy *policy, fastpath_policy_fn each, void *context)
{
	struct line line = {.policy = policy, .each = each, .context = context};
	struct set all;
	const bool done = number_values(&line) && collect_ranges(&line) && gather(&line, 0, 0, line.count - 1, &all);

	if (done) {
		line.below_count = 0;
		scatter(&line, (struct range_key){0}, 0, 0, line.count - 1, NOTHING);
	}
	free(line.told);
	free(line.value_of_group);
	free(line.start);
	free(line.value);
	free(line.below);
	free(line.words);
	return done;
}

static void count_entry(void *context, const struct fastpath_policy_key *key, const struct fastpath_policy *value)
{
	size_t *count = context;

	(void)key;
	(void)value;
	(*count)++;
}

bool fastpath_policy_count(const struct policy *policy, size_t *ret)
{
	*ret = 0;
	return fastpath_policy_each(policy, count_entry, ret);
}
