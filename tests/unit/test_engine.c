/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core_test.h"

#include "engine.h"
#include "event.h"
#include "engine_world.h"
#include "seq.h"

/*
 * The engine under noise: packets of few endpoints, so that they meet, sound and mutated, in any
 * order, at any time. Whatever comes in, exactly one reason is counted, only what that reason
 * may change is changed, and table and gauges agree.
 */
static struct test_guard guard;

static uint32_t random_options(uint8_t *options, uint32_t now)
{
	static const uint8_t other[] = {2, 4, 5, 180, 4, 2, 1, 3, 3, 7};
	uint32_t at = test_random(4), kind = test_random(20);

	memset(options, 1, 40);
	if (kind < 2)
		return 0;
	memcpy(options + at, other, sizeof(other));
	at += (uint32_t)sizeof(other) * test_random(2);
	for (int i = 0; i < (kind == 2 ? 2 : 1); i++, at += 10) {
		options[at] = 8;
		options[at + 1] = 10;
		test_put32(options + at + 2, test_random(8) == 0	 ? 0
					     : test_random(3) == 0 ? now + 100000 + test_random(1000000)
								   : now - test_random(5000));
		test_put32(options + at + 6, test_random(4) ? now - test_random(3000) : 0);
	}
	if (kind == 3)
		memcpy(options + at, (uint8_t[]){29, 4, 0, 0}, 4), at += 4;
	if (kind == 4)
		options[at++] = 77;
	return at;
}

/* Where the one timestamp option of an untouched, sound segment is; 0 if there is none. */
static uint32_t find_option(const uint8_t *tcp)
{
	uint32_t end = 20 + (tcp[12] / 16 - 5) * 4u, at = 20;

	while (at < end && tcp[at] && tcp[at] != 8)
		at += tcp[at] == 1 ? 1u : tcp[at + 1];
	return at < end && tcp[at] == 8 ? at : 0;
}

/* What went out lately, to be answered. */
static struct test_segment sent[16];
static uint32_t sent_count;

static void note_sent(const struct test_segment *segment, enum reason reason, const uint8_t *tcp)
{
	uint32_t option = find_option(tcp);

	if (!option || (reason_table[reason].action == ACTION_PASS && reason_table[reason].total != TOTAL_OBSERVED))
		return;
	sent[sent_count % 16] = *segment;
	sent[sent_count++ % 16].ack = test_get32(tcp + option + 2);
}

static struct test_segment random_answer(void)
{
	const struct test_segment *to = &sent[test_random(sent_count < 16 ? sent_count : 16)];
	struct test_segment segment = {
		.src = to->dst, .src_port = to->dst_port, .dst = to->src, .dst_port = to->src_port, .seq = 9,
		.ack = test_random(8) ? to->seq + 1 : (uint32_t)test_random64(),
		.flags = test_random(3) ? 0x12 : 0x10, .payload = test_random(4),
	};

	test_segment_ts(&segment, 55, to->ack + (test_random(8) ? 0 : test_random(3)));
	return segment;
}

static struct test_segment random_segment(uint64_t tick)
{
	static const uint8_t flags[] = {2, 2, 2, 0x12, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14, 3, 6, 0};
	static const uint16_t ports[] = {443, 80, 81, 82};
	bool ipv6 = test_random(2), inbound = test_random(2);
	struct test_segment segment = {
		.src = test_addr(ipv6, 0x0a000001 + test_random(3)), .src_port = (uint16_t)(40000 + test_random(2)),
		.dst = test_addr(ipv6, WORLD_NET + test_random(2)), .dst_port = ports[test_random(4)],
		.seq = test_random(4), .ack = test_random(4) ? test_random(4) + 1 : (uint32_t)test_random64(), .flags = flags[test_random(sizeof(flags))], .payload = test_random(4),
	};

	if (inbound) {
		struct test_segment turned = segment;

		segment.src = turned.dst;
		segment.dst = turned.src;
		segment.src_port = turned.dst_port;
		segment.dst_port = turned.src_port;
	}
	segment.option_len = random_options(segment.options, (uint32_t)tick);
	return segment;
}

static bool reason_is(enum reason reason, const enum reason *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == reason)
			return true;
	return false;
}

/* First byte and number of bytes of the option that this reason may change. */
static void allowed_change(enum reason reason, uint32_t *ret_first, uint32_t *ret_len)
{
	static const enum reason strips[] = {REASON_SYN_STRIPPED, REASON_SYNACK_STRIPPED};
	static const enum reason tsvals[] = {REASON_SYN_REWRITTEN, REASON_SYN_RETRANSMITTED, REASON_OUT_REWRITTEN,
					     REASON_OUT_ANCHORED, REASON_OUT_SCALED, REASON_OUT_UNSCALED};
	bool strip = reason_is(reason, strips, 2), tsval = reason_is(reason, tsvals, 6);

	*ret_first = strip ? 0 : tsval ? 2 : 6;
	*ret_len = strip ? 10 : 4;
}

static void check_unchanged_but(enum reason reason, const uint8_t *before, const uint8_t *after, uint32_t len,
				uint32_t tcp_at, const struct packet_input *input)
{
	uint32_t option, first, count;

	if (reason_table[reason].action == ACTION_PASS) {
		assert_memory_equal(after, before, len);
		return;
	}
	option = find_option(before + tcp_at);
	assert_int_not_equal(option, 0);
	allowed_change(reason, &first, &count);
	for (uint32_t i = 0; i < len; i++) {
		bool checksum = i - tcp_at - 16 < 2 && !input->gso;

		if (after[i] != before[i] && !checksum && i - tcp_at - option - first >= count)
			fail_msg("%s changed byte %u of the segment", reason_table[reason].name, i - tcp_at);
	}
}

static uint64_t sum_of_counters(const struct counters *counters)
{
	uint64_t sum = 0;

	for (uint32_t slot = 0; slot < WORLD_SLOTS; slot++)
		for (int i = 0; i < REASON_COUNT; i++)
			sum += counters->reason[slot][i];
	return sum;
}

static uint64_t reasons_seen[REASON_COUNT];

static enum reason handle(struct engine_world *world, struct packet_input *input, const uint8_t *before,
			  uint32_t tcp_at)
{
	uint64_t counted = sum_of_counters(world->counters), in_reason = 0;
	static uint64_t of_reason[REASON_COUNT];
	enum reason reason;

	for (int i = 0; i < REASON_COUNT; i++)
		of_reason[i] = world_count(world, (enum reason)i);
	reason = engine_handle(&world->engine, input, world->tick);
	assert_true((unsigned int)reason < REASON_COUNT);
	in_reason = world_count(world, reason);
	assert_int_equal(in_reason, of_reason[reason] + 1);
	assert_int_equal(sum_of_counters(world->counters), counted + 1);
	check_unchanged_but(reason, before, input->data, input->len, tcp_at, input);
	reasons_seen[reason]++;
	return reason;
}

/* What has been rewritten comes once more, as if no mark said so: it is counted once, and not changed but under that reason. */
static void handle_unmarked(struct engine_world *world, const struct packet_input *input, uint32_t tcp_at)
{
	uint64_t counted = sum_of_counters(world->counters);
	uint8_t before[TEST_PACKET_MAX];
	enum reason reason;

	memcpy(before, input->data, input->len);
	reason = engine_handle_unmarked(&world->engine, input, world->tick);
	assert_int_equal(sum_of_counters(world->counters), counted + 1);
	check_unchanged_but(reason, before, input->data, input->len, tcp_at, input);
	reasons_seen[reason]++;
}

static bool checksum_is_valid(const struct test_segment *segment, const uint8_t *data, uint32_t len, uint32_t tcp_at)
{
	return test_checksum_valid(&segment->src, &segment->dst, data + tcp_at, len - tcp_at);
}

static void run_packet(struct engine_world *world)
{
	static const uint8_t protocols[] = {17, 44, 51};
	struct test_segment segment = sent_count && test_random(4) == 0 ? random_answer() : random_segment(world->tick + world->engine.clock.base);
	uint8_t before[TEST_PACKET_MAX];
	uint32_t tcp_at, len = test_build(&segment, before, &tcp_at);
	struct packet_input input = {
		.len = len, .gso = test_random(8) == 0, .csum_not_ready = test_random(8) == 0,
		.truncated = test_random(100) == 0, .direction = (enum direction)test_random(3),
	};
	bool mutate = test_random(4) == 0, valid;
	enum reason reason;

	if (input.csum_not_ready)
		test_leave_checksum(&segment, before + tcp_at, len - tcp_at);
	if (mutate)
		for (uint32_t i = 1 + test_random(3); i > 0; i--)
			before[test_random(len)] = (uint8_t)test_random64();
	if (mutate && test_random(8) == 0)
		before[tcp_at == 20 ? 9 : 6] = protocols[test_random(sizeof(protocols))];
	if (mutate && tcp_at == 40 && test_random(20) == 0) { /* a routing header, one segment left */
		before[6] = 43;
		memcpy(before + tcp_at, (uint8_t[]){6, 0, 4, 1}, 4);
	}
	if (test_random(30) == 0)
		input.len = test_random(len);
	input.data = guard.end - input.len;
	memcpy(input.data, before, input.len);
	valid = checksum_is_valid(&segment, before, len, tcp_at) || input.csum_not_ready;
	reason = handle(world, &input, before, tcp_at);
	if (!mutate && input.len == len)
		note_sent(&segment, reason, input.data + tcp_at);
	if (!mutate && reason_table[reason].action == ACTION_MODIFY && !input.gso)
		assert_int_equal(checksum_is_valid(&segment, input.data, len, tcp_at), valid);
	if (test_random(16) == 0)
		handle_unmarked(world, &input, tcp_at);
}

static void test_noise(void **state)
{
	static struct engine_world world;

	(void)state;
	memset(reasons_seen, 0, sizeof(reasons_seen));
	/* A run in which some reason never came up would not have tested it: one may need some more. */
	for (int round = 0; round < 300 || (world_missing_reason(reasons_seen) < REASON_COUNT && round < 3000); round++) {
		world_make(&world, round % 3 ? 300 : 5, test_random64() >> 24);
		world.engine.client_most.flows = round % 4 ? 0 : 4;
		world.engine.clock.base = (uint32_t)test_random64();
		world.engine.clock.max_lead_ms = round % 5 ? 60000 : 1000;
		for (int i = 0; i < 2000; i++) {
			world.engine.is_draining = round % 7 == 0 && i % 500 < 50;
			world.tick += test_random(3) ? test_random(20) : test_random(2000);
			run_packet(&world);
			if (i % 100 == 0)
				world_check(&world);
			if (i % 300 == 0)
				engine_sweep(&world.engine, 1 + test_random(400), world.tick);
		}
		world_check(&world);
		world_free(&world);
	}
	if (world_missing_reason(reasons_seen) < REASON_COUNT)
		fail_msg("no packet ended under %s", reason_table[world_missing_reason(reasons_seen)].name);
}

/* Another process takes the flows over: gauges move with the destinations' slots. */
static void test_adopt(void **state)
{
	static struct engine_world world;
	static uint16_t slots[DESTINATION_SLOTS + 1] = {[DESTINATION_SLOTS] = WORLD_SLOT_STRIP}; /* where nobody should look */
	static struct counters before;
	uint64_t secret[2] = {7, 8};
	uint32_t adopted = 0;

	(void)state;
	for (int round = 0; round < 30; round++) {
		uint64_t lost[FLOW_STATE_COUNT] = {0}; /* a flow whose slot is nonsense */

		world_make(&world, 100, 10000000);
		for (int i = 0; i < 3000; i++)
			run_packet(&world);
		adopted += world.engine.table.used;
		for (uint16_t i = 0; i < DESTINATION_SLOTS; i++)
			slots[i] = (uint16_t)(i < WORLD_SLOTS ? ((uint32_t)i * 3 + 1) % (uint32_t)WORLD_SLOTS : (uint32_t)i);
		if (round % 2) /* a destination that is gone */
			slots[WORLD_SLOT_REWRITE] = SLOT_NONE;
		before = *world.counters;
		for (uint32_t i = 0, spoilt = 0; i < world.capacity && !spoilt; i++)
			if (world.flows[i].state != FLOW_FREE) {
				spoilt = 1;
				before.flows[world.flows[i].slot][world.flows[i].state]--;
				lost[world.flows[i].state]++;
				world.flows[i].slot = DESTINATION_SLOTS;
			}
		memset(world.counters, 0, sizeof(*world.counters));
		flow_table_init(&world.engine.table, world.flows, world.index, world.capacity, secret);
		engine_adopt(&world.engine, slots);
		world_check(&world);
		for (int s = 0; s < FLOW_STATE_COUNT; s++) {
			uint64_t expected[WORLD_SLOTS] = {[SLOT_NONE] = lost[s]};

			for (uint32_t i = 0; i < WORLD_SLOTS; i++)
				expected[slots[i]] += before.flows[i][s];
			for (uint32_t i = 0; i < WORLD_SLOTS; i++)
				assert_int_equal(world.counters->flows[i][s], expected[i]);
		}
		for (int i = 0; i < 1000; i++)
			run_packet(&world);
		world_check(&world);
		world_free(&world);
	}
	assert_true(adopted > 50);
}

/*
 * A sweep in small steps visits every flow, once a round, and frees none before its time: of a table that is full,
 * and of one that has places that were never used.
 */
static void test_sweep_goes_round(void **state)
{
	static struct engine_world world;
	struct addr client = test_addr(false, 1), server = test_addr(false, 2);

	(void)state;
	for (uint32_t n = 0; n < 34; n++) {
		const uint32_t flows = 100, capacity = n % 2 ? 730 : flows, step = 1 + n / 2 * 7;

		world_make(&world, capacity, 5000000);
		for (uint32_t i = 0; i < flows; i++) {
			struct flow *flow = flow_table_add(&world.engine.table, &client, (uint16_t)(1 + i), &server, 443);

			flow->state = FLOW_ESTABLISHED;
			flow->last_seen_s = engine_seconds(world.tick);
			counter_add(&world.counters->flows[0][FLOW_ESTABLISHED], 1);
		}
		world.tick += world.engine.timeout_s[FLOW_ESTABLISHED] * 1000ull;
		for (uint32_t done = 0; done < 3 * capacity; done += step)
			engine_sweep(&world.engine, step, world.tick);
		assert_int_equal(world.engine.table.used, flows);
		world.tick += 1000;
		engine_sweep(&world.engine, 0, world.tick);
		assert_int_equal(world.engine.table.used, flows);
		for (uint32_t done = 0; done < capacity; done += step)
			engine_sweep(&world.engine, step, world.tick);
		assert_int_equal(world.engine.table.used, 0);
		world_check(&world);
		world_free(&world);
	}
}

static enum reason send_syn_to(struct engine_world *world, uint16_t port, uint16_t server_port)
{
	struct test_segment segment = {.src = test_addr(false, 1), .dst = test_addr(false, WORLD_NET + 2),
				       .src_port = port, .dst_port = server_port, .seq = 1, .flags = TCP_SYN};
	uint8_t data[TEST_PACKET_MAX];
	struct packet_input input = {.data = data, .direction = DIRECTION_OUT};
	uint32_t tcp_at;

	test_segment_ts(&segment, 100, 0);
	input.len = test_build(&segment, data, &tcp_at);
	return engine_handle(&world->engine, &input, world->tick);
}

static enum reason send_syn(struct engine_world *world, uint16_t port)
{
	return send_syn_to(world, port, 443);
}

/* What the firewall does not queue yet must not be begun. */
static void test_rules_that_lag(void **state)
{
	static struct engine_world world;
	struct destination *all = calloc(1, sizeof(*all));
	struct policy *observing;

	(void)state;
	assert_non_null(all);
	all[0] = world_destination("default", SLOT_DEFAULT, MODE_OBSERVE, REPAIR_OFF, 0, false);
	observing = policy_build(all, 1);
	assert_non_null(observing);
	world_make(&world, 64, 5000000);
	world.engine.rules_lag = true;
	assert_int_equal(send_syn(&world, 1), REASON_SYN_POLICY_OFF);
	/* What needs no later segments is done all the same. */
	assert_int_equal(send_syn_to(&world, 1, 80), REASON_SYN_STRIPPED);
	assert_int_equal(send_syn_to(&world, 1, 81), REASON_SYN_OBSERVED);
	world.engine.rules_policy = world.policy;
	assert_int_equal(send_syn(&world, 2), REASON_SYN_REWRITTEN);
	/* A flow that was begun goes on, whatever the rules. */
	world.engine.rules_policy = NULL;
	assert_int_equal(send_syn(&world, 2), REASON_SYN_RETRANSMITTED);
	/* Nor does it help that the rules were made for a policy which only watched that destination. */
	world.engine.rules_policy = observing;
	assert_int_equal(send_syn(&world, 3), REASON_SYN_POLICY_OFF);
	world.engine.rules_lag = false;
	assert_int_equal(send_syn(&world, 3), REASON_SYN_REWRITTEN);
	policy_free(observing);
	world_free(&world);
}

/* What has begun goes on, nothing is begun; what ends with its handshake is no matter. */
static void test_draining(void **state)
{
	static struct engine_world world;

	(void)state;
	world_make(&world, 64, 5000000);
	assert_int_equal(send_syn(&world, 1), REASON_SYN_REWRITTEN);
	world.engine.is_draining = true;
	assert_int_equal(send_syn(&world, 2), REASON_SYN_DRAINING);
	assert_int_equal(world.engine.table.used, 1);
	assert_int_equal(send_syn(&world, 1), REASON_SYN_RETRANSMITTED);
	assert_int_equal(send_syn_to(&world, 2, 80), REASON_SYN_STRIPPED);
	assert_int_equal(send_syn_to(&world, 2, 81), REASON_SYN_OBSERVED);
	world.engine.is_draining = false;
	assert_int_equal(send_syn(&world, 2), REASON_SYN_REWRITTEN);
	world_free(&world);
}

static int setup(void **state)
{
	guard = test_guard_make(TEST_PACKET_MAX);
	return test_random_setup(state);
}

/* More than it looks at, and such as are no packets; nothing changes. */
static void test_look_ahead(void **state)
{
	static struct engine_world world;
	static struct packet_input inputs[8 * ENGINE_AHEAD_MAX];
	struct test_segment segment = {.src = test_addr(false, 1), .dst = test_addr(false, WORLD_NET + 2),
				       .src_port = 1000, .dst_port = 443, .seq = 1, .flags = TCP_ACK, .payload = 10};
	uint8_t data[TEST_PACKET_MAX];
	uint64_t counted;
	uint32_t tcp_at, len = test_build(&segment, data, &tcp_at);
	(void)state;

	world_make(&world, 64, 5000000);
	assert_int_equal(send_syn(&world, 1000), REASON_SYN_REWRITTEN);
	counted = sum_of_counters(world.counters);
	for (uint32_t i = 0; i < 8 * ENGINE_AHEAD_MAX; i++)
		inputs[i] = (struct packet_input){.data = data, .len = i < 40 ? i : len};
	engine_look_ahead(&world.engine, inputs, 40);
	engine_look_ahead(&world.engine, inputs + 40, 7 * ENGINE_AHEAD_MAX);
	assert_int_equal(world.engine.table.used, 1);
	assert_int_equal(sum_of_counters(world.counters), counted);
	world_free(&world);
}

/* One packet of the client's connection at port 1 to the observed port. */
static void pass_segment(struct engine_world *world, bool is_outbound, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t tsval,
			 uint32_t tsecr)
{
	const struct addr client = test_addr(false, 1), server = test_addr(false, WORLD_NET + 2);
	struct test_segment segment = {.src = is_outbound ? client : server, .dst = is_outbound ? server : client,
				       .src_port = is_outbound ? 1 : 81, .dst_port = is_outbound ? 81 : 1,
				       .seq = seq, .ack = ack, .flags = flags};
	uint8_t data[TEST_PACKET_MAX];
	struct packet_input input = {.data = data, .direction = is_outbound ? DIRECTION_OUT : DIRECTION_IN};
	uint32_t tcp_at;

	test_segment_ts(&segment, tsval, tsecr);
	input.len = test_build(&segment, data, &tcp_at);
	engine_handle(&world->engine, &input, world->tick);
}

/* A server that still knows the connection on the four-tuple answers the next one's SYN with an ACK: it is told of. */
static void test_elder_answers(void **state)
{
	static struct engine_world world;
	static struct event_ring ring;
	struct event event, last = {0};
	(void)state;

	world_make(&world, 64, 5000000);
	world.engine.events = &ring;
	pass_segment(&world, true, TCP_SYN, 1000, 0, 100, 0);
	pass_segment(&world, false, TCP_SYN | TCP_ACK, 9000, 1001, 55, 100);
	pass_segment(&world, true, TCP_ACK, 1001, 9001, 101, 55);
	world.tick += 90000;
	pass_segment(&world, true, TCP_SYN, 3000000000u, 0, 777, 0);
	while (event_take(&ring, &event))
		;
	pass_segment(&world, false, TCP_ACK, 9001, 1001, 90055, 101);
	assert_true(event_take(&ring, &last));
	assert_int_equal(last.tcp_flags, TCP_ACK);
	assert_int_equal(last.number, 1001);
	assert_false(last.flags & EVENT_OUTBOUND);
	/* It runs on, and of that nothing is told. */
	pass_segment(&world, true, TCP_ACK, 1001, 9001, 90102, 90055);
	assert_false(event_take(&ring, &event));
	world_free(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_adopt),
		cmocka_unit_test(test_sweep_goes_round),
		cmocka_unit_test(test_rules_that_lag),
		cmocka_unit_test(test_draining),
		cmocka_unit_test(test_look_ahead),
		cmocka_unit_test(test_elder_answers),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
