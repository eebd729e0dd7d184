/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The programs of the fast path, each by itself: what they leave as it is, which marks packets have behind them, and what is
 * their own behind netfilter. Beside test_fastpath.sh, which has them do what the engine does.
 */
#include "../fastpath/alone.h"

#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "fastpath.h"

enum {
	ROUNDS = 8000,
	FIRST_BYTES = 256, /* of a packet in fragments, in the first */
};

/* Opens a flow by the programs alone. */
static struct flow *open_flow(void)
{
	struct flow *flow;
	bool outbound;

	test_segment_ts(&to_server, 1000, 0);
	pass(&to_server, false, 0, FASTPATH_MARK_DONE_FIRST, true);
	flow = flow_table_find(&world.engine.table, &to_server.src, to_server.src_port, &to_server.dst, to_server.dst_port, &outbound);
	assert_non_null(flow);
	test_segment_ts(&to_client, 77, flow->syn_tsval);
	return flow;
}

/* Each packet is looked at once before netfilter, whatever marks others have set. */
static void test_marks_of_others(void **state)
{
	(void)state;
	test_segment_ts(&to_server, 1000, 0);
	for (uint32_t mark = 1; mark <= FASTPATH_MARK_FIRST; mark++)
		pass(&to_server, false, 0x100 | mark, 0x100 | mark, false);
	pass(&to_server, false, 0x100, 0x100 | FASTPATH_MARK_DONE_FIRST, true);
}

/* What the queue, or another interface, has done with is let go, but not what was unknown there: it may have come by NAT. What is done with here says so. */
static void test_behind_netfilter(void **state)
{
	(void)state;
	open_flow();
	pass(&to_client, true, FASTPATH_MARK_DONE_LAST, FASTPATH_MARK_DONE_LAST, false);
	pass(&to_client, true, FASTPATH_MARK_DONE_FIRST, FASTPATH_MARK_DONE_FIRST, false);
	pass(&to_client, true, FASTPATH_MARK_OTHER, FASTPATH_MARK_OTHER | FASTPATH_MARK_DONE_LAST, true);
	pass(&to_client, true, 0, FASTPATH_MARK_DONE_LAST, true);
}

static void test_not_for_us(void **state)
{
	struct front_frame frame;

	(void)state;
	test_segment_ts(&to_server, 1000, 0);
	frame = make(&to_server, 0);
	frame.to = 0xff;
	show(&frame, false, 0, false);
	frame = make(&to_server, 0);
	frame.to = 2;
	show(&frame, false, 0, false);
}

/* A server among the clients speaks. */
static void test_server_inside(void **state)
{
	(void)state;
	open_flow();
	pass(&to_client, false, 0, FASTPATH_MARK_SLOW, false);
}

/* While a table is taken over no flow is opened, whatever asks for one; what is known goes on. */
static void test_hold(void **state)
{
	struct fastpath_shared *shared = front_shared(front);

	(void)state;
	open_flow();
	shared->flags |= FASTPATH_HOLD;
	to_client.ack = 0x10000000; /* to a SYN that nobody has seen */
	pass(&to_client, true, 0, FASTPATH_MARK_DONE_LAST, false);
	assert_int_equal(flow_table_used(&world.engine.table), 1);
	to_client.ack = 101;
	pass(&to_client, true, 0, FASTPATH_MARK_DONE_LAST, true);
	to_server.src_port++;
	pass(&to_server, false, 0, FASTPATH_MARK_SLOW, false);
	shared->flags &= ~(uint32_t)FASTPATH_HOLD;
	pass(&to_server, false, 0, FASTPATH_MARK_DONE_FIRST, true);
	to_client.ack = 0x10000000;
	pass(&to_client, true, 0, FASTPATH_MARK_DONE_LAST, false);
	assert_int_equal(flow_table_used(&world.engine.table), 3);
}

static void test_unknown(void **state)
{
	struct front_frame frame;

	(void)state;
	to_server.flags = TCP_ACK;
	pass(&to_server, false, 0, FASTPATH_MARK_OTHER, false);
	frame = make(&to_server, 0);
	frame.protocol = 0x0806;
	show(&frame, false, FASTPATH_MARK_OTHER, false);
	frame = make(&to_server, 0);
	frame.data[is_ipv6 ? 6 : 9] = was[is_ipv6 ? 6 : 9] = 17;
	show(&frame, false, FASTPATH_MARK_OTHER, false);
	show(&frame, true, FASTPATH_MARK_OTHER, false);
}

static void set_length(struct front_frame *frame, uint32_t len)
{
	test_put16(frame->data + (is_ipv6 ? 4 : 2), is_ipv6 ? len - 40 : len);
	memcpy(was, data, frame->len);
}

/* What lies behind the end of the IP packet is none of its TCP header. */
static void test_lengths(void **state)
{
	struct front_frame frame;

	(void)state;
	test_segment_ts(&to_server, 1000, 0);
	for (uint32_t less = 1; less <= 32; less++) {
		frame = make(&to_server, 0);
		set_length(&frame, frame.len - less);
		show(&frame, false, FASTPATH_MARK_OTHER, false);
	}
	frame = make(&to_server, 0);
	set_length(&frame, frame.len + 1);
	show(&frame, false, FASTPATH_MARK_OTHER, false);
	frame = make(&to_server, 0);
	frame.len += 6; /* padding */
	set_length(&frame, frame.len - 6);
	show(&frame, false, FASTPATH_MARK_DONE_FIRST, true);
}

static void test_version(void **state)
{
	struct front_frame frame;

	(void)state;
	test_segment_ts(&to_server, 1000, 0);
	for (uint32_t version = 0; version < 16; version++) {
		frame = make(&to_server, 0);
		data[0] = was[0] = (uint8_t)(version << 4 | (data[0] & 0xf));
		if (version != (is_ipv6 ? 6 : 4))
			show(&frame, false, FASTPATH_MARK_OTHER, false);
	}
}

/* Of the frame's packet the first fragment, as netfilter makes it. Returns how many bytes of the packet are in it. */
static uint32_t make_first(struct front_frame *frame, uint8_t *whole)
{
	const uint32_t header = is_ipv6 ? 40 : 20;

	memcpy(whole, frame->data, frame->len);
	if (is_ipv6) {
		memmove(data + 48, data + 40, FIRST_BYTES);
		memcpy(data + 40, (uint8_t[]){6, 0, 0, 1, 1, 2, 3, 4}, 8);
		data[6] = 44;
		frame->len = 48 + FIRST_BYTES;
	} else {
		data[6] |= 0x20;
		frame->len = 20 + FIRST_BYTES;
	}
	set_length(frame, frame->len);
	return header;
}

static void test_first_fragment(void **state)
{
	static uint8_t whole[TEST_PACKET_MAX];
	struct front_frame frame;
	uint32_t header, len;

	(void)state;
	open_flow();
	to_client.payload = 900;
	frame = make(&to_client, 0);
	len = frame.len;
	header = make_first(&frame, whole);
	show(&frame, false, FASTPATH_MARK_OTHER, false);
	frame.mark = 0;
	show(&frame, true, FASTPATH_MARK_DONE_LAST, true);
	memcpy(whole + header, data + header + (is_ipv6 ? 8 : 0), FIRST_BYTES);
	assert_true(test_checksum_valid(&to_client.src, &to_client.dst, whole + header, len - header));
	assert_int_equal(test_get32(whole + header + 28), 1000);
	/* Another than the first has no TCP header; nor has one that ends within it. */
	frame = make(&to_client, 0);
	make_first(&frame, whole);
	data[is_ipv6 ? 43 : 7] = was[is_ipv6 ? 43 : 7] = is_ipv6 ? 9 : 1;
	show(&frame, true, 0, false);
	frame = make(&to_client, 0);
	make_first(&frame, whole);
	set_length(&frame, frame.len - FIRST_BYTES + 24);
	show(&frame, true, 0, false);
}

/* ---- two processors at once ---- */

static struct test_segment syn_of_both;
static uint32_t rounds_begun, rounds_ended;

/* The same SYN as the other, each in a buffer of its own. */
static void show_syn(void)
{
	uint8_t bytes[TEST_PACKET_MAX];
	uint32_t tcp_at;
	struct front_frame frame = {.data = bytes, .protocol = is_ipv6 ? IPV6 : IPV4};

	frame.len = test_build(&syn_of_both, bytes, &tcp_at);
	assert_int_equal(front_show(front, &frame, false), LETS_GO);
}

static void run_on(size_t processor)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void *show_beside(void *context)
{
	(void)context;
	run_on(1);
	for (uint32_t round = 1; round <= ROUNDS; round++) {
		while (__atomic_load_n(&rounds_begun, __ATOMIC_ACQUIRE) != round)
			sched_yield();
		show_syn();
		__atomic_store_n(&rounds_ended, round, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Of one SYN that comes by two processors at once one flow is made, and no place is lost. */
static void test_at_once(void **state)
{
	struct flow_table *table = &world.engine.table;
	uint32_t given_back = 0;
	pthread_t thread;

	(void)state;
	syn_of_both = to_server;
	test_segment_ts(&syn_of_both, 1000, 0);
	rounds_begun = rounds_ended = 0;
	run_on(0);
	assert_int_equal(pthread_create(&thread, NULL, show_beside, NULL), 0);
	for (uint32_t round = 1; round <= ROUNDS; round++) {
		struct flow *flow;
		bool outbound;

		flow_table_lend(table);
		__atomic_store_n(&rounds_begun, round, __ATOMIC_RELEASE);
		show_syn();
		while (__atomic_load_n(&rounds_ended, __ATOMIC_ACQUIRE) != round)
			sched_yield();
		flow = flow_table_find(table, &syn_of_both.src, syn_of_both.src_port, &syn_of_both.dst, 443, &outbound);
		assert_non_null(flow);
		assert_null(flow_table_find_elder(table, flow));
		for (uint32_t i = 0; i < CAPACITY; i++)
			given_back += table->flows[i].mode == FLOW_GIVEN_BACK;
		flow_table_remove(table, flow);
		engine_sweep(&world.engine, CAPACITY, TICK);
	}
	pthread_join(thread, NULL);
	printf("# %u times at once\n", given_back);
	flow_table_lend(table);
	assert_int_equal(flow_table_used(table), 0);
	for (uint32_t i = 0; i < CAPACITY; i++)
		assert_non_null(flow_table_add(table, &syn_of_both.src, (uint16_t)i, &syn_of_both.dst, 443));
}

/* ---- routes, in a network of our own ---- */

static void set_up(const char *words)
{
	char command[512];

	snprintf(command, sizeof(command), "{ %s; } >/dev/null 2>&1", words);
	if (system(command) != 0)
		printf("# failed: %s\n", words);
}

static void make_network(void)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	set_up("ip link set lo up");
	set_up("for name in lan wan other; do ip link add $name type veth peer name peer_$name && ip link set $name up && "
	       "ip link set peer_$name up || exit 1; done; ip link set lan address 02:00:00:00:00:00");
	set_up("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
	/* By the last byte of the server's address: 0 to the servers, 1 elsewhere, 2 back, 3 nowhere, 4 here. */
	set_up("ip addr add 10.0.0.254/8 dev lan && ip route add 203.0.113.0 dev wan && ip route add 203.0.113.1 dev other && "
	       "ip route add 203.0.113.2 dev lan && ip route add unreachable 203.0.113.3 && ip addr add 203.0.113.4/32 dev lo");
	set_up("ip addr add 2001:db8::a00:fe/112 dev lan nodad && ip route add 2001:db8::cb00:7100 dev wan && "
	       "ip route add 2001:db8::cb00:7101 dev other && ip route add 2001:db8::cb00:7102 dev lan && "
	       "ip route add unreachable 2001:db8::cb00:7103 && ip addr add 2001:db8::cb00:7104/128 dev lo nodad");
}

static uint32_t mark_of_syn(uint32_t server)
{
	struct front_frame frame;

	to_server.dst = test_addr(is_ipv6, WORLD_NET + server);
	to_server.src_port++;
	frame = make(&to_server, 0);
	frame.to = 2;
	frame.interface = if_nametoindex("lan");
	assert_int_equal(front_show(front, &frame, false), LETS_GO);
	return frame.mark & FASTPATH_MARK_FIRST;
}

/* By what the first program says a connection gets its label: by its SYN, once a second, and by one of 64 segments. */
static void test_label(void **state)
{
	struct fastpath_shared *shared = front_shared(front);
	const struct flow *flow = open_flow();
	uint32_t labelled = 0;

	(void)state;
	assert_true(was_label);
	pass(&to_client, true, 0, FASTPATH_MARK_DONE_LAST, true);
	to_server.flags = TCP_ACK;
	to_server.ack = 501;
	for (uint32_t i = 0; i < 4 * 64; i++) {
		to_server.seq = 101 + i;
		pass(&to_server, false, 0, FASTPATH_MARK_DONE_FIRST, true);
		labelled += was_label;
	}
	assert_int_equal(labelled, 4);
	assert_int_equal(flow->state, FLOW_ESTABLISHED);
	while (was_label) {
		to_server.seq++;
		pass(&to_server, false, 0, FASTPATH_MARK_DONE_FIRST, true);
	}
	shared->frozen_tick += 1024; /* another second, and the same of 64 */
	pass(&to_server, false, 0, FASTPATH_MARK_DONE_FIRST, true);
	assert_true(was_label);
	pass(&to_server, false, 0, FASTPATH_MARK_DONE_FIRST, true);
	assert_false(was_label);
}

static uint64_t boot_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/*
 * One segment in a millisecond reads the kernel's clock, and others go by that. None is taken for ahead of a time that has come
 * meanwhile, and a time that is long ago is no time.
 */
static void test_time(void **state)
{
	struct fastpath_shared *shared = front_shared(front);
	const struct flow *flow = open_flow();
	uint64_t before;
	uint32_t looks = 0;

	(void)state;
	pass(&to_client, true, 0, FASTPATH_MARK_DONE_LAST, true);
	to_server.flags = TCP_ACK;
	to_server.seq = 101;
	to_server.ack = 501;
	pass(&to_server, false, 0, FASTPATH_MARK_DONE_FIRST, true);
	assert_int_equal(flow->state, FLOW_ESTABLISHED);
	shared->frozen_tick = 0;
	shared->clock_offset_ms = (int64_t)(TICK - boot_ms());
	for (uint32_t i = 0; i < ROUNDS; i++) {
		before = shared->glance;
		pass(&to_server, false, 0, FASTPATH_MARK_DONE_FIRST, true);
		looks += shared->glance != before;
		assert_int_equal((uint32_t)shared->glance, (uint32_t)shared->clock.published);
	}
	assert_in_range(looks, 2, ROUNDS / 2);

	for (uint32_t i = 0; i < ROUNDS; i++) {
		const uint64_t now = boot_ms() + (uint64_t)shared->clock_offset_ms;

		test_segment_ts(&to_server, shared->clock_base + (uint32_t)now - flow->offset, 77);
		pass(&to_server, false, 0, FASTPATH_MARK_DONE_FIRST, true);
		assert_int_equal(flow->tsval_high, shared->clock_base + (uint32_t)now);
		assert_int_equal(shared->clock.high, 0);
	}

	/* A second later it has been seen a second later. */
	before = flow->last_seen_s;
	shared->clock_offset_ms += 1000;
	shared->glance -= UINT64_C(1) << 32;
	pass(&to_server, false, 0, FASTPATH_MARK_DONE_FIRST, true);
	assert_true(flow->last_seen_s > before);
}

/*
 * A server that has been sent what is far ahead of the shared clock, past pawsd, takes no older TSval: connections to it begin ahead, and
 * run on as any others. A clock that is fast is another thing.
 */
static void test_server_ahead(void **state)
{
	struct fastpath_shared *shared = front_shared(front);
	struct clock clock = {.shared = &shared->clock, .max_lead_ms = shared->clock_max_lead_ms, .base = shared->clock_base};
	const uint32_t ahead = clock_tsval(&clock, TICK) + 86400000;
	struct flow *flow;

	(void)state;
	clock_raise_server(&clock, TICK, &to_server.dst, ahead);
	flow = open_flow();
	assert_true(seq_after(flow->syn_tsval, ahead - 1));
	pass(&to_client, true, 0, FASTPATH_MARK_DONE_LAST, true);
	to_server.flags = TCP_ACK;
	to_server.seq = 101;
	to_server.ack = 501;
	test_segment_ts(&to_server, 1010, 77);
	pass(&to_server, false, 0, FASTPATH_MARK_DONE_FIRST, true);
	assert_int_equal(flow->tsval_high, flow->syn_tsval + 10);
	test_segment_ts(&to_server, 1000 + 3600000, 77);
	pass(&to_server, false, 0, FASTPATH_MARK_SLOW, false);
}

/* A flow is opened only by what is forwarded to the servers. */
static void test_routes(void **state)
{
	struct fastpath_shared *shared = front_shared(front);

	(void)state;
	to_server.dst_port = 443;
	test_segment_ts(&to_server, 1000, 0);
	shared->flags = 0;
	for (uint32_t server = 0; server < 5; server++)
		assert_int_equal(mark_of_syn(server), server < 2 ? FASTPATH_MARK_DONE_FIRST : FASTPATH_MARK_SLOW);
	shared->wan_count = 2;
	shared->wan[0] = 77;
	shared->wan[1] = if_nametoindex("wan");
	for (uint32_t server = 0; server < 5; server++)
		assert_int_equal(mark_of_syn(server), server < 1 ? FASTPATH_MARK_DONE_FIRST : FASTPATH_MARK_SLOW);
	shared->wan_count = 1;
	assert_int_equal(mark_of_syn(0), FASTPATH_MARK_SLOW);
	shared->wan_count = 0;
	shared->is_roomy = 0;
	assert_int_equal(mark_of_syn(0), FASTPATH_MARK_SLOW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_marks_of_others), BOTH(test_behind_netfilter), BOTH(test_not_for_us), BOTH(test_server_inside),
		BOTH(test_unknown), BOTH(test_hold), BOTH(test_lengths), BOTH(test_version), BOTH(test_first_fragment),
		BOTH(test_at_once), BOTH(test_routes), BOTH(test_server_ahead), BOTH(test_label), BOTH(test_time),
	};
	void *state = NULL;

	open_front(&state, FRONT_LAN);
	if (!front)
		return end_without_front();
	make_network();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
