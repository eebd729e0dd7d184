/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "snapshot.h"

#include "records.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/*
 * Fetches an answer from the control socket; snapshot_parse.c makes sense of it.
 *
 * The whole of it, from connect() to the last byte, has one deadline: neither a pawsd that
 * hangs nor one that sends a byte now and then can hold us up. The answer's size is bounded.
 */

enum {
	/* 1024 destinations with every reason and state at 20 digits need a third of it. */
	ANSWER_MAX_BYTES = 16 << 20,
	ANSWER_CHUNK_BYTES = 64 << 10,
};

struct fetch {
	const char *path;
	int fd;
	int timeout_ms;
	int64_t deadline_ms;
	char *text;
	size_t len, size;
	char *error;
	size_t error_size;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t fetch_left_ms(const struct fetch *fetch)
{
	int64_t left = fetch->deadline_ms - now_ms();

	return left > 0 ? left : 0;
}

static int fetch_fail_late(struct fetch *fetch)
{
	snprintf(fetch->error, fetch->error_size,
		 "pawsd did not answer on %s within %d ms: it hangs or is overloaded; see its log (journalctl -u pawsd)",
		 fetch->path, fetch->timeout_ms);
	return -1;
}

static int fetch_fail_connect(struct fetch *fetch, int error)
{
	if (error == EAGAIN || error == EINTR)
		return fetch_fail_late(fetch);
	if (error == ENOENT || error == ECONNREFUSED)
		snprintf(fetch->error, fetch->error_size,
			 "no pawsd answers on %s (%s): start it (systemctl start pawsd), or name its socket if it is another",
			 fetch->path, strerror(error));
	else if (error == EACCES || error == EPERM)
		snprintf(fetch->error, fetch->error_size,
			 "%s: %s: run this as root or as a member of the group that [control] group names", fetch->path,
			 strerror(error));
	else
		snprintf(fetch->error, fetch->error_size, "%s: cannot connect: %s", fetch->path, strerror(error));
	return -1;
}

/*
 * A unix socket whose backlog is full cannot be polled for room: connect() itself has to wait,
 * and SO_SNDTIMEO bounds that wait.
 */
static int fetch_connect(struct fetch *fetch)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(fetch->path) >= sizeof(address.sun_path)) {
		snprintf(fetch->error, fetch->error_size, "%s: a socket's path may have %zu bytes at most", fetch->path,
			 sizeof(address.sun_path) - 1);
		return -1;
	}
	strcpy(address.sun_path, fetch->path);
	for (;;) {
		int64_t left = fetch_left_ms(fetch);
		struct timeval wait = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};

		if (left == 0)
			return fetch_fail_late(fetch);
		if (setsockopt(fetch->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == 0 &&
		    connect(fetch->fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return 0;
		if (errno != EINTR)
			return fetch_fail_connect(fetch, errno);
	}
}

static int fetch_send(struct fetch *fetch, const char *request)
{
	char line[256];
	int len = snprintf(line, sizeof(line), "%s\n", request);

	/* A fresh socket has room for it. If pawsd has hung up already, its last words may say why. */
	if (send(fetch->fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) == len || errno == EPIPE)
		return 0;
	snprintf(fetch->error, fetch->error_size, "%s: cannot send: %s", fetch->path, strerror(errno));
	return -1;
}

/* Makes room for another chunk. */
static int fetch_grow(struct fetch *fetch)
{
	size_t size = fetch->size ? fetch->size * 2 : ANSWER_CHUNK_BYTES;
	char *text;

	if (fetch->size - fetch->len > 0)
		return 0;
	if (size > ANSWER_MAX_BYTES) {
		snprintf(fetch->error, fetch->error_size, "%s: the answer is longer than %d bytes: this is not pawsd",
			 fetch->path, ANSWER_MAX_BYTES);
		return -1;
	}
	text = realloc(fetch->text, size);
	if (!text) {
		snprintf(fetch->error, fetch->error_size, "%s: out of memory", fetch->path);
		return -1;
	}
	fetch->text = text;
	fetch->size = size;
	return 0;
}

static bool fetch_ended(const struct fetch *fetch)
{
	static const char end[] = "\nend\n";
	size_t len = sizeof(end) - 1;

	return fetch->len >= len && memcmp(fetch->text + fetch->len - len, end, len) == 0;
}

/* Reads until the last line, or until pawsd closes. */
static int fetch_receive(struct fetch *fetch)
{
	for (;;) {
		struct pollfd poll_fd = {.fd = fetch->fd, .events = POLLIN};
		int64_t left = fetch_left_ms(fetch);
		ssize_t n;

		if (left == 0)
			return fetch_fail_late(fetch);
		if (fetch_grow(fetch))
			return -1;
		if (poll(&poll_fd, 1, (int)left) < 0 && errno != EINTR)
			break;
		n = recv(fetch->fd, fetch->text + fetch->len, fetch->size - fetch->len, MSG_DONTWAIT);
		/* ECONNRESET: it closed without having read our request. */
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 0;
		if (n > 0)
			fetch->len += (size_t)n;
		if (n > 0 && fetch_ended(fetch))
			return 0;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			break;
	}
	snprintf(fetch->error, fetch->error_size, "%s: cannot read: %s", fetch->path, strerror(errno));
	return -1;
}

static int fetch_ask(struct fetch *fetch, const char *request)
{
	fetch->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fetch->fd < 0) {
		snprintf(fetch->error, fetch->error_size, "%s: cannot make a socket: %s", fetch->path, strerror(errno));
		return -1;
	}
	return fetch_connect(fetch) || fetch_send(fetch, request) ? -1 : 0;
}

static int fetch_all(struct fetch *fetch, const char *request)
{
	return fetch_ask(fetch, request) ? -1 : fetch_receive(fetch);
}

static struct fetch fetch_begin(const char *path, int timeout_ms, char *error, size_t error_size)
{
	return (struct fetch){.path = path,
			      .fd = -1,
			      .timeout_ms = timeout_ms,
			      .deadline_ms = now_ms() + timeout_ms,
			      .error = error,
			      .error_size = error_size};
}

static void fetch_end(struct fetch *fetch)
{
	free(fetch->text);
	if (fetch->fd >= 0)
		close(fetch->fd);
}

int snapshot_fetch(const char *path, const char *request, int timeout_ms, struct snapshot *ret, char *ret_error,
		   size_t error_size)
{
	struct fetch fetch = fetch_begin(path, timeout_ms, ret_error, error_size);
	char why[512];
	int result = -1;

	memset(ret, 0, sizeof(*ret));
	if (fetch_all(&fetch, request) == 0) {
		result = snapshot_parse(fetch.text, fetch.len, ret, why, sizeof(why));
		if (result)
			snprintf(ret_error, error_size, "%s: %s", path, why);
	}
	fetch_end(&fetch);
	return result;
}

int answer_fetch(const char *path, const char *request, int timeout_ms, record_fn take, void *context, char *ret_error,
		 size_t error_size)
{
	struct fetch fetch = fetch_begin(path, timeout_ms, ret_error, error_size);
	char why[512];
	int result = -1;

	if (fetch_all(&fetch, request) == 0) {
		result = records_parse(fetch.text, fetch.len, take, context, why, sizeof(why));
		if (result)
			snprintf(ret_error, error_size, "%s: %s", path, why);
	}
	fetch_end(&fetch);
	return result;
}

static bool fetch_first(struct fetch *fetch)
{
	struct pollfd first = {.fd = fetch->fd, .events = POLLIN};

	if (poll(&first, 1, fetch->timeout_ms) > 0)
		return true;
	fetch_fail_late(fetch);
	return false;
}

/* What has come, without what was taken before. False: it has ended, or cannot be read. */
static bool fetch_more(struct fetch *fetch)
{
	ssize_t n;

	if (fetch_grow(fetch))
		return false;
	do
		n = recv(fetch->fd, fetch->text + fetch->len, fetch->size - fetch->len, 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0) {
		snprintf(fetch->error, fetch->error_size, "%s: pawsd has hung up: it has ended, or this program was too slow", fetch->path);
		return false;
	}
	fetch->len += (size_t)n;
	return true;
}

int answer_follow(const char *path, const char *request, int timeout_ms, record_fn take, records_taken_fn taken, void *context,
		  char *ret_error, size_t error_size)
{
	struct fetch fetch = fetch_begin(path, timeout_ms, ret_error, error_size);
	enum records_state state = RECORDS_BEGIN;
	bool is_good = fetch_ask(&fetch, request) == 0 && fetch_first(&fetch), is_wanted = is_good;
	size_t used;

	while (is_wanted && state < RECORDS_ENDED && (is_good = fetch_more(&fetch))) {
		state = records_take(state, fetch.text, fetch.len, &used, take, context, ret_error, error_size);
		fetch.len -= used;
		memmove(fetch.text, fetch.text + used, fetch.len);
		is_wanted = taken(context);
	}
	fetch_end(&fetch);
	return is_good && state != RECORDS_FAILED ? 0 : -1;
}
