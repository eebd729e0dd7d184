/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where there is no place for a new SYN, in the table or in its client's share.
 *
 * SYNs that nobody answers would hold their places until their time-out, so that a flood of them keeps everybody else
 * out for as long. Instead a new SYN takes the place of one that has had no answer for some seconds, and has not been
 * repeated: it is the last one to be missed. In a table of N places a flood of N / 3 SYNs a second thus keeps nobody
 * out. What the server has answered keeps its place. A client at its share can push out its own only.
 *
 * The place is found by a hand that goes round the table, a few places further with each SYN: what a SYN costs is
 * bounded, and where nearly all places are held by running connections it may find none.
 *
 * Where others look for flows as well (flow_loan.h) a place that has become free rests first. So there room is made ahead of
 * need, when the last eighth of the table is begun: a flood of N / 5 SYNs a second finds as many places as have to rest for
 * half a second. Where a connection takes the place of another on its four-tuple nothing has to rest: flow_table_renew().
 */
#include "engine_internal.h"

#include "seq.h"

enum {
	UNANSWERED_S = 3, /* in whole seconds, as flows are seen: more than two. An answer comes sooner, or the SYN again */
	PLACES_A_SYN = 16,
	RESERVE_SHARE = 8,
};

/* `now`: the flow's word, by which it is to be forgotten. */
static bool is_given_up(const struct passage *p, const struct flow *now, const struct flow *flow)
{
	return engine_is_unanswered(now) &&
	       !seq_after(atomic_load(&flow->last_seen_s) + UNANSWERED_S, engine_seconds(p->tick));
}

void engine_push_out(struct passage *p, const struct client_use *whose)
{
	struct engine *engine = p->engine;
	struct flow_table *table = &engine->table;

	for (int i = 0; i < PLACES_A_SYN; i++) {
		struct flow *flow = &table->flows[engine->full_hand];
		const struct flow now = {.word = atomic_load_acquire(&flow->word)};

		if (++engine->full_hand >= table->used_end)
			engine->full_hand = 0;
		if (!is_given_up(p, &now, flow) || (whose && flow_table_use_of_client(table, &flow->client) != whose))
			continue;
		if (!engine_forget_if(engine, flow, now.word))
			continue;
		counter_add(&engine->counters->pushed_out, 1);
		return;
	}
}

static bool is_short_of_room(const struct flow_table *table)
{
	return !flow_table_has_room(table) ||
	       (table->loan && flow_table_used(table) > table->capacity - table->capacity / RESERVE_SHARE);
}

void engine_make_room(struct passage *p)
{
	struct engine *engine = p->engine;
	struct flow_table *table = &engine->table;

	/* Once a tick, so that a flood of SYNs does not pay for it one by one. */
	if (is_short_of_room(table) && engine->full_tick != p->tick) {
		engine->full_tick = p->tick;
		engine_sweep(engine, ENGINE_SWEEP_WHEN_FULL, p->tick);
	}
	if (is_short_of_room(table))
		engine_push_out(p, NULL);
}
