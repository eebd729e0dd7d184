/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules for nft, where the fast path's programs handle packets and mark them.
 *
 * Placement forward: as in rules_text_fast.c.
 *
 * Placement postnat. The first program sees what comes in from the servers, and marks it; the last one what leaves, and can
 * leave nothing to the queue any more. So rules decide what is left to it, and that is what it can do with:
 *
 *   - the SYN that begins a connection, with a TSval, to a destination that the programs can tell. Labels of conntrack
 *     remember that there was one: a second SYN has to be told from it, and is queued, and so is all that follows
 *   - other packets of a connection that a program has vouched for: the last one has been given its SYN, or the first one has
 *     done with a packet of its server's since these rules are in place
 *   - nothing of a connection of which the first program has left a packet to the queue, or could not tell what it was
 *
 * All that is queued has a mark by which the last program leaves it alone. A connection that comes in by one interface to the
 * servers and leaves by another has been seen by a first program then, and what leaves is queued. There are no labels for
 * what passes: a packet of such a connection is looked at twice, each time with other eyes. Labels are given and asked for only
 * where the policy has all of a connection queued.
 *
 * Where programs are not at an interface, or are about to stop, nothing is let go: fastpath_config.missing, rules_hold_back().
 */
#include "fastpath.h"
#include "rules_internal.h"

bool rules_nft_is_fast(const struct rules_plan *plans)
{
	return plans[FAMILY_IPV4].is_fast || plans[FAMILY_IPV6].is_fast;
}

bool rules_nft_lets_go(const struct rules_plan *plans)
{
	return rules_nft_is_fast(plans) && plans[0].config->label && plans[0].config->placement == PLACEMENT_POSTNAT;
}

/* "meta mark & 0x30000 == 0x10000 ": what the first program says. */
static void write_mark_among(FILE *out, const struct rules_config *config, enum fastpath_mark mark, enum fastpath_mark bits)
{
	fprintf(out, "meta mark & 0x%x == 0x%x ", (unsigned int)bits << config->fastpath.mark_bit,
		(unsigned int)mark << config->fastpath.mark_bit);
}

static void write_mark(FILE *out, const struct rules_config *config, enum fastpath_mark mark)
{
	write_mark_among(out, config, mark, FASTPATH_MARK_FIRST);
}

/* What leaves by a program, and which none has seen yet. */
static void write_last_rule(FILE *out, const struct rules_config *config, size_t interface, const char *action)
{
	fprintf(out, "\t\toifname \"%s\" ", config->fastpath.interfaces[interface].name);
	write_mark(out, config, FASTPATH_MARK_NONE);
	fprintf(out, "%s\n", action);
}

static void write_last_rules(FILE *out, const struct rules_config *config, const char *action)
{
	for (size_t i = 0; i < config->fastpath.interface_count; i++)
		write_last_rule(out, config, i, config->placement == PLACEMENT_POSTNAT && fastpath_is_missing(&config->fastpath, i)
							? "goto slow" : action);
}

static void write_label_slow(FILE *out)
{
	fprintf(out, "\t\tct label set %u\n\t\tgoto slow\n\t}\n", RULES_LABEL_SLOW);
}

/* What may be let go. Without a connection, or room for labels, nothing is. */
static void write_let_go_chains(FILE *out, const struct rules_config *config)
{
	const unsigned int fast = rules_label_fast(config);

	fputs("\tchain left {\n", out);
	write_label_slow(out);
	fprintf(out,
		"\tchain fast {\n\t\ttcp flags & syn == 0 ct label and (%u | %u) == %u accept\n\t\tct label %u goto slow\n"
		"\t\ttcp flags & syn != 0 goto first\n\t\tgoto slow\n\t}\n",
		fast, RULES_LABEL_SLOW, fast, RULES_LABEL_SLOW);
	fprintf(out,
		"\tchain first {\n\t\tct label %u goto left\n\t\ttcp flags & (syn | ack) == syn ct state new "
		"tcp option timestamp tsval != 0 ct label set %u ct label set %u ct label %u accept\n\t\tgoto left\n\t}\n",
		RULES_LABEL_SYN, fast, RULES_LABEL_SYN, RULES_LABEL_SYN);
}

void rules_nft_write_fast_chains(FILE *out, const struct rules_plan *plans)
{
	const struct rules_config *config = plans[0].config;
	const unsigned int done = (unsigned int)FASTPATH_MARK_DONE_LAST << config->fastpath.mark_bit;
	const bool lets_go = rules_nft_lets_go(plans);

	if (!config->label) {
		fputs("\t\tgoto slow\n\t}\n", out);
	} else {
		write_last_rules(out, config, lets_go ? "goto fast" : "goto slow");
		write_label_slow(out);
	}
	if (lets_go)
		write_let_go_chains(out, config);
	fprintf(out, "\tchain slow {\n\t\tmeta mark set meta mark | 0x%x\n", done);
}

void rules_nft_write_done(FILE *out, const struct rules_plan *plans, bool is_postrouting)
{
	const struct rules_config *config = plans[0].config;
	const bool has_label = config->label && !is_postrouting;

	if (has_label && config->placement == PLACEMENT_FORWARD) { /* else nothing goes by a mark that says so once in a while */
		fputs("\t\t", out);
		write_mark_among(out, config, FASTPATH_MARK_DONE_FIRST, FASTPATH_MARK_ALL);
		fputs("accept\n", out);
	}
	fputs("\t\t", out);
	write_mark(out, config, FASTPATH_MARK_DONE_FIRST);
	if (has_label)
		fprintf(out, "ct label set %u ", rules_label_fast(config));
	fputs("accept\n", out);
}

void rules_nft_write_fast_rest(FILE *out, const struct rules_config *config)
{
	const unsigned int labels[] = {rules_label_fast(config), rules_label_fast_before(config)};

	/* As rules_text_write_fast_rest(). */
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
		fputs("\t\t", out);
		write_mark(out, config, FASTPATH_MARK_OTHER);
		fprintf(out, "ct label %u accept\n\t\tct label %u goto full\n", labels[i], labels[i]);
	}
}

/* One look at the labels says that it has the one, and not the other. */
void rules_nft_write_fast_back(FILE *out, const struct rules_plan *plans)
{
	const struct rules_config *config = plans[0].config;
	const unsigned int fast = rules_label_fast(config);
	char action[80];

	if (!config->label || config->placement == PLACEMENT_POSTNAT)
		return;
	snprintf(action, sizeof(action), "%sct label and (%u | %u) == %u accept", config->wan_count ? "" : "ct direction reply ", fast,
		 RULES_LABEL_SLOW, fast);
	write_last_rules(out, config, action);
}

void rules_nft_write_fast_base(FILE *out, const struct rules_plan *plans)
{
	const struct rules_config *config = plans[0].config;

	if (config->label && config->placement == PLACEMENT_FORWARD)
		fprintf(out, "\t\tct label %u goto slow\n", RULES_LABEL_SLOW);
}
