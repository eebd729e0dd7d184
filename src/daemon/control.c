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
};

static const gid_t NO_GROUP = (gid_t)-1;

struct client {
	int fd; /* -1: free */
	bool may_change;
	uint64_t since_ms;
	char request[REQUEST_SIZE];
	size_t request_len;
	char *answer; /* NULL while the request is being read */
	size_t answer_len, sent;
};

struct control {
	int fd;
	gid_t admin_group; /* NO_GROUP: none */
	control_answer_fn answer;
	void *context;
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
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		control->clients[i].fd = -1;
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
	if (client->fd >= 0)
		close(client->fd);
	free(client->answer);
	*client = (struct client){.fd = -1};
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

		if (client->fd < 0)
			has_place = true;
		else
			ret_polls[count++] =
				(struct pollfd){.fd = client->fd, .events = client->answer ? POLLOUT : POLLIN};
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

static void accept_client(struct control *control, uint64_t now_ms)
{
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *client = &control->clients[i];

		if (client->fd >= 0)
			continue;
		client->fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		client->since_ms = now_ms;
		client->may_change = client->fd >= 0 && may_change(control, client->fd);
		return;
	}
}

static void answer_client(struct control *control, struct client *client)
{
	FILE *out = open_memstream(&client->answer, &client->answer_len);
	const char *problem;

	if (!out)
		return;
	fprintf(out, "pawsd-control %d\n", SNAPSHOT_VERSION);
	problem = control->answer(control->context, client->request, client->may_change, out);
	if (problem)
		fprintf(out, "error %s\n", problem);
	fprintf(out, "end\n");
	fclose(out);
}

static void read_request(struct control *control, struct client *client)
{
	size_t room = sizeof(client->request) - 1 - client->request_len;
	ssize_t len = recv(client->fd, client->request + client->request_len, room, 0);
	char *end;

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len > 0)
		client->request_len += (size_t)len;
	end = memchr(client->request, '\n', client->request_len);
	if (!end) {
		if (len <= 0 || client->request_len == sizeof(client->request) - 1)
			drop_client(client);
		return;
	}
	*end = '\0';
	answer_client(control, client);
	if (!client->answer)
		drop_client(client);
}

static void write_answer(struct client *client)
{
	ssize_t len = send(client->fd, client->answer + client->sent, client->answer_len - client->sent, MSG_NOSIGNAL);

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len > 0)
		client->sent += (size_t)len;
	if (len <= 0 || client->sent == client->answer_len)
		drop_client(client);
}

static void serve_client(struct control *control, struct client *client, short revents)
{
	if (!client->answer && (revents & (POLLIN | POLLHUP | POLLERR)))
		read_request(control, client);
	else if (client->answer && (revents & (POLLOUT | POLLHUP | POLLERR)))
		write_answer(client);
}

void control_serve(struct control *control, const struct pollfd *polls, size_t count, uint64_t now_ms)
{
	for (size_t i = 1; i < count; i++) {
		for (size_t j = 0; j < CONTROL_CLIENTS; j++) {
			if (control->clients[j].fd == polls[i].fd && polls[i].revents)
				serve_client(control, &control->clients[j], polls[i].revents);
		}
	}
	for (size_t j = 0; j < CONTROL_CLIENTS; j++) {
		struct client *client = &control->clients[j];

		if (client->fd >= 0 && now_ms - client->since_ms > CLIENT_TIME_MS)
			drop_client(client);
	}
	if (polls[0].revents)
		accept_client(control, now_ms);
}
