/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FASTPATH_CONFIG_H
#define PAWSD_FASTPATH_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a configuration says of the fast path. */

enum {
	FASTPATH_INTERFACES_MAX = 16,
	FASTPATH_PATH_SIZE = 108,
};

enum fastpath_wish {
	FASTPATH_AUTO, /* where it can be had */
	FASTPATH_YES,
	FASTPATH_NO,
};

struct fastpath_interface {
	char name[16];
	bool is_wan; /* on the servers' side of the NAT; else on the clients' */
};

struct fastpath_config {
	enum fastpath_wish wish;
	struct fastpath_interface interfaces[FASTPATH_INTERFACES_MAX];
	size_t interface_count;
	uint32_t missing; /* bit n: nothing may be left to programs at interfaces[n] just now: for the rules of placement postnat */
	uint32_t mark_bit; /* the first of three */
	char pins[FASTPATH_PATH_SIZE];
};

static inline bool fastpath_is_wanted(const struct fastpath_config *config)
{
	return config->wish != FASTPATH_NO && config->interface_count > 0;
}

static inline bool fastpath_is_missing(const struct fastpath_config *config, size_t interface)
{
	return config->missing >> interface & 1;
}

#endif
