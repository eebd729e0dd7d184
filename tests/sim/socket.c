/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets of both ends: where they are kept, their clocks, their timers, and how they send. */
#include "sim.h"

enum {
	SOCKETS_PER_BLOCK = 256,
	WILD_STEP = 900000,
};

struct socket *socket_at(const struct world *world, uint32_t index)
{
	return &world->sockets[index / SOCKETS_PER_BLOCK][index % SOCKETS_PER_BLOCK];
}

static void add_block(struct world *world)
{
	uint32_t block = world->socket_count / SOCKETS_PER_BLOCK;

	world->sockets = realloc(world->sockets, (block + 1) * sizeof(*world->sockets));
	if (!world->sockets)
		abort();
	world->sockets[block] = sim_allocate(SOCKETS_PER_BLOCK, sizeof(struct socket));
	for (uint32_t i = SOCKETS_PER_BLOCK; i-- > 0;) {
		struct socket *socket = &world->sockets[block][i];

		socket->index = world->socket_count + i;
		socket->snd_nxt = world->free_socket; /* the free list */
		world->free_socket = socket->index + 1;
	}
	world->socket_count += SOCKETS_PER_BLOCK;
}

struct socket *socket_new(struct world *world)
{
	struct socket *socket;
	uint32_t generation, index;

	if (!world->free_socket)
		add_block(world);
	socket = socket_at(world, world->free_socket - 1);
	world->free_socket = socket->snd_nxt;
	generation = socket->generation + 1;
	index = socket->index;
	*socket = (struct socket){.generation = generation, .index = index, .rto_us = SECONDS(1)};
	return socket;
}

static uint64_t key_of(const struct socket *socket)
{
	return socket->is_client ? tuple_key(socket->client, socket->client_port, socket->server)
				 : tuple_key(socket->public, socket->public_port, socket->server);
}

void socket_free(struct world *world, struct socket *socket)
{
	map_remove(socket->is_client ? &world->client_sockets : &world->server_sockets, key_of(socket));
	free(socket->sent);
	socket->sent = NULL;
	socket->state = SOCKET_FREE;
	socket->generation++;
	socket->snd_nxt = world->free_socket;
	world->free_socket = socket->index + 1;
}

struct socket *socket_of_client(const struct world *world, uint16_t client, uint16_t port, uint16_t server)
{
	const uint32_t *index = map_find(&world->client_sockets, tuple_key(client, port, server));

	return index ? socket_at(world, *index) : NULL;
}

uint32_t server_clock(const struct world *world, uint16_t server)
{
	const struct server *s = server_of(world, server);

	return s->offset + (uint32_t)(uint64_t)((double)world->now_us * s->ticks_per_us);
}

uint32_t socket_tsval(const struct world *world, const struct socket *socket)
{
	const struct client *client;

	if (!socket->is_client)
		return server_clock(world, socket->server) + socket->tsval_offset;
	client = client_of(world, socket->client);
	if (client->kind == CLIENT_ZERO_SYN && socket->state == SOCKET_SYN_SENT)
		return 0;
	return socket->tsval_offset + (uint32_t)(uint64_t)((double)world->now_us * client->ticks_per_us) +
	       (client->wild ? socket->serial * WILD_STEP : 0);
}

/* One event for the sooner of the two things a socket may be waiting for. */
void socket_set_timer(struct world *world, struct socket *socket)
{
	uint64_t at = socket->retransmit_at_us;

	if (socket->app_at_us && (!at || socket->app_at_us < at))
		at = socket->app_at_us;
	/* An event that comes too soon looks again; one that would come too late is of no use. */
	if (!at || (socket->timer_at_us && socket->timer_at_us <= at))
		return;
	socket->timer_at_us = at;
	events_add(&world->events, at, EVENT_SOCKET, socket->index, socket->generation);
}

static void note_sent(struct world *world, struct socket *socket, uint32_t tsval)
{
	if (socket->sent_count == socket->sent_room) {
		socket->sent_room = socket->sent_room ? socket->sent_room * 2 : 16;
		socket->sent = realloc(socket->sent, socket->sent_room * sizeof(*socket->sent));
		if (!socket->sent)
			abort();
	}
	socket->sent[socket->sent_count++] = (struct sent){world->now_us, tsval, socket->serial, 0};
}

static void fill_ts(struct world *world, struct socket *socket, struct segment *segment)
{
	segment->has_ts = true;
	segment->tsval = socket_tsval(world, socket);
	segment->source.sent_tsval = segment->tsval;
	if (segment->flags & ACK) {
		segment->tsecr = socket->ts_recent;
		segment->echo = socket->recent.sent_tsval;
		segment->echo_serial = socket->recent.serial;
	}
	if (socket->is_client)
		note_sent(world, socket, segment->tsval);
}

void socket_send(struct world *world, struct socket *socket, uint8_t flags, uint32_t seq, uint32_t payload_bytes)
{
	struct segment *segment = segment_new(world);

	socket->serial++;
	*segment = (struct segment){
		.plan = socket->plan.number, .outbound = socket->is_client,
		.client = socket->client, .client_port = socket->client_port, .server = socket->server,
		.public = socket->public, .public_port = socket->public_port,
		.flags = flags, .seq = seq, .payload_bytes = (uint16_t)payload_bytes,
		.source = {.plan = socket->plan.number, .serial = socket->serial},
	};
	if (flags & ACK) {
		segment->ack = socket->rcv_nxt;
		socket->last_ack_sent = socket->rcv_nxt;
		socket->ack_due = false;
	}
	if (socket->ts_on && !(flags & RST))
		fill_ts(world, socket, segment);
	net_to_gateway(world, segment);
}

/* What an end answers that knows nothing of the connection, or that does not like a SYN/ACK. */
void socket_send_reset(struct world *world, const struct segment *cause)
{
	struct segment *segment = segment_new(world);

	*segment = (struct segment){
		.plan = cause->plan, .outbound = !cause->outbound,
		.client = cause->client, .client_port = cause->client_port, .server = cause->server,
		.public = cause->public, .public_port = cause->public_port,
		.flags = cause->flags & ACK ? RST : RST | ACK,
		.seq = cause->flags & ACK ? cause->ack : 0,
		.ack = cause->flags & ACK ? 0 : cause->seq + cause->payload_bytes + !!(cause->flags & (SYN | FIN)),
		.source = {.plan = cause->plan, .serial = 0x80000000u + cause->source.serial},
	};
	net_to_gateway(world, segment);
}
