/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_RULES_MODEL_TEXT_H
#define PAWSD_TESTS_RULES_MODEL_TEXT_H

/* Reading what ipset and iptables are told into the model of rules_model.h. */

#include "rules_model.h"

static char *model_word(char **save)
{
	char *word = strtok_r(NULL, " ", save);

	if (!word)
		spec_die("rule", "ends too early");
	return word;
}

static void model_read_create(struct model *model, char **save)
{
	struct model_set *set = model_add_set(model, model_word(save));
	const char *type = model_word(save);

	set->kind = strcmp(type, "hash:net") == 0 ? SET_ADDRESS : strcmp(type, "bitmap:port") == 0 ? SET_PORT : SET_PAIR;
	if (set->kind == SET_PAIR && strcmp(type, "hash:ip,port") != 0)
		spec_die(type, "not a known type");
	for (char *word; (word = strtok_r(NULL, " ", save)) != NULL;)
		if (strcmp(word, "maxelem") == 0)
			set->maxelem = strtoul(model_word(save), NULL, 10);
}

static void model_read_add(struct model *model, char **save)
{
	struct model_set *set = model_find_set(model, model_word(save));
	struct model_element *element = model_add_element(set);
	char *text = model_word(save), *rest = NULL;

	if (set->count > set->maxelem)
		spec_die(set->name, "more elements than maxelem");
	if (set->kind == SET_PORT) {
		element->first_port = (uint16_t)strtoul(text, &rest, 10);
		element->last_port = *rest == '-' ? (uint16_t)strtoul(rest + 1, NULL, 10) : element->first_port;
		return;
	}
	if (set->kind == SET_PAIR) {
		rest = strstr(text, ",tcp:");
		if (!rest)
			spec_die(text, "not an address and port");
		*rest = '\0';
		element->first_port = element->last_port = (uint16_t)strtoul(rest + 5, NULL, 10);
	} else if (strlen(text) > 2 && strcmp(text + strlen(text) - 2, "/0") == 0) {
		spec_die(text, "hash:net takes no /0");
	}
	model_read_addr(text, &element->first, &element->last);
	for (size_t i = 0; i + 1 < set->count && set->kind == SET_ADDRESS; i++)
		if (model_holds_addr(&set->elements[i].first, &set->elements[i].last, &element->first))
			spec_die(text, "added twice");
}

/* "0x10000/0x30000" */
static void model_read_mark(struct model_condition *condition, const char *text)
{
	char *end;

	condition->value = (uint32_t)strtoul(text, &end, 0);
	if (*end != '/')
		spec_die(text, "a mark without mask");
	condition->mask = (uint32_t)strtoul(end + 1, NULL, 0);
}

static void model_read_iptables_word(struct model_rule *rule, const char *word, char **save)
{
	struct model_condition *condition;
	const bool is_negated = strcmp(word, "!") == 0;

	if (is_negated)
		word = model_word(save);
	const char *value = model_word(save);

	if (strcmp(word, "-p") == 0 || strcmp(word, "-m") == 0 || strcmp(word, "--strip-options") == 0)
		return;
	if (strcmp(word, "--tcp-flags") == 0) {
		const bool with_ack = strcmp(value, "SYN,ACK") == 0, with_syn = strcmp(value, "FIN,SYN,RST") == 0;

		if (with_syn || strcmp(value, "FIN,RST") == 0) {
			if (strcmp(model_word(save), "NONE") != 0)
				spec_die(value, "other than NONE");
			model_condition(rule, with_syn ? IS_MARK : IS_END)->is_negated = !is_negated; /* NONE of them is set */
			return;
		}
		value = model_word(save);
		if (strncmp(value, "SYN", 3) != 0)
			spec_die(value, "other flags than SYN");
		condition = model_condition(rule, !with_ack ? IS_SYN : value[3] ? IS_SYNACK : IS_ONLY_SYN);
		condition->is_negated = is_negated;
	} else if (strcmp(word, "--tcp-option") == 0) {
		condition = model_condition(rule, strcmp(value, "8") == 0 ? HAS_TIMESTAMPS : HAS_AO);
		condition->is_negated = is_negated;
	} else if (strcmp(word, "--ctstate") == 0) {
		model_condition(rule, IS_INVALID);
	} else if (strcmp(word, "--ctstatus") == 0) {
		condition = model_condition(rule, value[0] == 'A' ? IS_ASSURED : IS_ANSWERED);
		condition->is_negated = is_negated;
	} else if (strcmp(word, "--label") == 0) {
		condition = model_condition(rule, HAS_LABEL);
		condition->label = (uint32_t)strtoul(value, NULL, 10);
		condition->is_negated = is_negated;
	} else if (strcmp(word, "--mark") == 0 || strcmp(word, "--set-xmark") == 0) {
		condition = model_condition(rule, word[2] == 'm' ? HAS_MARK : SETS_MARK);
		model_read_mark(condition, value);
		condition->is_negated = is_negated;
	} else if (strcmp(word, "--ctdir") == 0) {
		model_condition(rule, value[0] == 'O' ? IS_ORIGINAL : IS_REPLY);
	} else if (strcmp(word, "--comment") == 0) {
		snprintf(rule->counter, sizeof(rule->counter), "%s", value);
	} else if (strcmp(word, "--dport") == 0 || strcmp(word, "--sport") == 0) {
		condition = model_condition(rule, IN_PORTS);
		condition->of_dst = word[2] == 'd';
		snprintf(condition->text, sizeof(condition->text), "%s", value);
	} else if (strcmp(word, "--length") == 0) {
		/* no packet of the model ends within its TCP header */
		if (value[0] == '0')
			model_condition(rule, IS_NEVER);
	} else if (strcmp(word, "--match-set") == 0) {
		condition = model_condition(rule, IN_SET);
		snprintf(condition->text, sizeof(condition->text), "%s", value);
		value = model_word(save);
		condition->of_dst = value[0] == 'd';
	} else if (strcmp(word, "-o") == 0 || strcmp(word, "-i") == 0) {
		condition = model_condition(rule, IN_INTERFACE);
		condition->of_dst = word[1] == 'o';
		snprintf(condition->text, sizeof(condition->text), "%s", value);
	} else if (strcmp(word, "-j") == 0 && strcmp(value, "MARK") == 0) {
		return;
	} else if (strcmp(word, "-j") == 0 || strcmp(word, "-g") == 0) {
		rule->has_verdict = true;
		rule->verdict.kind = word[1] == 'g' ? GOTO : JUMP;
		if (strcmp(value, "RETURN") == 0)
			rule->verdict.kind = RETURN;
		if (strcmp(value, "NFQUEUE") == 0)
			rule->verdict.kind = QUEUE;
		if (strcmp(value, "TCPOPTSTRIP") == 0)
			rule->verdict.kind = STRIP;
		snprintf(rule->verdict.target, sizeof(rule->verdict.target), "%s", value);
	} else if (strcmp(word, "--queue-num") == 0 || strcmp(word, "--queue-balance") == 0) {
		char *end;

		rule->verdict.queue = (uint32_t)strtoul(value, &end, 10);
		rule->verdict.queues = *end ? (uint32_t)strtoul(end + 1, NULL, 10) - rule->verdict.queue + 1 : 1;
	} else {
		spec_die(word, "not a known word");
	}
}

static void model_read_iptables_line(struct model *model, char *line, char digit)
{
	char *save = NULL, name[48];
	const char *command = strtok_r(line, " ", &save);

	if (strcmp(command, "create") == 0) {
		model_read_create(model, &save);
	} else if (strcmp(command, "add") == 0) {
		model_read_add(model, &save);
	} else if (command[0] == ':') {
		if (strlen(command + 1) > 28)
			spec_die(command, "a name too long for a chain");
		snprintf(name, sizeof(name), "%c %s", digit, command + 1);
		model_add_chain(model, name);
	} else if (strcmp(command, "-A") == 0) {
		struct model_rule rule = {0};

		snprintf(name, sizeof(name), "%c %s", digit, model_word(&save));
		if (strcmp(name + 2, "FORWARD") == 0 && !model_has_chain(model, name))
			model_add_chain(model, name);
		for (char *word; (word = strtok_r(NULL, " ", &save)) != NULL;) {
			if (strcmp(word, "--queue-bypass") == 0)
				rule.verdict.bypass = true;
			else if (strcmp(word, "--set") == 0)
				rule.conditions[rule.condition_count - 1].kind = SETS_LABEL;
			else
				model_read_iptables_word(&rule, word, &save);
		}
		if (rule.counter[0]) {
			char reason[sizeof(rule.counter)];

			memcpy(reason, rule.counter, sizeof(reason));
			snprintf(rule.counter, sizeof(rule.counter), "s%u_%.36s", (unsigned int)atoi(name + 9), reason);
		}
		model_add_rule(model_find_chain(model, name), &rule);
	} else {
		spec_die(command, "not a known command");
	}
}

static void model_read_script(struct model *model, char *text)
{
	char digit = '\0', *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (line[0] == '#' || strcmp(line, "set -e") == 0 || strcmp(line, "EOF") == 0 ||
		    strcmp(line, "*mangle") == 0 || strcmp(line, "COMMIT") == 0 ||
		    strcmp(line, "ipset restore <<'EOF'") == 0)
			continue;
		if (strstr(line, "tables-restore --noflush <<'EOF'") || strstr(line, "-restore --noflush <<'EOF'"))
			digit = line[2] == '6' ? '6' : '4';
		else
			model_read_iptables_line(model, line, digit);
	}
}

#endif
