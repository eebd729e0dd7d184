/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What befalls the gateway in each variant, and which mode each server's destination has when. */
#include "gateway.h"
#include "scenario.h"

const char *const variant_names[VARIANT_COUNT] = {
	[VARIANT_RESTART] = "restarts with state",
	[VARIANT_FORGET] = "stop and start, steps of the time of day",
	[VARIANT_REBOOT] = "reboot with a wrong time of day",
	[VARIANT_PAIR] = "two gateways",
	[VARIANT_FULL] = "table full",
	[VARIANT_LATE] = "flows from before the daemon",
	[VARIANT_QUIET] = "nothing special",
	[VARIANT_MIXED] = "crash, restart, reloads",
};

enum family scenario_family_of_public(uint32_t public)
{
	return public % 3 == 2 ? FAMILY_IPV6 : FAMILY_IPV4;
}

uint32_t scenario_clock_base(void)
{
	return engine_room_base();
}

/* Of epochs: what a server's destination goes through. Most are rewritten all the time. */
void scenario_draw_modes(const struct scenario *scenario, struct server *server, struct rng *rng)
{
	static const enum mode ways[][4] = {
		{MODE_REWRITE, MODE_OFF, MODE_REWRITE, MODE_REWRITE},
		{MODE_OFF, MODE_REWRITE, MODE_REWRITE, MODE_OFF},
		{MODE_OFF, MODE_OFF, MODE_REWRITE, MODE_STRIP},
		{MODE_REWRITE, MODE_STRIP, MODE_STRIP, MODE_STRIP},
		{MODE_OBSERVE, MODE_REWRITE, MODE_OBSERVE, MODE_REWRITE},
	};
	uint32_t dice = rng_below(rng, 100), way = rng_below(rng, sizeof(ways) / sizeof(*ways));
	enum mode mode = dice < 70 ? MODE_REWRITE : dice < 78 ? MODE_STRIP : dice < 84 ? MODE_OBSERVE : MODE_OFF;

	for (uint32_t epoch = 0; epoch < EPOCHS_MAX; epoch++)
		server->mode[epoch] = server->tame ? ways[way][epoch < 4 ? epoch : 3] : mode;
	if (scenario->variant == VARIANT_FULL && !server->tame)
		for (uint32_t epoch = 0; epoch < EPOCHS_MAX; epoch++)
			server->mode[epoch] = MODE_REWRITE;
}

static void add(struct scenario *s, uint64_t at_us, enum gateway_event_kind kind, int64_t argument_us)
{
	if (s->event_count < sizeof(s->events) / sizeof(*s->events))
		s->events[s->event_count++] = (struct gateway_event){at_us, kind, argument_us};
}

/* Connections come from time 0 on; those of a phase take about that long. */
static uint64_t phase_us(const struct scenario *s)
{
	return s->mean_gap_us * s->connection_count / s->phase_count;
}

static uint64_t within(const struct scenario *s, struct rng *rng, uint32_t percent_from, uint32_t percent_to)
{
	return phase_us(s) / 100 * rng_between(rng, percent_from, percent_to);
}

static void add_reloads(struct scenario *s, struct rng *rng)
{
	add(s, within(s, rng, 35, 45), GATEWAY_RELOAD, 0);
	add(s, within(s, rng, 60, 70), GATEWAY_RELOAD, 0);
	add(s, within(s, rng, 80, 95), GATEWAY_RELOAD, 0);
}

static void add_failovers(struct scenario *s, struct rng *rng)
{
	for (int i = 0; i < GATEWAYS_MAX; i++)
		s->clock_error_us[i] = (int64_t)rng_below(rng, 40001) - 20000;
	/* VRRP needs three seconds or so; the last one is too quick, and nothing is promised of it. */
	add(s, within(s, rng, 30, 40), GATEWAY_FAILOVER, (int64_t)MS(rng_between(rng, 1050, 4000)));
	add(s, within(s, rng, 55, 60), GATEWAY_FAILOVER, (int64_t)MS(rng_between(rng, 1050, 4000)));
	add(s, within(s, rng, 80, 85), GATEWAY_FAILOVER, (int64_t)MS(rng_between(rng, 1, 100)));
}

static void add_reboot(struct scenario *s, struct rng *rng)
{
	int64_t wrong = (int64_t)SECONDS(rng_between(rng, 100, 1000000));
	uint64_t at = within(s, rng, 40, 60);

	add(s, at, GATEWAY_REBOOT, rng_chance(rng, 700000) ? -wrong : 0);
	if (s->events[s->event_count - 1].argument_us)
		add(s, at + SECONDS(rng_between(rng, 5, 60)), GATEWAY_NTP_STEP, wrong);
}

void scenario_draw_events(struct scenario *s, struct rng *rng)
{
	s->daemon_start_us = s->variant == VARIANT_LATE ? within(s, rng, 20, 30) : 0;
	add(s, s->daemon_start_us, GATEWAY_START, 0);
	switch (s->variant) {
	case VARIANT_RESTART:
		add(s, within(s, rng, 30, 40), GATEWAY_RESTART, 0);
		add(s, within(s, rng, 60, 90), GATEWAY_RESTART, 0);
		break;
	case VARIANT_FORGET:
		add(s, within(s, rng, 30, 50), GATEWAY_NTP_STEP, (int64_t)SECONDS(rng_between(rng, 1, 3600)));
		add(s, within(s, rng, 50, 60), GATEWAY_FORGET, 0);
		add(s, within(s, rng, 65, 95), GATEWAY_NTP_STEP, -(int64_t)SECONDS(rng_between(rng, 1, 7200)));
		break;
	case VARIANT_REBOOT:
		add_reboot(s, rng);
		break;
	case VARIANT_PAIR:
		add_failovers(s, rng);
		break;
	case VARIANT_LATE:
		add_reloads(s, rng);
		break;
	case VARIANT_MIXED:
		add_reloads(s, rng);
		add(s, within(s, rng, 46, 55), GATEWAY_RESTART, 0);
		add(s, within(s, rng, 71, 79), GATEWAY_DOWN, (int64_t)MS(rng_between(rng, 20, 900)));
		break;
	default:
		break;
	}
}
