/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SURROUNDINGS_H
#define PAWSD_SURROUNDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules.h"

/*
 * What others have set up around pawsd and takes packets past it, or brings it some that are none of its business. Each
 * is a figure (METRIC_HAZARD_..., metrics.h, whose help is also what is said when it comes up); pawsd(8) explains them.
 * To add one: a line here and there, and what finds it in surroundings.c.
 */
enum hazard {
	HAZARD_FLOWTABLE,
	HAZARD_BRIDGE,
	HAZARD_FOREIGN_QUEUE,
	HAZARD_RULES_BEHIND,
	HAZARD_WAN_MISSING,
	HAZARD_BIG_TCP,
	HAZARD_MARKS,
	HAZARD_KERNEL,
	HAZARD_COUNT,
};

struct surroundings {
	char found[HAZARD_COUNT][128]; /* where, in words; "": nowhere */
};

/* Looks at interfaces, settings of the kernel, and others' rules. What cannot be read is not found. */
void surroundings_look(const struct rules_config *config, struct surroundings *ret);

/* Parts of it, each of what a command prints; `found` has 128 bytes. */
void surroundings_read_flowtables(const char *listing, char *ret_found);
void surroundings_read_saved(const char *saved, const struct rules_config *config, struct surroundings *ret);
void surroundings_read_ruleset(const char *listing, const struct rules_config *config, struct surroundings *ret);
/* surroundings_marks.c: whether a line of either changes bits of marks that the fast path uses. */
bool surroundings_is_mark_saved(const char *line, size_t len, const struct rules_config *config);
bool surroundings_is_mark_listed(const char *line, size_t len, const struct rules_config *config);
/* `release`: as uname(2) has it; `uid_map`: as in /proc/self. */
void surroundings_judge_kernel(const char *release, const char *uid_map, char *ret_found);

#endif
