/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "packet.h"

#include "checksum.h"
#include "tcpopt.h"

enum {
	IPV4_HEADER_MIN = 20,
	IPV6_HEADER = 40,
	TCP_HEADER_MIN = 20,
	TCP_CHECKSUM_AT = 16,

	PROTOCOL_HOP_BY_HOP = 0,
	PROTOCOL_TCP = 6,
	PROTOCOL_ROUTING = 43,
	PROTOCOL_FRAGMENT = 44,
	PROTOCOL_AUTHENTICATION = 51,
	PROTOCOL_DESTINATION = 60,

	TS_TSVAL_AT = 2, /* in the option: kind, length, TSval, TSecr */
	TS_TSECR_AT = 6,
};

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t load32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t load64(const uint8_t *at)
{
	return (uint64_t)load32(at) << 32 | load32(at + 4);
}

static void store16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void store32(uint8_t *at, uint32_t value)
{
	store16(at, (uint16_t)(value >> 16));
	store16(at + 2, (uint16_t)value);
}

static enum reason parse_ipv4(const struct packet_input *input, struct packet *ret)
{
	uint8_t *ip = input->data;
	uint32_t header_len, total_len;

	if (input->len < IPV4_HEADER_MIN)
		return REASON_MALFORMED_IP;
	header_len = (uint32_t)(ip[0] & 0x0f) * 4;
	total_len = load16(ip + 2);
	if (header_len < IPV4_HEADER_MIN || header_len > total_len || total_len > input->len)
		return REASON_MALFORMED_IP;
	if (load16(ip + 6) & 0x3fff) /* MF or an offset */
		return REASON_FRAGMENT;
	if (ip[9] != PROTOCOL_TCP)
		return ip[9] == PROTOCOL_AUTHENTICATION ? REASON_IP_AUTHENTICATED : REASON_NOT_TCP;
	ret->ends.src = addr_from_ipv4(ip + 12);
	ret->ends.dst = addr_from_ipv4(ip + 16);
	ret->tcp = ip + header_len;
	ret->tcp_len = total_len - header_len;
	return REASON_COUNT;
}

static enum reason parse_ipv6(const struct packet_input *input, struct packet *ret)
{
	uint8_t *ip = input->data;
	uint32_t at = IPV6_HEADER, end;
	uint8_t next;

	if (input->len < IPV6_HEADER)
		return REASON_MALFORMED_IP;
	end = IPV6_HEADER + (uint32_t)load16(ip + 4);
	if (end > input->len)
		return REASON_MALFORMED_IP;
	next = ip[6];
	while (next != PROTOCOL_TCP) {
		if (next == PROTOCOL_FRAGMENT)
			return REASON_FRAGMENT;
		if (next == PROTOCOL_AUTHENTICATION)
			return REASON_IP_AUTHENTICATED;
		if (next != PROTOCOL_HOP_BY_HOP && next != PROTOCOL_ROUTING && next != PROTOCOL_DESTINATION)
			return REASON_NOT_TCP;
		if (end - at < 8 || end - at < ((uint32_t)ip[at + 1] + 1) * 8)
			return REASON_MALFORMED_IP;
		if (next == PROTOCOL_ROUTING && ip[at + 3]) /* RFC 8200, 4.4: segments left */
			return REASON_IPV6_ROUTING;
		next = ip[at];
		at += ((uint32_t)ip[at + 1] + 1) * 8;
	}
	ret->ends.src = addr_from_ipv6(ip + 8);
	ret->ends.dst = addr_from_ipv6(ip + 24);
	ret->tcp = ip + at;
	ret->tcp_len = end - at;
	return REASON_COUNT;
}

static enum reason parse_tcp(struct packet *ret)
{
	uint8_t *tcp = ret->tcp;
	uint32_t header_len;
	uint64_t values;
	enum reason reason;

	if (ret->tcp_len < TCP_HEADER_MIN)
		return REASON_MALFORMED_TCP;
	header_len = (uint32_t)(tcp[12] >> 4) * 4;
	if (header_len < TCP_HEADER_MIN || header_len > ret->tcp_len)
		return REASON_MALFORMED_TCP;
	ret->ends.src_port = load16(tcp);
	ret->ends.dst_port = load16(tcp + 2);
	ret->flags = tcp[13];
	if ((ret->flags & TCP_SYN) && (ret->flags & (TCP_RST | TCP_FIN)))
		return REASON_MALFORMED_FLAGS;
	reason = tcpopt_find_timestamps(tcp + TCP_HEADER_MIN, header_len - TCP_HEADER_MIN, &ret->ts);
	if (ret->ts) {
		values = load64(ret->ts + TS_TSVAL_AT); /* the one behind the other */
		ret->tsval = (uint32_t)(values >> 32);
		ret->tsecr = (uint32_t)values;
	}
	return reason;
}

enum reason packet_parse(const struct packet_input *input, struct packet *ret)
{
	enum reason reason;

	ret->input = input;
	if (input->truncated)
		return REASON_TRUNCATED;
	if (input->len < 1)
		return REASON_NOT_IP;
	switch (input->data[0] >> 4) {
	case 4:
		reason = parse_ipv4(input, ret);
		break;
	case 6:
		reason = parse_ipv6(input, ret);
		break;
	default:
		return REASON_NOT_IP;
	}
	return reason == REASON_COUNT ? parse_tcp(ret) : reason;
}

bool packet_peek_ends(const struct packet_input *input, struct endpoints *ret)
{
	const uint8_t *ip = input->data, *tcp;

	if (input->len < IPV6_HEADER + 4) /* as much as an IPv4 header and a TCP header */
		return false;
	if (ip[0] >> 4 == 4) {
		tcp = ip + (ip[0] & 0x0f) * 4;
		ret->src = addr_from_ipv4(ip + 12);
		ret->dst = addr_from_ipv4(ip + 16);
		if (tcp + 4 > ip + input->len)
			return false;
	} else {
		if (ip[6] != PROTOCOL_TCP)
			return false;
		tcp = ip + IPV6_HEADER;
		ret->src = addr_from_ipv6(ip + 8);
		ret->dst = addr_from_ipv6(ip + 24);
	}
	ret->src_port = load16(tcp);
	ret->dst_port = load16(tcp + 2);
	return true;
}

uint32_t packet_seq(const struct packet *packet)
{
	return load32(packet->tcp + 4);
}

uint32_t packet_ack(const struct packet *packet)
{
	return load32(packet->tcp + 8);
}

/*
 * What follows are the two places that change packet bytes. The kernel makes the checksum of a GSO
 * packet when it cuts it into segments; elsewhere a sum that is not ready is made here, since the
 * kernel takes a changed packet for a finished one (nfqnl_mangle() sets CHECKSUM_NONE).
 */
__attribute__((noinline)) static void finish_checksum(struct packet *packet)
{
	uint16_t check;

	if (packet->input->gso)
		return;
	check = checksum_finish_tcp(packet->tcp, packet->tcp_len);
	memcpy(packet->tcp + TCP_CHECKSUM_AT, &check, sizeof(check));
}

static inline void replace32(struct packet *packet, uint8_t *at, uint32_t value)
{
	uint8_t *check_at = packet->tcp + TCP_CHECKSUM_AT;
	uint32_t old, new;
	uint16_t check;

	memcpy(&old, at, sizeof(old));
	store32(at, value);
	if (packet->input->gso || packet->input->csum_not_ready) {
		finish_checksum(packet);
		return;
	}
	memcpy(&new, at, sizeof(new));
	memcpy(&check, check_at, sizeof(check));
	check = checksum_update32(check, old, new, (at - packet->tcp) & 1);
	memcpy(check_at, &check, sizeof(check));
}

static void replace(struct packet *packet, uint8_t *at, const uint8_t *bytes, size_t len)
{
	if (packet->input->gso || packet->input->csum_not_ready) {
		memcpy(at, bytes, len);
		finish_checksum(packet);
	} else {
		checksum_replace(packet->tcp + TCP_CHECKSUM_AT, packet->tcp, at, bytes, len);
	}
}

void packet_set_tsval(struct packet *packet, uint32_t tsval)
{
	replace32(packet, packet->ts + TS_TSVAL_AT, tsval);
}

void packet_set_tsecr(struct packet *packet, uint32_t tsecr)
{
	replace32(packet, packet->ts + TS_TSECR_AT, tsecr);
}

void packet_strip_timestamps(struct packet *packet)
{
	uint8_t nops[TCPOPT_TIMESTAMPS_LEN];

	memset(nops, TCPOPT_NOP, sizeof(nops));
	replace(packet, packet->ts, nops, sizeof(nops));
	packet->ts = NULL;
}
