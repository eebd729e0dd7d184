/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tcpload: makes real TCP connections to a tcpserve and measures how they come about.
 *
 *   tcpload --to ADDR:PORT[-PORT] [--from ADDR[+N]] [--source-port PORT] [--count N | --loop]
 *           [--concurrency N] [--timeout-ms N] [--gap-ms N] [--bytes N] [--close server|client]
 *           [--json] [--log FILE] [--lost FILE]
 *
 * Attempt i goes from the i-th --from address to the i-th --to endpoint, both round and round; from port PORT + i, so that
 * behind a NAT that keeps ports no two have the same four-tuple, or from one that the kernel chooses.
 * An attempt is ok when connect() succeeds within the time-out and the answer's content is
 * right. second_syn counts the ok ones for which one SYN was not enough, by the socket's own
 * count of retransmissions (tcpi_total_retrans) right after connect(). The times are those of
 * connect(), p99_ms the one that 99 of 100 stay within; an attempt that failed counts with the time after which it was
 * given up.
 * --log: a line for each attempt. --lost: a line is added to that file for each that failed: the time of day in ms,
 * client, server, ms it took, why. --loop goes on until SIGTERM or SIGINT. Exit status: 0 all ok, 1 not all, 2 usage.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>

#include "load.h"

enum attempt_state {
	ATTEMPT_FREE,
	ATTEMPT_CONNECTING,
	ATTEMPT_READING,
};

struct attempt {
	enum attempt_state state;
	int fd;
	uint64_t number;
	double begun_ms, connect_ms;
	uint32_t retransmits;
	uint64_t seed, received, hash;
	struct load_report report;
};

static struct {
	struct load_addrs from, to;
	uint16_t source_port;
	uint64_t count;
	size_t concurrency;
	double timeout_ms, gap_ms;
	uint64_t bytes;
	uint32_t closer;
	bool loop, json;
	FILE *log, *lost;
} config = {.count = 1, .concurrency = 16, .timeout_ms = 4000, .bytes = 200, .closer = LOAD_SERVER_CLOSES};

static struct {
	uint64_t attempts, ok, second_syn, timed_out, refused, bad_content;
	double *times_ms;
	size_t times_room;
} result;

static volatile sig_atomic_t stopped;
static int epoll_fd;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static void result_add_time(double ms)
{
	if (result.attempts == result.times_room) {
		result.times_room = result.times_room ? 2 * result.times_room : 1024;
		result.times_ms = realloc(result.times_ms, result.times_room * sizeof(*result.times_ms));
		if (!result.times_ms)
			load_die("realloc");
	}
	result.times_ms[result.attempts++] = ms;
}

static void attempt_end(struct attempt *attempt, const char *failure)
{
	char from[96] = "-", to[96];
	struct load_addr local = {.len = sizeof(local.ss)};

	if (attempt->connect_ms < 0)
		attempt->connect_ms = load_now_ms() - attempt->begun_ms;
	result_add_time(attempt->connect_ms);
	if (!failure) {
		result.ok++;
		result.second_syn += attempt->retransmits > 0;
	}
	if (config.log || (failure && config.lost)) {
		if (getsockname(attempt->fd, (struct sockaddr *)&local.ss, &local.len) == 0)
			load_format(&local, from, sizeof(from));
		load_format(&config.to.addr[attempt->number % config.to.count], to, sizeof(to));
	}
	if (config.log)
		fprintf(config.log, "%llu %s %s %s %.3f ms, %u retransmits\n", (unsigned long long)attempt->number,
			from, to, failure ? failure : "ok", attempt->connect_ms, attempt->retransmits);
	if (failure && config.lost) {
		fprintf(config.lost, "%.0f %s %s %.0f %s\n", load_time_of_day_ms(), from, to, attempt->connect_ms, failure);
		fflush(config.lost);
	}
	close(attempt->fd);
	attempt->state = ATTEMPT_FREE;
}

static uint32_t socket_retransmits(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		load_die("TCP_INFO");
	return info.tcpi_total_retrans;
}

static void attempt_bind(const struct attempt *attempt, const struct load_addr *to)
{
	struct load_addr from = {0};
	int one = 1;

	if (config.from.count > 0) {
		from = config.from.addr[attempt->number % config.from.count];
	} else if (config.source_port) {
		from.ss.ss_family = to->ss.ss_family;
		from.len = to->len;
	} else {
		return;
	}
	if (config.source_port) {
		load_set_port(&from, (uint16_t)(config.source_port + attempt->number % (65536u - config.source_port)));
		setsockopt(attempt->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	} else {
		setsockopt(attempt->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	}
	if (bind(attempt->fd, (struct sockaddr *)&from.ss, from.len) < 0)
		load_die("bind");
}

static void attempt_begin(struct attempt *attempt, uint64_t number)
{
	const struct load_addr *to = &config.to.addr[number % config.to.count];
	struct epoll_event event = {.events = EPOLLOUT, .data.ptr = attempt};

	*attempt = (struct attempt){.state = ATTEMPT_CONNECTING, .number = number, .connect_ms = -1};
	attempt->fd = socket(to->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (attempt->fd < 0)
		load_die("socket");
	attempt_bind(attempt, to);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, attempt->fd, &event) < 0)
		load_die("epoll_ctl");
	attempt->begun_ms = load_now_ms();
	if (connect(attempt->fd, (const struct sockaddr *)&to->ss, to->len) < 0 && errno != EINPROGRESS) {
		result.refused++;
		attempt_end(attempt, strerror(errno));
	}
}

static void attempt_connected(struct attempt *attempt, double now_ms)
{
	struct load_request request = {.magic = LOAD_MAGIC, .closer = config.closer, .down = config.bytes};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = attempt};
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		result.refused++;
		attempt_end(attempt, strerror(error));
		return;
	}
	attempt->connect_ms = now_ms - attempt->begun_ms;
	attempt->retransmits = socket_retransmits(attempt->fd);
	attempt->seed = request.seed = attempt->number * 2654435761u + 1;
	attempt->hash = LOAD_HASH_START;
	attempt->state = ATTEMPT_READING;
	if (send(attempt->fd, &request, sizeof(request), MSG_NOSIGNAL) != (ssize_t)sizeof(request)) {
		result.refused++;
		attempt_end(attempt, "send failed");
		return;
	}
	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, attempt->fd, &event) < 0)
		load_die("epoll_ctl");
}

/* All `total` bytes are here, and the server's FIN where it was to close. */
static void attempt_finish(struct attempt *attempt)
{
	bool right = attempt->hash == load_stream_hash(attempt->seed, config.bytes) &&
		     attempt->report.received == 0 && attempt->report.hash == LOAD_HASH_START;

	if (!right)
		result.bad_content++;
	attempt_end(attempt, right ? NULL : "wrong content");
}

static void attempt_read(struct attempt *attempt)
{
	uint64_t total = config.bytes + sizeof(attempt->report);
	uint8_t chunk[4096];

	for (;;) {
		ssize_t n = read(attempt->fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 || (n == 0 && attempt->received != total) ||
		    attempt->received + (uint64_t)n > total) {
			result.bad_content++;
			attempt_end(attempt, n < 0 ? strerror(errno) : "wrong length");
			return;
		}
		for (ssize_t i = 0; i < n; i++, attempt->received++) {
			if (attempt->received < config.bytes)
				attempt->hash = load_hash(attempt->hash, chunk + i, 1);
			else
				((uint8_t *)&attempt->report)[attempt->received - config.bytes] = chunk[i];
		}
		if (n == 0 || (attempt->received == total && config.closer == LOAD_CLIENT_CLOSES)) {
			attempt_finish(attempt);
			return;
		}
	}
}

static void run(void)
{
	struct attempt *attempts = calloc(config.concurrency, sizeof(*attempts));
	uint64_t begun = 0;
	double next_ms = load_now_ms();

	if (!attempts)
		load_die("calloc");
	for (;;) {
		bool more = config.loop ? !stopped : begun < config.count;
		struct epoll_event events[64];
		double now_ms = load_now_ms(), wake_ms = now_ms + 1000;
		size_t active = 0;
		int n;

		for (size_t i = 0; i < config.concurrency; i++) {
			struct attempt *attempt = &attempts[i];

			if (attempt->state != ATTEMPT_FREE && now_ms >= attempt->begun_ms + config.timeout_ms) {
				result.timed_out++;
				attempt_end(attempt, "timed out");
			}
			if (attempt->state == ATTEMPT_FREE && more && now_ms >= next_ms) {
				attempt_begin(attempt, begun++);
				next_ms = now_ms + config.gap_ms;
				more = config.loop ? !stopped : begun < config.count;
			}
			if (attempt->state == ATTEMPT_FREE)
				continue;
			active++;
			if (attempt->begun_ms + config.timeout_ms < wake_ms)
				wake_ms = attempt->begun_ms + config.timeout_ms;
		}
		if (active == 0 && !more)
			break;
		if (more && active < config.concurrency && next_ms < wake_ms)
			wake_ms = next_ms;
		now_ms = load_now_ms();
		n = epoll_wait(epoll_fd, events, 64, wake_ms > now_ms ? (int)(wake_ms - now_ms) + 1 : 0);
		now_ms = load_now_ms();
		for (int i = 0; i < n; i++) {
			struct attempt *attempt = events[i].data.ptr;

			if (attempt->state == ATTEMPT_CONNECTING)
				attempt_connected(attempt, now_ms);
			else if (attempt->state == ATTEMPT_READING)
				attempt_read(attempt);
		}
	}
	free(attempts);
}

static int time_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void result_print(void)
{
	uint64_t n = result.attempts;
	double median = 0, p99 = 0, worst = 0;

	qsort(result.times_ms, n, sizeof(*result.times_ms), time_compare);
	if (n > 0) {
		median = (result.times_ms[(n - 1) / 2] + result.times_ms[n / 2]) / 2;
		p99 = result.times_ms[(n - 1) * 99 / 100];
		worst = result.times_ms[n - 1];
	}
	printf(config.json ? "{\"attempts\": %llu, \"ok\": %llu, \"second_syn\": %llu, \"median_ms\": %.3f, "
			     "\"p99_ms\": %.3f, \"worst_ms\": %.3f, \"timed_out\": %llu, \"refused\": %llu, \"bad_content\": %llu}\n"
			   : "attempts=%llu ok=%llu second_syn=%llu median_ms=%.3f p99_ms=%.3f worst_ms=%.3f "
			     "timed_out=%llu refused=%llu bad_content=%llu\n",
	       (unsigned long long)n, (unsigned long long)result.ok, (unsigned long long)result.second_syn, median,
	       p99, worst, (unsigned long long)result.timed_out, (unsigned long long)result.refused,
	       (unsigned long long)result.bad_content);
}

static const struct option options[] = {
	{"from", required_argument, NULL, 'f'},
	{"to", required_argument, NULL, 't'},
	{"source-port", required_argument, NULL, 'p'},
	{"count", required_argument, NULL, 'n'},
	{"loop", no_argument, NULL, 'l'},
	{"concurrency", required_argument, NULL, 'c'},
	{"timeout-ms", required_argument, NULL, 'T'},
	{"gap-ms", required_argument, NULL, 'g'},
	{"bytes", required_argument, NULL, 'b'},
	{"close", required_argument, NULL, 'C'},
	{"json", no_argument, NULL, 'j'},
	{"log", required_argument, NULL, 'L'},
	{"lost", required_argument, NULL, 'F'},
	{NULL, 0, NULL, 0},
};

static bool config_set(int option, const char *value)
{
	switch (option) {
	case 'f': load_parse_hosts(value, &config.from); return true;
	case 't': load_parse_endpoints(value, &config.to); return true;
	case 'p': config.source_port = (uint16_t)atoi(value); return true;
	case 'n': config.count = strtoull(value, NULL, 10); return true;
	case 'l': config.loop = true; return true;
	case 'c': config.concurrency = (size_t)atoi(value); return config.concurrency > 0;
	case 'T': config.timeout_ms = atof(value); return true;
	case 'g': config.gap_ms = atof(value); return true;
	case 'b': config.bytes = strtoull(value, NULL, 10); return true;
	case 'j': config.json = true; return true;
	case 'C':
		config.closer = strcmp(value, "server") == 0 ? LOAD_SERVER_CLOSES : LOAD_CLIENT_CLOSES;
		return true;
	case 'F':
		config.lost = fopen(value, "a");
		return config.lost != NULL;
	case 'L':
		config.log = fopen(value, "w");
		return config.log != NULL;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
		if (!config_set(c, optarg))
			return 2;
	if (config.to.count == 0 || optind < argc) {
		fprintf(stderr, "usage: tcpload --to ADDR:PORT ... (see the head of tcpload.c)\n");
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	load_raise_files();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		load_die("epoll_create1");
	run();
	result_print();
	return result.attempts > 0 && result.ok == result.attempts ? 0 : 1;
}
