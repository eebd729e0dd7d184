/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server side of the control socket, against hostile peers. The input is a list of what they
 * do: connect, send some bytes, read some, shut down, hang up, wait. However they behave, who asks
 * properly gets a whole answer, and nobody keeps a place for longer than his time. Meanwhile the answering side asks
 * somebody else, and serves its peers while it waits, or has them wait, or tells them more and more.
 *
 * An action is one byte: its lower three bits say what, the upper five which peer, or how long.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"
#include "fuzz.h"

enum {
	PEERS = 20, /* more than there are places */
	ACTIONS_MAX = 200,
	LONG_ANSWER_BYTES = 300000, /* more than a socket's buffer holds */
	ROUNDS_MAX = 1000,
	LONG_AGO_MS = 3600000,
};

enum action {
	ACTION_CONNECT,
	ACTION_SEND, /* length, bytes */
	ACTION_ASK,  /* a proper request */
	ACTION_READ,
	ACTION_SHUT_DOWN,
	ACTION_HANG_UP,
	ACTION_WAIT,
	ACTION_SERVE,
};

static uint64_t now_ms;
static struct control *control;
static bool is_busy, is_nested, is_over;

static void serve(void)
{
	struct pollfd polls[CONTROL_POLLS];
	size_t count = control_fill_polls(control, polls);

	FUZZ_CHECK(count >= 1 && count <= CONTROL_POLLS);
	if (poll(polls, (nfds_t)count, 0) >= 0)
		control_serve(control, polls, count, now_ms);
}

static const char *answer(void *context, struct control_request *control_request, FILE *out)
{
	static char text[LONG_ANSWER_BYTES];
	const char *request = control_request->text;

	(void)context;
	FUZZ_CHECK(strlen(request) < 256 && !strchr(request, '\n'));
	if (strcmp(request, "status") == 0) {
		fprintf(out, "info version 1\n");
		return NULL;
	}
	if (strcmp(request, "follow") == 0) {
		if (control_request->progress++ % 3)
			FUZZ_CHECK(fwrite(text, sizeof(text) / 4, 1, out) == 1);
		return is_over ? NULL : control_more;
	}
	if (strcmp(request, "drain") == 0) {
		fprintf(out, "info drain 1\n");
		return is_busy ? control_later : NULL;
	}
	if (strcmp(request, "stats") == 0) {
		if (!is_nested) {
			is_nested = is_busy = true;
			now_ms += 300;
			serve();
			is_nested = is_busy = false;
		}
		memset(text, 'x', sizeof(text) - 1);
		text[sizeof(text) - 1] = '\n';
		FUZZ_CHECK(fwrite(text, sizeof(text), 1, out) == 1);
		return NULL;
	}
	return "unknown";
}

static int connect_peer(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd); /* the listen queue is full */
	return -1;
}

static void hang_up(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void act(const char *path, int *peers, struct fuzz_input *input)
{
	uint8_t byte = fuzz_take8(input), number = byte >> 3;
	int *fd = &peers[number % PEERS];
	char buffer[512];
	const char *text;
	struct fuzz_input bytes;

	switch ((enum action)(byte & 7)) {
	case ACTION_CONNECT:
		hang_up(fd);
		*fd = connect_peer(path);
		break;
	case ACTION_SEND:
		bytes = fuzz_take(input, fuzz_take8(input));
		send(*fd, bytes.data, bytes.len, MSG_NOSIGNAL);
		break;
	case ACTION_ASK:
		text = number & 4 ? "follow\n" : number & 2 ? "drain\n" : number & 1 ? "stats\n" : "status\n";
		send(*fd, text, strlen(text), MSG_NOSIGNAL);
		break;
	case ACTION_READ:
		while (recv(*fd, buffer, sizeof(buffer), 0) > 0 && (number & 1))
			;
		break;
	case ACTION_SHUT_DOWN:
		shutdown(*fd, number & 1 ? SHUT_RD : SHUT_WR);
		break;
	case ACTION_HANG_UP:
		hang_up(fd);
		break;
	case ACTION_WAIT:
		now_ms += number * 500u;
		break;
	case ACTION_SERVE:
		is_busy = number & 1;
		serve();
		break;
	}
}

/* Somebody who behaves, while all others are still there: his turn comes when theirs has ended. */
static void ask_properly(const char *path)
{
	static char text[512 * 1024];
	int fd = -1;
	size_t len = 0;

	/* The listen queue may be full. */
	for (int round = 0; fd < 0 && round < ROUNDS_MAX; round++) {
		fd = connect_peer(path);
		serve();
		now_ms += 500;
	}
	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(send(fd, "stats\n", 6, MSG_NOSIGNAL) == 6);
	for (int round = 0; round < ROUNDS_MAX; round++) {
		ssize_t n = recv(fd, text + len, sizeof(text) - len, 0);

		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
		else
			now_ms += 100;
		serve();
	}
	close(fd);
	FUZZ_CHECK(len == strlen("pawsd-control 1\n") + LONG_ANSWER_BYTES + strlen("end\n"));
	FUZZ_CHECK(memcmp(text, "pawsd-control 1\nxxx", 19) == 0);
	FUZZ_CHECK(memcmp(text + len - 5, "\nend\n", 5) == 0);
}

/* After their time all places are free, whoever still holds his end. */
static void check_time_up(void)
{
	struct pollfd polls[CONTROL_POLLS] = {{0}};

	for (int round = 0; round < 4; round++) {
		now_ms += LONG_AGO_MS;
		serve();
	}
	now_ms += LONG_AGO_MS;
	control_serve(control, polls, 1, now_ms); /* nothing to read or write */
	FUZZ_CHECK(control_fill_polls(control, polls) == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	char error[256] = "", path[96];
	int peers[PEERS], free_fd;

	snprintf(path, sizeof(path), "%s", fuzz_path("socket"));
	free_fd = fuzz_free_fd();
	control = control_open(path, "", "", answer, NULL, error, sizeof(error));
	if (!control)
		fuzz_fail("%s", error);
	is_over = false;
	for (int i = 0; i < PEERS; i++)
		peers[i] = -1;
	for (int i = 0; i < ACTIONS_MAX && input.len; i++)
		act(path, peers, &input);
	is_busy = false;
	ask_properly(path);
	is_over = true;
	check_time_up();
	for (int i = 0; i < PEERS; i++)
		hang_up(&peers[i]);
	control_close(control);
	FUZZ_CHECK(fuzz_free_fd() == free_fd);
	return 0;
}
