/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_PACKET_VIEW_H
#define PAWSD_TESTS_PACKET_VIEW_H

/*
 * A TCP segment as the tests' own tools read it: IPv4 and plain IPv6. Written apart from
 * pawsd's parser and checksum code, for the tools judge what that code does.
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
	SEGMENT_FIN = 0x01,
	SEGMENT_SYN = 0x02,
	SEGMENT_RST = 0x04,
	SEGMENT_ACK = 0x10,
};

struct segment {
	uint8_t *ip;
	uint32_t ip_len; /* by the IP header: what lies behind is padding */
	uint8_t version;
	uint8_t src[16], dst[16]; /* IPv4: the first four bytes, the rest 0 */
	uint8_t *tcp;
	uint32_t tcp_len, tcp_header_len, payload_len;
	uint16_t src_port, dst_port;
	uint32_t seq, ack;
	uint8_t flags;
	uint8_t *ts; /* the timestamp option's kind byte, or NULL */
	uint32_t tsval, tsecr;
};

static inline uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static inline void put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
	put16(at, (uint16_t)(value >> 16));
	put16(at + 2, (uint16_t)value);
}

static inline void segment_find_ts(struct segment *s)
{
	uint8_t *at = s->tcp + 20, *end = s->tcp + s->tcp_header_len;

	while (at < end && *at != 0) {
		if (*at == 1) {
			at++;
			continue;
		}
		if (end - at < 2 || at[1] < 2 || at[1] > end - at)
			return;
		if (at[0] == 8 && at[1] == 10) {
			s->ts = at;
			s->tsval = get32(at + 2);
			s->tsecr = get32(at + 6);
			return;
		}
		at += at[1];
	}
}

/* Reads the IP packet of `len` bytes at `ip`. False where it is no whole, sound TCP segment. */
static inline bool segment_parse(uint8_t *ip, uint32_t len, struct segment *ret)
{
	struct segment s = {.ip = ip};
	uint32_t header;

	if (len < 20)
		return false;
	s.version = ip[0] >> 4;
	if (s.version == 4) {
		header = (uint32_t)(ip[0] & 15) * 4;
		s.ip_len = get16(ip + 2);
		if (header < 20 || ip[9] != 6 || (get16(ip + 6) & 0x3fff) != 0)
			return false;
		memcpy(s.src, ip + 12, 4);
		memcpy(s.dst, ip + 16, 4);
	} else if (s.version == 6 && len >= 40) {
		header = 40;
		s.ip_len = 40u + get16(ip + 4);
		if (ip[6] != 6)
			return false;
		memcpy(s.src, ip + 8, 16);
		memcpy(s.dst, ip + 24, 16);
	} else {
		return false;
	}
	if (s.ip_len > len || s.ip_len < header + 20)
		return false;
	s.tcp = ip + header;
	s.tcp_len = s.ip_len - header;
	s.tcp_header_len = (uint32_t)(s.tcp[12] >> 4) * 4;
	if (s.tcp_header_len < 20 || s.tcp_header_len > s.tcp_len)
		return false;
	s.payload_len = s.tcp_len - s.tcp_header_len;
	s.src_port = get16(s.tcp);
	s.dst_port = get16(s.tcp + 2);
	s.seq = get32(s.tcp + 4);
	s.ack = get32(s.tcp + 8);
	s.flags = s.tcp[13];
	segment_find_ts(&s);
	*ret = s;
	return true;
}

/* The sequence number behind the segment. */
static inline uint32_t segment_end(const struct segment *s)
{
	return s->seq + s->payload_len + ((s->flags & SEGMENT_SYN) != 0) + ((s->flags & SEGMENT_FIN) != 0);
}

static inline uint32_t sum16(uint32_t sum, const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i + 1 < len; i += 2)
		sum += get16(data + i);
	if (len & 1)
		sum += (uint32_t)data[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The sum over pseudo-header and segment, the checksum field included: 0xffff iff it is right. */
static inline uint32_t segment_sum(const struct segment *s)
{
	uint32_t addr_len = s->version == 4 ? 4 : 16, sum = 6 + s->tcp_len;

	sum = sum16(sum, s->src, addr_len);
	sum = sum16(sum, s->dst, addr_len);
	return sum16(sum, s->tcp, s->tcp_len);
}

static inline bool segment_checksum_ok(const struct segment *s)
{
	return segment_sum(s) == 0xffff;
}

static inline void segment_set_checksum(struct segment *s)
{
	put16(s->tcp + 16, 0);
	put16(s->tcp + 16, (uint16_t)~segment_sum(s));
}

/* IPv6 has none: always right. */
static inline bool segment_ip_checksum_ok(const struct segment *s)
{
	return s->version == 6 || sum16(0, s->ip, (uint32_t)(s->tcp - s->ip)) == 0xffff;
}

#endif
