/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_WATCH_H
#define PAWSD_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "diagnosis.h"
#include "policy.h"

/* What is told on: an event, or evidence that it has led to. */
struct told {
	struct event event;
	uint8_t finding; /* FINDING_COUNT: none; else only tick, ends and tsval of the event are set */
	bool is_taken_back;
	uint32_t other; /* example.other */
};

enum {
	WATCH_TOLD = 8192, /* the newest that are kept; a power of 2 */
};

/* Brings what the workers' engines tell (event.h) together, for the diagnosis. The main thread's. */
struct watch {
	struct diagnosis *diagnosis;
	struct event_ring *rings; /* one for each worker */
	uint32_t ring_count;
	struct event_ring *other_rings; /* of others, who own them */
	uint32_t other_count;
	uint64_t serial; /* of the last event */
	struct told *told; /* at number % WATCH_TOLD */
	uint64_t told_count; /* the number of the next one */
};

/* Claims the memory. False when there is none. `is_by_client`: see diagnosis_init(). */
bool watch_open(struct watch *watch, uint32_t workers, bool is_by_client);
void watch_close(struct watch *watch);

/* Takes what is told there from now on, too. */
void watch_add_rings(struct watch *watch, struct event_ring *rings, uint32_t count);

/* Takes what has been told since, of all workers in the order of time. */
void watch_take(struct watch *watch, uint64_t tick);

/* Events that nobody has taken in time. */
uint64_t watch_lost(const struct watch *watch);

/* Servers of which something is found at least so surely, by enum finding. */
void watch_count(const struct watch *watch, enum confidence least, uint64_t ret_counts[FINDING_COUNT]);

/* What was seen of servers whose mode another policy has changed is past. */
void watch_forget_changed(struct watch *watch, const struct policy *before, const struct policy *after);

/* What was seen of that server's port is past; 0: of all its ports. */
void watch_forget_server(struct watch *watch, const struct addr *server, uint16_t port);

/* The answer to "suspects" (snapshot.h). */
void watch_write_suspects(const struct watch *watch, FILE *out);

/* The same of one server, whatever is found; nothing where nothing is known of it. */
void watch_write_server(const struct watch *watch, const struct addr *server, FILE *out);

#endif
