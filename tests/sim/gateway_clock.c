/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tick that the daemon gives to its engine, after src/daemon/state.c: time since boot plus an offset;
 * the offset grows where the time of day has gone ahead, by a second at a time, and never shrinks; after a
 * reboot it is made from the time of day, but no less than what was written down.
 */
#include "gateway.h"

enum {
	FOLLOW_STEP_MS = 1000,
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

	if (saved && realtime > clock->saved_realtime_ms)
		saved += realtime - clock->saved_realtime_ms;
	if (saved > tick)
		tick = saved;
	clock->offset_ms = (int64_t)tick - boottime_ms(world);
}

void gateway_save_clock(struct world *world)
{
	for (uint32_t i = 0; i < world->scenario->gateway_count; i++) {
		struct gateway *gateway = world->gateways[i];
		struct gateway_clock *clock = &gateway->clock;
		uint64_t realtime = gateway_realtime_ms(world, gateway), tick = now(world, gateway);

		if (!gateway->running || world->blocked_until_us > world->now_us)
			continue;
		if (realtime > tick) {
			uint64_t step = realtime - tick < FOLLOW_STEP_MS ? realtime - tick : FOLLOW_STEP_MS;

			clock->offset_ms += (int64_t)step;
			tick += step;
		}
		if (world->run == RUN_PAWSD)
			tick += clock_lead_ms(&gateway->room.engine.clock, tick);
		clock->saved_tick = tick;
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
