/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TC_WATCH_H
#define PAWSD_TC_WATCH_H

#include <stdbool.h>

/* Follows what is put on clsact of any interface, and taken away there: the kernel tells (rtnetlink(7), RTMGRP_TC). */
struct tc_watch;

/* NULL when the kernel does not tell (errno is set). The caller closes it. */
struct tc_watch *tc_watch_open(void);
void tc_watch_close(struct tc_watch *watch); /* NULL: nothing to do */

/* Is readable when there is news; -1 of NULL, which poll(2) passes over. */
int tc_watch_fd(const struct tc_watch *watch);

/* Takes what news there is. Returns whether any of it is of clsact, or some was lost. Does not wait. */
bool tc_watch_has_changed(struct tc_watch *watch);

#endif
