/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The oracle's memory: every connection with every TSval, and what each server's address was sent. */
#include "gateway.h"

enum {
	FORGET_S = 200,
};

/* ---- the greatest (or least) of a time that is past: what a later one outdoes is dropped ---- */

void window_add(struct window *window, int64_t position, uint64_t at_us, bool greatest)
{
	struct window_entry *entries = window->entries;

	while (window->count > 0) {
		int64_t last = entries[window->first + window->count - 1].position;

		if (greatest ? last > position : last < position)
			break;
		window->count--;
	}
	if (window->first + window->count == window->room) {
		if (window->first > window->room / 2) {
			memmove(entries, entries + window->first, window->count * sizeof(*entries));
		} else {
			struct window_entry *more;

			window->room = window->room ? window->room * 2 : 32;
			more = sim_allocate(window->room, sizeof(*more));
			if (window->count)
				memcpy(more, entries + window->first, window->count * sizeof(*more));
			free(entries);
			window->entries = entries = more;
		}
		window->first = 0;
	}
	entries[window->first + window->count++] = (struct window_entry){position, at_us};
}

bool window_get(struct window *window, uint64_t since_us, int64_t *ret_position)
{
	while (window->count > 0 && window->entries[window->first].at_us < since_us) {
		window->first++;
		window->count--;
	}
	if (window->count == 0)
		return false;
	*ret_position = window->entries[window->first].position;
	return true;
}

void window_cut(struct window *window, uint64_t since_us)
{
	while (window->count > 0 && window->entries[window->first + window->count - 1].at_us > since_us)
		window->count--;
}

void window_clear(struct window *window)
{
	free(window->entries);
	*window = (struct window){0};
}

int64_t oracle_position(uint64_t tick, uint32_t tsval)
{
	uint32_t now = (uint32_t)tick + engine_room_base();

	return (int64_t)tick + (seq_after(tsval, now) ? (int64_t)(tsval - now) : -(int64_t)(now - tsval));
}

/* ---- flows ---- */

struct oracle_flow *oracle_find(struct oracle *oracle, uint64_t key)
{
	const uint32_t *index = map_find(&oracle->index, key);

	return index ? &oracle->flows[*index] : NULL;
}

struct oracle_flow *oracle_add(struct oracle *oracle, uint64_t key)
{
	uint32_t index;

	if (oracle->free_count) {
		index = oracle->free_flows[--oracle->free_count];
	} else {
		if (oracle->flow_count == oracle->flow_room) {
			oracle->flow_room = oracle->flow_room ? oracle->flow_room * 2 : 1024;
			oracle->flows = realloc(oracle->flows, oracle->flow_room * sizeof(*oracle->flows));
			if (!oracle->flows)
				abort();
		}
		index = oracle->flow_count++;
	}
	map_set(&oracle->index, key, index);
	oracle->flows[index] = (struct oracle_flow){.key = key, .used = true};
	return &oracle->flows[index];
}

void oracle_remove(struct oracle *oracle, struct oracle_flow *flow)
{
	map_remove(&oracle->index, flow->key);
	free(flow->pairs);
	*flow = (struct oracle_flow){0};
	if (oracle->free_count == oracle->free_room) {
		oracle->free_room = oracle->free_room ? oracle->free_room * 2 : 1024;
		oracle->free_flows = realloc(oracle->free_flows, oracle->free_room * sizeof(*oracle->free_flows));
		if (!oracle->free_flows)
			abort();
	}
	oracle->free_flows[oracle->free_count++] = (uint32_t)(flow - oracle->flows);
}

void oracle_add_pair(const struct world *world, struct oracle_flow *flow, uint32_t tsval, uint32_t emitted, bool syn)
{
	if (flow->pair_count == flow->pair_room) {
		flow->pair_room = flow->pair_room ? flow->pair_room * 2 : 8;
		flow->pairs = realloc(flow->pairs, flow->pair_room * sizeof(*flow->pairs));
		if (!flow->pairs)
			abort();
	}
	flow->pairs[flow->pair_count++] = (struct pair){tsval, emitted, world->now_us, syn};
}

void oracle_purge(struct world *world, struct oracle *oracle)
{
	for (uint32_t i = 0; i < oracle->flow_count; i++) {
		struct oracle_flow *flow = &oracle->flows[i];
		bool over = flow->midstream || (flow->fin_out && flow->fin_in);

		if (flow->used && over && flow->last_us + SECONDS(FORGET_S) < world->now_us)
			oracle_remove(oracle, flow);
	}
}

void oracle_open(struct world *world, struct oracle *oracle)
{
	oracle->histories = sim_allocate(world->scenario->address_count, sizeof(*oracle->histories));
}

void oracle_forget_flows(struct oracle *oracle)
{
	for (uint32_t i = 0; i < oracle->flow_count; i++)
		free(oracle->flows[i].pairs);
	oracle->flow_count = oracle->free_count = 0;
	map_free(&oracle->index);
}

void oracle_cut_history(const struct world *world, struct oracle *oracle, uint64_t since_us)
{
	for (uint32_t i = 0; i < world->scenario->address_count; i++) {
		struct history *history = &oracle->histories[i];

		window_cut(&history->all, since_us);
		window_cut(&history->highest, since_us);
		window_cut(&history->lowest, since_us);
		history->stamped_us = 0;
	}
}

static void free_history(const struct world *world, struct oracle *oracle)
{
	for (uint32_t i = 0; i < world->scenario->address_count; i++) {
		struct history *history = &oracle->histories[i];

		window_clear(&history->all);
		window_clear(&history->highest);
		window_clear(&history->lowest);
		*history = (struct history){0};
	}
}

void oracle_close(const struct world *world, struct oracle *oracle)
{
	oracle_forget_flows(oracle);
	free_history(world, oracle);
	free(oracle->histories);
	free(oracle->flows);
	free(oracle->free_flows);
}

/* Counters begin at 0 again; flows that were rewritten are to go on with the offset they had. */
void oracle_note_restart(struct oracle *oracle)
{
	memset(oracle->expected, 0, sizeof(oracle->expected));
	for (uint32_t i = 0; i < oracle->flow_count; i++)
		oracle->flows[i].restarted = true;
}
