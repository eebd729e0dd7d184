/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "intern.h"

static bool reserve_words(struct intern *intern, size_t needed)
{
	if (needed <= intern->word_capacity)
		return true;
	const size_t capacity = needed * 2 + 64;
	uint16_t *larger = reallocarray(intern->words, capacity, sizeof(*larger));

	if (!larger)
		return false;
	intern->words = larger;
	intern->word_capacity = capacity;
	return true;
}

static bool reserve_lists(struct intern *intern, size_t needed)
{
	if (needed <= intern->list_capacity)
		return true;
	const size_t capacity = needed * 2 + 64;
	struct policy_group *larger = reallocarray(intern->lists, capacity, sizeof(*larger));

	if (!larger)
		return false;
	intern->lists = larger;
	intern->list_capacity = capacity;
	return true;
}

static uint64_t hash_words(const uint16_t *words, size_t count)
{
	uint64_t hash = 0x9e3779b97f4a7c15 ^ count;

	for (size_t i = 0; i < count; i++) {
		hash = (hash ^ words[i]) * 0xff51afd7ed558ccd;
		hash ^= hash >> 32;
	}
	return hash;
}

static uint32_t *intern_slot(const struct intern *intern, const uint16_t *words, size_t count)
{
	size_t i = hash_words(words, count) & (intern->slot_count - 1);

	for (; intern->slots[i]; i = (i + 1) & (intern->slot_count - 1)) {
		const struct policy_group *list = &intern->lists[intern->slots[i] - 1];

		if (list->count == count &&
		    (count == 0 || memcmp(intern->words + list->first, words, count * sizeof(*words)) == 0))
			break;
	}
	return &intern->slots[i];
}

/* Keeps the hash table at most half full. */
static bool intern_grow(struct intern *intern)
{
	if (intern->list_count * 2 < intern->slot_count)
		return true;
	const size_t slot_count = intern->slot_count ? intern->slot_count * 2 : 64;
	uint32_t *slots = calloc(slot_count, sizeof(*slots));

	if (!slots)
		return false;
	free(intern->slots);
	intern->slots = slots;
	intern->slot_count = slot_count;
	for (size_t i = 0; i < intern->list_count; i++) {
		const struct policy_group *list = &intern->lists[i];

		*intern_slot(intern, intern->words + list->first, list->count) = (uint32_t)i + 1;
	}
	return true;
}

uint32_t intern_list(struct intern *intern, const uint16_t *words, size_t count, bool *ret_is_new)
{
	*ret_is_new = false;
	if (!intern_grow(intern))
		return UINT32_MAX;
	uint32_t *slot = intern_slot(intern, words, count);

	if (*slot)
		return *slot - 1;
	if (!reserve_words(intern, intern->word_count + count) || !reserve_lists(intern, intern->list_count + 1))
		return UINT32_MAX;
	memcpy(intern->words + intern->word_count, words, count * sizeof(*words));
	intern->lists[intern->list_count] = (struct policy_group){
		.first = (uint32_t)intern->word_count,
		.count = (uint32_t)count,
	};
	intern->word_count += count;
	*slot = (uint32_t)++intern->list_count;
	*ret_is_new = true;
	return *slot - 1;
}

void intern_free(struct intern *intern)
{
	free(intern->words);
	free(intern->lists);
	free(intern->slots);
}
