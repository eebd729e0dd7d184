/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a server does, and what stands in front of it. Its rules are those that real kernels have been seen to go by. */
#include "handcap.h"
#include "seq.h"

enum {
	SYNACK_RTO_MS = 1000,
	SYNACKS_MOST = 6,
	TIME_WAIT_S = 60,
	STAMP_S = 60,
};

static struct host *host_of(const struct crowd *crowd, const struct connection *connection)
{
	return &crowd->hosts[connection->host];
}

uint32_t host_tsval(const struct crowd *crowd, const struct connection *connection)
{
	return host_of(crowd, connection)->offset + (uint32_t)(crowd->now_us / 1000);
}

static void end(struct crowd *crowd, struct connection *connection)
{
	struct host *host = host_of(crowd, connection);

	host->waiting -= connection->is_waiting_counted;
	connection->is_waiting_counted = false;
	connection->host_state = HOST_GONE;
	connection->server.timer_us = 0;
}

/* ---- a SYN ---- */

static bool is_lost_to_dead_half(const struct host *host, const struct connection *connection)
{
	uint32_t of_connection = (uint32_t)hash_mix(connection->outer.port + 77u) % MILLION;

	return of_connection < host->half_dead || addr_hash(&connection->inner.addr) % MILLION < host->half_dead_sources;
}

/* tcp_tw_recycle. False: dropped. */
static bool pass_recycle(const struct crowd *crowd, const struct connection *connection, const struct crowd_segment *syn)
{
	const struct host *host = host_of(crowd, connection), *memory = &crowd->hosts[host->machine];

	if (host->recycle == RECYCLE_NONE || !memory->stamp_us ||
	    crowd->now_us / SECONDS(1) - memory->stamp_us / SECONDS(1) >= STAMP_S)
		return true;
	if (!syn->has_ts)
		return host->recycle == RECYCLE_OLD;
	return !seq_after(memory->stamp_tsval - 1, syn->tsval);
}

static void write_stamp(const struct crowd *crowd, const struct connection *connection)
{
	struct host *memory = &crowd->hosts[host_of(crowd, connection)->machine];

	if (!connection->server.has_ts)
		return;
	if (memory->stamp_us && crowd->now_us - memory->stamp_us <= SECONDS(STAMP_S) &&
	    seq_after(memory->stamp_tsval, connection->server.ts_recent))
		return;
	memory->stamp_tsval = connection->server.ts_recent;
	memory->stamp_us = crowd->now_us;
}

static struct connection *elder_of(const struct crowd *crowd, const struct connection *connection)
{
	struct connection *elder = &crowd->connections[connection->elder];

	if (elder == connection || elder->host != connection->host || elder->host_state == HOST_NONE ||
	    elder->host_state == HOST_GONE)
		return NULL;
	return elder->host_state == HOST_TIME_WAIT && crowd->now_us >= elder->time_wait_us + SECONDS(TIME_WAIT_S) ? NULL : elder;
}

/* What is still known on the four-tuple. False: the SYN is answered by its ACK. */
static bool pass_elder(struct crowd *crowd, struct connection *connection, const struct crowd_segment *syn)
{
	struct connection *elder = elder_of(crowd, connection);
	struct crowd_segment ack;
	bool has_ts, is_newer_isn;

	if (!elder)
		return true;
	has_ts = elder->server.has_ts && syn->has_ts;
	is_newer_isn = seq_after(syn->seq, elder->server.receive_next);
	if (elder->host_state == HOST_TIME_WAIT &&
	    (has_ts ? seq_after(syn->tsval, elder->server.ts_recent) || (syn->tsval == elder->server.ts_recent && is_newer_isn)
		    : is_newer_isn)) {
		end(crowd, elder);
		return true;
	}
	if (elder->host_state == HOST_TIME_WAIT)
		elder->time_wait_us = crowd->now_us;
	ack = (struct crowd_segment){.flags = TCP_ACK, .has_ts = elder->server.has_ts, .seq = elder->server.next,
				     .ack = elder->server.receive_next, .tsval = host_tsval(crowd, elder), .tsecr = elder->server.ts_recent};
	crowd_send(crowd, connection, &ack);
	return false;
}

static bool is_wanted(struct crowd *crowd, struct connection *connection, const struct crowd_segment *syn)
{
	struct host *host = host_of(crowd, connection);

	if (is_lost_to_dead_half(host, connection) || (!syn->has_ts && host->is_bare_dropped))
		return false;
	if (!pass_elder(crowd, connection, syn) || !pass_recycle(crowd, connection, syn))
		return false;
	if (host->backlog && host->waiting >= host->backlog)
		return false;
	return !rng_chance(&crowd->rng, host->drops);
}

static void send_synack(struct crowd *crowd, struct connection *connection)
{
	const struct host *host = host_of(crowd, connection);
	struct part *part = &connection->server;
	struct crowd_segment synack = {.flags = TCP_SYN | TCP_ACK, .has_ts = part->has_ts, .seq = part->iss,
				       .ack = part->receive_next, .tsval = host_tsval(crowd, connection), .tsecr = part->ts_recent};

	if (host->is_scrubbed || host->is_zero) {
		synack.tsval = 0;
		synack.tsecr = host->is_zero ? 0 : rng_u32(&crowd->rng) | 1;
	}
	if (!host->is_cookies)
		part_set_timer(crowd, connection, false, crowd->now_us + MS(part->rto_ms));
	crowd_send(crowd, connection, &synack);
}

static void refuse(struct crowd *crowd, struct connection *connection, const struct crowd_segment *syn)
{
	struct crowd_segment reset = {.flags = TCP_RST | TCP_ACK, .ack = syn->seq + 1 + syn->payload_bytes};
	struct segment bytes;

	if (host_of(crowd, connection)->refusal == REFUSAL_RESET) {
		crowd_send(crowd, connection, &reset);
	} else if (host_of(crowd, connection)->refusal == REFUSAL_UNREACHABLE) {
		bytes = talk_segment(true, TCP_SYN, syn->has_ts, syn->tsval, 0);
		bytes.seq = syn->seq;
		icmp_add(crowd->file, crowd->now_us + MS(2), &bytes, crowd->is_wan ? &connection->outer : &connection->inner,
			 &host_of(crowd, connection)->at);
		connection->client_state = CLIENT_GONE;
	}
}

static void receive_syn(struct crowd *crowd, struct connection *connection, const struct crowd_segment *syn)
{
	struct host *host = host_of(crowd, connection);
	struct part *part = &connection->server;

	if (host->refusal != REFUSAL_NONE) {
		refuse(crowd, connection, syn);
		return;
	}
	if (!is_wanted(crowd, connection, syn))
		return;
	part->iss = part->una = rng_u32(&crowd->rng);
	part->next = part->end = part->iss + 1;
	part->receive_next = syn->seq + 1 + syn->payload_bytes;
	part->has_ts = syn->has_ts && !host->is_bare;
	part->ts_recent = syn->tsval;
	part->rto_ms = SYNACK_RTO_MS;
	connection->host_state = HOST_SYN_RECV;
	connection->is_waiting_counted = !host->is_cookies;
	host->waiting += connection->is_waiting_counted;
	if (host->slow_most_ms)
		part_set_timer(crowd, connection, false,
			       crowd->now_us + MS(rng_between(&crowd->rng, host->slow_least_ms, host->slow_most_ms)));
	else
		send_synack(crowd, connection);
}

/* ---- what follows ---- */

static void progress(struct connection *connection)
{
	struct part *part = &connection->server;
	bool is_fin_due = connection->closes_first || part->is_peer_fin;

	if (part->is_fin_queued)
		return;
	if (part->receive_next - connection->client.iss - 1 >= connection->request_bytes && part->end == part->iss + 1)
		part_queue(part, connection->response_bytes, is_fin_due);
	else if (part->is_peer_fin)
		part_queue(part, 0, true);
}

static void close_when_done(struct crowd *crowd, struct connection *connection, bool was_peer_first)
{
	struct part *part = &connection->server;

	if (!part_is_done(part))
		return;
	part->timer_us = 0;
	if (!was_peer_first) /* FIN_WAIT2, or TIME_WAIT already */
		write_stamp(crowd, connection);
	if (!part->is_peer_fin)
		return;
	if (connection->closes_first) {
		connection->host_state = HOST_TIME_WAIT;
		connection->time_wait_us = crowd->now_us;
	} else {
		end(crowd, connection);
	}
}

static void receive_running(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment)
{
	struct part *part = &connection->server;
	uint32_t next = part->next;
	bool is_due = part_receive(crowd, connection, false, segment);

	progress(connection);
	part_push(crowd, connection, false, false);
	if (is_due && part->next == next)
		part_send(crowd, connection, false, TCP_ACK, part->next, 0);
	close_when_done(crowd, connection, !connection->closes_first);
}

/* A RST that a client sends to what an older connection's end was told. */
static void reset_elder(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment)
{
	struct connection *elder = elder_of(crowd, connection);

	if (elder && segment->seq == elder->server.receive_next)
		end(crowd, elder);
}

static void receive_reset(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment)
{
	if (connection->host_state == HOST_NONE || connection->host_state == HOST_GONE)
		reset_elder(crowd, connection, segment);
	else if (segment->seq == connection->server.receive_next)
		end(crowd, connection);
}

static void reset_unknown(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment)
{
	struct crowd_segment reset = {.flags = TCP_RST, .seq = segment->ack};

	if (host_of(crowd, connection)->refusal == REFUSAL_NONE && !is_within(crowd, &host_of(crowd, connection)->down))
		crowd_send(crowd, connection, &reset);
}

/* The third ACK, or what comes instead of it. */
static void establish(struct crowd *crowd, struct connection *connection)
{
	host_of(crowd, connection)->waiting -= connection->is_waiting_counted;
	connection->is_waiting_counted = false;
	connection->host_state = HOST_OPEN;
	connection->server.una = connection->server.iss + 1;
	connection->server.retries = 0;
	part_set_timer(crowd, connection, false, 0);
}

static void receive_syn_again(struct crowd *crowd, struct connection *connection)
{
	const struct host *host = host_of(crowd, connection);

	if (connection->host_state == HOST_SYN_RECV && (host->is_cookies || !host->slow_most_ms || connection->server.retries))
		send_synack(crowd, connection);
}

/* It has been started anew since the connection began. */
static bool has_forgotten(const struct crowd *crowd, const struct connection *connection)
{
	const struct interval *restart = &host_of(crowd, connection)->restart;

	return restart->to_s && crowd->now_us >= SECONDS(restart->to_s) && connection->begin_us < SECONDS(restart->from_s);
}

void host_receive(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment)
{
	const struct host *host = host_of(crowd, connection);
	bool is_known, is_syn = segment->flags & TCP_SYN;

	if (is_within(crowd, &host->down) || is_within(crowd, &host->restart))
		return;
	if (connection->host_state != HOST_NONE && has_forgotten(crowd, connection))
		end(crowd, connection);
	is_known = connection->host_state != HOST_NONE && connection->host_state != HOST_GONE;
	if (segment->flags & TCP_RST) {
		receive_reset(crowd, connection, segment);
	} else if (!is_known && is_syn) {
		receive_syn(crowd, connection, segment);
	} else if (is_syn) {
		receive_syn_again(crowd, connection);
	} else if (!is_known || (connection->host_state == HOST_SYN_RECV && segment->ack != connection->server.iss + 1)) {
		reset_unknown(crowd, connection, segment);
	} else if (connection->host_state == HOST_TIME_WAIT) {
		if (segment->flags & TCP_FIN)
			part_send(crowd, connection, false, TCP_ACK, connection->server.next, 0);
	} else {
		if (connection->host_state == HOST_SYN_RECV)
			establish(crowd, connection);
		receive_running(crowd, connection, segment);
	}
}

void host_timer(struct crowd *crowd, struct connection *connection)
{
	struct host *host = host_of(crowd, connection);
	struct part *part = &connection->server;

	if (part->timer_us != crowd->now_us)
		return;
	if (is_within(crowd, &host->down) || is_within(crowd, &host->restart)) {
		part_set_timer(crowd, connection, false, crowd->now_us + SECONDS(5));
		return;
	}
	if (connection->host_state == HOST_SYN_RECV) {
		if (++part->retries > SYNACKS_MOST || (host->backlog_s && part->retries > 1)) {
			end(crowd, connection);
			return;
		}
		if (part->retries > 1 || !host->slow_most_ms)
			part->rto_ms *= 2;
		send_synack(crowd, connection);
	} else if (connection->host_state == HOST_OPEN && !part_timer(crowd, connection, false)) {
		end(crowd, connection);
	}
}
