/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_RANGE_KEY_H
#define PAWSD_RANGE_KEY_H

#include <stdbool.h>

#include "policy.h"

/*
 * Arithmetic on range keys: 128-bit numbers of which an address is the upper 32 (IPv4) or all
 * 128 bits. So a prefix of length n is always the n upper bits, and all below are zero in its
 * first key and one in its last.
 */

static inline int range_key_compare(struct range_key a, struct range_key b)
{
	if (a.hi != b.hi)
		return a.hi < b.hi ? -1 : 1;
	if (a.lo != b.lo)
		return a.lo < b.lo ? -1 : 1;
	return 0;
}

static inline bool range_key_equal(struct range_key a, struct range_key b)
{
	return a.hi == b.hi && a.lo == b.lo;
}

/* The last key under the prefix of `len` bits that `key` lies in. */
static inline struct range_key range_key_last(struct range_key key, unsigned int len)
{
	if (len < 64)
		key.hi |= UINT64_MAX >> len;
	if (len <= 64)
		key.lo = UINT64_MAX;
	else if (len < 128)
		key.lo |= UINT64_MAX >> (len - 64);
	return key;
}

/* The first one. */
static inline struct range_key range_key_first(struct range_key key, unsigned int len)
{
	if (len < 64)
		key.hi &= ~(UINT64_MAX >> len);
	if (len <= 64)
		key.lo = 0;
	else if (len < 128)
		key.lo &= ~(UINT64_MAX >> (len - 64));
	return key;
}

/* The key after this one; false where there is none. */
static inline bool range_key_next(struct range_key *key)
{
	key->lo++;
	if (key->lo == 0)
		key->hi++;
	return key->lo != 0 || key->hi != 0;
}

static inline struct range_key range_key_previous(struct range_key key)
{
	if (key.lo == 0)
		key.hi--;
	key.lo--;
	return key;
}

#endif
