/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pawsctl events`: what happens, as it happens. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pawsctl_records.h"

enum {
	TIMEOUT_MS = 5000,
	ERROR_SIZE = 1024,
};

const struct command_option events_options[] = {
	{"client", "PREFIX", "only those of these clients"},
	{"server", "PREFIX", "only those of these servers"},
	{"port", "PORT", "only those of this port of servers"},
	{"destination", "NAME", "only those of this destination"},
	{"kind", "KIND,...", "only those of these kinds, as repaired,refused,suspicious,full"},
	{"reason", "REASON,...", "only those for these reasons, as syn_rewritten"},
	{"last", "N", "begin with the last N that have been (8192 at most)"},
	{"count", "N", "end after N of them"},
	{NULL, NULL, NULL},
};

struct stream {
	bool is_json;
	uint64_t left; /* to be shown */
	int status;
};

/* "2026-11-29T12:00:01.250", of this machine. */
static void format_time(uint64_t age_ms, char *ret_text, size_t size)
{
	struct timespec now;
	struct tm tm;
	uint64_t ms;
	time_t seconds;
	size_t used;

	clock_gettime(CLOCK_REALTIME, &now);
	ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 - age_ms;
	seconds = (time_t)(ms / 1000);
	localtime_r(&seconds, &tm);
	used = strftime(ret_text, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret_text + used, size - used, ".%03u", (unsigned int)(ms % 1000));
}

static void print_value(const struct record *record, const char *name, const char *key, const char *left_key)
{
	const char *came = record_text(record, key), *left = record_text(record, left_key);

	if (!came)
		return;
	printf(" %s %s", name, came);
	if (left && strcmp(came, left) != 0)
		printf(" -> %s", left);
}

static void print_evidence(const struct record *record)
{
	printf("%s, SYN with TSval %s; %s%s\n", text_of(record, "finding"), text_of(record, "tsval"), text_of(record, "other"),
	       strcmp(text_of(record, "taken_back"), "yes") == 0 ? "; taken back" : "");
}

static void print_event(const struct record *record)
{
	char when[40];
	const bool is_in = strcmp(text_of(record, "direction"), "in") == 0;

	format_time(record_number(record, "age_ms"), when, sizeof(when));
	printf("%s %-10s %s %s %s %s ", when + strlen("YYYY-MM-DDT"), text_of(record, "kind"), text_of(record, "client"), is_in ? "<" : ">",
	       text_of(record, "server"), text_of(record, "destination"));
	if (record_text(record, "finding")) {
		print_evidence(record);
		return;
	}
	printf("%s %s", text_of(record, "packet"), text_of(record, "reason"));
	print_value(record, "TSval", "tsval", "left_tsval");
	print_value(record, "TSecr", "tsecr", "left_tsecr");
	putchar('\n');
}

/* One object a line. */
static void print_event_json(struct stream *stream, const struct record *record)
{
	json_t *object = record_to_json(record);
	char when[40];

	format_time(record_number(record, "age_ms"), when, sizeof(when));
	json_object_set_new(object, "time", json_string(when));
	json_object_del(object, "age_ms");
	if (!object || json_dumpf(object, stdout, JSON_COMPACT))
		stream->status = EXIT_FAILURE;
	putchar('\n');
	json_decref(object);
}

static void take(void *context, const struct record *record)
{
	struct stream *stream = context;

	if (strcmp(record->kind, "lost") == 0)
		fprintf(stderr, "pawsctl: %" PRIu64 " events were too many to be shown\n", record_number(record, "events"));
	if (strcmp(record->kind, "event") != 0 || !stream->left)
		return;
	stream->left--;
	if (stream->is_json)
		print_event_json(stream, record);
	else
		print_event(record);
}

static bool taken(void *context)
{
	struct stream *stream = context;

	if (!stream->status)
		stream->status = finish_output();
	return stream->left && !stream->status;
}

int events(const struct call *call)
{
	static const char *const ours[] = {"count", NULL};
	const char *count = call_option(call, "count");
	struct stream stream = {.is_json = call->json, .left = UINT64_MAX};
	char request[REQUEST_SIZE], error[ERROR_SIZE], *end = NULL;

	if (count)
		stream.left = strtoull(count, &end, 10);
	if (!options_to_request(call, ours, request) || (count && (*count < '1' || *count > '9' || *end)))
		return usage_error(call->command);
	if (answer_follow(call->socket_path, request, TIMEOUT_MS, take, taken, &stream, error, sizeof(error)) == 0)
		return stream.status;
	fprintf(stderr, "pawsctl: %s\n", error);
	return EXIT_NO_ANSWER;
}
