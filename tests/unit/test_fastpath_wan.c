/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The programs of the servers' side, each by itself: beside test_fastpath_programs.c, what becomes of packets where nobody is left
 * to think about them.
 */
#include "../fastpath/alone.h"

enum {
	DROPPED = 2, /* TC_ACT_SHOT */
};

/* What the last packet shown was done under. */
static enum reason why;

static int leave(const struct test_segment *segment, uint32_t before, uint32_t mark, bool changes)
{
	struct front_frame frame = make(segment, before);
	const int verdict = front_show(front, &frame, true);

	why = frame.reason;
	assert_int_equal(frame.mark, mark);
	assert_int_equal(memcmp(was, data, frame.len) != 0, changes);
	return verdict;
}

static uint32_t left_tsval(void)
{
	struct packet_input input = {.data = data, .len = TEST_PACKET_MAX, .direction = DIRECTION_OUT};
	struct packet packet;

	input.len = is_ipv6 ? 40u + ((uint32_t)data[4] << 8 | data[5]) : (uint32_t)data[2] << 8 | data[3];
	assert_int_equal(packet_parse(&input, &packet), REASON_COUNT);
	assert_non_null(packet.ts);
	return packet.tsval;
}

static struct flow *find(void)
{
	bool outbound;

	return flow_table_find(&world.engine.table, &to_server.src, to_server.src_port, &to_server.dst, to_server.dst_port, &outbound);
}

static void syn(uint32_t isn, uint32_t tsval)
{
	to_server.flags = TCP_SYN;
	to_server.seq = isn;
	test_segment_ts(&to_server, tsval, 0);
}

static void segment(uint32_t seq, uint32_t tsval)
{
	to_server.flags = TCP_ACK;
	to_server.seq = seq;
	to_server.ack = 501;
	test_segment_ts(&to_server, tsval, 77);
}

static struct flow *open_flow(void)
{
	syn(100, 1000);
	assert_int_equal(leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, true), LETS_GO);
	assert_int_equal(why, REASON_SYN_REWRITTEN);
	assert_non_null(find());
	test_segment_ts(&to_client, 77, find()->syn_tsval);
	return find();
}

static struct flow *open_established(void)
{
	struct flow *flow = open_flow();

	pass(&to_client, false, 0, FASTPATH_MARK_DONE_FIRST, true);
	segment(101, 1020);
	assert_int_equal(leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, true), LETS_GO);
	assert_int_equal(flow->state, FLOW_ESTABLISHED);
	return flow;
}

/* Before netfilter: of each packet it is said whether it is done with, left, or unknown. */
static void test_first(void **state)
{
	struct test_segment from_outside;

	(void)state;
	test_segment_ts(&to_client, 77, 5);
	pass(&to_client, false, 0, FASTPATH_MARK_OTHER, false);
	from_outside = to_client;
	from_outside.flags = TCP_SYN;
	pass(&from_outside, false, 0, FASTPATH_MARK_SLOW, false);
	assert_int_equal(flow_table_used(&world.engine.table), 0);
	open_flow();
	pass(&to_client, false, 0x100, 0x100 | FASTPATH_MARK_DONE_FIRST, true);
	assert_int_equal(test_get32(data + (is_ipv6 ? 40 : 20) + 28), 1000);
	/* A client among the servers. */
	segment(101, 1020);
	pass(&to_server, false, 0, FASTPATH_MARK_SLOW, false);
	/* An answer to a SYN that nobody has seen is the engine's to know. */
	to_client.ack = 0x10000000;
	pass(&to_client, false, 0, FASTPATH_MARK_SLOW, false);
}

/* Behind it: what the queue has done with, or a first program has seen, is let go. */
static void test_last_goes_by_marks(void **state)
{
	(void)state;
	open_established();
	segment(101, 1030);
	leave(&to_server, FASTPATH_MARK_DONE_LAST, FASTPATH_MARK_DONE_LAST, false);
	leave(&to_server, FASTPATH_MARK_DONE_FIRST, FASTPATH_MARK_DONE_FIRST, false);
	leave(&to_server, FASTPATH_MARK_OTHER, FASTPATH_MARK_OTHER, false);
	leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, true);
	assert_int_equal(why, REASON_OUT_REWRITTEN);
	/* What the server says does not leave here. */
	test_segment_ts(&to_client, 77, find()->syn_tsval);
	leave(&to_client, 0, 0, false);
}

/* On a four-tuple that conntrack has forgotten what is known is over, whatever its state: the SYN is newer than all it has sent. */
static void test_reuse(void **state)
{
	struct flow *flow;

	(void)state;
	for (uint32_t old = FLOW_SYN_SENT; old < FLOW_STATE_COUNT; old++) {
		flow = open_flow();
		flow->state = (uint8_t)old;
		flow->tsval_high += 5000000;
		for (uint32_t mode = MODE_OFF; mode <= MODE_REWRITE; mode++) {
			const uint32_t high = flow->tsval_high;

			flow->mode = mode & 0xf;
			syn(9000 + mode, 500);
			leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, true);
			assert_int_equal(why, REASON_SYN_REWRITTEN);
			assert_int_equal(left_tsval(), high + 1);
			assert_ptr_equal(find(), flow);
			assert_true(flow->mode == MODE_REWRITE && flow->state == FLOW_SYN_SENT && flow->syn_tsval == high + 1);
		}
		assert_int_equal(flow_table_used(&world.engine.table), 1);
		flow_table_remove(&world.engine.table, flow);
		flow_table_lend(&world.engine.table);
	}
}

/* A block is its owner's to take away: the new flow is in front of the old one, which is swept, and taken over by nobody. */
static void test_reuse_with_block(void **state)
{
	struct flow *old = open_established(), *flow;
	const uint32_t high = old->tsval_high += 100;

	(void)state;
	assert_non_null(flow_table_add_pairs(&world.engine.table, old));
	syn(9000, 500);
	leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, true);
	flow = find();
	assert_ptr_not_equal(flow, old);
	assert_int_equal(left_tsval(), high + 1);
	assert_true(old->state == FLOW_CLOSE && old->mode == MODE_OFF && old->repair == FLOW_RETIRED && old->block);
	assert_int_equal(flow_table_used(&world.engine.table), 2);
	engine_sweep(&world.engine, CAPACITY, TICK + 130000);
	assert_int_equal(world.engine.table.pairs_used, 0);
}

/* A SYN that passes says what the server has been sent, and what was on its four-tuple is none of it. */
static void pass_syn(enum reason reason)
{
	struct flow *flow = find();

	syn(7000, 0x40000000);
	leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, false);
	assert_int_equal(why, reason);
	if (flow)
		assert_int_equal(flow->mode, MODE_OFF);
	segment(7001, 0x40000100);
	leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, false);
	assert_int_equal(why, flow ? REASON_FLOW_NOT_REWRITTEN : REASON_MIDSTREAM_OUT);
	to_server.flags = TCP_ACK | TCP_SYN;
	leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, false);
	assert_int_equal(why, flow ? REASON_FLOW_NOT_REWRITTEN : REASON_SYNACK_UNKNOWN);
}

static void check_next_is_newer(void)
{
	front_shared(front)->flags = FASTPATH_ROUTES_UNKNOWN;
	front_shared(front)->client_most = 0;
	flow_table_lend(&world.engine.table);
	to_server.src_port++;
	syn(100, 1000);
	leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, true);
	assert_int_equal(left_tsval(), 0x40000100);
}

static void test_draining(void **state)
{
	(void)state;
	front_shared(front)->flags |= FASTPATH_DRAINING;
	pass_syn(REASON_SYN_DRAINING);
	front_shared(front)->flags = FASTPATH_RULES_LAG;
	to_server.src_port++;
	pass_syn(REASON_SYN_POLICY_OFF);
	front_shared(front)->flags = FASTPATH_HOLD;
	to_server.src_port++;
	pass_syn(REASON_TABLE_FULL);
	check_next_is_newer();
}

static void test_draining_on_a_known_one(void **state)
{
	(void)state;
	open_established();
	front_shared(front)->flags |= FASTPATH_DRAINING;
	pass_syn(REASON_SYN_DRAINING);
}

static void test_no_place(void **state)
{
	struct flow_loan *loan = &front_shared(front)->loan;
	const uint32_t head = loan->head;

	(void)state;
	front_shared(front)->is_roomy = 0; /* what comes here has come past netfilter */
	open_flow();
	to_server.src_port++;
	loan->head = loan->tail;
	pass_syn(REASON_TABLE_FULL);
	loan->head = head;
	check_next_is_newer();
}

static void test_quota(void **state)
{
	(void)state;
	front_shared(front)->client_most = 1;
	open_flow();
	to_server.src_port++;
	pass_syn(REASON_CLIENT_QUOTA);
	check_next_is_newer();
}

/* Where rules bring nothing programs say nothing, and change nothing. */
static void test_not_rewritten(void **state)
{
	struct flow *flow = open_established();

	(void)state;
	to_server.src_port++;
	to_server.dst_port = 80;
	syn(100, 1000);
	leave(&to_server, 0, 0, false);
	segment(101, 1020);
	leave(&to_server, 0, 0, false);
	assert_null(find());
	/* A flow that was is not taken for what an unknown SYN opens. */
	to_server.src_port--;
	to_server.dst_port = 443;
	front_use_policy(front, NULL);
	syn(7000, 5);
	leave(&to_server, 0, 0, false);
	assert_int_equal(flow->mode, MODE_OFF);
	front_use_policy(front, world.engine.policy);
}

/* A fast clock: it leaves shifted, and is counted and noted, until the engine hears of it by the server's next answer. */
static void test_runs_away(void **state)
{
	struct flow *flow = open_established();
	const uint32_t offset = flow->offset;

	(void)state;
	to_client.flags = TCP_ACK;
	test_segment_ts(&to_client, 78, flow->tsval_high);
	pass(&to_client, false, 0, FASTPATH_MARK_DONE_FIRST, true);
	segment(101, 1000000);
	assert_int_equal(leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, true), LETS_GO);
	assert_int_equal(why, REASON_OUT_UNSCALED);
	assert_int_equal(left_tsval(), 1000000 + offset);
	assert_int_equal(flow->tsval_high, 1000000 + offset);
	pass(&to_client, false, 0, FASTPATH_MARK_SLOW, false);
	/* One that tells no time is nothing newer than what was. */
	segment(99, 2000000);
	leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, true);
	assert_int_equal(why, REASON_OUT_REWRITTEN);
	assert_int_equal(left_tsval(), 1000000 + offset);
}

/* A flow that takes thought, and a packet of it that the queue has not seen: neither what it says nor what its offset makes of it. */
static void test_takes_thought(void **state)
{
	struct flow *flow = open_established();

	(void)state;
	segment(101, 1030);
	flow_set_flags(flow, FLOW_HAS_ELDER);
	assert_int_equal(leave(&to_server, 0, 0, false), DROPPED);
	assert_int_equal(why, REASON_OUT_DROPPED);
	to_server.option_len = 0;
	assert_int_equal(leave(&to_server, 0, 0, false), LETS_GO);
	flow_clear_flags(flow, FLOW_HAS_ELDER);
	segment(101, 1030);
	assert_int_equal(leave(&to_server, 0, FASTPATH_MARK_DONE_LAST, true), LETS_GO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_first), BOTH(test_last_goes_by_marks), BOTH(test_reuse), BOTH(test_reuse_with_block), BOTH(test_draining),
		BOTH(test_draining_on_a_known_one), BOTH(test_no_place), BOTH(test_quota), BOTH(test_not_rewritten),
		BOTH(test_runs_away), BOTH(test_takes_thought),
	};
	void *state = NULL;

	open_front(&state, FRONT_WAN);
	if (!front)
		return end_without_front();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
