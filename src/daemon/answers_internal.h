/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_ANSWERS_INTERNAL_H
#define PAWSD_ANSWERS_INTERNAL_H

#include "daemon.h"

/* What the parts of answers.c have in common. */

enum {
	WORDS_MOST = 12,
	REQUEST_MOST = 256,
};

/* A request, as it came, and cut into words; the first is its name. */
struct words {
	char request[REQUEST_MOST];
	char text[REQUEST_MOST];
	char *word[WORDS_MOST];
	size_t count;
	uint64_t *progress; /* control_request.progress */
};

/* Each returns NULL, control_later, control_more, or what is in the way, in words. */
typedef const char *(*answer_fn)(struct daemon *daemon, const struct words *words, FILE *out);

/* Indexed by enum mode, enum repair. */
extern const char *const mode_names[MODE_MAX + 1];
extern const char *const repair_names[REPAIR_MAX + 1];

/* Writes " KEY=ADDRESS:PORT". */
void write_endpoint(FILE *out, const char *key, const struct addr *addr, uint16_t port);

/*
 * answers_query.c. Reads the words behind a request's name, each KEY=VALUE, or KEY alone (`value` is ""), by `read_key`. All
 * return NULL, or what is wrong, in words that hold until the next such call. Values may be changed.
 */
typedef const char *(*query_key_fn)(void *context, const struct daemon *daemon, const char *key, char *value);
const char *query_read(const struct daemon *daemon, const struct words *words, query_key_fn read_key, void *context);
const char *query_complain(const char *request, const char *key, const char *value, const char *allowed);
const char *query_number(const char *request, const char *key, const char *value, uint32_t most, uint32_t *ret); /* from 1 on */
const char *query_prefix(const char *request, const char *key, const char *value, struct prefix *ret, bool *ret_has);
const char *query_destination(const char *request, const struct daemon *daemon, const char *value, uint16_t *ret_slot);

/* One or several of names[first] to before names[count], with commas between: a bit for each. */
const char *query_names(const char *request, const char *key, char *value, const char *const *names, int first, int count,
			uint64_t *ret);

/* answers.c. */
const char *answer_status(struct daemon *daemon, const struct words *words, FILE *out);

/* answers_policy.c. "explain SERVER PORT CLIENT", "-" for what is not known; "destinations". */
const char *answer_explain(struct daemon *daemon, const struct words *words, FILE *out);
const char *answer_destinations(struct daemon *daemon, const struct words *words, FILE *out);

/* A port, or "-" for none, which is 0. */
bool words_port(const char *text, uint16_t *ret);

/* answers_change.c. "drain", "resume"; "reload"; "set NAME mode MODE". All are answered as "status" is. */
const char *answer_drain(struct daemon *daemon, const struct words *words, FILE *out);
const char *answer_reload(struct daemon *daemon, const struct words *words, FILE *out);
const char *answer_set(struct daemon *daemon, const struct words *words, FILE *out);

/* "try SERVER PORT MODE REPAIR SECONDS", "-" for no port; "try end SERVER PORT", which ends no other's. */
const char *answer_try(struct daemon *daemon, const struct words *words, FILE *out);

/*
 * answers_events.c. "events [KEY=VALUE]...": what happens from now on, without end. Keys: client, server (a prefix), port,
 * destination, kind, reason (one or several, with commas between).
 */
const char *answer_events(struct daemon *daemon, const struct words *words, FILE *out);

/*
 * answers_flows.c. The answer to "flows [KEY=VALUE]...", which takes the workers a while: control_later until then. Keys:
 * client, server (a prefix), port, destination, state, mode (one or several, with commas between), limit, summary.
 */
const char *answer_flows(struct daemon *daemon, const struct words *words, FILE *out);

#endif
