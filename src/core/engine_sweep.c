/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How flows end that nobody hears of any more, and how those of an earlier process are taken over. See engine.c. */
#include "engine_internal.h"

enum {
	UNSEEN_S = 10,
};

/* Its server may remember it for as long as it was alive, and a minute. */
static void note_stamped(struct engine *engine, const struct flow *flow)
{
	if (atomic_load(&flow->flags) & FLOW_STAMPED)
		clock_note_stamped(&engine->clock, atomic_load(&flow->last_seen_s), &flow->server);
}

static void count_gone(struct engine *engine, uint64_t word)
{
	const struct flow was = {.word = word};

	counter_add(&engine->counters->flows[was.slot][was.state], (uint64_t)-1);
}

void engine_forget_flow(struct engine *engine, struct flow *flow)
{
	note_stamped(engine, flow);
	count_gone(engine, flow_table_remove(&engine->table, flow));
}

void engine_renew_flow(struct engine *engine, struct flow *flow)
{
	note_stamped(engine, flow);
	count_gone(engine, flow_table_renew(&engine->table, flow));
}

bool engine_forget_if(struct engine *engine, struct flow *flow, uint64_t word)
{
	if (!flow_table_remove_if(&engine->table, flow, word))
		return false;
	note_stamped(engine, flow);
	count_gone(engine, word);
	return true;
}

/* How long the flow is remembered after it was heard last. */
static uint32_t timeout_of(const struct engine *engine, const struct flow *flow)
{
	uint32_t timeout_s = engine->timeout_s[flow->state];

	/* The client's ACK is a moment away; a forged SYN/ACK's never comes. */
	if (engine_is_word_alone(flow) && timeout_s > UNSEEN_S)
		timeout_s = UNSEEN_S;
	return timeout_s;
}

void engine_sweep(struct engine *engine, uint32_t count, uint64_t tick)
{
	struct flow_table *table = &engine->table;
	uint32_t now_s = engine_seconds(tick), places;

	if (count > table->capacity)
		count = table->capacity;
	/* As large a part of the places that may be in use. */
	places = (uint32_t)(((uint64_t)count * table->used_end + table->capacity - 1) / table->capacity);
	/* Marks as often as flows. */
	clock_sweep(&engine->clock, tick, (uint32_t)((uint64_t)count * CLOCK_SERVER_SLOTS / table->capacity) + 1,
		    &engine->mark_hand);
	for (uint32_t i = 0; i < places; i++) {
		struct flow *flow = &table->flows[table->sweep_hand];
		const struct flow was = {.word = atomic_load_acquire(&flow->word)};

		if (++table->sweep_hand >= table->used_end)
			table->sweep_hand = 0;
		if (was.state == FLOW_FREE) {
			if (was.mode == FLOW_GIVEN_BACK)
				flow_table_take_back(table, flow);
			continue;
		}
		/* Somebody may just have moved it on, or begun anew in its place. */
		if ((int32_t)(now_s - atomic_load(&flow->last_seen_s)) > (int32_t)timeout_of(engine, &was))
			engine_forget_if(engine, flow, was.word);
		else
			note_stamped(engine, flow);
	}
}

void engine_adopt(struct engine *engine, const uint16_t *slots)
{
	struct flow_table *table = &engine->table;

	for (uint32_t i = 0; i < table->capacity; i++) {
		struct flow *flow = &table->flows[i], now;
		uint64_t before = atomic_load(&flow->word);

		do {
			now.word = before;
			now.slot = now.slot < DESTINATION_SLOTS ? slots[now.slot] : (uint16_t)SLOT_NONE;
		} while (now.state != FLOW_FREE && !atomic_exchange_if(&flow->word, &before, now.word));
		if (now.state != FLOW_FREE)
			counter_add(&engine->counters->flows[now.slot][now.state], 1);
	}
}
