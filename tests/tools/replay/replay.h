/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_REPLAY_H
#define PAWSD_TESTS_REPLAY_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "policy_build.h"

/*
 * The parts of the replay tool (../replay.c has its language):
 *
 *   text.c     a cursor over one line: numbers, addresses, names
 *   segment.c  a packet line: segment, modifiers, expectation
 *   build.c    the bytes of a segment; this side's own arithmetic, nothing from src/
 *   check.c    what is looked at after every packet
 *   world.c    engine, policy and time
 */

/* ---- text.c ---- */

struct text {
	const char *at;
	char problem[160]; /* empty: none so far; only the first is kept */
};

struct endpoint {
	struct addr addr;
	uint16_t port;
};

/* An inclusive range; `first` alone is written as one number. Wraps like a TSval. */
struct range {
	uint32_t first, last;
};

void text_init(struct text *text, const char *line);
bool text_problem(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_skip(struct text *text);
bool text_end(struct text *text);
bool text_char(struct text *text, char c);
bool text_word(struct text *text, const char *word);
bool text_name(struct text *text, char *ret_name, size_t size);
bool text_u64(struct text *text, uint64_t *ret);
bool text_u32(struct text *text, uint32_t max, uint32_t *ret);
bool text_range(struct text *text, struct range *ret);
bool text_hex(struct text *text, uint8_t *ret_bytes, uint32_t max, uint32_t *ret_len);
bool text_addr(struct text *text, struct addr *ret);
bool text_endpoint(struct text *text, struct endpoint *ret);
bool text_prefix(struct text *text, struct prefix *ret);
bool text_ports(struct text *text, struct port_range *ret);
/* "+1.5" or "12.000": milliseconds. False where the line does not begin with a time. */
bool text_time(struct text *text, int64_t *ret_ms, bool *ret_relative);
/* All IPv4 addresses read from now on become IPv6 ones (the same file as an IPv6 test). */
void text_map_to_ipv6(bool map);

/* ---- segment.c ---- */

enum {
	OPTIONS_MAX = 64, /* more than a header can hold, so that files can try */
	EXTENSIONS_MAX = 6,
	IP_OPTIONS_MAX = 40,
	POKES_MAX = 8,
	NOT_SET = -1,
};

enum extension {
	EXTENSION_HOP = 0,
	EXTENSION_ROUTING = 43,
	EXTENSION_FRAGMENT = 44,
	EXTENSION_AH = 51,
	EXTENSION_DESTINATION = 60,
};

struct segment {
	bool outbound; /* client to server */
	uint16_t flags; /* with CWR, ECE and the bit before them */
	uint32_t seq, ack, payload_bytes;
	uint16_t window, urgent;
	uint8_t options[OPTIONS_MAX];
	uint32_t option_bytes;
	int ts_at; /* of the first "TS" item in options, or NOT_SET */

	/* modifiers */
	bool checksum_bad, checksum_not_ready, gso, truncated, wan_given;
	enum direction wan;
	int data_offset, header_length, ip_length, protocol, tos, cut_to; /* or NOT_SET */
	uint32_t trailing_bytes;
	uint8_t ip_options[IP_OPTIONS_MAX];
	uint32_t ip_option_bytes;
	uint8_t extension[EXTENSIONS_MAX];
	uint32_t extension_count;
	bool fragment, more_fragments;
	uint32_t fragment_offset;
	struct {
		uint32_t at;
		uint8_t byte;
	} poke[POKES_MAX];
	uint32_t poke_count;
};

struct expectation {
	enum reason reason; /* REASON_COUNT: any of that total */
	bool any;
	enum reason_total total;
	char destination[DESTINATION_NAME_MAX + 1]; /* empty: any */
	bool no_ts;
	bool ts; /* val and ecr are given */
	struct range tsval, tsecr;
};

/* From the flags to the "=>" (not included). */
bool segment_parse(struct text *text, struct segment *ret);
/* From behind the "=>" to the end of the line. */
bool expectation_parse(struct text *text, struct expectation *ret);
bool reason_parse(struct text *text, enum reason *ret);
bool total_parse(struct text *text, enum reason_total *ret);
bool state_parse(struct text *text, enum flow_state *ret);

/* ---- build.c ---- */

struct built {
	uint8_t *data; /* malloc'd, exactly `len` bytes, so that a sanitizer sees each byte too far */
	uint32_t len;
	uint32_t tcp_at, tcp_bytes; /* of the segment as it was meant */
	int ts_at;		    /* of the option's kind byte in data, or NOT_SET */
};

void build_packet(const struct segment *segment, const struct endpoint *client, const struct endpoint *server,
		  struct built *ret);
/* The plain sum over pseudo-header and segment is 0xffff. */
bool build_checksum_valid(const struct built *built, const uint8_t *data);

/* ---- world.c ---- */

enum {
	HISTORY_MAX = 1024,
};

/* A TSval that left the gateway. */
struct sent {
	struct endpoint client, server;
	int64_t now_ms;
	uint32_t tsval;
};

struct front;

struct world {
	struct front *front; /* the fast path in front of the engine, or NULL */
	const char *path;
	int line, problems;
	struct endpoint client, server;
	bool wan_unknown;
	uint64_t clock; /* shared clock at time 0 */
	int64_t now_ms;
	bool running; /* a packet was handled: memory is set up */
	bool policy_pending;

	uint32_t capacity;
	uint32_t secret_salt;
	struct flow *flows; /* the beginning of what the table keeps */
	uint32_t *index;
	struct engine engine;
	struct counters *counters, *counters_before;

	struct destination *next; /* [0] is [default] */
	size_t next_count;
	struct policy *policy;
	char slot_name[DESTINATION_SLOTS][DESTINATION_NAME_MAX + 1];
	uint32_t slot_count;

	struct sent history[HISTORY_MAX]; /* the latest; a ring */
	uint32_t history_count;
};

void world_init(struct world *world, const char *path);
void world_free(struct world *world);
void world_problem(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t world_tick(const struct world *world);
void world_clear_policy(struct world *world);
bool world_policy_line(struct world *world, struct text *text, bool is_default);
/* Sets up what the lines so far asked for. Returns false after a message. */
bool world_start(struct world *world);
/* The process ends (at any instant) and another one finds its flows. */
void world_restart(struct world *world);
void world_sweep(struct world *world);
/* The slot of a destination's counters, or -1. */
int world_slot(const struct world *world, const char *name);

/* ---- check.c ---- */

/* Sends the packet through the engine and looks at everything. */
void check_packet(struct world *world, const struct segment *segment, const struct expectation *expectation);
/* Gauges, table and invariants, whatever happened before. */
void check_world(struct world *world);

#endif
