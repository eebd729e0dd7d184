/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What will happen, in a heap of four children a node; of two at the same time the older order first. */
#include "sim.h"

static bool is_sooner(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void events_add(struct events *events, uint64_t at_us, enum event_kind kind, uint32_t index, uint32_t generation)
{
	struct sim_event event = {.at_us = at_us, .order = events->order++, .index = index, .generation = generation,
			      .kind = kind};
	uint32_t at;

	if (events->count == events->room) {
		events->room = events->room ? events->room * 2 : 4096;
		events->heap = realloc(events->heap, events->room * sizeof(*events->heap));
		if (!events->heap)
			abort();
	}
	at = events->count++;
	while (at > 0 && is_sooner(&event, &events->heap[(at - 1) / 4])) {
		events->heap[at] = events->heap[(at - 1) / 4];
		at = (at - 1) / 4;
	}
	events->heap[at] = event;
}

bool events_take(struct events *events, struct sim_event *ret)
{
	struct sim_event last;
	uint32_t at = 0;

	if (events->count == 0)
		return false;
	*ret = events->heap[0];
	last = events->heap[--events->count];
	for (;;) {
		uint32_t first = at * 4 + 1, best = first;

		if (first >= events->count)
			break;
		for (uint32_t i = first + 1; i < first + 4 && i < events->count; i++)
			if (is_sooner(&events->heap[i], &events->heap[best]))
				best = i;
		if (!is_sooner(&events->heap[best], &last))
			break;
		events->heap[at] = events->heap[best];
		at = best;
	}
	events->heap[at] = last;
	return true;
}
