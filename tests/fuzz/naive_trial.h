/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_FUZZ_NAIVE_TRIAL_H
#define PAWSD_TESTS_FUZZ_NAIVE_TRIAL_H

#include "naive_memory.h"

/* What naive.c and naive_syn.c have in common. */

enum {
	HANDSHAKE_BYTES = 131072, /* what a client may send before it is known that the server has its SYN */
};

/* One packet before the judge. */
struct trial {
	struct naive *naive;
	const struct packet_input *input;
	struct naive_segment segment; /* as it came */
	uint32_t tsval, tsecr;	      /* as they have left, or would have */
	uint64_t tick;
	enum reason reason;
	bool touched; /* the engine says it has changed the packet */
	struct naive_flow *flow;
	bool outbound;
	bool has_two; /* connections that are known on the four-tuple */
};

/* The bytes that must have been written. */
struct change {
	size_t at, len;
};

static const struct change nothing;

static inline struct change tsval_of(const struct trial *t)
{
	return (struct change){t->segment.ts_at + 2, 4};
}

static inline struct change tsecr_of(const struct trial *t)
{
	return (struct change){t->segment.ts_at + 6, 4};
}

/* The option has become NOPs. */
struct change naive_strip(const struct trial *t);
bool naive_is_reason(const struct trial *t, const char *name);
bool naive_comes_in(const struct trial *t);
/* A TSval leaves that pawsd did not choose: the server knows it all the same. */
void naive_note_foreign(struct trial *t);
/* How far into its connection the segment takes the flow. */
uint32_t naive_bytes_since_syn(const struct trial *t, const struct naive_flow *flow);

struct change naive_judge_syn(struct trial *t);
/* The packet answers a SYN that went past: what that opens is known as none of pawsd's, if there is room. */
void naive_know_unseen(struct trial *t);

#endif
