/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_CLOCK_H
#define PAWSD_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "atomic.h"
#include "seq.h"

/*
 * The shared clock (P1, P2). Its tick is a millisecond; the clock's TSval is the tick's lower 32 bits
 * and a constant that all gateways with a common address have in common. What the workers
 * share is one page of marks, each updated by compare-and-swap:
 *
 *   published   the newest tick any worker has begun a batch with
 *   high        the newest TSval that a rewritten flow has emitted ahead of the clock (its
 *               client's clock runs fast), at most max_lead_ms ahead
 *   server[]    per server address (hashed; servers may share a slot, which only makes a SYN
 *               newer than it need be): the TSval furthest ahead of the clock that is known to
 *               have been sent to it by flows that are not rewritten, or that are further ahead
 *               than the lead. Replaced by one that is further ahead, or when it is more than
 *               60 s old, as a server with tw_recycle forgets it.
 *
 *   stamped_s[] per server address, in the same slots: when timestamps went to it last, in
 *               seconds of the clock
 *
 * A SYN gets clock_syn_tsval(): not older than any of them.
 */

enum {
	CLOCK_SERVER_SLOTS = 32768,
	CLOCK_MARK_AGE_MS = 60000 + 5000, /* 60 s in whole seconds at the server, and some way there */
	CLOCK_MARK_REFRESH_MS = 1000,
};

/* A TSval and the tick (lower 32 bits) at which it was sent, in one word: tsval << 32 | tick. */
struct clock_shared {
	uint64_t published; /* a full tick, not a mark */
	uint64_t high;
	uint64_t secret; /* keys the places in server[]; made with the rest, by whoever makes it */
	uint64_t server[CLOCK_SERVER_SLOTS];
	uint32_t stamped_s[CLOCK_SERVER_SLOTS]; /* 0: never */
};

struct clock {
	struct clock_shared *shared;
	uint32_t max_lead_ms;
	uint32_t base; /* the TSval of tick 0 */
};

/* The clock's TSval at `tick`. */
static inline uint32_t clock_tsval(const struct clock *clock, uint64_t tick)
{
	return (uint32_t)tick + clock->base;
}

/* Says that `tick` has been reached. Returns the newest tick any worker has said. */
uint64_t clock_publish(struct clock *clock, uint64_t tick);

/*
 * The TSval for a SYN to `server` at `tick`: P1. `previous` is the last TSval emitted on the
 * same four-tuple, or NULL; the result is strictly newer. Never 0.
 */
uint32_t clock_syn_tsval(struct clock *clock, uint64_t tick, const struct addr *server,
			 const uint32_t *previous);

/* A rewritten flow has sent `tsval` to `server`, and it is ahead of `tick`. */
void clock_raise(struct clock *clock, uint64_t tick, const struct addr *server, uint32_t tsval);

/* True where clock_raise() with a TSval within the lead would find a fresh mark that is not older, and do nothing. */
static inline bool clock_is_raised(const struct clock *clock, uint64_t tick, uint32_t tsval)
{
	uint64_t high = atomic_load(&clock->shared->high);

	return high != 0 && (uint32_t)tick - (uint32_t)high <= CLOCK_MARK_REFRESH_MS &&
	       !seq_after(tsval, (uint32_t)(high >> 32));
}

/* A flow that is not rewritten has sent `tsval` to `server`. */
void clock_raise_server(struct clock *clock, uint64_t tick, const struct addr *server, uint32_t tsval);

/* Of two TSvals that have been sent the one that a SYN has more to keep up with. 0: none. */
uint32_t clock_furthest(const struct clock *clock, uint64_t tick, uint32_t tsval, uint32_t other);

/* The slot of that server's mark. */
uint32_t clock_slot(const struct clock *clock, const struct addr *server);

/*
 * The mark of the servers in `slot` as clock_shared holds it, if it is fresh at `tick` and ahead of the
 * clock, so that it would be missed; else 0.
 */
uint64_t clock_mark_ahead(const struct clock *clock, uint64_t tick, uint32_t slot);

/*
 * Forgets the marks among the next `count` places from *hand on that are no longer fresh at `tick`, and moves
 * *hand on, round and round. All must have been visited within a month, or an old mark looks new again: the tick in it
 * has 32 bits.
 */
void clock_sweep(struct clock *clock, uint64_t tick, uint32_t count, uint32_t *hand);

/* A connection with timestamps to `server` was alive at second `seen_s` of the clock. */
void clock_note_stamped(struct clock *clock, uint32_t seen_s, const struct addr *server);

/*
 * True when one was within the last 60 s and some: a server of the RHEL 7 family may drop SYNs without
 * timestamps then.
 */
bool clock_is_stamped(const struct clock *clock, uint64_t tick, const struct addr *server);

/* How far the high mark is ahead of `tick`, ms. */
uint32_t clock_lead_ms(const struct clock *clock, uint64_t tick);

#endif
