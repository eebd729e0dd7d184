/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules for iptables, where the fast path's programs handle packets and mark them.
 *
 * A packet from a client comes with a mark: the programs have done with it; it is to be queued; or it is
 * of nothing they know, which the rules decide as ever. What they have done with is let go. Of a connection's first packet, and of
 * one in a while, they say so by another mark, which gives it a label by which the server's packets are let go, too, for the
 * programs to see behind netfilter; it means the same for all rules while these programs are at work. PAWSD-FULL gives
 * the connection of a client's packet that it queues another label, for good: then all packets of it are queued, marked so
 * that no program touches them. A connection that has neither label is none that a program is known to be at work on: its
 * server's packets are queued until a program has done with one of its client's. Where no program has been at work, no
 * packet has a mark, and all is as it is without.
 */
#include "fastpath.h"
#include "rules_internal.h"

/* "-m mark --mark 0x10000/0x30000": what a program says of a packet that comes in. */
static void write_mark_among(FILE *out, const struct rules_config *config, const char *how, enum fastpath_mark mark,
			     enum fastpath_mark bits)
{
	fprintf(out, " -m mark %s--mark 0x%x/0x%x", how, (unsigned int)mark << config->fastpath.mark_bit,
		(unsigned int)bits << config->fastpath.mark_bit);
}

static void write_mark(FILE *out, const struct rules_config *config, enum fastpath_mark mark)
{
	write_mark_among(out, config, "", mark, FASTPATH_MARK_FIRST);
}

/* A rule of `chain` for what goes to a client behind a program, and which none has seen yet. */
static void write_back_rules(FILE *out, const struct rules_plan *plan, const char *chain, const char *words)
{
	const struct fastpath_config *fastpath = &plan->config->fastpath;

	for (size_t i = 0; i < fastpath->interface_count; i++) {
		fprintf(out, "-A %s -o %s", chain, fastpath->interfaces[i].name);
		write_mark(out, plan->config, FASTPATH_MARK_NONE);
		fprintf(out, " %s\n", words);
	}
}

/* PAWSD-FULL labels what a client has sent, and PAWSD-SLOW queues. */
void rules_text_write_fast_chains(FILE *out, const struct rules_plan *plan)
{
	const unsigned int done = (unsigned int)FASTPATH_MARK_DONE_LAST << plan->config->fastpath.mark_bit;

	if (plan->is_labelled) {
		fputs("# What goes to a client does not say whether a program can do with its connection.\n", out);
		write_back_rules(out, plan, RULES_CHAIN "-FULL", "-g " RULES_CHAIN "-SLOW");
		fprintf(out, "-A " RULES_CHAIN "-FULL -m connlabel --label %u --set\n", RULES_LABEL_SLOW);
	}
	fputs("-A " RULES_CHAIN "-FULL -g " RULES_CHAIN "-SLOW\n", out);
	fprintf(out, "-A " RULES_CHAIN "-SLOW -j MARK --set-xmark 0x%x/0x%x\n", done, done);
}

/* What has the label of those that pass returns, but the ends of what is watched. */
static void write_passing_rule(FILE *out, const struct rules_plan *plan)
{
	fputs("-A " RULES_CHAIN, out);
	if (plan->has_watched)
		fprintf(out, " -p tcp -m length --length %u:65535 -m tcp --tcp-flags FIN,RST NONE", rules_shortest_packet(plan));
	fprintf(out, " -m connlabel --label %u -j RETURN\n", rules_label_passing(plan->config));
}

/*
 * What goes back in a connection of the programs comes first, for that is half of all packets; then what passes, then the packets by
 * which the programs say whose a connection is, and the connections of which they have left packets. Where no wan interface tells who
 * is a client, it is who has begun the connection.
 */
void rules_text_write_fast_jumps(FILE *out, const struct rules_plan *plan)
{
	const struct rules_config *config = plan->config;
	char words[120];

	if (!plan->is_labelled)
		return;
	snprintf(words, sizeof(words), "%s-m connlabel --label %u -m connlabel ! --label %u -j RETURN",
		 config->wan_count ? "" : "-m conntrack --ctdir REPLY ", rules_label_fast(config), RULES_LABEL_SLOW);
	write_back_rules(out, plan, RULES_CHAIN, words);
	write_passing_rule(out, plan);
	fputs("-A " RULES_CHAIN, out);
	write_mark_among(out, config, "", FASTPATH_MARK_LABEL, FASTPATH_MARK_ALL);
	fprintf(out, " -m connlabel --label %u --set\n-A " RULES_CHAIN, rules_label_fast(config));
	write_mark(out, config, FASTPATH_MARK_DONE_FIRST);
	fputs(" -j RETURN\n", out);
	fprintf(out, "-A " RULES_CHAIN " -m connlabel --label %u -g " RULES_CHAIN "-SLOW\n", RULES_LABEL_SLOW);
}

/*
 * Connections of the programs are queued by whatever interface they go: routes may change, or hang on marks, which programs do not know.
 * What a program knows nothing of, the engine does not either: it may have come by NAT, and be known to the program behind netfilter.
 */
void rules_text_write_fast_rest(FILE *out, const struct rules_plan *plan)
{
	const unsigned int labels[] = {rules_label_fast(plan->config), rules_label_fast_before(plan->config)};

	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
		fputs("-A " RULES_CHAIN, out);
		write_mark_among(out, plan->config, "! ", FASTPATH_MARK_OTHER, FASTPATH_MARK_FIRST);
		fprintf(out, " -m connlabel --label %u -g " RULES_CHAIN "-FULL\n", labels[i]);
	}
}

void rules_text_write_not_done(FILE *out, const struct rules_plan *plan)
{
	write_mark_among(out, plan->config, "! ", FASTPATH_MARK_DONE_FIRST, plan->is_labelled ? FASTPATH_MARK_ALL : FASTPATH_MARK_FIRST);
}
