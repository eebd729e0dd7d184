/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_OLDSERVER_H
#define PAWSD_TESTS_OLDSERVER_H

/*
 * A model of what a Linux server before 4.12 does with net.ipv4.tcp_tw_recycle=1: it decides
 * which SYNs the server drops. It watches the segments of both directions.
 *
 * The check, on each SYN that begins a connection:
 *   both families      dropped iff now - stamp < 60 && (s32)(remembered - TSval) > 1
 *   RHEL 7, 3.17-4.11  as well iff now - stamp < 60 and the SYN has no timestamps
 *   2.6.32, vanilla 3.10: a SYN without timestamps passes
 * Time is in whole seconds. A dropped SYN changes nothing, so it does not prolong the 60 s.
 *
 * The record (remembered, stamp), one per peer address or per pair of addresses: written when
 * the server's own socket enters orphan FIN_WAIT2 (its FIN acknowledged, the client's not yet
 * there) or TIME_WAIT (the client's FIN there too), that is when the server closed first. It
 * takes the connection's last in-order TSval, unless the one it has is newer and no more than
 * 60 s old.
 */

#include <stdlib.h>

#include "packet_view.h"

enum {
	OLD_MSL_S = 60,
	OLD_WINDOW = 1,
	OLD_BUCKETS = 4096,
};

enum old_family {
	OLD_VANILLA, /* 2.6.32, RHEL 6, 3.10 */
	OLD_RHEL7,   /* RHEL 7, 3.17 to 4.11 */
};

struct old_record {
	struct old_record *next;
	uint8_t version;
	uint8_t local[16], peer[16]; /* local: 0 when the key is the peer alone */
	uint32_t ts, stamp_s;
};

struct old_connection {
	struct old_connection *next;
	uint8_t version;
	uint8_t local[16], peer[16];
	uint16_t local_port, peer_port;
	uint32_t isn;
	bool established;      /* the client's ACK of the SYN/ACK was seen */
	uint32_t rcv_wup;      /* the server's last ACK: what is in order is not beyond it */
	uint32_t rcv_nxt;      /* of the server, as far as it has been seen */
	bool client_fin;       /* the client's FIN has been received */
	bool server_fin;       /* the server has sent FIN before it received one */
	uint32_t server_fin_end;
	bool has_ts;
	uint32_t ts_recent, ts_recent_s;
};

struct old_server {
	enum old_family family;
	bool key_pair;
	struct old_record *records[OLD_BUCKETS];
	struct old_connection *connections[OLD_BUCKETS];
	uint64_t syns, refused, written;
};

static inline unsigned int old_bucket(const uint8_t *bytes, size_t len, unsigned int more)
{
	uint32_t hash = 2166136261u ^ more;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return (hash ^ hash >> 16) % OLD_BUCKETS;
}

static inline struct old_record *old_record_find(struct old_server *server, uint8_t version, const uint8_t *local,
						 const uint8_t *peer, bool create)
{
	static const uint8_t any[16];
	struct old_record **head = &server->records[old_bucket(peer, 16, version)], *record;

	if (!server->key_pair)
		local = any;
	for (record = *head; record; record = record->next)
		if (record->version == version && memcmp(record->peer, peer, 16) == 0 &&
		    memcmp(record->local, local, 16) == 0)
			return record;
	if (!create || !(record = calloc(1, sizeof(*record))))
		return NULL;
	record->version = version;
	memcpy(record->local, local, 16);
	memcpy(record->peer, peer, 16);
	record->next = *head;
	*head = record;
	return record;
}

static inline struct old_connection *old_connection_find(struct old_server *server, const struct segment *s,
							 bool from_client, bool create)
{
	const uint8_t *peer = from_client ? s->src : s->dst, *local = from_client ? s->dst : s->src;
	uint16_t peer_port = from_client ? s->src_port : s->dst_port;
	uint16_t local_port = from_client ? s->dst_port : s->src_port;
	struct old_connection **head = &server->connections[old_bucket(peer, 16, peer_port * 65537u + local_port)];
	struct old_connection *conn;

	for (conn = *head; conn; conn = conn->next)
		if (conn->version == s->version && conn->peer_port == peer_port && conn->local_port == local_port &&
		    memcmp(conn->peer, peer, 16) == 0 && memcmp(conn->local, local, 16) == 0)
			return conn;
	if (!create || !(conn = calloc(1, sizeof(*conn))))
		return NULL;
	conn->version = s->version;
	memcpy(conn->peer, peer, 16);
	memcpy(conn->local, local, 16);
	conn->peer_port = peer_port;
	conn->local_port = local_port;
	conn->next = *head;
	*head = conn;
	return conn;
}

/* The socket enters FIN_WAIT2 or TIME_WAIT. */
static inline void old_server_remember(struct old_server *server, const struct old_connection *conn, uint32_t now_s)
{
	struct old_record *record;

	if (!conn->has_ts)
		return;
	record = old_record_find(server, conn->version, conn->local, conn->peer, true);
	if (!record)
		return;
	if (record->stamp_s == 0 || (int32_t)(record->ts - conn->ts_recent) <= 0 ||
	    (now_s - record->stamp_s > OLD_MSL_S && record->stamp_s <= conn->ts_recent_s)) {
		record->ts = conn->ts_recent;
		record->stamp_s = conn->ts_recent_s;
		server->written++;
	}
}

/* Would the check drop this SYN? */
static inline bool old_server_refuses(struct old_server *server, const struct segment *syn, uint32_t now_s)
{
	const struct old_record *record = old_record_find(server, syn->version, syn->dst, syn->src, false);

	if (!record || now_s - record->stamp_s >= OLD_MSL_S)
		return false;
	if (!syn->ts)
		return server->family == OLD_RHEL7;
	return (int32_t)(record->ts - syn->tsval) > OLD_WINDOW;
}

static inline bool old_server_syn(struct old_server *server, const struct segment *s, uint32_t now_s)
{
	struct old_connection *conn = old_connection_find(server, s, true, true), keep;

	server->syns++;
	if (!conn)
		return true;
	/* A SYN sent again while its SYN/ACK is on the way belongs to a request that was accepted. */
	if (conn->isn == s->seq && conn->rcv_wup == s->seq + 1 && !conn->established)
		return true;
	if (old_server_refuses(server, s, now_s)) {
		server->refused++;
		return false;
	}
	keep = *conn;
	*conn = (struct old_connection){.next = keep.next, .version = keep.version,
					.local_port = keep.local_port, .peer_port = keep.peer_port,
					.isn = s->seq, .rcv_wup = s->seq + 1, .rcv_nxt = s->seq + 1,
					.has_ts = s->ts != NULL, .ts_recent = s->tsval, .ts_recent_s = now_s};
	memcpy(conn->local, keep.local, 16);
	memcpy(conn->peer, keep.peer, 16);
	return true;
}

/* A segment on its way to the server. False: the server drops it. */
static inline bool old_server_receive(struct old_server *server, const struct segment *s, uint32_t now_s)
{
	struct old_connection *conn;

	if ((s->flags & (SEGMENT_SYN | SEGMENT_ACK | SEGMENT_RST)) == SEGMENT_SYN)
		return old_server_syn(server, s, now_s);
	conn = old_connection_find(server, s, true, false);
	if (!conn || (s->flags & SEGMENT_RST))
		return true;
	if (conn->has_ts && s->ts) {
		if ((int32_t)(conn->ts_recent - s->tsval) > OLD_WINDOW)
			return true; /* the server's own business: it will not take this segment */
		if ((int32_t)(s->seq - conn->rcv_wup) <= 0 && (int32_t)(s->tsval - conn->ts_recent) >= 0) {
			conn->ts_recent = s->tsval;
			conn->ts_recent_s = now_s;
		}
	}
	conn->established = true;
	if ((int32_t)(s->seq - conn->rcv_nxt) <= 0 && (int32_t)(segment_end(s) - conn->rcv_nxt) >= 0) {
		conn->rcv_nxt = segment_end(s);
		conn->client_fin |= (s->flags & SEGMENT_FIN) != 0;
	}
	if (conn->server_fin && (int32_t)(s->ack - conn->server_fin_end) >= 0)
		old_server_remember(server, conn, now_s);
	return true;
}

/* A segment that the server has sent. */
static inline void old_server_send(struct old_server *server, const struct segment *s)
{
	struct old_connection *conn = old_connection_find(server, s, false, false);

	if (!conn || (s->flags & SEGMENT_RST) || !(s->flags & SEGMENT_ACK))
		return;
	conn->rcv_wup = s->ack;
	if ((s->flags & SEGMENT_FIN) && !conn->client_fin) {
		conn->server_fin = true;
		conn->server_fin_end = segment_end(s);
	}
}

#endif
