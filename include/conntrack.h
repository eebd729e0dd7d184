/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_CONNTRACK_H
#define PAWSD_CONNTRACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"

/*
 * For how long the kernel's connection tracking keeps a connection in that state, and with it its NAT. `root` stands before
 * /proc, "" but in tests. False where it does not tell.
 */
bool conntrack_timeout(const char *root, enum flow_state state, uint32_t *ret_s);

/* The sysctl that says so. */
void conntrack_timeout_name(enum flow_state state, char *ret_name, size_t size);

#endif
