/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets as bytes: IPv4 and IPv6, with IP options and extension headers now and then, TCP options in
 * the orders that stacks use and in some that none does, the timestamp option at odd places too.
 */
#include "wire.h"

enum {
	IPV4_BYTES = 20,
	IPV6_BYTES = 40,
	TCP_BYTES = 20,
	LAYOUTS = 6,
};

/* T: timestamps, N: NOP, M: MSS, S: SACK permitted, W: window scale, E: end, U: an unknown option of 5 bytes */
static const char *const syn_layouts[LAYOUTS] = {"MSTNW", "MNWNNT", "WTNNNM", "NTNMSW", "UTMS", "MSWTE"};
static const char *const layouts[LAYOUTS] = {"NNT", "NNT", "NNT", "NTN", "TE", "UTN"};

struct addr wire_client_addr(enum family family, uint32_t number)
{
	uint8_t v4[4] = {10, 1, (uint8_t)(number >> 8), (uint8_t)number};
	uint8_t v6[16] = {0xfd, [15] = 1};

	put32(v6 + 4, number + 1); /* a /64 each, for quotas count those */
	return family == FAMILY_IPV4 ? addr_from_ipv4(v4) : addr_from_ipv6(v6);
}

struct addr wire_public_addr(enum family family, uint32_t number)
{
	uint8_t v4[4] = {198, 51, 100, (uint8_t)(number + 1)};
	uint8_t v6[16] = {0x20, 1, 0xd, 0xb8, 0, 0xff};

	put32(v6 + 12, number + 1);
	return family == FAMILY_IPV4 ? addr_from_ipv4(v4) : addr_from_ipv6(v6);
}

struct addr wire_server_addr(enum family family, uint32_t number)
{
	uint8_t v4[4] = {203, 0, 113, (uint8_t)(number + 1)};
	uint8_t v6[16] = {0x20, 1, 0xd, 0xb8, 0, 7};

	put32(v6 + 12, number + 1);
	return family == FAMILY_IPV4 ? addr_from_ipv4(v4) : addr_from_ipv6(v6);
}

/* ---- checksums ---- */

static uint64_t sum_words(uint64_t sum, const uint8_t *bytes, uint32_t len)
{
	for (; len >= 4; bytes += 4, len -= 4)
		sum += get32(bytes);
	if (len >= 2) {
		sum += get16(bytes);
		bytes += 2;
		len -= 2;
	}
	if (len)
		sum += (uint32_t)bytes[0] << 8;
	return sum;
}

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint64_t sum_pseudo(const uint8_t *data, uint32_t tcp_bytes)
{
	bool ipv4 = data[0] >> 4 == 4;

	return sum_words(6 + tcp_bytes, data + (ipv4 ? 12 : 8), ipv4 ? 8 : 32);
}

void wire_set_checksum(uint8_t *data, uint32_t tcp_at, uint32_t tcp_bytes)
{
	put16(data + tcp_at + 16, 0);
	put16(data + tcp_at + 16,
	      (uint16_t)~fold(sum_words(sum_pseudo(data, tcp_bytes), data + tcp_at, tcp_bytes)));
}

bool wire_is_checksum_valid(const uint8_t *data, const struct view *view)
{
	return fold(sum_words(sum_pseudo(data, view->tcp_bytes), data + view->tcp_at, view->tcp_bytes)) == 0xffff;
}

bool wire_is_checksum_unready(const uint8_t *data, const struct view *view)
{
	return view->checksum == fold(sum_pseudo(data, view->tcp_bytes));
}

/* ---- building ---- */

static uint32_t put_ip(const struct addr *src, const struct addr *dst, uint8_t *data, uint32_t extra)
{
	if (addr_family(dst) == FAMILY_IPV4) {
		memset(data, 0, IPV4_BYTES);
		data[0] = (uint8_t)(0x45 + extra / 4);
		put16(data + 4, 0xbeef);
		data[6] = 0x40;
		data[8] = 62;
		data[9] = 6;
		memcpy(data + 12, src->byte + 12, 4);
		memcpy(data + 16, dst->byte + 12, 4);
		memset(data + IPV4_BYTES, 1, extra); /* NOP options */
		return IPV4_BYTES + extra;
	}
	memset(data, 0, 8);
	data[0] = 0x60;
	data[6] = 6;
	data[7] = 62;
	memcpy(data + 8, src->byte, 16);
	memcpy(data + 24, dst->byte, 16);
	if (extra) { /* destination options: padding */
		data[6] = 60;
		memset(data + IPV6_BYTES, 0, 8);
		data[IPV6_BYTES] = 6;
		data[IPV6_BYTES + 2] = 1;
		data[IPV6_BYTES + 3] = 4;
		return IPV6_BYTES + 8;
	}
	return IPV6_BYTES;
}

static uint32_t put_option(char what, const struct segment *segment, uint8_t *at)
{
	static const uint8_t mss[] = {2, 4, 5, 0xb4}, sack[] = {4, 2}, scale[] = {3, 3, 7};
	static const uint8_t unknown[] = {254, 5, 1, 2, 3};

	switch (what) {
	case 'T':
		if (!segment->has_ts)
			return 0;
		at[0] = 8;
		at[1] = 10;
		put32(at + 2, segment->tsval);
		put32(at + 6, segment->tsecr);
		return 10;
	case 'M':
		memcpy(at, mss, sizeof(mss));
		return sizeof(mss);
	case 'S':
		memcpy(at, sack, sizeof(sack));
		return sizeof(sack);
	case 'W':
		memcpy(at, scale, sizeof(scale));
		return sizeof(scale);
	case 'U':
		memcpy(at, unknown, sizeof(unknown));
		return sizeof(unknown);
	case 'E':
		at[0] = 0;
		return 1;
	default:
		at[0] = 1;
		return 1;
	}
}

static uint32_t put_options(const struct segment *segment, uint32_t layout, uint8_t *at)
{
	const char *what = segment->flags & SYN ? syn_layouts[layout] : layouts[layout];
	uint32_t len = 0;

	if (!segment->has_ts && !(segment->flags & SYN))
		return 0;
	for (; *what; what++)
		len += put_option(*what, segment, at + len);
	while (len % 4)
		at[len++] = 0;
	return len;
}

static void put_tcp(const struct segment *segment, uint32_t host_port, uint32_t server_port, uint32_t layout,
		    uint8_t *tcp, uint32_t *ret_bytes)
{
	static const char text[] = "GET /what/ever/it/is/that/was/asked/for?and=a&bit=more HTTP/1.1\r\n"
				   "Host: example.net\r\n"
				   "Accept: text/plain\r\nConnection: keep-alive\r\n\r\n";
	uint32_t options;

	_Static_assert(sizeof(text) >= MSS_BYTES, "a whole segment of it");
	memset(tcp, 0, TCP_BYTES);
	put16(tcp, segment->outbound ? host_port : server_port);
	put16(tcp + 2, segment->outbound ? server_port : host_port);
	put32(tcp + 4, segment->seq);
	put32(tcp + 8, segment->ack);
	tcp[13] = segment->flags;
	put16(tcp + 14, 64240);
	options = put_options(segment, layout, tcp + TCP_BYTES);
	tcp[12] = (uint8_t)((TCP_BYTES + options) / 4 << 4);
	memcpy(tcp + TCP_BYTES + options, text, segment->payload_bytes);
	*ret_bytes = TCP_BYTES + options + segment->payload_bytes;
}

void wire_build(const struct world *world, const struct segment *segment, const struct addr *host, uint16_t host_port,
		const struct addr *server, struct wire *ret)
{
	uint64_t what = (uint64_t)segment->plan << 32 ^ segment->source.serial ^ (uint64_t)segment->outbound << 31;
	struct rng rng = rng_make(world->scenario->seed, RNG_WIRE, what);
	uint32_t dice = rng_u32(&rng);
	uint32_t layout = dice % LAYOUTS, extra = (dice >> 8) % 32 == 0 ? 8 : 0, tcp_at, tcp_bytes;

	tcp_at = put_ip(segment->outbound ? host : server, segment->outbound ? server : host, ret->data, extra);
	put_tcp(segment, host_port, server_of(world, segment->server)->port, layout, ret->data + tcp_at, &tcp_bytes);
	ret->len = tcp_at + tcp_bytes;
	if (ret->data[0] >> 4 == 4) {
		put16(ret->data + 2, ret->len);
		put16(ret->data + 10, (uint16_t)~fold(sum_words(0, ret->data, tcp_at)));
	} else {
		put16(ret->data + 4, ret->len - IPV6_BYTES);
	}
	ret->gso = segment->payload_bytes && (dice >> 16) % 64 == 0;
	ret->unready = ret->gso || (dice >> 16) % 64 == 1;
	if (ret->unready)
		put16(ret->data + tcp_at + 16, fold(sum_pseudo(ret->data, tcp_bytes)));
	else
		wire_set_checksum(ret->data, tcp_at, tcp_bytes);
	if (segment->bad_checksum)
		ret->data[tcp_at + 17] ^= 0x55;
}

/* ---- parsing ---- */

static bool parse_options(const uint8_t *data, uint32_t at, uint32_t end, struct view *ret)
{
	while (at < end && data[at] != 0) {
		if (data[at] == 1) {
			at++;
			continue;
		}
		if (at + 2 > end || data[at + 1] < 2 || at + data[at + 1] > end)
			return false;
		if (data[at] == 8 && data[at + 1] == 10) {
			ret->ts_at = (int)at;
			ret->tsval = get32(data + at + 2);
			ret->tsecr = get32(data + at + 6);
		}
		at += data[at + 1];
	}
	return true;
}

void wire_parse(const uint8_t *data, uint32_t len, struct view *ret)
{
	uint32_t at;

	*ret = (struct view){.ts_at = -1};
	if (len < IPV4_BYTES + TCP_BYTES)
		return;
	if (data[0] >> 4 == 4)
		at = (data[0] & 15u) * 4;
	else
		at = data[6] == 60 ? IPV6_BYTES + 8 : IPV6_BYTES;
	if (at + TCP_BYTES > len || at + (data[at + 12] >> 4) * 4u > len)
		return;
	ret->tcp_at = at;
	ret->tcp_bytes = len - at;
	ret->payload_at = at + (data[at + 12] >> 4) * 4u;
	ret->src_port = get16(data + at);
	ret->dst_port = get16(data + at + 2);
	ret->seq = get32(data + at + 4);
	ret->ack = get32(data + at + 8);
	ret->flags = data[at + 13];
	ret->checksum = get16(data + at + 16);
	ret->sound = parse_options(data, at + TCP_BYTES, ret->payload_at, ret);
}
