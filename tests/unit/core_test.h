/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_CORE_TEST_H
#define PAWSD_TESTS_CORE_TEST_H

/*
 * What the tests of the core share: a printed seed, a buffer with nothing readable around it, the
 * Internet checksum in its plainest form, and a builder of segments. None of it uses src/.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "addr.h"
#include "packet.h"

static uint64_t test_random_state;

/* The seed is the time, or PAWSD_SEED to repeat a run. */
static inline int test_random_setup(void **state)
{
	const char *given = getenv("PAWSD_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003u + (uint64_t)getpid();

	(void)state;
	printf("# PAWSD_SEED=%llu\n", (unsigned long long)seed);
	test_random_state = seed * 2 + 1;
	return 0;
}

/* splitmix64 */
static inline uint64_t test_random64(void)
{
	uint64_t z = test_random_state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline uint32_t test_random(uint32_t below)
{
	return (uint32_t)(test_random64() % below);
}

static inline void test_random_bytes(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)test_random64();
}

/* Two pages between two that nobody may touch. */
struct test_guard {
	uint8_t *first, *end; /* of what may be touched */
};

static inline struct test_guard test_guard_make(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (size + page - 1) / page * page;
	uint8_t *base = mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct test_guard guard = {.first = base + page, .end = base + page + inner};

	assert_true(base != MAP_FAILED);
	assert_int_equal(mprotect(guard.first, inner, PROT_READ | PROT_WRITE), 0);
	return guard;
}

/* Bytes as big-endian words, the last odd one padded with 0; ends folded, not complemented. */
static inline uint32_t test_sum(uint32_t sum, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static inline uint32_t test_sum_pseudo(const struct addr *src, const struct addr *dst, uint32_t tcp_len)
{
	bool ipv4 = addr_family(src) == FAMILY_IPV4 && addr_family(dst) == FAMILY_IPV4;
	size_t skip = ipv4 ? 12 : 0;
	uint8_t rest[] = {(uint8_t)(tcp_len >> 24), (uint8_t)(tcp_len >> 16), (uint8_t)(tcp_len >> 8), (uint8_t)tcp_len,
			  0, 6};

	return test_sum(test_sum(test_sum(0, src->byte + skip, 16 - skip), dst->byte + skip, 16 - skip), rest,
			sizeof(rest));
}

static inline bool test_checksum_valid(const struct addr *src, const struct addr *dst, const uint8_t *tcp,
				       uint32_t tcp_len)
{
	return test_sum(test_sum_pseudo(src, dst, tcp_len), tcp, tcp_len) == 0xffff;
}

static inline void test_put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void test_put32(uint8_t *at, uint32_t value)
{
	test_put16(at, value >> 16);
	test_put16(at + 2, value & 0xffff);
}

static inline uint32_t test_get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static inline uint32_t test_get32(const uint8_t *at)
{
	return test_get16(at) << 16 | test_get16(at + 2);
}

/* One segment; `options` is padded with 0 to whole words. */
struct test_segment {
	struct addr src, dst;
	uint16_t src_port, dst_port;
	uint32_t seq, ack;
	uint8_t flags;
	uint8_t options[40];
	uint32_t option_len, payload;
};

enum {
	TEST_PACKET_MAX = 2048,
	TEST_TS_AT = 2, /* test_segment_ts() puts two NOPs before it */
};

static inline void test_segment_ts(struct test_segment *segment, uint32_t tsval, uint32_t tsecr)
{
	memcpy(segment->options, (uint8_t[]){1, 1, 8, 10}, 4);
	test_put32(segment->options + 4, tsval);
	test_put32(segment->options + 8, tsecr);
	segment->option_len = 12;
}

static inline uint32_t test_ip_header(const struct test_segment *segment, uint8_t *data, uint32_t tcp_len)
{
	if (addr_family(&segment->src) == FAMILY_IPV4) {
		memcpy(data, (uint8_t[]){0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0}, 12);
		test_put16(data + 2, 20 + tcp_len);
		memcpy(data + 12, segment->src.byte + 12, 4);
		memcpy(data + 16, segment->dst.byte + 12, 4);
		test_put16(data + 10, ~test_sum(0, data, 20) & 0xffff);
		return 20;
	}
	memcpy(data, (uint8_t[]){0x60, 0, 0, 0, 0, 0, 6, 64}, 8);
	test_put16(data + 4, tcp_len);
	memcpy(data + 8, segment->src.byte, 16);
	memcpy(data + 24, segment->dst.byte, 16);
	return 40;
}

/* Writes the packet with a valid checksum and returns its length; *ret_tcp_at its TCP header. */
static inline uint32_t test_build(const struct test_segment *segment, uint8_t *data, uint32_t *ret_tcp_at)
{
	uint32_t options = (segment->option_len + 3) / 4 * 4, tcp_len = 20 + options + segment->payload;
	uint32_t at = test_ip_header(segment, data, tcp_len);
	uint8_t *tcp = data + at;

	memset(tcp, 0, 20 + options);
	test_put16(tcp, segment->src_port);
	test_put16(tcp + 2, segment->dst_port);
	test_put32(tcp + 4, segment->seq);
	test_put32(tcp + 8, segment->ack);
	tcp[12] = (uint8_t)((5 + options / 4) << 4);
	tcp[13] = segment->flags;
	test_put16(tcp + 14, 1000);
	memcpy(tcp + 20, segment->options, segment->option_len);
	for (uint32_t i = 0; i < segment->payload; i++)
		tcp[20 + options + i] = (uint8_t)(i * 37 + segment->seq);
	test_put16(tcp + 16, ~test_sum(test_sum_pseudo(&segment->src, &segment->dst, tcp_len), tcp, tcp_len) & 0xffff);
	*ret_tcp_at = at;
	return at + tcp_len;
}

/* As the kernel leaves a checksum to the hardware: the field holds the pseudo-header's sum. */
static inline void test_leave_checksum(const struct test_segment *segment, uint8_t *tcp, uint32_t tcp_len)
{
	test_put16(tcp + 16, test_sum_pseudo(&segment->src, &segment->dst, tcp_len));
}

static inline struct addr test_addr(bool ipv6, uint32_t number)
{
	struct addr addr = {.byte = {0x20, 0x01, 0x0d, 0xb8}};
	uint8_t ipv4[4];

	test_put32(ipv4, number);
	test_put32(addr.byte + 12, number);
	return ipv6 ? addr : addr_from_ipv4(ipv4);
}

#endif
