/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tcpbulk: bulk content in both directions at once over one connection to a tcpserve, in rounds,
 * each verified by its hash at either end.
 *
 *   tcpbulk --to ADDR:PORT [--from ADDR] [--up BYTES] [--down BYTES] [--rounds N | --loop]
 *           [--gap-ms N] [--started FILE] [--idle-ms N]
 *
 * --loop: rounds until SIGTERM or SIGINT; the round at hand is finished. --started: that file is
 * made when the first round is done. --idle-ms: gives up when nothing moves for so long. Prints
 * one line; stall_ms is the longest time in a round in which nothing moved. Exit status: 0 all
 * content is right, 1 it is not or the connection failed.
 */
#include "load.h"

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>

static struct {
	struct load_addrs from, to;
	uint64_t up, down, rounds;
	bool loop;
	long gap_ms;
	double idle_ms;
	const char *started;
} config = {.up = 1 << 20, .down = 1 << 20, .rounds = 1, .idle_ms = 10000};

static struct {
	uint64_t rounds, up, down, bad;
	double stall_ms, begun_ms;
	const char *failure;
} result;

struct transfer {
	struct load_request request;
	size_t request_sent;
	uint64_t sent, received;
	uint64_t hash;
	struct load_report report;
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static bool transfer_want_write(const struct transfer *t)
{
	return t->request_sent < sizeof(t->request) || t->sent < t->request.up;
}

/* Both return how many bytes moved, or -1. */
static ssize_t transfer_write(struct transfer *t, int fd)
{
	static uint8_t chunk[LOAD_CHUNK];
	ssize_t n;

	if (t->request_sent < sizeof(t->request)) {
		n = send(fd, (uint8_t *)&t->request + t->request_sent, sizeof(t->request) - t->request_sent,
			 MSG_NOSIGNAL);
		t->request_sent += n > 0 ? (size_t)n : 0;
	} else {
		size_t len = t->request.up - t->sent < sizeof(chunk) ? (size_t)(t->request.up - t->sent) : sizeof(chunk);

		load_fill(t->request.seed, t->sent, chunk, len);
		n = send(fd, chunk, len, MSG_NOSIGNAL);
		t->sent += n > 0 ? (uint64_t)n : 0;
	}
	return n < 0 && errno == EAGAIN ? 0 : n;
}

static ssize_t transfer_read(struct transfer *t, int fd)
{
	static uint8_t chunk[LOAD_CHUNK];
	uint64_t left = t->request.down + sizeof(t->report) - t->received;
	ssize_t n = read(fd, chunk, left < sizeof(chunk) ? (size_t)left : sizeof(chunk));
	uint64_t content;

	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -1;
	content = t->request.down - t->received;
	if (t->received >= t->request.down)
		content = 0;
	if (content > (uint64_t)n)
		content = (uint64_t)n;
	t->hash = load_hash(t->hash, chunk, content);
	t->received += content;
	if ((uint64_t)n > content) {
		memcpy((uint8_t *)&t->report + (t->received - t->request.down), chunk + content, (size_t)n - content);
		t->received += (uint64_t)n - content;
	}
	return n;
}

/* One round. False: the connection is over; result.failure says why. */
static bool run_round(int fd)
{
	struct transfer t = {.request = {.magic = LOAD_MAGIC, .up = config.up, .down = config.down,
					 .seed = result.rounds * 0x9e3779b9u + 7}, .hash = LOAD_HASH_START};
	double moved_ms = load_now_ms();

	while (transfer_want_write(&t) || t.received < t.request.down + sizeof(t.report)) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t in = 0, out = 0;
		double now_ms;

		if (transfer_want_write(&t))
			p.events = (short)(p.events | POLLOUT);
		if (poll(&p, 1, 100) > 0) {
			in = p.revents & (POLLIN | POLLERR | POLLHUP) ? transfer_read(&t, fd) : 0;
			out = p.revents & POLLOUT ? transfer_write(&t, fd) : 0;
		}
		now_ms = load_now_ms();
		if (now_ms - moved_ms > result.stall_ms)
			result.stall_ms = now_ms - moved_ms;
		if (in < 0 || out < 0) {
			result.failure = "connection_lost";
			return false;
		}
		if (in > 0 || out > 0)
			moved_ms = now_ms;
		if (now_ms - moved_ms > config.idle_ms) {
			result.failure = "stalled";
			return false;
		}
	}
	result.rounds++;
	result.up += t.request.up;
	result.down += t.request.down;
	if (t.hash != load_stream_hash(t.request.seed, t.request.down) || t.report.received != t.request.up ||
	    t.report.hash != load_stream_hash(t.request.seed, t.request.up))
		result.bad++;
	return true;
}

static int connect_to(void)
{
	const struct load_addr *to = &config.to.addr[0];
	int fd = socket(to->ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		load_die("socket");
	if (config.from.count > 0 &&
	    bind(fd, (const struct sockaddr *)&config.from.addr[0].ss, config.from.addr[0].len) < 0)
		load_die("bind");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (const struct sockaddr *)&to->ss, to->len) < 0) {
		result.failure = "connect_failed";
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void run(void)
{
	const struct timespec gap = {.tv_sec = config.gap_ms / 1000, .tv_nsec = config.gap_ms % 1000 * 1000000};
	int fd = connect_to();

	while (fd >= 0 && (config.loop ? !stopped : result.rounds < config.rounds)) {
		if (!run_round(fd))
			break;
		if (result.rounds == 1 && config.started) {
			FILE *file = fopen(config.started, "w");

			if (file)
				fclose(file);
		}
		if (config.gap_ms > 0)
			nanosleep(&gap, NULL);
	}
	if (fd >= 0)
		close(fd);
}

static bool config_set(int option, const char *value)
{
	switch (option) {
	case 'f': load_parse_hosts(value, &config.from); return true;
	case 't': load_parse_endpoints(value, &config.to); return true;
	case 'u': config.up = strtoull(value, NULL, 10); return true;
	case 'd': config.down = strtoull(value, NULL, 10); return true;
	case 'r': config.rounds = strtoull(value, NULL, 10); return true;
	case 'l': config.loop = true; return true;
	case 'g': config.gap_ms = atol(value); return true;
	case 'i': config.idle_ms = atof(value); return true;
	case 's': config.started = value; return true;
	default: return false;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"from", required_argument, NULL, 'f'},	  {"to", required_argument, NULL, 't'},
		{"up", required_argument, NULL, 'u'},	  {"down", required_argument, NULL, 'd'},
		{"rounds", required_argument, NULL, 'r'}, {"loop", no_argument, NULL, 'l'},
		{"gap-ms", required_argument, NULL, 'g'}, {"idle-ms", required_argument, NULL, 'i'},
		{"started", required_argument, NULL, 's'}, {NULL, 0, NULL, 0},
	};
	struct sigaction action = {.sa_handler = on_signal};

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
		if (!config_set(c, optarg))
			return 2;
	if (config.to.count == 0) {
		fprintf(stderr, "usage: tcpbulk --to ADDR:PORT ... (see the head of tcpbulk.c)\n");
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	result.begun_ms = load_now_ms();
	run();
	printf("rounds=%llu up=%llu down=%llu bad=%llu stall_ms=%.1f seconds=%.3f failure=%s\n",
	       (unsigned long long)result.rounds, (unsigned long long)result.up, (unsigned long long)result.down,
	       (unsigned long long)result.bad, result.stall_ms, (load_now_ms() - result.begun_ms) / 1e3,
	       result.failure ? result.failure : "none");
	return result.failure || result.bad > 0 || result.rounds == 0;
}
