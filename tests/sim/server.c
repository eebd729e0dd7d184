/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A server: accepts, answers, closes first or last. The rules it goes by are in server_rules.c. */
#include "sim.h"

enum {
	SYNACK_RETRIES_MAX = 5,
};

static struct socket *find_socket(const struct world *world, const struct segment *segment)
{
	const uint32_t *index = map_find(&world->server_sockets,
					 tuple_key(segment->public, segment->public_port, segment->server));

	return index ? socket_at(world, *index) : NULL;
}

static void send_synack(struct world *world, struct socket *socket)
{
	uint32_t tsval = server_clock(world, socket->server);

	/* The options that the client offered, in the TSval's lowest bits: all that is left of a SYN. */
	if (server_of(world, socket->server)->cookies && socket->ts_on)
		socket->tsval_offset = ((tsval & ~0x3fu) | (socket->irs & 0x3f)) - tsval;
	if (socket->ts_on && socket->serial % 4096 == 0)
		socket->first_tsval = socket_tsval(world, socket);
	socket->last_tsval = socket_tsval(world, socket);
	socket_send(world, socket, SYN | ACK, socket->iss, 0);
	socket->snd_nxt = socket->iss + 1;
	if (!server_of(world, socket->server)->cookies)
		socket->retransmit_at_us = world->now_us + socket->rto_us;
	socket_set_timer(world, socket);
}

static void accept_syn(struct world *world, const struct segment *syn)
{
	struct socket *socket = socket_new(world);
	struct rng rng = rng_make(world->scenario->seed, RNG_SOCKET, syn->plan | 1ull << 61);

	socket->state = SOCKET_SYN_RECV;
	socket->plan = scenario_plan(world->scenario, syn->plan);
	socket->server = syn->server;
	socket->client = syn->client; /* for the delay of the last leg only */
	socket->public = syn->public;
	socket->public_port = syn->public_port;
	socket->serial = syn->source.serial * 4096;
	socket->irs = syn->seq;
	socket->rcv_nxt = syn->seq + 1;
	socket->iss = socket->snd_una = rng_u32(&rng);
	socket->snd_end = socket->iss + 1;
	socket->ts_on = syn->has_ts;
	socket->ts_recent = syn->tsval;
	socket->recent = syn->source;
	socket->recent_us = world->now_us;
	map_set(&world->server_sockets, tuple_key(syn->public, syn->public_port, syn->server), socket->index);
	send_synack(world, socket);
}

static void receive_without_socket(struct world *world, const struct segment *segment)
{
	if (segment->flags & RST)
		return;
	if ((segment->flags & (SYN | ACK)) != SYN) {
		socket_send_reset(world, segment);
		return;
	}
	if (!rule_host_check(world, segment))
		return;
	accept_syn(world, segment);
}

static void repeat_synack(struct world *world, struct socket *socket, const struct segment *syn)
{
	bool fails = tcp_paws_fails(world, socket, syn);

	/* With cookies there is nothing to compare with: each SYN is answered. */
	if (server_of(world, socket->server)->cookies && syn->seq == socket->irs) {
		socket->ts_recent = syn->tsval;
		socket->recent = syn->source;
		send_synack(world, socket);
		return;
	}
	if (fails || syn->seq != socket->irs) {
		if (syn->plan != socket->plan.number)
			tcp_note_met_open(world, syn);
		/* It, too, may be what the client echoes. */
		socket->last_tsval = socket_tsval(world, socket);
		socket_send(world, socket, ACK, socket->snd_nxt, 0);
		return;
	}
	if (server_of(world, socket->server)->echoes_latest && syn->has_ts && socket->ts_on) {
		socket->ts_recent = syn->tsval;
		socket->recent = syn->source;
		socket->recent_us = world->now_us;
	}
	send_synack(world, socket);
}

static void receive_in_syn_recv(struct world *world, struct socket *socket, const struct segment *segment)
{
	if (segment->flags & RST) {
		if (segment->seq == socket->rcv_nxt)
			socket_free(world, socket);
		return;
	}
	if (segment->flags & SYN) {
		repeat_synack(world, socket, segment);
		return;
	}
	if (segment->ack != socket->iss + 1) {
		socket_send_reset(world, segment);
		return;
	}
	if (tcp_paws_fails(world, socket, segment)) {
		tcp_receive(world, socket, segment); /* counts it and answers */
		return;
	}
	if (!rule_third_ack(world, socket, segment))
		return;
	socket->state = SOCKET_OPEN;
	socket->snd_una = socket->iss + 1;
	socket->retransmit_at_us = 0;
	socket->retries = 0;
	socket->rto_us = SECONDS(1);
	tcp_receive(world, socket, segment);
}

/* Sends the response once the whole request is there. */
void server_progress(struct world *world, struct socket *socket)
{
	const struct plan *plan = &socket->plan;
	uint32_t got = socket->rcv_nxt - socket->irs - 1;

	(void)world;
	if (socket->fin_queued)
		return;
	while (socket->round < plan->rounds && got >= (socket->round + 1) * plan->request_bytes) {
		socket->round++;
		tcp_queue(socket, plan->response_bytes, plan->server_first && socket->round == plan->rounds);
	}
	if (socket->peer_fin && !socket->fin_queued)
		tcp_queue(socket, 0, true);
}

static void receive_in_time_wait(struct world *world, struct socket *socket, const struct segment *segment)
{
	if ((segment->flags & (SYN | ACK)) == SYN) {
		if (rule_time_wait(world, socket, segment)) {
			socket_free(world, socket);
			accept_syn(world, segment);
			return;
		}
		socket_send(world, socket, ACK, socket->snd_nxt, 0);
		socket->app_at_us = world->now_us + SECONDS(TIME_WAIT_S);
		socket_set_timer(world, socket);
		return;
	}
	if (segment->flags & RST) { /* tcp_rfc1337 is off */
		if (segment->seq == socket->rcv_nxt)
			socket_free(world, socket);
		return;
	}
	if (!tcp_paws_fails(world, socket, segment) && segment->seq == socket->rcv_nxt && !segment->payload_bytes) {
		tcp_note_ts(world, socket, segment);
		return;
	}
	if (segment->flags & FIN) {
		socket_send(world, socket, ACK, socket->snd_nxt, 0);
		socket->app_at_us = world->now_us + SECONDS(TIME_WAIT_S);
	}
}

void server_receive(struct world *world, const struct segment *segment)
{
	struct socket *socket = find_socket(world, segment);

	if (!socket)
		receive_without_socket(world, segment);
	else if (socket->state == SOCKET_SYN_RECV)
		receive_in_syn_recv(world, socket, segment);
	else if (socket->state == SOCKET_TIME_WAIT)
		receive_in_time_wait(world, socket, segment);
	else
		tcp_receive(world, socket, segment);
}

void server_timer(struct world *world, struct socket *socket)
{
	uint32_t generation = socket->generation;

	if (socket->app_at_us && socket->app_at_us <= world->now_us) {
		socket_free(world, socket); /* TIME_WAIT or FIN_WAIT2 is over */
		return;
	}
	if (socket->state == SOCKET_SYN_RECV) {
		if (!socket->retransmit_at_us || socket->retransmit_at_us > world->now_us)
			return;
		if (++socket->retries > SYNACK_RETRIES_MAX) {
			socket_free(world, socket);
			return;
		}
		socket->rto_us *= 2;
		send_synack(world, socket);
		return;
	}
	if (socket->generation == generation)
		tcp_timer(world, socket);
}
