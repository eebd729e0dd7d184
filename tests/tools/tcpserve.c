/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tcpserve: the tests' server. It listens on any number of addresses and ports, answers
 * requests (load.h) on thousands of connections at once, and closes first when asked to, so
 * that it is its kernel that holds TIME_WAIT.
 *
 *   tcpserve [--background] ADDR:PORT[-PORT] ...
 *
 * --background: exits when it listens everywhere; the pid of the serving child is printed.
 */
#include <fcntl.h>
#include <getopt.h>
#include <sys/epoll.h>

#include "load.h"

struct connection {
	int fd;
	bool listener;
	uint32_t events; /* that epoll waits for */
	size_t request_len;
	struct load_request request;
	bool active; /* a whole request is here and not yet served */
	uint64_t received, sent;
	uint64_t hash;
	size_t report_sent;
};

static int epoll_fd;

static void connection_close(struct connection *conn)
{
	close(conn->fd);
	free(conn);
}

static void connection_want(struct connection *conn, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = conn};

	if (conn->events == events)
		return;
	if (epoll_ctl(epoll_fd, conn->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, conn->fd, &event) < 0)
		load_die("epoll_ctl");
	conn->events = events;
}

static void connection_accept(struct connection *listener)
{
	for (;;) {
		struct connection *conn;
		int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;

		if (fd < 0)
			return; /* none left, or gone again */
		conn = calloc(1, sizeof(*conn));
		if (!conn)
			load_die("calloc");
		conn->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		connection_want(conn, EPOLLIN);
	}
}

/* Reads what is there. Returns false when the connection is over. */
static bool connection_read(struct connection *conn)
{
	static uint8_t chunk[LOAD_CHUNK];

	while (!conn->active) {
		ssize_t n = read(conn->fd, (uint8_t *)&conn->request + conn->request_len,
				 sizeof(conn->request) - conn->request_len);

		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		conn->request_len += (size_t)n;
		if (conn->request_len < sizeof(conn->request))
			continue;
		if (conn->request.magic != LOAD_MAGIC)
			return false;
		conn->active = true;
		conn->received = conn->sent = 0;
		conn->hash = LOAD_HASH_START;
		conn->report_sent = 0;
	}
	while (conn->received < conn->request.up) {
		uint64_t left = conn->request.up - conn->received;
		ssize_t n = read(conn->fd, chunk, left < sizeof(chunk) ? (size_t)left : sizeof(chunk));

		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		conn->hash = load_hash(conn->hash, chunk, (size_t)n);
		conn->received += (uint64_t)n;
	}
	return true;
}

/* Sends what can be sent. Returns false when the connection is over. */
static bool connection_write(struct connection *conn)
{
	static uint8_t chunk[LOAD_CHUNK];
	struct load_report report = {.received = conn->received, .hash = conn->hash};

	while (conn->sent < conn->request.down) {
		uint64_t left = conn->request.down - conn->sent;
		size_t len = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);
		ssize_t n;

		load_fill(conn->request.seed, conn->sent, chunk, len);
		n = send(conn->fd, chunk, len, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN;
		conn->sent += (uint64_t)n;
	}
	if (conn->received < conn->request.up)
		return true;
	while (conn->report_sent < sizeof(report)) {
		ssize_t n = send(conn->fd, (uint8_t *)&report + conn->report_sent,
				 sizeof(report) - conn->report_sent, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN;
		conn->report_sent += (size_t)n;
	}
	conn->active = false;
	conn->request_len = 0;
	return conn->request.closer != LOAD_SERVER_CLOSES;
}

static void connection_serve(struct connection *conn)
{
	if (!connection_read(conn) || (conn->active && !connection_write(conn))) {
		connection_close(conn);
		return;
	}
	/* Nothing is read ahead: with all of the request here, the next waits in the socket. */
	if (!conn->active)
		connection_want(conn, EPOLLIN);
	else if (conn->received == conn->request.up)
		connection_want(conn, EPOLLOUT);
	else
		connection_want(conn, conn->sent < conn->request.down ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void listen_on(const struct load_addr *addr)
{
	struct connection *conn = calloc(1, sizeof(*conn));
	char text[96];
	int one = 1;

	if (!conn)
		load_die("calloc");
	conn->listener = true;
	conn->fd = socket(addr->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		load_die("socket");
	setsockopt(conn->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (addr->ss.ss_family == AF_INET6)
		setsockopt(conn->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(conn->fd, (const struct sockaddr *)&addr->ss, addr->len) < 0 || listen(conn->fd, 4096) < 0)
		load_die(load_format(addr, text, sizeof(text)));
	connection_want(conn, EPOLLIN);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"background", no_argument, NULL, 'b'}, {NULL, 0, NULL, 0}};
	struct load_addrs addrs = {0};
	bool background = false;

	for (int c; (c = getopt_long(argc, argv, "b", options, NULL)) != -1;) {
		if (c != 'b')
			return 2;
		background = true;
	}
	while (optind < argc)
		load_parse_endpoints(argv[optind++], &addrs);
	if (addrs.count == 0) {
		fprintf(stderr, "usage: tcpserve [--background] ADDR:PORT[-PORT] ...\n");
		return 2;
	}
	load_raise_files();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		load_die("epoll_create1");
	for (size_t i = 0; i < addrs.count; i++)
		listen_on(&addrs.addr[i]);
	if (background)
		load_go_background();
	for (;;) {
		struct epoll_event events[64];
		int n = epoll_wait(epoll_fd, events, 64, -1);

		if (n < 0 && errno != EINTR)
			load_die("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct connection *conn = events[i].data.ptr;

			if (conn->listener)
				connection_accept(conn);
			else
				connection_serve(conn);
		}
	}
}
