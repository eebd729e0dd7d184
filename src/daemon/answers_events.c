/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `events` on the control socket: what is told of handshakes and ends, as it comes. */
#include <inttypes.h>
#include <string.h>

#include "answers_internal.h"
#include "event_kind.h"
#include "packet.h"
#include "policy_build.h"

enum {
	TAKE_MOST = 4096, /* at a time */
	ANY = UINT16_MAX,
};

static const char *const kind_names[EVENT_KIND_COUNT] = {
#define X(id, name, help) [KIND_##id] = name,
	EVENT_KIND_TABLE(X)
#undef X
};

struct query {
	struct prefix client, server;
	bool has_client, has_server;
	uint16_t port, slot; /* 0, ANY: all */
	uint64_t kinds, reasons; /* bits; reasons 0: all */
	uint32_t last; /* how many of those that have been to begin with */
};

_Static_assert(REASON_COUNT <= 64, "a bit for each");

static const char *read_reasons(const char *key, char *value, uint64_t *ret)
{
	const char *names[REASON_COUNT];

	for (int i = 0; i < REASON_COUNT; i++)
		names[i] = reason_table[i].name;
	return query_names("events", key, value, names, 0, REASON_COUNT, ret);
}

static const char *read_key(void *context, const struct daemon *daemon, const char *key, char *value)
{
	struct query *query = context;
	uint32_t number = 0;
	const char *wrong;

	if (strcmp(key, "client") == 0)
		return query_prefix("events", key, value, &query->client, &query->has_client);
	if (strcmp(key, "server") == 0)
		return query_prefix("events", key, value, &query->server, &query->has_server);
	if (strcmp(key, "destination") == 0)
		return query_destination("events", daemon, value, &query->slot);
	if (strcmp(key, "kind") == 0)
		return query_names("events", key, value, kind_names, 0, EVENT_KIND_COUNT, &query->kinds);
	if (strcmp(key, "reason") == 0)
		return read_reasons(key, value, &query->reasons);
	if (strcmp(key, "last") == 0)
		return query_number("events", key, value, WATCH_TOLD, &query->last);
	if (strcmp(key, "port") == 0) {
		wrong = query_number("events", key, value, UINT16_MAX, &number);
		query->port = (uint16_t)number;
		return wrong;
	}
	return query_complain("events", key, value, "client, server, port, destination, kind, reason, last");
}

static enum event_kind kind_of(const struct told *told)
{
	static const enum event_kind kinds[TOTAL_COUNT] = {
		[TOTAL_REWRITTEN] = KIND_REWRITTEN, [TOTAL_STRIPPED] = KIND_STRIPPED, [TOTAL_REPAIRED] = KIND_REPAIRED,
		[TOTAL_OBSERVED] = KIND_OBSERVED,   [TOTAL_PASSED] = KIND_PASSED,
	};
	const struct event *event = &told->event;

	if (told->finding != FINDING_COUNT)
		return KIND_SUSPICIOUS;
	if (event->reason == REASON_TABLE_FULL || event->reason == REASON_CLIENT_QUOTA)
		return KIND_FULL;
	if (event->tcp_flags & TCP_SYN)
		return kinds[reason_table[event->reason].total];
	if ((event->tcp_flags & TCP_RST) ? (event->flags & EVENT_HANDSHAKE) != 0 : !(event->tcp_flags & TCP_FIN))
		return KIND_REFUSED;
	return KIND_ENDED;
}

/* Evidence is of a connection, which the policy in force names. */
static uint16_t slot_of(const struct daemon *daemon, const struct told *told)
{
	const struct endpoints *ends = &told->event.ends;

	if (told->finding == FINDING_COUNT)
		return told->event.slot;
	return policy_match(daemon->config->policy, &ends->dst, ends->dst_port, &ends->src)->slot;
}

static bool is_asked_for(const struct daemon *daemon, const struct told *told, const struct query *query)
{
	const struct endpoints *ends = &told->event.ends;

	if (!(query->kinds >> kind_of(told) & 1))
		return false;
	if (query->reasons && (told->finding != FINDING_COUNT || !(query->reasons >> told->event.reason & 1)))
		return false;
	if ((query->has_client && !prefix_has(&query->client, &ends->src)) ||
	    (query->has_server && !prefix_has(&query->server, &ends->dst)) || (query->port && query->port != ends->dst_port))
		return false;
	return query->slot == ANY || query->slot == slot_of(daemon, told);
}

static const char *packet_name(uint8_t flags)
{
	if (flags & TCP_SYN)
		return flags & TCP_ACK ? "SYN/ACK" : "SYN";
	return flags & TCP_RST ? "RST" : flags & TCP_FIN ? "FIN" : "ACK";
}

static void write_told(const struct daemon *daemon, const struct told *told, FILE *out)
{
	const struct event *event = &told->event;
	const uint16_t slot = slot_of(daemon, told);

	fprintf(out, "event age_ms=%" PRIu64 " kind=%s", daemon->now > event->tick ? daemon->now - event->tick : 0,
		kind_names[kind_of(told)]);
	write_endpoint(out, "client", &event->ends.src, event->ends.src_port);
	write_endpoint(out, "server", &event->ends.dst, event->ends.dst_port);
	fprintf(out, " destination=%s", daemon->state.names->name[slot < daemon->state.names->count ? slot : SLOT_NONE]);
	if (told->finding != FINDING_COUNT) {
		fprintf(out, " finding=%s tsval=%u other=%u taken_back=%s\n", finding_table[told->finding].name, event->tsval, told->other,
			told->is_taken_back ? "yes" : "no");
		return;
	}
	fprintf(out, " packet=%s direction=%s reason=%s", packet_name(event->tcp_flags), event->flags & EVENT_OUTBOUND ? "out" : "in",
		reason_table[event->reason].name);
	if (event->flags & EVENT_TIMESTAMPS)
		fprintf(out, " tsval=%u tsecr=%u", event->tsval, event->tsecr);
	if (event->flags & EVENT_LEFT_WITH)
		fprintf(out, event->flags & EVENT_OUTBOUND ? " left_tsval=%u" : " left_tsecr=%u", event->left);
	fputc('\n', out);
}

/* Where the first that is asked for may be. */
static uint64_t begin_at(const struct watch *watch, const struct query *query)
{
	return watch->told_count > query->last ? watch->told_count - query->last : 0;
}

const char *answer_events(struct daemon *daemon, const struct words *words, FILE *out)
{
	const struct watch *watch = &daemon->watch;
	struct query query = {.slot = ANY, .kinds = UINT64_MAX};
	const char *wrong = query_read(daemon, words, read_key, &query);
	uint64_t next;

	if (wrong)
		return wrong;
	if (*words->progress == 0) { /* whether there is a place for one more is not known yet */
		*words->progress = begin_at(watch, &query) + 1;
		return control_more;
	}
	next = *words->progress - 1;
	if (watch->told_count - next > WATCH_TOLD) {
		fprintf(out, "lost events=%" PRIu64 "\n", watch->told_count - WATCH_TOLD - next);
		next = watch->told_count - WATCH_TOLD;
	}
	for (uint32_t taken = 0; taken < TAKE_MOST && next < watch->told_count; taken++, next++) {
		const struct told *told = &watch->told[next % WATCH_TOLD];

		if (is_asked_for(daemon, told, &query))
			write_told(daemon, told, out);
	}
	*words->progress = next + 1;
	return control_more;
}
