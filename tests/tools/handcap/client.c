/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a client does: tries, asks once, reads, closes. */
#include "handcap.h"
#include "seq.h"

enum {
	SYN_RTO_MS = 1000,
	SYNS_MOST = 7,
	FAST_OPEN_BYTES = 100,
};

uint32_t client_tsval(const struct crowd *crowd, const struct connection *connection)
{
	const struct client_kind *kind = &crowd->kinds[connection->kind];
	uint32_t tsval = connection->offset + (uint32_t)(crowd->now_us * kind->hz / 1000000);

	/* Its time of day is set now and then, by a day at most, ahead. */
	if (kind->jump_s)
		tsval += (uint32_t)hash_mix(connection->client_number + crowd->now_us / SECONDS(kind->jump_s)) % 86400000u;
	return tsval;
}

static void send_syn(struct crowd *crowd, struct connection *connection)
{
	const struct client_kind *kind = &crowd->kinds[connection->kind];
	struct crowd_segment syn = {
		.is_outbound = true, .flags = TCP_SYN, .seq = connection->client.iss, .has_ts = !kind->is_bare,
	};

	if (!kind->is_zero_syn)
		syn.tsval = client_tsval(crowd, connection);
	if (kind->is_fast_open) {
		syn.is_fast_open = true;
		syn.payload_bytes = connection->syns ? 0 : FAST_OPEN_BYTES;
	}
	if (connection->syns++ == 0)
		connection->first_tsval = syn.tsval;
	if (!kind->is_once)
		part_set_timer(crowd, connection, true, crowd->now_us + MS(connection->client.rto_ms));
	crowd_send(crowd, connection, &syn);
}

void client_begin(struct crowd *crowd, struct connection *connection)
{
	struct part *part = &connection->client;

	part->iss = part->una = rng_u32(&crowd->rng);
	part->next = part->end = part->iss + 1;
	part->rto_ms = SYN_RTO_MS;
	send_syn(crowd, connection);
}

static void reset(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment)
{
	if (!(segment->flags & TCP_RST) && !crowd->kinds[connection->kind].is_vanishing)
		part_send(crowd, connection, true, TCP_RST, segment->ack, 0);
}

static void end(struct connection *connection)
{
	connection->client_state = CLIENT_GONE;
	connection->client.timer_us = connection->app_us = 0;
}

static void set_app(struct crowd *crowd, struct connection *connection, uint64_t time_us)
{
	connection->app_us = time_us;
	crowd_schedule(crowd, time_us, AT_CLIENT_TIMER, connection_number(crowd, connection), NULL);
}

static void open_connection(struct crowd *crowd, struct connection *connection, const struct crowd_segment *synack)
{
	struct part *part = &connection->client;
	bool is_data_taken = synack->ack != part->iss + 1;

	connection->client_state = CLIENT_OPEN;
	connection->came_about = true;
	part->has_ts = synack->has_ts && !crowd->kinds[connection->kind].is_bare;
	part->una = part->next = part->end = synack->ack;
	part->receive_next = synack->seq + 1;
	part->ts_recent = synack->tsval;
	part->rto_ms = SYN_RTO_MS;
	part_set_timer(crowd, connection, true, 0);
	if (crowd->kinds[connection->kind].is_vanishing) {
		part_send(crowd, connection, true, TCP_ACK, part->next, 0);
		end(connection);
		return;
	}
	part_send(crowd, connection, true, TCP_ACK, part->next, 0);
	part_queue(part, connection->request_bytes - (is_data_taken ? FAST_OPEN_BYTES : 0), false);
	part_push(crowd, connection, true, false);
	set_app(crowd, connection, crowd->now_us + SECONDS(connection->give_up_s));
}

static bool is_good_echo(const struct crowd *crowd, const struct connection *connection, const struct crowd_segment *synack)
{
	uint32_t now = client_tsval(crowd, connection);

	if (!synack->has_ts || synack->tsecr == 0 || crowd->kinds[connection->kind].is_bare)
		return true;
	return synack->tsecr - connection->first_tsval <= now - connection->first_tsval;
}

static void receive_in_syn_sent(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment)
{
	const struct client_kind *kind = &crowd->kinds[connection->kind];
	bool is_own = segment->ack - (connection->client.iss + 1) <= (kind->is_fast_open ? FAST_OPEN_BYTES : 0);

	if (segment->flags & TCP_RST) {
		if (is_own)
			end(connection);
		return;
	}
	if (!is_own) {
		reset(crowd, connection, segment);
		return;
	}
	if (!(segment->flags & TCP_SYN) || kind->is_prober)
		return;
	if (kind->is_once) {
		reset(crowd, connection, segment);
		end(connection);
		return;
	}
	if (is_good_echo(crowd, connection, segment))
		open_connection(crowd, connection, segment);
	else
		reset(crowd, connection, segment);
}

static void progress(struct crowd *crowd, struct connection *connection)
{
	struct part *part = &connection->client;
	uint32_t got = part->receive_next - connection->server.iss - 1;

	if (part->is_fin_queued)
		return;
	if (part->is_peer_fin)
		part_queue(part, 0, true);
	else if (got >= connection->response_bytes && !connection->has_answered) {
		connection->has_answered = true;
		set_app(crowd, connection, crowd->now_us + MS(connection->life_ms));
	}
}

void client_receive(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment)
{
	struct part *part = &connection->client;
	uint32_t next = part->next;
	bool is_due;

	if (connection->client_state == CLIENT_SYN_SENT) {
		receive_in_syn_sent(crowd, connection, segment);
		return;
	}
	if (connection->client_state == CLIENT_GONE) {
		if ((segment->flags & TCP_FIN) && part->is_peer_fin)
			part_send(crowd, connection, true, TCP_ACK, part->next, 0);
		else
			reset(crowd, connection, segment);
		return;
	}
	if (segment->flags & TCP_RST) {
		end(connection);
		return;
	}
	is_due = part_receive(crowd, connection, true, segment) || (segment->flags & TCP_SYN);
	progress(crowd, connection);
	part_push(crowd, connection, true, false);
	if (is_due && part->next == next)
		part_send(crowd, connection, true, TCP_ACK, part->next, 0);
	if (part_is_done(part) && part->is_peer_fin)
		end(connection);
}

void client_timer(struct crowd *crowd, struct connection *connection)
{
	struct part *part = &connection->client;

	if (connection->client_state == CLIENT_GONE)
		return;
	if (part->timer_us == crowd->now_us && connection->client_state == CLIENT_SYN_SENT) {
		if (connection->syns == SYNS_MOST || crowd->now_us >= connection->begin_us + SECONDS(connection->give_up_s)) {
			end(connection);
			return;
		}
		part->rto_ms *= 2;
		send_syn(crowd, connection);
	} else if (part->timer_us == crowd->now_us && !part_timer(crowd, connection, true)) {
		end(connection);
	} else if (connection->app_us == crowd->now_us) {
		connection->app_us = 0;
		/* Its time is over, or the answer is there and the server does not close. */
		if (!part->is_fin_queued && (!connection->has_answered || !connection->closes_first)) {
			part_queue(part, 0, true);
			part_push(crowd, connection, true, false);
		}
	}
}
