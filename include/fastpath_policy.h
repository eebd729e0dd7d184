/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FASTPATH_POLICY_H
#define PAWSD_FASTPATH_POLICY_H

#include "fastpath.h"

/*
 * The policy as the kernel's programs know it: entries of a longest-prefix map, in as few as can be. They tell of what the
 * programs do by themselves, which is to rewrite; of all else they say, or leave unsaid, that the engine has to.
 */

/*
 * Calls `each` for every entry, a prefix before those inside of it. False when memory is short: then it has not been called.
 */
typedef void (*fastpath_policy_fn)(void *context, const struct fastpath_policy_key *key, const struct fastpath_policy *value);
bool fastpath_policy_each(const struct policy *policy, fastpath_policy_fn each, void *context);

/*
 * How many entries that will be: never more than there are prefixes of enabled destinations, and two. False when memory is
 * short.
 */
bool fastpath_policy_count(const struct policy *policy, size_t *ret);

/*
 * Whether the programs can tell of a connection that it is the candidate's of that number in the group, one that is rewritten: there
 * is nothing on the way to it that only the engine knows.
 */
bool fastpath_policy_decides(const struct policy *policy, uint32_t group, uint32_t candidate);

#endif
