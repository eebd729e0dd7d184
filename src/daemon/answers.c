/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "answers.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "answers_internal.h"
#include "policy_build.h"

enum {
	TEXT_SIZE = 64,
};

const char *const mode_names[MODE_MAX + 1] = {
	[MODE_OFF] = "off", [MODE_OBSERVE] = "observe", [MODE_STRIP] = "strip", [MODE_REWRITE] = "rewrite"};
const char *const repair_names[REPAIR_MAX + 1] = {[REPAIR_OFF] = "off", [REPAIR_ECHO] = "echo", [REPAIR_ZERO] = "zero"};

void write_endpoint(FILE *out, const char *key, const struct addr *addr, uint16_t port)
{
	char text[TEXT_SIZE];

	addr_format(addr, text, sizeof(text));
	fprintf(out, addr_family(addr) == FAMILY_IPV6 ? " %s=[%s]:%u" : " %s=%s:%u", key, text, port);
}

/* Each returns NULL, control_later, or what is in the way, in words. */
typedef const char *(*answer_fn)(struct daemon *daemon, const struct words *words, FILE *out);

static const char *answer_stats(struct daemon *daemon, const struct words *words, FILE *out)
{
	(void)words;
	metrics_write(daemon, out, true);
	return NULL;
}

static const char *answer_status(struct daemon *daemon, const struct words *words, FILE *out)
{
	(void)words;
	metrics_write(daemon, out, false);
	return NULL;
}

static const char *answer_suspects(struct daemon *daemon, const struct words *words, FILE *out)
{
	(void)words;
	watch_write_suspects(&daemon->watch, out);
	return NULL;
}

/* ---- clock ---- */

static const char *answer_clock(struct daemon *daemon, const struct words *words, FILE *out)
{
	const struct clock *clock = &daemon->workers[0].engine.clock;
	uint64_t tick = state_now(&daemon->state);
	uint32_t marks = 0, stamped = 0, furthest_ms = 0;

	(void)words;
	for (uint32_t slot = 0; slot < CLOCK_SERVER_SLOTS; slot++) {
		uint64_t mark = clock_mark_ahead(clock, tick, slot);
		uint32_t ahead_ms = mark ? (uint32_t)(mark >> 32) - clock_tsval(clock, tick) : 0;

		marks += mark != 0;
		furthest_ms = ahead_ms > furthest_ms ? ahead_ms : furthest_ms;
		stamped += __atomic_load_n(&clock->shared->stamped_s[slot], __ATOMIC_RELAXED) != 0;
	}
	fprintf(out, "clock tick=%" PRIu64 " tsval=%u base=%u lead_ms=%u max_lead_ms=%u", tick, clock_tsval(clock, tick), clock->base,
		clock_lead_ms(clock, tick), clock->max_lead_ms);
	fprintf(out, " marks_ahead=%u furthest_ms=%u servers_with_timestamps=%u\n", marks, furthest_ms, stamped);
	return NULL;
}

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

/* A port, or "-" for none. */
static bool read_port(const char *text, uint16_t *ret)
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
	if (!read_port(words->word[2], &ret->port))
		return usage;
	ret->has_client = strcmp(words->word[3], "-") != 0;
	if (!ret->has_client)
		return NULL;
	if (strchr(words->word[3], '/') || prefix_parse(words->word[3], &prefix))
		return usage;
	ret->client = prefix.addr;
	return addr_family(&ret->client) == addr_family(&ret->server) ? NULL : "explain: server and client are of different families";
}

static const char *answer_explain(struct daemon *daemon, const struct words *words, FILE *out)
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

/* ---- changes ---- */

static const char *answer_drain(struct daemon *daemon, const struct words *words, FILE *out)
{
	if (daemon->asking_since) /* perhaps in the midst of a change */
		return control_later;
	reload_drain(daemon, strcmp(words->word[0], "drain") == 0);
	return answer_status(daemon, words, out);
}

/* ---- the table ---- */

static const struct request {
	const char *name;
	bool is_change; /* for root and the admin group */
	size_t words_most;
	answer_fn answer;
} requests[] = {
	{"stats", false, 1, answer_stats},
	{"status", false, 1, answer_status},
	{"suspects", false, 1, answer_suspects},
	{"clock", false, 1, answer_clock},
	{"explain", false, 4, answer_explain},
	{"flows", false, WORDS_MOST, answer_flows},
	{"drain", true, 1, answer_drain},
	{"resume", true, 1, answer_drain},
};

enum {
	REQUESTS = sizeof(requests) / sizeof(requests[0]),
};

static const char *complain(void)
{
	static char text[256];
	size_t used = (size_t)snprintf(text, sizeof(text), "unknown request; allowed:");

	for (size_t i = 0; i < REQUESTS && used < sizeof(text); i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s %s", i ? "," : "", requests[i].name);
	return text;
}

const char *answer_request(void *context, const char *request, bool may_change, FILE *out)
{
	static struct words words;
	char *save = NULL;

	words.count = 0;
	snprintf(words.request, sizeof(words.request), "%s", request);
	snprintf(words.text, sizeof(words.text), "%s", request);
	for (char *word = strtok_r(words.text, " ", &save); word && words.count < WORDS_MOST; word = strtok_r(NULL, " ", &save))
		words.word[words.count++] = word;
	for (size_t i = 0; words.count && i < REQUESTS; i++) {
		if (strcmp(words.word[0], requests[i].name) != 0 || words.count > requests[i].words_most)
			continue;
		if (requests[i].is_change && !may_change)
			return "not permitted; allowed: root, and members of [control] admin_group";
		return requests[i].answer(context, &words, out);
	}
	return complain();
}
