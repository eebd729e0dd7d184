/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The naive reader of packets, and what may differ between a packet before pawsd and after it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "naive.h"
#include "policy_build.h"

static uint32_t number(const uint8_t *at, int bytes)
{
	uint32_t value = 0;

	for (int i = 0; i < bytes; i++)
		value = value * 256 + at[i];
	return value;
}

/* Finds the TCP segment: *ret_from up to before *ret_to. */
static bool find_tcp_ipv4(const uint8_t *data, size_t len, struct naive_segment *ret, size_t *ret_from, size_t *ret_to)
{
	if (len < 20)
		return false;
	*ret_from = (data[0] & 15u) * 4u;
	*ret_to = number(data + 2, 2);
	if (*ret_from < 20 || *ret_to < *ret_from || *ret_to > len)
		return false;
	if ((data[6] & 0x20) || (data[6] & 0x1f) || data[7]) /* more fragments, or not the first */
		return false;
	ret->src = addr_from_ipv4(data + 12);
	ret->dst = addr_from_ipv4(data + 16);
	return data[9] == 6;
}

static bool find_tcp_ipv6(const uint8_t *data, size_t len, struct naive_segment *ret, size_t *ret_from, size_t *ret_to)
{
	uint8_t protocol;

	if (len < 40)
		return false;
	ret->src = addr_from_ipv6(data + 8);
	ret->dst = addr_from_ipv6(data + 24);
	*ret_from = 40;
	*ret_to = 40 + number(data + 4, 2);
	if (*ret_to > len)
		return false;
	protocol = data[6];
	/* Hop-by-hop options, routing, destination options: next header, length in words of 8 but one. */
	while (protocol == 0 || protocol == 43 || protocol == 60) {
		if (*ret_from + 8 > *ret_to)
			return false;
		if (protocol == 43 && data[*ret_from + 3]) /* segments left: on its way to another address */
			return false;
		protocol = data[*ret_from];
		*ret_from += 8 + 8 * (size_t)data[*ret_from + 1];
		if (*ret_from > *ret_to)
			return false;
	}
	return protocol == 6;
}

/* Reads the options from `from` up to before `to`. False where pawsd must not touch the segment. */
static bool read_options(const uint8_t *data, size_t from, size_t to, struct naive_segment *ret)
{
	while (from < to && data[from] != 0) {
		size_t len;

		if (data[from] == 1) {
			from++;
			continue;
		}
		if (to - from < 2)
			return false;
		len = data[from + 1];
		if (len < 2 || from + len > to)
			return false;
		if (data[from] == 29) /* TCP-AO */
			return false;
		if (data[from] == 8) {
			if (len != 10 || ret->has_ts)
				return false;
			ret->has_ts = true;
			ret->ts_at = from;
			ret->tsval = number(data + from + 2, 4);
			ret->tsecr = number(data + from + 6, 4);
		}
		from += len;
	}
	return true;
}

bool naive_parse(const uint8_t *data, size_t len, struct naive_segment *ret)
{
	const uint8_t *tcp;
	size_t from, to, header;
	bool found = false;

	memset(ret, 0, sizeof(*ret));
	if (len && data[0] >> 4 == 4)
		found = find_tcp_ipv4(data, len, ret, &from, &to);
	else if (len && data[0] >> 4 == 6)
		found = find_tcp_ipv6(data, len, ret, &from, &to);
	if (!found || to - from < 20)
		return false;
	tcp = data + from;
	header = (tcp[12] >> 4) * 4u;
	if (header < 20 || from + header > to)
		return false;
	ret->tcp_at = from;
	ret->tcp_len = to - from;
	ret->src_port = (uint16_t)number(tcp, 2);
	ret->dst_port = (uint16_t)number(tcp + 2, 2);
	ret->seq = number(tcp + 4, 4);
	ret->ack = number(tcp + 8, 4);
	ret->flags = tcp[13];
	if ((ret->flags & TCP_SYN) && (ret->flags & (TCP_RST | TCP_FIN)))
		return false;
	return read_options(data, from + 20, from + header, ret);
}

static uint64_t segment_sum(const uint8_t *data, const struct naive_segment *segment)
{
	const uint8_t *tcp = data + segment->tcp_at;
	uint64_t sum = 0;

	for (size_t i = 0; i < segment->tcp_len; i++)
		sum += i % 2 ? tcp[i] : tcp[i] * 256u;
	return sum;
}

/*
 * The one's complement sum of pseudo-header and segment, every pair of bytes a number, modulo
 * 0xffff: 0 if and only if the checksum is right, else how much it is wrong.
 */
static uint32_t checksum_error(const uint8_t *data, const struct naive_segment *segment)
{
	uint64_t sum = segment_sum(data, segment) + segment->tcp_len + 6;

	for (int i = 0; i < 16; i += 2)
		sum += number(segment->src.byte + i, 2) + number(segment->dst.byte + i, 2);
	return (uint32_t)(sum % 0xffff);
}

void naive_check_bytes(const struct packet_input *input, const uint8_t *before, const struct naive_segment *segment,
		       size_t changed_at, size_t changed_len)
{
	size_t sum_at = segment->tcp_at + 16;
	bool is_sum_touched = changed_len && !input->gso;

	for (size_t i = 0; i < input->len; i++) {
		bool in_change = i >= changed_at && i < changed_at + changed_len;
		bool in_sum = is_sum_touched && (i == sum_at || i == sum_at + 1);

		if (!in_change && !in_sum && input->data[i] != before[i])
			fuzz_fail("P5: byte %zu of %u has changed from %02x to %02x", i, input->len, before[i],
				  input->data[i]);
	}
	if (!is_sum_touched)
		return;
	if (input->csum_not_ready) {
		/* The field held what the pseudo-header sums up to, whatever that was made of. */
		if ((segment_sum(input->data, segment) + number(before + sum_at, 2)) % 0xffff != 0)
			fuzz_fail("P6: the sum that was to be finished is not right");
		return;
	}
	if (checksum_error(input->data, segment) != checksum_error(before, segment))
		fuzz_fail("P6: the sum's error was %u and is %u", checksum_error(before, segment),
			  checksum_error(input->data, segment));
}

void naive_trace(const struct packet_input *input, const uint8_t *before, uint64_t tick, enum reason reason)
{
	struct naive_segment old, new;
	char client[64], server[64];

	if (!getenv("FUZZ_TRACE"))
		return;
	fprintf(stderr, "%llu %s ", (unsigned long long)tick, reason_table[reason].name);
	if (!naive_parse(before, input->len, &old) || !naive_parse(input->data, input->len, &new)) {
		fputc('\n', stderr);
		return;
	}
	addr_format(&old.src, client, sizeof(client));
	addr_format(&old.dst, server, sizeof(server));
	fprintf(stderr, "%s:%u > %s:%u dir %d flags %02x seq %u", client, old.src_port, server, old.dst_port,
		input->direction, old.flags, old.seq);
	if (old.has_ts)
		fprintf(stderr, " <TS val %u ecr %u>", old.tsval, old.tsecr);
	if (new.has_ts)
		fprintf(stderr, " => <TS val %u ecr %u>", new.tsval, new.tsecr);
	fputc('\n', stderr);
}
