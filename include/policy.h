/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_POLICY_H
#define PAWSD_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

/*
 * The policy: which destination a connection belongs to, and what is done with it. It is
 * immutable; a reload builds another and swaps the pointer.
 *
 * Among the destinations whose prefix, ports and sources all match, the one with the longest
 * prefix wins; of two with the same prefix the one with ports; then the first in the file.
 * Where none matches, [default] does.
 *
 * For that each family's address space is cut, once at load time, into ranges inside of which
 * the order of candidates is the same. A range names a group; a group is the list of
 * candidates, best first, cut off behind the first that has neither ports nor sources. So a
 * match is one binary search and a short walk, and the firewall rules are made from the very
 * same ranges and groups (rules.h).
 */

enum mode {
	MODE_OFF,
	MODE_OBSERVE,
	MODE_STRIP,
	MODE_REWRITE,
	MODE_MAX = MODE_REWRITE,
};

/* synack_tsecr: what becomes of a TSecr in a SYN/ACK that was never sent. */
enum repair {
	REPAIR_OFF,
	REPAIR_ECHO,
	REPAIR_ZERO,
	REPAIR_MAX = REPAIR_ZERO,
};

enum {
	DESTINATION_NAME_MAX = 48,
	/* Counter slots: names in use since the start, [default] and "none" included. */
	DESTINATION_SLOTS = 1024,
	SLOT_NONE = 0,	  /* packets that belong to no destination (malformed, from outside, ...) */
	SLOT_DEFAULT = 1, /* [default] */
};

struct port_range {
	uint16_t first, last; /* inclusive */
};

struct prefix {
	struct addr addr; /* host bits zero */
	enum family family;
	uint8_t len; /* 0..32 for IPv4, 0..128 for IPv6 */
};

struct destination {
	char name[DESTINATION_NAME_MAX + 1]; /* [A-Za-z0-9_.-]; "default" for [default] */
	uint16_t slot;			     /* of its counters, the same across reloads */
	bool enabled;
	enum mode mode;
	bool is_trial;	    /* of no file: pawsctl try; it has one address, and goes before others that have the same */
	bool is_overridden; /* the mode is not what the file says, which is `written` */
	enum mode written;
	enum repair repair;
	struct prefix *prefixes; /* none for [default], which covers all */
	size_t prefix_count;
	struct port_range *ports; /* of the server; none: all */
	size_t port_count;
	struct prefix *sources; /* of the clients; none: all */
	size_t source_count;
};

/* The name of a trial's destination, which no file can have. */
#define TRIAL_NAME "trial"

/* A destination of one address, in front of all others that have it (pawsctl try). */
struct policy_trial {
	struct addr server;
	uint16_t port; /* 0: all */
	enum mode mode;
	enum repair repair;
};

static inline bool policy_is_same_trial(const struct policy_trial *a, const struct policy_trial *b)
{
	return addr_equal(&a->server, &b->server) && a->port == b->port;
}

/* An address as a number: IPv4 in the upper 32 bits of `hi`, so that both families sort alike. */
struct range_key {
	uint64_t hi, lo;
};

struct policy_ranges {
	struct range_key *start; /* ascending; start[0] is the lowest address */
	uint32_t *group;	 /* of the addresses from start[i] up to before start[i + 1] */
	uint32_t count;		 /* >= 1 */
	uint32_t *index;	 /* 65537: first range that begins at or after (i << 48) */
};

struct policy_group {
	uint32_t first, count; /* into candidates */
};

struct policy {
	struct destination *destinations; /* [0] is [default]; then file order, disabled ones too */
	size_t destination_count;
	struct policy_ranges ranges[FAMILY_COUNT];
	struct policy_group *groups;
	size_t group_count;
	uint16_t *candidates; /* indices into destinations; each list ends with one without conditions */
};

struct range_key policy_key_of_addr(const struct addr *addr);

/*
 * The destination of a connection from `client` to `server`, port `port` (host order). Never
 * NULL: [default] matches everything.
 */
const struct destination *policy_match(const struct policy *policy, const struct addr *server, uint16_t port,
				       const struct addr *client);

static inline enum mode destination_written_mode(const struct destination *destination)
{
	return destination->is_overridden ? destination->written : destination->mode;
}

bool policy_has_port(const struct destination *destination, uint16_t port);
bool policy_has_source(const struct destination *destination, const struct addr *client);

#endif
