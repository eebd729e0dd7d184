/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_ENGINE_INTERNAL_H
#define PAWSD_ENGINE_INTERNAL_H

#include "engine.h"
#include "plain.h"

/* What engine.c and its parts engine_*.c have in common. */

enum {
	SYN_SPAN_MAX_MS = PLAIN_SYN_SPAN_MAX_MS,
	SYN_LATE_MAX_MS = SYN_SPAN_MAX_MS + 120000, /* and a copy of the last one, two minutes on its way (RFC 9293's MSL) */
};

/* One packet on its way through the engine. */
struct passage {
	struct engine *engine;
	struct packet packet;
	uint64_t tick;
	struct flow *flow;	  /* NULL if unknown */
	struct flow *elder;	  /* where two share the four-tuple; else NULL */
	struct flow *younger;	  /* likewise */
	bool outbound;		  /* of a known flow: from client to server */
	bool is_in_handshake;	  /* as it comes: engine_event.c */
	bool is_second_fin;	  /* a FIN to the server, which has sent its own before: engine_event.c */
	uint16_t slot;		  /* where it is counted */
};

/* Moves the flow to another state, and its gauge with it. */
void engine_set_state(struct engine *engine, struct flow *flow, enum flow_state state);
void engine_forget_flow(struct engine *engine, struct flow *flow);
/* The same, and what comes is in its place at once: flow_table_renew(). */
void engine_renew_flow(struct engine *engine, struct flow *flow);
/* Forgets it if its word is still the one that was decided on. */
bool engine_forget_if(struct engine *engine, struct flow *flow, uint64_t word);

/* The flow is alive. */
static inline void engine_note_seen(struct passage *p)
{
	p->flow->last_seen_s = engine_seconds(p->tick);
}

static inline bool engine_is_word_alone(const struct flow *flow)
{
	return plain_is_word_alone(flow);
}

/* Nothing has been heard of the flow for so long that what was on its way has arrived. */
static inline bool engine_is_silent(const struct passage *p, const struct flow *flow)
{
	return plain_is_silent(flow, p->tick);
}

/* The packet leaves with a TSval that pawsd did not choose. */
void engine_note_foreign_tsval(struct passage *p);

static inline bool engine_has_sent_only_syns(const struct flow *flow)
{
	return plain_has_sent_only_syns(flow);
}

static inline bool engine_is_unanswered(const struct flow *flow)
{
	return plain_is_unanswered(flow);
}

/* Time since the flow's last SYN. */
static inline uint64_t engine_syn_age_ms(const struct passage *p)
{
	return plain_syn_age_ms(flow_table_syn(&p->engine->table, p->flow), p->tick);
}

/*
 * Which way a packet of no flow goes, and whose destination it is; it is counted there. Where
 * the interfaces do not tell, the side that the policy names is the server's.
 */
enum direction engine_find_direction(struct passage *p, const struct destination **ret_destination);

/*
 * The client's TSval behind a TSecr: that of a SYN, or what the flow's offset makes of it.
 * False when it was never emitted.
 */
bool engine_find_echo(const struct passage *p, uint32_t tsecr, uint32_t *ret_tsval);

/*
 * The flow's block of SYN pairs. Without one, its offset describes its one SYN; when a block is
 * made, that SYN goes into it. NULL when none is to be had.
 */
struct syn_pairs *engine_open_syn_pairs(struct passage *p);

/* Remembers that the client's `tsval` has left as `emitted` in its last SYN. Of too many the oldest but the first is given up. */
void engine_push_pair(struct syn_pairs *block, uint32_t tsval, uint32_t emitted);

/* Remembers that the client's `tsval` has left as `emitted`; of several with the same, the newest. */
void engine_remember_pair(struct syn_pairs *block, uint32_t tsval, uint32_t emitted);

/*
 * engine_elder.c. Whether a segment (in: one that acknowledges something) is of the connection that `flow`'s SYN
 * opened, while that is new: by its sequence or acknowledgment number.
 */
bool engine_is_of_connection(const struct passage *p, const struct flow *flow);
/* Whether the flow is to be kept behind a new one on its four-tuple. */
bool engine_may_be_elder(const struct flow *flow);
/* Of p->flow, which has an elder, and that elder the one that the packet is about. */
struct flow *engine_choose_flow(struct passage *p);
/* Forgets p->flow and its elder: what runs on the four-tuple from now on is none of ours. p->flow is NULL then. */
void engine_forget_connections(struct passage *p);

/* The packet repeats the SYN that made the flow. */
static inline bool engine_is_own_isn(const struct passage *p)
{
	return flow_table_syn(&p->engine->table, p->flow)->isn == packet_seq(&p->packet);
}

/* engine_synack.c. In a simultaneous open the handshake has SYN and SYN/ACK of both sides (P8): takes the option off. */
bool engine_strip_if_due(struct passage *p);

/* engine_full.c. Sees to it, as far as that can be done, that there is room for one more flow. */
void engine_make_room(struct passage *p);

/*
 * engine_full.c. Forgets a flow whose SYN has had no answer for some seconds, to make room: of all, or of those that
 * count as that client's. There may be none, or it is not found.
 */
void engine_push_out(struct passage *p, const struct client_use *whose);

/* engine_echo.c. True where the flow's server has been sent the client's own TSvals: it is left alone from now on. */
bool engine_leave_if_gone_past(struct passage *p, uint32_t tsecr);

/* engine_event.c. Tells p->engine->events, which is not NULL, of the packet, which has been handled. `outbound`: to the server. */
void engine_tell(struct passage *p, bool outbound, enum reason reason);

enum reason engine_handle_syn(struct passage *p);
/*
 * engine_syn.c. The packet at hand, a SYN/ACK to p->flow's client, answers a SYN that pawsd has not seen: what it opens, if
 * anything, is none of ours. It is known as a flow of MODE_OFF, if there is room without giving up one that may be alive.
 */
void engine_know_unseen(struct passage *p);
/* Where it makes the packet one of no flow, p->flow is NULL afterwards. */
enum reason engine_handle_synack(struct passage *p);
enum reason engine_handle_segment_out(struct passage *p);

#endif
