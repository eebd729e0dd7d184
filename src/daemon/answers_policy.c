/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `explain` and `destinations` on the control socket: what the policy says. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "answers_internal.h"
#include "policy_build.h"

enum {
	TEXT_SIZE = 64,
	SHOWN_MOST = 4, /* of a destination's prefixes, ports, sources */
};

/* ---- explain ---- */

struct question {
	struct addr server, client;
	uint16_t port;	 /* 0: any, none is asked for */
	bool has_client;
};

/* The longest of its prefixes that holds the server; NULL: none does. */
static const struct prefix *find_prefix(const struct destination *destination, const struct addr *server)
{
	const struct prefix *longest = NULL;

	for (size_t i = 0; i < destination->prefix_count; i++) {
		const struct prefix *prefix = &destination->prefixes[i];

		if (prefix_has(prefix, server) && (!longest || prefix->len > longest->len))
			longest = prefix;
	}
	return longest;
}

/* Why a destination that names the server is not that of the connection. */
static const char *why_not(const struct destination *destination, const struct question *question)
{
	if (!destination->enabled)
		return "disabled";
	if (!policy_has_port(destination, question->port))
		return "ports";
	if (!policy_has_source(destination, &question->client))
		return "sources";
	return "a_longer_prefix_or_an_earlier_section";
}

static void write_candidate(const struct destination *destination, const struct prefix *prefix, const char *why, FILE *out)
{
	char text[TEXT_SIZE] = "any";

	if (prefix)
		prefix_format(prefix, text, sizeof(text));
	fprintf(out, "%s destination=%s prefix=%s mode=%s synack_tsecr=%s enabled=%s", why ? "other" : "match", destination->name, text,
		mode_names[destination->mode], repair_names[destination->repair], destination->enabled ? "yes" : "no");
	fprintf(out, " ports=%s sources=%s", destination->port_count ? "some" : "all", destination->source_count ? "some" : "all");
	if (why)
		fprintf(out, " why_not=%s", why);
	fputc('\n', out);
}

/* What a SYN with timestamps would leave with, were it to come now. Nothing changes by that. */
static void write_syn(struct daemon *daemon, const struct destination *destination, const struct question *question, FILE *out)
{
	struct clock clock = daemon->workers[0].engine.clock;
	uint64_t tick = state_now(&daemon->state);
	uint32_t slot = clock_slot(&clock, &question->server);
	uint64_t mark = clock_mark_ahead(&clock, tick, slot);
	uint32_t lead_ms = clock_lead_ms(&clock, tick), mark_ms = mark ? (uint32_t)(mark >> 32) - clock_tsval(&clock, tick) : 0;
	bool is_drained = state_is_draining(&daemon->state) && destination->mode == MODE_REWRITE;
	const char *outcome = !destination->enabled || destination->mode == MODE_OFF || is_drained ? "passes"
			      : destination->mode == MODE_OBSERVE				    ? "observed"
			      : destination->mode == MODE_STRIP					    ? "stripped"
												    : "rewritten";

	fprintf(out, "syn outcome=%s draining=%s", outcome, is_drained ? "yes" : "no");
	if (strcmp(outcome, "rewritten") == 0)
		fprintf(out, " tsval=%u clock_tsval=%u", clock_tsval(&clock, tick) + (mark_ms > lead_ms ? mark_ms : lead_ms),
			clock_tsval(&clock, tick));
	fprintf(out, " mark_ahead_ms=%u lead_ms=%u server_has_timestamps=%s\n", mark_ms, lead_ms,
		clock_is_stamped(&clock, tick, &question->server) ? "yes" : "no");
}

bool words_port(const char *text, uint16_t *ret)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	*ret = 0;
	if (strcmp(text, "-") == 0)
		return true;
	*ret = (uint16_t)port;
	return *text >= '0' && *text <= '9' && !*end && port > 0 && port <= UINT16_MAX;
}

/* "explain SERVER PORT CLIENT", "-" for what is not known. Returns what is wrong, or NULL. */
static const char *read_question(const struct words *words, struct question *ret)
{
	static const char usage[] = "explain needs an address, a port or -, and a client's address or -";
	struct prefix prefix;

	*ret = (struct question){0};
	if (words->count != 4 || strchr(words->word[1], '/') || prefix_parse(words->word[1], &prefix))
		return usage;
	ret->server = prefix.addr;
	if (!words_port(words->word[2], &ret->port))
		return usage;
	ret->has_client = strcmp(words->word[3], "-") != 0;
	if (!ret->has_client)
		return NULL;
	if (strchr(words->word[3], '/') || prefix_parse(words->word[3], &prefix))
		return usage;
	ret->client = prefix.addr;
	return addr_family(&ret->client) == addr_family(&ret->server) ? NULL : "explain: server and client are of different families";
}

const char *answer_explain(struct daemon *daemon, const struct words *words, FILE *out)
{
	const struct policy *policy = daemon->config->policy;
	const struct destination *match;
	struct question question;
	const char *problem = read_question(words, &question);

	if (problem)
		return problem;
	match = policy_match(policy, &question.server, question.port, &question.client);
	write_candidate(match, find_prefix(match, &question.server), NULL, out);
	for (size_t i = 1; i < policy->destination_count; i++) {
		const struct destination *destination = &policy->destinations[i];
		const struct prefix *prefix = destination == match ? NULL : find_prefix(destination, &question.server);

		if (prefix)
			write_candidate(destination, prefix, why_not(destination, &question), out);
	}
	write_syn(daemon, match, &question, out);
	watch_write_server(&daemon->watch, &question.server, out);
	return NULL;
}

/* ---- destinations ---- */

/* " KEY=COUNT shown_KEY=FIRST,SECOND,..." */
static void write_prefixes(FILE *out, const char *key, const struct prefix *prefixes, size_t count)
{
	char text[TEXT_SIZE];

	fprintf(out, " %s=%zu shown_%s=", key, count, key);
	for (size_t i = 0; i < count && i < SHOWN_MOST; i++) {
		prefix_format(&prefixes[i], text, sizeof(text));
		fprintf(out, i ? ",%s" : "%s", text);
	}
}

static void write_ports(FILE *out, const struct port_range *ports, size_t count)
{
	fprintf(out, " ports=%zu shown_ports=", count);
	for (size_t i = 0; i < count && i < SHOWN_MOST; i++)
		fprintf(out, ports[i].first == ports[i].last ? "%s%u" : "%s%u-%u", i ? "," : "", ports[i].first, ports[i].last);
}

/* Those that have not ended, as counted. */
static uint64_t count_flows(const struct daemon *daemon, uint16_t slot)
{
	uint64_t sum = 0;

	for (enum flow_state state = FLOW_FREE + 1; state < FLOW_STATE_COUNT; state++)
		if (state != FLOW_TIME_WAIT && state != FLOW_CLOSE)
			sum += daemon_count_flows(daemon, slot, state);
	return sum;
}

const char *answer_destinations(struct daemon *daemon, const struct words *words, FILE *out)
{
	const struct policy *policy = daemon->config->policy;

	(void)words;
	for (size_t i = 0; i < policy->destination_count; i++) {
		const struct destination *destination = &policy->destinations[i];

		fprintf(out, "destination name=%s mode=%s written_mode=%s synack_tsecr=%s enabled=%s flows=%" PRIu64, destination->name,
			mode_names[destination->mode], mode_names[destination_written_mode(destination)],
			repair_names[destination->repair], destination->enabled ? "yes" : "no", count_flows(daemon, destination->slot));
		write_prefixes(out, "prefixes", destination->prefixes, destination->prefix_count);
		write_ports(out, destination->ports, destination->port_count);
		write_prefixes(out, "sources", destination->sources, destination->source_count);
		fputc('\n', out);
	}
	return NULL;
}
