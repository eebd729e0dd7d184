/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "snapshot.h"

enum {
	REQUEST_SIZE = 256,
	CLIENT_TIME_MS = 5000,
	PEER_GROUPS_MAX = 1024,
	WAITING_MAX = CONTROL_CLIENTS / 2, /* so that places are left for those who need not wait */
};

static const gid_t NO_GROUP = (gid_t)-1;

enum client_state {
	CLIENT_NONE,
	CLIENT_ASKS,	 /* its request is being read */
	CLIENT_WAITS,	 /* has asked */
	CLIENT_IS_HEARD, /* the answer is being made */
	CLIENT_IS_TOLD,	 /* the answer is being written */
};

const char control_later[] = "later";
const char control_more[] = "more";

struct client {
	enum client_state state;
	int fd;
	uint64_t since_ms; /* of its time; 0: that begins at the next look */
	uint64_t turn;	   /* in which it has asked */
	char text[REQUEST_SIZE];
	size_t text_len;
	struct control_request request;
	bool is_stream; /* its answer has begun, and has no end */
	char *answer;
	size_t answer_len, sent;
};

struct control {
	int fd;
	gid_t admin_group; /* NO_GROUP: none */
	control_answer_fn answer;
	void *context;
	uint64_t turns;
	struct client clients[CONTROL_CLIENTS];
};

/* A socket file that nobody listens on was left behind by a crash; one that answers is in use. */
static bool clear_path(const struct sockaddr_un *address, char *ret_error, size_t error_size)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat status;
	bool in_use = fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
				  errno == EAGAIN);

	if (fd >= 0)
		close(fd);
	if (in_use) {
		snprintf(ret_error, error_size, "[control] socket = %s: another program listens there", address->sun_path);
		return false;
	}
	if (lstat(address->sun_path, &status) == 0 && !S_ISSOCK(status.st_mode)) {
		snprintf(ret_error, error_size, "[control] socket = %s: there is a file of that name, which is no socket",
			 address->sun_path);
		return false;
	}
	unlink(address->sun_path);
	return true;
}

/* The group's number, NO_GROUP for an empty name. False with a line in ret_error where there is no such group. */
static bool find_group(const char *option, const char *name, gid_t *ret, char *ret_error, size_t error_size)
{
	const struct group *entry = name[0] ? getgrnam(name) : NULL;

	*ret = entry ? entry->gr_gid : NO_GROUP;
	if (!name[0] || entry)
		return true;
	snprintf(ret_error, error_size, "[control] %s = %s: no such group; allowed: a group of this system", option, name);
	return false;
}

/* Without a group of that name it is that of whoever runs pawsd. */
static bool give_to_group(const char *path, const char *group, char *ret_error, size_t error_size)
{
	gid_t gid;

	if (!find_group("group", group, &gid, ret_error, error_size))
		return false;
	if ((gid == NO_GROUP || chown(path, (uid_t)-1, gid) == 0) && chmod(path, 0660) == 0)
		return true;
	snprintf(ret_error, error_size, "[control] group = %s: %s: %s", group, path, strerror(errno));
	return false;
}

struct control *control_open(const char *path, const char *group, const char *admin_group, control_answer_fn answer,
			     void *context, char *ret_error, size_t error_size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct control *control = calloc(1, sizeof(*control));
	mode_t mask;
	int bound;

	if (!control) {
		snprintf(ret_error, error_size, "out of memory");
		return NULL;
	}
	control->answer = answer;
	control->context = context;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (!find_group("admin_group", admin_group, &control->admin_group, ret_error, error_size) ||
	    !clear_path(&address, ret_error, error_size)) {
		free(control);
		return NULL;
	}
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->fd < 0) {
		snprintf(ret_error, error_size, "[control] socket = %s: %s", path, strerror(errno));
		free(control);
		return NULL;
	}
	mask = umask(0177);
	bound = bind(control->fd, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (bound < 0) {
		snprintf(ret_error, error_size, "[control] socket = %s: %s", path, strerror(errno));
		control_close(control);
		return NULL;
	}
	if (!give_to_group(path, group, ret_error, error_size)) {
		control_close(control);
		return NULL;
	}
	if (listen(control->fd, CONTROL_CLIENTS) < 0) {
		snprintf(ret_error, error_size, "[control] socket = %s: %s", path, strerror(errno));
		control_close(control);
		return NULL;
	}
	return control;
}

static void drop_client(struct client *client)
{
	if (client->state != CLIENT_NONE)
		close(client->fd);
	free(client->answer);
	*client = (struct client){0};
}

void control_close(struct control *control)
{
	if (!control)
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		drop_client(&control->clients[i]);
	close(control->fd);
	free(control);
}

size_t control_fill_polls(const struct control *control, struct pollfd *ret_polls)
{
	size_t count = 1;
	bool has_place = false;

	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		const struct client *client = &control->clients[i];

		if (client->state == CLIENT_NONE)
			has_place = true;
		else if (client->state == CLIENT_ASKS)
			ret_polls[count++] = (struct pollfd){.fd = client->fd, .events = POLLIN};
		else if (client->state == CLIENT_IS_TOLD)
			ret_polls[count++] = (struct pollfd){.fd = client->fd, .events = POLLOUT};
		else if (client->state == CLIENT_WAITS) /* whether it is still there */
			ret_polls[count++] = (struct pollfd){.fd = client->fd};
	}
	/* With all places taken newcomers wait in the listen queue. */
	ret_polls[0] = (struct pollfd){.fd = control->fd, .events = has_place ? POLLIN : 0};
	return count;
}

/* By who the peer was when it connected, as the kernel tells. */
static bool may_change(const struct control *control, int fd)
{
	struct ucred peer;
	gid_t groups[PEER_GROUPS_MAX];
	socklen_t peer_size = sizeof(peer), groups_size = sizeof(groups);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_size) < 0)
		return false;
	if (peer.uid == 0)
		return true;
	if (control->admin_group == NO_GROUP)
		return false;
	if (peer.gid == control->admin_group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &groups_size) < 0)
		return false;
	for (size_t i = 0; i < groups_size / sizeof(groups[0]); i++) {
		if (groups[i] == control->admin_group)
			return true;
	}
	return false;
}

static void accept_client(struct control *control)
{
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *client = &control->clients[i];
		int fd;

		if (client->state != CLIENT_NONE)
			continue;
		fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			*client = (struct client){.state = CLIENT_ASKS, .fd = fd, .request.may_change = may_change(control, fd)};
		return;
	}
}

/* Those who wait longer than who has asked in that turn. */
static size_t count_waiting(const struct control *control, uint64_t turn)
{
	size_t count = 0;

	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		count += control->clients[i].state == CLIENT_WAITS && !control->clients[i].is_stream && control->clients[i].turn < turn;
	return count;
}

static size_t count_streams(const struct control *control)
{
	size_t count = 0;

	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		count += control->clients[i].is_stream;
	return count;
}

/* What it says for the answer, or that it cannot be had now for others are before it. What is begun is done, whoever waits. */
static const char *ask(struct control *control, struct client *client, FILE *out)
{
	const char *problem = control->answer(control->context, &client->request, out);

	if (problem == control_later && client->request.progress == 0 && count_waiting(control, client->turn) >= WAITING_MAX)
		return "busy: others wait already for a change that is under way";
	if (problem == control_more && !client->is_stream && count_streams(control) >= CONTROL_STREAMS)
		return "busy: as many others watch already as may";
	return problem;
}

static void answer_client(struct control *control, struct client *client)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	const char *problem = NULL;

	if (out) {
		client->state = CLIENT_IS_HEARD;
		if (!client->is_stream)
			fprintf(out, "pawsd-control %d\n", SNAPSHOT_VERSION);
		problem = ask(control, client, out);
		client->is_stream = problem == control_more;
		if (problem && !client->is_stream)
			fprintf(out, "error %s\n", problem);
		if (!client->is_stream)
			fprintf(out, "end\n");
		fclose(out);
	}
	client->since_ms = 0;
	if (problem == control_later || (client->is_stream && !len)) {
		client->state = CLIENT_WAITS;
		free(text);
		return;
	}
	client->state = CLIENT_IS_TOLD;
	client->answer = text;
	client->answer_len = len;
	client->sent = 0;
	if (!text)
		drop_client(client);
}

/* The one that has asked next after `turn`, NULL: nobody. */
static struct client *find_next(struct control *control, uint64_t turn)
{
	struct client *next = NULL;

	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *client = &control->clients[i];

		if (client->state == CLIENT_WAITS && client->turn > turn && (!next || client->turn < next->turn))
			next = client;
	}
	return next;
}

static void answer_clients(struct control *control)
{
	struct client *client = find_next(control, 0);

	while (client) {
		uint64_t turn = client->turn;

		answer_client(control, client);
		client = find_next(control, turn);
	}
}

static void read_request(struct control *control, struct client *client)
{
	size_t room = sizeof(client->text) - 1 - client->text_len;
	ssize_t len = recv(client->fd, client->text + client->text_len, room, 0);
	char *end;

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len > 0)
		client->text_len += (size_t)len;
	end = memchr(client->text, '\n', client->text_len);
	if (end) {
		*end = '\0';
		client->request.text = client->text;
		client->state = CLIENT_WAITS;
		client->turn = ++control->turns;
	} else if (len <= 0 || client->text_len == sizeof(client->text) - 1) {
		drop_client(client);
	}
}

static void write_answer(struct client *client)
{
	ssize_t len = send(client->fd, client->answer + client->sent, client->answer_len - client->sent, MSG_NOSIGNAL);

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len > 0)
		client->sent += (size_t)len;
	if (len <= 0 || (client->sent == client->answer_len && !client->is_stream)) {
		drop_client(client);
	} else if (client->sent == client->answer_len) {
		free(client->answer);
		client->answer = NULL;
		client->state = CLIENT_WAITS;
	}
}

/* Who serves others in between may come back with an earlier `now_ms` than they had. */
static void limit_time(struct client *client, uint64_t now_ms)
{
	if (client->since_ms == 0)
		client->since_ms = now_ms;
	else if (now_ms > client->since_ms && now_ms - client->since_ms > CLIENT_TIME_MS)
		drop_client(client);
}

static void serve_client(struct control *control, struct client *client)
{
	switch (client->state) {
	case CLIENT_ASKS:
		read_request(control, client);
		break;
	case CLIENT_IS_TOLD:
		write_answer(client);
		break;
	case CLIENT_WAITS: /* it has gone, and is no longer meant */
		drop_client(client);
		break;
	case CLIENT_NONE:
	case CLIENT_IS_HEARD:
		break;
	}
}

void control_serve(struct control *control, const struct pollfd *polls, size_t count, uint64_t now_ms)
{
	for (size_t i = 1; i < count; i++) {
		for (size_t j = 0; j < CONTROL_CLIENTS; j++) {
			if (control->clients[j].fd == polls[i].fd && polls[i].revents)
				serve_client(control, &control->clients[j]);
		}
	}
	answer_clients(control);
	for (size_t j = 0; j < CONTROL_CLIENTS; j++) {
		struct client *client = &control->clients[j];

		if (client->state == CLIENT_ASKS || client->state == CLIENT_IS_TOLD)
			limit_time(client, now_ms);
	}
	if (polls[0].revents)
		accept_client(control);
}
