/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fdstore.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "notify.h"

enum {
	FIRST_FD = 3, /* SD_LISTEN_FDS_START */
};

static struct {
	int fd; /* -1: taken */
	char name[FDSTORE_NAME_SIZE];
} entries[FDSTORE_MOST];
static size_t entry_count;

/* How many descriptors are for this very process. */
static size_t count_handed_over(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	unsigned long number;

	if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid())
		return 0;
	number = strtoul(count, NULL, 10);
	return number <= FDSTORE_MOST ? number : 0;
}

void fdstore_begin(void)
{
	const char *names = getenv("LISTEN_FDNAMES");
	size_t count = count_handed_over(), len;

	for (entry_count = 0; entry_count < count; entry_count++) {
		entries[entry_count].fd = FIRST_FD + (int)entry_count;
		fcntl(entries[entry_count].fd, F_SETFD, FD_CLOEXEC);
		len = names ? strcspn(names, ":") : 0;
		snprintf(entries[entry_count].name, FDSTORE_NAME_SIZE, "%.*s", (int)len, names ? names : "");
		if (names)
			names += len + (names[len] == ':');
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

int fdstore_take(const char *name)
{
	int fd;

	for (size_t i = 0; i < entry_count; i++) {
		if (entries[i].fd < 0 || strcmp(entries[i].name, name) != 0)
			continue;
		fd = entries[i].fd;
		entries[i].fd = -1;
		return fd;
	}
	return -1;
}

int fdstore_take_other(fdstore_wanted_fn is_wanted, void *context, char ret_name[FDSTORE_NAME_SIZE])
{
	for (size_t i = 0; i < entry_count; i++) {
		if (entries[i].fd < 0 || is_wanted(context, entries[i].name))
			continue;
		memcpy(ret_name, entries[i].name, FDSTORE_NAME_SIZE);
		return fdstore_take(ret_name);
	}
	return -1;
}

bool fdstore_keep(const char *name, int fd)
{
	char message[FDSTORE_NAME_SIZE + 64];

	/* What a netlink socket's error is about is the daemon's business: it is no reason to close it. */
	snprintf(message, sizeof(message), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	return notify_send_fd(message, fd);
}

void fdstore_drop(const char *name)
{
	char message[FDSTORE_NAME_SIZE + 64];

	snprintf(message, sizeof(message), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	notify_send(message);
}
