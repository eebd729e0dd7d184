/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "traffic.h"

#include <stdlib.h>
#include <string.h>

enum {
	HEADER_ROOM = 40 + 8 + 60, /* IPv6, an extension header, TCP with options */
	PAYLOAD_MAX = 7,
	TRAILER_MAX = 3,

	/* How a segment's TSval or TSecr is chosen. */
	TSVAL_NATURAL = 0, /* a clock of 1 kHz */
	TSVAL_SAME,
	TSVAL_FAST, /* 10 kHz */
	TSVAL_SLOW, /* 100 Hz */
	TSVAL_STEP, /* by a 16-bit number from the tape less 0x8000 */
	TSVAL_RAW,
	TSVAL_ZERO,
	TSVAL_OLD, /* by a byte from the tape behind the newest: reordered */

	TSECR_NEWEST = 0,
	TSECR_PREVIOUS,
	TSECR_OLDEST, /* of those remembered */
	TSECR_ZERO,
	TSECR_BEHIND,  /* by 1 behind the newest */
	TSECR_AHEAD,   /* by a byte from the tape */
	TSECR_RAW,
	TSECR_UNSHIFTED, /* what the client sent */
};

/* A segment before it is bytes. */
struct segment {
	struct fuzz_connection *connection;
	bool outbound;
	uint8_t flags, layout, checksum, payload, extras;
	uint32_t seq, tsval, tsecr;
};

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

static struct addr make_addr(bool ipv6, bool server, uint8_t last)
{
	uint8_t ipv4[4] = {server ? 203 : 10, 0, server ? 113 : 0, last};
	struct addr addr = {.byte = {0x20, 0x01, 0x0d, 0xb8, 0, server ? 5 : 1}};

	addr.byte[15] = last;
	return ipv6 ? addr : addr_from_ipv4(ipv4);
}

bool fuzz_is_server(const struct addr *addr)
{
	for (int i = 0; i < 4; i++) {
		struct addr server = make_addr(i & 1, true, i & 2 ? 11 : 10);

		if (addr_equal(addr, &server))
			return true;
	}
	return false;
}

void fuzz_traffic_begin(struct fuzz_traffic *traffic, uint64_t tick, uint64_t elapsed_max, const uint16_t ports[4])
{
	*traffic = (struct fuzz_traffic){.tick = tick, .elapsed_max = elapsed_max};
	for (unsigned int i = 0; i < FUZZ_CONNECTIONS; i++) {
		struct fuzz_connection *connection = &traffic->connections[i];

		connection->client = make_addr(i & 16, false, i & 1 ? 2 : 1);
		connection->server = make_addr(i & 16, true, i & 32 ? 11 : 10);
		connection->client_port = i & 2 ? 40002 : 40001;
		connection->server_port = ports[i >> 2 & 3];
		connection->isn = 1000 * i;
		connection->client_tsval = 0x10000000 * (i & 7) + 1000;
		connection->client_tick = tick;
		connection->server_tsval = 7000 + i;
	}
}

static uint32_t choose_tsval(struct fuzz_traffic *traffic, struct fuzz_connection *c, uint8_t selector,
			     struct fuzz_input *input)
{
	uint64_t elapsed = traffic->tick - c->client_tick;
	uint32_t tsval = c->client_tsval;

	switch (selector & 7) {
	case TSVAL_NATURAL:
		tsval += (uint32_t)elapsed;
		break;
	case TSVAL_SAME:
		break;
	case TSVAL_FAST:
		tsval += (uint32_t)(elapsed * 10);
		break;
	case TSVAL_SLOW:
		tsval += (uint32_t)(elapsed / 10);
		break;
	case TSVAL_STEP:
		tsval += fuzz_take16(input) - 0x8000u;
		break;
	case TSVAL_RAW:
		tsval = fuzz_take32(input);
		break;
	case TSVAL_ZERO:
		return 0;
	case TSVAL_OLD:
		return tsval - fuzz_take8(input);
	}
	c->client_tsval = tsval;
	c->client_tick = traffic->tick;
	return tsval;
}

static uint32_t choose_tsecr(const struct fuzz_connection *c, uint8_t selector, struct fuzz_input *input)
{
	switch (selector & 7) {
	case TSECR_NEWEST:
		return c->emitted[0];
	case TSECR_PREVIOUS:
		return c->emitted[1];
	case TSECR_OLDEST:
		return c->emitted[FUZZ_ECHOES - 1];
	case TSECR_BEHIND:
		return c->emitted[0] - 1;
	case TSECR_AHEAD:
		return c->emitted[0] + fuzz_take8(input);
	case TSECR_RAW:
		return fuzz_take32(input);
	case TSECR_UNSHIFTED:
		return c->client_tsval;
	}
	return 0;
}

/* Puts kind, length, TSval and TSecr. */
static void put_timestamps(uint8_t *at, const struct segment *segment)
{
	at[0] = 8;
	at[1] = 10;
	put32(at + 2, segment->tsval);
	put32(at + 6, segment->tsecr);
}

/* TCP options in one of eight layouts. Returns their length; *ret_ts_at, if not 0, where the one is. */
static uint32_t put_options(uint8_t *at, const struct segment *segment, uint32_t *ret_ts_at)
{
	static const uint8_t ts_at[8] = {0, 2, 0, 1, 6, 2, 0, 6}, lengths[8] = {0, 12, 12, 12, 20, 12, 20, 16};
	uint8_t layout = segment->layout & 7;

	*ret_ts_at = 0;
	if (layout == 0)
		return 0;
	memset(at, 1, lengths[layout]);
	if (layout == 4) {
		memcpy(at, (uint8_t[]){2, 4, 5, 0xb4, 4, 2}, 6);
		memcpy(at + 17, (uint8_t[]){3, 3, 7}, 3);
	}
	if (layout == 5)
		at[0] = 0; /* end of the list */
	if (layout == 6)
		put_timestamps(at + 10, segment);
	if (layout == 7)
		memcpy(at, (uint8_t[]){29, 6, 1, 1, 0, 0}, 6); /* TCP-AO */
	put_timestamps(at + ts_at[layout], segment);
	*ret_ts_at = 20u + ts_at[layout];
	return lengths[layout];
}

static uint32_t add(uint32_t sum, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static void put_checksum(uint8_t *tcp, uint32_t tcp_len, const struct segment *segment)
{
	const struct fuzz_connection *c = segment->connection;
	uint8_t pseudo[4] = {(uint8_t)(tcp_len >> 8), (uint8_t)tcp_len, 0, 6};
	size_t skip = addr_family(&c->client) == FAMILY_IPV4 ? 12 : 0;
	uint32_t sum = add(0, pseudo, 4);

	sum = add(sum, c->client.byte + skip, 16 - skip);
	sum = add(sum, c->server.byte + skip, 16 - skip);
	put16(tcp + 16, 0);
	if (segment->checksum < 2)
		put16(tcp + 16, ~add(sum, tcp, tcp_len) & 0xffff);
	else /* the kernel leaves this to whoever finishes it */
		put16(tcp + 16, sum);
	if (segment->checksum == 1)
		tcp[17] ^= 0x55;
}

/* IPv4 or IPv6, with or without what may stand between it and TCP. Returns its length. */
static uint32_t put_ip(uint8_t *at, const struct segment *segment, uint32_t tcp_len)
{
	const struct fuzz_connection *c = segment->connection;
	const struct addr *src = segment->outbound ? &c->client : &c->server;
	const struct addr *dst = segment->outbound ? &c->server : &c->client;
	uint32_t extra = segment->extras & 1 ? 8 : 0;

	if (addr_family(src) == FAMILY_IPV4) {
		memcpy(at, (uint8_t[]){(uint8_t)(0x45 + extra / 4), 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0}, 12);
		put16(at + 2, 20 + extra + tcp_len);
		memcpy(at + 12, src->byte + 12, 4);
		memcpy(at + 16, dst->byte + 12, 4);
		memset(at + 20, 1, extra);
		put16(at + 10, ~add(0, at, 20 + extra) & 0xffff);
		return 20 + extra;
	}
	memcpy(at, (uint8_t[]){0x60, 0, 0, 0, 0, 0, (uint8_t)(extra ? 60 : 6), 64}, 8);
	put16(at + 4, extra + tcp_len);
	memcpy(at + 8, src->byte, 16);
	memcpy(at + 24, dst->byte, 16);
	if (extra)
		memcpy(at + 40, (uint8_t[]){6, 0, 1, 4, 0, 0, 0, 0}, 8);
	return 40 + extra;
}

static enum direction direction_of(const struct segment *segment)
{
	switch (segment->extras >> 6) {
	case 1:
		return DIRECTION_UNKNOWN;
	case 2:
		return segment->outbound ? DIRECTION_IN : DIRECTION_OUT;
	}
	return segment->outbound ? DIRECTION_OUT : DIRECTION_IN;
}

static void build(const struct segment *segment, struct fuzz_input *input, struct fuzz_packet *ret)
{
	const struct fuzz_connection *c = segment->connection;
	uint8_t bytes[HEADER_ROOM + PAYLOAD_MAX + TRAILER_MAX] = {0}, options[40];
	uint32_t ts_at, option_len = put_options(options, segment, &ts_at);
	uint32_t tcp_len = 20 + option_len + segment->payload, at, len;
	uint32_t pokes = segment->extras >> 2 & 3;

	at = put_ip(bytes, segment, tcp_len);
	len = at + tcp_len + (segment->extras & 2 ? TRAILER_MAX : 0);
	put16(bytes + at, segment->outbound ? c->client_port : c->server_port);
	put16(bytes + at + 2, segment->outbound ? c->server_port : c->client_port);
	put32(bytes + at + 4, segment->seq);
	put32(bytes + at + 8, segment->outbound ? 5001 : c->isn + 1);
	bytes[at + 12] = (uint8_t)((5 + option_len / 4) << 4 | (segment->extras & 16 ? 0xf : 0));
	bytes[at + 13] = segment->flags;
	put16(bytes + at + 14, 1000);
	memcpy(bytes + at + 20, options, option_len);
	memset(bytes + at + 20 + option_len, 0x77, segment->payload + (size_t)TRAILER_MAX);
	put_checksum(bytes + at, tcp_len, segment);
	for (; pokes; pokes--) {
		uint8_t place = fuzz_take8(input);

		bytes[place % len] = fuzz_take8(input);
	}
	struct fuzz_input whole = {bytes, len};
	bool gso = segment->checksum == 3;

	*ret = (struct fuzz_packet){
		.input = {.data = fuzz_copy(whole), .len = len, .gso = gso,
			  .csum_not_ready = segment->checksum == 2 || (gso && !(segment->extras & 32)),
			  .direction = direction_of(segment)},
		.connection = segment->connection,
		.outbound = segment->outbound,
		.tsval_at = ts_at ? at + ts_at + 2 : 0,
	};
}

static struct segment begin_segment(struct fuzz_traffic *traffic, struct fuzz_input *input, bool outbound)
{
	struct fuzz_connection *connection = &traffic->connections[fuzz_take8(input) % FUZZ_CONNECTIONS];
	struct segment segment = {.connection = connection, .outbound = outbound};

	segment.seq = outbound ? connection->isn : 5000;
	return segment;
}

/* A segment in full. */
static void take_segment(struct fuzz_traffic *traffic, struct fuzz_input *input, bool outbound,
			 struct fuzz_packet *ret)
{
	struct segment segment = begin_segment(traffic, input, outbound);
	struct fuzz_connection *c = segment.connection;
	uint8_t layout, selectors;

	segment.flags = fuzz_take8(input);
	layout = fuzz_take8(input);
	selectors = fuzz_take8(input);
	segment.extras = fuzz_take8(input);
	segment.layout = layout & 7;
	segment.checksum = layout >> 3 & 3;
	segment.payload = layout >> 5;
	if (selectors & 0x40)
		segment.seq += fuzz_take8(input) - 128u;
	if ((selectors & 0x80) && outbound)
		c->isn = segment.seq;
	if (outbound) {
		segment.tsval = choose_tsval(traffic, c, selectors, input);
		segment.tsecr = c->server_tsval;
	} else {
		segment.tsval = ++c->server_tsval;
		segment.tsecr = choose_tsecr(c, selectors, input);
	}
	build(&segment, input, ret);
}

/* The three usual ones. `variant`: the upper five bits of the event. */
static void take_usual(struct fuzz_traffic *traffic, struct fuzz_input *input, enum fuzz_event event,
		       uint8_t variant, struct fuzz_packet *ret)
{
	static const uint8_t speeds[4] = {TSVAL_NATURAL, TSVAL_FAST, TSVAL_SLOW, TSVAL_OLD};
	static const uint8_t syn_tsvals[6] = {TSVAL_NATURAL, TSVAL_ZERO, [4] = TSVAL_STEP, TSVAL_ZERO};
	bool outbound = event == FUZZ_SYN || (event == FUZZ_DATA && !(variant & 1));
	struct segment segment = begin_segment(traffic, input, outbound);
	struct fuzz_connection *c = segment.connection;

	segment.layout = event == FUZZ_DATA ? 1 : 4;
	if (event == FUZZ_SYN) {
		segment.flags = TCP_SYN;
		c->isn += variant & 1 ? 64000 : 0;
		segment.seq = c->isn;
		segment.tsval = choose_tsval(traffic, c, syn_tsvals[variant >> 1 & 5], input);
	} else if (event == FUZZ_SYNACK) {
		segment.flags = TCP_SYN | TCP_ACK;
		segment.tsecr = choose_tsecr(c, variant & 7, input);
	} else {
		segment.flags = (uint8_t)(TCP_ACK | (variant & 8 ? TCP_FIN : 0) | (variant & 16 ? TCP_RST : 0));
		segment.seq += 1;
		if (outbound)
			segment.tsval = choose_tsval(traffic, c, speeds[variant >> 1 & 3], input);
		else
			segment.tsecr = choose_tsecr(c, variant >> 1 & 3, input);
	}
	if (outbound)
		segment.tsecr = event == FUZZ_SYN ? 0 : c->server_tsval;
	else
		segment.tsval = ++c->server_tsval;
	if (event != FUZZ_DATA) {
		segment.layout = (event == FUZZ_SYN ? variant & 4 : variant & 8) ? 0 : 4;
		segment.extras = variant & 16 ? 1 << 6 : 0;
	}
	build(&segment, input, ret);
}

static void take_raw(struct fuzz_input *input, struct fuzz_packet *ret)
{
	uint8_t flags = fuzz_take8(input);
	struct fuzz_input piece = fuzz_take(input, fuzz_take16(input) % FUZZ_RAW_MAX);

	*ret = (struct fuzz_packet){
		.input = {.data = fuzz_copy(piece), .len = (uint32_t)piece.len, .truncated = flags & 1,
			  .gso = flags & 2, .csum_not_ready = flags & 4,
			  .direction = (enum direction)((flags >> 3) % 3)},
	};
}

static void take_time(struct fuzz_traffic *traffic, struct fuzz_input *input, uint8_t shift)
{
	uint64_t step = (uint64_t)(fuzz_take8(input) + 1) << (shift % 24);

	if (traffic->elapsed + step > traffic->elapsed_max)
		return;
	traffic->elapsed += step;
	traffic->tick += step;
}

enum fuzz_event fuzz_traffic_next(struct fuzz_traffic *traffic, struct fuzz_input *input, struct fuzz_packet *ret)
{
	uint8_t byte;
	enum fuzz_event event;

	if (input->len == 0)
		return FUZZ_END;
	byte = fuzz_take8(input);
	event = (enum fuzz_event)(byte & 7);
	*ret = (struct fuzz_packet){.other = byte >> 3};
	if (event == FUZZ_OUT || event == FUZZ_IN)
		take_segment(traffic, input, event == FUZZ_OUT, ret);
	else if (event == FUZZ_TIME)
		take_time(traffic, input, byte >> 3);
	else if (event == FUZZ_RAW)
		take_raw(input, ret);
	else if (event != FUZZ_OTHER)
		take_usual(traffic, input, event, byte >> 3, ret);
	return event;
}

void fuzz_traffic_done(struct fuzz_packet *packet)
{
	struct fuzz_connection *c = packet->connection;
	const uint8_t *at = packet->input.data + packet->tsval_at;

	if (c && packet->outbound && packet->tsval_at) {
		memmove(&c->emitted[1], &c->emitted[0], (FUZZ_ECHOES - 1) * sizeof(c->emitted[0]));
		c->emitted[0] = fuzz_load32(at);
	}
	free(packet->input.data);
	packet->input.data = NULL;
}
