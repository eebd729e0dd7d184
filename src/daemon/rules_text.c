/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules for ipset and iptables, per family in table mangle:
 *
 *   FORWARD --(its last rule)--> PAWSD -+- PAWSD-OUT --> PAWSD-G<n>-OUT -+-> PAWSD-FULL
 *                                       +- PAWSD-IN  --> PAWSD-G<n>-IN  -+-> PAWSD-SYN
 *                                                                        +-> PAWSD-WATCH
 *                                                                        +-> PAWSD-S<n>-OUT or -IN
 *
 * PAWSD-OUT takes a packet for one from a client to a server, PAWSD-IN for one from a server
 * to a client. Each looks the server's address up in the set of each group of addresses and
 * goes on to the group's chain, which walks the candidates of the policy in their order: the
 * server's port, the client's address. PAWSD-FULL, PAWSD-SYN and PAWSD-WATCH hand over to the queues,
 * PAWSD-S<n>-... strip and count for destination number n; what they do not hand over returns to
 * PAWSD (a chain entered by -g returns to the last -j).
 *
 * With the fast path a packet may come with a mark: rules_text_fast.c.
 *
 * So where no wan interface tells the directions apart, a packet is looked at both ways and
 * queued if either wants it: an answer to a client whose own address lies in some destination's
 * prefix is not lost to its flow.
 *
 * The jump stands at the end of FORWARD since a verdict of accept goes on at the next hook:
 * rules behind it in mangle/FORWARD would not see a queued packet.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "policy_build.h"
#include "rules_internal.h"

static const char *const way_names[] = {[WAY_OUT] = "OUT", [WAY_IN] = "IN"};
/* Which of a packet's two ends is the server's, which the client's. */
static const char *const server_end[] = {[WAY_OUT] = "dst", [WAY_IN] = "src"};
static const char *const client_end[] = {[WAY_OUT] = "src", [WAY_IN] = "dst"};

static void write_queue_number(FILE *out, const struct rules_config *config, uint32_t first)
{
	/* The balance is by the two addresses, whichever comes first: a flow stays with its worker. */
	if (config->workers > 1)
		fprintf(out, " -j NFQUEUE --queue-balance %u:%u", first, first + config->workers - 1);
	else
		fprintf(out, " -j NFQUEUE --queue-num %u", first);
}

static void write_handshake_rule(FILE *out, const struct rules_config *config, const char *chain)
{
	fprintf(out, "-A %s -p tcp -m tcp --tcp-flags SYN SYN", chain);
	write_queue_number(out, config, config->queue_first);
	fputs(" --queue-bypass\n", out);
}

/* By which a connection begins or ends. */
static const char mark_flags[] = "-m tcp ! --tcp-flags FIN,SYN,RST NONE";
/* Nobody's connection yet, though an answer has come: what a server refuses a SYN with is such a packet. */
static const char half_open[] = "-m conntrack --ctstatus SEEN_REPLY -m conntrack ! --ctstatus ASSURED";

/*
 * Of a packet that ends within the TCP header iptables-legacy sees nothing but an attack, and the
 * tcp match drops it: it must go where it shall go before that match is asked.
 */
static void write_short_rule(FILE *out, const struct rules_plan *plan, const char *chain)
{
	fprintf(out, "-A %s -m length --length 0:%u", chain, rules_shortest_packet(plan) - 1);
}

static void write_watch_rule(FILE *out, const struct rules_config *config, const char *words)
{
	fprintf(out, "-A " RULES_CHAIN "-WATCH -p tcp %s", words);
	write_queue_number(out, config, config->queue_first);
	fputs(" --queue-bypass\n", out);
}

static void write_queue_chains(FILE *out, const struct rules_plan *plan)
{
	const struct rules_config *config = plan->config;
	const char *full = plan->is_fast ? RULES_CHAIN "-SLOW" : RULES_CHAIN "-FULL";

	fputs("# Without a listener handshakes pass unmodified (bypass), but packets of rewritten flows are dropped:\n"
	      "# they will be sent again, while a single one with its own TSval can end its flow.\n",
	      out);
	if (plan->is_fast)
		rules_text_write_fast_chains(out, plan);
	else if (plan->is_labelled)
		fprintf(out, "-A " RULES_CHAIN "-FULL -m connlabel --label %u --set\n", rules_label_queued(config));
	write_short_rule(out, plan, full);
	write_queue_number(out, config, config->queue_first);
	fputs(" --queue-bypass\n", out);
	write_handshake_rule(out, config, full);
	fprintf(out, "-A %s", full);
	write_queue_number(out, config, (uint32_t)config->queue_first + config->workers);
	fputc('\n', out);
	write_short_rule(out, plan, RULES_CHAIN "-SYN");
	fputs(" -j RETURN\n", out);
	write_handshake_rule(out, config, RULES_CHAIN "-SYN");
	if (!plan->has_watched)
		return;
	write_short_rule(out, plan, RULES_CHAIN "-WATCH");
	fputs(" -j RETURN\n", out);
	write_watch_rule(out, config, mark_flags);
	write_watch_rule(out, config, half_open);
}

/* A rule of chain PAWSD-S<n>-... that counts a reason: its words for the packets, its target or NULL. */
static void write_strip_rule(FILE *out, const char *chain, const char *words, enum reason reason, const char *target)
{
	fprintf(out, "-A %s -p tcp -m tcp %s -m comment --comment %s", chain, words, reason_table[reason].name);
	if (target)
		fprintf(out, " -j %s", target);
	fputc('\n', out);
}

/*
 * Only handshakes of connections that began on our side, and only what conntrack takes for sound:
 * TCPOPTSTRIP drops what is not.
 */
static void write_strip_chain(FILE *out, const struct rules_plan *plan, size_t number, enum way way)
{
	static const char strip[] = "TCPOPTSTRIP --strip-options timestamp";
	char chain[28];

	snprintf(chain, sizeof(chain), RULES_CHAIN "-S%zu-%s", number, way_names[way]);
	write_short_rule(out, plan, chain);
	fputs(" -j RETURN\n", out);
	fprintf(out, "-A %s -p tcp -m tcp ! --tcp-flags SYN SYN -j RETURN\n", chain);
	fprintf(out, "-A %s -m conntrack --ctstate INVALID -j RETURN\n", chain);
	fprintf(out, "-A %s -m conntrack --ctdir %s -j RETURN\n", chain, way == WAY_OUT ? "REPLY" : "ORIGINAL");
	write_strip_rule(out, chain, "--tcp-option 29", REASON_TCP_AO, "RETURN");
	write_strip_rule(out, chain, "--tcp-flags SYN,ACK SYN ! --tcp-option 8", REASON_SYN_NO_TIMESTAMPS, "RETURN");
	write_strip_rule(out, chain, "--tcp-flags SYN,ACK SYN,ACK --tcp-option 8", REASON_SYNACK_STRIPPED, strip);
	write_strip_rule(out, chain, "--tcp-flags SYN,ACK SYN --tcp-option 8", REASON_SYN_STRIPPED, strip);
}

static void write_strip_chains(FILE *out, const struct rules_plan *plan)
{
	for (size_t i = 0; i < plan->policy->destination_count; i++) {
		if (!plan->is_stripped[i])
			continue;
		fprintf(out, "# handshakes of %s, stripped\n", plan->policy->destinations[i].name);
		write_strip_chain(out, plan, i, WAY_OUT);
		write_strip_chain(out, plan, i, WAY_IN);
	}
}

static void write_step_target(FILE *out, const struct rules_step *step, enum way way)
{
	static const char *const targets[] = {
		[CLASS_NONE] = "-j RETURN",
		[CLASS_HANDSHAKE] = "-g " RULES_CHAIN "-SYN",
		[CLASS_WATCH] = "-g " RULES_CHAIN "-WATCH",
		[CLASS_FULL] = "-g " RULES_CHAIN "-FULL",
		[CLASS_LEFT] = "-g " RULES_CHAIN "-FULL",
	};

	if (step->class == CLASS_STRIP)
		fprintf(out, " -g " RULES_CHAIN "-S%u-%s\n", step->stripped, way_names[way]);
	else
		fprintf(out, " %s\n", targets[step->class]);
}

static void write_condition(FILE *out, const struct rules_plan *plan, const struct rules_step *step, enum way way,
			    char generation)
{
	const struct destination *destination = step->condition;

	if (destination->port_count > 0)
		fprintf(out, " -m set --match-set " RULES_SET_PREFIX "%c-p%u %s", generation, step->number,
			server_end[way]);
	if (destination->source_count > 0)
		fprintf(out, " -m set --match-set " RULES_SET_PREFIX "%c%c-s%u %s", generation,
			rules_family_digit(plan->family), step->number, client_end[way]);
}

static void write_group_chain(FILE *out, const struct rules_plan *plan, uint32_t list, enum way way,
			      char generation)
{
	for (uint32_t i = 0; i < rules_list_len(plan, list); i++) {
		const struct rules_step step = rules_list_step(plan, list, i);

		/* The end of a chain returns by itself. */
		if (!step.condition && step.class == CLASS_NONE)
			return;
		fprintf(out, "-A " RULES_CHAIN "-G%u-%s", list, way_names[way]);
		if (step.condition)
			write_condition(out, plan, &step, way, generation);
		write_step_target(out, &step, way);
	}
}

static void write_way_chain(FILE *out, const struct rules_plan *plan, enum way way, char generation)
{
	const char digit = rules_family_digit(plan->family);
	const struct rules_step rest = rules_list_step(plan, 0, 0);

	if (plan->drains > 0)
		fprintf(out, "-A " RULES_CHAIN "-%s -m set --match-set " RULES_SET_PREFIX "%c%c-drain %s,%s -g "
			RULES_CHAIN "-FULL\n", way_names[way], generation, digit, server_end[way], server_end[way]);
	for (uint32_t list = 1; list < plan->lists.list_count; list++) {
		const struct rules_step only = rules_list_step(plan, list, 0);

		if (!rules_list_has_set(plan, list))
			continue;
		fprintf(out, "-A " RULES_CHAIN "-%s -m set --match-set " RULES_SET_PREFIX "%c%c-g%u %s",
			way_names[way], generation, digit, list, server_end[way]);
		if (rules_list_len(plan, list) > 1)
			fprintf(out, " -g " RULES_CHAIN "-G%u-%s\n", list, way_names[way]);
		else
			write_step_target(out, &only, way);
	}
	if (rest.class != CLASS_NONE) {
		fprintf(out, "-A " RULES_CHAIN "-%s", way_names[way]);
		write_step_target(out, &rest, way);
	}
}

/* " -o eth0", with "ppp*" as "ppp+" here. */
static void write_interface(FILE *out, const char *wan, enum way way)
{
	const int len = (int)strcspn(wan, "*");

	fprintf(out, " -%c %.*s%s", way == WAY_OUT ? 'o' : 'i', len, wan, wan[len] ? "+" : "");
}

/*
 * What comes to the end of PAWSD is not queued, nor will any packet of its connection be that is part of no
 * handshake. So where handshakes are of interest though what follows is not, it gets the label when conntrack says that
 * the handshake is over (ASSURED), otherwise with its first packet; one with the label does not even get here. Only
 * where packets were looked at: a connection may take the way over a wan interface later.
 */
static void write_label_rule(FILE *out, const struct rules_plan *plan, const char *wan, enum way way)
{
	fputs("-A " RULES_CHAIN, out);
	if (wan)
		write_interface(out, wan, way);
	if (plan->has_handshakes)
		fputs(" -m conntrack --ctstatus ASSURED", out);
	if (plan->is_fast)
		fprintf(out, " -m connlabel ! --label %u", rules_label_fast(plan->config));
	fprintf(out, " -m connlabel --label %u --set\n", rules_label_passing(plan->config));
}

/* No need to find out again what PAWSD-FULL is for, but for SYNs, which go to another queue. */
static void write_queued_rule(FILE *out, const struct rules_plan *plan)
{
	const struct rules_config *config = plan->config;

	fprintf(out, "-A " RULES_CHAIN " -p tcp -m connlabel --label %u -m tcp ! --tcp-flags SYN SYN",
		rules_label_queued(config));
	write_queue_number(out, config, (uint32_t)config->queue_first + config->workers);
	fputc('\n', out);
}

/* A jump from FORWARD; `is_long`: the match behind it is asked of no packet that ends within the TCP header. */
static void write_forward_jump(FILE *out, const struct rules_plan *plan, bool is_long, const char *words)
{
	fputs("-A FORWARD -p tcp", out);
	if (plan->is_fast) /* what a program has done with is let go */
		rules_text_write_not_done(out, plan);
	if (is_long)
		fprintf(out, " -m length --length %u:65535", rules_shortest_packet(plan));
	fprintf(out, "%s%s -j " RULES_CHAIN "\n", *words ? " " : "", words);
}

/* Of what has the label nothing more is of interest but, of connections that are watched, their ends. */
static void write_forward_jumps(FILE *out, const struct rules_plan *plan)
{
	char words[160];

	if (plan->is_syn_only) {
		write_forward_jump(out, plan, true, "-m tcp --tcp-flags SYN SYN");
	} else if (plan->is_watch_only) {
		write_forward_jump(out, plan, true, mark_flags);
		/* Not both ways, or what strips would count it twice. */
		snprintf(words, sizeof(words), "-m tcp --tcp-flags FIN,SYN,RST NONE %s", half_open);
		write_forward_jump(out, plan, true, words);
	} else if (plan->is_labelled && !plan->is_fast) {
		snprintf(words, sizeof(words), "-m connlabel ! --label %u", rules_label_passing(plan->config));
		write_forward_jump(out, plan, false, words);
		snprintf(words, sizeof(words), "-m tcp ! --tcp-flags FIN,RST NONE -m connlabel --label %u",
			 rules_label_passing(plan->config));
		if (plan->has_watched)
			write_forward_jump(out, plan, true, words);
	} else {
		write_forward_jump(out, plan, false, "");
	}
}

static void write_jumps(FILE *out, const struct rules_plan *plan)
{
	const struct rules_config *config = plan->config;

	if (plan->is_fast)
		rules_text_write_fast_jumps(out, plan);
	else if (plan->is_labelled)
		write_queued_rule(out, plan);
	for (enum way way = WAY_OUT; way <= WAY_IN; way++) {
		for (size_t i = 0; i < config->wan_count; i++) {
			fputs("-A " RULES_CHAIN, out);
			write_interface(out, config->wan[i], way);
			fprintf(out, " -j " RULES_CHAIN "-%s\n", way_names[way]);
		}
	}
	if (config->wan_count == 0)
		fputs("-A " RULES_CHAIN " -j " RULES_CHAIN "-OUT\n-A " RULES_CHAIN " -j " RULES_CHAIN "-IN\n", out);
	if (plan->is_fast && plan->is_labelled)
		rules_text_write_fast_rest(out, plan);
	for (enum way way = WAY_OUT; plan->is_labelled && way <= WAY_IN; way++)
		for (size_t i = 0; i < config->wan_count; i++)
			write_label_rule(out, plan, config->wan[i], way);
	if (plan->is_labelled && config->wan_count == 0)
		write_label_rule(out, plan, NULL, WAY_OUT);
	write_forward_jumps(out, plan);
}

void rules_write_chains(FILE *out, const struct rules_plan *plan, char generation)
{
	static const char *const fixed[] = {"", "-OUT", "-IN", "-FULL", "-SYN", "-WATCH"};
	const size_t fixed_count = plan->has_watched ? 6 : plan->is_queued ? 5 : 3;

	if (plan->is_empty)
		return;
	for (size_t i = 0; i < fixed_count; i++)
		fprintf(out, ":" RULES_CHAIN "%s - [0:0]\n", fixed[i]);
	if (plan->is_fast)
		fputs(":" RULES_CHAIN "-SLOW - [0:0]\n", out);
	for (uint32_t list = 1; list < plan->lists.list_count; list++)
		if (rules_list_has_set(plan, list) && rules_list_len(plan, list) > 1)
			fprintf(out, ":" RULES_CHAIN "-G%u-OUT - [0:0]\n:" RULES_CHAIN "-G%u-IN - [0:0]\n", list,
				list);
	for (size_t i = 0; i < plan->policy->destination_count; i++)
		if (plan->is_stripped[i])
			fprintf(out, ":" RULES_CHAIN "-S%zu-OUT - [0:0]\n:" RULES_CHAIN "-S%zu-IN - [0:0]\n", i, i);
	if (plan->is_queued)
		write_queue_chains(out, plan);
	write_strip_chains(out, plan);
	for (uint32_t list = 1; list < plan->lists.list_count; list++) {
		if (!rules_list_has_set(plan, list) || rules_list_len(plan, list) < 2)
			continue;
		rules_list_describe(out, plan, list);
		write_group_chain(out, plan, list, WAY_OUT, generation);
		write_group_chain(out, plan, list, WAY_IN, generation);
	}
	write_way_chain(out, plan, WAY_OUT, generation);
	write_way_chain(out, plan, WAY_IN, generation);
	write_jumps(out, plan);
}

const char *rules_iptables_command(const struct rules_config *config, enum family family, bool is_save)
{
	static const char *const names[][FAMILY_COUNT][2] = {
		[FLAVOUR_DEFAULT] = {{"iptables-restore", "iptables-save"}, {"ip6tables-restore", "ip6tables-save"}},
		[FLAVOUR_LEGACY] = {{"iptables-legacy-restore", "iptables-legacy-save"},
				    {"ip6tables-legacy-restore", "ip6tables-legacy-save"}},
		[FLAVOUR_NFT] = {{"iptables-nft-restore", "iptables-nft-save"},
				 {"ip6tables-nft-restore", "ip6tables-nft-save"}},
	};

	return names[config->flavour][family][is_save];
}

/* ---- the script ---- */

static void print_script(FILE *out, const struct rules_config *config, const struct rules_plan *plans)
{
	fputs("#!/bin/sh\n"
	      "# The netfilter rules of pawsd for iptables. Needs iptables and ipset.\n"
	      "set -e\n",
	      out);
	if (plans[FAMILY_IPV4].is_empty && plans[FAMILY_IPV6].is_empty) {
		fputs("# The mode of all destinations and of [default] is off: nothing is queued, no rule is needed.\n",
		      out);
		return;
	}
	fputs("\nipset restore <<'EOF'\n", out);
	rules_write_sets(out, plans, 'a');
	fputs("EOF\n", out);
	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		if (plans[family].is_empty)
			continue;
		fprintf(out, "\n%s --noflush <<'EOF'\n*mangle\n", rules_iptables_command(config, family, false));
		rules_write_chains(out, &plans[family], 'a');
		fputs("COMMIT\nEOF\n", out);
	}
}

void rules_print(FILE *out, const struct rules_config *config, const struct policy *policy,
		 const struct rules_drain *drain, size_t drain_count)
{
	struct rules_plan plans[FAMILY_COUNT] = {0};
	bool done = true;

	for (enum family family = 0; family < FAMILY_COUNT; family++)
		done &= rules_plan_init(&plans[family], family, config, policy, drain, drain_count,
					config->strip != STRIP_QUEUE) == 0;
	if (!done)
		fputs("# memory is short\n", out);
	else if (rules_backend_shown(config) == RULES_NFT)
		rules_write_nft(out, plans, NULL);
	else
		print_script(out, config, plans);
	for (enum family family = 0; family < FAMILY_COUNT; family++)
		rules_plan_free(&plans[family]);
}

uint64_t rules_digest(const struct rules_config *config, const struct policy *policy)
{
	struct rules_config general = *config;
	struct text text;
	uint64_t digest = 0;

	general.label = general.generation = 0; /* of these rules alone */
	if (rules_text_begin(&text)) {
		rules_print(text.file, &general, policy, NULL, 0);
		if (rules_text_end(&text))
			digest = hash_text(text.bytes, text.len) | 1;
	}
	rules_text_free(&text);
	return digest;
}
