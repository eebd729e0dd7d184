/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FDSTORE_H
#define PAWSD_FDSTORE_H

#include <stdbool.h>

/*
 * Descriptors that outlive the process, in the keeping of the service manager: FDSTORE=1 of sd_notify(3) gives it a
 * duplicate, sd_listen_fds(3) tells how the next process finds it again, after a crash, a restart or an upgrade. Where
 * there is no service manager nothing is kept and nothing found.
 *
 * Names are up to FDSTORE_NAME_SIZE - 1 printable characters, no colon.
 */

enum {
	FDSTORE_NAME_SIZE = 64,
	FDSTORE_MOST = 256,
};

/*
 * Takes over what the service manager has handed to this process ($LISTEN_PID, $LISTEN_FDS, $LISTEN_FDNAMES), and
 * removes these variables, so that no child takes them for its own. Once, before there is a second thread.
 */
void fdstore_begin(void);

/* The descriptor that was kept under that name, to be closed by the caller; -1 if there is none, or none any more. */
int fdstore_take(const char *name);

/*
 * The first that is not wanted, to be closed by the caller, who may then have the service manager drop it, by the name in
 * ret_name; -1: there is none any more.
 */
typedef bool (*fdstore_wanted_fn)(void *context, const char *name);
int fdstore_take_other(fdstore_wanted_fn is_wanted, void *context, char ret_name[FDSTORE_NAME_SIZE]);

/* Gives the service manager a duplicate. False when there is none or it cannot be told. */
bool fdstore_keep(const char *name, int fd);

/* Has the service manager close those of that name. */
void fdstore_drop(const char *name);

#endif
