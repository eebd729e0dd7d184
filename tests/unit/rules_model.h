/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_RULES_MODEL_H
#define PAWSD_TESTS_RULES_MODEL_H

/*
 * A little netfilter: reads what rules_print() writes, in either language, and tells what
 * becomes of a packet. It knows just the words that pawsd uses and dies of any other.
 */

#include <stdlib.h>

#include "../tools/policy_spec.h"
#include "range_key.h"

enum model_result {
	MODEL_PASS,
	MODEL_QUEUE,
	MODEL_RETURN,
};

struct model_verdict {
	enum { JUMP, GOTO, RETURN, QUEUE, ACCEPT, STRIP } kind;
	char target[32]; /* chain */
	uint32_t queue, queues;
	bool bypass;
};

struct model_element {
	struct addr first, last;
	uint16_t first_port, last_port;
	struct model_verdict verdict; /* of a map */
};

struct model_set {
	char name[48];
	enum { SET_ADDRESS, SET_PORT, SET_PAIR } kind;
	struct model_element *elements;
	size_t count, maxelem;
};

struct model_condition {
	enum model_kind {
		IS_SYN, IS_ONLY_SYN, IS_SYNACK, HAS_TIMESTAMPS, HAS_AO, IS_INVALID, IS_NEW, HAS_TSVAL, IS_NEVER, IS_NOT_TCP, IS_IPV4, IS_IPV6, IN_SET, IN_MAP, IN_PORTS, IN_INTERFACE, NOT_IN_INTERFACE,
		IS_ORIGINAL, IS_REPLY, IS_ASSURED, IS_ANSWERED, IS_HALF_OPEN, IS_END, IS_MARK, HAS_LABEL, SETS_LABEL,
		HAS_MARK, SETS_MARK,
	} kind;
	bool of_dst;	/* the end that a set or port is compared with; of interfaces: outgoing */
	char text[800]; /* name of set or interface, or ports or prefixes as a list */
	uint32_t label;
	uint32_t value, mask; /* of a mark */
	bool is_prefixes, is_negated, is_nft;
};

struct model_rule {
	struct model_condition conditions[6];
	size_t condition_count;
	struct model_verdict verdict;
	bool has_verdict;
	char counter[48]; /* of rules that strip: "s3_tcp_ao" */
};

struct model_chain {
	char name[48]; /* iptables: "4 PAWSD"; nft: "PAWSD" */
	char hook[16];
	struct model_rule *rules;
	size_t rule_count;
};

struct model {
	struct model_set *sets;
	size_t set_count;
	struct model_chain *chains;
	size_t chain_count;
	char counter[48]; /* of the rule that has counted the packet */
	bool is_stripped, is_counted_twice;
	uint64_t labels_set; /* by the packet; bit n: label 64 + n */
	uint32_t mark;	     /* of the packet, as the rules have left it */
};

struct model_packet {
	struct addr src, dst;
	uint16_t sport, dport;
	bool syn, ack, is_reply, is_invalid, has_timestamps, has_ao, is_assured;
	bool is_new;	  /* its connection: nothing has come back, nor had it begun before */
	bool has_tsval;	  /* with timestamps: one that is not 0 */
	bool end;	  /* FIN or RST */
	bool is_answered; /* its connection: something has come back */
	uint64_t labels; /* of its connection */
	bool cannot_label; /* there is no connection, or one without room for labels */
	uint32_t mark;
	const char *iif, *oif;
};

struct model_outcome {
	enum model_result result;
	uint32_t queue, queues;
	bool bypass;
};

/* ---- what both languages need ---- */

static struct model_set *model_find_set(struct model *model, const char *name)
{
	for (size_t i = 0; i < model->set_count; i++)
		if (strcmp(model->sets[i].name, name) == 0)
			return &model->sets[i];
	spec_die(name, "no such set");
}

static struct model_chain *model_find_chain(struct model *model, const char *name)
{
	for (size_t i = 0; i < model->chain_count; i++)
		if (strcmp(model->chains[i].name, name) == 0)
			return &model->chains[i];
	spec_die(name, "no such chain");
}

static bool model_has_chain(const struct model *model, const char *name)
{
	for (size_t i = 0; i < model->chain_count; i++)
		if (strcmp(model->chains[i].name, name) == 0)
			return true;
	return false;
}

static struct model_set *model_add_set(struct model *model, const char *name)
{
	for (size_t i = 0; i < model->set_count; i++)
		if (strcmp(model->sets[i].name, name) == 0)
			spec_die(name, "set made twice");
	model->sets = spec_append(model->sets, model->set_count, sizeof(*model->sets));
	model->sets[model->set_count] = (struct model_set){.maxelem = SIZE_MAX};
	snprintf(model->sets[model->set_count].name, sizeof(model->sets->name), "%s", name);
	return &model->sets[model->set_count++];
}

static void model_add_chain(struct model *model, const char *name)
{
	for (size_t i = 0; i < model->chain_count; i++)
		if (strcmp(model->chains[i].name, name) == 0)
			spec_die(name, "chain made twice");
	model->chains = spec_append(model->chains, model->chain_count, sizeof(*model->chains));
	model->chains[model->chain_count] = (struct model_chain){0};
	snprintf(model->chains[model->chain_count++].name, sizeof(model->chains->name), "%s", name);
}

static void model_add_rule(struct model_chain *chain, const struct model_rule *rule)
{
	chain->rules = spec_append(chain->rules, chain->rule_count, sizeof(*rule));
	chain->rules[chain->rule_count++] = *rule;
}

static struct model_element *model_add_element(struct model_set *set)
{
	set->elements = spec_append(set->elements, set->count, sizeof(*set->elements));
	set->elements[set->count] = (struct model_element){0};
	return &set->elements[set->count++];
}

static struct model_condition *model_condition(struct model_rule *rule, enum model_kind kind)
{
	if (rule->condition_count == 6)
		spec_die("rule", "too many conditions");
	struct model_condition *condition = &rule->conditions[rule->condition_count++];

	condition->kind = kind;
	return condition;
}

/* Addresses are compared as 16 bytes: IPv4 as mapped. */
static void model_prefix_ends(const struct prefix *prefix, struct addr *ret_first, struct addr *ret_last)
{
	*ret_first = *ret_last = prefix->addr;
	for (uint32_t bit = prefix->len + (prefix->family == FAMILY_IPV4 ? 96u : 0u); bit < 128; bit++)
		ret_last->byte[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
}

static bool model_holds_addr(const struct addr *first, const struct addr *last, const struct addr *addr)
{
	/* An IPv6 range around ::ffff:0:0/96 does not hold IPv4 addresses. */
	if (addr_family(addr) == FAMILY_IPV4 &&
	    (addr_family(first) != FAMILY_IPV4 || addr_family(last) != FAMILY_IPV4))
		return false;
	return memcmp(first->byte, addr->byte, 16) <= 0 && memcmp(addr->byte, last->byte, 16) <= 0;
}

static const struct model_element *model_look_up(const struct model_set *set, const struct addr *addr, uint16_t port)
{
	for (size_t i = 0; i < set->count; i++) {
		const struct model_element *element = &set->elements[i];

		if (set->kind != SET_PORT && !model_holds_addr(&element->first, &element->last, addr))
			continue;
		if (set->kind != SET_ADDRESS && (port < element->first_port || port > element->last_port))
			continue;
		return element;
	}
	return NULL;
}

static bool model_in_list(const struct model_condition *condition, const struct addr *addr, uint16_t port)
{
	char copy[sizeof(condition->text)], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", condition->text);
	for (char *item = strtok_r(copy, " ,", &save); item; item = strtok_r(NULL, " ,", &save)) {
		struct prefix prefix;
		struct addr first, last;
		char *end;

		if (condition->is_prefixes) {
			const char *error = prefix_parse(item, &prefix);

			if (error)
				spec_die(item, error);
			model_prefix_ends(&prefix, &first, &last);
			if (model_holds_addr(&first, &last, addr))
				return true;
			continue;
		}
		const unsigned long low = strtoul(item, &end, 10);
		const unsigned long high = *end ? strtoul(end + 1, &end, 10) : low;

		if (port >= low && port <= high)
			return true;
	}
	return false;
}

static bool model_in_interface(const char *pattern, const char *name)
{
	const size_t len = strcspn(pattern, "*+");

	return pattern[len] ? strncmp(pattern, name, len) == 0 : strcmp(pattern, name) == 0;
}

static bool model_holds(struct model *model, const struct model_condition *condition,
			const struct model_packet *packet, struct model_verdict *verdict, bool *ret_has_verdict)
{
	const struct addr *addr = condition->of_dst ? &packet->dst : &packet->src;
	const uint16_t port = condition->of_dst ? packet->dport : packet->sport;
	const struct model_element *element;

	switch (condition->kind) {
	case IS_SYN:
		return packet->syn;
	case IS_ONLY_SYN:
		return packet->syn && !packet->ack;
	case IS_SYNACK:
		return packet->syn && packet->ack;
	case HAS_TIMESTAMPS:
		return packet->has_timestamps && !model->is_stripped;
	case HAS_AO:
		return packet->has_ao;
	case IS_INVALID:
		return packet->is_invalid;
	case IS_NEW:
		return packet->is_new;
	case HAS_TSVAL:
		return packet->has_timestamps && packet->has_tsval && !model->is_stripped;
	case IS_NOT_TCP:
	case IS_NEVER:
		return false;
	case IS_IPV4:
		return addr_family(&packet->src) == FAMILY_IPV4;
	case IS_IPV6:
		return addr_family(&packet->src) == FAMILY_IPV6;
	case IN_PORTS:
		return model_in_list(condition, addr, port);
	case IN_INTERFACE:
		return model_in_interface(condition->text, condition->of_dst ? packet->oif : packet->iif);
	case NOT_IN_INTERFACE:
		return !model_in_interface(condition->text, condition->of_dst ? packet->oif : packet->iif);
	case IS_ASSURED:
		return packet->is_assured;
	case IS_ANSWERED:
		return packet->is_answered;
	case IS_HALF_OPEN:
		return packet->is_answered && !packet->is_assured;
	case IS_END:
		return packet->end;
	case IS_MARK:
		return packet->syn || packet->end;
	case HAS_LABEL:
		return (packet->labels | model->labels_set) >> (condition->label - 64) & 1;
	case SETS_LABEL:
		if (!packet->cannot_label)
			model->labels_set |= UINT64_C(1) << (condition->label - 64);
		return !packet->cannot_label || condition->is_nft; /* whose rule goes on all the same */
	case HAS_MARK:
		return (model->mark & condition->mask) == condition->value;
	case SETS_MARK:
		model->mark = (model->mark & ~condition->mask) ^ condition->value;
		return true;
	case IS_ORIGINAL:
		return !packet->is_reply;
	case IS_REPLY:
		return packet->is_reply;
	case IN_SET:
		return model_look_up(model_find_set(model, condition->text), addr, port) != NULL;
	case IN_MAP:
		element = model_look_up(model_find_set(model, condition->text), addr, port);
		if (element) {
			*verdict = element->verdict;
			*ret_has_verdict = true;
		}
		return element != NULL;
	}
	return false;
}

static struct model_outcome model_walk(struct model *model, const struct model_chain *chain,
				       const struct model_packet *packet)
{
	const int digit = addr_family(&packet->src) == FAMILY_IPV4 ? '4' : '6';

	for (size_t i = 0; i < chain->rule_count; i++) {
		const struct model_rule *rule = &chain->rules[i];
		struct model_verdict verdict = rule->verdict;
		struct model_outcome outcome = {.result = MODEL_RETURN};
		bool holds = true, has_verdict = rule->has_verdict;
		char target[48];

		for (size_t k = 0; k < rule->condition_count && holds; k++)
			holds = model_holds(model, &rule->conditions[k], packet, &verdict, &has_verdict) !=
				rule->conditions[k].is_negated;
		if (!holds)
			continue;
		if (rule->counter[0]) {
			model->is_counted_twice |= model->counter[0] != '\0';
			snprintf(model->counter, sizeof(model->counter), "%s", rule->counter);
		}
		if (!has_verdict && (rule->conditions[rule->condition_count - 1].kind == SETS_LABEL ||
				     rule->conditions[rule->condition_count - 1].kind == SETS_MARK))
			continue;
		if (!has_verdict)
			spec_die(chain->name, "a rule without verdict");
		/* Chains of iptables are per family. */
		if (chain->name[1] == ' ')
			snprintf(target, sizeof(target), "%c %s", digit, verdict.target);
		else
			snprintf(target, sizeof(target), "%s", verdict.target);
		switch (verdict.kind) {
		case QUEUE:
			return (struct model_outcome){MODEL_QUEUE, verdict.queue, verdict.queues, verdict.bypass};
		case ACCEPT:
			return (struct model_outcome){.result = MODEL_PASS};
		case RETURN:
			return outcome;
		case STRIP:
			model->is_stripped = true;
			break;
		case GOTO:
			return model_walk(model, model_find_chain(model, target), packet);
		case JUMP:
			outcome = model_walk(model, model_find_chain(model, target), packet);
			if (outcome.result != MODEL_RETURN)
				return outcome;
			break;
		}
	}
	return (struct model_outcome){.result = MODEL_RETURN};
}

static void model_free(struct model *model)
{
	for (size_t i = 0; i < model->set_count; i++)
		free(model->sets[i].elements);
	for (size_t i = 0; i < model->chain_count; i++)
		free(model->chains[i].rules);
	free(model->sets);
	free(model->chains);
	*model = (struct model){0};
}

static void model_read_addr(const char *text, struct addr *ret_first, struct addr *ret_last)
{
	struct prefix prefix;
	const char *error = prefix_parse(text, &prefix);

	/* What the border at ::ffff:0:0/96 leads to is refused in a configuration, but is right here. */
	if (error && strncmp(text, "::ffff:", 7) == 0 && strstr(error, "IPv4 written as IPv6"))
		error = NULL;
	if (error)
		spec_die(text, error);
	model_prefix_ends(&prefix, ret_first, ret_last);
}

#endif
