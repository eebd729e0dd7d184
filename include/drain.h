/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_DRAIN_H
#define PAWSD_DRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"
#include "rules.h"

/*
 * What flows of an earlier policy still need.
 *
 * The servers (address and port) to which rewritten flows go on although the policy no longer
 * rewrites connections to them: their packets still have to come to pawsd (P10), so the rules
 * name them one by one until the last such flow has gone.
 *
 * And for each destination that the policy strips now, the flows with timestamps that go on there:
 * servers of the RHEL 7 family drop SYNs without timestamps until the last of these is 60 s gone. Their packets
 * come to pawsd as well, so that their end is seen.
 */
enum {
	DRAIN_MAX = 65536,
};

struct drain_strip {
	uint32_t flows;	      /* with timestamps, alive */
	uint32_t last_seen_s; /* of these and of those that have ended, shared clock; 0: none */
};

struct drain_set {
	struct rules_drain *entries;
	size_t count;
	uint32_t *index; /* hash table: entry plus one */
	bool overflow;	 /* more than DRAIN_MAX */
	struct drain_strip *strips; /* by the destination's slot */
	uint64_t rewritten;	    /* flows that are rewritten, whatever the policy, and have not ended */
};

/* False when memory is short. */
bool drain_set_open(struct drain_set *set);
void drain_set_close(struct drain_set *set);

/* Adds a server unless it is in the set already. */
void drain_set_add(struct drain_set *set, const struct addr *server, uint16_t port);

/* A flow that is rewritten. */
void drain_set_add_rewritten(struct drain_set *set, const struct flow *flow);

/* A flow with timestamps belongs to the destination of `slot`, which is stripped now. */
void drain_set_add_strip(struct drain_set *set, uint16_t slot, const struct flow *flow);

/* Adds what is in `from`. */
void drain_set_merge(struct drain_set *set, const struct drain_set *from);

/* True while there are flows of destinations that are stripped now. */
bool drain_set_has_strips(const struct drain_set *set);

/* Same servers, in any order. */
bool drain_set_equal(const struct drain_set *a, const struct drain_set *b);

#endif
