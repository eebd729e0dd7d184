/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SIM_WIRE_H
#define PAWSD_SIM_WIRE_H

#include "sim.h"

/* Packets as bytes. Nothing of pawsd's own parser or checksum code is used here. */

enum {
	WIRE_BYTES_MAX = 512,
};

struct wire {
	uint8_t data[WIRE_BYTES_MAX];
	uint32_t len;
	bool gso, unready; /* as the queue's flags say */
};

/* Where things are in it. `sound` is false where it is not a TCP segment with sound options. */
struct view {
	bool sound;
	uint32_t tcp_at, tcp_bytes, payload_at;
	int ts_at; /* of the option's kind byte, -1: none */
	uint8_t flags;
	uint16_t src_port, dst_port;
	uint32_t seq, ack, tsval, tsecr;
	uint16_t checksum;
};

/* `host` and `host_port` stand for the client as the packet shows it at the point where it is taken. */
void wire_build(const struct world *world, const struct segment *segment, const struct addr *host, uint16_t host_port,
		const struct addr *server, struct wire *ret);
void wire_parse(const uint8_t *data, uint32_t len, struct view *ret);
/* Whether the TCP checksum is right; with `unready`: whether the field holds the pseudo-header's sum. */
bool wire_is_checksum_valid(const uint8_t *data, const struct view *view);
bool wire_is_checksum_unready(const uint8_t *data, const struct view *view);
void wire_set_checksum(uint8_t *data, uint32_t tcp_at, uint32_t tcp_bytes);

struct addr wire_client_addr(enum family family, uint32_t number);
struct addr wire_public_addr(enum family family, uint32_t number);
struct addr wire_server_addr(enum family family, uint32_t number);

static inline void put32(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 24);
	at[1] = (uint8_t)(value >> 16);
	at[2] = (uint8_t)(value >> 8);
	at[3] = (uint8_t)value;
}

static inline void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

#endif
