/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_POLICY_INTERNAL_H
#define PAWSD_POLICY_INTERNAL_H

#include "policy.h"

/* Addresses and their keys where the family is known; see prefix.c. */
struct range_key addr_to_key(const struct addr *addr, enum family family);
struct addr addr_from_key(struct range_key key, enum family family);
void addr_format_family(const struct addr *addr, enum family family, char *ret_text, size_t size);

#endif
