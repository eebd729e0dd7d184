/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_FRONT_H
#define PAWSD_TESTS_FRONT_H

#include <stdbool.h>

#include "engine.h"

/*
 * The fast path in front of an engine, in virtual time: a packet goes to the kernel's programs, run by BPF_PROG_TEST_RUN,
 * and what they leave to the queue to the engine, as the rules would have it. Both work on one table.
 */
struct front;

/* What has become of packets so far. */
struct front_counts {
	uint64_t done, left, queued; /* by the programs; left to the engine by them; not shown to them */
	uint64_t dropped;
};

/* Where the programs are. */
enum front_side {
	FRONT_LAN,
	FRONT_WAN,
};

/* "lan", "wan"; false: neither. */
bool front_side_parse(const char *name, enum front_side *ret);

/* Loads the programs in `object`, those of that side. NULL where that cannot be done, with a line in ret_error. */
struct front *front_open(const char *object, enum front_side side, char *ret_error, size_t error_size);
void front_close(struct front *front);
/* The other's from now on. */
void front_use_side(struct front *front, enum front_side side);

/* All that comes from here on is of connections that have not been seen. */
void front_begin(struct front *front);

/* Moves the engine's flows and its clock's marks into what the programs map; and back. */
void front_attach(struct front *front, struct engine *engine);
void front_detach(struct front *front);
/* Tells the programs the policy. */
void front_use_policy(struct front *front, const struct policy *policy);

/* As engine_handle(), of the engine it is attached to. *ret_problem: a line where the two are at odds, else NULL. */
enum reason front_handle(struct front *front, const struct packet_input *input, uint64_t tick, const char **ret_problem);

/* A frame as it comes from a link. */
struct front_frame {
	uint8_t *data; /* from the IP header on */
	uint32_t len;
	uint16_t protocol; /* as the link has it */
	uint8_t to;	   /* the first byte of whom it is for: 0, this host */
	uint32_t mark;
	uint32_t interface; /* that it comes in by; 0: any */
	enum reason reason; /* afterwards, of what is done */
};

/* Runs one of the programs on it, alone: the first or the last. Returns the verdict, or an error as a negative number other than -1. */
int front_show(struct front *front, struct front_frame *frame, bool is_last);

/* What the programs are told. */
struct fastpath_shared *front_shared(struct front *front);

const struct front_counts *front_counts(const struct front *front);

#endif
