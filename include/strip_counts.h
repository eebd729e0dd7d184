/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_STRIP_COUNTS_H
#define PAWSD_STRIP_COUNTS_H

#include "counters.h"
#include "helper.h"
#include "rules.h"

/*
 * What the rules strip without pawsd, counted as if a worker had done it. Rules begin at 0 when
 * they are put in place; here nothing ever goes back.
 */
struct strip_counts {
	bool in_kernel; /* rules in place strip */
	bool has_failed; /* the last time they were read, and that was said */
	uint64_t read_ms;
	/* By slot: of rules that are gone, and of those in place. */
	uint64_t before[DESTINATION_SLOTS][RULES_STRIP_REASONS];
	uint64_t now[DESTINATION_SLOTS][RULES_STRIP_REASONS];
};

/* Reads the rules that are in place for `policy`; not more often than once a second, unless `is_last`: they are going. */
void strip_counts_read(struct strip_counts *counts, struct helper *helper, const struct policy *policy,
		       uint64_t now_ms, bool is_last);

/* Other rules have taken their place; `in_kernel`: some of them strip. */
void strip_counts_change(struct strip_counts *counts, bool in_kernel);

/* Packets of a slot that became `reason`. */
uint64_t strip_counts_get(const struct strip_counts *counts, uint32_t slot, enum reason reason);

#endif
