/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One run: the loop of events from the first connection to the last. */
#include "gateway.h"

enum {
	SWEEP_US = 1000000,
	SAVE_US = GATEWAY_SAVE_MS * 1000,
	DRAIN_S = 400,	    /* after the last connection has begun */
	OUTSIDE_COUNT = 12,
};

/* Connections come in phases, with hours between them. */
static void plan_next(struct world *world)
{
	const struct scenario *scenario = world->scenario;
	uint32_t next = world->connections_started, each = scenario->connection_count / scenario->phase_count + 1;
	struct rng rng = rng_make(scenario->seed, RNG_ARRIVAL, next);
	uint64_t gap_us = rng_next(&rng) % (2 * scenario->mean_gap_us + 1);

	if (next >= scenario->connection_count)
		return;
	if (next && next % each == 0)
		gap_us = MINUTES(rng_between(&rng, 1, 150));
	events_add(&world->events, world->now_us + gap_us, EVENT_CONNECT, next, 0);
}

static void handle_socket(struct world *world, const struct sim_event *event)
{
	struct socket *socket = socket_at(world, event->index);
	uint32_t generation = event->generation;

	if (socket->generation != generation || socket->state == SOCKET_FREE)
		return;
	socket->timer_at_us = 0;
	if (socket->is_client)
		client_timer(world, socket);
	else
		server_timer(world, socket);
	if (socket->generation == generation)
		socket_set_timer(world, socket);
}

static void handle_arrival(struct world *world, uint32_t index)
{
	struct segment segment = world->segments[index];

	segment_free(world, &world->segments[index]);
	if (segment.outbound)
		server_receive(world, &segment);
	else
		client_receive(world, &segment);
}

static void handle(struct world *world, const struct sim_event *event)
{
	switch (event->kind) {
	case EVENT_CONNECT:
		client_connect(world, event->index);
		world->connections_started++;
		plan_next(world);
		break;
	case EVENT_GATEWAY:
		gateway_cross(world, &world->segments[event->index]);
		break;
	case EVENT_ARRIVE:
		handle_arrival(world, event->index);
		break;
	case EVENT_SOCKET:
		handle_socket(world, event);
		break;
	case EVENT_SCENARIO:
		gateway_happen(world, &world->scenario->events[event->index]);
		break;
	case EVENT_SWEEP:
		gateway_sweep(world);
		events_add(&world->events, world->now_us + SWEEP_US, EVENT_SWEEP, 0, 0);
		break;
	case EVENT_SAVE:
		gateway_save_clock(world);
		events_add(&world->events, world->now_us + SAVE_US, EVENT_SAVE, 0, 0);
		break;
	case EVENT_OUTSIDE:
		outside_step(world, event->index);
		break;
	case EVENT_RULES_DONE:
		gateway_rules_done(world);
		break;
	}
}

static void open_world(struct world *world)
{
	const struct scenario *scenario = world->scenario;

	world->stamps_by_pair = sim_allocate(scenario->address_count * scenario->public_count, sizeof(struct stamp));
	world->stamps_by_peer = sim_allocate(scenario->machine_count * scenario->public_count, sizeof(struct stamp));
	for (uint32_t i = 0; i < scenario->client_count; i++)
		scenario->clients[i].port_next = 0;
	for (uint32_t i = 0; i < scenario->gateway_count; i++)
		world->gateways[i] = gateway_new(world, (uint8_t)i);
	for (uint32_t i = 0; i < scenario->event_count; i++)
		events_add(&world->events, scenario->events[i].at_us, EVENT_SCENARIO, i, 0);
	for (uint32_t i = 0; i < OUTSIDE_COUNT; i++)
		events_add(&world->events, SECONDS(3 + i * 5), EVENT_OUTSIDE, i * 8, 0);
	events_add(&world->events, 0, EVENT_SAVE, 0, 0);
	events_add(&world->events, SWEEP_US, EVENT_SWEEP, 0, 0);
	watch_open(world);
	plan_next(world);
}

static void close_world(struct world *world)
{
	watch_close(world);
	for (uint32_t i = 0; i < world->socket_count; i++)
		free(socket_at(world, i)->sent);
	for (uint32_t i = 0; i < world->socket_count / 256; i++)
		free(world->sockets[i]);
	for (uint32_t i = 0; i < world->scenario->gateway_count; i++)
		gateway_free(world, world->gateways[i]);
	nat_free(world);
	map_free(&world->client_sockets);
	map_free(&world->server_sockets);
	free(world->sockets);
	free(world->segments);
	free(world->events.heap);
	free(world->stamps_by_pair);
	free(world->stamps_by_peer);
}

void world_run(struct world *world)
{
	struct sim_event event;
	uint64_t last_us = UINT64_MAX;

	open_world(world);
	while (events_take(&world->events, &event) && event.at_us <= last_us) {
		world->now_us = event.at_us;
		handle(world, &event);
		if (last_us == UINT64_MAX && world->connections_started == world->scenario->connection_count)
			last_us = world->now_us + SECONDS(DRAIN_S);
	}
	world->tally->virtual_us = world->now_us;
	close_world(world);
}
