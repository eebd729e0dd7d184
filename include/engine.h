/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_ENGINE_H
#define PAWSD_ENGINE_H

#include <stdint.h>

#include "clock.h"
#include "counters.h"
#include "event.h"
#include "flow_table.h"
#include "packet.h"
#include "policy.h"
#include "reason.h"

/*
 * The engine: one per worker, pure. Packets, time and policy come in as arguments, a reason
 * goes out and the packet's bytes are changed in place. It makes no system call, reads no
 * clock, allocates nothing and logs nothing.
 */
enum {
	ENGINE_SWEEP_WHEN_FULL = 64,
};

struct engine {
	struct flow_table table;
	struct clock clock;
	const struct policy *policy; /* the caller may change it between packets */
	/*
	 * While the firewall's rules lag behind the policy: a connection is rewritten only if the
	 * policy that the rules were made for (NULL: none) rewrites it too, for otherwise its later
	 * segments would not come here.
	 */
	bool rules_lag;
	const struct policy *rules_policy;
	struct event_ring *events; /* what is to be told (event.h); NULL: nothing is */
	uint64_t serial;	   /* for event.serial: the caller's number of the packet, if it counts them */
	bool is_draining; /* no new connection is rewritten, known ones go on */
	struct counters *counters;
	uint64_t full_tick;    /* when the table was last found full */
	uint32_t full_hand;    /* where engine_push_out() has got to */
	uint32_t mark_hand;    /* where clock_sweep() has got to */
	struct client_use client_most; /* what one client may have (P9); 0: as much as there is */
	uint32_t timeout_s[FLOW_STATE_COUNT]; /* by state; [FLOW_FREE] is unused */
};

/*
 * Decides about one packet at shared-clock tick `tick` (ms; of the batch, see
 * clock_publish()), changes its bytes where reason_table[].action is ACTION_MODIFY, and
 * counts it under the reason returned.
 */
enum reason engine_handle(struct engine *engine, const struct packet_input *input, uint64_t tick);

/* The same for a packet that the fast path's programs must have seen, and that bears no mark of theirs. */
enum reason engine_handle_unmarked(struct engine *engine, const struct packet_input *input, uint64_t tick);

/* Fetches into the caches what engine_handle() will need for the next packets. Changes nothing. */
enum {
	ENGINE_AHEAD_MAX = 64,
};
void engine_look_ahead(const struct engine *engine, const struct packet_input *inputs, uint32_t count);

/*
 * Frees flows whose time is up among the next `count` places of the table, and goes round; likewise the clock's marks.
 * Call it so that the whole table is visited every ten seconds or so.
 */
void engine_sweep(struct engine *engine, uint32_t count, uint64_t tick);

/*
 * After flow_table_init() over an earlier process's flows: counts them in the gauges. `slots`
 * maps that process's counter slots to this one's (DESTINATION_SLOTS entries).
 */
void engine_adopt(struct engine *engine, const uint16_t *slots);

/* Seconds of the shared clock, as flows keep them. */
static inline uint32_t engine_seconds(uint64_t tick)
{
	return (uint32_t)(tick / 1000);
}

#endif
