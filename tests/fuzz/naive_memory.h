/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_FUZZ_NAIVE_MEMORY_H
#define PAWSD_TESTS_FUZZ_NAIVE_MEMORY_H

#include "naive.h"

/* What the naive one remembers: all of it, in lists that grow. */

/* A TSval that has left for a server. */
struct naive_sent {
	struct addr server;
	uint32_t slot; /* of the shared clock's mark */
	uint32_t tsval;
	uint64_t tick;
	bool was_ahead; /* of the clock, then */
	bool was_in_lead; /* by no more than the lead */
	bool is_syn;	  /* of a rewritten flow */
};

/* A TSval of the client and what the server got in its place. */
struct naive_echo {
	uint32_t tsval, emitted;
	bool is_syn;
	bool is_early; /* no SYN, but sent before the handshake was over: no server echoes it */
};

struct naive_flow {
	struct naive_flow *next;
	struct addr client, server;
	uint16_t client_port, server_port;
	uint32_t isn;
	uint64_t last_seen_s;
	bool is_first;	       /* nothing was known on its four-tuple before */
	bool is_off;	       /* none of pawsd's, and known for the sake of the one before */
	bool is_unseen;	       /* its SYN went past */
	bool has_ended;	       /* its client has sent a FIN */
	bool handshaking;      /* the client has not yet completed the handshake */
	bool is_answered;      /* the server answered with SYN/ACK */
	bool refused;	       /* the server answered with RST; the client may yet try again */
	bool was_answered;     /* by SYN/ACK, before that RST */
	bool simultaneous;     /* both sides sent SYNs: what was echoed is less certain */
	bool is_zero_none;     /* the last SYN's TSval was 0 */
	bool pending;	       /* TSval 0 in the SYN, no real one yet (P3) */
	bool is_unsteady;      /* its client's TSvals have gone back: which is the newer cannot be said */
	bool went_back;	       /* it has sent something older than its SYN: what is never sent is uncertain */
	bool scaled;	       /* its clock is too fast for a constant offset (P3) */
	bool is_echo_vague;    /* there may have been no room for its SYN pairs, or they are given back */
	bool is_syn_forgotten; /* the server has echoed something newer than the SYNs */
	int64_t scaled_ahead;  /* how far the flow was ahead when it was found to be */
	uint32_t offset;
	uint32_t newest; /* TSval emitted */
	uint64_t advanced; /* from the last SYN's TSval to that; may be more than once around */
	uint32_t newest_syn, syn_tsval; /* emitted for the last SYN, and what the client sent in it */
	uint32_t reading;      /* the newest that the client has sent in a SYN */
	uint32_t other_offset; /* that of a copy of an old SYN, if it was not known for one */
	bool has_other_offset;
	bool is_offset_open;   /* several such, of more SYNs than are remembered: the next segment shows it */
	uint64_t syn_tick;     /* of the last SYN */
	struct naive_echo *echoes;
	size_t echo_count, syn_count;
};

/* The server, or somebody in its name, has answered a SYN that passed, and the client has said nothing to that. */
static inline bool naive_is_word_alone(const struct naive_flow *flow)
{
	return flow->is_off && flow->is_unseen && flow->handshaking;
}

/* Only SYNs have been sent, and neither SYN/ACK nor RST has come back to the last. */
static inline bool naive_is_unanswered(const struct naive_flow *flow)
{
	return flow->handshaking && !flow->simultaneous && !flow->is_answered && !flow->refused;
}

struct naive {
	const struct fuzz_engine *engine;
	enum mode mode;
	enum repair repair;
	struct naive_flow *flows;
	uint32_t flow_count;
	uint64_t pushed_out; /* flows: what the engine had counted of such when it was last looked for who is gone */
	struct naive_sent *sent;
	size_t sent_count;
	/* Servers that got TSvals from all over the number space: then no SYN is newer than them all. */
	bool is_incoherent[CLOCK_SERVER_SLOTS];
};

/* How far `tsval` is ahead of the shared clock, as the shorter way round goes. */
int32_t naive_distance(const struct naive *naive, uint32_t tsval, uint64_t tick);

void naive_note_sent(struct naive *naive, const struct addr *server, uint32_t tsval, uint64_t tick, bool is_syn);

/*
 * P1, P2, P9: the TSval of a SYN of this flow. `previous`: the last one on its four-tuple, or NULL.
 */
void naive_judge_syn_tsval(const struct naive *naive, const struct naive_flow *flow, const uint32_t *previous,
			   uint64_t tick, uint32_t tsval);

/* The newest flow of the segment's ends, or the one before `flow`; NULL where there is none. */
struct naive_flow *naive_find_elder(const struct naive_flow *flow);
struct naive_flow *naive_find(const struct naive *naive, const struct naive_segment *segment, bool *ret_outbound);
struct naive_flow *naive_add(struct naive *naive, const struct naive_segment *segment);
void naive_remove(struct naive *naive, struct naive_flow *flow);
/* `flow`, which may be NULL, and what was there before it. */
void naive_remove_all(struct naive *naive, struct naive_flow *flow);

/* True when a SYN that finds the table full must get the place of another, for the engine looks at as many as there are. */
bool naive_can_push_out(const struct naive *naive, uint64_t tick);

/* True when the engine still knows the flow. */
bool naive_engine_has(const struct naive *naive, const struct naive_flow *flow);

/* True when the flow's client has sent this in a SYN before. */
bool naive_has_said_in_syn(const struct naive_flow *flow, uint32_t tsval);
/* Whether the flow's offset, as far as that is known, makes `emitted` of `tsval`. */
bool naive_is_shifted(const struct naive_flow *flow, uint32_t tsval, uint32_t emitted);
/* More SYNs than are remembered. */
bool naive_has_many_syns(const struct naive_flow *flow);

/* True if the client's `tsval` has left as `emitted` before. */
bool naive_has_left_so(const struct naive_flow *flow, uint32_t tsval, uint32_t emitted);

/* The client's `tsval` has become `emitted`. */
void naive_note_echo(struct naive_flow *flow, uint32_t tsval, uint32_t emitted, bool is_syn);

/*
 * P4: whether `back` is what may become of the TSecr `tsecr`. `touched`: the engine has changed
 * it; untouched, `back` is `tsecr` itself. The last two say what it must be, or may not be:
 */
enum naive_echo_is {
	ECHO_KNOWN,   /* the server was sent this TSval: it must be turned back */
	ECHO_FOREIGN, /* never: it must not be */
	ECHO_EITHER,  /* never, but the flow has emitted newer ones, or not certain */
};

enum naive_echo_is naive_classify_echo(const struct naive_flow *flow, uint32_t tsecr);
bool naive_is_turned_back(const struct naive_flow *flow, uint32_t tsecr, uint32_t back);

/* True when the client has sent this TSval in a way that can be echoed. */
bool naive_has_said(const struct naive_flow *flow, uint32_t tsval);

#endif
