/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Source NAT as conntrack does it, with time-outs after the end that are shorter than a server's
 * TIME_WAIT: a public port finds a new client while the server still remembers the old one (F2). The
 * table outlives whatever happens to the daemon, and two gateways share it.
 */
#include "sim.h"

enum {
	SYN_SENT_TIMEOUT_S = 120,
	PORT_TRIES = 64,
};

static uint64_t inner_key(const struct segment *segment)
{
	return tuple_key(segment->client, segment->client_port, segment->server);
}

static uint64_t outer_key(uint32_t public, uint32_t port, uint32_t server)
{
	return tuple_key(public, port, server);
}

static struct mapping *find(const struct world *world, const struct map *map, uint64_t key)
{
	const uint32_t *index = map_find(map, key);

	return index ? &world->mappings[*index] : NULL;
}

static bool is_past(const struct world *world, const struct mapping *mapping)
{
	return mapping->expires_us && mapping->expires_us <= world->now_us;
}

static void remove_mapping(struct world *world, struct mapping *mapping)
{
	uint32_t index = (uint32_t)(mapping - world->mappings);

	map_remove(&world->inner_mappings, tuple_key(mapping->client, mapping->client_port, mapping->server));
	map_remove(&world->outer_mappings, outer_key(mapping->public, mapping->public_port, mapping->server));
	mapping->used = false;
	if (world->free_mapping_count == world->free_mapping_room) {
		world->free_mapping_room = world->free_mapping_room ? world->free_mapping_room * 2 : 1024;
		world->free_mappings = realloc(world->free_mappings,
					       world->free_mapping_room * sizeof(*world->free_mappings));
		if (!world->free_mappings)
			abort();
	}
	world->free_mappings[world->free_mapping_count++] = index;
}

static bool is_port_free(struct world *world, uint16_t public, uint16_t port, uint16_t server)
{
	struct mapping *mapping = find(world, &world->outer_mappings, outer_key(public, port, server));

	if (mapping && is_past(world, mapping)) {
		remove_mapping(world, mapping);
		return true;
	}
	return !mapping;
}

static bool choose_port(struct world *world, const struct segment *segment, uint16_t public, uint16_t *ret)
{
	const struct scenario *scenario = world->scenario;
	struct rng rng = rng_make(scenario->seed, RNG_NAT, segment->plan);
	uint16_t first = scenario->nat_first, count = scenario->nat_count, port;

	if (scenario->nat_ports == NAT_PRESERVE && is_port_free(world, public, segment->client_port, segment->server)) {
		*ret = segment->client_port;
		return true;
	}
	for (uint32_t i = 0; i < PORT_TRIES; i++) {
		port = (uint16_t)(first + (scenario->nat_ports == NAT_LOWEST ? i : rng_below(&rng, count)));
		if (is_port_free(world, public, port, segment->server)) {
			*ret = port;
			return true;
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		port = (uint16_t)(first + i);
		if (is_port_free(world, public, port, segment->server)) {
			*ret = port;
			return true;
		}
	}
	return false;
}

static struct mapping *add_mapping(struct world *world, const struct segment *segment)
{
	uint16_t public = client_of(world, segment->client)->public, port;
	uint32_t index;

	if (!choose_port(world, segment, public, &port))
		return NULL;
	if (world->free_mapping_count) {
		index = world->free_mappings[--world->free_mapping_count];
	} else {
		index = world->mapping_count++;
		if ((index & (index - 1)) == 0) {
			world->mappings = realloc(world->mappings,
						  (index ? index * 2 : 1) * sizeof(*world->mappings));
			if (!world->mappings)
				abort();
		}
	}
	world->mappings[index] = (struct mapping){
		.client = segment->client, .client_port = segment->client_port, .server = segment->server,
		.public = public, .public_port = port, .used = true,
	};
	map_set(&world->inner_mappings, inner_key(segment), index);
	map_set(&world->outer_mappings, outer_key(public, port, segment->server), index);
	return &world->mappings[index];
}

static void follow(struct world *world, struct mapping *mapping, const struct segment *segment)
{
	if (segment->outbound && (segment->flags & (SYN | ACK)) == SYN) {
		mapping->closing = false;
		mapping->fins = 0;
		mapping->expires_us = world->now_us + SECONDS(SYN_SENT_TIMEOUT_S);
		return;
	}
	if (segment->flags & FIN)
		mapping->fins |= segment->outbound ? 1 : 2;
	if (segment->flags & RST)
		mapping->closing = true;
	if (mapping->fins == 3)
		mapping->closing = true;
	if (mapping->closing)
		mapping->expires_us = world->now_us + world->scenario->nat_close_us;
	else if (!(segment->flags & SYN) && segment->outbound)
		mapping->expires_us = 0;
}

bool nat_translate(struct world *world, struct segment *segment)
{
	struct mapping *mapping;

	if (segment->outbound) {
		mapping = find(world, &world->inner_mappings, inner_key(segment));
		if (mapping && is_past(world, mapping)) {
			remove_mapping(world, mapping);
			mapping = NULL;
		}
		if (!mapping && (segment->flags & (SYN | ACK)) == SYN)
			mapping = add_mapping(world, segment);
		if (!mapping)
			return false;
		segment->public = mapping->public;
		segment->public_port = mapping->public_port;
	} else {
		mapping = find(world, &world->outer_mappings,
			       outer_key(segment->public, segment->public_port, segment->server));
		if (!mapping || is_past(world, mapping))
			return false;
		segment->client = mapping->client;
		segment->client_port = mapping->client_port;
	}
	follow(world, mapping, segment);
	return true;
}

void nat_free(struct world *world)
{
	free(world->mappings);
	free(world->free_mappings);
	map_free(&world->inner_mappings);
	map_free(&world->outer_mappings);
}
