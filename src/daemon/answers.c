/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "answers.h"

#include <inttypes.h>
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

static const char *answer_stats(struct daemon *daemon, const struct words *words, FILE *out)
{
	(void)words;
	metrics_write(daemon, out, true);
	return NULL;
}

const char *answer_status(struct daemon *daemon, const struct words *words, FILE *out)
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
	{"destinations", false, 1, answer_destinations},
	{"flows", false, WORDS_MOST, answer_flows},
	{"events", false, WORDS_MOST, answer_events},
	{"drain", true, 1, answer_drain},
	{"resume", true, 1, answer_drain},
	{"reload", true, 1, answer_reload},
	{"set", true, 4, answer_set},
	{"try", true, 6, answer_try},
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

const char *answer_request(void *context, struct control_request *request, FILE *out)
{
	static struct words words;
	char *save = NULL;

	words.count = 0;
	words.progress = &request->progress;
	snprintf(words.request, sizeof(words.request), "%s", request->text);
	snprintf(words.text, sizeof(words.text), "%s", request->text);
	for (char *word = strtok_r(words.text, " ", &save); word && words.count < WORDS_MOST; word = strtok_r(NULL, " ", &save))
		words.word[words.count++] = word;
	for (size_t i = 0; words.count && i < REQUESTS; i++) {
		if (strcmp(words.word[0], requests[i].name) != 0 || words.count > requests[i].words_most)
			continue;
		if (requests[i].is_change && !request->may_change)
			return "not permitted; allowed: root, and members of [control] admin_group";
		return requests[i].answer(context, &words, out);
	}
	return complain();
}
