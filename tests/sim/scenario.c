/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the seed decides: who is there, what they are like, and when they connect. */
#include "scenario.h"

enum {
	PACKETS_PER_CONNECTION = 22, /* about */
	CLIENTS_LEAST = 400,
	CLIENTS_MOST = 4000,
	TICK_NEAR_WRAP_MS = 200000,
};

static double draw_rate(struct rng *rng, uint32_t hz)
{
	double drift = ((double)rng_below(rng, 1000001) - 500000.0) / 1e9; /* +-500 ppm */

	return (double)hz * (1.0 + drift) / 1e6;
}

static uint32_t draw_hz(struct rng *rng)
{
	static const struct {
		uint32_t hz, share;
	} clocks[] = {{1000, 45}, {250, 18}, {100, 17}, {10, 8}, {1000000, 12}};
	uint32_t dice = rng_below(rng, 100);

	for (size_t i = 0; i < sizeof(clocks) / sizeof(*clocks); i++) {
		if (dice < clocks[i].share)
			return clocks[i].hz;
		dice -= clocks[i].share;
	}
	return 1000;
}

static uint32_t draw_uptime(struct rng *rng, const struct client *client, bool tame)
{
	/* Up to ten days; a few clocks are about to wrap. */
	if (!tame && rng_chance(rng, 150000))
		return 0u - rng_below(rng, (uint32_t)(client->ticks_per_us * 600e6));
	if (client->ticks_per_us > 0.01)
		return rng_u32(rng);
	return (uint32_t)(client->ticks_per_us * 1e6 * (double)rng_below(rng, 864000));
}

static void make_client(struct scenario *s, uint32_t number)
{
	struct rng rng = rng_make(s->seed, RNG_CLIENT, number);
	struct client *client = &s->clients[number];
	uint32_t hz = draw_hz(&rng), dice = rng_below(&rng, 100);
	bool tame = number % 4 == 0;

	if (tame && hz > 1000)
		hz = 1000;
	client->public = (uint16_t)rng_below(&rng, s->public_count);
	client->family = scenario_family_of_public(client->public);
	client->kind = dice < 10 ? CLIENT_BARE : dice < 18 ? CLIENT_ZERO_SYN : CLIENT_TIMESTAMPS;
	client->offset_style = tame ? OFFSET_NONE : (enum clock_offset)rng_below(&rng, 3);
	if (tame && client->kind == CLIENT_ZERO_SYN)
		client->kind = CLIENT_TIMESTAMPS;
	client->ticks_per_us = draw_rate(&rng, hz);
	client->offset = draw_uptime(&rng, client, tame);
	client->near_us = rng_between(&rng, 200, 8000);
	client->port_first = (uint16_t)(32768 + rng_below(&rng, 20000));
	client->port_count = (uint16_t)rng_between(&rng, 1, rng_chance(&rng, 400000) ? 3 : 100);
	client->wild = !tame && client->kind == CLIENT_TIMESTAMPS && hz == 1000 && rng_chance(&rng, 30000);
	client->retries_soon = rng_chance(&rng, 500000);
	client->drops_reset = rng_chance(&rng, 100000);
	if (tame)
		s->tame_clients[s->tame_count++] = number;
}

static void draw_host_check(struct rng *rng, struct server *server)
{
	switch (rng_below(rng, 9)) {
	case 0:
	case 1:
		server->host_check = HOST_CHECK_OLD;
		server->by_peer = true;
		break;
	case 2:
		server->host_check = HOST_CHECK_OLD;
		break;
	case 3:
		server->host_check = HOST_CHECK_NEW;
		server->by_peer = true;
		break;
	case 4:
	case 5:
		server->host_check = HOST_CHECK_NEW;
		break;
	default:
		break;
	}
}

static void make_server(struct scenario *s, uint32_t number)
{
	struct rng rng = rng_make(s->seed, RNG_SERVER, number);
	struct server *server = &s->servers[number];
	static const uint32_t closes[] = {1000000, 1000000, 100000, 800000};

	draw_host_check(&rng, server);
	server->third_ack = server->host_check == HOST_CHECK_NONE;
	server->cookies = rng_chance(&rng, 150000);
	server->echoes_latest = rng_chance(&rng, 500000);
	server->needs_option = rng_chance(&rng, 300000);
	server->bogus_firewall = !server->cookies && rng_chance(&rng, 120000);
	server->zero_firewall = !server->bogus_firewall && rng_chance(&rng, 60000);
	server->closes_first = server->host_check == HOST_CHECK_NONE ? closes[rng_below(&rng, 4)] : 900000;
	server->ticks_per_us = draw_rate(&rng, server->cookies ? 1000 : rng_chance(&rng, 200000) ? 250 : 1000);
	server->offset = rng_u32(&rng);
	server->far_us = rng_between(&rng, 3000, 120000);
	server->weight = 1 + 24 / (1 + number / 2);
	server->repair = (enum repair)rng_below(&rng, 3);
	server->tame = rng_chance(&rng, 300000);
	/* Every third shares its address with the one before, every fifth its machine. */
	server->family = number % 3 == 0 ? FAMILY_IPV6 : FAMILY_IPV4;
	server->port = 443;
	server->address = (uint16_t)number;
	server->machine = (uint16_t)number;
	if (number % 6 == 5) {
		server->family = server[-1].family;
		server->address = server[-1].address;
		server->machine = server[-1].machine;
		server->host_check = server[-1].host_check;
		server->by_peer = server[-1].by_peer;
		server->third_ack = server[-1].third_ack;
		server->port = 8443;
	} else if (number % 10 == 7 && server[-1].family == server->family) {
		server->machine = server[-1].machine;
		server->host_check = server[-1].host_check;
		server->by_peer = server[-1].by_peer;
	}
	scenario_draw_modes(s, server, &rng);
}

static void fill_lottery(struct scenario *s)
{
	for (uint32_t i = 0; i < s->server_count; i++)
		s->lottery_count += s->servers[i].weight;
	s->server_lottery = sim_allocate(s->lottery_count, sizeof(*s->server_lottery));
	s->lottery_count = 0;
	for (uint32_t i = 0; i < s->server_count; i++)
		for (uint32_t n = 0; n < s->servers[i].weight; n++)
			s->server_lottery[s->lottery_count++] = i;
}

/* A quarter of the runs has the clock's 32 bits wrap on the way, or pass the middle of the circle. */
static void draw_time_of_day(struct scenario *s, struct rng *rng)
{
	uint32_t base = scenario_clock_base(), low = rng_u32(rng) % 1000000000u;

	if (rng_chance(rng, 250000))
		low = (rng_chance(rng, 500000) ? 0 : 0x80000000u) - rng_below(rng, TICK_NEAR_WRAP_MS);
	s->epoch_ms = (400ull << 32) + (low - base);
}

void scenario_make(struct scenario *s, uint64_t seed, uint32_t packets)
{
	struct rng rng = rng_make(seed, RNG_SCENARIO, 0);

	memset(s, 0, sizeof(*s));
	s->seed = seed;
	s->packets = packets;
	s->variant = (enum variant)((seed - 1) % VARIANT_COUNT);
	s->postnat = (seed - 1) / VARIANT_COUNT % 2 ? seed % 2 : (seed + 1) % 2;
	s->directions_known = rng_chance(&rng, 850000);
	s->connection_count = packets / PACKETS_PER_CONNECTION + 1;
	s->client_count = s->connection_count / 6;
	if (s->client_count < CLIENTS_LEAST)
		s->client_count = CLIENTS_LEAST;
	if (s->client_count > CLIENTS_MOST)
		s->client_count = CLIENTS_MOST;
	s->server_count = rng_between(&rng, 30, 60);
	s->address_count = s->machine_count = s->server_count;
	s->public_count = rng_between(&rng, 3, 6);
	s->clients = sim_allocate(s->client_count, sizeof(*s->clients));
	s->tame_clients = sim_allocate(s->client_count, sizeof(*s->tame_clients));
	s->servers = sim_allocate(s->server_count, sizeof(*s->servers));
	s->phase_count = rng_between(&rng, 3, 6);
	s->mean_gap_us = SECONDS(rng_between(&rng, 40, 110)) * s->phase_count / s->connection_count;
	s->loss = rng_below(&rng, 30000);
	s->duplication = rng_below(&rng, 10000);
	s->jitter_us = rng_below(&rng, 30000);
	s->nat_ports = (enum nat_ports)rng_below(&rng, NAT_PORTS_COUNT);
	s->nat_first = 40000;
	s->nat_count = (uint16_t)rng_between(&rng, 500, 3000);
	s->nat_close_us = MS(rng_between(&rng, 500, 10000));
	s->capacity = s->variant == VARIANT_FULL ? s->connection_count / 40 + 20 : 16384;
	s->quota = s->postnat ? 0 : 20;
	s->gateway_count = s->variant == VARIANT_PAIR ? 2 : 1;
	draw_time_of_day(s, &rng);
	for (uint32_t i = 0; i < s->client_count; i++)
		make_client(s, i);
	for (uint32_t i = 0; i < s->server_count; i++)
		make_server(s, i);
	fill_lottery(s);
	scenario_draw_events(s, &rng);
}

void scenario_free(struct scenario *s)
{
	free(s->clients);
	free(s->servers);
	free(s->server_lottery);
	free(s->tame_clients);
}

static void draw_talk(struct plan *plan, const struct server *server, struct rng *rng)
{
	uint32_t dice = rng_below(rng, 100);

	plan->request_bytes = rng_between(rng, 20, 200);
	plan->response_bytes = rng_between(rng, 30, 700);
	plan->server_first = rng_chance(rng, server->closes_first);
	plan->rounds = rng_between(rng, 1, 3);
	if (dice < 78) {
		plan->think_us = rng_chance(rng, 500000) ? MS(rng_below(rng, 500)) : 0;
	} else if (dice < 93) {
		plan->rounds = rng_between(rng, 5, 20);
		plan->think_us = MS(rng_between(rng, 500, 12000));
		plan->response_bytes = 90;
	} else {
		plan->rounds = 3;
		plan->keepalives = rng_between(rng, 1, 4);
		plan->keepalive_us = MINUTES(rng_between(rng, 30, 125));
		plan->think_us = SECONDS(rng_between(rng, 1, 30));
	}
	plan->vanishes = rng_chance(rng, 20000);
}

struct plan scenario_plan(const struct scenario *s, uint32_t number)
{
	struct rng rng = rng_make(s->seed, RNG_PLAN, number);
	struct plan plan = {.number = number};
	const struct server *server;

	do {
		plan.client = (uint16_t)rng_below(&rng, s->client_count);
		plan.server = (uint16_t)s->server_lottery[rng_below(&rng, s->lottery_count)];
		server = &s->servers[plan.server];
		if (server->tame)
			plan.client = (uint16_t)s->tame_clients[rng_below(&rng, s->tame_count)];
		if (s->quota && rng_chance(&rng, 100000)) /* one that asks for more than its share */
			plan.client = 1;
		if (server->tame && s->clients[plan.client].offset_style != OFFSET_NONE)
			continue;
	} while (s->clients[plan.client].family != server->family ||
		 (server->tame && (plan.client % 4 != 0)));
	draw_talk(&plan, server, &rng);
	return plan;
}

void scenario_print(const struct scenario *s, FILE *out)
{
	fprintf(out, "seed %llu: %s; placement %s; %u connections of %u clients behind %u addresses to %u servers\n",
		(unsigned long long)s->seed, variant_names[s->variant], s->postnat ? "postnat" : "forward",
		s->connection_count, s->client_count, s->public_count, s->server_count);
	fprintf(out, "  loss %.2f %%, repeated %.2f %%, jitter %.1f ms, NAT ports %s of %u, closed after %.1f s, "
		     "table of %u\n",
		s->loss / 1e4, s->duplication / 1e4, s->jitter_us / 1e3,
		s->nat_ports == NAT_PRESERVE ? "kept" : s->nat_ports == NAT_LOWEST ? "the lowest free" : "at random",
		s->nat_count, (double)s->nat_close_us / 1e6, s->capacity);
}
