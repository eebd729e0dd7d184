/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules for nft: one table, inet pawsd, with the chains of rules_text.c under other names
 * (out, in, full, handshake, watch, s7_out, g4_3_out). A verdict map takes the place of the sets: one look-up
 * of the server's address finds the group's chain.
 *
 * Base chains. Placement forward hooks in just behind priority mangle, where the iptables rules
 * are: behind the user's own mangling (TCPMSS clamps and the like, in either language) and
 * before the filter. A verdict of accept goes on at the next base chain.
 *
 * Placement postnat sees both directions with the public address: outbound in postrouting
 * behind srcnat, inbound in prerouting before dstnat, where source NAT is undone. Connections
 * of the gateway itself are among them, and rightly: they share the public address. Where no
 * wan interface is named, conntrack's direction tells which way a packet goes; otherwise a
 * packet from a client would be looked at in prerouting too, as if it came from a server, with
 * the client's inner address.
 */
#include <stdlib.h>
#include <string.h>

#include "policy_build.h"
#include "policy_internal.h"
#include "rules_internal.h"

static const char *const way_names[] = {[WAY_OUT] = "out", [WAY_IN] = "in"};
static const char *const server_field[] = {[WAY_OUT] = "daddr", [WAY_IN] = "saddr"};
static const char *const client_field[] = {[WAY_OUT] = "saddr", [WAY_IN] = "daddr"};
static const char *const port_field[] = {[WAY_OUT] = "dport", [WAY_IN] = "sport"};

static const char *const header[FAMILY_COUNT] = {[FAMILY_IPV4] = "ip", [FAMILY_IPV6] = "ip6"};
static const char *const address_type[FAMILY_COUNT] = {[FAMILY_IPV4] = "ipv4_addr", [FAMILY_IPV6] = "ipv6_addr"};

static void write_step_verdict(FILE *out, const struct rules_step *step, enum way way)
{
	static const char *const verdicts[] = {
		[CLASS_NONE] = "return",
		[CLASS_HANDSHAKE] = "goto handshake",
		[CLASS_WATCH] = "goto watch",
		[CLASS_FULL] = "goto full",
		[CLASS_LEFT] = "goto full",
	};

	if (step->class == CLASS_LEFT && way == WAY_OUT)
		fputs("goto left", out);
	else if (step->class == CLASS_STRIP)
		fprintf(out, "goto s%u_%s", step->stripped, way_names[way]);
	else
		fputs(verdicts[step->class], out);
}

/* ---- maps and sets ---- */

struct element_writer {
	FILE *out;
	const struct rules_plan *plan;
	enum way way;
	bool is_first;
};

static void write_element(void *context, const struct addr *first, const struct addr *last, uint32_t list)
{
	struct element_writer *writer = context;
	const struct rules_plan *plan = writer->plan;
	const struct rules_step only = rules_list_step(plan, list, 0);
	char text[64];

	fputs(writer->is_first ? "\t\t\t" : ",\n\t\t\t", writer->out);
	writer->is_first = false;
	addr_format_family(first, plan->family, text, sizeof(text));
	fputs(text, writer->out);
	if (!addr_equal(first, last)) {
		addr_format_family(last, plan->family, text, sizeof(text));
		fprintf(writer->out, "-%s", text);
	}
	fputs(" : ", writer->out);
	if (rules_list_len(plan, list) > 1)
		fprintf(writer->out, "goto g%c_%u_%s", rules_family_digit(plan->family), list, way_names[writer->way]);
	else
		write_step_verdict(writer->out, &only, writer->way);
}

static bool has_addresses(const struct rules_plan *plan)
{
	for (uint32_t list = 1; list < plan->lists.list_count; list++)
		if (rules_list_has_set(plan, list))
			return true;
	return false;
}

static void write_map(FILE *out, const struct rules_plan *plan, enum way way)
{
	struct element_writer writer = {.out = out, .plan = plan, .way = way, .is_first = true};

	if (!has_addresses(plan))
		return;
	fprintf(out, "\tmap servers%c_%s {\n\t\ttype %s : verdict\n\t\tflags interval\n\t\telements = {\n",
		rules_family_digit(plan->family), way_names[way], address_type[plan->family]);
	rules_plan_each_range(plan, write_element, &writer);
	fputs("\n\t\t}\n\t}\n", out);
}

static void write_drain_set(FILE *out, const struct rules_plan *plan)
{
	const char *separator = "";
	char text[64];

	if (plan->drains == 0)
		return;
	fprintf(out, "\t# servers with rewritten flows of an earlier configuration\n"
		"\tset drain%c {\n\t\ttype %s . inet_service\n\t\telements = {\n",
		rules_family_digit(plan->family), address_type[plan->family]);
	for (size_t i = 0; i < plan->drain_count; i++) {
		if (addr_family(&plan->drain[i].server) != plan->family)
			continue;
		addr_format(&plan->drain[i].server, text, sizeof(text));
		fprintf(out, "%s\t\t\t%s . %u", separator, text, plan->drain[i].port);
		separator = ",\n";
	}
	fputs("\n\t\t}\n\t}\n", out);
}

/* ---- chains ---- */

static void write_queue(FILE *out, const struct rules_config *config, const char *flags, uint32_t first)
{
	/* The hash is the same for both directions of a flow, and in both kinds of queue. */
	if (config->workers > 1)
		fprintf(out, "queue %sto symhash mod %u offset %u\n", flags, config->workers, first);
	else
		fprintf(out, "queue %sto %u\n", flags, first);
}

static void write_handshake_rule(FILE *out, const struct rules_config *config)
{
	fputs("\t\ttcp flags & syn != 0 ", out);
	write_queue(out, config, "flags bypass ", config->queue_first);
}

static bool is_labelled(const struct rules_plan *plans)
{
	return plans[FAMILY_IPV4].is_labelled || plans[FAMILY_IPV6].is_labelled;
}

static bool has_watched(const struct rules_plan *plans)
{
	return plans[FAMILY_IPV4].has_watched || plans[FAMILY_IPV6].has_watched;
}

static void write_established_queue(FILE *out, const struct rules_config *config)
{
	write_queue(out, config, "", (uint32_t)config->queue_first + config->workers);
}

static void write_queue_chains(FILE *out, const struct rules_plan *plans)
{
	const struct rules_config *config = plans[0].config;

	fputs("\t# Without a listener handshakes pass unmodified (bypass), but packets of rewritten flows are\n"
	      "\t# dropped: they will be sent again, while a single one with its own TSval can end its flow.\n"
	      "\tchain full {\n",
	      out);
	if (rules_nft_is_fast(plans))
		rules_nft_write_fast_chains(out, plans);
	else if (is_labelled(plans))
		fprintf(out, "\t\tct label set %u\n", rules_label_queued(config));
	write_handshake_rule(out, config);
	fputs("\t\t", out);
	write_established_queue(out, config);
	fputs("\t}\n\tchain handshake {\n", out);
	write_handshake_rule(out, config);
	fputs("\t}\n", out);
	if (!has_watched(plans))
		return;
	/* As in rules_text.c. */
	fputs("\tchain watch {\n\t\ttcp flags & (fin | syn | rst) != 0 ", out);
	write_queue(out, config, "flags bypass ", config->queue_first);
	fputs("\t\tct status & (seen-reply | assured) == seen-reply ", out);
	write_queue(out, config, "flags bypass ", config->queue_first);
	fputs("\t}\n", out);
}

static bool is_stripped(const struct rules_plan *plans, size_t number)
{
	return (!plans[FAMILY_IPV4].is_empty && plans[FAMILY_IPV4].is_stripped[number]) ||
	       (!plans[FAMILY_IPV6].is_empty && plans[FAMILY_IPV6].is_stripped[number]);
}

static void write_strip_counters(FILE *out, const struct rules_plan *plans)
{
	for (size_t i = 0; i < plans[0].policy->destination_count; i++)
		for (size_t k = 0; is_stripped(plans, i) && k < RULES_STRIP_REASONS; k++)
			fprintf(out, "\tcounter s%zu_%s {\n\t}\n", i, reason_table[rules_strip_reasons[k]].name);
}

static void write_strip_rule(FILE *out, size_t number, const char *words, enum reason reason, const char *verdict)
{
	fprintf(out, "\t\ttcp %s counter name s%zu_%s %s\n", words, number, reason_table[reason].name, verdict);
}

/* As in rules_text.c, for the same reasons. */
static void write_strip_chain(FILE *out, size_t number, enum way way)
{
	static const char strip[] = "reset tcp option timestamp";

	fprintf(out, "\tchain s%zu_%s {\n\t\ttcp flags & syn == 0 return\n\t\tct state invalid return\n", number,
		way_names[way]);
	fprintf(out, "\t\tct direction %s return\n", way == WAY_OUT ? "reply" : "original");
	write_strip_rule(out, number, "option 29 exists", REASON_TCP_AO, "return");
	write_strip_rule(out, number, "flags & (syn | ack) == syn tcp option timestamp missing",
			 REASON_SYN_NO_TIMESTAMPS, "return");
	write_strip_rule(out, number, "flags & (syn | ack) == (syn | ack) tcp option timestamp exists",
			 REASON_SYNACK_STRIPPED, strip);
	write_strip_rule(out, number, "flags & (syn | ack) == syn tcp option timestamp exists", REASON_SYN_STRIPPED,
			 strip);
	fputs("\t}\n", out);
}

static void write_strip_chains(FILE *out, const struct rules_plan *plans)
{
	for (size_t i = 0; i < plans[0].policy->destination_count; i++) {
		if (!is_stripped(plans, i))
			continue;
		fprintf(out, "\t# handshakes of %s, stripped\n", plans[0].policy->destinations[i].name);
		write_strip_chain(out, i, WAY_OUT);
		write_strip_chain(out, i, WAY_IN);
	}
}

static void write_sources(FILE *out, const struct rules_plan *plan, const struct destination *destination,
			  enum way way)
{
	const char *separator = "";
	char text[64];

	fprintf(out, "%s %s { ", header[plan->family], client_field[way]);
	for (size_t i = 0; i < destination->source_count; i++) {
		if (destination->sources[i].family != plan->family)
			continue;
		prefix_format(&destination->sources[i], text, sizeof(text));
		fprintf(out, "%s%s", separator, text);
		separator = ", ";
	}
	fputs(" } ", out);
}

static void write_condition(FILE *out, const struct rules_plan *plan, const struct destination *destination,
			    enum way way)
{
	for (size_t i = 0; i < destination->port_count; i++) {
		const struct port_range *range = &destination->ports[i];

		if (i == 0)
			fprintf(out, "tcp %s { ", port_field[way]);
		fprintf(out, range->first == range->last ? "%s%u" : "%s%u-%u", i ? ", " : "", range->first,
			range->last);
	}
	if (destination->port_count > 0)
		fputs(" } ", out);
	if (destination->source_count > 0)
		write_sources(out, plan, destination, way);
}

static void write_group_chain(FILE *out, const struct rules_plan *plan, uint32_t list, enum way way)
{
	fprintf(out, "\tchain g%c_%u_%s {\n", rules_family_digit(plan->family), list, way_names[way]);
	for (uint32_t i = 0; i < rules_list_len(plan, list); i++) {
		const struct rules_step step = rules_list_step(plan, list, i);

		fputs("\t\t", out);
		if (step.condition)
			write_condition(out, plan, step.condition, way);
		write_step_verdict(out, &step, way);
		fputc('\n', out);
	}
	fputs("\t}\n", out);
}

static void write_group_chains(FILE *out, const struct rules_plan *plan)
{
	for (uint32_t list = 1; list < plan->lists.list_count; list++) {
		if (!rules_list_has_set(plan, list) || rules_list_len(plan, list) < 2)
			continue;
		fputc('\t', out);
		rules_list_describe(out, plan, list);
		write_group_chain(out, plan, list, WAY_OUT);
		write_group_chain(out, plan, list, WAY_IN);
	}
}

static void write_way_chain(FILE *out, const struct rules_plan *plans, enum way way)
{
	fprintf(out, "\tchain %s {\n", way_names[way]);
	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		const struct rules_plan *plan = &plans[family];
		const struct rules_step rest = rules_list_step(plan, 0, 0);
		const char digit = rules_family_digit(family);

		if (plan->is_empty)
			continue;
		/* Programs do not know of them. */
		if (plan->drains > 0 && way == WAY_OUT && rules_nft_lets_go(plans))
			fprintf(out, "\t\t%s daddr . tcp dport @drain%c tcp flags & (syn | ack) == syn goto left\n", header[family], digit);
		if (plan->drains > 0)
			fprintf(out, "\t\t%s %s . tcp %s @drain%c goto full\n", header[family], server_field[way],
				port_field[way], digit);
		if (has_addresses(plan))
			fprintf(out, "\t\t%s %s vmap @servers%c_%s\n", header[family], server_field[way], digit,
				way_names[way]);
		if (rest.class != CLASS_NONE) {
			fprintf(out, "\t\tmeta nfproto ipv%c ", digit);
			write_step_verdict(out, &rest, way);
			fputc('\n', out);
		}
	}
	fputs("\t}\n", out);
}

/* A rule per interface, since a set takes no "ppp*". "*" alone is no match at all. */
static void write_way_rules(FILE *out, const struct rules_config *config, enum way way, const char *action)
{
	const char *field = way == WAY_OUT ? "oifname" : "iifname";

	for (size_t i = 0; i < config->wan_count; i++) {
		fputs("\t\t", out);
		if (strcmp(config->wan[i], "*") != 0)
			fprintf(out, "%s \"%s\" ", field, config->wan[i]);
		fprintf(out, "%s\n", action);
	}
	if (config->wan_count > 0)
		return;
	if (config->placement == PLACEMENT_POSTNAT)
		fprintf(out, "\t\t%s != \"lo\" ct direction %s ", field, way == WAY_OUT ? "original" : "reply");
	else
		fputs("\t\t", out);
	fprintf(out, "%s\n", action);
}

static void write_way_jumps(FILE *out, const struct rules_config *config, enum way way)
{
	write_way_rules(out, config, way, way == WAY_OUT ? "jump out" : "jump in");
}

static bool is_watch_only(const struct rules_plan *plans)
{
	return plans[FAMILY_IPV4].is_watch_only && plans[FAMILY_IPV6].is_watch_only;
}

static bool is_syn_only(const struct rules_plan *plans)
{
	return plans[FAMILY_IPV4].is_syn_only && plans[FAMILY_IPV6].is_syn_only;
}

/* As in rules_text.c: only where a packet of that way was looked at. */
static void write_label_rules(FILE *out, const struct rules_plan *plans, enum way way)
{
	const bool has_handshakes = plans[FAMILY_IPV4].has_handshakes || plans[FAMILY_IPV6].has_handshakes;
	char action[48];

	snprintf(action, sizeof(action), "%sct label set %u", has_handshakes ? "ct status assured " : "",
		 rules_label_passing(plans[0].config));
	write_way_rules(out, plans[0].config, way, action);
}

static void begin_base_chain(FILE *out, const struct rules_plan *plans, const char *hook, const char *priority)
{
	const struct rules_config *config = plans[0].config;

	fprintf(out, "\tchain %s {\n\t\ttype filter hook %s priority %s; policy accept;\n", hook, hook, priority);
	fputs("\t\tmeta l4proto != tcp accept\n", out);
	if (is_syn_only(plans))
		fputs("\t\ttcp flags & syn == 0 accept\n", out);
	else if (is_watch_only(plans))
		fputs("\t\ttcp flags & (fin | syn | rst) == 0 ct status & (seen-reply | assured) != seen-reply accept\n", out);
	if (rules_nft_is_fast(plans)) {
		rules_nft_write_done(out, plans, strcmp(hook, "postrouting") == 0);
		rules_nft_write_fast_back(out, plans);
	}
	if (is_labelled(plans))
		fprintf(out, "\t\tct label %u %saccept\n", rules_label_passing(config),
			has_watched(plans) ? "tcp flags & (fin | rst) == 0 " : "");
	if (rules_nft_is_fast(plans)) {
		rules_nft_write_fast_base(out, plans);
	} else if (is_labelled(plans)) {
		fprintf(out, "\t\tct label %u tcp flags & syn == 0 ", rules_label_queued(config));
		write_established_queue(out, config);
	}
}

static void write_base_chains(FILE *out, const struct rules_plan *plans)
{
	const struct rules_config *config = plans[0].config;

	if (config->placement == PLACEMENT_FORWARD) {
		begin_base_chain(out, plans, "forward", "mangle + 5");
		write_way_jumps(out, config, WAY_OUT);
		write_way_jumps(out, config, WAY_IN);
		if (rules_nft_is_fast(plans) && is_labelled(plans))
			rules_nft_write_fast_rest(out, config);
		if (is_labelled(plans) && config->wan_count > 0)
			write_label_rules(out, plans, WAY_OUT);
		if (is_labelled(plans))
			write_label_rules(out, plans, WAY_IN);
		fputs("\t}\n", out);
		return;
	}
	begin_base_chain(out, plans, "postrouting", "srcnat + 5");
	write_way_jumps(out, config, WAY_OUT);
	fputs("\t}\n", out);
	begin_base_chain(out, plans, "prerouting", "dstnat - 5");
	write_way_jumps(out, config, WAY_IN);
	fputs("\t}\n", out);
}

void rules_write_nft(FILE *out, const struct rules_plan *plans, const char *clearing)
{
	fprintf(out,
		"#!/usr/sbin/nft -f\n"
		"# The netfilter rules of pawsd. They take the place of any table of that name, in one transaction.\n"
		"table inet pawsd\n"
		"%s",
		clearing ? clearing : "delete table inet pawsd\n");
	if (!plans)
		return;
	if (plans[FAMILY_IPV4].is_empty && plans[FAMILY_IPV6].is_empty) {
		fputs("# The mode of all destinations and of [default] is off: nothing is queued, no rule is needed.\n",
		      out);
		return;
	}
	fputs("table inet pawsd {\n", out);
	write_strip_counters(out, plans);
	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		if (plans[family].is_empty)
			continue;
		write_map(out, &plans[family], WAY_OUT);
		write_map(out, &plans[family], WAY_IN);
		write_drain_set(out, &plans[family]);
	}
	if (plans[FAMILY_IPV4].is_queued || plans[FAMILY_IPV6].is_queued)
		write_queue_chains(out, plans);
	write_strip_chains(out, plans);
	for (enum family family = 0; family < FAMILY_COUNT; family++)
		if (!plans[family].is_empty)
			write_group_chains(out, &plans[family]);
	write_way_chain(out, plans, WAY_OUT);
	write_way_chain(out, plans, WAY_IN);
	write_base_chains(out, plans);
	fputs("}\n", out);
}
