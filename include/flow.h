/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FLOW_H
#define PAWSD_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "atomic.h"

/*
 * X(ID, name, default time-out in seconds, help). The names and their order are those of
 * nf_conntrack_proto_tcp; no default is shorter than conntrack's.
 */
#define FLOW_STATE_TABLE(X) \
	X(SYN_SENT, "SYN_SENT", 120, "the client sent a SYN") \
	X(SYN_RECV, "SYN_RECV", 120, "the server answered with SYN/ACK") \
	X(ESTABLISHED, "ESTABLISHED", 432000, "the handshake is complete") \
	X(FIN_WAIT, "FIN_WAIT", 7200, "one side sent FIN") \
	X(CLOSE_WAIT, "CLOSE_WAIT", 7200, "that FIN was acknowledged") \
	X(LAST_ACK, "LAST_ACK", 120, "the other side sent FIN too") \
	X(TIME_WAIT, "TIME_WAIT", 120, "both FINs were acknowledged") \
	X(CLOSE, "CLOSE", 120, "a RST was seen")

enum flow_state {
	FLOW_FREE,
#define X(id, name, timeout_s, help) FLOW_##id,
	FLOW_STATE_TABLE(X)
#undef X
	FLOW_STATE_COUNT,
};

/* Indexed by enum flow_state; [FLOW_FREE] is "FREE". */
extern const char *const flow_state_names[FLOW_STATE_COUNT];

enum flow_flag {
	FLOW_FIN_OUT = 0x01,	  /* the client sent FIN */
	FLOW_FIN_IN = 0x02,	  /* the server sent FIN */
	FLOW_ALIVE_OUT = 0x04,	  /* in CLOSE: the client sent something after the RST */
	FLOW_ALIVE_IN = 0x08,	  /* in CLOSE: the server did */
	FLOW_ANCHOR_PENDING = 0x10, /* TSval 0 in the SYN, no real value yet (P3) */
	FLOW_HAS_LIVED = 0x20,	  /* the handshake was complete once */
	FLOW_SIMULTANEOUS = 0x40, /* the server's side sent a SYN too (RFC 9293, 3.5) */
	FLOW_ONE_OFFSET = 0x80,	  /* several SYNs without SYN pairs: the offset explains them all */
	FLOW_SYN_ZERO = 0x100,	  /* the last SYN had TSval 0 */
	FLOW_SCALED = 0x200,	  /* the client's clock is too fast: scaled.h */
	FLOW_STAMPED = 0x400,	  /* both sides use timestamps */
	FLOW_WENT_BACK = 0x800,	  /* the client has sent something older than its SYN */
	FLOW_HAS_ELDER = 0x1000,  /* another flow on the four-tuple may be alive: engine_elder.c */
	FLOW_OFFSET_MOVED = 0x2000, /* SYNs without SYN pairs have had different offsets */
	FLOW_ANSWERED = 0x4000,	  /* in CLOSE: there had been a SYN/ACK before the RST */
	FLOW_FIRST = 0x8000,	  /* nothing was known on the four-tuple before its SYN */
	FLOW_UNSEEN = FLOW_ANCHOR_PENDING, /* with MODE_OFF: its SYN went past, and a SYN/ACK told of it */
};

/*
 * A flow, one cache line. It lies in a mapped file and outlives the process: no pointers, and
 * `state` is written last when a flow is made and first when it ends, so that a kill at any
 * instant leaves either a whole flow or none.
 *
 * Invariants: offset is what is added to TSval on the way out and taken from TSecr on the way
 * in (mod 2^32); syn_tsval is what the last SYN was emitted with; tsval_high is the newest TSval
 * emitted. block is the number of a block (flow_table.h) plus one, or 0 when the one SYN is
 * described by the offset: a block of SYN pairs or, of a scaled flow, its struct scaled.
 */
struct flow {
	struct addr client, server;
	uint16_t client_port, server_port;
	uint32_t offset;
	uint32_t tsval_high;
	uint32_t syn_tsval;
	uint32_t last_seen_s; /* shared clock, seconds */
	uint32_t next;	      /* in its hash chain or the free list: index plus one, 0 at the end */
	union {
		struct {
			uint16_t flags;	  /* enum flow_flag */
			uint16_t block;
			uint16_t slot;	  /* of the destination's counters */
			uint8_t state;	  /* enum flow_state */
			uint8_t mode : 4; /* enum mode, as it was at the SYN */
			uint8_t repair : 4; /* enum repair, likewise */
		};
		uint64_t word; /* all that says what is to be done with its packets, at once */
	};
};

_Static_assert(sizeof(struct flow) == 64, "a flow is one cache line");

/*
 * Others, the kernel's programs (flow_loan.h), may change the word at the same time. So whoever changes flags, state or mode
 * of a flow that is known exchanges the word by what he has decided on, or does this; the block is its owner's alone, and
 * what is FREE its maker's.
 */
static inline void flow_set_flags(struct flow *flow, uint16_t bits)
{
	atomic_or(&flow->word, (struct flow){.flags = bits}.word);
}

static inline void flow_clear_flags(struct flow *flow, uint16_t bits)
{
	atomic_and(&flow->word, ~(struct flow){.flags = bits}.word);
}

/* Its mode is 0, MODE_OFF, from now on: the connection is none of ours. */
static inline void flow_leave_alone(struct flow *flow)
{
	atomic_and(&flow->word, ~(struct flow){.mode = 0xf}.word);
}

/* The mode of a FREE place that was lent, and given back without a flow. */
enum {
	FLOW_GIVEN_BACK = 0xf,
};

/* The repair of a flow that nobody finds any more, for a program has opened another in front of it: no process takes it over. */
enum {
	FLOW_RETIRED = 0xf,
};

/* What is known of a flow's last SYN and seldom asked: kept apart, so that the rest stays one line. */
struct flow_syn {
	uint32_t isn;
	uint32_t time; /* of the shared clock: its tick / FLOW_SYN_TIME_MS, which takes two years to wrap */
};

enum {
	FLOW_SYN_TIME_MS = 16,
	FLOW_VERSION = 3, /* of the layout of all that outlives the process and is in here, and in scaled.h */
};

/*
 * What state a segment without SYN, of TCP flags `tcp_flags`, leaves the flow in; `outbound`:
 * from client to server. Sets and clears FLOW_FIN_*, FLOW_ALIVE_* and FLOW_HAS_LIVED in
 * flow->flags, so that `flow` is a copy, of the word at least. Follows the table in nf_conntrack_proto_tcp.c, except that a RST is believed
 * less: the client's own during the handshake is its answer to a SYN/ACK it disliked, and it
 * will try again; and a flow on which both sides go on after a RST was not reset. A client that acknowledges
 * something has had its SYN/ACK, whatever RST came in between.
 */
enum flow_state flow_next_state(struct flow *flow, bool outbound, uint8_t tcp_flags);

/* tsval_high becomes `tsval` where that is newer, whoever else raises it. */
void flow_raise(struct flow *flow, uint32_t tsval);

/* True while the client may still be sending the SYN of this very connection. */
static inline bool flow_in_handshake(const struct flow *flow)
{
	return flow->state == FLOW_SYN_SENT || flow->state == FLOW_SYN_RECV ||
	       (flow->state == FLOW_CLOSE && !(flow->flags & FLOW_HAS_LIVED));
}

/* The client's TSval in the flow's last SYN; the offset may be that of a later anchor. */
static inline uint32_t flow_said_in_syn(const struct flow *flow)
{
	return flow->flags & FLOW_SYN_ZERO ? 0 : flow->syn_tsval - flow->offset;
}

enum {
	SYN_PAIRS_MAX = 12, /* Linux sends up to 11 SYNs (since 6.5); beyond that the oldest but the first is forgotten */
};

/*
 * What each SYN of a connection carried, and what became of it (P4). It is kept for a while after
 * the handshake, for a SYN/ACK may be late.
 */
struct syn_pairs {
	uint32_t count;
	struct {
		uint32_t tsval;	  /* of the client */
		uint32_t emitted; /* to the server */
	} pair[SYN_PAIRS_MAX];
	uint32_t next_free; /* free list: number plus one, 0 at the end; 0 while in use */
};

#endif
