/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two legs, before and behind the gateway: loss, duplication, jitter, now and then a packet held back. */
#include "sim.h"

enum {
	HELD_BACK_SHORT = 8000, /* per million: by up to 300 ms, so that others overtake it */
	HELD_BACK_LONG = 300,	/* by up to 5 s */
};

struct segment *segment_new(struct world *world)
{
	struct segment *segment;

	if (world->free_segment == 0) {
		uint32_t old = world->segment_count, count = old ? old * 2 : 4096;

		world->segments = realloc(world->segments, count * sizeof(*world->segments));
		if (!world->segments)
			abort();
		for (uint32_t i = count; i-- > old;) {
			world->segments[i].next_free = world->free_segment;
			world->free_segment = i + 1;
		}
		world->segment_count = count;
	}
	segment = &world->segments[world->free_segment - 1];
	world->free_segment = segment->next_free;
	return segment;
}

void segment_free(struct world *world, struct segment *segment)
{
	segment->next_free = world->free_segment;
	world->free_segment = (uint32_t)(segment - world->segments) + 1;
}

static uint64_t delay_us(const struct world *world, struct rng *rng, bool near, const struct segment *segment)
{
	const struct scenario *scenario = world->scenario;
	uint64_t delay = near ? client_of(world, segment->client)->near_us : server_of(world, segment->server)->far_us;
	uint32_t spread = near ? scenario->jitter_us / 4 : scenario->jitter_us;

	delay += rng_below(rng, spread + 1);
	if (rng_chance(rng, HELD_BACK_SHORT))
		delay += rng_below(rng, 300000);
	if (rng_chance(rng, HELD_BACK_LONG))
		delay += rng_below(rng, 5000000);
	return delay;
}

/*
 * The firewall of F3, in front of its server: it lets the handshake through with numbers of its own in
 * the SYN/ACK.
 */
static void pass_bogus_firewall(struct world *world, struct segment *segment, struct rng *rng)
{
	const struct server *server = server_of(world, segment->server);

	if (segment->outbound || !segment->has_ts || (segment->flags & (SYN | ACK)) != (SYN | ACK))
		return;
	if (server->zero_firewall)
		segment->tsecr = segment->echo = 0;
	if (!server->bogus_firewall)
		return;
	segment->tsval = 0;
	segment->tsecr = rng_u32(rng) | 1;
	segment->bogus = true;
}

static void travel(struct world *world, struct segment *segment, bool near, enum event_kind then)
{
	const struct scenario *scenario = world->scenario;
	uint64_t what = (uint64_t)segment->plan << 32 ^ (uint64_t)segment->source.serial << 8 ^
			(uint64_t)segment->copy << 3 ^ (uint64_t)segment->outbound << 1 ^ near;
	struct rng rng = rng_make(scenario->seed, RNG_LEG, what);
	struct segment *copy = NULL;

	if (!near)
		pass_bogus_firewall(world, segment, &rng);
	if (rng_chance(&rng, scenario->loss)) {
		segment_free(world, segment);
		return;
	}
	if (segment->copy < 3 && rng_chance(&rng, scenario->duplication)) {
		uint32_t index = (uint32_t)(segment - world->segments);

		copy = segment_new(world);
		segment = &world->segments[index];
		*copy = *segment;
		copy->copy = (uint8_t)(segment->copy + (near == segment->outbound ? 1 : 2));
		events_add(&world->events, world->now_us + delay_us(world, &rng, near, copy), then,
			   (uint32_t)(copy - world->segments), 0);
	}
	events_add(&world->events, world->now_us + delay_us(world, &rng, near, segment), then,
		   (uint32_t)(segment - world->segments), 0);
}

void net_to_gateway(struct world *world, struct segment *segment)
{
	travel(world, segment, segment->outbound, EVENT_GATEWAY);
}

void net_from_gateway(struct world *world, struct segment *segment)
{
	travel(world, segment, !segment->outbound, EVENT_ARRIVE);
}
