/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_DIAGNOSIS_WORLD_H
#define PAWSD_TESTS_DIAGNOSIS_WORLD_H

/* A diagnosis, and what the engine would tell it of connections that come about or fail. */

#include "core_test.h"

#include "diagnosis.h"

enum {
	NET = 0xcb007100, /* 203.0.113.0/24 */
	START = 100000,
};

static struct diagnosis diagnosis;
static uint64_t tick, serial;
static uint32_t next_port, isn, try_client;
static uint16_t try_port = 443;

static inline int begin(void **state)
{
	(void)state;
	diagnosis_init(&diagnosis, test_random64());
	tick = START;
	serial = 0;
	next_port = 1024;
	return 0;
}

static inline void forget(void)
{
	begin(NULL);
}

static inline struct endpoints ends_of(uint32_t server)
{
	next_port = next_port == 65535 ? 1024 : next_port + 1;
	return (struct endpoints){test_addr(0, 0x0a000005 + try_client), test_addr(0, NET + server), (uint16_t)next_port, try_port};
}

static inline void tell(const struct endpoints *ends, bool is_outbound, uint8_t tcp_flags, uint32_t number, uint32_t tsval, uint32_t tsecr,
		 uint32_t left, enum reason reason, uint8_t more)
{
	const struct event event = {
		.tick = tick,
		.serial = ++serial,
		.ends = *ends,
		.number = number,
		.tsval = tsval,
		.tsecr = tsecr,
		.left = left,
		.tcp_flags = tcp_flags,
		.reason = (uint8_t)reason,
		.flags = (uint8_t)((is_outbound ? EVENT_OUTBOUND : 0) | (tsval || tsecr || left ? EVENT_TIMESTAMPS | EVENT_LEFT_WITH : 0) | more),
	};

	diagnosis_take(&diagnosis, &event);
}

static inline void syn(const struct endpoints *ends, uint32_t tsval)
{
	tell(ends, true, TCP_SYN, isn, tsval, 0, tsval, tsval ? REASON_SYN_OBSERVED : REASON_SYN_NO_TIMESTAMPS, EVENT_KNOWN);
}

static inline void synack(const struct endpoints *ends, uint32_t tsecr)
{
	tell(ends, false, TCP_SYN | TCP_ACK, isn + 1, 777, tsecr, tsecr, REASON_SYNACK_OBSERVED, EVENT_KNOWN);
}

/* The server has closed first, and the client's last TSval was this. */
static inline void end(const struct endpoints *ends, uint32_t tsval)
{
	tell(ends, true, TCP_FIN | TCP_ACK, isn + 100, tsval, 778, tsval, REASON_FLOW_NOT_REWRITTEN, EVENT_KNOWN | EVENT_SERVER_FIRST);
}

/* A connection that comes about, and that the server closes 10 ms later. */
static inline void connects(uint32_t server, uint32_t tsval)
{
	const struct endpoints ends = ends_of(server);

	isn = (uint32_t)test_random64();
	syn(&ends, tsval);
	tick += 10;
	synack(&ends, tsval);
	end(&ends, tsval ? tsval + 10 : 0);
}

/* One whose SYNs have no answer. */
static inline void fails(uint32_t server, uint32_t tsval, uint32_t syns)
{
	const struct endpoints ends = ends_of(server);

	isn = (uint32_t)test_random64();
	for (uint32_t i = 0; i < syns; i++) {
		syn(&ends, tsval ? tsval + 1000 * i : 0);
		tick += 1000;
	}
}

static inline const struct server_evidence *server_at(uint32_t number)
{
	const struct addr addr = test_addr(0, NET + number);

	for (size_t i = 0; i < DIAGNOSIS_SERVERS; i++) {
		if (diagnosis.servers[i].last_tick && addr_equal(&diagnosis.servers[i].addr, &addr))
			return &diagnosis.servers[i];
	}
	return NULL;
}

static inline enum confidence judge(uint32_t server, enum finding finding)
{
	const struct server_evidence *evidence = server_at(server);
	double chance;

	assert_non_null(evidence);
	return diagnosis_judge(evidence, finding, &chance);
}

static inline void finish(void)
{
	tick += 5000;
	diagnosis_advance(&diagnosis, tick);
	diagnosis_finish(&diagnosis);
}

static inline void nothing_found(uint32_t server)
{
	for (enum finding finding = 0; finding < FINDING_COUNT; finding++)
		assert_int_equal(judge(server, finding), CONFIDENCE_NONE);
}

#endif
