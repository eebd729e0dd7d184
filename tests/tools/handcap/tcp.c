/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A TCP of the simplest sort, the same for either end: cumulative ACKs, and all outstanding once more after a time-out. */
#include "handcap.h"
#include "seq.h"

enum {
	MSS_BYTES = 1400,
	RTO_MS = 400,
	RETRIES_MOST = 7,
};

static struct part *part_of(struct connection *connection, bool is_client)
{
	return is_client ? &connection->client : &connection->server;
}

void part_send(struct crowd *crowd, struct connection *connection, bool is_client, uint8_t flags, uint32_t seq,
	       uint32_t payload_bytes)
{
	struct part *part = part_of(connection, is_client);
	struct crowd_segment segment = {
		.is_outbound = is_client,
		.has_ts = part->has_ts && !(flags & TCP_RST),
		.flags = flags,
		.seq = seq,
		.payload_bytes = payload_bytes,
	};

	if (flags & TCP_ACK)
		segment.ack = part->receive_next;
	if (segment.has_ts) {
		segment.tsval = is_client ? client_tsval(crowd, connection) : host_tsval(crowd, connection);
		segment.tsecr = flags & TCP_ACK ? part->ts_recent : 0;
	}
	crowd_send(crowd, connection, &segment);
}

void part_set_timer(struct crowd *crowd, struct connection *connection, bool is_client, uint64_t time_us)
{
	part_of(connection, is_client)->timer_us = time_us;
	if (time_us)
		crowd_schedule(crowd, time_us, is_client ? AT_CLIENT_TIMER : AT_HOST_TIMER, connection_number(crowd, connection), NULL);
}

void part_queue(struct part *part, uint32_t bytes, bool fin)
{
	part->end += bytes + fin;
	part->is_fin_queued |= fin;
}

void part_push(struct crowd *crowd, struct connection *connection, bool is_client, bool is_again)
{
	struct part *part = part_of(connection, is_client);
	uint32_t from = is_again ? part->una : part->next, data_end = part->end - part->is_fin_queued;

	if (from == part->end)
		return;
	while (seq_after(part->end, from)) {
		uint32_t bytes = seq_after(data_end, from) ? data_end - from : 0;
		uint8_t flags = TCP_ACK;

		bytes = bytes > MSS_BYTES ? MSS_BYTES : bytes;
		flags |= bytes ? TCP_PSH : 0;
		flags |= part->is_fin_queued && from + bytes == data_end ? TCP_FIN : 0;
		part_send(crowd, connection, is_client, flags, from, bytes);
		from += bytes + !!(flags & TCP_FIN);
	}
	if (seq_after(from, part->next))
		part->next = from;
	if (!part->timer_us)
		part_set_timer(crowd, connection, is_client, crowd->now_us + MS(part->rto_ms));
}

static void take_ack(struct crowd *crowd, struct connection *connection, bool is_client, uint32_t ack)
{
	struct part *part = part_of(connection, is_client);

	if (!seq_after(ack, part->una) || seq_after(ack, part->next))
		return;
	part->una = ack;
	part->retries = 0;
	part->rto_ms = RTO_MS;
	part_set_timer(crowd, connection, is_client, part->una == part->next ? 0 : crowd->now_us + MS(RTO_MS));
}

bool part_receive(struct crowd *crowd, struct connection *connection, bool is_client, const struct crowd_segment *segment)
{
	struct part *part = part_of(connection, is_client);
	uint32_t end = segment->seq + segment->payload_bytes + !!(segment->flags & TCP_FIN);

	if (part->has_ts && segment->has_ts && !seq_after(segment->seq, part->receive_next) &&
	    !seq_after(part->ts_recent, segment->tsval))
		part->ts_recent = segment->tsval;
	take_ack(crowd, connection, is_client, segment->ack);
	if (!seq_after(segment->seq, part->receive_next) && seq_after(end, part->receive_next)) {
		part->receive_next = end;
		part->is_peer_fin |= !!(segment->flags & TCP_FIN);
	}
	return end != segment->seq;
}

bool part_timer(struct crowd *crowd, struct connection *connection, bool is_client)
{
	struct part *part = part_of(connection, is_client);

	if (++part->retries > RETRIES_MOST) {
		part_send(crowd, connection, is_client, TCP_RST | TCP_ACK, part->next, 0);
		return false;
	}
	part->rto_ms *= 2;
	part->timer_us = 0;
	part_push(crowd, connection, is_client, true);
	return true;
}

bool part_is_done(const struct part *part)
{
	return part->is_fin_queued && part->una == part->end;
}
