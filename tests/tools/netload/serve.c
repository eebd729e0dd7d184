/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netload.h"

struct peer {
	int fd;
	bool is_listener, waits_for_room;
	size_t request_len;
	struct netload_request request;
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
		size_t len = peer->to_send < sizeof(netload_buffer) ? (size_t)peer->to_send : sizeof(netload_buffer);
		ssize_t n = send(peer->fd, netload_buffer, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			if (!peer->waits_for_room)
				netload_watch(EPOLL_CTL_MOD, peer->fd, EPOLLOUT, peer);
			peer->waits_for_room = true;
			return true;
		}
		if (n < 0)
			return false;
		peer->to_send -= (uint64_t)n;
	}
	if (peer->waits_for_room)
		netload_watch(EPOLL_CTL_MOD, peer->fd, EPOLLIN, peer);
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
		netload_switch_on(fd, IPPROTO_TCP, TCP_NODELAY);
		netload_watch(EPOLL_CTL_ADD, fd, EPOLLIN, peer);
	}
}

const int *netload_listen(const struct load_addrs *at)
{
	int *listening = calloc(at->count, sizeof(*listening));

	if (!listening)
		load_die("calloc");
	for (size_t i = 0; i < at->count; i++) {
		int fd = socket(at->addr[i].ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);

		netload_switch_on(fd, SOL_SOCKET, SO_REUSEADDR);
		if (fd < 0 || bind(fd, (const struct sockaddr *)&at->addr[i].ss, at->addr[i].len) < 0 ||
		    listen(fd, 4096) < 0)
			load_die("listen");
		listening[i] = fd;
	}
	return listening;
}

static void watch_listener(int fd)
{
	struct peer *listener = calloc(1, sizeof(*listener));

	if (!listener)
		load_die("calloc");
	*listener = (struct peer){.fd = fd, .is_listener = true};
	netload_watch(EPOLL_CTL_ADD, fd, EPOLLIN, listener);
}

void netload_serve(const int *listening, size_t count, size_t loop, size_t loops)
{
	struct epoll_event events[NETLOAD_EVENTS];

	for (size_t i = loop; i < count; i += loops)
		watch_listener(listening[i]);
	for (;;) {
		int ready = epoll_wait(netload_epoll, events, NETLOAD_EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			struct peer *peer = events[i].data.ptr;

			if (peer->is_listener)
				serve_accept(peer);
			else if (!(events[i].events & EPOLLOUT ? peer_send(peer) : peer_receive(peer)))
				peer_close(peer);
		}
	}
}
