/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * netload: the benchmark's load, many connections driven by one thread at either end, as lean as it
 * can be, so that what is measured is the path between them.
 *
 *   netload serve [--background] ADDR:PORT[-PORT] ...
 *   netload rr|crr|mix|latency --to ADDR:PORT[-PORT] [--from ADDR[+N]] [--connections N]
 *           [--seconds S] [--warm-up S] [--rate N] [--seed N]
 *
 *   rr        every connection sends a request and waits for its answer, again and again: answers a second
 *   crr       connect, request, answer, close (the client first): connections a second
 *   mix       as crr, with one to eight requests a connection and answers of 200 bytes to 1 MB: requests a second
 *   latency   --rate requests a second in all, each at its time, on connections that stay: microseconds from the
 *             time at which a request was due until its answer is there, at the median, p99, p99.9 and at most
 *
 * Prints one line of JSON. Connections go round and round through all addresses of --from and
 * endpoints of --to. Exit status: 0, 1 when a connection failed, 2 usage.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>

#include "../tools/load.h"

enum {
	EVENTS = 256,
	ANSWER_SMALL = 16,
	BUFFER_BYTES = 256 * 1024,
	HISTOGRAM_US = 2000000,
};

struct request {
	uint32_t magic;
	uint32_t answer_bytes;
	uint64_t number;
};

enum mode {
	MODE_SERVE,
	MODE_RR,
	MODE_CRR,
	MODE_MIX,
	MODE_LATENCY,
};

static const char *const mode_names[] = {"serve", "rr", "crr", "mix", "latency"};

static uint8_t buffer[BUFFER_BYTES];
static int epoll_fd;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void watch(int operation, int fd, uint32_t events, void *context)
{
	struct epoll_event event = {.events = events, .data.ptr = context};

	if (epoll_ctl(epoll_fd, operation, fd, &event) < 0)
		load_die("epoll_ctl");
}

static void set_option(int fd, int level, int option)
{
	int on = 1;

	setsockopt(fd, level, option, &on, sizeof(on));
}

/* ---- the server ---- */

struct peer {
	int fd;
	bool is_listener, waits_for_room;
	size_t request_len;
	struct request request;
	uint64_t to_send;
};

static void peer_close(struct peer *peer)
{
	close(peer->fd);
	free(peer);
}

/* False when the connection has gone. */
static bool peer_send(struct peer *peer)
{
	while (peer->to_send > 0) {
		size_t len = peer->to_send < sizeof(buffer) ? (size_t)peer->to_send : sizeof(buffer);
		ssize_t n = send(peer->fd, buffer, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			if (!peer->waits_for_room)
				watch(EPOLL_CTL_MOD, peer->fd, EPOLLOUT, peer);
			peer->waits_for_room = true;
			return true;
		}
		if (n < 0)
			return false;
		peer->to_send -= (uint64_t)n;
	}
	if (peer->waits_for_room)
		watch(EPOLL_CTL_MOD, peer->fd, EPOLLIN, peer);
	peer->waits_for_room = false;
	return true;
}

static bool peer_receive(struct peer *peer)
{
	ssize_t n = recv(peer->fd, (uint8_t *)&peer->request + peer->request_len,
			 sizeof(peer->request) - peer->request_len, 0);

	if (n < 0)
		return errno == EAGAIN;
	if (n == 0)
		return false;
	peer->request_len += (size_t)n;
	if (peer->request_len < sizeof(peer->request))
		return true;
	peer->request_len = 0;
	if (peer->request.magic != LOAD_MAGIC)
		return false;
	peer->to_send = peer->request.answer_bytes;
	return peer_send(peer);
}

static void serve_accept(const struct peer *listener)
{
	for (int i = 0; i < 64; i++) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK);
		struct peer *peer;

		if (fd < 0)
			return;
		peer = calloc(1, sizeof(*peer));
		if (!peer)
			load_die("calloc");
		peer->fd = fd;
		set_option(fd, IPPROTO_TCP, TCP_NODELAY);
		watch(EPOLL_CTL_ADD, fd, EPOLLIN, peer);
	}
}

static void serve_listen(const struct load_addrs *at)
{
	for (size_t i = 0; i < at->count; i++) {
		struct peer *listener = calloc(1, sizeof(*listener));

		if (!listener)
			load_die("calloc");
		listener->is_listener = true;
		listener->fd = socket(at->addr[i].ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
		set_option(listener->fd, SOL_SOCKET, SO_REUSEADDR);
		if (listener->fd < 0 || bind(listener->fd, (struct sockaddr *)&at->addr[i].ss, at->addr[i].len) < 0 ||
		    listen(listener->fd, 4096) < 0)
			load_die("listen");
		watch(EPOLL_CTL_ADD, listener->fd, EPOLLIN, listener);
	}
}

static void serve(void)
{
	struct epoll_event events[EVENTS];

	for (;;) {
		int count = epoll_wait(epoll_fd, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			struct peer *peer = events[i].data.ptr;

			if (peer->is_listener)
				serve_accept(peer);
			else if (!(events[i].events & EPOLLOUT ? peer_send(peer) : peer_receive(peer)))
				peer_close(peer);
		}
	}
}

/* ---- the client ---- */

struct client {
	int fd;
	bool is_connecting, is_idle;
	uint32_t requests_left;
	uint64_t awaited; /* bytes of the answer */
	uint64_t due_ns;
};

static struct {
	enum mode mode;
	struct load_addrs from, to;
	size_t connections;
	double seconds, warm_up, rate;
	uint64_t seed;
} config = {.connections = 32, .seconds = 1, .warm_up = 0.2, .rate = 1000, .seed = 1};

static struct {
	struct client *clients;
	uint64_t opened, answers, closed, failed, random;
	uint32_t *histogram;
	uint64_t measured;
	bool is_measuring;
} run;

static uint64_t random_next(void)
{
	return load_word(config.seed, run.random++);
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
	const struct load_addr *to = &config.to.addr[run.opened % config.to.count];

	client->fd = socket(to->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (client->fd < 0)
		load_die("socket");
	set_option(client->fd, IPPROTO_TCP, TCP_NODELAY);
	if (config.from.count > 0) {
		const struct load_addr *from = &config.from.addr[run.opened % config.from.count];

		set_option(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
		if (bind(client->fd, (const struct sockaddr *)&from->ss, from->len) < 0)
			load_die("bind");
	}
	run.opened++;
	client->requests_left = config.mode == MODE_MIX ? 1 + (uint32_t)(random_next() % 8) : 1;
	client->is_connecting = true;
	if (connect(client->fd, (const struct sockaddr *)&to->ss, to->len) < 0 && errno != EINPROGRESS)
		load_die("connect");
	watch(EPOLL_CTL_ADD, client->fd, EPOLLOUT, client);
}

static void client_reopen(struct client *client, bool has_failed)
{
	run.failed += has_failed;
	close(client->fd);
	client_open(client);
}

static void client_request(struct client *client)
{
	struct request request = {
		.magic = LOAD_MAGIC,
		.answer_bytes = config.mode == MODE_MIX ? mixed_size() : ANSWER_SMALL,
		.number = run.answers,
	};

	client->is_idle = false;
	client->awaited = request.answer_bytes;
	if (send(client->fd, &request, sizeof(request), MSG_NOSIGNAL) != sizeof(request))
		client_reopen(client, true);
}

static void note_latency(const struct client *client)
{
	uint64_t us = (now_ns() - client->due_ns) / 1000;

	if (!run.is_measuring)
		return;
	run.histogram[us < HISTOGRAM_US ? us : HISTOGRAM_US - 1]++;
	run.measured++;
}

static void client_answered(struct client *client)
{
	run.answers++;
	switch (config.mode) {
	case MODE_LATENCY:
		note_latency(client);
		client->is_idle = true;
		break;
	case MODE_RR:
		client_request(client);
		break;
	default:
		if (--client->requests_left > 0) {
			client_request(client);
			break;
		}
		run.closed++;
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
	watch(EPOLL_CTL_MOD, client->fd, EPOLLIN, client);
	if (config.mode == MODE_LATENCY)
		client->is_idle = true;
	else
		client_request(client);
}

static void client_handle(struct client *client)
{
	ssize_t n;

	if (client->is_connecting) {
		client_connected(client);
		return;
	}
	n = recv(client->fd, buffer, sizeof(buffer), 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || (uint64_t)n > client->awaited) {
		client_reopen(client, true);
		return;
	}
	client->awaited -= (uint64_t)n;
	if (client->awaited == 0)
		client_answered(client);
}

/* Sends what is due; returns when the next one is. A request for which no connection is free waits and grows old. */
static uint64_t send_due(uint64_t begin_ns, uint64_t *sent)
{
	static size_t at;
	double gap_ns = 1e9 / config.rate;

	for (;;) {
		uint64_t due = begin_ns + (uint64_t)((double)*sent * gap_ns);
		size_t tries = 0;

		if (due > now_ns())
			return due;
		while (tries < config.connections && !run.clients[at % config.connections].is_idle) {
			at++;
			tries++;
		}
		if (tries == config.connections)
			return due;
		run.clients[at % config.connections].due_ns = due;
		client_request(&run.clients[at++ % config.connections]);
		++*sent;
	}
}

static void drive(uint64_t until_ns)
{
	struct epoll_event events[EVENTS];
	uint64_t begin_ns = now_ns(), sent = 0, now;

	while ((now = now_ns()) < until_ns) {
		uint64_t wake_ns = config.mode == MODE_LATENCY ? send_due(begin_ns, &sent) : until_ns;
		uint64_t wait_ns;
		struct timespec wait;
		int count;

		if (wake_ns > until_ns)
			wake_ns = until_ns;
		now = now_ns();
		/* All connections busy: what comes next is an answer. */
		wait_ns = wake_ns > now ? wake_ns - now : 1000000;
		wait = (struct timespec){(time_t)(wait_ns / 1000000000u), (long)(wait_ns % 1000000000u)};
		count = epoll_pwait2(epoll_fd, events, EVENTS, &wait, NULL);
		for (int i = 0; i < count; i++)
			client_handle(events[i].data.ptr);
	}
}

static uint32_t percentile(double part)
{
	uint64_t wanted = (uint64_t)((double)run.measured * part), seen = 0;
	uint32_t us = 0;

	for (seen = run.histogram[0]; seen <= wanted && seen < run.measured; seen += run.histogram[us])
		us++;
	return us;
}

static int measure(void)
{
	uint64_t answers, closed, begin_ns;
	double seconds;

	run.clients = calloc(config.connections, sizeof(*run.clients));
	run.histogram = calloc(HISTOGRAM_US, sizeof(*run.histogram));
	if (!run.clients || !run.histogram)
		load_die("calloc");
	for (size_t i = 0; i < config.connections; i++)
		client_open(&run.clients[i]);
	drive(now_ns() + (uint64_t)(config.warm_up * 1e9));
	run.is_measuring = true;
	answers = run.answers;
	closed = run.closed;
	begin_ns = now_ns();
	drive(begin_ns + (uint64_t)(config.seconds * 1e9));
	seconds = (double)(now_ns() - begin_ns) / 1e9;
	if (config.mode == MODE_LATENCY)
		printf("{\"p50\": %u, \"p99\": %u, \"p999\": %u, \"max\": %u, \"unit\": \"us\", \"failed\": %lu}\n",
		       percentile(0.5), percentile(0.99), percentile(0.999), percentile(1), (unsigned long)run.failed);
	else
		printf("{\"value\": %.1f, \"unit\": \"%s/s\", \"failed\": %lu}\n",
		       (double)(config.mode == MODE_CRR ? run.closed - closed : run.answers - answers) / seconds,
		       config.mode == MODE_CRR ? "connections" : "requests", (unsigned long)run.failed);
	return run.failed == 0 ? 0 : 1;
}

/* ---- usage ---- */

static int usage(void)
{
	fputs("usage: netload serve [--background] ADDR:PORT[-PORT] ...\n"
	      "       netload rr|crr|mix|latency --to ADDR:PORT[-PORT] [--from ADDR[+N]] [--connections N] [--seconds S]\n"
	      "               [--warm-up S] [--rate N] [--seed N]\n",
	      stderr);
	return 2;
}

static int run_server(int argc, char **argv)
{
	struct load_addrs at = {0};
	bool background = false;

	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--background") == 0)
			background = true;
		else
			load_parse_endpoints(argv[i], &at);
	}
	if (at.count == 0)
		return usage();
	serve_listen(&at);
	if (background)
		load_go_background();
	serve();
	return 0;
}

static bool parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"to", required_argument, NULL, 't'},	      {"from", required_argument, NULL, 'f'},
		{"connections", required_argument, NULL, 'c'}, {"seconds", required_argument, NULL, 's'},
		{"warm-up", required_argument, NULL, 'w'},     {"rate", required_argument, NULL, 'r'},
		{"seed", required_argument, NULL, 'e'},	      {NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 't': load_parse_endpoints(optarg, &config.to); break;
		case 'f': load_parse_hosts(optarg, &config.from); break;
		case 'c': config.connections = strtoul(optarg, NULL, 10); break;
		case 's': config.seconds = strtod(optarg, NULL); break;
		case 'w': config.warm_up = strtod(optarg, NULL); break;
		case 'r': config.rate = strtod(optarg, NULL); break;
		case 'e': config.seed = strtoul(optarg, NULL, 10); break;
		default: return false;
		}
	}
	return optind == argc && config.to.count > 0 && config.connections > 0 && config.rate > 0;
}

int main(int argc, char **argv)
{
	size_t mode = 0;

	while (mode < sizeof(mode_names) / sizeof(mode_names[0]) && (argc < 2 || strcmp(argv[1], mode_names[mode]) != 0))
		mode++;
	if (mode == sizeof(mode_names) / sizeof(mode_names[0]))
		return usage();
	signal(SIGPIPE, SIG_IGN);
	load_raise_files();
	config.mode = (enum mode)mode;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (config.mode == MODE_SERVE)
		return run_server(argc, argv);
	if (!parse_options(argc - 1, argv + 1))
		return usage();
	return measure();
}
