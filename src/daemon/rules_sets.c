/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sets that the rules of rules_text.c look into, as `ipset restore` reads them. */
#include <string.h>

#include "policy_build.h"
#include "rules_internal.h"

static const char *const ipset_family[FAMILY_COUNT] = {[FAMILY_IPV4] = "inet", [FAMILY_IPV6] = "inet6"};

/* Half as many buckets as elements, a power of two: ipset fills a bucket with up to 12. */
static size_t hash_size(size_t elements)
{
	size_t size = 64;

	while (size * 2 < elements)
		size *= 2;
	return size;
}

static void write_hash_set(FILE *out, const struct rules_plan *plan, char generation, const char *name,
			   const char *type, size_t elements)
{
	fprintf(out, "create " RULES_SET_PREFIX "%c%c-%s %s family %s hashsize %zu maxelem %zu\n", generation,
		rules_family_digit(plan->family), name, type, ipset_family[plan->family], hash_size(elements),
		elements ? elements : 1);
}

struct set_writer {
	FILE *out;
	char name[32];
};

static void write_prefix(void *context, const struct prefix *prefix)
{
	const struct set_writer *writer = context;
	char text[64];

	prefix_format(prefix, text, sizeof(text));
	fprintf(writer->out, "add %s %s\n", writer->name, text);
}

struct range_writer {
	FILE *out;
	const struct rules_plan *plan;
	char generation;
};

static void write_range(void *context, const struct addr *first, const struct addr *last, uint32_t list)
{
	const struct range_writer *range = context;
	struct set_writer writer = {.out = range->out};

	snprintf(writer.name, sizeof(writer.name), RULES_SET_PREFIX "%c%c-g%u", range->generation,
		 rules_family_digit(range->plan->family), list);
	policy_each_prefix(range->plan->family, first, last, 1, write_prefix, &writer);
}

static void write_address_sets(FILE *out, const struct rules_plan *plan, char generation)
{
	struct range_writer range = {.out = out, .plan = plan, .generation = generation};
	char name[24];

	for (uint32_t list = 1; list < plan->lists.list_count; list++) {
		if (!rules_list_has_set(plan, list))
			continue;
		rules_list_describe(out, plan, list);
		snprintf(name, sizeof(name), "g%u", list);
		write_hash_set(out, plan, generation, name, "hash:net", plan->prefix_counts[list]);
	}
	rules_plan_each_range(plan, write_range, &range);
}

struct source_counter {
	size_t count;
};

static void count_source(void *context, const struct prefix *prefix)
{
	struct source_counter *counter = context;

	(void)prefix;
	counter->count++;
}

/* hash:net has no place for /0: such a source becomes two halves. */
static void each_source_prefix(const struct destination *destination, enum family family, prefix_fn each,
			       void *context)
{
	for (size_t i = 0; i < destination->source_count; i++) {
		const struct prefix *source = &destination->sources[i];
		struct addr last;

		if (source->family != family)
			continue;
		if (source->len > 0) {
			each(context, source);
			continue;
		}
		memset(&last, 0xff, sizeof(last));
		if (family == FAMILY_IPV4)
			last = addr_from_ipv4(last.byte);
		policy_each_prefix(family, &source->addr, &last, 1, each, context);
	}
}

static void write_source_set(FILE *out, const struct rules_plan *plan, char generation, uint16_t number)
{
	const struct destination *destination = &plan->policy->destinations[number];
	struct set_writer writer = {.out = out};
	struct source_counter counter = {0};
	char name[24];

	if (destination->source_count == 0)
		return;
	each_source_prefix(destination, plan->family, count_source, &counter);
	fprintf(out, "# sources of %s\n", destination->name);
	snprintf(name, sizeof(name), "s%u", number);
	write_hash_set(out, plan, generation, name, "hash:net", counter.count);
	snprintf(writer.name, sizeof(writer.name), RULES_SET_PREFIX "%c%c-s%u", generation,
		 rules_family_digit(plan->family), number);
	each_source_prefix(destination, plan->family, write_prefix, &writer);
}

static void write_port_set(FILE *out, const struct destination *destination, char generation, size_t number)
{
	if (destination->port_count == 0)
		return;
	fprintf(out, "# ports of %s\n", destination->name);
	fprintf(out, "create " RULES_SET_PREFIX "%c-p%zu bitmap:port range 0-65535\n", generation, number);
	for (size_t i = 0; i < destination->port_count; i++)
		fprintf(out, "add " RULES_SET_PREFIX "%c-p%zu %u-%u\n", generation, number,
			destination->ports[i].first, destination->ports[i].last);
}

static void write_drain_set(FILE *out, const struct rules_plan *plan, char generation)
{
	char text[64];

	if (plan->drains == 0)
		return;
	fputs("# servers with rewritten flows of an earlier configuration\n", out);
	write_hash_set(out, plan, generation, "drain", "hash:ip,port", plan->drains);
	for (size_t i = 0; i < plan->drain_count; i++) {
		if (addr_family(&plan->drain[i].server) != plan->family)
			continue;
		addr_format(&plan->drain[i].server, text, sizeof(text));
		/* The same server twice is no error. */
		fprintf(out, "add " RULES_SET_PREFIX "%c%c-drain %s,tcp:%u -exist\n", generation,
			rules_family_digit(plan->family), text, plan->drain[i].port);
	}
}

void rules_write_sets(FILE *out, const struct rules_plan plans[FAMILY_COUNT], char generation)
{
	const struct policy *policy = plans[0].policy;

	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		const struct rules_plan *plan = &plans[family];

		if (plan->is_empty)
			continue;
		write_address_sets(out, plan, generation);
		for (size_t i = 0; i < policy->destination_count; i++)
			if (plan->is_condition[i])
				write_source_set(out, plan, generation, (uint16_t)i);
		write_drain_set(out, plan, generation);
	}
	for (size_t i = 0; i < policy->destination_count; i++)
		if ((plans[FAMILY_IPV4].is_condition[i] && !plans[FAMILY_IPV4].is_empty) ||
		    (plans[FAMILY_IPV6].is_condition[i] && !plans[FAMILY_IPV6].is_empty))
			write_port_set(out, &policy->destinations[i], generation, i);
}
