/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SIM_REPORT_H
#define PAWSD_SIM_REPORT_H

#include "sim.h"

void report_add(struct tally *sum, const struct tally *tally);
/* Of all that is promised. */
uint64_t report_violations(const struct tally *tally);
void report_print(const struct tally tallies[RUN_COUNT]);
/* A line for each rule, or only for those of which it is false that pawsd never violates them and others do. */
void report_watch(const struct watch_tally *watch);
bool report_tap(const struct tally tallies[RUN_COUNT], bool all);

#endif
