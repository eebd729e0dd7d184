/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_INTERN_H
#define PAWSD_INTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy.h"

/* Lists of 16-bit words, each with a number in the order they came: equal lists, equal numbers. */
struct intern {
	uint16_t *words;
	size_t word_count, word_capacity;
	struct policy_group *lists; /* into words */
	size_t list_count, list_capacity;
	uint32_t *slots; /* hash table of list numbers plus one; 0: empty */
	size_t slot_count;
};

/* The number of a list, made now if need be: then *ret_is_new. UINT32_MAX if memory is short. */
uint32_t intern_list(struct intern *intern, const uint16_t *words, size_t count, bool *ret_is_new);
void intern_free(struct intern *intern);

#endif
