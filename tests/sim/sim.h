/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SIM_H
#define PAWSD_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "policy.h"
#include "reason.h"
#include "rng.h"
#include "rules.h"
#include "seq.h"

/* What the simulator's parts have in common; main.c tells how they play together. Times are microseconds. */

#define MS(n) ((uint64_t)(n) * 1000)
#define SECONDS(n) ((uint64_t)(n) * 1000000)
#define MINUTES(n) SECONDS((n) * 60)

enum {
	NONE = UINT32_MAX,
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	PSH = 0x08,
	ACK = 0x10,
	MSS_BYTES = 120, /* short, for packets are real bytes */
	EPOCHS_MAX = 10, /* policies of a run, one after the other */
	GATEWAYS_MAX = 2,
	MAX_LEAD_MS = 1000, /* pawsd's default */
	TIME_WAIT_S = 60,
};

enum run_kind {
	RUN_PLAIN,
	RUN_TEXTBOOK,
	RUN_PAWSD,
	RUN_COUNT,
};

/* ---- the scenario: what the seed decides before anything runs ---- */

enum clock_offset {
	OFFSET_NONE, /* TSval is the uptime */
	OFFSET_PAIR,
	OFFSET_CONNECTION,
};

enum client_kind {
	CLIENT_TIMESTAMPS,
	CLIENT_BARE,	 /* no timestamps */
	CLIENT_ZERO_SYN, /* TSval 0 in the SYN, then random */
};

struct client {
	enum family family;
	enum client_kind kind;
	enum clock_offset offset_style;
	uint16_t public; /* which public address its connections get */
	double ticks_per_us;
	uint32_t offset;
	uint32_t near_us; /* to the gateway */
	uint16_t port_first, port_count, port_next;
	bool wild;	   /* its TSval jumps by a quarter of an hour with each segment */
	bool retries_soon; /* a recent Linux: next SYN 10 ms after a RST */
	bool drops_reset;  /* a firewall on its way takes its RST in SYN_SENT for invalid */
};

enum host_check {
	HOST_CHECK_NONE,
	HOST_CHECK_OLD,
	HOST_CHECK_NEW,
};

struct server {
	enum family family;
	uint16_t address, port, machine; /* several ports may share an address, several addresses a machine */
	enum host_check host_check;
	bool by_peer; /* its record is keyed by the peer alone */
	bool third_ack, cookies, echoes_latest, needs_option, bogus_firewall;
	bool zero_firewall; /* one that lets no TSecr through in a SYN/ACK */
	bool tame; /* only clients with small uptimes connect: unmanaged TSvals fit into half the circle */
	uint32_t closes_first; /* of a million connections, how many the server closes */
	double ticks_per_us;
	uint32_t offset;
	uint32_t far_us;
	uint32_t weight;
	enum mode mode[EPOCHS_MAX];
	enum repair repair;
};

enum gateway_event_kind {
	GATEWAY_START,		/* the daemon, where it was not there before */
	GATEWAY_RELOAD,		/* the next policy */
	GATEWAY_RESTART,	/* crash or restart with on_stop = keep: flows, marks and clock are there */
	GATEWAY_FORGET,		/* stop and start: flows forgotten, marks and clock are there */
	GATEWAY_REBOOT,		/* all forgotten but state_dir's clock; time of day wrong by argument_us */
	GATEWAY_DOWN,		/* a crash: for argument_us handshakes pass by and the rest is dropped */
	GATEWAY_NTP_STEP,	/* time of day moves by argument_us */
	GATEWAY_FAILOVER,	/* to the other gateway; nothing passes for argument_us */
};

struct gateway_event {
	uint64_t at_us;
	enum gateway_event_kind kind;
	int64_t argument_us;
};

enum nat_ports {
	NAT_PRESERVE, /* the client's port where it is free */
	NAT_LOWEST,
	NAT_RANDOM,
	NAT_PORTS_COUNT,
};

enum variant {
	VARIANT_RESTART,
	VARIANT_FORGET,
	VARIANT_REBOOT,
	VARIANT_PAIR,
	VARIANT_FULL,
	VARIANT_LATE,
	VARIANT_QUIET,
	VARIANT_MIXED,
	VARIANT_COUNT,
};

struct scenario {
	uint64_t seed;
	uint32_t packets; /* about so many */
	enum variant variant;
	bool postnat;
	bool directions_known; /* the daemon knows its wan interfaces */
	uint32_t client_count, server_count, address_count, machine_count, public_count;
	struct client *clients;
	struct server *servers;
	uint32_t *server_lottery; /* server numbers, as often as their weight */
	uint32_t lottery_count;
	uint32_t *tame_clients, tame_count;
	uint32_t connection_count, phase_count;
	uint64_t epoch_ms; /* time of day when the run begins */
	uint64_t mean_gap_us;
	uint32_t loss, duplication; /* per million and leg */
	uint32_t jitter_us;
	uint32_t capacity, quota;
	enum nat_ports nat_ports;
	uint16_t nat_first, nat_count;
	uint64_t nat_close_us;
	uint64_t daemon_start_us;
	uint32_t gateway_count;
	int64_t clock_error_us[GATEWAYS_MAX];
	struct gateway_event events[24];
	uint32_t event_count;
};

/* What happens on a connection, made anew from its number whenever somebody asks. */
struct plan {
	uint32_t number;
	uint16_t client, server;
	uint32_t rounds, request_bytes, response_bytes;
	bool server_first; /* closes first */
	bool vanishes;	   /* the client dies without a word */
	uint64_t think_us;
	uint32_t keepalives;
	uint64_t keepalive_us;
	uint32_t rng_salt;
};

void scenario_make(struct scenario *ret, uint64_t seed, uint32_t packets);
void scenario_free(struct scenario *scenario);
struct plan scenario_plan(const struct scenario *scenario, uint32_t number);
void scenario_print(const struct scenario *scenario, FILE *out);

/* ---- packets on their way ---- */

/*
 * Where a TSval came from. No model decides anything by it: it is for telling whether what happened
 * was promised not to happen.
 */
struct source {
	uint64_t crossing;   /* number of the packet at the gateway, 0: none yet */
	uint64_t crossed_us;
	int64_t ahead_ms;    /* of the gateway's clock */
	uint32_t plan, serial, sent_tsval;
	uint16_t address;    /* of the server it went to */
	uint16_t memory;     /* which memory of which gateway saw it */
	uint8_t gateway;
	bool seen;	     /* an engine (or textbook) saw it */
	bool managed;	     /* of a connection that is rewritten */
	bool satisfiable;    /* a SYN: some TSval would have suited its server */
	int reason;
};

struct segment {
	uint32_t plan;
	uint16_t client, client_port, server, public, public_port;
	bool outbound, has_ts;
	uint8_t flags, copy;
	uint16_t payload_bytes;
	uint32_t seq, ack, tsval, tsecr;
	uint32_t echo, echo_serial; /* the truth: the TSval, as its client wrote it, that TSecr stands for */
	bool wrap_echo; /* TSecr 2^32 - 1 at the gateway, which stands for 0 as well */
	bool bogus;		    /* TSval and TSecr are a firewall's */
	bool bad_checksum;
	struct source source;
	uint32_t next_free;
};

/* ---- events ---- */

enum event_kind {
	EVENT_CONNECT,
	EVENT_GATEWAY, /* a segment is at the gateway */
	EVENT_ARRIVE,  /* at its receiver */
	EVENT_SOCKET,  /* a timer; `generation` tells whether it is still that socket */
	EVENT_SCENARIO,
	EVENT_SWEEP,
	EVENT_SAVE,
	EVENT_OUTSIDE,
	EVENT_RULES_DONE,
};

struct sim_event {
	uint64_t at_us;
	uint32_t order, index, generation;
	enum event_kind kind;
};

struct events {
	struct sim_event *heap;
	uint32_t count, room, order;
};

void events_add(struct events *events, uint64_t at_us, enum event_kind kind, uint32_t index, uint32_t generation);
bool events_take(struct events *events, struct sim_event *ret);

/* ---- a map from 64-bit keys (never 0) to numbers ---- */

struct map {
	uint64_t *keys;
	uint32_t *values;
	uint32_t count, mask;
};

uint32_t *map_find(const struct map *map, uint64_t key);
void map_set(struct map *map, uint64_t key, uint32_t value);
void map_remove(struct map *map, uint64_t key);
void map_free(struct map *map);

static inline uint64_t tuple_key(uint32_t host, uint32_t port, uint32_t server)
{
	return 1ull << 63 | (uint64_t)host << 36 | (uint64_t)port << 16 | server;
}

/* ---- the ends ---- */

enum socket_state {
	SOCKET_FREE,
	SOCKET_SYN_SENT,
	SOCKET_SYN_RECV,
	SOCKET_OPEN, /* all from the handshake to the last FIN */
	SOCKET_TIME_WAIT,
};

struct sent {
	uint64_t at_us;
	uint32_t tsval, serial;
	uint64_t crossing; /* of a scaled connection: number at the gateway */
};

struct socket {
	enum socket_state state;
	uint32_t generation, index;
	bool is_client;
	struct plan plan;
	uint16_t client, client_port; /* of a client's socket */
	uint16_t server, public, public_port;
	uint32_t iss, snd_una, snd_nxt, snd_end; /* snd_end: behind all to be sent, FIN included */
	uint32_t irs, rcv_nxt, last_ack_sent;
	bool fin_queued, fin_first, peer_fin, ack_due;
	bool ts_on;
	uint32_t ts_recent;
	struct source recent; /* of ts_recent */
	uint64_t recent_us;
	uint32_t tsval_offset;
	uint32_t first_tsval, last_tsval; /* of the SYN, of the SYN/ACKs */
	uint32_t serial;
	uint32_t retries;
	uint64_t rto_us;
	uint64_t retransmit_at_us, app_at_us, timer_at_us; /* 0: none */
	uint32_t round, keepalives;
	bool established_counted;
	bool managed, stripped, passed_unmanaged; /* its SYNs, at the gateway */
	bool victim; /* nothing is promised to it any more */
	bool scaled;
	bool retried_soon;
	uint64_t challenged_us; /* when it last answered something out of place */
	bool met_open; /* its SYN met another's connection at the server */
	struct sent *sent; /* a client's: every TSval it has sent */
	uint32_t sent_count, sent_room;
};

struct stamp {
	uint32_t tsval;
	uint64_t at_s;
	bool used;
	struct source source;
};

/* ---- NAT ---- */

struct mapping {
	uint16_t client, client_port, server, public, public_port;
	uint8_t fins;
	bool used, closing;
	uint64_t expires_us; /* 0: never */
};

/* ---- the world ---- */

/* What a watcher of the plain run makes of servers: watch.c. By enum finding. */
struct watch_tally {
	uint64_t servers, found[8], possible[8], wrong[8], wrong_possible[8], to_be_found, missed;
};

struct tally {
	struct watch_tally watch;
	uint64_t checks[RULE_COUNT], violations[RULE_COUNT];
	uint64_t packets, connections, virtual_us;
	double seconds;
};

struct gateway;
struct analysis;

struct world {
	const struct scenario *scenario;
	struct analysis *watch; /* NULL: nobody watches */
	enum run_kind run;
	uint64_t now_us;
	struct events events;
	struct segment *segments;
	uint32_t segment_count, free_segment;
	struct socket **sockets; /* in blocks that stay where they are */
	uint32_t socket_count, free_socket;
	struct map client_sockets, server_sockets;
	struct mapping *mappings;
	uint32_t mapping_count, *free_mappings, free_mapping_count, free_mapping_room;
	struct map inner_mappings, outer_mappings;
	struct stamp *stamps_by_pair, *stamps_by_peer; /* [address or machine][public] */
	uint32_t connections_started;
	uint32_t policy_epoch;
	bool rules_lag;
	struct gateway *gateways[GATEWAYS_MAX];
	uint32_t active;
	uint64_t blocked_until_us, down_until_us;
	uint64_t crossings;
	uint32_t sweeps;
	struct tally *tally;
	uint8_t complaints[RULE_COUNT];
	uint32_t trace, trace_server; /* a connection whose packets are printed; a server whose odd ones are */
};

void world_run(struct world *world);

/* report.c: notes one check of a rule; of pawsd's violations the first ones are told in words. */
void check_rule(struct world *world, enum rule rule, bool good, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static inline void count_rule(struct world *world, enum rule rule, bool good)
{
	world->tally->checks[rule]++;
	world->tally->violations[rule] += !good;
}

/* watch.c */
void watch_open(struct world *world);
void watch_take(struct world *world, const struct segment *segment);
void watch_close(struct world *world);

/* net.c */
struct segment *segment_new(struct world *world);
void segment_free(struct world *world, struct segment *segment);
void net_to_gateway(struct world *world, struct segment *segment);
void net_from_gateway(struct world *world, struct segment *segment);

/* nat.c: false when the packet is to be dropped. */
bool nat_translate(struct world *world, struct segment *segment);
void nat_free(struct world *world);

/* socket.c */
struct socket *socket_new(struct world *world);
void socket_free(struct world *world, struct socket *socket);
struct socket *socket_at(const struct world *world, uint32_t index);
struct socket *socket_of_client(const struct world *world, uint16_t client, uint16_t port, uint16_t server);
uint32_t socket_tsval(const struct world *world, const struct socket *socket);
void socket_set_timer(struct world *world, struct socket *socket);
void socket_send(struct world *world, struct socket *socket, uint8_t flags, uint32_t seq, uint32_t payload_bytes);
void socket_send_reset(struct world *world, const struct segment *segment);

/* tcp.c: what both ends of an open connection do. */
void tcp_queue(struct socket *socket, uint32_t bytes, bool fin);
void tcp_push(struct world *world, struct socket *socket);
/* Answers what is out of place with an ACK; what is empty twice a second at most, or two ends would never stop. */
void tcp_challenge(struct world *world, struct socket *socket, const struct segment *segment);
void tcp_receive(struct world *world, struct socket *socket, const struct segment *segment);
void tcp_timer(struct world *world, struct socket *socket);
bool tcp_paws_fails(const struct world *world, const struct socket *socket, const struct segment *segment);
void tcp_note_met_open(struct world *world, const struct segment *syn);
void tcp_note_ts(struct world *world, struct socket *socket, const struct segment *segment);

/* client.c, server.c */
void client_connect(struct world *world, uint32_t number);
void client_receive(struct world *world, const struct segment *segment);
void client_timer(struct world *world, struct socket *socket);
void client_progress(struct world *world, struct socket *socket);
void server_receive(struct world *world, const struct segment *segment);
void server_timer(struct world *world, struct socket *socket);
void server_progress(struct world *world, struct socket *socket);
uint32_t server_clock(const struct world *world, uint16_t server);

/* client_check.c */
void client_check_echo(struct world *world, struct socket *socket, const struct segment *segment);
void client_note_crossing(struct socket *socket, const struct source *source);
bool client_check_synack(struct world *world, struct socket *socket, const struct segment *segment);

/* server_rules.c: one function per rule of DESIGN section 2. */
bool rule_host_check(struct world *world, const struct segment *syn);
void rule_write_stamp(struct world *world, const struct socket *socket);
bool rule_time_wait(struct world *world, const struct socket *socket, const struct segment *syn);
bool rule_third_ack(struct world *world, const struct socket *socket, const struct segment *ack);
/* Under which rule a refusal over what `remembered` brought is counted: `promised`, or one that is apart. */
enum rule rule_of_refusal(struct world *world, const struct segment *syn, const struct source *remembered,
			  enum rule promised);

static inline const struct client *client_of(const struct world *world, uint16_t number)
{
	return &world->scenario->clients[number];
}

static inline const struct server *server_of(const struct world *world, uint16_t number)
{
	return &world->scenario->servers[number];
}

/* A clock of 1 MHz is half round the circle after 36 minutes; a connection that is not scaled suffers by itself. */
static inline bool world_has_gone_round(const struct world *world, uint16_t client, uint64_t since_us)
{
	return client_of(world, client)->ticks_per_us > 0.1 && world->now_us - since_us > MINUTES(30);
}

static inline void *sim_allocate(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		abort();
	return memory;
}

#endif
