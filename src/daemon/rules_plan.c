/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "fastpath_policy.h"
#include "policy_build.h"
#include "rules_internal.h"

enum {
	NO_CONDITION = UINT16_MAX,
};

/* As a word of a list: CLASS_STRIP and the number of the destination are one. Of a trial pawsd is to see what comes. */
static uint16_t class_word(const struct rules_plan *plan, uint16_t number)
{
	const struct destination *destination = &plan->policy->destinations[number];

	switch (destination->mode) {
	case MODE_REWRITE:
		return CLASS_FULL;
	case MODE_STRIP:
		return plan->kernel_strips && !destination->is_trial ? (uint16_t)(CLASS_STRIP + number) : CLASS_HANDSHAKE;
	case MODE_OBSERVE:
		return CLASS_WATCH;
	case MODE_OFF:
		break;
	}
	return CLASS_NONE;
}

static bool has_source_of_family(const struct destination *destination, enum family family)
{
	for (size_t i = 0; i < destination->source_count; i++)
		if (destination->sources[i].family == family)
			return true;
	return destination->source_count == 0;
}

/* Rules decide what is left to programs behind the NAT. */
static bool does_let_go(const struct rules_config *config)
{
	return fastpath_is_wanted(&config->fastpath) && config->backend == RULES_NFT && config->placement == PLACEMENT_POSTNAT &&
	       config->wan_count > 0 && config->label;
}

static uint16_t candidate_word(const struct rules_plan *plan, uint32_t group, uint32_t candidate)
{
	const uint16_t word = class_word(plan, plan->policy->candidates[plan->policy->groups[group].first + candidate]);

	return word == CLASS_FULL && does_let_go(plan->config) && !fastpath_policy_decides(plan->policy, group, candidate) ? CLASS_LEFT
															    : word;
}

/* The list of a policy group, as words: class and condition of each step. Returns their number. */
static size_t make_list(const struct rules_plan *plan, uint32_t number_of_group, uint16_t *ret_words)
{
	const struct policy *policy = plan->policy;
	const struct policy_group *group = &policy->groups[number_of_group];
	size_t steps = 0;

	for (uint32_t i = 0; i < group->count; i++) {
		const uint16_t number = policy->candidates[group->first + i];
		const struct destination *destination = &policy->destinations[number];
		const bool is_last = i + 1 == group->count;

		if (!is_last && !has_source_of_family(destination, plan->family))
			continue;
		ret_words[2 * steps] = candidate_word(plan, number_of_group, i);
		ret_words[2 * steps + 1] = is_last ? NO_CONDITION : number;
		steps++;
	}
	/* A condition before the last step tells nothing apart if both come to the same. */
	while (steps >= 2 && ret_words[2 * steps - 4] == ret_words[2 * steps - 2]) {
		ret_words[2 * steps - 3] = NO_CONDITION;
		steps--;
	}
	return 2 * steps;
}

static int make_lists(struct rules_plan *plan)
{
	const struct policy *policy = plan->policy;
	uint16_t *words = calloc(policy->destination_count, 2 * sizeof(*words));
	bool is_new;

	plan->list_of_group = calloc(policy->group_count, sizeof(*plan->list_of_group));
	if (!words || !plan->list_of_group) {
		free(words);
		return -1;
	}
	for (uint32_t i = 0; i < policy->group_count; i++) {
		const size_t count = make_list(plan, i, words);

		plan->list_of_group[i] = intern_list(&plan->lists, words, count, &is_new);
		if (plan->list_of_group[i] == UINT32_MAX) {
			free(words);
			return -1;
		}
	}
	free(words);
	return 0;
}

struct rules_step rules_list_step(const struct rules_plan *plan, uint32_t list, uint32_t step)
{
	const uint16_t *words = plan->lists.words + plan->lists.lists[list].first + 2 * step;

	return (struct rules_step){
		.class = words[0] < CLASS_STRIP ? words[0] : CLASS_STRIP,
		.stripped = words[0] < CLASS_STRIP ? 0 : (uint16_t)(words[0] - CLASS_STRIP),
		.condition = words[1] == NO_CONDITION ? NULL : &plan->policy->destinations[words[1]],
		.number = words[1],
	};
}

/* Neighbouring ranges of one list are told as one. */
struct range_merger {
	const struct rules_plan *plan;
	rules_range_fn each;
	void *context;
	uint32_t list;
	struct addr first, last;
};

static void merge_range(void *context, const struct addr *first, const struct addr *last, uint32_t group)
{
	struct range_merger *merger = context;
	const uint32_t list = merger->plan->list_of_group[group];

	if (list != merger->list) {
		if (merger->list != 0)
			merger->each(merger->context, &merger->first, &merger->last, merger->list);
		merger->list = list;
		merger->first = *first;
	}
	merger->last = *last;
}

void rules_plan_each_range(const struct rules_plan *plan, rules_range_fn each, void *context)
{
	struct range_merger merger = {.plan = plan, .each = each, .context = context};

	policy_each_range(plan->policy, plan->family, merge_range, &merger);
	if (merger.list != 0)
		each(context, &merger.first, &merger.last, merger.list);
}

struct prefix_counter {
	struct rules_plan *plan;
	uint32_t list;
};

static void count_prefix(void *context, const struct prefix *prefix)
{
	struct prefix_counter *counter = context;

	(void)prefix;
	counter->plan->prefix_counts[counter->list]++;
}

static void count_range(void *context, const struct addr *first, const struct addr *last, uint32_t list)
{
	struct prefix_counter counter = {.plan = context, .list = list};

	policy_each_prefix(counter.plan->family, first, last, 1, count_prefix, &counter);
}

static bool is_full(enum rules_class class)
{
	return class == CLASS_FULL || class == CLASS_LEFT;
}

/* Notes what the rules will need for the lists in use. */
static void look_at_lists(struct rules_plan *plan)
{
	plan->is_empty = plan->drains == 0;
	plan->is_queued = plan->drains > 0;
	plan->is_syn_only = plan->is_watch_only = plan->drains == 0;
	for (uint32_t list = 0; list < plan->lists.list_count; list++) {
		const bool is_used = list == 0 || rules_list_has_set(plan, list);

		for (uint32_t i = 0; is_used && i < rules_list_len(plan, list); i++) {
			const struct rules_step step = rules_list_step(plan, list, i);

			if (step.condition)
				plan->is_condition[step.number] = true;
			if (step.class == CLASS_STRIP)
				plan->is_stripped[step.stripped] = true;
			plan->is_empty &= step.class == CLASS_NONE;
			plan->is_queued |= step.class != CLASS_NONE && step.class != CLASS_STRIP;
			plan->is_syn_only &= !is_full(step.class) && step.class != CLASS_WATCH;
			plan->is_watch_only &= !is_full(step.class);
			plan->has_handshakes |= step.class != CLASS_NONE && !is_full(step.class);
			plan->has_watched |= step.class == CLASS_WATCH;
		}
	}
	/*
	 * Where only SYNs and ends are of interest that is as quickly asked for. With postnat a packet that comes in by one wan
	 * interface and leaves by another is looked at twice, each time with other eyes, but has one label; for the fast path
	 * there are labels all the same, but of connections alone whose packets are all queued (rules_nft_fast.c).
	 */
	plan->is_labelled = plan->config->label != 0 && plan->config->placement == PLACEMENT_FORWARD &&
			    !plan->is_empty && !plan->is_watch_only;
	plan->is_fast = fastpath_is_wanted(&plan->config->fastpath) && plan->config->backend != RULES_NONE &&
			(plan->config->placement == PLACEMENT_FORWARD || plan->config->wan_count > 0) && !plan->is_empty &&
			!plan->is_watch_only && !plan->is_syn_only;
}

int rules_plan_init(struct rules_plan *ret, enum family family, const struct rules_config *config,
		    const struct policy *policy, const struct rules_drain *drain, size_t drain_count, bool kernel_strips)
{
	*ret = (struct rules_plan){
		.family = family,
		.config = config,
		.policy = policy,
		.drain = drain,
		.drain_count = drain_count,
		.kernel_strips = kernel_strips,
	};
	if (make_lists(ret) != 0)
		return -1;
	ret->prefix_counts = calloc(ret->lists.list_count, sizeof(*ret->prefix_counts));
	ret->is_condition = calloc(policy->destination_count, sizeof(*ret->is_condition));
	ret->is_stripped = calloc(policy->destination_count, sizeof(*ret->is_stripped));
	if (!ret->prefix_counts || !ret->is_condition || !ret->is_stripped)
		return -1;
	rules_plan_each_range(ret, count_range, ret);
	for (size_t i = 0; i < drain_count; i++)
		ret->drains += addr_family(&drain[i].server) == family;
	look_at_lists(ret);
	return 0;
}

void rules_plan_free(struct rules_plan *plan)
{
	intern_free(&plan->lists);
	free(plan->list_of_group);
	free(plan->prefix_counts);
	free(plan->is_condition);
	free(plan->is_stripped);
}

void rules_list_describe(FILE *out, const struct rules_plan *plan, uint32_t list)
{
	static const char *const words[] = {
		[CLASS_NONE] = "not queued",
		[CLASS_HANDSHAKE] = "handshakes queued",
		[CLASS_WATCH] = "handshakes and ends queued",
		[CLASS_FULL] = "all queued",
		[CLASS_LEFT] = "all queued, whatever programs do",
		[CLASS_STRIP] = "stripped here",
	};

	fprintf(out, "# group %u:", list);
	for (uint32_t i = 0; i < rules_list_len(plan, list); i++) {
		const struct rules_step step = rules_list_step(plan, list, i);

		fprintf(out, " %s %s%s", step.condition ? step.condition->name : i ? "any other" : "any",
			words[step.class], step.condition ? "," : "");
	}
	fputc('\n', out);
}

const enum reason rules_strip_reasons[RULES_STRIP_REASONS] = {
	REASON_SYN_STRIPPED,
	REASON_SYNACK_STRIPPED,
	REASON_SYN_NO_TIMESTAMPS,
	REASON_TCP_AO,
};

enum rules_backend rules_backend_shown(const struct rules_config *config)
{
	if (config->backend != RULES_NONE)
		return config->backend;
	return config->placement == PLACEMENT_POSTNAT ? RULES_NFT : RULES_IPTABLES;
}
