/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The gateway: NAT, what comes to the queue and what passes by, and the packet's way through it. */
#include "gateway.h"

enum {
	BAD_CHECKSUM = 2000, /* per million */
	NOISE = 8000,
	PURGE_SWEEPS = 60,
};

struct gateway *gateway_new(struct world *world, uint8_t number)
{
	const struct scenario *scenario = world->scenario;
	struct gateway *gateway = sim_allocate(1, sizeof(*gateway));
	struct rng rng = rng_make(scenario->seed, RNG_GATEWAY, number);

	gateway->number = number;
	gateway->memory = (uint16_t)(1 + number);
	gateway->clock.realtime_off_us = scenario->clock_error_us[number];
	if (world->run == RUN_PAWSD)
		engine_room_open(&gateway->room, scenario, rng_next(&rng));
	oracle_open(world, &gateway->oracle);
	gateway_clock_start(world, gateway);
	return gateway;
}

void gateway_free(struct world *world, struct gateway *gateway)
{
	if (world->run == RUN_PAWSD)
		engine_room_close(&gateway->room);
	textbook_forget(&gateway->textbook);
	oracle_close(world, &gateway->oracle);
	free(gateway);
}

int gateway_handle(struct world *world, struct gateway *gateway, struct wire *wire, const struct segment *segment,
		   uint64_t key, uint64_t tick)
{
	enum mode mode = server_of(world, segment->server)->mode[world->policy_epoch];
	struct packet_input input = {.data = wire->data, .len = wire->len, .gso = wire->gso,
				     .csum_not_ready = wire->unready && !wire->gso,
				     .direction = !world->scenario->directions_known ? DIRECTION_UNKNOWN
						  : segment->outbound			? DIRECTION_OUT
											: DIRECTION_IN};

	switch (world->run) {
	case RUN_PAWSD:
		return (int)engine_room_handle(&gateway->room, &input, tick);
	case RUN_TEXTBOOK:
		return textbook_handle(&gateway->textbook, wire, key, segment->outbound, mode,
				       gateway_realtime_ms(world, gateway))
			       ? -1
			       : -2;
	case RUN_PLAIN:
	case RUN_COUNT:
		break;
	}
	return -1;
}

/* The connection's client, if it is this very connection that the packet is of. */
static struct socket *client_socket(const struct world *world, const struct segment *segment)
{
	struct socket *socket = socket_of_client(world, segment->client, segment->client_port, segment->server);

	return socket && socket->plan.number == segment->plan ? socket : NULL;
}

/*
 * A connection with one SYN that was rewritten and one that was not, or a rewritten one whose SYN/ACK
 * passed by: that is what a start, a crash or a reload does to those in their handshake.
 */
static void note_handshake(struct world *world, const struct segment *segment, bool has_ts, bool stripped)
{
	struct socket *socket = client_socket(world, segment);

	if (!socket || !(segment->flags & SYN) || !has_ts)
		return;
	if (segment->outbound) {
		socket->managed |= segment->source.managed;
		socket->stripped |= stripped;
		socket->passed_unmanaged |= !segment->source.managed && !stripped;
		socket->victim |= socket->managed + socket->stripped + socket->passed_unmanaged > 1;
	} else if (socket->managed && !segment->source.managed) {
		socket->victim = true;
	}
}

static void trace(const struct world *world, const struct crossing *c)
{
	const struct view *b = &c->before, *a = &c->after;
	const struct segment *s = c->segment;

	printf("# %.6f gateway %u packet %llu plan %u server %u %s segment %u.%u ", (double)world->now_us / 1e6,
	       c->gateway->number, (unsigned long long)world->crossings, s->plan, s->server,
	       s->outbound ? "out" : "in ", s->source.serial, s->copy);
	printf("%02x %u(%u) ack %u ", b->flags, b->seq, s->payload_bytes, b->ack);
	printf("TSval %u -> %u TSecr %u -> %u: %s, clock %u\n", b->tsval, a->tsval, b->tsecr, a->tsecr,
	       reason_table[c->reason].name, (uint32_t)c->tick + engine_room_base());
}

/* Of a server: SYNs, and TSvals that are further ahead than the lead. */
static bool is_traced(const struct world *world, const struct crossing *c)
{
	const struct segment *segment = c->segment;

	if (world->run != RUN_PAWSD)
		return false;
	if (segment->plan == world->trace && segment->plan != NONE)
		return true;
	return world->trace_server != NONE && segment->outbound && c->after.ts_at >= 0 &&
	       server_of(world, segment->server)->address == server_of(world, (uint16_t)world->trace_server)->address &&
	       ((segment->flags & SYN) || segment->source.ahead_ms > MAX_LEAD_MS);
}

bool gateway_take(struct world *world, struct gateway *gateway, struct segment *segment)
{
	const struct scenario *scenario = world->scenario;
	const struct server *server = server_of(world, segment->server);
	const struct client *client = client_of(world, segment->client);
	uint64_t what = (uint64_t)segment->plan << 32 ^ segment->source.serial ^ (uint64_t)segment->outbound << 31;
	struct rng rng = rng_make(scenario->seed, RNG_NOISE, what ^ (uint64_t)segment->copy << 28);
	static uint8_t before[WIRE_BYTES_MAX];
	struct wire wire;
	struct crossing c = {.gateway = gateway, .segment = segment, .wire = &wire, .before_data = before};
	struct addr server_addr = wire_server_addr(server->family, server->address), host;
	uint16_t port = scenario->postnat ? segment->public_port : segment->client_port;
	bool delivered;

	host = scenario->postnat ? wire_public_addr(client->family, segment->public)
				 : wire_client_addr(client->family, segment->client);
	c.key = scenario->postnat ? tuple_key(segment->public, port, segment->server)
				  : tuple_key(segment->client, port, segment->server);
	segment->bad_checksum = rng_chance(&rng, BAD_CHECKSUM);
	wire_build(world, segment, &host, port, &server_addr, &wire);
	memcpy(before, wire.data, wire.len);
	wire_parse(before, wire.len, &c.before);
	c.tick = gateway_tick(world, gateway);
	if (world->run != RUN_PLAIN && rng_chance(&rng, NOISE))
		noise_inject(world, gateway, &wire, segment, c.key, c.tick);
	c.table_was_full = world->run == RUN_PAWSD && flow_table_used(&gateway->room.engine.table) == gateway->room.capacity;
	c.reason = gateway_handle(world, gateway, &wire, segment, c.key, c.tick);
	gateway->has_pushed_out |= world->run == RUN_PAWSD && gateway->room.engine.counters->pushed_out > 0;
	wire_parse(wire.data, wire.len, &c.after);
	segment->source.seen = true;
	segment->source.reason = c.reason;
	oracle_judge(world, &gateway->oracle, &c);
	if (is_traced(world, &c))
		trace(world, &c);
	note_handshake(world, segment, c.before.ts_at >= 0, c.after.ts_at < 0);
	segment->wrap_echo = !segment->outbound && c.before.tsecr == UINT32_MAX;
	delivered = !segment->bad_checksum && (wire.unready || wire_is_checksum_valid(wire.data, &c.after));
	segment->has_ts = c.after.ts_at >= 0;
	segment->tsval = c.after.tsval;
	segment->tsecr = c.after.tsecr;
	return delivered;
}

void gateway_cross(struct world *world, struct segment *segment)
{
	struct gateway *gateway = world->gateways[world->active];
	bool comes, delivered = true;

	if (world->blocked_until_us > world->now_us || !nat_translate(world, segment)) {
		segment_free(world, segment);
		return;
	}
	segment->source.crossing = ++world->crossings;
	segment->source.crossed_us = world->now_us;
	segment->source.gateway = gateway->number;
	segment->source.memory = gateway->memory;
	segment->source.address = server_of(world, segment->server)->address;
	segment->source.managed = segment->source.seen = segment->source.satisfiable = false;
	segment->source.reason = -1;
	world->tally->packets++;
	watch_take(world, segment);
	comes = gateway->running && gateway->was_rewriting[segment->server];
	if (comes && world->down_until_us > world->now_us) {
		struct socket *socket = client_socket(world, segment);

		/* The queue of handshakes fails open, that of established connections closed. */
		if (socket && (segment->flags & SYN))
			socket->victim = true;
		delivered = segment->flags & SYN;
		comes = false;
	}
	if (comes)
		delivered = gateway_take(world, gateway, segment);
	else
		note_handshake(world, segment, segment->has_ts, false);
	if (delivered)
		net_from_gateway(world, segment);
	else
		segment_free(world, segment);
}

static void check_quota(struct world *world, struct gateway *gateway)
{
	const struct engine_room *room = &gateway->room;
	struct map counts = {0};
	bool good = true;

	if (!world->scenario->quota)
		return;
	if (world->run == RUN_PAWSD) {
		for (uint32_t i = 0; i < room->capacity; i++) {
			const struct flow *flow = &room->engine.table.flows[i];
			const uint8_t *client = flow->client.byte;
			uint64_t key = 1ull << 63 | get32(client + 12) | (uint64_t)get32(client + 4) << 32;
			uint32_t *count;

			if (flow->state == FLOW_FREE)
				continue;
			count = map_find(&counts, key);
			map_set(&counts, key, count ? *count + 1 : 1);
			good &= *map_find(&counts, key) <= room->quota;
		}
	}
	for (uint32_t i = 0; world->run == RUN_TEXTBOOK && i < gateway->textbook.count; i++) {
		uint64_t key = 1ull << 63 | gateway->textbook.entries[i].client;
		uint32_t *count = map_find(&counts, key);

		map_set(&counts, key, count ? *count + 1 : 1);
		good &= *map_find(&counts, key) <= world->scenario->quota;
	}
	if (world->run != RUN_PLAIN)
		check_rule(world, RULE_P9_QUOTA, good, "a client has more than %u flows", world->scenario->quota);
	map_free(&counts);
}

void gateway_sweep(struct world *world)
{
	world->sweeps++;
	for (uint32_t i = 0; i < world->scenario->gateway_count; i++) {
		struct gateway *gateway = world->gateways[i];
		struct engine *engine = &gateway->room.engine;

		if (!gateway->running)
			continue;
		if (world->run == RUN_PAWSD) {
			uint64_t tick = gateway_tick(world, gateway);

			engine_sweep(engine, gateway->room.capacity / 10 + 1, tick);
			check_rule(world, RULE_P9_LEAD, clock_lead_ms(&engine->clock, tick) <= MAX_LEAD_MS,
				   "the clock is pushed %u ms ahead", clock_lead_ms(&engine->clock, tick));
		}
		if (world->run == RUN_TEXTBOOK) {
			uint64_t realtime = gateway_realtime_ms(world, gateway);

			count_rule(world, RULE_P9_LEAD,
				   textbook_now(&gateway->textbook, realtime) <= (int64_t)realtime + MAX_LEAD_MS);
		}
		if (world->sweeps % PURGE_SWEEPS == 0) {
			oracle_purge(world, &gateway->oracle);
			check_quota(world, gateway);
		}
	}
}
