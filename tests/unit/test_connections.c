/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core_test.h"

#include "engine.h"
#include "engine_world.h"
#include "seq.h"

/*
 * Random connections of clients with clocks of their own, held against what the two ends see:
 * P1 (a SYN is not older than anything its server got within 60 s), P3 (one offset after the
 * handshake, no step back) and P4 (each echo is the client's own value), SYN retransmissions,
 * port reuse and unmanaged flows beside them included.
 */

enum {
	CONNECTIONS = 40,
	SERVERS = 3,
	SYNS_MAX = 7,
	SEGMENTS_MAX = 32,
	HISTORY = 8192,
	AGAIN_WITHIN_MS = 240000, /* later it would be a new connection's SYN */
	CAPACITY = 4000, /* a block of SYN pairs for each connection */
};

struct exchange {
	uint32_t tsval, emitted;
};

struct connection {
	struct addr client, server;
	uint16_t port;
	uint32_t server_number, hz, base, isn;
	struct exchange syn[SYNS_MAX], segment[SEGMENTS_MAX];
	uint32_t syn_count, segment_count;
	uint32_t newest; /* emitted, on this four-tuple, ever */
	uint64_t syn_tick;
	bool used, established, newer_echo;
};

static struct engine_world world;
static struct connection connections[CONNECTIONS];
static struct {
	uint64_t tick;
	uint32_t server, tsval;
} history[HISTORY];
static uint32_t history_count;

static uint32_t client_clock(const struct connection *c)
{
	return c->base + (uint32_t)(world.tick * c->hz / 1000);
}

static void server_got(const struct connection *c, uint32_t tsval)
{
	history[history_count % HISTORY].tick = world.tick;
	history[history_count % HISTORY].server = c->server_number;
	history[history_count++ % HISTORY].tsval = tsval;
}

static void check_p1(const struct connection *c, uint32_t tsval)
{
	uint32_t count = history_count < HISTORY ? history_count : HISTORY;

	assert_int_not_equal(tsval, 0);
	for (uint32_t i = 0; i < count; i++)
		if (history[i].server == c->server_number && world.tick - history[i].tick <= 60000 &&
		    seq_after(history[i].tsval, tsval))
			fail_msg("SYN with %u, but the server got %u %llu ms ago", tsval, history[i].tsval,
				 (unsigned long long)(world.tick - history[i].tick));
}

/* Sends one segment through the engine; *tsval and *tsecr become what comes out. */
static enum reason send(const struct connection *c, bool outbound, uint8_t flags, uint32_t *tsval, uint32_t *tsecr)
{
	struct test_segment segment = {
		.src = outbound ? c->client : c->server, .dst = outbound ? c->server : c->client,
		.src_port = outbound ? c->port : 443, .dst_port = outbound ? 443 : c->port,
		.seq = flags == TCP_SYN ? c->isn : c->isn + 1, .ack = outbound ? 0 : c->isn + 1, .flags = flags,
		.payload = test_random(3),
	};
	uint8_t data[TEST_PACKET_MAX];
	struct packet_input input = {.data = data, .direction = outbound ? DIRECTION_OUT : DIRECTION_IN};
	uint32_t tcp_at;
	enum reason reason;

	test_segment_ts(&segment, *tsval, *tsecr);
	input.len = test_build(&segment, data, &tcp_at);
	engine_look_ahead(&world.engine, &input, 1);
	reason = engine_handle(&world.engine, &input, world.tick);
	*tsval = test_get32(data + tcp_at + 24);
	*tsecr = test_get32(data + tcp_at + 28);
	assert_true(test_checksum_valid(&segment.src, &segment.dst, data + tcp_at, input.len - tcp_at));
	if (outbound)
		server_got(c, *tsval);
	return reason;
}

static void remember(struct exchange *list, uint32_t *count, uint32_t max, uint32_t tsval, uint32_t emitted)
{
	if (*count == max)
		memmove(&list[1], &list[2], (--*count - 1) * sizeof(*list));
	list[*count].tsval = tsval;
	list[(*count)++].emitted = emitted;
}

static void step_syn(struct connection *c, bool again)
{
	uint32_t tsval = client_clock(c), emitted = tsval, tsecr = 0;
	enum reason reason;

	if (!again) {
		c->isn += 1000 + test_random(1000);
		c->syn_count = c->segment_count = 0;
		c->established = c->newer_echo = false;
	}
	reason = send(c, true, TCP_SYN, &emitted, &tsecr);
	assert_int_equal(reason, again ? REASON_SYN_RETRANSMITTED : REASON_SYN_REWRITTEN);
	check_p1(c, emitted);
	if (c->used && !again)
		assert_true(seq_after(emitted, c->newest));
	if (c->used)
		assert_false(seq_after(c->newest, emitted));
	c->used = true;
	c->newest = emitted;
	c->syn_tick = world.tick;
	remember(c->syn, &c->syn_count, SYNS_MAX, tsval, emitted);
}

static void step_synack(struct connection *c)
{
	const struct exchange *syn = &c->syn[test_random(c->syn_count)];
	uint32_t tsval = 77, tsecr = syn->emitted;

	/* The server has chosen: an older SYN's echo is not to come any more. */
	if (c->newer_echo)
		return;
	assert_int_equal(send(c, false, TCP_SYN | TCP_ACK, &tsval, &tsecr), REASON_SYNACK_REWRITTEN);
	assert_int_equal(tsval, 77);
	assert_int_equal(tsecr, syn->tsval);
}

static void step_out(struct connection *c)
{
	const struct exchange *last = &c->syn[c->syn_count - 1];
	uint32_t tsval = client_clock(c), emitted, tsecr = 77;

	/* now and then out of order, but not older than the handshake */
	if (c->established && test_random(5) == 0)
		tsval -= test_random(tsval - last->tsval + 1);
	emitted = tsval;
	assert_int_equal(send(c, true, TCP_ACK, &emitted, &tsecr), REASON_OUT_REWRITTEN);
	assert_int_equal(tsecr, 77);
	if (seq_after(emitted, c->newest))
		c->newest = emitted;
	c->established = true;
	if (tsval + (last->emitted - last->tsval) == 0) {
		/* 0 is never sent: this one shares its value, and so its echo, with the tick before. */
		assert_int_equal(emitted, UINT32_MAX);
		return;
	}
	assert_int_equal(emitted - tsval, last->emitted - last->tsval);
	remember(c->segment, &c->segment_count, SEGMENTS_MAX, tsval, emitted);
}

static void step_in(struct connection *c)
{
	const struct exchange *segment = &c->segment[test_random(c->segment_count)];
	const struct exchange *last = &c->syn[c->syn_count - 1];
	uint32_t tsval = 78, tsecr = segment->emitted;

	assert_int_equal(send(c, false, TCP_ACK, &tsval, &tsecr), REASON_IN_REWRITTEN);
	assert_int_equal(tsecr, segment->tsval);
	if (seq_after(segment->emitted, c->syn[c->syn_count - 1].emitted))
		c->newer_echo = true;
	/* and one that nobody sent yet, nor has the client said it */
	tsecr = c->newest + 1 + test_random(100000);
	if (tsecr && c->newest - (last->emitted - last->tsval) - tsecr > 3600000 && test_random(10) == 0)
		assert_int_equal(send(c, false, TCP_ACK, &tsval, &tsecr), REASON_IN_FOREIGN_TSECR);
}

/* A flow that began without us, to one of the servers; ahead of the clock or behind it. */
static void step_unmanaged(void)
{
	struct connection c = connections[test_random(CONNECTIONS)];
	uint32_t tsval = (uint32_t)world.tick + test_random(2000000) - 1000000, tsecr = 5;

	c.port = (uint16_t)(50000 + test_random(5));
	if (tsval)
		assert_int_equal(send(&c, true, TCP_ACK, &tsval, &tsecr), REASON_MIDSTREAM_OUT);
}

static void step(struct connection *c)
{
	uint32_t what = test_random(12);

	if (!c->used || what == 0)
		step_syn(c, false);
	else if (!c->established && what < 5 && c->syn_count < SYNS_MAX && world.tick - c->syn_tick <= AGAIN_WITHIN_MS)
		step_syn(c, true);
	else if (what < 6)
		step_synack(c);
	else if (what < 9 || !c->segment_count)
		step_out(c);
	else
		step_in(c);
}

static void make_connections(void)
{
	static const uint32_t rates[] = {100, 250, 1000, 1000, 1000};

	memset(connections, 0, sizeof(connections));
	history_count = 0;
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		struct connection *c = &connections[i];

		c->server_number = test_random(SERVERS);
		c->client = test_addr(i % 2, 0x0a000001 + i / 4);
		c->server = test_addr(i % 2, WORLD_NET + 2 + c->server_number);
		c->server_number = c->server_number * 2 + i % 2;
		c->port = (uint16_t)(40000 + i);
		c->hz = rates[test_random(5)];
		c->base = (uint32_t)test_random64();
	}
}

static void run(uint64_t tick, bool unmanaged)
{
	world_make(&world, CAPACITY, tick);
	world.engine.clock.shared->secret = test_random64();
	make_connections();
	for (int i = 0; i < 6000; i++) {
		world.tick += test_random(4) ? test_random(30) : test_random(20) ? test_random(1500) : test_random(60000);
		if (unmanaged && test_random(8) == 0)
			step_unmanaged();
		step(&connections[test_random(CONNECTIONS)]);
		if (i % 500 == 0)
			world_check(&world);
	}
	world_check(&world);
	world_free(&world);
}

static void test_connections(void **state)
{
	(void)state;
	for (int round = 0; round < 40; round++) {
		run(test_random64() >> 24, true);
		run(test_random64() >> 24, false);
		run((1ull + test_random(3)) * 0x100000000u - test_random(3000000), round % 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connections),
	};

	return cmocka_run_group_tests(tests, test_random_setup, NULL);
}
