/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_BENCH_PACKET_H
#define PAWSD_BENCH_PACKET_H

/* Packets of numbered flows, as bench_engine, fill_flows and flood make them. */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "addr.h"

enum {
	DESTINATIONS = 200,
	SERVERS_EACH = 16,
	PORTS_EACH = 50, /* connections of one client */
};

static inline void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static inline uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* 198.18.0.0/15 and 10.0.0.0/8, or the last bytes of addresses in 2001:db8::/32. */
static inline struct addr make_addr(bool ipv6, uint32_t number)
{
	struct addr addr = {.byte = {0x20, 0x01, 0x0d, 0xb8}};
	uint8_t ipv4[4];

	put32(ipv4, number);
	put32(addr.byte + 12, number);
	return ipv6 ? addr : addr_from_ipv4(ipv4);
}

static inline uint32_t server_number(uint32_t destination, uint32_t server)
{
	return 0xc6120000 + destination * 256 + server;
}

/* What a packet is to be. */
struct shape {
	uint32_t flow;
	bool outbound, syn;
	uint8_t flags;
	uint32_t payload, isn, tsval, tsecr;
};

/* Odd flows are IPv6. */
static inline bool is_ipv6(uint32_t flow)
{
	return flow % 2;
}

static inline uint32_t put_ip(uint8_t *packet, const struct shape *shape, uint32_t tcp_bytes)
{
	uint32_t place = shape->flow / 2, server = place % (DESTINATIONS * SERVERS_EACH);
	struct addr client = make_addr(is_ipv6(shape->flow), 0x0a000000 + place / PORTS_EACH);
	struct addr far = make_addr(is_ipv6(shape->flow),
				    server_number(server / SERVERS_EACH, 1 + server % SERVERS_EACH));
	const uint8_t *src = shape->outbound ? client.byte : far.byte, *dst = shape->outbound ? far.byte : client.byte;

	if (is_ipv6(shape->flow)) {
		memcpy(packet, (uint8_t[]){0x60, 0, 0, 0, 0, 0, 6, 63}, 8);
		put16(packet + 4, tcp_bytes);
		memcpy(packet + 8, src, 16);
		memcpy(packet + 24, dst, 16);
		return 40;
	}
	memcpy(packet, (uint8_t[]){0x45, 0, 0, 0, 0, 1, 0x40, 0, 63, 6, 0, 0}, 12);
	put16(packet + 2, 20 + tcp_bytes);
	memcpy(packet + 12, src + 12, 4);
	memcpy(packet + 16, dst + 12, 4);
	return 20;
}

/* NOP NOP TS; in a SYN and a SYN/ACK MSS, SACK permitted, TS, NOP, window scale. Returns their bytes. */
static inline uint32_t put_options(uint8_t *options, bool syn, uint32_t *ret_ts_at)
{
	if (syn) {
		memcpy(options, (uint8_t[]){2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7}, 20);
		*ret_ts_at = 8;
		return 20;
	}
	memcpy(options, (uint8_t[]){1, 1, 8, 10}, 4);
	*ret_ts_at = 4;
	return 12;
}

struct made {
	uint32_t len, tsval_at;
};

/* The TCP checksum is wrong, which the engine does not mind. */
static inline struct made make_packet(uint8_t *packet, const struct shape *shape)
{
	uint32_t tcp_bytes = (shape->syn ? 40 : 32) + shape->payload, ip_bytes = put_ip(packet, shape, tcp_bytes), ts_at;
	uint8_t *tcp = packet + ip_bytes;
	uint16_t client_port = (uint16_t)(10000 + shape->flow / 2 % PORTS_EACH);

	put16(tcp, shape->outbound ? client_port : 443);
	put16(tcp + 2, shape->outbound ? 443 : client_port);
	put32(tcp + 4, shape->isn);
	put32(tcp + 8, 9);
	tcp[12] = (uint8_t)((20 + put_options(tcp + 20, shape->syn, &ts_at)) / 4 << 4);
	tcp[13] = shape->flags;
	put32(tcp + 14, 0x03e8beef); /* window, checksum */
	put16(tcp + 18, 0);
	put32(tcp + 20 + ts_at, shape->tsval);
	put32(tcp + 24 + ts_at, shape->tsecr);
	return (struct made){ip_bytes + tcp_bytes, ip_bytes + 20 + ts_at};
}

/* The TSval of a flow's client when its SYN is `age_ms` old. */
static inline uint32_t client_tsval(uint32_t flow, uint32_t age_ms)
{
	return (flow + 1) * 2654435761u + age_ms;
}

#endif
