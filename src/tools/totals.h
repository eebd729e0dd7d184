/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TOTALS_H
#define PAWSD_TOTALS_H

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

#endif
