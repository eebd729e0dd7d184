/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "replay.h"

/* A packet grows here first; the caller's buffer is then exactly as long as the packet. */
struct growing {
	uint8_t data[65536 + 1024];
	uint32_t len;
};

static void put_bytes(struct growing *packet, const void *bytes, uint32_t len)
{
	memcpy(packet->data + packet->len, bytes, len);
	packet->len += len;
}

static void put_u8(struct growing *packet, uint32_t value)
{
	packet->data[packet->len++] = (uint8_t)value;
}

static void put_u16(struct growing *packet, uint32_t value)
{
	put_u8(packet, value >> 8);
	put_u8(packet, value);
}

static void put_u32(struct growing *packet, uint32_t value)
{
	put_u16(packet, value >> 16);
	put_u16(packet, value & 0xffff);
}

static void set_u16(struct growing *packet, uint32_t at, uint32_t value)
{
	packet->data[at] = (uint8_t)(value >> 8);
	packet->data[at + 1] = (uint8_t)value;
}

/* The plain Internet checksum of RFC 1071, byte pair by byte pair. */
static uint32_t sum_bytes(const uint8_t *bytes, uint32_t len)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < len; i++) {
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static uint32_t sum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Of the addresses as they stand in the IP header, the protocol and the segment's length. */
static uint32_t sum_pseudo_header(const uint8_t *data, uint32_t tcp_bytes)
{
	uint32_t sum = data[0] >> 4 == 4 ? sum_bytes(data + 12, 8) : sum_bytes(data + 8, 32);

	return sum_fold(sum + 6 + (tcp_bytes >> 16) + (tcp_bytes & 0xffff));
}

static void put_ipv4(struct growing *packet, const struct segment *segment, const struct addr *src,
		     const struct addr *dst)
{
	uint32_t header_bytes = 20 + segment->ip_option_bytes;
	uint32_t words = segment->header_length == NOT_SET ? header_bytes / 4 : (uint32_t)segment->header_length;

	put_u8(packet, 0x40 | words);
	put_u8(packet, segment->tos == NOT_SET ? 0x02 : (uint32_t)segment->tos);
	put_u16(packet, 0); /* total length */
	put_u16(packet, 0xbeef);
	if (segment->fragment)
		put_u16(packet, (segment->more_fragments ? 0x2000u : 0) | segment->fragment_offset);
	else
		put_u16(packet, 0x4000);
	put_u8(packet, 63);
	put_u8(packet, segment->protocol == NOT_SET ? 6 : (uint32_t)segment->protocol);
	put_u16(packet, 0); /* header checksum */
	put_bytes(packet, src->byte + 12, 4);
	put_bytes(packet, dst->byte + 12, 4);
	put_bytes(packet, segment->ip_options, segment->ip_option_bytes);
}

static void put_extension(struct growing *packet, uint32_t type, uint32_t next, const struct segment *segment)
{
	static const uint8_t routing[] = {2, 4, 0, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0,
					  0, 0, 0, 0, 0, 0, 8, 10};
	static const uint8_t options[] = {1, 1, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t ah[] = {4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

	put_u8(packet, next);
	switch (type) {
	case EXTENSION_ROUTING: /* 24 bytes; no segments left */
		put_bytes(packet, routing, sizeof(routing));
		break;
	case EXTENSION_FRAGMENT:
		put_u8(packet, 0);
		put_u16(packet, segment->fragment_offset << 3 | segment->more_fragments);
		put_u32(packet, 0xabcdef);
		break;
	case EXTENSION_AH:
		put_bytes(packet, ah, sizeof(ah));
		break;
	default: /* hop-by-hop, destination: 16 bytes of padding options */
		put_bytes(packet, options, sizeof(options));
	}
}

static void put_ipv6(struct growing *packet, const struct segment *segment, const struct addr *src,
		     const struct addr *dst)
{
	uint32_t count = segment->extension_count, last = segment->protocol == NOT_SET ? 6 : (uint32_t)segment->protocol;
	uint8_t chain[EXTENSIONS_MAX + 1];

	memcpy(chain, segment->extension, count);
	if (segment->fragment)
		chain[count++] = EXTENSION_FRAGMENT;
	put_u32(packet, 0x60000000u | (segment->tos == NOT_SET ? 0x02u : (uint32_t)segment->tos) << 20 | 0xabcde);
	put_u16(packet, 0); /* payload length */
	put_u8(packet, count ? chain[0] : last);
	put_u8(packet, 63);
	put_bytes(packet, src->byte, 16);
	put_bytes(packet, dst->byte, 16);
	for (uint32_t i = 0; i < count; i++)
		put_extension(packet, chain[i], i + 1 < count ? chain[i + 1] : last, segment);
}

static void put_tcp(struct growing *packet, const struct segment *segment, uint16_t src_port, uint16_t dst_port)
{
	uint32_t words = 5 + segment->option_bytes / 4;

	if (segment->data_offset != NOT_SET)
		words = (uint32_t)segment->data_offset;
	put_u16(packet, src_port);
	put_u16(packet, dst_port);
	put_u32(packet, segment->seq);
	put_u32(packet, segment->ack);
	put_u16(packet, words << 12 | segment->flags);
	put_u16(packet, segment->window);
	put_u16(packet, 0); /* checksum */
	put_u16(packet, segment->urgent);
	put_bytes(packet, segment->options, segment->option_bytes);
	for (uint32_t i = 0; i < segment->payload_bytes; i++)
		put_u8(packet, (segment->seq + i) * 2654435761u >> 24);
}

static void set_lengths(struct growing *packet, const struct segment *segment)
{
	bool ipv4 = packet->data[0] >> 4 == 4;
	uint32_t length = ipv4 ? packet->len : packet->len - 40;

	if (segment->ip_length != NOT_SET)
		length = (uint32_t)segment->ip_length;
	set_u16(packet, ipv4 ? 2 : 4, length);
	if (ipv4)
		set_u16(packet, 10, ~sum_bytes(packet->data, 20 + segment->ip_option_bytes) & 0xffff);
}

static void set_checksum(struct growing *packet, const struct segment *segment, uint32_t tcp_at)
{
	uint32_t tcp_bytes = packet->len - tcp_at, sum = sum_pseudo_header(packet->data, tcp_bytes);

	if (!segment->checksum_not_ready && !segment->gso)
		sum = ~sum_fold(sum + sum_bytes(packet->data + tcp_at, tcp_bytes)) & 0xffff;
	if (segment->checksum_bad)
		sum ^= 0x1111;
	set_u16(packet, tcp_at + 16, sum);
}

void build_packet(const struct segment *segment, const struct endpoint *client, const struct endpoint *server,
		  struct built *ret)
{
	static struct growing packet;
	const struct endpoint *src = segment->outbound ? client : server, *dst = segment->outbound ? server : client;
	uint32_t cut = (uint32_t)segment->cut_to;

	packet.len = 0;
	if (addr_family(&src->addr) == FAMILY_IPV4)
		put_ipv4(&packet, segment, &src->addr, &dst->addr);
	else
		put_ipv6(&packet, segment, &src->addr, &dst->addr);
	ret->tcp_at = packet.len;
	put_tcp(&packet, segment, src->port, dst->port);
	ret->tcp_bytes = packet.len - ret->tcp_at;
	set_lengths(&packet, segment);
	set_checksum(&packet, segment, ret->tcp_at);
	for (uint32_t i = 0; i < segment->trailing_bytes; i++)
		put_u8(&packet, 0xee);
	for (uint32_t i = 0; i < segment->poke_count; i++)
		packet.data[segment->poke[i].at] = segment->poke[i].byte;
	ret->len = segment->cut_to == NOT_SET || cut > packet.len ? packet.len : cut;
	ret->data = malloc(ret->len ? ret->len : 1);
	if (!ret->data)
		abort();
	memcpy(ret->data, packet.data, ret->len);
	ret->ts_at = segment->ts_at == NOT_SET ? NOT_SET : (int)ret->tcp_at + 20 + segment->ts_at;
}

bool build_checksum_valid(const struct built *built, const uint8_t *data)
{
	uint32_t sum = sum_pseudo_header(data, built->tcp_bytes);

	return sum_fold(sum + sum_bytes(data + built->tcp_at, built->tcp_bytes)) == 0xffff;
}
