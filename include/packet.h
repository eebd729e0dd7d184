/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_PACKET_H
#define PAWSD_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "reason.h"

/* Which way a packet crosses the gateway, as far as its interfaces tell. */
enum direction {
	DIRECTION_UNKNOWN,
	DIRECTION_OUT, /* leaves by a wan interface: client to server */
	DIRECTION_IN,  /* came in by a wan interface: server to client */
};

/* A packet as the queue hands it over. The engine changes bytes in place, never the length. */
struct packet_input {
	uint8_t *data; /* begins with the IP header */
	uint32_t len;
	bool truncated;	      /* NFQA_CAP_LEN: data holds only the packet's beginning */
	bool gso;	      /* NFQA_SKB_GSO: its checksum is made at segmentation */
	bool csum_not_ready;  /* NFQA_SKB_CSUMNOTREADY: the field holds the pseudo-header sum */
	enum direction direction;
};

enum {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
};

/* A parsed TCP segment: host byte order, pointers into the input, which has to live as long. */
struct packet {
	const struct packet_input *input;
	uint8_t *tcp;
	uint32_t tcp_len; /* header and payload */
	struct endpoints ends;
	uint8_t flags;
	uint8_t *ts; /* the timestamp option's kind byte, or NULL */
	uint32_t tsval, tsecr; /* as they came; without the option they mean nothing */
};

/*
 * Parses IPv4 (RFC 791, options allowed) or IPv6 (RFC 8200, with hop-by-hop, routing and
 * destination headers) and TCP (RFC 9293). Returns REASON_COUNT and fills *ret, or the reason
 * why the packet must pass unmodified.
 */
enum reason packet_parse(const struct packet_input *input, struct packet *ret);

/*
 * The ends alone, of a packet that nearly all are like: without IPv6 extension headers. A hint: the packet may be none
 * that packet_parse() takes. False when it cannot be told at a glance.
 */
bool packet_peek_ends(const struct packet_input *input, struct endpoints *ret);

/* Its sequence number; seldom asked. */
uint32_t packet_seq(const struct packet *packet);
/* Its acknowledgment number, host byte order. */
uint32_t packet_ack(const struct packet *packet);

/* Sets the TSval or TSecr of a segment that has the option, and keeps its checksum right (P6). */
void packet_set_tsval(struct packet *packet, uint32_t tsval);
void packet_set_tsecr(struct packet *packet, uint32_t tsecr);

/* Overwrites the timestamp option with NOPs; the length stays (P5). */
void packet_strip_timestamps(struct packet *packet);

#endif
