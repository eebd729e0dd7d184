/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core_test.h"

#include "packet.h"

/*
 * packet_parse() against a reader of its own, on sound, mutated and random packets that end
 * where the readable memory ends; and the three functions that change bytes.
 */

struct view {
	enum reason reason; /* REASON_COUNT: TCP, and what follows holds */
	uint32_t tcp_at, tcp_len, header_len;
	struct addr src, dst;
};

static struct test_guard guard;

static struct view view_ipv4(const uint8_t *data, uint32_t len)
{
	struct view view = {.reason = REASON_MALFORMED_IP};
	uint32_t header, total;

	if (len < 20)
		return view;
	header = (data[0] & 15u) * 4;
	total = test_get16(data + 2);
	if (header < 20 || total < header || total > len)
		return view;
	view.reason = REASON_COUNT;
	if (data[9] != 6)
		view.reason = data[9] == 51 ? REASON_IP_AUTHENTICATED : REASON_NOT_TCP;
	if ((data[6] & 0x20) || (data[6] & 0x1f) || data[7])
		view.reason = REASON_FRAGMENT;
	view.src = addr_from_ipv4(data + 12);
	view.dst = addr_from_ipv4(data + 16);
	view.tcp_at = header;
	view.tcp_len = total - header;
	return view;
}

static struct view view_ipv6(const uint8_t *data, uint32_t len)
{
	struct view view = {.reason = REASON_MALFORMED_IP};
	uint32_t at = 40, end;
	uint32_t next;

	if (len < 40)
		return view;
	end = 40 + test_get16(data + 4);
	if (end > len)
		return view;
	next = data[6];
	while (next == 0 || next == 43 || next == 60) {
		if (at + 8 > end || at + 8 + data[at + 1] * 8u > end)
			return view;
		if (next == 43 && data[at + 3]) {
			view.reason = REASON_IPV6_ROUTING;
			return view;
		}
		next = data[at];
		at += 8 + data[at + 1] * 8u;
	}
	view.reason = next == 6	   ? REASON_COUNT
		      : next == 44 ? REASON_FRAGMENT
		      : next == 51 ? REASON_IP_AUTHENTICATED
				   : REASON_NOT_TCP;
	view.src = addr_from_ipv6(data + 8);
	view.dst = addr_from_ipv6(data + 24);
	view.tcp_at = at;
	view.tcp_len = end - at;
	return view;
}

static struct view view_packet(const uint8_t *data, uint32_t len)
{
	struct view view = {.reason = REASON_NOT_IP};
	const uint8_t *tcp;

	if (len && data[0] >> 4 == 4)
		view = view_ipv4(data, len);
	else if (len && data[0] >> 4 == 6)
		view = view_ipv6(data, len);
	if (view.reason != REASON_COUNT)
		return view;
	tcp = data + view.tcp_at;
	view.header_len = view.tcp_len < 20 ? 0 : tcp[12] / 16 * 4u;
	if (view.header_len < 20 || view.header_len > view.tcp_len)
		view.reason = REASON_MALFORMED_TCP;
	else if ((tcp[13] & 2) && (tcp[13] & 5))
		view.reason = REASON_MALFORMED_FLAGS;
	return view;
}

/* Everything that the parser says about a packet it takes for sound is in the packet. */
static void check_fields(const struct packet *packet, const struct view *view, uint8_t *data)
{
	const uint8_t *tcp = data + view->tcp_at;

	assert_ptr_equal(packet->tcp, tcp);
	assert_int_equal(packet->tcp_len, view->tcp_len);
	assert_true(addr_equal(&packet->ends.src, &view->src) && addr_equal(&packet->ends.dst, &view->dst));
	assert_int_equal(packet->ends.src_port, test_get16(tcp));
	assert_int_equal(packet->ends.dst_port, test_get16(tcp + 2));
	assert_int_equal(packet_seq(packet), test_get32(tcp + 4));
	assert_int_equal(packet->flags & 0x17, tcp[13] & 0x17);
	if (!packet->ts)
		return;
	assert_true(packet->ts >= tcp + 20 && packet->ts + 10 <= tcp + view->header_len);
	assert_int_equal(packet->ts[0], 8);
	assert_int_equal(packet->ts[1], 10);
	assert_int_equal(packet->tsval, test_get32(packet->ts + 2));
	assert_int_equal(packet->tsecr, test_get32(packet->ts + 6));
}

/* A glance tells the same ends, of all packets but those with IPv6 extension headers. */
static void check_peek(const struct packet_input *input, const struct packet *packet)
{
	struct endpoints ends;
	bool is_plain = input->data[0] >> 4 == 4 || input->data[6] == 6;

	assert_int_equal(packet_peek_ends(input, &ends), is_plain && input->len >= 44);
	if (!is_plain || input->len < 44)
		return;
	assert_true(addr_equal(&ends.src, &packet->ends.src) && addr_equal(&ends.dst, &packet->ends.dst));
	assert_int_equal(ends.src_port, packet->ends.src_port);
	assert_int_equal(ends.dst_port, packet->ends.dst_port);
}

static void check_parse(const uint8_t *bytes, uint32_t len)
{
	struct endpoints ends;
	struct packet_input input = {.data = guard.end - len, .len = len};
	struct view view = view_packet(bytes, len);
	struct packet packet;
	enum reason reason;

	memset(&packet, 0xa5, sizeof(packet));
	memcpy(input.data, bytes, len);
	reason = packet_parse(&input, &packet);
	packet_peek_ends(&input, &ends);
	assert_memory_equal(input.data, bytes, len);
	if (view.reason != REASON_COUNT) {
		assert_int_equal(reason, view.reason);
		return;
	}
	if (reason == REASON_COUNT) {
		check_fields(&packet, &view, input.data);
		check_peek(&input, &packet);
	} else
		assert_true(reason == REASON_MALFORMED_OPTIONS || reason == REASON_DUPLICATE_TIMESTAMPS ||
			    reason == REASON_TCP_AO);
}

static struct test_segment random_segment(void)
{
	bool ipv6 = test_random(2);
	struct test_segment segment = {
		.src = test_addr(ipv6, (uint32_t)test_random64()), .dst = test_addr(ipv6, (uint32_t)test_random64()),
		.src_port = (uint16_t)test_random64(), .dst_port = (uint16_t)test_random64(),
		.seq = (uint32_t)test_random64(), .ack = (uint32_t)test_random64(),
		.flags = (uint8_t)test_random64(), .payload = test_random(40),
	};

	if (test_random(4))
		test_segment_ts(&segment, (uint32_t)test_random64(), (uint32_t)test_random64());
	return segment;
}

/* Puts `count` IPv6 extension headers between the IPv6 header and the TCP header. */
static uint32_t insert_extensions(uint8_t *data, uint32_t len, uint32_t count)
{
	static const uint8_t types[] = {0, 43, 60, 44, 51};

	for (uint32_t i = 0; i < count; i++) {
		uint32_t words = test_random(3), bytes = 8 + words * 8;

		memmove(data + 40 + bytes, data + 40, len - 40);
		memset(data + 40, 0, bytes);
		data[40] = data[6];
		data[41] = (uint8_t)words;
		data[6] = types[test_random(16) ? test_random(3) : test_random(5)];
		len += bytes;
		test_put16(data + 4, len - 40);
	}
	return len;
}

static uint32_t random_packet(uint8_t *data)
{
	struct test_segment segment = random_segment();
	uint32_t tcp_at, len = test_build(&segment, data, &tcp_at);

	if (data[0] >> 4 == 6 && test_random(2))
		len = insert_extensions(data, len, 1 + test_random(3));
	return len;
}

static void test_sound_packets(void **state)
{
	uint8_t data[TEST_PACKET_MAX];

	(void)state;
	for (int round = 0; round < 100000; round++) {
		uint32_t len = random_packet(data);

		check_parse(data, len);
	}
}

/* A packet cut at every length: it ends where the memory ends. */
static void test_every_cut(void **state)
{
	uint8_t data[TEST_PACKET_MAX];

	(void)state;
	for (int round = 0; round < 300; round++) {
		uint32_t len = random_packet(data);

		for (uint32_t cut = 0; cut <= len; cut++) {
			check_parse(data, cut);
			/* and once more with a length field that agrees */
			if (data[0] >> 4 == 4 && cut >= 4)
				test_put16(data + 2, cut);
			else if (data[0] >> 4 == 6 && cut >= 40)
				test_put16(data + 4, cut - 40);
			check_parse(data, cut);
		}
	}
}

/* Every value of every byte of a few packets. */
static void test_every_byte(void **state)
{
	uint8_t data[TEST_PACKET_MAX];

	(void)state;
	for (int round = 0; round < 20; round++) {
		uint32_t len = random_packet(data);

		for (uint32_t at = 0; at < len; at++) {
			uint8_t was = data[at];

			for (uint32_t value = 0; value < 256; value++) {
				data[at] = (uint8_t)value;
				check_parse(data, len);
			}
			data[at] = was;
		}
	}
}

static void test_mutated_and_random(void **state)
{
	uint8_t data[TEST_PACKET_MAX];

	(void)state;
	for (int round = 0; round < 500000; round++) {
		uint32_t len = random_packet(data);

		for (uint32_t i = test_random(5); i > 0; i--)
			data[test_random(len)] = (uint8_t)test_random64();
		if (round % 3 == 0)
			len = test_random(len + 1);
		if (round % 10 == 0) {
			len = test_random(128);
			test_random_bytes(data, len);
			data[0] = (uint8_t)((round % 20 ? 0x45 : 0x60) ^ (test_random(8) == 0));
		}
		check_parse(data, len);
	}
}

static void test_truncated_wins(void **state)
{
	struct packet_input input = {.data = guard.end, .len = 0, .truncated = true};
	struct packet packet;

	(void)state;
	for (uint32_t len = 0; len < 100; len++) {
		input.data = guard.end - len;
		input.len = len;
		assert_int_equal(packet_parse(&input, &packet), REASON_TRUNCATED);
	}
}

enum change {
	CHANGE_TSVAL,
	CHANGE_TSECR,
	CHANGE_STRIP,
	CHANGE_COUNT,
};

static void apply(enum change change, struct packet *packet, uint32_t value)
{
	if (change == CHANGE_TSVAL)
		packet_set_tsval(packet, value);
	else if (change == CHANGE_TSECR)
		packet_set_tsecr(packet, value);
	else
		packet_strip_timestamps(packet);
}

/* What the bytes from the option on must be. */
static void check_option(enum change change, const uint8_t *option, const uint8_t *before, uint32_t value)
{
	uint8_t expected[10];

	memcpy(expected, before, sizeof(expected));
	if (change == CHANGE_STRIP)
		memset(expected, 1, sizeof(expected));
	else
		test_put32(expected + (change == CHANGE_TSVAL ? 2 : 6), value);
	assert_memory_equal(option, expected, sizeof(expected));
}

static void check_change(enum change change, uint32_t nops, bool gso, bool not_ready, bool damaged)
{
	struct test_segment segment = random_segment();
	uint8_t data[TEST_PACKET_MAX], before[TEST_PACKET_MAX];
	uint32_t tcp_at, len, ts_at, value = (uint32_t)test_random64();
	struct packet_input input = {.data = data, .gso = gso, .csum_not_ready = not_ready};
	struct packet packet;
	bool valid;

	memset(segment.options, 1, nops);
	memcpy(segment.options + nops, (uint8_t[]){8, 10}, 2);
	test_random_bytes(segment.options + nops + 2, 8);
	segment.option_len = nops + 10;
	segment.flags = 0x10;
	len = test_build(&segment, data, &tcp_at);
	if (not_ready)
		test_leave_checksum(&segment, data + tcp_at, len - tcp_at);
	if (damaged)
		test_put16(data + tcp_at + 16, test_get16(data + tcp_at + 16) ^ 0x0100);
	memcpy(before, data, len);
	input.len = len;
	assert_int_equal(packet_parse(&input, &packet), REASON_COUNT);
	apply(change, &packet, value);
	ts_at = tcp_at + 20 + nops;
	check_option(change, data + ts_at, before + ts_at, value);
	for (uint32_t i = 0; i < len; i++)
		if (i - ts_at >= 10 && i - tcp_at - 16 >= 2)
			assert_int_equal(data[i], before[i]);
	valid = test_checksum_valid(&segment.src, &segment.dst, data + tcp_at, len - tcp_at);
	if (gso)
		assert_memory_equal(data + tcp_at + 16, before + tcp_at + 16, 2);
	else
		assert_int_equal(valid, !damaged);
	if (change == CHANGE_STRIP)
		assert_null(packet.ts);
}

/*
 * Behind an IPv6 routing header the pseudo-header's destination is not the one in the IP header: what
 * the kernel has summed up counts.
 */
static void test_sum_of_other_destination(void **state)
{
	(void)state;
	for (int round = 0; round < 1000; round++) {
		struct test_segment segment = random_segment();
		struct addr last = test_addr(addr_family(&segment.src) == FAMILY_IPV6, (uint32_t)test_random64());
		uint8_t data[TEST_PACKET_MAX];
		uint32_t tcp_at;
		struct packet_input input = {.data = data, .csum_not_ready = true};
		struct packet packet;

		test_segment_ts(&segment, 100, 200);
		segment.flags = 0x10;
		input.len = test_build(&segment, data, &tcp_at);
		test_put16(data + tcp_at + 16, test_sum_pseudo(&segment.src, &last, input.len - tcp_at));
		assert_int_equal(packet_parse(&input, &packet), REASON_COUNT);
		packet_set_tsval(&packet, (uint32_t)test_random64());
		assert_true(test_checksum_valid(&segment.src, &last, data + tcp_at, input.len - tcp_at));
	}
}

static void test_changes(void **state)
{
	(void)state;
	for (int round = 0; round < 200; round++)
		for (uint32_t nops = 0; nops <= 30; nops++)
			for (int change = 0; change < CHANGE_COUNT; change++)
				for (int flags = 0; flags < 8; flags++)
					check_change((enum change)change, nops, flags & 1, flags & 2, flags & 4);
}

static int setup(void **state)
{
	guard = test_guard_make(TEST_PACKET_MAX);
	return test_random_setup(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound_packets),
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_mutated_and_random),
		cmocka_unit_test(test_truncated_wins),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_sum_of_other_destination),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
