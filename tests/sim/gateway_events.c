/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What befalls a gateway: start, reload, restart, reboot, fail-over, and a time of day that steps. */
#include "gateway.h"

enum {
	RULES_LAG_MS = 150,
};

/*
 * Nothing is promised any more to connections that were being rewritten; nor to `all`, where the gateway that goes on may
 * know another connection on the four-tuple, from when it was the active one before.
 */
static void forsake_connections(struct world *world, bool all)
{
	for (uint32_t i = 0; i < world->socket_count; i++) {
		struct socket *socket = socket_at(world, i);

		if (socket->state != SOCKET_FREE && socket->is_client && (socket->managed || all))
			socket->victim = true;
	}
}

static void bring_packets(struct world *world, struct gateway *gateway)
{
	for (uint32_t i = 0; i < world->scenario->server_count; i++)
		gateway->was_rewriting[i] |= world->scenario->servers[i].mode[world->policy_epoch] != MODE_OFF;
}

static void reload(struct world *world)
{
	world->policy_epoch++;
	world->rules_lag = true;
	for (uint32_t i = 0; i < world->scenario->gateway_count; i++) {
		struct gateway *gateway = world->gateways[i];

		bring_packets(world, gateway);
		if (world->run == RUN_PAWSD)
			engine_room_use_policy(&gateway->room, world->policy_epoch, true);
	}
	events_add(&world->events, world->now_us + MS(RULES_LAG_MS), EVENT_RULES_DONE, 0, 0);
}

void gateway_rules_done(struct world *world)
{
	world->rules_lag = false;
	for (uint32_t i = 0; i < world->scenario->gateway_count; i++)
		if (world->run == RUN_PAWSD)
			engine_room_use_policy(&world->gateways[i]->room, world->policy_epoch, false);
}

static void restart(struct world *world, struct gateway *gateway)
{
	if (world->run == RUN_PAWSD)
		engine_room_restart(&gateway->room);
	textbook_forget(&gateway->textbook);
	oracle_note_restart(&gateway->oracle);
}

static void forget(struct world *world, struct gateway *gateway, bool marks)
{
	forsake_connections(world, false);
	gateway->forgot_us = world->now_us;
	if (world->run == RUN_PAWSD) {
		engine_room_forget_flows(&gateway->room);
		if (marks)
			engine_room_reboot_marks(&gateway->room);
	}
	textbook_forget(&gateway->textbook);
	oracle_note_restart(&gateway->oracle);
	oracle_forget_flows(&gateway->oracle);
	if (marks) {
		oracle_cut_history(world, &gateway->oracle, gateway->clock.saved_us);
		gateway->clock.restored_us = gateway->clock.saved_us;
		gateway->memory = (uint16_t)(gateway->memory + GATEWAYS_MAX);
	}
	memset(gateway->was_rewriting, 0, sizeof(gateway->was_rewriting));
	bring_packets(world, gateway);
}

static void reboot(struct world *world, struct gateway *gateway, int64_t wrong_us)
{
	forget(world, gateway, true);
	gateway->clock.realtime_off_us += wrong_us;
	gateway_clock_start(world, gateway);
}

void gateway_happen(struct world *world, const struct gateway_event *event)
{
	struct gateway *gateway = world->gateways[world->active];

	switch (event->kind) {
	case GATEWAY_START:
		for (uint32_t i = 0; i < world->scenario->gateway_count; i++) {
			world->gateways[i]->running = true;
			bring_packets(world, world->gateways[i]);
		}
		break;
	case GATEWAY_RELOAD:
		reload(world);
		break;
	case GATEWAY_RESTART:
		restart(world, gateway);
		break;
	case GATEWAY_FORGET:
		forget(world, gateway, false);
		break;
	case GATEWAY_REBOOT:
		reboot(world, gateway, event->argument_us);
		break;
	case GATEWAY_DOWN:
		world->down_until_us = world->now_us + (uint64_t)event->argument_us;
		restart(world, gateway);
		break;
	case GATEWAY_NTP_STEP:
		gateway->clock.realtime_off_us += event->argument_us;
		break;
	case GATEWAY_FAILOVER:
		forsake_connections(world, true);
		world->active = (world->active + 1) % world->scenario->gateway_count;
		world->blocked_until_us = world->now_us + (uint64_t)event->argument_us;
		break;
	}
}
