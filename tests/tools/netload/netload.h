/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_NETLOAD_H
#define PAWSD_TESTS_NETLOAD_H

#include <sys/epoll.h>

#include "../load.h"

/*
 * The parts of netload (../netload.c says what it does):
 *
 *   loops.c    an event loop a CPU, each a process of its own
 *   serve.c    the server's loop
 *   client.c   the client's loop
 */

enum {
	NETLOAD_EVENTS = 256,
	NETLOAD_BUFFER_BYTES = 256 * 1024,
	NETLOAD_HISTOGRAM_US = 2000000,
};

enum netload_mode {
	NETLOAD_SERVE,
	NETLOAD_RR,
	NETLOAD_CRR,
	NETLOAD_MIX,
	NETLOAD_LATENCY,
	NETLOAD_MODES,
};

struct netload_request {
	uint32_t magic;
	uint32_t answer_bytes;
	uint64_t number;
};

/* What the command line says. */
struct netload_config {
	enum netload_mode mode;
	struct load_addrs from, to;
	size_t connections, loops;
	double seconds, warm_up, rate;
	uint64_t seed;
};

/* What one of the client's loops has counted, in memory that all processes share. */
struct netload_counts {
	uint64_t answers, closed, failed, timed;
	uint32_t histogram[NETLOAD_HISTOGRAM_US];
};

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t netload_now_ns(void);

/* A loop's epoll descriptor, and what it reads into and sends from. */
extern int netload_epoll;
extern uint8_t netload_buffer[NETLOAD_BUFFER_BYTES];

void netload_watch(int operation, int fd, uint32_t events, void *context);
void netload_switch_on(int fd, int level, int option);

/* ---- loops.c ---- */

/* As many as there are CPUs this process may run on. */
size_t netload_cpus(void);

/*
 * Makes `count` processes, each with an epoll descriptor of its own, and runs run(loop, context) in each, loop from
 * 0 on. They end when this process does.
 */
void netload_loops_start(size_t count, void (*run)(size_t loop, void *context), void *context);

/* Waits until all have ended; false when one did not end well. */
bool netload_loops_wait(void);

/* ---- serve.c ---- */

/* Listens at all endpoints; the sockets, in their order, never to be freed. */
const int *netload_listen(const struct load_addrs *at);

/* Answers at the listening sockets loop, loop + loops, loop + 2 loops, ... of `count`; does not return. */
void netload_serve(const int *listening, size_t count, size_t loop, size_t loops);

/* ---- client.c ---- */

/* Drives the loop'th part of the connections, to warm up until begin_ns, then counting into `counts` until end_ns. */
void netload_drive(const struct netload_config *config, size_t loop, uint64_t begin_ns, uint64_t end_ns,
		   struct netload_counts *counts);

#endif
