/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SIM_SCENARIO_H
#define PAWSD_SIM_SCENARIO_H

#include "sim.h"

/* scenario_events.c: what the variant brings. */
void scenario_draw_modes(const struct scenario *scenario, struct server *server, struct rng *rng);
void scenario_draw_events(struct scenario *scenario, struct rng *rng);

enum family scenario_family_of_public(uint32_t public);
uint32_t scenario_clock_base(void);
extern const char *const variant_names[VARIANT_COUNT];

#endif
