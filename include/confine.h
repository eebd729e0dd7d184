/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_CONFINE_H
#define PAWSD_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * What the two processes may do. The helper (helper.h) keeps what the commands it runs need: CAP_NET_ADMIN and CAP_NET_RAW, and,
 * where it was started with that, CAP_DAC_OVERRIDE, for files that are not root's; and with the fast path CAP_BPF and
 * CAP_PERFMON, for its programs. The process in the path of packets
 * keeps CAP_NET_ADMIN, and once it is set up no system call is left to it but those its work needs: it opens no file, executes
 * nothing, makes no process and no socket but AF_NETLINK and AF_UNIX. Neither can gain new privileges.
 *
 * All return 0, or -1 with one line in ret_error.
 */
int confine_helper(char *ret_error, size_t error_size);
/* Once it is known whether there is a fast path. */
int confine_helper_further(bool has_programs, char *ret_error, size_t error_size);

/*
 * For who is not root, as under systemd, where capset() had better be forbidden too: over an exec only ambient capabilities
 * are kept. Leaves CAP_NET_ADMIN alone ambient. Returns whether an exec of this program would give something up.
 */
bool confine_prepare_exec(void);

/* Before there are threads. `user`: whose identity to take on, "" for none. */
int confine_drop(const char *user, char *ret_error, size_t error_size);

/* All threads that there are. What is not allowed fails with EPERM. */
int confine_lock(char *ret_error, size_t error_size);

#endif
