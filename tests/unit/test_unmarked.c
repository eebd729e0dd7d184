/* SPDX-License-Identifier: GPL-2.0-or-later */
/* engine_unmarked.c: what the kernel's programs have rewritten is not rewritten once more. */
#include "engine_world.h"

static uint16_t client_port = 1;

/* A packet of a connection to port 443, its TSval as it comes and as it leaves in *tsval. */
static enum reason send_unmarked(struct engine_world *world, uint8_t flags, uint32_t seq, uint32_t *tsval)
{
	struct test_segment segment = {.src = test_addr(false, 1), .dst = test_addr(false, WORLD_NET + 2), .src_port = client_port, .dst_port = 443,
				       .seq = seq, .ack = 9001, .flags = flags};
	uint8_t data[TEST_PACKET_MAX];
	struct packet_input input = {.data = data, .direction = DIRECTION_OUT};
	struct packet packet;
	enum reason reason;
	uint32_t tcp_at;

	test_segment_ts(&segment, *tsval, 55);
	input.len = test_build(&segment, data, &tcp_at);
	reason = engine_handle_unmarked(&world->engine, &input, world->tick);
	assert_int_equal(packet_parse(&input, &packet), REASON_COUNT);
	*tsval = packet.tsval;
	return reason;
}

/* What the client says is rewritten, once: what comes as it has left is left as it is. */
static void test_unmarked(void **state)
{
	static struct engine_world world;
	uint32_t syn = 77, segment = 80, newer = 90, left;
	(void)state;

	world_make(&world, 64, 5000000);
	assert_int_equal(send_unmarked(&world, TCP_SYN, 1000, &syn), REASON_SYN_REWRITTEN);
	left = syn;
	assert_int_equal(send_unmarked(&world, TCP_SYN, 1000, &syn), REASON_MARK_LOST);
	assert_int_equal(syn, left);
	assert_int_equal(send_unmarked(&world, TCP_ACK, 1001, &segment), REASON_OUT_REWRITTEN);
	assert_int_equal(segment, left + 3);
	assert_int_equal(send_unmarked(&world, TCP_ACK, 1001, &segment), REASON_MARK_LOST);
	assert_int_equal(segment, left + 3);
	assert_int_equal(send_unmarked(&world, TCP_ACK, 1001, &newer), REASON_OUT_REWRITTEN);
	assert_int_equal(newer, left + 13);
	newer += 20; /* as if the kernel had seen it, and the engine not */
	assert_int_equal(send_unmarked(&world, TCP_ACK, 1001, &newer), REASON_MARK_LOST);
	assert_int_equal(newer, left + 33);
	world_free(&world);
}

/* After ten seconds of silence what a client with a clock four seconds behind says is nearer to what it has sent before if it stays as it is. */
static void test_idle(void **state)
{
	static struct engine_world world;
	uint32_t first = 77, syn, segment, left;
	(void)state;

	world_make(&world, 64, 5000000);
	assert_int_equal(send_unmarked(&world, TCP_SYN, 1000, &first), REASON_SYN_REWRITTEN);
	client_port = 2;
	syn = left = first - 4000;
	assert_int_equal(send_unmarked(&world, TCP_SYN, 1000, &left), REASON_SYN_REWRITTEN);
	world.tick += 10000;
	segment = syn + 10000;
	assert_int_equal(send_unmarked(&world, TCP_ACK, 1001, &segment), REASON_OUT_REWRITTEN);
	assert_int_equal(segment, left + 10000);
	assert_int_equal(send_unmarked(&world, TCP_ACK, 1001, &segment), REASON_MARK_LOST);
	assert_int_equal(segment, left + 10000);
	client_port = 1;
	world_free(&world);
}

/* A packet of the server's, likewise; its TSecr. */
static enum reason receive_unmarked(struct engine_world *world, uint8_t flags, uint32_t *tsecr)
{
	struct test_segment segment = {.src = test_addr(false, WORLD_NET + 2), .dst = test_addr(false, 1), .src_port = 443, .dst_port = 1,
				       .seq = 9000, .ack = 1001, .flags = flags};
	uint8_t data[TEST_PACKET_MAX];
	struct packet_input input = {.data = data, .direction = DIRECTION_IN};
	struct packet packet;
	enum reason reason;
	uint32_t tcp_at;

	test_segment_ts(&segment, 55, *tsecr);
	input.len = test_build(&segment, data, &tcp_at);
	reason = engine_handle_unmarked(&world->engine, &input, world->tick);
	assert_int_equal(packet_parse(&input, &packet), REASON_COUNT);
	*tsecr = packet.tsecr;
	return reason;
}

/* The same behind the NAT, where the first program sees what the server says: what it has turned back stays so. */
static void test_unmarked_in(void **state)
{
	static struct engine_world world;
	uint32_t syn = 77, segment = 80, echo;
	(void)state;

	world_make(&world, 64, 5000000);
	assert_int_equal(send_unmarked(&world, TCP_SYN, 1000, &syn), REASON_SYN_REWRITTEN);
	echo = syn;
	assert_int_equal(receive_unmarked(&world, TCP_SYN | TCP_ACK, &echo), REASON_SYNACK_REWRITTEN);
	assert_int_equal(echo, 77);
	assert_int_equal(receive_unmarked(&world, TCP_SYN | TCP_ACK, &echo), REASON_MARK_LOST);
	assert_int_equal(echo, 77);
	assert_int_equal(send_unmarked(&world, TCP_ACK, 1001, &segment), REASON_OUT_REWRITTEN);
	echo = segment;
	assert_int_equal(receive_unmarked(&world, TCP_ACK, &echo), REASON_IN_REWRITTEN);
	assert_int_equal(echo, 80);
	assert_int_equal(receive_unmarked(&world, TCP_ACK, &echo), REASON_MARK_LOST);
	assert_int_equal(echo, 80);
	echo = 0;
	assert_int_equal(receive_unmarked(&world, TCP_ACK, &echo), REASON_IN_TSECR_ZERO);
	world_free(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_unmarked), cmocka_unit_test(test_idle), cmocka_unit_test(test_unmarked_in)};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
