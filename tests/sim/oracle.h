/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SIM_ORACLE_H
#define PAWSD_SIM_ORACLE_H

#include "sim.h"
#include "wire.h"

/*
 * A second opinion with complete memory. TSvals lie on a circle; the oracle unrolls it: a position is
 * a 64-bit tick, and a TSval that crosses the gateway stands at the position that is nearest to the
 * clock. So "newer" is "greater".
 */

/* What a server's address has been sent, within a window of time: the greatest or the least. */
struct window {
	struct window_entry {
		int64_t position;
		uint64_t at_us;
	} *entries;
	uint32_t first, count, room;
};

void window_add(struct window *window, int64_t position, uint64_t at_us, bool greatest);
/* False when there was nothing since `since_us`. To be asked with times that do not fall. */
bool window_get(struct window *window, uint64_t since_us, int64_t *ret_position);
void window_cut(struct window *window, uint64_t since_us);
void window_clear(struct window *window);

struct history {
	struct window all;	      /* greatest, of 60 s */
	struct window highest, lowest; /* of unmanaged flows */
	int64_t ever; /* the greatest ever; its mark is no further than that and one for each second since */
	uint64_t ever_us;
	uint64_t stamped_us, alive_us; /* timestamps went to it; or came from it */
	bool known;
};

struct pair {
	uint32_t tsval, emitted;
	uint64_t at_us;
	bool syn;
};

struct oracle_flow {
	uint64_t key;
	bool used, managed, midstream; /* midstream: its SYN was not seen */
	bool left_alone; /* or another of its SYNs, and that is the one that the server has taken */
	uint8_t mode, repair;
	uint16_t server;
	uint32_t plan;
	uint32_t isn;
	bool handshake, zero_syn, stamped, offset_known, restarted, scaled, pairs_out, forsaken, ran_away, syn_held_back;
	bool fin_out, fin_in, reset, answered; /* by a SYN/ACK that the client has not reset */
	uint32_t offset;
	uint32_t newest; /* emitted */
	uint64_t syn_us;
	int64_t syn_ahead_ms; /* of the clock, the last SYN */
	int64_t newest_position;
	uint64_t newest_us; /* when it was */
	uint64_t sent_us, last_us;
	bool had_previous, had_managed_previous; /* another connection on the same four-tuple */
	int64_t previous_position;
	uint64_t previous_us;
	struct pair *pairs;
	uint32_t pair_count, pair_room;
};

struct oracle {
	struct map index;
	struct oracle_flow *flows;
	uint32_t flow_count, flow_room;
	uint32_t *free_flows, free_count, free_room;
	struct history *histories; /* by server address */
	uint64_t expected[REASON_COUNT]; /* counters */
	uint64_t slots[REASON_COUNT];
	uint32_t until_audit;
};

/* One packet, before and after. */
struct crossing {
	struct gateway *gateway;
	struct segment *segment;
	uint64_t key, tick;
	const struct wire *wire; /* after */
	const uint8_t *before_data;
	struct view before, after;
	int reason; /* -1: nothing says why */
	bool table_was_full;
};

void oracle_open(struct world *world, struct oracle *oracle);
void oracle_close(const struct world *world, struct oracle *oracle);
/* Judges the packet, learns from it, and writes down in segment->source what is known of it. */
void oracle_judge(struct world *world, struct oracle *oracle, struct crossing *crossing);
/* What a restart forgets. */
void oracle_forget_flows(struct oracle *oracle);
/* What crossed since `since_us`. */
void oracle_cut_history(const struct world *world, struct oracle *oracle, uint64_t since_us);
void oracle_note_restart(struct oracle *oracle);
void oracle_purge(struct world *world, struct oracle *oracle);

/* oracle_flow.c */
struct oracle_flow *oracle_find(struct oracle *oracle, uint64_t key);
struct oracle_flow *oracle_add(struct oracle *oracle, uint64_t key);
void oracle_remove(struct oracle *oracle, struct oracle_flow *flow);
void oracle_add_pair(const struct world *world, struct oracle_flow *flow, uint32_t tsval, uint32_t emitted, bool syn);
int64_t oracle_position(uint64_t tick, uint32_t tsval);

/* oracle_bytes.c: P5, P6, P7 */
void oracle_check_bytes(struct world *world, const struct crossing *c, const struct oracle_flow *flow);
void oracle_check_counter(struct world *world, struct oracle *oracle, const struct crossing *c);

/* oracle_reason.c: P7. `flow` as it is after the packet; what the engine may have forgotten by now, for long quiet. */
void oracle_check_reason(struct world *world, const struct oracle *oracle, const struct crossing *c,
			 const struct oracle_flow *flow, bool first, bool maybe_gone);

/* oracle_echo.c: P4 */
/* What the segment's client makes of things from now on is not held against pawsd. */
void oracle_spare_client(const struct world *world, const struct segment *segment);
void oracle_check_echo(struct world *world, const struct crossing *c, struct oracle_flow *flow);

/* oracle_syn.c: P1, P2 */
void oracle_check_syn(struct world *world, struct oracle *oracle, const struct crossing *c,
		      const struct oracle_flow *flow, bool first);
void oracle_note_sent(struct world *world, struct oracle *oracle, const struct crossing *c,
		      struct oracle_flow *flow);

#endif
