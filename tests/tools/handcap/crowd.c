/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who connects when; NAT, the network on both sides of it, and the capture between. */
#include <stdlib.h>
#include <string.h>

#include "handcap.h"

enum {
	REORDERED_MS = 80,
	NEAR_LEAST_US = 50,
	NEAR_US = 300,
	NAT_US = 30,
};

struct addr addr_plus(const struct addr *addr, uint32_t number)
{
	struct addr sum = *addr;

	for (int i = 15; number && i > 11; i--) {
		number += sum.byte[i];
		sum.byte[i] = (uint8_t)number;
		number >>= 8;
	}
	return sum;
}

uint32_t addr_hash(const struct addr *addr)
{
	return (uint32_t)hash_bytes16(addr->byte, 1);
}

bool is_within(const struct crowd *crowd, const struct interval *interval)
{
	return crowd->now_us >= SECONDS(interval->from_s) && crowd->now_us < SECONDS(interval->to_s);
}

/* ---- what will happen, the soonest first ---- */

static bool is_sooner(const struct crowd_event *a, const struct crowd_event *b)
{
	return a->time_us != b->time_us ? a->time_us < b->time_us : a->order < b->order;
}

static void swap(struct crowd_event *a, struct crowd_event *b)
{
	struct crowd_event kept = *a;

	*a = *b;
	*b = kept;
}

void crowd_schedule(struct crowd *crowd, uint64_t time_us, enum event_kind kind, uint32_t connection,
		    const struct crowd_segment *segment)
{
	uint32_t at = crowd->heap_count++;

	if (at == crowd->heap_room) {
		crowd->heap_room = crowd->heap_room ? crowd->heap_room * 2 : 4096;
		crowd->heap = realloc(crowd->heap, crowd->heap_room * sizeof(*crowd->heap));
		if (!crowd->heap)
			abort();
	}
	crowd->heap[at] =
		(struct crowd_event){.time_us = time_us, .order = crowd->order++, .kind = kind, .connection = connection};
	if (segment)
		crowd->heap[at].segment = *segment;
	for (; at > 0 && is_sooner(&crowd->heap[at], &crowd->heap[(at - 1) / 2]); at = (at - 1) / 2)
		swap(&crowd->heap[at], &crowd->heap[(at - 1) / 2]);
}

static bool take_event(struct crowd *crowd, struct crowd_event *ret)
{
	uint32_t at = 0;

	if (crowd->heap_count == 0)
		return false;
	*ret = crowd->heap[0];
	crowd->heap[0] = crowd->heap[--crowd->heap_count];
	for (;;) {
		uint32_t least = at;

		for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < crowd->heap_count; child++)
			least = is_sooner(&crowd->heap[child], &crowd->heap[least]) ? child : least;
		if (least == at)
			return true;
		swap(&crowd->heap[at], &crowd->heap[least]);
		at = least;
	}
}

/* ---- the network ---- */

/* All is lost for a while, at a time of each stretch that nobody knows. */
static bool is_in_burst(const struct crowd *crowd)
{
	uint64_t stretch, begin_us, draw, len_ms;

	if (!crowd->burst_every_s)
		return false;
	stretch = crowd->now_us / SECONDS(crowd->burst_every_s);
	draw = hash_mix(stretch * 31 + crowd->seed);
	begin_us = stretch * SECONDS(crowd->burst_every_s) + draw % (SECONDS(crowd->burst_every_s) / 2);
	len_ms = crowd->burst_least_ms + (draw >> 40) % (crowd->burst_most_ms - crowd->burst_least_ms + 1);
	return crowd->now_us >= begin_us && crowd->now_us < begin_us + MS(len_ms);
}

static bool is_lost_far(struct crowd *crowd, const struct connection *connection, const struct crowd_segment *segment)
{
	const struct client_kind *kind = &crowd->kinds[connection->kind];
	const struct host *host = &crowd->hosts[connection->host];

	if (kind->is_blocked || is_within(crowd, &kind->cut) || is_in_burst(crowd))
		return true;
	if (host->mtu_bytes && segment->payload_bytes > host->mtu_bytes)
		return true;
	return rng_chance(&crowd->rng, crowd->loss) || rng_chance(&crowd->rng, kind->far_loss);
}

static uint64_t draw_delay_us(struct crowd *crowd, bool is_near)
{
	uint32_t spread_us = (uint32_t)MS(crowd->delay_most_ms - crowd->delay_least_ms);

	return is_near ? NEAR_LEAST_US + rng_below(&crowd->rng, NEAR_US) : MS(crowd->delay_least_ms) + rng_below(&crowd->rng, spread_us + 1);
}

/* A leg between an end and where it is captured. */
static void travel(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment, bool is_near,
		   enum event_kind then)
{
	uint32_t copies = 1 + rng_chance(&crowd->rng, crowd->duplicate);
	uint64_t *arrived_us = &connection->arrived_us[2 * is_near + segment->is_outbound];

	if (is_near ? rng_chance(&crowd->rng, crowd->kinds[connection->kind].loss) : is_lost_far(crowd, connection, segment))
		return;
	for (; copies; copies--) {
		uint64_t delay_us = draw_delay_us(crowd, is_near);

		if (rng_chance(&crowd->rng, crowd->reorder))
			delay_us += MS(rng_between(&crowd->rng, 1, REORDERED_MS));
		else if (crowd->now_us + delay_us < *arrived_us)
			delay_us = *arrived_us - crowd->now_us;
		else
			*arrived_us = crowd->now_us + delay_us;
		crowd_schedule(crowd, crowd->now_us + delay_us, then, connection_number(crowd, connection), segment);
	}
}

void crowd_send(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment)
{
	travel(crowd, connection, segment, segment->is_outbound, AT_TAP);
}

static void capture_at(struct crowd *crowd, const struct connection *connection, const struct crowd_segment *crossing,
		       bool is_wan, uint64_t time_us)
{
	struct segment segment =
		talk_segment(crossing->is_outbound, crossing->flags, crossing->has_ts, crossing->tsval, crossing->tsecr);
	uint32_t copies = rng_chance(&crowd->rng, crowd->missed) ? 0 : 1 + rng_chance(&crowd->rng, crowd->once_more);

	segment.seq = crossing->seq;
	segment.ack = crossing->ack;
	segment.payload_bytes = crossing->payload_bytes;
	if (crossing->is_fast_open) {
		memcpy(segment.options + segment.option_bytes, (const uint8_t[]){34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1}, 12);
		segment.option_bytes += 12;
	}
	for (; copies; copies--)
		file_add_segment(crowd->file, time_us + copies - 1, &segment, is_wan ? &connection->outer : &connection->inner,
				 &crowd->hosts[connection->host].at);
}

static void capture(struct crowd *crowd, const struct connection *connection, const struct crowd_segment *segment)
{
	if (crowd->now_us < SECONDS(crowd->seen_from_s) || (segment->is_outbound ? crowd->is_in_only : crowd->is_out_only))
		return;
	if (crowd->is_any)
		capture_at(crowd, connection, segment, !segment->is_outbound, crowd->now_us);
	capture_at(crowd, connection, segment, crowd->is_any ? segment->is_outbound : crowd->is_wan, crowd->now_us + NAT_US);
}

/* ---- connections ---- */

static uint32_t choose_kind(struct crowd *crowd)
{
	uint32_t sum = 0, draw;

	for (uint32_t i = 0; i < crowd->kind_count; i++) {
		const struct client_kind *kind = &crowd->kinds[i];

		sum += kind->active.to_s == 0 || is_within(crowd, &kind->active) ? kind->weight : 0;
	}
	draw = sum ? rng_below(&crowd->rng, sum) : 0;
	for (uint32_t i = 0; i < crowd->kind_count; i++) {
		const struct client_kind *kind = &crowd->kinds[i];

		if (kind->active.to_s && !is_within(crowd, &kind->active))
			continue;
		if (draw < kind->weight)
			return i;
		draw -= kind->weight;
	}
	return 0;
}

static uint32_t choose_host(struct crowd *crowd)
{
	uint32_t sum = 0, draw, i = 0;

	for (uint32_t k = 0; k < crowd->host_count; k++)
		sum += crowd->hosts[k].weight;
	draw = rng_below(&crowd->rng, sum);
	while (draw >= crowd->hosts[i].weight)
		draw -= crowd->hosts[i++].weight;
	return i;
}

static uint32_t draw_offset(struct crowd *crowd, const struct client_kind *kind, const struct addr *client)
{
	uint32_t draw = rng_u32(&crowd->rng);

	if (kind->offset == OFFSET_CONNECTION || kind->is_zero_syn)
		return draw;
	if (kind->offset == OFFSET_COMMON)
		return kind->tsval;
	return (uint32_t)((addr_hash(client) ^ crowd->seed * 2654435761u) * ((uint64_t)kind->uptime_days * 86400 * kind->hz) >> 32) + 1;
}

/* The next public port that is not in use, or held after the end. */
static void choose_port(struct crowd *crowd, struct connection *connection)
{
	uint32_t public = addr_hash(&connection->inner.addr) % crowd->public_count;
	uint32_t *ports = crowd->ports + (size_t)public * crowd->port_count, *last;

	for (uint32_t i = 0; i < crowd->port_count; i++) {
		last = &ports[crowd->port_next++ % crowd->port_count];
		if (*last && crowd->connections[*last - 1].client_state != CLIENT_GONE)
			continue;
		connection->elder = *last ? *last - 1 : connection_number(crowd, connection);
		*last = connection_number(crowd, connection) + 1;
		connection->outer.addr = addr_plus(&crowd->public, public);
		connection->outer.port = (uint16_t)(crowd->port_first + (last - ports));
		return;
	}
	abort(); /* the file asks for what cannot be */
}

static void begin(struct crowd *crowd, struct connection *connection)
{
	const struct client_kind *kind;
	const struct host *host;

	connection->kind = (uint16_t)choose_kind(crowd);
	kind = &crowd->kinds[connection->kind];
	connection->host = (uint16_t)(kind->only_host ? kind->only_host - 1 : choose_host(crowd));
	host = &crowd->hosts[connection->host];
	connection->client_number = rng_below(&crowd->rng, kind->count);
	connection->inner.addr = addr_plus(&kind->first, connection->client_number);
	connection->offset = draw_offset(crowd, kind, &connection->inner.addr);
	connection->request_bytes = rng_between(&crowd->rng, 120, 500);
	connection->response_bytes = rng_between(&crowd->rng, 100, 1800);
	connection->give_up_s = kind->patience_s ? kind->patience_s : rng_between(&crowd->rng, 3, 20);
	connection->life_ms = rng_below(&crowd->rng, 2000);
	connection->closes_first = rng_chance(&crowd->rng, host->closes_first);
	connection->begin_us = crowd->now_us;
	choose_port(crowd, connection);
	connection->inner.port = connection->outer.port; /* which most gateways keep */
	client_begin(crowd, connection);
}

static void handle(struct crowd *crowd, const struct crowd_event *event)
{
	struct connection *connection = &crowd->connections[event->connection];

	switch (event->kind) {
	case AT_BEGIN:
		begin(crowd, connection);
		break;
	case AT_TAP:
		capture(crowd, connection, &event->segment);
		travel(crowd, connection, &event->segment, !event->segment.is_outbound, event->segment.is_outbound ? AT_HOST : AT_CLIENT);
		break;
	case AT_CLIENT:
		client_receive(crowd, connection, &event->segment);
		break;
	case AT_HOST:
		host_receive(crowd, connection, &event->segment);
		break;
	case AT_CLIENT_TIMER:
		client_timer(crowd, connection);
		break;
	case AT_HOST_TIMER:
		host_timer(crowd, connection);
		break;
	}
}

static uint64_t draw_begin_us(struct crowd *crowd)
{
	if (rng_chance(&crowd->rng, crowd->rush_share))
		return SECONDS(crowd->rush.from_s) + rng_next(&crowd->rng) % SECONDS(crowd->rush.to_s - crowd->rush.from_s);
	return rng_next(&crowd->rng) % SECONDS(crowd->seconds);
}

void crowd_run(struct crowd *crowd)
{
	struct crowd_event event;

	crowd->rng = rng_make(crowd->seed, RNG_SCENARIO, 0);
	crowd->connections = calloc(crowd->connection_count, sizeof(*crowd->connections));
	crowd->ports = calloc((size_t)crowd->public_count * crowd->port_count, sizeof(*crowd->ports));
	if (!crowd->connections || !crowd->ports)
		abort();
	for (uint32_t i = 0; i < crowd->host_count; i++)
		crowd->hosts[i].offset = rng_u32(&crowd->rng);
	for (uint32_t i = 0; i < crowd->connection_count; i++)
		crowd_schedule(crowd, draw_begin_us(crowd), AT_BEGIN, i, NULL);
	while (take_event(crowd, &event)) {
		crowd->now_us = event.time_us;
		handle(crowd, &event);
	}
}
