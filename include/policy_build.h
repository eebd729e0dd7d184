/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_POLICY_BUILD_H
#define PAWSD_POLICY_BUILD_H

#include "policy.h"

/*
 * Builds a policy from `count` destinations, [0] being [default] and the rest in file order.
 * Takes over the array and all that it points to, also on failure. Disabled destinations are
 * kept but match nothing. NULL only when memory is short.
 */
struct policy *policy_build(struct destination *destinations, size_t count);
void policy_free(struct policy *policy);

/*
 * The same policy with a trial, whose counters have that slot, in place of any that is in it; NULL: without. Frees `policy`.
 * Returns NULL when memory is short.
 */
struct policy *policy_change_trial(struct policy *policy, const struct policy_trial *wanted, uint16_t slot);

/* Frees what has not become a policy. */
void policy_free_destinations(struct destination *destinations, size_t count);

/*
 * Calls `each` for every maximal range of addresses with the same group, ascending, with its
 * first and last address.
 */
typedef void (*policy_range_fn)(void *context, const struct addr *first, const struct addr *last, uint32_t group);
void policy_each_range(const struct policy *policy, enum family family, policy_range_fn each, void *context);

/*
 * Cuts the range first..last (inclusive, one family) into the fewest prefixes, ascending.
 * `min_len` 1 keeps /0 out, which ipset's hash:net does not take.
 */
typedef void (*prefix_fn)(void *context, const struct prefix *prefix);
void policy_each_prefix(enum family family, const struct addr *first, const struct addr *last, uint8_t min_len,
			prefix_fn each, void *context);

/* Text of an address or prefix, as ipset, nft and people write it. `size` >= 64. */
void addr_format(const struct addr *addr, char *ret_text, size_t size);
void prefix_format(const struct prefix *prefix, char *ret_text, size_t size);

/*
 * Reads "192.0.2.0/24", "2001:db8::/32" or an address alone. Returns NULL, or what is wrong
 * with the text in words for a message ("has host bits set; did you mean 192.0.2.0/24").
 * The words live in a static buffer of the calling thread until the next call.
 */
const char *prefix_parse(const char *text, struct prefix *ret);

#endif
