/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SIM_GATEWAY_H
#define PAWSD_SIM_GATEWAY_H

#include "../fastpath/front.h"
#include "engine.h"
#include "oracle.h"
#include "sim.h"
#include "wire.h"

/* ---- the engine and its memory: engine_room.c, the one place that knows how it is set up ---- */

struct engine_room {
	struct engine engine;
	void *kept, *index;
	struct counters *counters;
	struct policy *policies[EPOCHS_MAX];
	uint32_t capacity, quota;
	uint64_t *saved_marks;
	uint64_t salt;
	struct front *front; /* the fast path in front of the engine, or NULL */
	bool is_attached;
};

/* The programs of the fast path, or NULL: the engine alone. And where they are. */
extern const char *engine_room_programs;
extern enum front_side engine_room_side;

void engine_room_open(struct engine_room *room, const struct scenario *scenario, uint64_t salt);
void engine_room_close(struct engine_room *room);
void engine_room_use_policy(struct engine_room *room, uint32_t epoch, bool rules_lag);
/* A new process: the index and the secret are new, and the flows in memory that has moved. */
void engine_room_restart(struct engine_room *room);
void engine_room_forget_flows(struct engine_room *room);
/* What the clock file keeps of the marks, and a reboot without anything else. */
void engine_room_save_marks(struct engine_room *room, uint64_t tick);
void engine_room_reboot_marks(struct engine_room *room);
/* A packet through the fast path, if there is one, and the engine. */
enum reason engine_room_handle(struct engine_room *room, const struct packet_input *input, uint64_t tick);
/* The fast path's programs are on the servers' side. */
bool engine_room_is_wan(const struct engine_room *room);
/* A flow that ought to be scaled may be not. */
bool engine_room_may_run_away(const struct engine_room *room);
uint32_t engine_room_base(void);
/* The slot of a server's counters. */
uint16_t engine_room_slot(uint32_t server);

/* ---- the clock, after src/daemon/state.c ---- */

enum {
	GATEWAY_SAVE_MS = 5000,
};

struct gateway_clock {
	int64_t offset_ms;	/* shared clock minus time since boot */
	int64_t realtime_off_us; /* of the time of day: its error, and steps */
	int64_t followed_ms;	 /* time since boot, when it last followed the time of day */
	uint64_t saved_tick, saved_realtime_ms, saved_us;
	uint64_t restored_us; /* what crossed before, was known to the memory before the present one */
};

/* ---- what people write who have not thought of all that: textbook.c ---- */

struct textbook_flow {
	uint32_t offset, server_offset, client;
	bool known;
};

struct textbook {
	struct map flows;
	struct textbook_flow *entries;
	uint32_t count, room;
	int64_t newest; /* a TSval's position, the greatest that it has emitted */
};

void textbook_forget(struct textbook *textbook);
/* What it takes for the time, ms: never less than what it has said. */
int64_t textbook_now(const struct textbook *textbook, uint64_t realtime_ms);
/* Changes the packet. `key` is its four-tuple. Returns whether it counted it. */
bool textbook_handle(struct textbook *textbook, struct wire *wire, uint64_t key, bool outbound, enum mode mode,
		     uint64_t realtime_ms);

struct gateway {
	uint8_t number;
	uint16_t memory; /* counts up whenever what it knew is lost; of all gateways different */
	bool running;	 /* the daemon */
	uint64_t forgot_us; /* when it last forgot its flows */
	bool was_rewriting[512]; /* the rules bring this server's packets */
	struct gateway_clock clock;
	bool has_pushed_out;	 /* SYNs that were not answered, for want of room */
	uint64_t last_tick;
	struct engine_room room;
	struct textbook textbook;
	struct oracle oracle;
};

struct gateway *gateway_new(struct world *world, uint8_t number);
void gateway_free(struct world *world, struct gateway *gateway);
void gateway_cross(struct world *world, struct segment *segment);
/* Takes one packet through the engine and the oracle; false when it is lost. */
bool gateway_take(struct world *world, struct gateway *gateway, struct segment *segment);
void gateway_sweep(struct world *world);
void gateway_save_clock(struct world *world);
void gateway_happen(struct world *world, const struct gateway_event *event);
void gateway_rules_done(struct world *world);
/* The tick that the daemon gives to the engine; of the textbook run, the time of day. */
uint64_t gateway_tick(struct world *world, struct gateway *gateway);
uint64_t gateway_realtime_ms(const struct world *world, const struct gateway *gateway);
void gateway_clock_start(struct world *world, struct gateway *gateway);
/* The clock that all gateways should have. */
uint64_t gateway_ideal_tick(const struct world *world);
/* Hands one packet to what is being tried; returns the reason, or -1 where it has none. */
int gateway_handle(struct world *world, struct gateway *gateway, struct wire *wire, const struct segment *segment,
		   uint64_t key, uint64_t tick);

/* noise.c */
void noise_inject(struct world *world, struct gateway *gateway, const struct wire *wire,
		  const struct segment *segment, uint64_t key, uint64_t tick);
void outside_step(struct world *world, uint32_t step);

#endif
