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
};

/* Indexed by enum mode, enum repair. */
extern const char *const mode_names[MODE_MAX + 1];
extern const char *const repair_names[REPAIR_MAX + 1];

/* Writes " KEY=ADDRESS:PORT". */
void write_endpoint(FILE *out, const char *key, const struct addr *addr, uint16_t port);

/*
 * answers_flows.c. The answer to "flows [KEY=VALUE]...", which takes the workers a while: control_later until then. Keys:
 * client, server (a prefix), port, destination, state, mode (one or several, with commas between), limit, summary.
 */
const char *answer_flows(struct daemon *daemon, const struct words *words, FILE *out);

#endif
