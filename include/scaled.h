/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SCALED_H
#define PAWSD_SCALED_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A flow whose client's clock is faster than ours (P3's other exception). With a constant offset
 * it would run away from the shared clock, a second in each millisecond where a client counts
 * microseconds. So from the moment it is recognised its TSvals come from the shared clock
 * itself: whatever the client's clock does, they are those of the moment, in the order of
 * the client's.
 *
 * Many of the client's TSvals then share one of ours, and its TSecr must be one that it really
 * sent (P4), never older than the one that was echoed, or a round trip looks longer than it was and a
 * retransmission needless (RFC 3522, Eifel). Hence for what was emitted the newest client TSval
 * under it is remembered. Of older ones ever fewer are kept, so that few suffice; a TSecr between
 * two of them becomes the newer one, and a round trip looks some percent too short.
 *
 * Invariants: count >= 1; echo[] is ascending in both. While knows_switch, echo[0].emitted is
 * switch_tsval, and all that was emitted before it followed the flow's offset. It goes when it is
 * too old to be echoed.
 */
enum {
	SCALED_ECHOES = 32,
	SCALED_ECHO_AGE_MS = 30000, /* of all but the newest; an older one's echo is the oldest's that is known */
	SCALED_FINE_MS = 8,	    /* a round trip shorter than that need not be told more exactly */
	/* After so long without a segment the client's clock may have gone round: any TSval is a new one. */
	SCALED_IDLE_MS = 600000,
};

struct scaled {
	uint32_t switch_tsval; /* tsval_high when it began; once knows_switch is gone and the clock has caught up, the clock's */
	uint32_t switch_clock; /* the clock's TSval then; older than that where the flow had run ahead */
	uint32_t newest_clock; /* the clock's TSval when echo[count - 1] was sent last */
	uint8_t count;
	bool knows_switch;
	uint16_t pairs;	       /* as flow->block of a flow that is not scaled */
	uint32_t next_free;    /* as in struct syn_pairs */
	struct {
		uint32_t emitted;
		uint32_t tsval; /* the newest of the client that was sent so */
	} echo[SCALED_ECHOES];
};

/* Begins with what the flow has emitted last: `tsval` of the client as `emitted`; `clock`: TSval of the clock now. */
void scaled_start(struct scaled *scaled, uint32_t tsval, uint32_t emitted, uint32_t clock);

/*
 * What a segment with the client's `tsval` is emitted with when the clock's TSval is `clock`. `offset`
 * is the flow's, for a segment that the network has held back since before the switch.
 */
uint32_t scaled_emit(struct scaled *scaled, uint32_t tsval, uint32_t offset, uint32_t clock);

/* The client's TSval behind a TSecr. False when none so new was emitted. */
bool scaled_find_echo(const struct scaled *scaled, uint32_t tsecr, uint32_t offset, uint32_t *ret_tsval);

#endif
