/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_HANDCAP_H
#define PAWSD_TESTS_HANDCAP_H

#include "../../sim/rng.h"
#include "../replay/replay.h"
#include "packet.h"

/*
 * The parts of the tool that makes captures (../handcap.c has its language). Of the replay tool it has the cursor over
 * a line, the packet line and the bytes of a segment: text.c, segment.c, build.c.
 *
 *   file.c        packets, in the order of their times, as a file
 *   talk.c        a connection in a line: served, unserved
 *   crowd_text.c  the lines about a crowd: network, clients, hosts
 *   crowd.c       who connects when, and the network
 *   client.c      what a client does
 *   host.c        what a server does, and what stands in front of it
 *   tcp.c         what both do of TCP
 *   icmp.c        a router's word that something cannot be reached
 */

#define MS(n) ((uint64_t)(n) * 1000)
#define SECONDS(n) ((uint64_t)(n) * 1000000)

enum {
	MILLION = 1000000, /* chances are given as so many of a million */
	TCP_PSH = 0x08,
};

/* ---- file.c ---- */

enum link {
	LINK_ETHERNET,
	LINK_VLAN,
	LINK_QINQ,
	LINK_SLL,
	LINK_SLL2,
	LINK_RAW,
	LINK_LOOPBACK,
	LINK_COUNT,
};

enum format {
	FORMAT_PCAP,
	FORMAT_PCAP_SWAPPED, /* of a machine with the other byte order */
	FORMAT_PCAP_NANOSECONDS,
	FORMAT_PCAPNG,
	FORMAT_COUNT,
};

extern const char *const link_names[LINK_COUNT], *const format_names[FORMAT_COUNT];

struct packet_bytes {
	uint64_t time_us;
	uint32_t order, len;
	bool is_frame; /* `data` begins with the link's own header */
	uint8_t *data;
};

struct file {
	enum link link;
	enum format format;
	uint32_t snap_bytes;
	uint64_t begin_us; /* time of day at time 0 */
	struct packet_bytes *packets;
	uint32_t count, room;
};

/* Takes over `data`, from malloc(). */
void file_add(struct file *file, uint64_t time_us, uint8_t *data, uint32_t len, bool is_frame);
void file_add_segment(struct file *file, uint64_t time_us, const struct segment *segment, const struct endpoint *client,
		      const struct endpoint *server);
/* False after a message. */
bool file_write(struct file *file, const char *path);
void file_free(struct file *file);

/* ---- talk.c ---- */

/*
 * "served CLIENT SERVER [TS N] ...": all packets of a short connection; "unserved": its SYNs. Time and the word itself have
 * been read. False after a problem, which is in `text`.
 */
bool talk_line(struct file *file, struct text *text, uint64_t time_us, bool is_served);

/* Timestamps and the other options of a SYN or of a later segment; bare: without timestamps. */
struct segment talk_segment(bool is_outbound, uint16_t flags, bool has_ts, uint32_t tsval, uint32_t tsecr);

/* ---- a crowd ---- */

enum offset_style {
	OFFSET_CONNECTION, /* at random for each connection, all around the circle */
	OFFSET_UPTIME,	   /* a client's own: up for so many days */
	OFFSET_COMMON,	   /* of all clients with this word the same */
};

struct interval {
	uint32_t from_s, to_s; /* both 0: never */
};

/* A line "clients". Chances per million. */
struct client_kind {
	uint32_t count, weight, hz, uptime_days, loss, far_loss, tsval, only_host; /* only_host: from 1; 0: any */
	struct addr first;
	enum offset_style offset;
	bool is_bare, is_zero_syn, is_fast_open, is_once, is_vanishing, is_blocked, is_prober;
	uint32_t jump_s, patience_s; /* 0: none, drawn */
	struct interval cut, active;
};

enum recycle {
	RECYCLE_NONE,
	RECYCLE_OLD, /* 2.6.32 */
	RECYCLE_NEW, /* RHEL 7 */
};

enum refusal {
	REFUSAL_NONE,
	REFUSAL_RESET,
	REFUSAL_SILENCE,
	REFUSAL_UNREACHABLE, /* ICMP, from a router */
};

/* A line "host": one port of a server. */
struct host {
	struct endpoint at;
	uint32_t weight, closes_first, drops, half_dead, half_dead_sources, backlog, backlog_s, mtu_bytes;
	uint32_t slow_least_ms, slow_most_ms;
	enum recycle recycle;
	enum refusal refusal;
	bool is_bare, is_cookies, is_scrubbed, is_zero, is_bare_dropped;
	struct interval down, restart;
	uint32_t machine; /* hosts with the same address share what they remember */
	/* what it is at */
	uint32_t stamp_tsval;
	uint64_t stamp_us; /* 0: none */
	uint32_t waiting;  /* SYNs that are not acknowledged yet */
	uint32_t offset;
};

enum {
	KINDS_MAX = 16,
	HOSTS_MAX = 4096,
};

struct part { /* one end's TCP */
	uint32_t iss, una, next, end, receive_next, ts_recent;
	bool is_fin_queued, is_peer_fin, has_ts;
	uint64_t timer_us; /* 0: none */
	uint32_t rto_ms, retries;
};

enum client_state {
	CLIENT_SYN_SENT,
	CLIENT_OPEN,
	CLIENT_GONE,
};

enum host_state {
	HOST_NONE,
	HOST_SYN_RECV,
	HOST_OPEN,
	HOST_TIME_WAIT,
	HOST_GONE,
};

struct connection {
	uint16_t kind, host;
	uint32_t client_number, offset, request_bytes, response_bytes, give_up_s, life_ms, first_tsval, syns;
	struct endpoint inner, outer;
	enum client_state client_state;
	enum host_state host_state;
	struct part client, server;
	bool closes_first, has_answered, is_waiting_counted, came_about;
	uint32_t elder; /* the last one on its public port, or its own number: none */
	uint64_t arrived_us[4]; /* the last one, by leg and way: what is not reordered arrives behind it */
	uint64_t begin_us, time_wait_us, app_us; /* app_us: when the client does something next, 0: not */
};

enum event_kind {
	AT_BEGIN,
	AT_TAP,
	AT_CLIENT,
	AT_HOST,
	AT_CLIENT_TIMER,
	AT_HOST_TIMER,
};

struct crowd_segment {
	bool is_outbound, has_ts, is_fast_open;
	uint8_t flags;
	uint32_t seq, ack, payload_bytes, tsval, tsecr;
};

struct crowd_event {
	uint64_t time_us;
	uint32_t order, connection;
	enum event_kind kind;
	struct crowd_segment segment;
};

struct crowd {
	struct file *file;
	struct rng rng;
	uint64_t now_us;
	/* how it was described */
	uint32_t connection_count, seconds, seed;
	struct interval rush;
	uint32_t rush_share; /* of the connections, begins in there */
	uint32_t loss, reorder, duplicate, delay_least_ms, delay_most_ms; /* chances: on either side of the tap */
	uint32_t burst_least_ms, burst_most_ms, burst_every_s;
	struct client_kind kinds[KINDS_MAX];
	uint32_t kind_count;
	struct host *hosts;
	uint32_t host_count;
	bool is_wan, is_any; /* where it is captured; any: on both sides at once */
	uint32_t public_count;
	struct addr public;
	uint16_t port_first, port_count;
	uint32_t hold_ms; /* a public port is held after the end */
	uint32_t missed, once_more; /* by the capture itself: packets lost, seen twice */
	uint32_t seen_from_s;
	bool is_out_only, is_in_only;
	/* what is going on */
	struct connection *connections;
	uint32_t *ports; /* of each public address: the last connection on it, from 1 */
	uint16_t port_next;
	struct crowd_event *heap;
	uint32_t heap_count, heap_room, order;
};

/* crowd_text.c: takes a line that is about the crowd; false: it is not. Problems are in `text`. */
bool crowd_line(struct crowd *crowd, struct text *text);
void crowd_init(struct crowd *crowd, struct file *file);
void crowd_free(struct crowd *crowd);

/* crowd.c */
void crowd_run(struct crowd *crowd);
void crowd_schedule(struct crowd *crowd, uint64_t time_us, enum event_kind kind, uint32_t connection,
		    const struct crowd_segment *segment);
/* Sends it on its way from either end. */
void crowd_send(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment);
bool is_within(const struct crowd *crowd, const struct interval *interval);
struct addr addr_plus(const struct addr *addr, uint32_t number);
uint32_t addr_hash(const struct addr *addr);

/* tcp.c: what both ends do. */
void part_send(struct crowd *crowd, struct connection *connection, bool is_client, uint8_t flags, uint32_t seq,
	       uint32_t payload_bytes);
void part_queue(struct part *part, uint32_t bytes, bool fin);
/* Sends what is queued and has not been sent, or once more all that is not acknowledged. */
void part_push(struct crowd *crowd, struct connection *connection, bool is_client, bool is_again);
/* Takes a segment in. True when there is something to acknowledge. */
bool part_receive(struct crowd *crowd, struct connection *connection, bool is_client, const struct crowd_segment *segment);
/* Of a running connection. False: it is given up. */
bool part_timer(struct crowd *crowd, struct connection *connection, bool is_client);
void part_set_timer(struct crowd *crowd, struct connection *connection, bool is_client, uint64_t time_us);
bool part_is_done(const struct part *part);

/* icmp.c: a router says that the SYN's host cannot be reached. `client` as the capture has it. */
void icmp_add(struct file *file, uint64_t time_us, const struct segment *syn, const struct endpoint *client,
	      const struct endpoint *server);

static inline uint32_t connection_number(const struct crowd *crowd, const struct connection *connection)
{
	return (uint32_t)(connection - crowd->connections);
}

/* client.c, host.c */
void client_begin(struct crowd *crowd, struct connection *connection);
void client_receive(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment);
void client_timer(struct crowd *crowd, struct connection *connection);
uint32_t client_tsval(const struct crowd *crowd, const struct connection *connection);
void host_receive(struct crowd *crowd, struct connection *connection, const struct crowd_segment *segment);
void host_timer(struct crowd *crowd, struct connection *connection);
uint32_t host_tsval(const struct crowd *crowd, const struct connection *connection);

#endif
