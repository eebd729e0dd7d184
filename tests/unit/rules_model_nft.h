/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_RULES_MODEL_NFT_H
#define PAWSD_TESTS_RULES_MODEL_NFT_H

/* Reading what nft is told into the model of rules_model.h. */

#include "rules_model_text.h"

/* Reads a verdict from `word` on. */
static void model_read_verdict(struct model_verdict *verdict, const char *word, char **save)
{
	if (strcmp(word, "return") == 0 || strcmp(word, "accept") == 0) {
		verdict->kind = word[0] == 'r' ? RETURN : ACCEPT;
		return;
	}
	if (strcmp(word, "goto") == 0 || strcmp(word, "jump") == 0) {
		verdict->kind = word[0] == 'g' ? GOTO : JUMP;
		snprintf(verdict->target, sizeof(verdict->target), "%s", model_word(save));
		return;
	}
	if (strcmp(word, "reset") == 0) {
		verdict->kind = STRIP;
		return;
	}
	if (strcmp(word, "queue") != 0)
		spec_die(word, "not a verdict");
	verdict->kind = QUEUE;
	verdict->queues = 1;
	word = model_word(save);
	if (strcmp(word, "flags") == 0) {
		verdict->bypass = strcmp(model_word(save), "bypass") == 0;
		word = model_word(save);
	}
	word = model_word(save);
	if (strcmp(word, "symhash") == 0) {
		model_word(save); /* mod */
		verdict->queues = (uint32_t)strtoul(model_word(save), NULL, 10);
		model_word(save); /* offset */
		word = model_word(save);
	}
	verdict->queue = (uint32_t)strtoul(word, NULL, 10);
}

/* "{ a, b }" */
static void model_read_list(struct model_condition *condition, char **save)
{
	size_t used = 0;

	for (const char *word = model_word(save); strcmp(word, "}") != 0; word = model_word(save))
		if (strcmp(word, "{") != 0)
			used += (size_t)snprintf(condition->text + used, sizeof(condition->text) - used, "%s ", word);
	if (used >= sizeof(condition->text))
		spec_die("list", "too long");
}

/* Behind "ip" or "ip6": an address alone, with a port, in a map or in a list. */
static void model_read_address(struct model_rule *rule, bool is_ipv6, char **save)
{
	const bool of_dst = model_word(save)[0] == 'd';
	struct model_condition *condition;

	model_condition(rule, is_ipv6 ? IS_IPV6 : IS_IPV4);
	condition = model_condition(rule, IN_SET);
	condition->of_dst = of_dst;
	char *word = model_word(save);

	if (strcmp(word, "vmap") == 0) {
		condition->kind = IN_MAP;
		word = model_word(save);
	} else if (strcmp(word, ".") == 0) {
		model_word(save);			      /* tcp */
		condition->of_dst = model_word(save)[0] == 'd'; /* dport */
		if (condition->of_dst != of_dst)
			spec_die("pair", "of both ends");
		word = model_word(save);
	} else {
		condition->kind = IN_PORTS;
		condition->is_prefixes = true;
		model_read_list(condition, save);
		return;
	}
	snprintf(condition->text, sizeof(condition->text), "%s", word + 1);
}

/* "== 0" or "!= 0" */
static void model_read_nft_zero(struct model_condition *condition, char **save)
{
	condition->is_negated = strcmp(model_word(save), "==") == 0;
	if (strcmp(model_word(save), "0") != 0)
		spec_die("flags", "compared with something");
}

/* "& syn != 0", "& syn == 0", "& (fin | rst) == 0", "& (fin | syn | rst) != 0", "& (syn | ack) == syn", "& (syn | ack) == (syn | ack)" */
static void model_read_nft_flags(struct model_rule *rule, char **save)
{
	const char *word;

	model_word(save); /* & */
	word = model_word(save);
	if (strcmp(word, "syn") == 0) {
		model_read_nft_zero(model_condition(rule, IS_SYN), save);
		return;
	}
	if (strcmp(word, "(fin") == 0) {
		model_word(save); /* | */
		word = model_word(save);
		if (strcmp(word, "syn") == 0) {
			model_word(save); /* | */
			model_word(save); /* rst) */
		}
		model_read_nft_zero(model_condition(rule, word[0] == 's' ? IS_MARK : IS_END), save);
		return;
	}
	for (int i = 0; i < 3; i++)
		model_word(save); /* | ack) == */
	if (strcmp(model_word(save), "syn") == 0) {
		model_condition(rule, IS_ONLY_SYN);
		return;
	}
	model_word(save); /* | */
	model_word(save); /* ack) */
	model_condition(rule, IS_SYNACK);
}

/* Behind "meta mark": "& 0x30000 == 0x10000", "set meta mark | 0x40000" */
static void model_read_nft_mark(struct model_rule *rule, char **save)
{
	const bool is_set = strcmp(model_word(save), "set") == 0;
	struct model_condition *condition = model_condition(rule, is_set ? SETS_MARK : HAS_MARK);

	for (int i = 0; is_set && i < 3; i++)
		model_word(save); /* meta mark | */
	condition->mask = (uint32_t)strtoul(model_word(save), NULL, 0);
	condition->value = condition->mask;
	if (is_set)
		return;
	if (strcmp(model_word(save), "==") != 0)
		spec_die("mark", "compared otherwise");
	condition->value = (uint32_t)strtoul(model_word(save), NULL, 0);
}

/* Behind "ct label and": "(113 | 127) == 113", the first and not the second. */
static void model_read_nft_labels(struct model_rule *rule, char **save)
{
	struct model_condition *has = model_condition(rule, HAS_LABEL), *has_not;

	has->label = (uint32_t)strtoul(model_word(save) + 1, NULL, 10);
	model_word(save); /* | */
	has_not = model_condition(rule, HAS_LABEL);
	has_not->label = (uint32_t)strtoul(model_word(save), NULL, 10);
	has_not->is_negated = true;
	has->is_nft = has_not->is_nft = true;
	if (strcmp(model_word(save), "==") != 0 || strtoul(model_word(save), NULL, 10) != has->label)
		spec_die("labels", "compared otherwise");
}

static bool model_read_nft_condition(struct model_rule *rule, const char *word, char **save)
{
	struct model_condition *condition;

	if (strcmp(word, "ip") == 0 || strcmp(word, "ip6") == 0) {
		model_read_address(rule, word[2] == '6', save);
	} else if (strcmp(word, "meta") == 0) {
		const char *what = model_word(save);
		const bool is_family = strcmp(what, "nfproto") == 0;

		if (strcmp(what, "mark") == 0) {
			model_read_nft_mark(rule, save);
			return true;
		}
		word = model_word(save);
		model_condition(rule, !is_family ? IS_NOT_TCP : word[3] == '4' ? IS_IPV4 : IS_IPV6);
		if (!is_family)
			model_word(save); /* tcp */
	} else if (strcmp(word, "tcp") == 0) {
		word = model_word(save);
		if (strcmp(word, "flags") == 0) {
			model_read_nft_flags(rule, save);
		} else if (strcmp(word, "option") == 0) {
			condition = model_condition(rule, strcmp(model_word(save), "29") == 0 ? HAS_AO : HAS_TIMESTAMPS);
			word = model_word(save);
			condition->is_negated = strcmp(word, "missing") == 0;
			if (strcmp(word, "tsval") == 0) { /* tsval != 0 */
				condition->kind = HAS_TSVAL;
				model_read_nft_zero(condition, save);
			}
		} else {
			condition = model_condition(rule, IN_PORTS);
			condition->of_dst = word[0] == 'd';
			model_read_list(condition, save);
		}
	} else if (strcmp(word, "oifname") == 0 || strcmp(word, "iifname") == 0) {
		condition = model_condition(rule, IN_INTERFACE);
		condition->of_dst = word[0] == 'o';
		word = model_word(save);
		if (strcmp(word, "!=") == 0) {
			condition->kind = NOT_IN_INTERFACE;
			word = model_word(save);
		}
		snprintf(condition->text, sizeof(condition->text), "%.*s", (int)strcspn(word + 1, "\""), word + 1);
	} else if (strcmp(word, "ct") == 0) {
		const char *what = model_word(save);

		word = model_word(save);
		if (strcmp(what, "status") == 0 && strcmp(word, "&") == 0) { /* (seen-reply | assured) == or != seen-reply */
			for (int i = 0; i < 3; i++)
				model_word(save);
			condition = model_condition(rule, IS_HALF_OPEN);
			condition->is_negated = model_word(save)[0] == '!';
			model_word(save);
			return true;
		}
		if (strcmp(what, "label") == 0 && strcmp(word, "and") == 0) {
			model_read_nft_labels(rule, save);
			return true;
		}
		if (strcmp(what, "label") == 0 && strcmp(word, "set") == 0)
			word = model_word(save);
		else if (strcmp(what, "label") == 0)
			what = "has label";
		condition = model_condition(rule, strcmp(what, "state") == 0	   ? (word[0] == 'n' ? IS_NEW : IS_INVALID)
						  : strcmp(what, "status") == 0	   ? IS_ASSURED
						  : strcmp(what, "label") == 0	   ? SETS_LABEL
						  : strcmp(what, "has label") == 0 ? HAS_LABEL
						  : word[0] == 'o'		   ? IS_ORIGINAL
										   : IS_REPLY);
		condition->label = (uint32_t)strtoul(word, NULL, 10);
		condition->is_nft = true;
	} else if (strcmp(word, "counter") == 0) {
		model_word(save); /* name */
		snprintf(rule->counter, sizeof(rule->counter), "%s", model_word(save));
	} else {
		return false;
	}
	return true;
}

static void model_read_nft_rule(struct model_chain *chain, char *line)
{
	struct model_rule rule = {0};
	char *save = NULL;
	char *word = strtok_r(line, " ", &save);

	for (; word && model_read_nft_condition(&rule, word, &save); word = strtok_r(NULL, " ", &save))
		;
	if (word) {
		model_read_verdict(&rule.verdict, word, &save);
		rule.has_verdict = true;
	}
	model_add_rule(chain, &rule);
}

/* "FIRST-LAST : VERDICT", "ADDRESS . PORT", with or without a comma. */
static void model_read_nft_element(struct model_set *set, char *line)
{
	struct model_element *element = model_add_element(set);
	char *save = NULL, *dash;
	struct addr unused;

	if (line[strlen(line) - 1] == ',')
		line[strlen(line) - 1] = '\0';
	char *text = strtok_r(line, " ", &save);

	dash = strchr(text, '-');
	if (dash)
		*dash = '\0';
	model_read_addr(text, &element->first, &element->last);
	if (dash)
		model_read_addr(dash + 1, &unused, &element->last);
	if (strcmp(model_word(&save), ".") == 0)
		element->first_port = element->last_port = (uint16_t)strtoul(model_word(&save), NULL, 10);
	else
		model_read_verdict(&element->verdict, model_word(&save), &save);
	set->kind = element->first_port ? SET_PAIR : SET_ADDRESS;
}

static void model_read_nft(struct model *model, char *text)
{
	struct model_set *set = NULL;
	struct model_chain *chain = NULL;
	bool in_elements = false;
	char *save = NULL, name[48];

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		line += strspn(line, "\t");
		if (line[0] == '#' || strstr(line, "table inet pawsd") || strncmp(line, "type ipv", 8) == 0 ||
		    strcmp(line, "flags interval") == 0)
			continue;
		if (strcmp(line, "}") == 0) {
			if (!in_elements) {
				set = NULL;
				chain = NULL;
			}
			in_elements = false;
		} else if (sscanf(line, "map %47s {", name) == 1 || sscanf(line, "set %47s {", name) == 1) {
			set = model_add_set(model, name);
		} else if (!chain && sscanf(line, "counter %47s {", name) == 1) {
			continue;
		} else if (sscanf(line, "chain %47s {", name) == 1) {
			model_add_chain(model, name);
			chain = &model->chains[model->chain_count - 1];
		} else if (strcmp(line, "elements = {") == 0) {
			in_elements = true;
		} else if (in_elements && set) {
			model_read_nft_element(set, line);
		} else if (chain && sscanf(line, "type filter hook %15s", chain->hook) != 1) {
			model_read_nft_rule(chain, line);
		}
	}
}

#endif
