/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_FUZZ_TRAFFIC_H
#define PAWSD_TESTS_FUZZ_TRAFFIC_H

#include <stdint.h>

#include "fuzz.h"
#include "packet.h"

/*
 * From a tape to packets: some connections whose ends keep TSvals and ISNs, so that a few bytes
 * make a handshake with true echoes, and some more bytes anything else. An event on the tape is
 * one byte, whose three lower bits are its kind, and what that kind needs:
 *
 *   OUT, IN   a segment in full: connection, TCP flags, layout, selectors, IP extras, and bytes
 *             that are poked into it afterwards
 *   TIME      (byte + 1) << (upper five bits) ms pass
 *   RAW       flags, length (2), so many bytes as a packet
 *   OTHER     something about the world; the caller knows what the upper five bits mean
 *   SYN, SYNACK, DATA   connection; a usual segment, varied by the upper five bits
 *
 * tests/fuzz/make-seeds writes this language.
 */
enum fuzz_event {
	FUZZ_OUT,
	FUZZ_IN,
	FUZZ_TIME,
	FUZZ_RAW,
	FUZZ_OTHER,
	FUZZ_SYN,
	FUZZ_SYNACK,
	FUZZ_DATA,
	FUZZ_END, /* of the tape */
};

enum {
	FUZZ_CONNECTIONS = 64,
	FUZZ_ECHOES = 8, /* TSvals that a server remembers, to echo them */
	FUZZ_RAW_MAX = 2048,
};

struct fuzz_connection {
	struct addr client, server;
	uint16_t client_port, server_port;
	uint32_t isn;
	uint32_t client_tsval, server_tsval;
	uint64_t client_tick; /* when client_tsval was said */
	uint32_t emitted[FUZZ_ECHOES]; /* newest first */
};

struct fuzz_traffic {
	uint64_t tick, elapsed, elapsed_max;
	struct fuzz_connection connections[FUZZ_CONNECTIONS];
};

/* A packet on its way; input.data is malloc'd, of exactly input.len bytes. */
struct fuzz_packet {
	struct packet_input input;
	struct fuzz_connection *connection; /* NULL for a raw one */
	bool outbound;
	uint32_t tsval_at; /* where the TSval lies; 0: none */
	uint8_t other;	   /* of FUZZ_OTHER: the upper five bits */
};

/*
 * Servers 203.0.113.10 and .11, 2001:db8:5::10 and ::11, on these four ports. Time steps are left
 * out once `elapsed_max` ms have passed.
 */
void fuzz_traffic_begin(struct fuzz_traffic *traffic, uint64_t tick, uint64_t elapsed_max, const uint16_t ports[4]);

/* The next event. A packet of OUT, IN, RAW, SYN, SYNACK and DATA is to be given to fuzz_traffic_done(). */
enum fuzz_event fuzz_traffic_next(struct fuzz_traffic *traffic, struct fuzz_input *input, struct fuzz_packet *ret);

static inline bool fuzz_event_has_packet(enum fuzz_event event)
{
	return event != FUZZ_TIME && event != FUZZ_OTHER && event != FUZZ_END;
}

/* The packet has passed pawsd: a server notes what it got. Frees it. */
void fuzz_traffic_done(struct fuzz_packet *packet);

/* True for the servers above. */
bool fuzz_is_server(const struct addr *addr);

#endif
