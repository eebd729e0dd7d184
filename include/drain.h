/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_DRAIN_H
#define PAWSD_DRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules.h"

/*
 * The servers (address and port) to which rewritten flows go on although the policy no longer
 * rewrites connections to them. Their packets still have to come to pawsd (P10), so the rules
 * name them one by one until the last such flow has gone.
 */
enum {
	DRAIN_MAX = 65536,
};

struct drain_set {
	struct rules_drain *entries;
	size_t count;
	uint32_t *index; /* hash table: entry plus one */
	bool overflow;	 /* more than DRAIN_MAX */
};

/* False when memory is short. */
bool drain_set_open(struct drain_set *set);
void drain_set_close(struct drain_set *set);

/* Adds a server unless it is in the set already. */
void drain_set_add(struct drain_set *set, const struct addr *server, uint16_t port);

/* Same servers, in any order. */
bool drain_set_equal(const struct drain_set *a, const struct drain_set *b);

#endif
