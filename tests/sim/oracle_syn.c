/* SPDX-License-Identifier: GPL-2.0-or-later */
/* P1 and P2: what a SYN may carry. */
#include "gateway.h"

#define HALF_CIRCLE (((int64_t)1 << 31) - ((int64_t)1 << 24))

enum {
	KNOWN_S = 60,		   /* P1 */
	UNMANAGED_S = 70,	   /* a server may remember one for a little longer than P1 asks */
	PREVIOUS_S = 100,	   /* less than any flow is remembered for after its end */
	PAIR_SLACK_MS = 2,
	NEAR_MS = 86400000,
};

static struct history *history_of(const struct world *world, struct oracle *oracle, const struct crossing *c)
{
	return &oracle->histories[server_of(world, c->segment->server)->address];
}

static uint64_t ago(const struct world *world, uint32_t seconds)
{
	return world->now_us > SECONDS(seconds) ? world->now_us - SECONDS(seconds) : 0;
}

/*
 * Of values all around the circle none is newer than all. Where those that the gateway did not choose,
 * and its clock, lie within one half there is one.
 */
static bool is_satisfiable(const struct world *world, struct history *history, int64_t tick)
{
	int64_t highest = tick, lowest = tick, position;

	if (window_get(&history->highest, ago(world, UNMANAGED_S), &position) && position > highest)
		highest = position;
	if (window_get(&history->lowest, ago(world, UNMANAGED_S), &position) && position < lowest)
		lowest = position;
	return highest - lowest < HALF_CIRCLE;
}

/* How far a server's mark may be: one that lives on is renewed as one more, once a second. */
static int64_t mark_at_most(const struct world *world, const struct history *history)
{
	return history->ever + (int64_t)((world->now_us - history->ever_us) / SECONDS(1));
}

static void check_lead(struct world *world, const struct history *history, const struct crossing *c,
		       const struct oracle_flow *flow, int64_t position)
{
	int64_t tick = (int64_t)c->tick, allowed = tick + MAX_LEAD_MS, demanded = allowed;

	if (history->known) /* one more where it is the floor, when it is renewed, and when it is restored */
		demanded = mark_at_most(world, history) + 3;
	if (flow->pairs_out) /* the first SYN's offset holds for all, as far as the lead allows it */
		demanded += MAX_LEAD_MS;
	if (flow->had_previous && flow->previous_position + 1 > demanded)
		demanded = flow->previous_position + 1;
	check_rule(world, RULE_P2_LEAD, position <= allowed || position <= demanded,
		   "plan %u: SYN %lld ms ahead, known to server %u: %lld ahead", c->segment->plan,
		   (long long)(position - tick), c->segment->server, (long long)(history->ever - tick));
	if (world->scenario->gateway_count > 1) {
		int64_t ideal = (int64_t)gateway_ideal_tick(world);
		int64_t error = llabs(world->scenario->clock_error_us[c->gateway->number]) / 1000 + PAIR_SLACK_MS;

		check_rule(world, RULE_P2_PAIR,
			   position >= ideal - error &&
				   (position <= ideal + error + MAX_LEAD_MS || position <= demanded),
			   "plan %u: SYN of gateway %u is %lld ms ahead of the true clock", c->segment->plan,
			   c->gateway->number, (long long)(position - ideal));
	}
}

static void check_previous(struct world *world, const struct crossing *c, const struct oracle_flow *flow,
			   int64_t position, bool satisfiable)
{
	uint32_t limit_s = flow->had_managed_previous ? PREVIOUS_S : KNOWN_S;

	if (!flow->had_previous || flow->previous_us < ago(world, limit_s))
		return;
	check_rule(world, satisfiable ? RULE_P1_TUPLE : RULE_APART_CIRCLE, position > flow->previous_position,
		   "plan %u: SYN %lld ms ahead of the clock, the last on its four-tuple %lld, %llu ms ago",
		   c->segment->plan, (long long)(position - (int64_t)c->tick),
		   (long long)(flow->previous_position - (int64_t)c->tick),
		   (unsigned long long)(world->now_us - flow->previous_us) / 1000);
}

void oracle_check_syn(struct world *world, struct oracle *oracle, const struct crossing *c,
		      const struct oracle_flow *flow, bool first)
{
	struct history *history = history_of(world, oracle, c);
	int64_t position = oracle_position(c->tick, c->after.tsval), known;
	bool satisfiable = is_satisfiable(world, history, (int64_t)c->tick);

	/* What it has to be itself, by marks from before a reboot, counts too. */
	c->segment->source.satisfiable =
		satisfiable && (world->run != RUN_PAWSD || is_satisfiable(world, history, position));
	check_rule(world, RULE_P1_ZERO, c->after.tsval != 0, "plan %u: SYN with TSval 0", c->segment->plan);
	if (window_get(&history->all, ago(world, KNOWN_S), &known))
		check_rule(world, satisfiable ? RULE_P1_SERVER : RULE_APART_CIRCLE, position >= known,
			   "plan %u: SYN %lld ms ahead of the clock, server %u knows %lld ahead", c->segment->plan,
			   (long long)(position - (int64_t)c->tick), c->segment->server,
			   (long long)(known - (int64_t)c->tick));
	if (first)
		check_previous(world, c, flow, position, satisfiable);
	/* Days behind may well mean weeks ahead. */
	if (satisfiable || position > (int64_t)c->tick - NEAR_MS)
		check_rule(world, RULE_P2_BEHIND, position >= (int64_t)c->tick,
			   "plan %u: SYN %lld ms behind the clock", c->segment->plan,
			   (long long)((int64_t)c->tick - position));
	if (satisfiable)
		check_lead(world, history, c, flow, position);
}

/* Whatever leaves with a TSval is known to its server from now on. */
void oracle_note_sent(struct world *world, struct oracle *oracle, const struct crossing *c, struct oracle_flow *flow)
{
	struct history *history = history_of(world, oracle, c);
	int64_t position = oracle_position(c->tick, c->after.tsval);
	bool managed = flow->managed;

	c->segment->source.ahead_ms = position - (int64_t)c->tick;
	if (!flow->managed)
		history->stamped_us = world->now_us;
	if (c->after.tsval == 0)
		return;
	if (!flow->newest_us || position > flow->newest_position) {
		flow->newest = c->after.tsval;
		flow->newest_position = position;
		flow->newest_us = world->now_us;
	}
	flow->sent_us = world->now_us;
	window_add(&history->all, position, world->now_us, true);
	if (!managed || world->run == RUN_PAWSD) {
		window_add(&history->highest, position, world->now_us, true);
		window_add(&history->lowest, position, world->now_us, false);
	}
	if (!history->known || position > mark_at_most(world, history)) {
		history->known = true;
		history->ever = position;
		history->ever_us = world->now_us;
	}
}
