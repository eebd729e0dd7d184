/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_FUZZ_NAIVE_H
#define PAWSD_TESTS_FUZZ_NAIVE_H

#include "fuzz_engine.h"

/*
 * What pawsd promises to do to packets, once more: slow, with a complete memory of everything
 * that was ever sent, and without a look at how the engine does it. It judges the engine's
 * output packet by packet and ends the program at the first byte that is not as promised. The
 * promises P1 ... are those of HACKING.md.
 */

/* A packet, read without any code of pawsd's. */
struct naive_segment {
	struct addr src, dst;
	uint16_t src_port, dst_port;
	uint32_t seq, ack;
	uint8_t flags;
	size_t tcp_at, tcp_len;
	bool has_ts;
	size_t ts_at; /* of the option's first byte */
	uint32_t tsval, tsecr;
};

/* False for all that pawsd must leave alone: no TCP, malformed, a fragment, signed, ... (P7). */
bool naive_parse(const uint8_t *data, size_t len, struct naive_segment *ret);

/*
 * Holds the packet after pawsd against the one before: the same but for the bytes from
 * `changed_at` on, `changed_len` of them, and the TCP checksum, which must be as good as it was
 * (P5, P6).
 */
void naive_check_bytes(const struct packet_input *input, const uint8_t *before, const struct naive_segment *segment,
		       size_t changed_at, size_t changed_len);

/* With FUZZ_TRACE in the environment: a line about the packet, for whoever looks into a finding. */
void naive_trace(const struct packet_input *input, const uint8_t *before, uint64_t tick, enum reason reason);

/* The destination of a connection, found by looking at every prefix of every destination. */
const struct destination *naive_match(const struct policy *policy, const struct addr *server, uint16_t port,
				      const struct addr *client);

/* Asks the policy about its own borders and about addresses off the tape, and compares. */
void naive_check_policy(const struct policy *policy, const uint8_t *data, size_t len);

/* The world of fuzz_differential.c: one mode for all servers of traffic.h, off for everything else. */
struct naive;

struct naive *naive_new(const struct fuzz_engine *engine, enum mode mode, enum repair repair);
void naive_free(struct naive *naive);

/*
 * Judges what has become of a packet: `before` are its bytes as they were, input->data as they
 * are now. `reason` is what the engine says.
 */
void naive_judge(struct naive *naive, const struct packet_input *input, const uint8_t *before, uint64_t tick,
		 enum reason reason);

/*
 * After a sweep, or a packet: whoever is gone must have been silent for longer than `timeout_s`, and nobody else, but for
 * one whose place a SYN was given.
 */
void naive_judge_sweep(struct naive *naive, uint64_t tick, uint32_t timeout_s, bool was_complete);

#endif
