/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netload.h"

enum { ANSWER_SMALL = 16 };

struct client {
	int fd;
	bool is_connecting, is_idle;
	uint32_t requests_left;
	uint64_t awaited; /* bytes of the answer */
	uint64_t due_ns;
};

static const struct netload_config *config;
static struct netload_counts *counts;

/* This loop's part. */
static struct {
	struct client *clients;
	size_t connections;
	double gap_ns;
	uint64_t opened, random, seed;
	uint64_t begin_ns, end_ns; /* of what counts */
} run;

static uint64_t random_next(void)
{
	return load_word(run.seed, run.random++);
}

/* Most answers are small, most bytes are in few: as on the web. */
static uint32_t mixed_size(void)
{
	uint64_t kind = random_next() % 100, random = random_next();

	if (kind < 60)
		return (uint32_t)(200 + random % 2000);
	if (kind < 90)
		return (uint32_t)(2000 + random % 48000);
	if (kind < 99)
		return (uint32_t)(50000 + random % 150000);
	return 1000000;
}

static void client_open(struct client *client)
{
	const struct load_addr *to = &config->to.addr[run.opened % config->to.count];

	client->fd = socket(to->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (client->fd < 0)
		load_die("socket");
	netload_switch_on(client->fd, IPPROTO_TCP, TCP_NODELAY);
	if (config->from.count > 0) {
		const struct load_addr *from = &config->from.addr[run.opened % config->from.count];

		netload_switch_on(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
		if (bind(client->fd, (const struct sockaddr *)&from->ss, from->len) < 0)
			load_die("bind");
	}
	run.opened++;
	client->requests_left = config->mode == NETLOAD_MIX ? 1 + (uint32_t)(random_next() % 8) : 1;
	client->is_connecting = true;
	if (connect(client->fd, (const struct sockaddr *)&to->ss, to->len) < 0 && errno != EINPROGRESS)
		load_die("connect");
	netload_watch(EPOLL_CTL_ADD, client->fd, EPOLLOUT, client);
}

static void client_reopen(struct client *client, bool has_failed)
{
	counts->failed += has_failed;
	close(client->fd);
	client_open(client);
}

static void client_request(struct client *client)
{
	struct netload_request request = {
		.magic = LOAD_MAGIC,
		.answer_bytes = config->mode == NETLOAD_MIX ? mixed_size() : ANSWER_SMALL,
		.number = counts->answers,
	};

	client->is_idle = false;
	client->awaited = request.answer_bytes;
	if (send(client->fd, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request))
		client_reopen(client, true);
}

static void note_latency(const struct client *client, uint64_t now_ns)
{
	uint64_t us = (now_ns - client->due_ns) / 1000;

	counts->histogram[us < NETLOAD_HISTOGRAM_US ? us : NETLOAD_HISTOGRAM_US - 1]++;
	counts->timed++;
}

static void client_answered(struct client *client, uint64_t now_ns)
{
	bool counts_now = now_ns >= run.begin_ns && now_ns < run.end_ns;

	counts->answers += counts_now;
	switch (config->mode) {
	case NETLOAD_LATENCY:
		if (counts_now)
			note_latency(client, netload_now_ns());
		client->is_idle = true;
		break;
	case NETLOAD_RR:
		client_request(client);
		break;
	default:
		if (--client->requests_left > 0) {
			client_request(client);
			break;
		}
		counts->closed += counts_now;
		client_reopen(client, false);
	}
}

static void client_connected(struct client *client)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
		client_reopen(client, true);
		return;
	}
	client->is_connecting = false;
	netload_watch(EPOLL_CTL_MOD, client->fd, EPOLLIN, client);
	if (config->mode == NETLOAD_LATENCY)
		client->is_idle = true;
	else
		client_request(client);
}

static void client_handle(struct client *client, uint64_t now_ns)
{
	ssize_t n;

	if (client->is_connecting) {
		client_connected(client);
		return;
	}
	n = recv(client->fd, netload_buffer, sizeof(netload_buffer), 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || (uint64_t)n > client->awaited) {
		client_reopen(client, true);
		return;
	}
	client->awaited -= (uint64_t)n;
	if (client->awaited == 0)
		client_answered(client, now_ns);
}

/* Sends what is due; returns when the next one is. A request for which no connection is free waits and grows old. */
static uint64_t send_due(uint64_t first_ns, uint64_t *sent)
{
	static size_t at;

	for (;;) {
		uint64_t due = first_ns + (uint64_t)((double)*sent * run.gap_ns);
		size_t tries = 0;

		if (due > netload_now_ns())
			return due;
		while (tries < run.connections && !run.clients[at % run.connections].is_idle) {
			at++;
			tries++;
		}
		if (tries == run.connections)
			return due;
		run.clients[at % run.connections].due_ns = due;
		client_request(&run.clients[at++ % run.connections]);
		++*sent;
	}
}

void netload_drive(const struct netload_config *netload_config, size_t loop, uint64_t begin_ns, uint64_t end_ns,
		   struct netload_counts *netload_counts)
{
	struct epoll_event events[NETLOAD_EVENTS];
	uint64_t first_ns, sent = 0, now;

	config = netload_config;
	counts = netload_counts;
	run.connections = (config->connections + loop) / config->loops;
	run.clients = calloc(run.connections, sizeof(*run.clients));
	if (!run.clients)
		load_die("calloc");
	run.gap_ns = 1e9 * (double)config->loops / config->rate;
	run.seed = config->seed + loop;
	/* Elsewhere in the round of endpoints than the other loops, and through all of it. */
	run.opened = loop * (config->to.count / config->loops);
	run.begin_ns = begin_ns;
	run.end_ns = end_ns;
	for (size_t i = 0; i < run.connections; i++)
		client_open(&run.clients[i]);
	first_ns = netload_now_ns();
	while ((now = netload_now_ns()) < end_ns) {
		uint64_t wake_ns = config->mode == NETLOAD_LATENCY ? send_due(first_ns, &sent) : end_ns;
		uint64_t wait_ns;
		struct timespec wait;
		int count;

		if (wake_ns > end_ns)
			wake_ns = end_ns;
		now = netload_now_ns();
		/* All connections busy: what comes next is an answer. */
		wait_ns = wake_ns > now ? wake_ns - now : 1000000;
		wait = (struct timespec){(time_t)(wait_ns / 1000000000u), (long)(wait_ns % 1000000000u)};
		count = epoll_pwait2(netload_epoll, events, NETLOAD_EVENTS, &wait, NULL);
		now = netload_now_ns();
		for (int i = 0; i < count; i++)
			client_handle(events[i].data.ptr, now);
	}
}
