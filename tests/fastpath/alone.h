/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_FASTPATH_ALONE_H
#define PAWSD_TESTS_FASTPATH_ALONE_H

/* A program by itself: packets of one connection, shown to it. */

#include "../unit/core_test.h"
#include "../unit/engine_world.h"
#include "front.h"

#include <errno.h>
#include <libgen.h>

#include "fastpath.h"

enum {
	CAPACITY = 1024,
	TICK = 1000000000,
	IPV4 = 0x0800,
	IPV6 = 0x86dd,
	LETS_GO = -1, /* TC_ACT_UNSPEC */
};

static struct front *front;
static struct engine_world world;
static bool is_ipv6;
static struct test_segment to_server, to_client;
static uint8_t data[TEST_PACKET_MAX], was[TEST_PACKET_MAX];

static int begin_with(bool ipv6)
{
	const char *problem;

	is_ipv6 = ipv6;
	world_make(&world, CAPACITY, TICK);
	front_attach(front, &world.engine);
	to_server = (struct test_segment){.src = test_addr(ipv6, 0x0a000001), .src_port = 40000, .dst = test_addr(ipv6, WORLD_NET),
					  .dst_port = 443, .seq = 100, .flags = TCP_SYN};
	to_client = (struct test_segment){.src = to_server.dst, .src_port = 443, .dst = to_server.src, .dst_port = 40000,
					  .seq = 500, .ack = 101, .flags = TCP_SYN | TCP_ACK};
	/* So that the programs know what time it is, and the policy. */
	front_handle(front, &(struct packet_input){.data = data, .len = 0, .direction = DIRECTION_UNKNOWN}, TICK, &problem);
	return 0;
}

static int begin_ipv4(void **state)
{
	(void)state;
	return begin_with(false);
}

static int begin_ipv6(void **state)
{
	(void)state;
	return begin_with(true);
}

static int end(void **state)
{
	(void)state;
	front_detach(front);
	world_free(&world);
	return 0;
}

static struct front_frame make(const struct test_segment *segment, uint32_t mark)
{
	uint32_t tcp_at;
	struct front_frame frame = {.data = data, .protocol = is_ipv6 ? IPV6 : IPV4, .mark = mark};

	frame.len = test_build(segment, data, &tcp_at);
	memcpy(was, data, frame.len);
	return frame;
}

/* Whether the last packet's connection is to be labelled: in a while, which is when a test does not ask for it. */
static bool was_label;

static void show(struct front_frame *frame, bool is_last, uint32_t mark, bool changes)
{
	assert_int_equal(front_show(front, frame, is_last), LETS_GO);
	was_label = !is_last && (frame->mark & FASTPATH_MARK_ALL) == FASTPATH_MARK_LABEL;
	if (was_label)
		frame->mark ^= FASTPATH_MARK_LABEL ^ FASTPATH_MARK_DONE_FIRST;
	assert_int_equal(frame->mark, mark);
	assert_int_equal(memcmp(was, data, frame->len) != 0, changes);
}

static void pass(const struct test_segment *segment, bool is_last, uint32_t before, uint32_t mark, bool changes)
{
	struct front_frame frame = make(segment, before);

	show(&frame, is_last, mark, changes);
}

static int front_error; /* errno, without a front */

static int open_front(void **state, enum front_side side)
{
	static char path[4096];
	char error[160], self[4096];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[len > 0 ? len : 0] = '\0';
	snprintf(path, sizeof(path), "%s/../src/bpf/fastpath.bpf.o", dirname(self));
	front = front_open(path, side, error, sizeof(error));
	front_error = errno;
	if (!front)
		printf("# %s\n", error);
	return test_random_setup(state);
}

/* What main() returns without a front: programs that the kernel refuses are a failure, but not those that are not to be had here. */
static int end_without_front(void)
{
	const bool is_refused = front_error != EPERM && front_error != ENOENT;

	printf("1..1\n%s 1 - programs%s\n", is_refused ? "not ok" : "ok", is_refused ? "" : " # SKIP they cannot be loaded here");
	return is_refused;
}

#define BOTH(test) \
	{#test "_ipv4", test, begin_ipv4, end, NULL}, {#test "_ipv6", test, begin_ipv6, end, NULL}

#endif
