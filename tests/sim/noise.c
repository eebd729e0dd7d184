/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets that go to nobody: broken in the ways that P7 names, TSecrs that were never sent, and a
 * connection that somebody outside opens to a machine inside. They are made from real ones.
 */
#include "gateway.h"

enum noise {
	NOISE_FRAGMENT,
	NOISE_CUT_IP,
	NOISE_OFFSET,
	NOISE_FLAGS,
	NOISE_OPTION_LENGTH,
	NOISE_TWICE,
	NOISE_AO,
	NOISE_NOT_TCP,
	NOISE_NOT_IP,
	NOISE_TRUNCATED,
	NOISE_COUNT,
};

/* Where there is room for two options of 10 bytes: all of the option space is made anew. */
static void put_options(struct wire *wire, const struct view *view, const uint8_t *options, uint32_t len)
{
	memset(wire->data + view->tcp_at + 20, 1, 40);
	memcpy(wire->data + view->tcp_at + 20, options, len);
	wire->data[view->tcp_at + 12] = 0xf0;
	wire->len = view->tcp_at + 60;
	if (wire->data[0] >> 4 == 4)
		put16(wire->data + 2, wire->len);
	else
		put16(wire->data + 4, wire->len - 40);
}

static enum reason spoil_options(struct wire *wire, const struct view *view, enum noise noise)
{
	static const uint8_t bad[] = {1, 8, 11, 0, 0, 0, 1, 0, 0, 0, 0};
	static const uint8_t twice[] = {8, 10, 0, 0, 0, 9, 0, 0, 0, 9, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9};
	static const uint8_t ao[] = {8, 10, 0, 0, 0, 9, 0, 0, 0, 9, 29, 4, 1, 1};

	if (noise == NOISE_OPTION_LENGTH) {
		put_options(wire, view, bad, sizeof(bad));
		return REASON_MALFORMED_OPTIONS;
	}
	if (noise == NOISE_TWICE) {
		put_options(wire, view, twice, sizeof(twice));
		return REASON_DUPLICATE_TIMESTAMPS;
	}
	put_options(wire, view, ao, sizeof(ao));
	return REASON_TCP_AO;
}

static enum reason spoil(struct wire *wire, const struct view *view, enum noise noise, bool *ret_truncated)
{
	bool ipv4 = wire->data[0] >> 4 == 4;

	switch (noise) {
	case NOISE_FRAGMENT:
		if (!ipv4)
			wire->data[6] = 44;
		else
			wire->data[7] = 5;
		return REASON_FRAGMENT;
	case NOISE_CUT_IP:
		wire->len = view->tcp_at + 7;
		return REASON_MALFORMED_IP;
	case NOISE_OFFSET:
		wire->data[view->tcp_at + 12] = 0x40;
		return REASON_MALFORMED_TCP;
	case NOISE_FLAGS:
		wire->data[view->tcp_at + 13] = SYN | FIN;
		return REASON_MALFORMED_FLAGS;
	case NOISE_NOT_TCP:
		wire->data[ipv4 ? 9 : 6] = 17;
		return REASON_NOT_TCP;
	case NOISE_NOT_IP:
		wire->data[0] = 0x51;
		return REASON_NOT_IP;
	case NOISE_TRUNCATED:
		*ret_truncated = true;
		return REASON_TRUNCATED;
	default:
		return spoil_options(wire, view, noise);
	}
}

static void inject_spoilt(struct world *world, struct gateway *gateway, struct wire *wire,
			  const struct segment *segment, uint64_t key, enum noise noise)
{
	uint8_t before[WIRE_BYTES_MAX];
	struct view view;
	bool truncated = false;
	enum reason want;
	int reason;

	wire_parse(wire->data, wire->len, &view);
	want = spoil(wire, &view, noise, &truncated);
	memcpy(before, wire->data, wire->len);
	if (world->run == RUN_PAWSD) {
		struct packet_input input = {.data = wire->data, .len = wire->len, .truncated = truncated,
					     .direction = segment->outbound ? DIRECTION_OUT : DIRECTION_IN};

		reason = (int)engine_room_handle(&gateway->room, &input, gateway->last_tick);
		gateway->oracle.expected[reason]++;
	} else {
		reason = gateway_handle(world, gateway, wire, segment, key, gateway->last_tick);
	}
	check_rule(world, RULE_P7_MALFORMED, reason == (int)want && memcmp(before, wire->data, wire->len) == 0,
		   "noise %d: reason %d instead of %d, or bytes changed", (int)noise, reason, (int)want);
}

/*
 * A segment to a client that runs on, with a TSecr newer than all that was ever sent, or older: counted and
 * left alone.
 */
static void inject_foreign(struct world *world, struct gateway *gateway, struct wire *wire,
			   const struct segment *segment, uint64_t key, uint64_t tick)
{
	const struct oracle_flow *flow = oracle_find(&gateway->oracle, key);
	struct view view;
	uint32_t foreign;
	int reason;

	wire_parse(wire->data, wire->len, &view);
	if (!flow || !flow->managed || flow->handshake || flow->ran_away || flow->plan != segment->plan || view.ts_at < 0 ||
	    (segment->flags & (SYN | FIN | RST)) || world->now_us - flow->last_us > MINUTES(1))
		return;
	foreign = flow->newest + 1000 + (flow->isn & 0xfffffff);
	if (world->crossings % 2 && !flow->scaled && flow->pair_count && flow->pairs[0].syn)
		foreign = flow->pairs[0].emitted - 200000 - (flow->isn & 0xfffffff);
	/* One that the client has said tells something: that it went past. */
	if (flow->pair_count && flow->pairs[flow->pair_count - 1].tsval - foreign <= 2 * 3600000u)
		return;
	put32(wire->data + view.ts_at + 6, foreign);
	reason = gateway_handle(world, gateway, wire, segment, key, tick);
	if (world->run == RUN_PAWSD)
		gateway->oracle.expected[reason]++;
	wire_parse(wire->data, wire->len, &view);
	check_rule(world, RULE_P4_FOREIGN, view.tsecr == foreign && reason == REASON_IN_FOREIGN_TSECR,
		   "plan %u: TSecr %u, never sent, became %u (%d)", segment->plan, foreign, view.tsecr, reason);
}

void noise_inject(struct world *world, struct gateway *gateway, const struct wire *wire,
		  const struct segment *segment, uint64_t key, uint64_t tick)
{
	struct rng rng = rng_make(world->scenario->seed, RNG_NOISE, world->crossings);
	struct wire copy = *wire;
	uint32_t dice = rng_below(&rng, NOISE_COUNT + 4);

	copy.gso = copy.unready = false;
	if (dice < NOISE_COUNT)
		inject_spoilt(world, gateway, &copy, segment, key, (enum noise)dice);
	else if (!segment->outbound)
		inject_foreign(world, gateway, &copy, segment, key, tick);
}

/* ---- a connection from outside: SYN in, SYN/ACK out, ACK in, data both ways ---- */

static const struct {
	bool outbound;
	uint8_t flags, bytes;
} outside_steps[] = {
	{false, SYN, 0}, {true, SYN | ACK, 0}, {false, ACK, 0}, {false, ACK | PSH, 40}, {true, ACK | PSH, 90},
	{false, ACK | FIN, 0}, {true, ACK | FIN, 0}, {false, ACK, 0},
};

enum {
	OUTSIDE_STEPS = sizeof(outside_steps) / sizeof(*outside_steps),
	OUTSIDE_PORT = 22,
};

void outside_step(struct world *world, uint32_t step)
{
	struct gateway *gateway = world->gateways[world->active];
	uint32_t number = step / OUTSIDE_STEPS, at = step % OUTSIDE_STEPS;
	struct rng rng = rng_make(world->scenario->seed, RNG_NOISE, number | 1ull << 62);
	uint16_t client = (uint16_t)rng_below(&rng, world->scenario->client_count);
	uint16_t server = (uint16_t)rng_below(&rng, world->scenario->server_count);
	uint32_t now = (uint32_t)gateway->last_tick + engine_room_base();
	struct segment *segment;

	if (at + 1 < OUTSIDE_STEPS)
		events_add(&world->events, world->now_us + MS(20), EVENT_OUTSIDE, step + 1, 0);
	if (!gateway->running || !gateway->was_rewriting[server] || world->down_until_us > world->now_us ||
	    world->blocked_until_us > world->now_us ||
	    client_of(world, client)->family != server_of(world, server)->family)
		return;
	segment = segment_new(world);
	*segment = (struct segment){
		.plan = NONE, .client = client, .client_port = OUTSIDE_PORT, .server = server, .public = 0,
		.public_port = OUTSIDE_PORT, .outbound = outside_steps[at].outbound, .flags = outside_steps[at].flags,
		.payload_bytes = outside_steps[at].bytes, .has_ts = true, .seq = 1000 + at, .ack = 2000,
		.tsval = outside_steps[at].outbound ? now - 5000 - at : 77 + at,
		.tsecr = at ? 88 : 0, .source = {.serial = step},
	};
	gateway_take(world, gateway, segment);
	segment_free(world, segment);
}
