/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pawsctl flows`: the connections that pawsd knows. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pawsctl_records.h"

enum {
	TIMEOUT_MS = 10000,
};

const struct command_option flows_options[] = {
	{"client", "PREFIX", "only those of these clients"},
	{"server", "PREFIX", "only those to these servers"},
	{"port", "PORT", "only those to this port"},
	{"destination", "NAME", "only those of this destination"},
	{"state", "STATE,...", "only those in these states, as ESTABLISHED"},
	{"mode", "MODE,...", "only those that are rewritten, stripped, observed (rewrite, strip, observe)"},
	{"limit", "N", "no more than N of them (1000; 50000 at most)"},
	{"summary", NULL, "not each of them, but how many there are by state, destination and client"},
	{"watch", "SECONDS", "again and again, until it is interrupted"},
	{NULL, NULL, NULL},
};

struct listing {
	bool is_summary;
	json_t *flows, *states, *destinations, *clients; /* NULL: in words */
	uint64_t matched, shown, others;
	const char *group; /* of the last line */
};

/* ---- words ---- */

/* "3 d", "2 h", "5 min", "12 s". */
static void format_age(uint64_t seconds, char *ret_text, size_t size)
{
	if (seconds >= 2 * 86400)
		snprintf(ret_text, size, "%" PRIu64 " d", seconds / 86400);
	else if (seconds >= 2 * 3600)
		snprintf(ret_text, size, "%" PRIu64 " h", seconds / 3600);
	else if (seconds >= 120)
		snprintf(ret_text, size, "%" PRIu64 " min", seconds / 60);
	else
		snprintf(ret_text, size, "%" PRIu64 " s", seconds);
}

static void print_flow(struct listing *listing, const struct record *record)
{
	char age[24], idle[24];

	if (!listing->group)
		printf("%-28s %-28s %-16s %-11s %-8s %8s %8s %10s\n", "client", "server", "destination", "state", "mode", "age", "idle",
		       "offset");
	listing->group = "flow";
	format_age(record_number(record, "age_ms") / 1000, age, sizeof(age));
	format_age(record_number(record, "idle_s"), idle, sizeof(idle));
	printf("%-28s %-28s %-16s %-11s %-8s %8s %8s %10s%s\n", text_of(record, "client"), text_of(record, "server"),
	       text_of(record, "destination"), text_of(record, "state"), text_of(record, "mode"), age, idle, text_of(record, "offset"),
	       strcmp(text_of(record, "clock"), "fast") == 0 ? "  fast clock" : "");
}

static void print_count(struct listing *listing, const struct record *record, const char *title, const char *key)
{
	if (!listing->group || strcmp(listing->group, title) != 0)
		printf("%s%s\n", listing->group ? "\n" : "", title);
	listing->group = title;
	printf("  %-40s %10" PRIu64 "\n", text_of(record, key), record_number(record, "flows"));
}

/* ---- JSON ---- */

static void put_count(json_t *object, const struct record *record, const char *key)
{
	json_object_set_new(object, text_of(record, key), json_integer((json_int_t)record_number(record, "flows")));
}

static json_t *flow_to_json(const struct record *record)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:I, s:b}", "client", text_of(record, "client"), "server",
			 text_of(record, "server"), "destination", text_of(record, "destination"), "state", text_of(record, "state"),
			 "mode", text_of(record, "mode"), "offset", (json_int_t)record_number(record, "offset"), "tsval",
			 (json_int_t)record_number(record, "tsval"), "age_seconds", (double)record_number(record, "age_ms") / 1000,
			 "idle_seconds", (json_int_t)record_number(record, "idle_s"), "fast_clock",
			 strcmp(text_of(record, "clock"), "fast") == 0);
}

static void take(void *context, const struct record *record)
{
	struct listing *listing = context;
	const bool is_json = listing->flows != NULL;

	if (strcmp(record->kind, "flows") == 0) {
		listing->matched = record_number(record, "matched");
		listing->shown = record_number(record, "shown");
	} else if (strcmp(record->kind, "others") == 0) {
		listing->others = record_number(record, "flows");
	} else if (strcmp(record->kind, "flow") == 0 && is_json) {
		json_array_append_new(listing->flows, flow_to_json(record));
	} else if (strcmp(record->kind, "flow") == 0) {
		print_flow(listing, record);
	} else if (strcmp(record->kind, "state") == 0 && is_json) {
		put_count(listing->states, record, "name");
	} else if (strcmp(record->kind, "state") == 0 && record_number(record, "flows")) {
		print_count(listing, record, "state", "name");
	} else if (strcmp(record->kind, "destination") == 0 && is_json) {
		put_count(listing->destinations, record, "name");
	} else if (strcmp(record->kind, "destination") == 0) {
		print_count(listing, record, "destination", "name");
	} else if (strcmp(record->kind, "client") == 0 && is_json) {
		put_count(listing->clients, record, "address");
	} else if (strcmp(record->kind, "client") == 0) {
		print_count(listing, record, "client", "address");
	}
}

static void print_end(const struct listing *listing)
{
	if (listing->others)
		printf("  %-40s %10" PRIu64 "\n", "others", listing->others);
	if (listing->is_summary || listing->shown == listing->matched)
		printf("%s%" PRIu64 " connections\n", listing->group ? "\n" : "", listing->matched);
	else
		printf("\n%" PRIu64 " of %" PRIu64 " connections (--limit)\n", listing->shown, listing->matched);
}

static int print_listing_json(struct listing *listing)
{
	json_t *root = json_pack("{s:I, s:I}", "matched", (json_int_t)listing->matched, "shown", (json_int_t)listing->shown);

	if (root && listing->is_summary) {
		json_object_set(root, "states", listing->states);
		json_object_set(root, "destinations", listing->destinations);
		json_object_set(root, "clients", listing->clients);
		json_object_set_new(root, "other_clients", json_integer((json_int_t)listing->others));
	} else if (root) {
		json_object_set(root, "flows", listing->flows);
	}
	return print_json(root);
}

/* ---- asking ---- */

static int show_once(const struct call *call, const char *request)
{
	struct listing listing = {.is_summary = call_option(call, "summary") != NULL};
	int status;

	if (call->json) {
		listing.flows = json_array();
		listing.states = json_object();
		listing.destinations = json_object();
		listing.clients = json_object();
	}
	status = ask_records(call, request, TIMEOUT_MS, take, &listing);
	if (!status && call->json)
		status = print_listing_json(&listing);
	else if (!status)
		print_end(&listing);
	json_decref(listing.flows);
	json_decref(listing.states);
	json_decref(listing.destinations);
	json_decref(listing.clients);
	return status ? status : finish_output();
}

int flows(const struct call *call)
{
	static const char *const ours[] = {"watch", NULL};
	const char *watch = call_option(call, "watch");
	char request[REQUEST_SIZE], *end;
	double seconds = watch ? strtod(watch, &end) : 0;
	struct timespec pause;
	int status;

	if (!options_to_request(call, ours, request) || (watch && (*end || !(seconds >= 0.1 && seconds <= 86400))))
		return usage_error(call->command);
	pause = (struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
	for (;;) {
		if (watch && isatty(STDOUT_FILENO))
			fputs("\033[H\033[2J", stdout);
		status = show_once(call, request);
		if (!watch || status)
			return status;
		nanosleep(&pause, NULL);
	}
}
