/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Short connections, a line each. */
#include <string.h>

#include "handcap.h"

enum {
	FAR_MS = 10, /* from where it is captured to the server, there and back */
	NEAR_MS = 2,
	THINK_MS = 20,
	REQUEST_BYTES = 120,
	RESPONSE_BYTES = 300,
};

static void put_option(struct segment *segment, const uint8_t *bytes, uint32_t len)
{
	memcpy(segment->options + segment->option_bytes, bytes, len);
	segment->option_bytes += len;
}

static void put_u32(struct segment *segment, uint32_t value)
{
	const uint8_t bytes[] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};

	put_option(segment, bytes, sizeof(bytes));
}

struct segment talk_segment(bool is_outbound, uint16_t flags, bool has_ts, uint32_t tsval, uint32_t tsecr)
{
	static const uint8_t mss[] = {2, 4, 5, 0xb4}, sack[] = {4, 2}, nops[] = {1, 1}, scale[] = {1, 3, 3, 7}, ts[] = {8, 10};
	struct segment segment = {
		.outbound = is_outbound, .flags = flags, .window = 1000, .ts_at = NOT_SET, .data_offset = NOT_SET,
		.header_length = NOT_SET, .ip_length = NOT_SET, .protocol = NOT_SET, .tos = NOT_SET, .cut_to = NOT_SET,
	};

	if (flags & TCP_SYN) {
		put_option(&segment, mss, sizeof(mss));
		put_option(&segment, has_ts ? sack : nops, 2);
		if (!has_ts)
			put_option(&segment, sack, 2);
	} else if (has_ts) {
		put_option(&segment, nops, 2);
	}
	if (has_ts) {
		segment.ts_at = (int)segment.option_bytes;
		put_option(&segment, ts, sizeof(ts));
		put_u32(&segment, tsval);
		put_u32(&segment, tsecr);
	}
	if (flags & TCP_SYN)
		put_option(&segment, scale, sizeof(scale));
	return segment;
}

/* What a line says. */
struct talk {
	struct endpoint client, server;
	bool has_ts, is_client_first;
	uint32_t tsval, isn, syns;
};

static bool parse(struct text *text, struct talk *ret)
{
	if (!text_endpoint(text, &ret->client) || !text_endpoint(text, &ret->server))
		return false;
	ret->syns = 1;
	ret->isn = (uint32_t)hash_mix((uint64_t)ret->client.port << 32 | ret->client.addr.byte[15]);
	while (!text_end(text) && !text->problem[0]) {
		if (text_word(text, "TS"))
			ret->has_ts = text_u32(text, UINT32_MAX, &ret->tsval);
		else if (text_word(text, "isn"))
			text_u32(text, UINT32_MAX, &ret->isn);
		else if (text_word(text, "syns"))
			text_u32(text, 8, &ret->syns);
		else if (text_word(text, "client first"))
			ret->is_client_first = true;
		else
			return text_problem(text, "served or unserved, and then? \"%.20s\"", text->at);
	}
	return !text->problem[0];
}

/* One segment more. The server's clock says 700000000 at time 0. */
struct teller {
	struct file *file;
	const struct talk *talk;
	uint64_t time_us, begin_us;
	uint32_t client_next, server_next, client_seen, server_seen;
};

static uint32_t clock_of(const struct teller *teller, bool is_outbound)
{
	return is_outbound ? teller->talk->tsval + (uint32_t)((teller->time_us - teller->begin_us) / 1000)
			   : 700000000u + (uint32_t)(teller->time_us / 1000);
}

static void tell(struct teller *teller, uint32_t after_ms, bool is_outbound, uint16_t flags, uint32_t payload_bytes)
{
	const struct talk *talk = teller->talk;
	uint32_t *next = is_outbound ? &teller->client_next : &teller->server_next;
	uint32_t *seen = is_outbound ? &teller->client_seen : &teller->server_seen;
	struct segment segment;

	teller->time_us += MS(after_ms);
	segment = talk_segment(is_outbound, flags, talk->has_ts, clock_of(teller, is_outbound),
			       is_outbound ? teller->server_seen : teller->client_seen);
	*seen = clock_of(teller, is_outbound);
	segment.seq = *next;
	if (flags & TCP_ACK)
		segment.ack = is_outbound ? teller->server_next : teller->client_next;
	segment.payload_bytes = payload_bytes;
	*next += payload_bytes + !!(flags & TCP_SYN) + !!(flags & TCP_FIN);
	file_add_segment(teller->file, teller->time_us, &segment, &talk->client, &talk->server);
}

static void tell_all(struct teller *teller, bool is_client_first)
{
	tell(teller, 0, true, TCP_SYN, 0);
	tell(teller, FAR_MS, false, TCP_SYN | TCP_ACK, 0);
	tell(teller, NEAR_MS, true, TCP_ACK, 0);
	tell(teller, 0, true, TCP_PSH | TCP_ACK, REQUEST_BYTES);
	tell(teller, THINK_MS, false, TCP_PSH | TCP_ACK, RESPONSE_BYTES);
	tell(teller, is_client_first ? NEAR_MS : 0, is_client_first, TCP_FIN | TCP_ACK, 0);
	tell(teller, is_client_first ? FAR_MS : NEAR_MS, !is_client_first, TCP_FIN | TCP_ACK, 0);
	tell(teller, is_client_first ? NEAR_MS : FAR_MS, is_client_first, TCP_ACK, 0);
}

bool talk_line(struct file *file, struct text *text, uint64_t time_us, bool is_served)
{
	struct talk talk = {.syns = 0};
	struct teller teller = {.file = file, .talk = &talk, .time_us = time_us, .begin_us = time_us};

	if (!parse(text, &talk))
		return false;
	teller.client_next = talk.isn;
	teller.server_next = talk.isn ^ 0x5a5a5a5a;
	for (uint32_t i = 0; !is_served && i < talk.syns; i++) {
		teller.client_next = talk.isn;
		tell(&teller, i ? 1000u << (i - 1) : 0, true, TCP_SYN, 0);
	}
	if (is_served)
		tell_all(&teller, talk.is_client_first);
	return true;
}
