/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_EVENT_H
#define PAWSD_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "addr.h"
#include "atomic.h"
#include "reason.h"

/*
 * What the engine tells of the packets by which connections begin and end: SYN, SYN/ACK, FIN, RST, and whatever else
 * a server answers a SYN with. Of a running connection's segments it tells nothing, and pays nothing.
 *
 * A ring takes the events from one worker to whoever looks at them (diagnosis.h), without a lock or a wait. When nobody
 * takes them it is full: further ones are lost, and counted.
 */

enum event_flag {
	EVENT_OUTBOUND = 0x01,	    /* from client to server */
	EVENT_TIMESTAMPS = 0x02,    /* it came with the option */
	EVENT_KNOWN = 0x04,	    /* of a flow, so that `high`, `span` and `age_ms` say something */
	EVENT_SERVER_FIRST = 0x08,  /* FIN to the server: it has sent its own before, and will be in TIME_WAIT */
	EVENT_LEFT_WITH = 0x10,	    /* and it left with it */
	EVENT_HANDSHAKE = 0x20,	    /* RST, FIN, ACK: of a connection whose handshake has not ended */
};

struct event {
	uint64_t tick;		/* of the shared clock, ms */
	uint64_t serial;	/* that of the packet: by whom, engine.h says; of the kernel's programs the time, ns, until it is taken */
	struct endpoints ends;	/* the client's first, whichever way the packet went */
	uint32_t number;	/* to the server: sequence number; to the client: acknowledgment number */
	uint32_t tsval, tsecr;	/* as they came */
	uint32_t left;		/* as it left, with EVENT_LEFT_WITH: TSval to the server, TSecr to the client */
	uint32_t high;		/* the newest TSval that the flow has sent */
	uint32_t span, age_ms;	/* of the flow since its last SYN: ticks of the client's clock, and of ours */
	uint16_t slot;		/* of the destination's counters */
	uint8_t tcp_flags;
	uint8_t reason; /* enum reason */
	uint8_t flags;	/* enum event_flag */
};

enum {
	EVENT_RING_SIZE = 4096, /* a power of 2 */
};

/* The two sides of it lie on cache lines of their own. */
struct event_ring {
	_Alignas(64) uint32_t head; /* written by the worker */
	uint64_t lost;
	_Alignas(64) uint32_t tail; /* written by who takes */
	_Alignas(64) struct event events[EVENT_RING_SIZE];
};

/* Where the next one is to be written; NULL where there is no room, and it is lost. event_end() hands it over. */
static inline struct event *event_begin(struct event_ring *ring)
{
	uint32_t head = ring->head;

	if (head - atomic_load_acquire(&ring->tail) == EVENT_RING_SIZE) {
		atomic_store(&ring->lost, ring->lost + 1);
		return NULL;
	}
	return &ring->events[head % EVENT_RING_SIZE];
}

static inline void event_end(struct event_ring *ring)
{
	atomic_store_release(&ring->head, ring->head + 1);
}

static inline void event_push(struct event_ring *ring, const struct event *event)
{
	struct event *next = event_begin(ring);

	if (!next)
		return;
	*next = *event;
	event_end(ring);
}

/* The oldest, which stays; NULL where there is none. */
static inline const struct event *event_peek(struct event_ring *ring)
{
	if (ring->tail == atomic_load_acquire(&ring->head))
		return NULL;
	return &ring->events[ring->tail % EVENT_RING_SIZE];
}

/* Takes the oldest. False where there is none. */
static inline bool event_take(struct event_ring *ring, struct event *ret)
{
	uint32_t tail = ring->tail;

	if (tail == atomic_load_acquire(&ring->head))
		return false;
	*ret = ring->events[tail % EVENT_RING_SIZE];
	atomic_store_release(&ring->tail, tail + 1);
	return true;
}

#endif
