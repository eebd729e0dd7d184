/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pawsctl clock` and `pawsctl explain`: answers of a few records. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "findings.h"
#include "pawsctl_records.h"

enum {
	TIMEOUT_MS = 5000,
};

/* ---- clock ---- */

static void print_clock(const struct record *record)
{
	printf("shared clock:  TSval %" PRIu64 ", 1 kHz\n", record_number(record, "tsval"));
	printf("lead:          fast clients have pushed it ahead by %" PRIu64 " ms, of %" PRIu64 " ms at most\n",
	       record_number(record, "lead_ms"), record_number(record, "max_lead_ms"));
	printf("marks:         %" PRIu64 " places of servers that have been sent something newer than that within the last minute",
	       record_number(record, "marks_ahead"));
	if (record_number(record, "marks_ahead"))
		printf(", by %.1f s at most", (double)record_number(record, "furthest_ms") / 1000);
	printf("\ntimestamps:    %" PRIu64 " places of servers have been sent some\n", record_number(record, "servers_with_timestamps"));
}

static void take_clock(void *context, const struct record *record)
{
	json_t **ret_json = context;

	if (strcmp(record->kind, "clock") != 0)
		return;
	if (ret_json)
		*ret_json = record_to_json(record);
	else
		print_clock(record);
}

int show_clock(const struct call *call)
{
	json_t *json = NULL;
	int status = ask_records(call, "clock", TIMEOUT_MS, take_clock, call->json ? &json : NULL);

	if (status)
		return status;
	return call->json ? print_json(json) : finish_output();
}

/* ---- explain ---- */

/* ADDRESS[:PORT] [from CLIENT] */
static bool read_question(const struct call *call, struct question *ret)
{
	strcpy(ret->client, "-");
	if (!read_server(call->operands[0], ret))
		return false;
	if (call->operand_count == 1)
		return true;
	if (call->operand_count != 3 || strcmp(call->operands[1], "from") != 0 || !is_addr(call->operands[2]) ||
	    strlen(call->operands[2]) >= ADDR_SIZE)
		return false;
	strcpy(ret->client, call->operands[2]);
	return true;
}

static void print_match(const struct record *record)
{
	printf("destination:  %s, for %s; mode %s, synack_tsecr %s\n", text_of(record, "destination"), text_of(record, "prefix"),
	       text_of(record, "mode"), text_of(record, "synack_tsecr"));
	if (strcmp(text_of(record, "ports"), "some") == 0)
		puts("              it names ports");
	if (strcmp(text_of(record, "sources"), "some") == 0)
		puts("              it names clients (sources)");
}

static void print_other(const struct record *record)
{
	const char *why = text_of(record, "why_not");

	printf("not:          %s, for %s: %s\n", text_of(record, "destination"), text_of(record, "prefix"),
	       strcmp(why, "disabled") == 0  ? "it is disabled"
	       : strcmp(why, "ports") == 0   ? "the port is none of its ports"
	       : strcmp(why, "sources") == 0 ? "the client is none of its sources"
					     : "the other's prefix is longer, or it stands before this one");
}

static void print_syn(const struct record *record)
{
	const char *outcome = text_of(record, "outcome");

	if (strcmp(outcome, "rewritten") == 0)
		printf("a SYN now:    is rewritten to TSval %" PRIu64 " (the shared clock's is %" PRIu64 ")\n",
		       record_number(record, "tsval"), record_number(record, "clock_tsval"));
	else
		printf("a SYN now:    %s%s\n",
		       strcmp(outcome, "stripped") == 0	  ? "is stripped of its timestamps"
		       : strcmp(outcome, "observed") == 0 ? "is only observed"
							  : "passes",
		       strcmp(text_of(record, "draining"), "yes") == 0 ? ", for pawsd drains" : "");
	printf("the server:   %s been sent timestamps within the last minute",
	       strcmp(text_of(record, "server_has_timestamps"), "yes") == 0 ? "has" : "has not");
	if (record_number(record, "mark_ahead_ms"))
		printf(", some of them %.1f s ahead of the clock", (double)record_number(record, "mark_ahead_ms") / 1000);
	putchar('\n');
}

/* What is found of the server; the evidence is what suspects shows. */
static void print_findings(const struct record *record)
{
	struct server_evidence evidence;
	struct server_report report;

	if (!evidence_read(record, &evidence) || !report_judge(&report, &evidence))
		return;
	for (enum finding finding = 0; finding < FINDING_COUNT; finding++) {
		if (report.found[finding].confidence != CONFIDENCE_NONE)
			printf("suspected of: %s, %s, on port %u (pawsctl suspects)\n", finding_table[finding].name,
			       confidence_names[report.found[finding].confidence], evidence.port);
	}
}

struct explanation {
	json_t *json; /* NULL: in words */
	json_t *others, *servers;
};

static void take_explanation(void *context, const struct record *record)
{
	struct explanation *explanation = context;
	static const struct {
		const char *kind;
		void (*print)(const struct record *record);
	} kinds[] = {{"match", print_match}, {"other", print_other}, {"syn", print_syn}, {"server", print_findings}};
	struct server_evidence evidence;
	struct server_report report;

	if (explanation->json && strcmp(record->kind, "other") == 0) {
		json_array_append_new(explanation->others, record_to_json(record));
		return;
	}
	if (explanation->json && strcmp(record->kind, "server") == 0) {
		if (evidence_read(record, &evidence)) {
			report_judge(&report, &evidence);
			json_array_append_new(explanation->servers, report_to_json(&report, EXAMPLE_BY_AGE, 0));
		}
		return;
	}
	if (explanation->json && strcmp(record->kind, "example") != 0) {
		json_object_set_new(explanation->json, record->kind, record_to_json(record));
		return;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(record->kind, kinds[i].kind) == 0)
			kinds[i].print(record);
	}
}

int explain(const struct call *call)
{
	struct explanation explanation = {0};
	struct question question;
	char request[REQUEST_SIZE];
	int status;

	if (!read_question(call, &question))
		return usage_error(call->command);
	snprintf(request, sizeof(request), "explain %s %s %s", question.server, question.port, question.client);
	if (call->json) {
		explanation.json = json_object();
		explanation.others = json_array();
		explanation.servers = json_array();
		json_object_set(explanation.json, "others", explanation.others);
		json_object_set(explanation.json, "servers", explanation.servers);
	}
	status = ask_records(call, request, TIMEOUT_MS, take_explanation, &explanation);
	json_decref(explanation.others);
	json_decref(explanation.servers);
	if (!call->json)
		return status ? status : finish_output();
	if (!status)
		return print_json(explanation.json);
	json_decref(explanation.json);
	return status;
}
