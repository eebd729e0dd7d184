/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * fakecontrol SOCKET answer FILE   sends FILE to every client and closes, as pawsd does
 * fakecontrol SOCKET drip FILE     the same at a byte each 100 ms
 * fakecontrol SOCKET stuck         takes connections and never answers
 * fakecontrol SOCKET full          lets connections wait: the backlog is full
 *
 * A stand-in for pawsd's control socket. The socket appears under its name when it listens.
 * Each request line goes to stdout. Ends after two minutes at the latest.
 */

enum {
	LIFETIME_S = 120,
	CLIENTS_MAX = 64,
	DRIP_US = 100000,
};

__attribute__((noreturn)) static void fail(const char *what)
{
	fprintf(stderr, "fakecontrol: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if ((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		fail(path);
	}
	return address;
}

/* Bound under another name first: whoever sees the socket can connect to it. */
static int listen_at(const char *path, int backlog)
{
	char hidden[128];
	struct sockaddr_un address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(hidden, sizeof(hidden), "%s.new", path);
	address = address_of(hidden);
	unlink(hidden);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, backlog))
		fail(hidden);
	return fd;
}

static void show_at(const char *path)
{
	char hidden[128];

	snprintf(hidden, sizeof(hidden), "%s.new", path);
	if (rename(hidden, path))
		fail(path);
}

static void fill_backlog(const char *path)
{
	char hidden[128];
	struct sockaddr_un address;

	snprintf(hidden, sizeof(hidden), "%s.new", path);
	address = address_of(hidden);
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (fd < 0)
			fail("socket");
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
			return; /* EAGAIN: full; the others stay open until we end */
	}
}

static char *read_file(const char *path, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat info;
	char *text;

	if (fd < 0 || fstat(fd, &info))
		fail(path);
	*ret_len = (size_t)info.st_size;
	text = malloc(*ret_len + 1);
	if (!text || read(fd, text, *ret_len) != info.st_size)
		fail(path);
	close(fd);
	return text;
}

static void read_request(int fd)
{
	char request[64];
	ssize_t n = read(fd, request, sizeof(request) - 1);

	if (n > 0) {
		request[n] = '\0';
		fputs(request, stdout);
		fflush(stdout);
	}
}

static void send_text(int fd, const char *text, size_t len, bool drip)
{
	while (len > 0) {
		ssize_t n = send(fd, text, drip ? 1 : len, MSG_NOSIGNAL);

		if (n < 0)
			return; /* the client has had enough */
		text += n;
		len -= (size_t)n;
		if (drip)
			usleep(DRIP_US);
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[2] : "";
	bool full = strcmp(mode, "full") == 0, stuck = strcmp(mode, "stuck") == 0, drip = strcmp(mode, "drip") == 0;
	char *text = NULL;
	size_t len = 0;
	int listener;

	if (!(argc == 3 && (full || stuck)) && !(argc == 4 && (drip || strcmp(mode, "answer") == 0))) {
		fprintf(stderr, "usage: fakecontrol SOCKET answer FILE | drip FILE | stuck | full\n");
		return 2;
	}
	alarm(LIFETIME_S);
	if (argc == 4)
		text = read_file(argv[3], &len);
	listener = listen_at(argv[1], full ? 0 : CLIENTS_MAX);
	if (full)
		fill_backlog(argv[1]);
	show_at(argv[1]);
	for (;;) {
		int fd;

		if (full)
			pause();
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			fail("accept");
		read_request(fd);
		if (stuck)
			continue; /* and leave it open */
		send_text(fd, text, len, drip);
		close(fd);
	}
}
