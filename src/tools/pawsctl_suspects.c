/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pawsctl suspects`: what pawsd has found of servers. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "findings.h"
#include "pawsctl.h"
#include "policy_build.h"
#include "records.h"

enum {
	TIMEOUT_MS = 5000,
	ERROR_SIZE = 1024,
};

struct suspect {
	struct server_evidence evidence;
	struct example examples[FINDING_COUNT][DIAGNOSIS_EXAMPLES];
	size_t counts[FINDING_COUNT];
};

/* "HEX.HEX.HEX.HEX" */
static void read_clients(const char *text, struct client_set *ret)
{
	char *end;

	for (uint32_t i = 0; text && i < CLIENT_SET_WORDS; i++) {
		ret->words[i] = strtoull(text, &end, 16);
		text = *end == '.' ? end + 1 : NULL;
	}
}

struct suspects {
	struct suspect *all;
	size_t count;
	json_t *clocks;
	uint64_t events, lost;
	bool is_short_of_memory;
};

static uint32_t count_of(const struct record *record, const char *prefix, const char *suffix)
{
	char key[64];
	uint64_t number;

	snprintf(key, sizeof(key), "%s%s", prefix, suffix);
	number = record_number(record, key);
	return number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
}

bool evidence_read(const struct record *record, struct server_evidence *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!record_addr(record, "address", &ret->addr))
		return false;
	ret->port = (uint16_t)record_number(record, "port");
	record_addr(record, "client", &ret->client);
	for (int kind = 0; kind < SYN_KIND_COUNT; kind++) {
		char key[32];

		for (int outcome = 0; outcome < 2; outcome++) {
			ret->syns[kind][outcome] = count_of(record, syn_kind_names[kind], outcome ? "_answered" : "_unanswered");
			snprintf(key, sizeof(key), "%s_%s_clients", syn_kind_names[kind], outcome ? "answered" : "unanswered");
			read_clients(record_text(record, key), &ret->clients[kind][outcome]);
		}
		snprintf(key, sizeof(key), "%s_returned_clients", syn_kind_names[kind]);
		read_clients(record_text(record, key), &ret->returned[kind]);
	}
	for (int sign = 0; sign < SIGN_COUNT; sign++)
		ret->signs[sign] = count_of(record, sign_table[sign].name, "");
	return true;
}

static void take_server(struct suspects *suspects, const struct record *record)
{
	struct suspect *all, *suspect;

	if (suspects->count == DIAGNOSIS_SERVERS)
		return;
	all = realloc(suspects->all, (suspects->count + 1) * sizeof(*all));
	if (!all) {
		suspects->is_short_of_memory = true;
		return;
	}
	suspects->all = all;
	suspect = &all[suspects->count];
	memset(suspect, 0, sizeof(*suspect));
	if (!evidence_read(record, &suspect->evidence))
		return;
	suspects->count++;
}

/* Of the server before it. */
static void take_example(struct suspects *suspects, const struct record *record)
{
	struct suspect *suspect = suspects->count ? &suspects->all[suspects->count - 1] : NULL;
	const char *name = record_text(record, "finding");
	struct example example = {
		.tick = record_number(record, "age_ms"),
		.tsval = count_of(record, "tsval", ""),
		.other = count_of(record, "other", ""),
	};

	if (!suspect || !name || !record_endpoint(record, "client", &example.ends.src, &example.ends.src_port) ||
	    !record_endpoint(record, "server", &example.ends.dst, &example.ends.dst_port))
		return;
	for (enum finding finding = 0; finding < FINDING_COUNT; finding++) {
		if (strcmp(finding_table[finding].name, name) == 0 && suspect->counts[finding] < DIAGNOSIS_EXAMPLES)
			suspect->examples[finding][suspect->counts[finding]++] = example;
	}
}

static void take(void *context, const struct record *record)
{
	struct suspects *suspects = context;
	const char *address = record_text(record, "address");

	if (strcmp(record->kind, "server") == 0) {
		take_server(suspects, record);
	} else if (strcmp(record->kind, "example") == 0) {
		take_example(suspects, record);
	} else if (strcmp(record->kind, "watch") == 0) {
		suspects->events = record_number(record, "events");
		suspects->lost = record_number(record, "events_lost");
	} else if (strcmp(record->kind, "clock") == 0 && address) {
		json_array_append_new(suspects->clocks,
				      json_pack("{s:s, s:I, s:I, s:f}", "address", address, "hz",
						(json_int_t)record_number(record, "hz"), "connections",
						(json_int_t)record_number(record, "connections"), "seconds_ago",
						(double)record_number(record, "age_ms") / 1000));
	}
}

static bool report_suspect(struct suspect *suspect, struct server_report *ret)
{
	bool is_any = report_judge(ret, &suspect->evidence);

	for (enum finding finding = 0; finding < FINDING_COUNT; finding++) {
		ret->found[finding].examples = suspect->examples[finding];
		ret->found[finding].example_count = suspect->counts[finding];
	}
	return is_any;
}

static size_t print_all(struct suspects *suspects)
{
	struct server_report *reports = calloc(suspects->count + 1, sizeof(*reports));
	size_t count = 0;

	for (size_t i = 0; reports && i < suspects->count; i++)
		count += report_suspect(&suspects->all[i], &reports[count]);
	suspects->is_short_of_memory |= !reports;
	if (count)
		reports_print(stdout, reports, count, EXAMPLE_BY_AGE, DIAGNOSIS_EXAMPLES, 0);
	else if (reports)
		printf("nothing is found that timestamps are to blame for, in %" PRIu64 " beginnings and ends of connections\n",
		       suspects->events);
	free(reports);
	return count;
}

static size_t print_json(struct suspects *suspects)
{
	struct server_report report;
	json_t *servers = json_array(), *root;
	size_t count = 0;

	for (size_t i = 0; i < suspects->count; i++) {
		if (report_suspect(&suspects->all[i], &report)) {
			json_array_append_new(servers, report_to_json(&report, EXAMPLE_BY_AGE, 0));
			count++;
		}
	}
	root = json_pack("{s:o, s:O, s:I, s:I}", "servers", servers, "clients", suspects->clocks, "events",
			 (json_int_t)suspects->events, "events_lost", (json_int_t)suspects->lost);
	if (root && json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) == 0)
		putchar('\n');
	suspects->is_short_of_memory |= !root;
	json_decref(root);
	return count;
}

int suspects(const struct call *call)
{
	struct suspects suspects = {.clocks = json_array()};
	char error[ERROR_SIZE];
	size_t count = 0;
	int status = answer_fetch(call->socket_path, "suspects", TIMEOUT_MS, take, &suspects, error, sizeof(error));

	if (status == 0)
		count = call->json ? print_json(&suspects) : print_all(&suspects);
	else
		fprintf(stderr, "pawsctl: %s\n", error);
	if (suspects.is_short_of_memory)
		fprintf(stderr, "pawsctl: out of memory: not all is shown\n");
	free(suspects.all);
	json_decref(suspects.clocks);
	if (status || suspects.is_short_of_memory || finish_output())
		return EXIT_FAILURE;
	return count ? EXIT_FOUND : EXIT_SUCCESS;
}
