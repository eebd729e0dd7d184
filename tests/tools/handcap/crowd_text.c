/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a file says about a crowd; ../handcap.c has the language. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "handcap.h"

/* How a word's argument is read, and into what. */
enum argument {
	ARGUMENT_NONE,	   /* bool: the word alone */
	ARGUMENT_NUMBER,   /* uint32_t */
	ARGUMENT_CHANCE,   /* uint32_t: "2.5%", of a million */
	ARGUMENT_RANGE,	   /* two uint32_t in a row: "5..40" */
	ARGUMENT_INTERVAL, /* struct interval: "100..160" */
	ARGUMENT_ADDR,
	ARGUMENT_NOT,	   /* bool: not */
	ARGUMENT_CHOICE,   /* int-sized enum: the word stands for `choice` */
};

struct word {
	const char *name;
	enum argument argument;
	size_t at;
	int choice;
};

#define NETWORK(member) offsetof(struct crowd, member)
#define CLIENTS(member) offsetof(struct client_kind, member)
#define HOST(member) offsetof(struct host, member)

static const struct word network_words[] = {
	{"loss", ARGUMENT_CHANCE, NETWORK(loss), 0},
	{"reorder", ARGUMENT_CHANCE, NETWORK(reorder), 0},
	{"duplicate", ARGUMENT_CHANCE, NETWORK(duplicate), 0},
	{"delay", ARGUMENT_RANGE, NETWORK(delay_least_ms), 0},
	{"bursts", ARGUMENT_RANGE, NETWORK(burst_least_ms), 0},
	{"every", ARGUMENT_NUMBER, NETWORK(burst_every_s), 0},
	{NULL, ARGUMENT_NONE, 0, 0},
};

static const struct word crowd_words[] = {
	{"rush", ARGUMENT_INTERVAL, NETWORK(rush), 0},
	{"of", ARGUMENT_CHANCE, NETWORK(rush_share), 0},
	{NULL, ARGUMENT_NONE, 0, 0},
};

static const struct word nat_words[] = {
	{"ports", ARGUMENT_RANGE, 0, 0}, /* by hand */
	{"hold", ARGUMENT_NUMBER, NETWORK(hold_ms), 0},
	{"addresses", ARGUMENT_NUMBER, NETWORK(public_count), 0},
	{"from", ARGUMENT_ADDR, NETWORK(public), 0},
	{NULL, ARGUMENT_NONE, 0, 0},
};

static const struct word seen_words[] = {
	{"wan", ARGUMENT_NONE, NETWORK(is_wan), 0},
	{"any", ARGUMENT_NONE, NETWORK(is_any), 0},
	{"lan", ARGUMENT_NOT, NETWORK(is_wan), 0},
	{"out only", ARGUMENT_NONE, NETWORK(is_out_only), 0},
	{"in only", ARGUMENT_NONE, NETWORK(is_in_only), 0},
	{"missed", ARGUMENT_CHANCE, NETWORK(missed), 0},
	{"twice", ARGUMENT_CHANCE, NETWORK(once_more), 0},
	{NULL, ARGUMENT_NONE, 0, 0},
};

static const struct word seen_from_words[] = {
	{"second", ARGUMENT_NUMBER, NETWORK(seen_from_s), 0},
	{NULL, ARGUMENT_NONE, 0, 0},
};

static const struct word clients_words[] = {
	{"from", ARGUMENT_ADDR, CLIENTS(first), 0},
	{"weight", ARGUMENT_NUMBER, CLIENTS(weight), 0},
	{"offset connection", ARGUMENT_CHOICE, CLIENTS(offset), OFFSET_CONNECTION},
	{"offset common", ARGUMENT_CHOICE, CLIENTS(offset), OFFSET_COMMON},
	{"tsval", ARGUMENT_NUMBER, CLIENTS(tsval), 0},
	{"uptime", ARGUMENT_NUMBER, CLIENTS(uptime_days), 0},
	{"hz", ARGUMENT_NUMBER, CLIENTS(hz), 0},
	{"bare", ARGUMENT_NONE, CLIENTS(is_bare), 0},
	{"zero_syn", ARGUMENT_NONE, CLIENTS(is_zero_syn), 0},
	{"fast_open", ARGUMENT_NONE, CLIENTS(is_fast_open), 0},
	{"once", ARGUMENT_NONE, CLIENTS(is_once), 0},
	{"vanish", ARGUMENT_NONE, CLIENTS(is_vanishing), 0},
	{"blocked", ARGUMENT_NONE, CLIENTS(is_blocked), 0},
	{"probe", ARGUMENT_NONE, CLIENTS(is_prober), 0},
	{"jump", ARGUMENT_NUMBER, CLIENTS(jump_s), 0},
	{"patience", ARGUMENT_NUMBER, CLIENTS(patience_s), 0},
	{"loss", ARGUMENT_CHANCE, CLIENTS(loss), 0},
	{"far_loss", ARGUMENT_CHANCE, CLIENTS(far_loss), 0},
	{"cut", ARGUMENT_INTERVAL, CLIENTS(cut), 0},
	{"active", ARGUMENT_INTERVAL, CLIENTS(active), 0},
	{"to", ARGUMENT_NUMBER, CLIENTS(only_host), 0},
	{NULL, ARGUMENT_NONE, 0, 0},
};

static const struct word host_words[] = {
	{"weight", ARGUMENT_NUMBER, HOST(weight), 0},
	{"first", ARGUMENT_CHANCE, HOST(closes_first), 0},
	{"drops", ARGUMENT_CHANCE, HOST(drops), 0},
	{"half_dead", ARGUMENT_CHANCE, HOST(half_dead), 0},
	{"half_dead_sources", ARGUMENT_CHANCE, HOST(half_dead_sources), 0},
	{"backlog", ARGUMENT_NUMBER, HOST(backlog), 0},
	{"backlog_s", ARGUMENT_NUMBER, HOST(backlog_s), 0},
	{"mtu", ARGUMENT_NUMBER, HOST(mtu_bytes), 0},
	{"slow", ARGUMENT_RANGE, HOST(slow_least_ms), 0},
	{"recycle old", ARGUMENT_CHOICE, HOST(recycle), RECYCLE_OLD},
	{"recycle new", ARGUMENT_CHOICE, HOST(recycle), RECYCLE_NEW},
	{"closed", ARGUMENT_CHOICE, HOST(refusal), REFUSAL_RESET},
	{"silent", ARGUMENT_CHOICE, HOST(refusal), REFUSAL_SILENCE},
	{"unreachable", ARGUMENT_CHOICE, HOST(refusal), REFUSAL_UNREACHABLE},
	{"bare", ARGUMENT_NONE, HOST(is_bare), 0},
	{"cookies", ARGUMENT_NONE, HOST(is_cookies), 0},
	{"scrubbed", ARGUMENT_NONE, HOST(is_scrubbed), 0},
	{"zero", ARGUMENT_NONE, HOST(is_zero), 0},
	{"bare_dropped", ARGUMENT_NONE, HOST(is_bare_dropped), 0},
	{"down", ARGUMENT_INTERVAL, HOST(down), 0},
	{"restart", ARGUMENT_INTERVAL, HOST(restart), 0},
	{NULL, ARGUMENT_NONE, 0, 0},
};

/* "12", "2.5": a number of hundredths of a percent, made one of a million. */
static void read_chance(struct text *text, uint32_t *ret)
{
	uint32_t percent = 0, part = 0;

	if (!text_u32(text, 100, &percent))
		return;
	if (*text->at == '.') {
		text->at++;
		if (!text_u32(text, 9, &part))
			return;
	}
	*ret = percent * 10000 + part * 1000;
	if (!text_char(text, '%'))
		text_problem(text, "%% is missing");
}

static void read_argument(struct text *text, const struct word *word, uint8_t *base)
{
	uint32_t *number = (uint32_t *)(void *)(base + word->at);
	struct range range = {0, 0};

	switch (word->argument) {
	case ARGUMENT_NONE:
	case ARGUMENT_NOT:
		*(bool *)(base + word->at) = word->argument == ARGUMENT_NONE;
		break;
	case ARGUMENT_NUMBER:
		text_u32(text, UINT32_MAX, number);
		break;
	case ARGUMENT_CHANCE:
		read_chance(text, number);
		break;
	case ARGUMENT_RANGE:
	case ARGUMENT_INTERVAL:
		if (text_range(text, &range)) {
			number[0] = range.first;
			number[1] = range.last;
		}
		break;
	case ARGUMENT_ADDR:
		text_addr(text, (struct addr *)(void *)(base + word->at));
		break;
	case ARGUMENT_CHOICE:
		*(int *)(void *)(base + word->at) = word->choice;
		break;
	}
}

static void read_words(struct text *text, const struct word *words, void *base)
{
	while (!text_end(text) && !text->problem[0]) {
		const struct word *word = words;

		while (word->name && !text_word(text, word->name))
			word++;
		if (word->name)
			read_argument(text, word, base);
		else
			text_problem(text, "unknown word at \"%.20s\"", text->at);
	}
}

/* "crowd 4000 connections in 600 s seed 7 rush 200..240 of 50%" */
static void read_crowd(struct crowd *crowd, struct text *text)
{
	uint32_t seed = 0;

	if (!text_u32(text, 1000000, &crowd->connection_count) || !text_word(text, "connections in") ||
	    !text_u32(text, 100000, &crowd->seconds) || !text_word(text, "s seed") || !text_u32(text, UINT32_MAX, &seed))
		text_problem(text, "crowd N connections in N s seed N");
	crowd->seed += seed;
	read_words(text, crowd_words, crowd);
}

static void read_clients(struct crowd *crowd, struct text *text)
{
	struct client_kind *kind = &crowd->kinds[crowd->kind_count];

	if (crowd->kind_count == KINDS_MAX) {
		text_problem(text, "too many lines of clients");
		return;
	}
	*kind = (struct client_kind){.hz = 1000, .offset = OFFSET_UPTIME, .uptime_days = 20, .tsval = 400000000};
	if (text_u32(text, 65535, &kind->count))
		read_words(text, clients_words, kind);
	if (!text->problem[0] && kind->weight == 0)
		kind->weight = kind->count;
	crowd->kind_count++;
}

static void add_host(struct crowd *crowd, const struct host *host)
{
	struct host *last = &crowd->hosts[crowd->host_count];

	*last = *host;
	last->machine = crowd->host_count;
	for (uint32_t i = 0; i < crowd->host_count; i++) {
		if (addr_equal(&crowd->hosts[i].at.addr, &host->at.addr)) {
			last->machine = i;
			break;
		}
	}
	crowd->host_count++;
}

/* "host 192.0.2.80:443 first 90%", or several ports at once: 192.0.2.80:1000..1999 */
static void read_host(struct crowd *crowd, struct text *text)
{
	struct host host = {.weight = 0};
	uint32_t last_port;

	if (!text_endpoint(text, &host.at))
		return;
	last_port = host.at.port;
	if (strncmp(text->at, "..", 2) == 0) {
		text->at += 2;
		text_u32(text, 65535, &last_port);
	}
	read_words(text, host_words, &host);
	host.weight = host.weight ? host.weight : 1;
	for (; !text->problem[0] && host.at.port <= last_port; host.at.port++) {
		if (crowd->host_count == HOSTS_MAX) {
			text_problem(text, "too many hosts");
			return;
		}
		add_host(crowd, &host);
	}
}

static void read_nat(struct crowd *crowd, struct text *text)
{
	struct range ports;

	if (text_word(text, "ports") && text_range(text, &ports)) {
		crowd->port_first = (uint16_t)ports.first;
		crowd->port_count = (uint16_t)(ports.last - ports.first + 1);
	}
	if (!text->problem[0])
		read_words(text, nat_words, crowd);
}

bool crowd_line(struct crowd *crowd, struct text *text)
{
	if (text_word(text, "crowd"))
		read_crowd(crowd, text);
	else if (text_word(text, "network"))
		read_words(text, network_words, crowd);
	else if (text_word(text, "nat"))
		read_nat(crowd, text);
	else if (text_word(text, "seen from"))
		read_words(text, seen_from_words, crowd);
	else if (text_word(text, "seen"))
		read_words(text, seen_words, crowd);
	else if (text_word(text, "clients"))
		read_clients(crowd, text);
	else if (text_word(text, "host"))
		read_host(crowd, text);
	else
		return false;
	return true;
}

void crowd_init(struct crowd *crowd, struct file *file)
{
	struct text text;

	memset(crowd, 0, sizeof(*crowd));
	text_init(&text, "203.0.113.1");
	text_addr(&text, &crowd->public);
	crowd->file = file;
	crowd->delay_least_ms = 5;
	crowd->delay_most_ms = 40;
	crowd->public_count = 1;
	crowd->port_first = 2000;
	crowd->port_count = 60000;
	crowd->hosts = calloc(HOSTS_MAX, sizeof(*crowd->hosts));
	if (!crowd->hosts)
		abort();
}

void crowd_free(struct crowd *crowd)
{
	free(crowd->hosts);
	free(crowd->ports);
	free(crowd->connections);
	free(crowd->heap);
}
