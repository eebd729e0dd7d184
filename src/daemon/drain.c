/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "drain.h"

#include <stdlib.h>

#include "hash.h"

enum {
	INDEX_SIZE = 2 * DRAIN_MAX,
};

bool drain_set_open(struct drain_set *set)
{
	*set = (struct drain_set){0};
	set->entries = calloc(DRAIN_MAX, sizeof(*set->entries));
	set->index = calloc(INDEX_SIZE, sizeof(*set->index));
	set->strips = calloc(DESTINATION_SLOTS, sizeof(*set->strips));
	if (set->entries && set->index && set->strips)
		return true;
	drain_set_close(set);
	return false;
}

void drain_set_close(struct drain_set *set)
{
	free(set->entries);
	free(set->index);
	free(set->strips);
	*set = (struct drain_set){0};
}

/* The place in the index where the server is, or is to go. */
static uint32_t *find_place(const struct drain_set *set, const struct addr *server, uint16_t port)
{
	uint64_t at = hash_bytes16(server->byte, port);

	for (;; at++) {
		uint32_t *place = &set->index[at % INDEX_SIZE];
		const struct rules_drain *entry;

		if (*place == 0)
			return place;
		entry = &set->entries[*place - 1];
		if (entry->port == port && addr_equal(&entry->server, server))
			return place;
	}
}

void drain_set_add(struct drain_set *set, const struct addr *server, uint16_t port)
{
	uint32_t *place = find_place(set, server, port);

	if (*place)
		return;
	if (set->count == DRAIN_MAX) {
		set->overflow = true;
		return;
	}
	set->entries[set->count++] = (struct rules_drain){.server = *server, .port = port};
	*place = (uint32_t)set->count;
}

/* By then neither side misses a segment that goes by with a TSval that is not the flow's. */
static bool has_ended(const struct flow *flow)
{
	return flow->state == FLOW_TIME_WAIT || flow->state == FLOW_CLOSE;
}

void drain_set_add_rewritten(struct drain_set *set, const struct flow *flow)
{
	set->rewritten += !has_ended(flow);
}

void drain_set_add_strip(struct drain_set *set, uint16_t slot, const struct flow *flow)
{
	struct drain_strip *strip = &set->strips[slot];

	strip->flows += !has_ended(flow);
	if (flow->last_seen_s > strip->last_seen_s)
		strip->last_seen_s = flow->last_seen_s;
}

void drain_set_merge(struct drain_set *set, const struct drain_set *from)
{
	for (size_t i = 0; i < from->count; i++)
		drain_set_add(set, &from->entries[i].server, from->entries[i].port);
	if (from->overflow)
		set->overflow = true;
	set->rewritten += from->rewritten;
	for (size_t slot = 0; slot < DESTINATION_SLOTS; slot++) {
		set->strips[slot].flows += from->strips[slot].flows;
		if (from->strips[slot].last_seen_s > set->strips[slot].last_seen_s)
			set->strips[slot].last_seen_s = from->strips[slot].last_seen_s;
	}
}

bool drain_set_has_strips(const struct drain_set *set)
{
	for (size_t slot = 0; set->strips && slot < DESTINATION_SLOTS; slot++) {
		if (set->strips[slot].last_seen_s)
			return true;
	}
	return false;
}

bool drain_set_equal(const struct drain_set *a, const struct drain_set *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (!*find_place(b, &a->entries[i].server, a->entries[i].port))
			return false;
	}
	return true;
}
