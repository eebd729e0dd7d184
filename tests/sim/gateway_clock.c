/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tick that the daemon gives to its engine, after src/daemon/state.c: time since boot plus an offset
 * that follows the time of day, ahead by a 20th of the time since the last save, back by a thousandth; what was published is never undone. After a reboot it is made from the time of day, but no less
 * than what was written down and, after a crash, may have been reached since.
 */
#include "gateway.h"

enum {
	FOLLOW_STEP_MS = 250,
	FOLLOW_BACK_SHARE = 1000,
};

static int64_t boottime_ms(const struct world *world)
{
	return (int64_t)(world->now_us / 1000);
}

uint64_t gateway_ideal_tick(const struct world *world)
{
	return world->scenario->epoch_ms + world->now_us / 1000;
}

uint64_t gateway_realtime_ms(const struct world *world, const struct gateway *gateway)
{
	int64_t us = (int64_t)world->now_us + gateway->clock.realtime_off_us;

	return (uint64_t)((int64_t)world->scenario->epoch_ms + us / 1000);
}

static uint64_t now(const struct world *world, const struct gateway *gateway)
{
	return (uint64_t)(boottime_ms(world) + gateway->clock.offset_ms);
}

void gateway_clock_start(struct world *world, struct gateway *gateway)
{
	struct gateway_clock *clock = &gateway->clock;
	uint64_t realtime = gateway_realtime_ms(world, gateway), tick = realtime, saved = clock->saved_tick;

	if (saved) {
		uint64_t reached = saved + 2 * GATEWAY_SAVE_MS; /* a reboot here is always a crash */

		if (realtime > clock->saved_realtime_ms && saved + (realtime - clock->saved_realtime_ms) > reached)
			reached = saved + (realtime - clock->saved_realtime_ms);
		if (reached > tick)
			tick = reached;
	}
	clock->offset_ms = (int64_t)tick - boottime_ms(world);
	clock->followed_ms = boottime_ms(world);
}

static void follow_realtime(const struct world *world, struct gateway *gateway, uint64_t realtime)
{
	struct gateway_clock *clock = &gateway->clock;
	int64_t step = (int64_t)(realtime - now(world, gateway));
	int64_t slowest = -(boottime_ms(world) - clock->followed_ms) / FOLLOW_BACK_SHARE;

	if (step > FOLLOW_STEP_MS)
		step = FOLLOW_STEP_MS;
	if (step < slowest)
		step = slowest;
	clock->followed_ms = boottime_ms(world);
	clock->offset_ms += step;
}

void gateway_save_clock(struct world *world)
{
	for (uint32_t i = 0; i < world->scenario->gateway_count; i++) {
		struct gateway *gateway = world->gateways[i];
		struct gateway_clock *clock = &gateway->clock;
		uint64_t realtime = gateway_realtime_ms(world, gateway), tick;

		if (!gateway->running || world->blocked_until_us > world->now_us)
			continue;
		follow_realtime(world, gateway, realtime);
		tick = now(world, gateway);
		clock->saved_tick = tick;
		clock->saved_us = world->now_us;
		if (world->run == RUN_PAWSD) {
			clock->saved_tick += clock_lead_ms(&gateway->room.engine.clock, tick);
			if (world->scenario->variant == VARIANT_REBOOT)
				engine_room_save_marks(&gateway->room, tick);
		}
		clock->saved_realtime_ms = realtime;
	}
}

uint64_t gateway_tick(struct world *world, struct gateway *gateway)
{
	uint64_t tick = now(world, gateway), shown = tick;

	if (world->run == RUN_PAWSD)
		shown = tick = clock_publish(&gateway->room.engine.clock, tick);
	if (world->run == RUN_TEXTBOOK)
		shown = (uint64_t)textbook_now(&gateway->textbook, gateway_realtime_ms(world, gateway));
	if (world->run != RUN_PLAIN)
		check_rule(world, RULE_P2_TICK, shown >= gateway->last_tick, "gateway %u: tick %llu after %llu",
			   gateway->number, (unsigned long long)shown, (unsigned long long)gateway->last_tick);
	gateway->last_tick = shown;
	return tick;
}
