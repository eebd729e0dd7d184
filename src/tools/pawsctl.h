/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_PAWSCTL_H
#define PAWSD_PAWSCTL_H

#include <stdio.h>

#include "snapshot.h"

/* A destination's packets and, among them, its SYNs, by what became of them. */
struct totals {
	uint64_t packets[TOTAL_COUNT];
	uint64_t syns[TOTAL_COUNT];
	uint64_t syn_count;
	uint64_t flows[FLOW_STATE_COUNT];
};

/* Adds counts that may be anything; the sum ends at INT64_MAX. */
void count_add(uint64_t *sum, uint64_t count);

/* Adds a destination's counts to *totals. */
void totals_add(struct totals *totals, const struct snapshot_destination *destination);

/* What is to be done for clients without timestamps, where others have them; NULL: nothing. */
const char *advice_strip(const struct snapshot_destination *destination);

void text_print_stats(FILE *out, const struct snapshot *snapshot);
void text_print_status(FILE *out, const struct snapshot *snapshot);

/*
 * `pawsctl drain`: has pawsd rewrite no new connection and, if `wait`, tells how many go on until there is none. Returns the
 * exit status; for one that is not 0 it has said why. `timeout_ms`: for each answer.
 */
int drain(const char *socket_path, int timeout_ms, bool wait);

/* Return 0, or -1 when memory is short. Whether the words got out, `out` tells. */
int json_print_stats(FILE *out, const struct snapshot *snapshot);
int json_print_status(FILE *out, const struct snapshot *snapshot);

#endif
