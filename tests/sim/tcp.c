/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small TCP: in-order data, cumulative acknowledgements, retransmission of all that is outstanding
 * after a time-out, both ways of closing. Timestamps by RFC 7323: ts_recent moves on with a segment
 * that is not older and does not lie beyond Last.ACK.sent; PAWS drops what is older, but never a RST.
 */
#include "sim.h"

enum {
	RETRIES_MAX = 7,
	PAWS_LIMIT_DAYS = 24,
	CHALLENGE_MS = 500,
};

void tcp_queue(struct socket *socket, uint32_t bytes, bool fin)
{
	socket->snd_end += bytes + fin;
	socket->fin_queued |= fin;
}

static uint32_t data_end(const struct socket *socket)
{
	return socket->snd_end - socket->fin_queued;
}

/* Sends all between `from` and snd_end. */
static void send_from(struct world *world, struct socket *socket, uint32_t from)
{
	while (seq_after(socket->snd_end, from)) {
		uint32_t bytes = seq_after(data_end(socket), from) ? data_end(socket) - from : 0;
		uint8_t flags = ACK;

		if (bytes > MSS_BYTES)
			bytes = MSS_BYTES;
		if (bytes)
			flags |= PSH;
		if (socket->fin_queued && from + bytes == data_end(socket))
			flags |= FIN;
		socket_send(world, socket, flags, from, bytes);
		from += bytes + !!(flags & FIN);
		if (flags & FIN)
			socket->fin_first |= !socket->peer_fin;
		if (seq_after(from, socket->snd_nxt))
			socket->snd_nxt = from;
	}
}

void tcp_push(struct world *world, struct socket *socket)
{
	if (!seq_after(socket->snd_end, socket->snd_nxt))
		return;
	send_from(world, socket, socket->snd_nxt);
	if (!socket->retransmit_at_us)
		socket->retransmit_at_us = world->now_us + socket->rto_us;
	socket_set_timer(world, socket);
}

static void abort_connection(struct world *world, struct socket *socket)
{
	if (socket->ts_on)
		count_rule(world, RULE_APART_VICTIM, !socket->victim);
	socket_send(world, socket, RST | ACK, socket->snd_nxt, 0);
	socket_free(world, socket);
}

void tcp_timer(struct world *world, struct socket *socket)
{
	if (!socket->retransmit_at_us || socket->retransmit_at_us > world->now_us)
		return;
	if (++socket->retries > RETRIES_MAX) {
		abort_connection(world, socket);
		return;
	}
	socket->rto_us *= 2;
	socket->retransmit_at_us = world->now_us + socket->rto_us;
	send_from(world, socket, socket->snd_una);
}

bool tcp_paws_fails(const struct world *world, const struct socket *socket, const struct segment *segment)
{
	if (!socket->ts_on || !segment->has_ts || (segment->flags & RST))
		return false;
	/* A SYN or SYN/ACK with TSval 0 says nothing, and what is weeks old neither. */
	if (socket->ts_recent == 0 || world->now_us - socket->recent_us > MINUTES(PAWS_LIMIT_DAYS * 24 * 60))
		return false;
	return seq_after(socket->ts_recent, segment->tsval);
}

void tcp_note_ts(struct world *world, struct socket *socket, const struct segment *segment)
{
	if (!socket->ts_on || !segment->has_ts || seq_after(segment->seq, socket->last_ack_sent))
		return;
	if (seq_after(socket->ts_recent, segment->tsval) && socket->ts_recent)
		return;
	socket->ts_recent = segment->tsval;
	socket->recent = segment->source;
	socket->recent_us = world->now_us;
}

static bool is_victim(const struct world *world, const struct socket *socket, const struct segment *segment)
{
	const struct socket *client = socket;

	if (!socket->is_client)
		client = socket_of_client(world, segment->client, segment->client_port, segment->server);
	return !client || client->victim || client->plan.number != segment->plan;
}

static bool has_gone_round(const struct world *world, const struct socket *socket, const struct segment *segment)
{
	const struct socket *client = socket;

	if (!socket->is_client)
		client = socket_of_client(world, segment->client, segment->client_port, segment->server);
	return client && !client->scaled && world_has_gone_round(world, segment->client, socket->recent_us);
}

/* True when PAWS has it dropped. Only what was sent later and looks older is worth a count. */
static bool refuse_by_paws(struct world *world, struct socket *socket, const struct segment *segment)
{
	enum rule rule = socket->is_client ? RULE_PAWS_CLIENT : RULE_PAWS_SERVER;
	bool fails = tcp_paws_fails(world, socket, segment);
	bool same = segment->source.plan == socket->recent.plan && !segment->bogus;

	if (!socket->ts_on || !segment->has_ts)
		return false;
	if (is_victim(world, socket, segment) || has_gone_round(world, socket, segment))
		count_rule(world, RULE_APART_VICTIM, !fails);
	else if (same && segment->source.serial > socket->recent.serial)
		check_rule(world, rule, !fails,
			   "plan %u: TSval %u of segment %u is older than ts_recent %u of segment %u", segment->plan,
			   segment->tsval, segment->source.serial, socket->ts_recent, socket->recent.serial);
	return fails;
}

/* Linux takes a segment without the option; others need not. */
static bool refuse_without_option(struct world *world, struct socket *socket, const struct segment *segment)
{
	bool missing = socket->ts_on && !segment->has_ts && !(segment->flags & RST);

	if (!socket->ts_on || (segment->flags & RST) || segment->plan != socket->plan.number)
		return false;
	check_rule(world, is_victim(world, socket, segment) ? RULE_APART_VICTIM : RULE_OPTION_MISSING, !missing,
		   "plan %u: segment %u came without timestamps", segment->plan, segment->source.serial);
	return missing && server_of(world, socket->server)->needs_option;
}

/*
 * Its SYN is refused over something that is not promised, or by what the port's last client has left
 * open, where no TSval helps: it may give up.
 */
void tcp_note_met_open(struct world *world, const struct segment *syn)
{
	struct socket *client = socket_of_client(world, syn->client, syn->client_port, syn->server);

	if (client && client->plan.number == syn->plan)
		client->met_open = true;
}

static void take_ack(struct world *world, struct socket *socket, uint32_t ack)
{
	if (!seq_after(ack, socket->snd_una) || seq_after(ack, socket->snd_nxt))
		return;
	socket->snd_una = ack;
	socket->retries = 0;
	socket->rto_us = SECONDS(1);
	socket->retransmit_at_us = ack == socket->snd_nxt ? 0 : world->now_us + socket->rto_us;
	socket_set_timer(world, socket);
}

static void take_data(struct socket *socket, const struct segment *segment)
{
	uint32_t end = segment->seq + segment->payload_bytes + !!(segment->flags & FIN);

	if (end == segment->seq)
		return;
	socket->ack_due = true;
	if (seq_after(segment->seq, socket->rcv_nxt) || !seq_after(end, socket->rcv_nxt))
		return;
	socket->rcv_nxt = end;
	socket->peer_fin |= !!(segment->flags & FIN);
}

static bool is_own_fin_acked(const struct socket *socket)
{
	return socket->fin_queued && socket->snd_una == socket->snd_end;
}

static void enter_time_wait(struct world *world, struct socket *socket)
{
	bool is_short = !socket->is_client && socket->ts_on &&
			server_of(world, socket->server)->host_check != HOST_CHECK_NONE;

	if (!socket->is_client)
		rule_write_stamp(world, socket);
	socket->state = SOCKET_TIME_WAIT;
	/* With tw_recycle a connection with timestamps waits for 3.5 RTOs only. */
	socket->retransmit_at_us = 0;
	socket->app_at_us = world->now_us + (is_short ? MS(700) : SECONDS(TIME_WAIT_S));
	socket_set_timer(world, socket);
}

static void finish(struct world *world, struct socket *socket)
{
	if (is_own_fin_acked(socket) && socket->peer_fin) {
		if (socket->ack_due)
			socket_send(world, socket, ACK, socket->snd_nxt, 0);
		if (socket->fin_first)
			enter_time_wait(world, socket);
		else
			socket_free(world, socket);
		return;
	}
	if (is_own_fin_acked(socket) && !socket->app_at_us && !socket->is_client) {
		/* Orphan in FIN_WAIT2. */
		rule_write_stamp(world, socket);
		socket->app_at_us = world->now_us + SECONDS(TIME_WAIT_S);
		socket_set_timer(world, socket);
	}
}

void tcp_challenge(struct world *world, struct socket *socket, const struct segment *segment)
{
	bool empty = !segment->payload_bytes && !(segment->flags & (SYN | FIN));

	if (empty && socket->challenged_us && socket->challenged_us + MS(CHALLENGE_MS) > world->now_us)
		return;
	socket->challenged_us = world->now_us;
	socket_send(world, socket, ACK, socket->snd_nxt, 0);
}

void tcp_receive(struct world *world, struct socket *socket, const struct segment *segment)
{
	uint32_t generation = socket->generation;
	uint32_t end = segment->seq + segment->payload_bytes + !!(segment->flags & FIN);

	if (segment->flags & RST) {
		if (segment->seq == socket->rcv_nxt)
			socket_free(world, socket);
		return;
	}
	if (!socket->is_client && (segment->flags & SYN) && segment->plan != socket->plan.number)
		tcp_note_met_open(world, segment);
	if (refuse_by_paws(world, socket, segment) || refuse_without_option(world, socket, segment) ||
	    (segment->flags & SYN)) {
		tcp_challenge(world, socket, segment);
		return;
	}
	if (seq_after(socket->rcv_nxt, end) || (end != segment->seq && end == socket->rcv_nxt)) {
		/* Old, or a keep-alive. */
		take_ack(world, socket, segment->ack);
		tcp_challenge(world, socket, segment);
		if (socket->fin_queued)
			finish(world, socket);
		return;
	}
	tcp_note_ts(world, socket, segment);
	take_ack(world, socket, segment->ack);
	take_data(socket, segment);
	if (socket->is_client)
		client_progress(world, socket);
	else
		server_progress(world, socket);
	if (socket->generation != generation)
		return;
	tcp_push(world, socket);
	if (socket->ack_due)
		socket_send(world, socket, ACK, socket->snd_nxt, 0);
	finish(world, socket);
}
