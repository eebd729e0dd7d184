/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client: connects, asks, reads, closes; keeps some connections open for hours. */
#include "sim.h"

enum {
	SYN_RETRIES_MAX = 6,
};

static uint32_t offset_of_connection(const struct world *world, const struct client *client, const struct plan *plan)
{
	uint64_t what = (uint64_t)plan->client << 32;
	struct rng rng;

	/* Of the TSval 0 sort, the values after the handshake are random. */
	if (client->offset_style == OFFSET_CONNECTION || client->kind == CLIENT_ZERO_SYN)
		what |= plan->number;
	else if (client->offset_style == OFFSET_PAIR)
		what |= 1u << 31 | server_of(world, plan->server)->address;
	else
		return client->offset;
	rng = rng_make(world->scenario->seed, RNG_SOCKET, what);
	return rng_u32(&rng);
}

static bool choose_port(struct world *world, struct client *client, const struct plan *plan, uint16_t *ret)
{
	for (uint32_t i = 0; i < client->port_count; i++) {
		uint16_t port = (uint16_t)(client->port_first + client->port_next++ % client->port_count);

		if (!socket_of_client(world, plan->client, port, plan->server)) {
			*ret = port;
			return true;
		}
	}
	return false;
}

static void send_syn(struct world *world, struct socket *socket)
{
	if (socket->serial == 0)
		socket->first_tsval = socket_tsval(world, socket);
	socket_send(world, socket, SYN, socket->iss, 0);
	socket->snd_nxt = socket->iss + 1;
	socket->retransmit_at_us = world->now_us + socket->rto_us;
	socket_set_timer(world, socket);
}

void client_connect(struct world *world, uint32_t number)
{
	const struct plan plan = scenario_plan(world->scenario, number);
	struct client *client = &world->scenario->clients[plan.client];
	struct rng rng = rng_make(world->scenario->seed, RNG_SOCKET, number | 1ull << 60);
	struct socket *socket;
	uint16_t port;

	if (!choose_port(world, client, &plan, &port))
		return;
	socket = socket_new(world);
	socket->is_client = true;
	socket->state = SOCKET_SYN_SENT;
	socket->plan = plan;
	socket->client = plan.client;
	socket->client_port = port;
	socket->server = plan.server;
	socket->iss = socket->snd_una = rng_u32(&rng);
	socket->snd_nxt = socket->snd_end = socket->iss + 1;
	socket->ts_on = client->kind != CLIENT_BARE;
	socket->tsval_offset = offset_of_connection(world, client, &plan);
	map_set(&world->client_sockets, tuple_key(plan.client, port, plan.server), socket->index);
	world->tally->connections++;
	send_syn(world, socket);
}

static void give_up(struct world *world, struct socket *socket)
{
	const struct server *server = server_of(world, socket->server);

	if (socket->victim)
		count_rule(world, RULE_APART_VICTIM, false);
	else if (socket->met_open)
		count_rule(world, RULE_APART_OPEN, false);
	else if (socket->managed && !(server->bogus_firewall && server->repair == REPAIR_OFF))
		check_rule(world, RULE_CONNECTED, false, "plan %u: client %u gives up server %u after %u SYNs",
			   socket->plan.number, socket->client, socket->server, socket->retries);
	socket_free(world, socket);
}

static void ask(struct world *world, struct socket *socket)
{
	socket->round++;
	tcp_queue(socket, socket->plan.request_bytes, false);
	tcp_push(world, socket);
}

/* The data of this round is there, or nothing was asked yet: what next? */
void client_progress(struct world *world, struct socket *socket)
{
	const struct plan *plan = &socket->plan;
	uint32_t got = socket->rcv_nxt - socket->irs - 1;

	if (socket->fin_queued)
		return;
	if (socket->peer_fin) {
		tcp_queue(socket, 0, true);
		return;
	}
	if (got < socket->round * plan->response_bytes || socket->app_at_us)
		return;
	if (socket->round == plan->rounds) {
		if (!plan->server_first)
			tcp_queue(socket, 0, true);
		return;
	}
	if (socket->round == 1 && plan->keepalives)
		socket->app_at_us = world->now_us + plan->keepalive_us;
	else if (socket->round > 0 && plan->think_us)
		socket->app_at_us = world->now_us + plan->think_us;
	else
		ask(world, socket);
	socket_set_timer(world, socket);
}

static void wake(struct world *world, struct socket *socket)
{
	socket->app_at_us = 0;
	if (socket->state == SOCKET_TIME_WAIT) {
		socket_free(world, socket);
		return;
	}
	if (socket->plan.vanishes && socket->round >= 1) {
		socket_free(world, socket);
		return;
	}
	if (socket->round == 1 && socket->keepalives < socket->plan.keepalives) {
		socket->keepalives++;
		socket_send(world, socket, ACK, socket->snd_nxt - 1, 0);
		socket->app_at_us = world->now_us + socket->plan.keepalive_us;
		return;
	}
	ask(world, socket);
}

void client_timer(struct world *world, struct socket *socket)
{
	uint32_t generation = socket->generation;

	if (socket->state == SOCKET_SYN_SENT) {
		if (!socket->retransmit_at_us || socket->retransmit_at_us > world->now_us)
			return;
		if (++socket->retries > SYN_RETRIES_MAX) {
			give_up(world, socket);
			return;
		}
		if (socket->rto_us < SECONDS(32))
			socket->rto_us *= 2;
		send_syn(world, socket);
		return;
	}
	if (socket->app_at_us && socket->app_at_us <= world->now_us)
		wake(world, socket);
	if (socket->generation == generation)
		tcp_timer(world, socket);
}

static void establish(struct world *world, struct socket *socket, const struct segment *segment)
{
	if (socket->managed && !socket->victim)
		count_rule(world, RULE_CONNECTED, true);
	socket->ts_on = socket->ts_on && segment->has_ts;
	socket->irs = segment->seq;
	socket->rcv_nxt = socket->last_ack_sent = segment->seq + 1;
	socket->snd_una = socket->iss + 1;
	socket->ts_recent = segment->tsval;
	socket->recent = segment->source;
	socket->recent_us = world->now_us;
	socket->state = SOCKET_OPEN;
	socket->retries = 0;
	socket->rto_us = SECONDS(1);
	socket->retransmit_at_us = 0;
	socket->ack_due = true;
	client_progress(world, socket);
	if (socket->ack_due)
		socket_send(world, socket, ACK, socket->snd_nxt, 0);
}

/* A firewall on the client's way, of the sort that drops this RST as invalid, is the client's ill luck. */
static void reset_in_syn_sent(struct world *world, struct socket *socket, const struct segment *segment)
{
	if (!client_of(world, socket->client)->drops_reset)
		socket_send_reset(world, segment);
	if (!client_of(world, socket->client)->retries_soon || (segment->flags & SYN))
		return;
	if (socket->retransmit_at_us > world->now_us + MS(10) && !socket->retried_soon) {
		socket->retried_soon = true;
		socket->retransmit_at_us = world->now_us + MS(10);
		socket->rto_us /= 2;
		socket_set_timer(world, socket);
	}
}

static void receive_in_syn_sent(struct world *world, struct socket *socket, const struct segment *segment)
{
	bool good_ack = (segment->flags & ACK) && segment->ack == socket->iss + 1;

	if ((segment->flags & ACK) && !good_ack) {
		if (!(segment->flags & RST))
			reset_in_syn_sent(world, socket, segment);
		return;
	}
	if (segment->flags & RST) {
		if (good_ack)
			socket_free(world, socket);
		return;
	}
	if ((segment->flags & (SYN | ACK)) != (SYN | ACK))
		return;
	if (!client_check_synack(world, socket, segment)) {
		reset_in_syn_sent(world, socket, segment);
		return;
	}
	establish(world, socket, segment);
}

void client_receive(struct world *world, const struct segment *segment)
{
	struct socket *socket = socket_of_client(world, segment->client, segment->client_port, segment->server);

	if (!socket) {
		if (!(segment->flags & RST))
			socket_send_reset(world, segment);
		return;
	}
	if (socket->state == SOCKET_SYN_SENT) {
		receive_in_syn_sent(world, socket, segment);
		return;
	}
	client_check_echo(world, socket, segment);
	if (socket->state == SOCKET_TIME_WAIT) {
		if (!(segment->flags & RST))
			tcp_challenge(world, socket, segment);
		return;
	}
	tcp_receive(world, socket, segment);
}
