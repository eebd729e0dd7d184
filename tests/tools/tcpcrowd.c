/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tcpcrowd: many connections at once to tcpserves, each with rounds of content in both directions, verified by their
 * hashes at either end.
 *
 *   tcpcrowd --from ADDR+N --to ADDR:PORT-PORT... --connections N [--source-port PORT] [--up BYTES] [--down BYTES]
 *            [--gap-ms N] [--started FILE] [--stall-ms N] [--seconds N] [--abort] [--lost FILE]
 *
 * Connection i comes from the i-th --from address, from port PORT + i if one is given. Rounds of a connection are --gap-ms
 * apart. It goes on until SIGTERM or SIGINT, or --seconds are over; the rounds at hand are finished, and connections
 * closed, with --abort by a RST. --started: that file is made when each connection has done its first round. Prints one
 * line:
 * `broken` connections were refused, reset, closed or still for 60 s; `stalled` ones had nothing move for longer than
 * --stall-ms in a round, the longest time of all is stall_ms. --lost: a line is added to that file for each one that
 * broke, or whose content was wrong: the time of day in ms, client, server, rounds done before, why. Exit status: 0 all
 * content is right and nothing broken.
 */
#include "load.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>

enum {
	CHUNK = 16384,
	BROKEN_MS = 60000,
	EVENTS = 256,
	LOOK_MS = 20,
};

static struct {
	struct load_addrs from, to;
	size_t connections;
	uint64_t up, down;
	double gap_ms, stall_ms, seconds;
	bool abort;
	const char *started;
	uint16_t source_port;
	FILE *lost;
} config = {.connections = 1, .up = 10000, .down = 10000, .gap_ms = 100, .stall_ms = 3000};

struct conn {
	int fd; /* -1: broken or done */
	const struct load_addr *to;
	bool is_resting, wants_write, has_stalled;
	uint64_t rounds;
	double moved_ms, next_ms;
	struct load_request request;
	size_t request_sent;
	uint64_t sent, received, hash;
	struct load_report report;
};

static struct {
	uint64_t rounds, bad, broken, stalled, first_rounds;
	double stall_ms;
} result;

static int epoll;
static size_t open_count;
static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static void note_lost(const struct conn *conn, const char *why)
{
	struct load_addr local = {.len = sizeof(local.ss)};
	char from[96] = "-", to[96];

	if (!config.lost)
		return;
	if (getsockname(conn->fd, (struct sockaddr *)&local.ss, &local.len) == 0)
		load_format(&local, from, sizeof(from));
	fprintf(config.lost, "%.0f %s %s %llu %s\n", load_time_of_day_ms(), from, load_format(conn->to, to, sizeof(to)),
		(unsigned long long)conn->rounds, why);
	fflush(config.lost);
}

/* `why` it broke, or NULL. */
static void conn_close(struct conn *conn, const char *why)
{
	const struct linger at_once = {.l_onoff = 1};

	if (why) {
		note_lost(conn, why);
		result.broken++;
	}
	if (config.abort)
		setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(conn->fd);
	conn->fd = -1;
	open_count--;
}

static void conn_watch(struct conn *conn, int operation)
{
	struct epoll_event event = {.events = EPOLLIN | (conn->wants_write ? EPOLLOUT : 0u), .data.ptr = conn};

	if (epoll_ctl(epoll, operation, conn->fd, &event) < 0)
		load_die("epoll_ctl");
}

static void conn_begin_round(struct conn *conn, size_t index)
{
	conn->request = (struct load_request){.magic = LOAD_MAGIC, .up = config.up, .down = config.down,
					      .seed = index * 0x9e3779b97f4a7c15u + conn->rounds + 1};
	conn->request_sent = 0;
	conn->sent = conn->received = 0;
	conn->hash = LOAD_HASH_START;
	conn->is_resting = false;
	conn->wants_write = true;
	conn->moved_ms = load_now_ms();
	conn_watch(conn, EPOLL_CTL_MOD);
}

static void conn_open(struct conn *conn, size_t index)
{
	const struct load_addr *to = &config.to.addr[index % config.to.count];
	int one = 1;

	*conn = (struct conn){.fd = socket(to->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), .to = to};
	if (conn->fd < 0)
		load_die("socket");
	if (config.from.count > 0) {
		struct load_addr from = config.from.addr[index % config.from.count];

		if (config.source_port) {
			load_set_port(&from, (uint16_t)(config.source_port + index));
			setsockopt(conn->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		} else {
			setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		}
		if (bind(conn->fd, (const struct sockaddr *)&from.ss, from.len) < 0)
			load_die("bind");
	}
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	open_count++;
	if (connect(conn->fd, (const struct sockaddr *)&to->ss, to->len) < 0 && errno != EINPROGRESS) {
		conn_close(conn, strerror(errno));
		return;
	}
	conn->wants_write = true;
	conn_watch(conn, EPOLL_CTL_ADD);
	conn_begin_round(conn, index);
}

static void conn_note_moved(struct conn *conn, double now_ms)
{
	double stall_ms = now_ms - conn->moved_ms;

	if (stall_ms > result.stall_ms)
		result.stall_ms = stall_ms;
	if (stall_ms > config.stall_ms && !conn->has_stalled) {
		conn->has_stalled = true;
		result.stalled++;
	}
}

/* Returns how many bytes went, 0 for none now, -1 for an error. */
static ssize_t conn_write(struct conn *conn)
{
	static uint8_t chunk[CHUNK];
	uint64_t left = conn->request.up - conn->sent;
	ssize_t n;

	if (conn->request_sent < sizeof(conn->request)) {
		n = send(conn->fd, (uint8_t *)&conn->request + conn->request_sent,
			 sizeof(conn->request) - conn->request_sent, MSG_NOSIGNAL);
		conn->request_sent += n > 0 ? (size_t)n : 0;
	} else {
		size_t len = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);

		load_fill(conn->request.seed, conn->sent, chunk, len);
		n = send(conn->fd, chunk, len, MSG_NOSIGNAL);
		conn->sent += n > 0 ? (uint64_t)n : 0;
	}
	if (conn->request_sent == sizeof(conn->request) && conn->sent == conn->request.up) {
		conn->wants_write = false;
		conn_watch(conn, EPOLL_CTL_MOD);
	}
	return n < 0 && (errno == EAGAIN || errno == EINPROGRESS || errno == ENOTCONN) ? 0 : n;
}

static ssize_t conn_read(struct conn *conn)
{
	static uint8_t chunk[CHUNK];
	uint64_t left = conn->request.down + sizeof(conn->report) - conn->received, content;
	ssize_t n = read(conn->fd, chunk, left < sizeof(chunk) ? (size_t)left : sizeof(chunk));

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == ENOTCONN) ? 0 : -1;
	content = conn->received < conn->request.down ? conn->request.down - conn->received : 0;
	if (content > (uint64_t)n)
		content = (uint64_t)n;
	conn->hash = load_hash(conn->hash, chunk, content);
	conn->received += content;
	if ((uint64_t)n > content) {
		memcpy((uint8_t *)&conn->report + (conn->received - conn->request.down), chunk + content,
		       (size_t)n - content);
		conn->received += (uint64_t)n - content;
	}
	return n;
}

static void conn_end_round(struct conn *conn)
{
	conn->rounds++;
	result.rounds++;
	result.first_rounds += conn->rounds == 1;
	if (conn->hash != load_stream_hash(conn->request.seed, conn->request.down) ||
	    conn->report.received != conn->request.up ||
	    conn->report.hash != load_stream_hash(conn->request.seed, conn->request.up)) {
		note_lost(conn, "wrong content");
		result.bad++;
	}
	conn->is_resting = true;
	conn->next_ms = load_now_ms() + config.gap_ms;
}

static void conn_handle(struct conn *conn, uint32_t events)
{
	double now_ms = load_now_ms();
	ssize_t in = 0, out = 0;

	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		in = conn->is_resting ? -1 : conn_read(conn);
	if (in >= 0 && (events & EPOLLOUT) && conn->wants_write)
		out = conn_write(conn);
	if (in < 0 || out < 0) {
		conn_close(conn, conn->is_resting ? "closed between rounds" : "closed or reset");
		return;
	}
	if (in == 0 && out == 0)
		return;
	conn_note_moved(conn, now_ms);
	conn->moved_ms = now_ms;
	if (!conn->wants_write && conn->received == conn->request.down + sizeof(conn->report))
		conn_end_round(conn);
}

/* What is due by time: the next round, or the end. */
static void conn_look(struct conn *conn, size_t index, double now_ms, bool is_over)
{
	if (conn->fd < 0)
		return;
	if (!conn->is_resting) {
		conn_note_moved(conn, now_ms);
		if (now_ms - conn->moved_ms > BROKEN_MS)
			conn_close(conn, "still for 60 s");
	} else if (is_over) {
		conn_close(conn, NULL);
	} else if (now_ms >= conn->next_ms) {
		conn_begin_round(conn, index);
	}
}

static void make_file(const char *path)
{
	FILE *file = path ? fopen(path, "w") : NULL;

	if (file)
		fclose(file);
}

static void run(struct conn *conns)
{
	struct epoll_event events[EVENTS];
	double begun_ms = load_now_ms(), looked_ms = 0, now_ms;
	bool has_started = false;

	for (size_t i = 0; i < config.connections; i++)
		conn_open(&conns[i], i);
	while (open_count > 0) {
		int count = epoll_wait(epoll, events, EVENTS, LOOK_MS);

		for (int i = 0; i < count; i++) {
			struct conn *conn = events[i].data.ptr;

			if (conn->fd >= 0)
				conn_handle(conn, events[i].events);
		}
		if (!has_started && result.first_rounds == config.connections) {
			has_started = true;
			make_file(config.started);
		}
		now_ms = load_now_ms();
		if (now_ms - looked_ms < LOOK_MS / 2)
			continue;
		looked_ms = now_ms;
		for (size_t i = 0; i < config.connections; i++)
			conn_look(&conns[i], i, now_ms,
				  stopped || (config.seconds > 0 && now_ms - begun_ms > config.seconds * 1e3));
	}
}

static bool config_set(int option, const char *value)
{
	switch (option) {
	case 'f': load_parse_hosts(value, &config.from); return true;
	case 't': load_parse_endpoints(value, &config.to); return true;
	case 'n': config.connections = strtoul(value, NULL, 10); return true;
	case 'u': config.up = strtoull(value, NULL, 10); return true;
	case 'd': config.down = strtoull(value, NULL, 10); return true;
	case 'g': config.gap_ms = atof(value); return true;
	case 'l': config.stall_ms = atof(value); return true;
	case 'e': config.seconds = atof(value); return true;
	case 's': config.started = value; return true;
	case 'a': config.abort = true; return true;
	case 'p': config.source_port = (uint16_t)atoi(value); return true;
	case 'L': config.lost = fopen(value, "a"); return config.lost != NULL;
	default: return false;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"from", required_argument, NULL, 'f'},	   {"to", required_argument, NULL, 't'},
		{"connections", required_argument, NULL, 'n'}, {"up", required_argument, NULL, 'u'},
		{"down", required_argument, NULL, 'd'},	   {"gap-ms", required_argument, NULL, 'g'},
		{"stall-ms", required_argument, NULL, 'l'}, {"seconds", required_argument, NULL, 'e'},
		{"started", required_argument, NULL, 's'}, {"source-port", required_argument, NULL, 'p'},
		{"lost", required_argument, NULL, 'L'},	   {"abort", no_argument, NULL, 'a'},
		{NULL, 0, NULL, 0},
	};
	struct sigaction action = {.sa_handler = on_signal};
	struct conn *conns;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
		if (!config_set(c, optarg))
			return 2;
	conns = calloc(config.connections, sizeof(*conns));
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (config.to.count == 0 || !conns || epoll < 0) {
		fprintf(stderr, "usage: tcpcrowd --to ADDR:PORT ... (see the head of tcpcrowd.c)\n");
		return 2;
	}
	load_raise_files();
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	run(conns);
	printf("connections=%zu rounds=%llu bad=%llu broken=%llu stalled=%llu stall_ms=%.1f\n", config.connections,
	       (unsigned long long)result.rounds, (unsigned long long)result.bad, (unsigned long long)result.broken,
	       (unsigned long long)result.stalled, result.stall_ms);
	free(conns);
	return result.bad || result.broken || result.rounds == 0;
}
