/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tc_watch.h"

#include <errno.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	NEWS_MOST = 256, /* at a time, so that nobody else has to wait */
};

struct tc_watch {
	int fd;
};

struct tc_watch *tc_watch_open(void)
{
	const struct sockaddr_nl news = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_TC};
	struct tc_watch *watch = malloc(sizeof(*watch));

	if (!watch)
		return NULL;
	watch->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (watch->fd >= 0 && bind(watch->fd, (const struct sockaddr *)&news, sizeof(news)) == 0)
		return watch;
	tc_watch_close(watch);
	return NULL;
}

void tc_watch_close(struct tc_watch *watch)
{
	if (watch && watch->fd >= 0)
		close(watch->fd);
	free(watch);
}

int tc_watch_fd(const struct tc_watch *watch)
{
	return watch ? watch->fd : -1;
}

bool tc_watch_has_changed(struct tc_watch *watch)
{
	struct {
		struct nlmsghdr header;
		struct tcmsg tc;
	} news; /* what follows says how, and is not asked for */
	bool has_changed = false;

	for (int i = 0; i < NEWS_MOST; i++) {
		const ssize_t len = recv(watch->fd, &news, sizeof(news), 0);

		if (len < 0 && errno != ENOBUFS)
			break;
		/* A class of a shaper that is changed all the time is nobody's business here: qdiscs and filters of clsact say so. */
		has_changed |= len < 0 || (len == sizeof(news) && TC_H_MAJ(news.tc.tcm_parent) == TC_H_MAJ(TC_H_CLSACT));
	}
	return has_changed;
}
