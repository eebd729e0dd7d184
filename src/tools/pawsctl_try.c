/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pawsctl try`: how a server's connections fare without pawsd and with it, for a few minutes. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "findings.h"
#include "pawsctl_records.h"

enum {
	TIMEOUT_MS = 5000,
	ENOUGH = 20,	   /* connects that are known of already */
	SHOWN_MAX = 64,	   /* ports of the server, each with the clients together or one by one, of which findings are told */
	GRACE_S = 30,	   /* by which pawsd ends a trial itself where nobody else does */
	SECONDS_MOST = 80000,
};

const struct command_option try_options[] = {
	{"mode", "MODE", "what to try: rewrite (as unless said otherwise), strip"},
	{"synack-tsecr", "REPAIR", "off, echo, zero, as in the configuration (that of the destination)"},
	{"before", "SECONDS", "how long to observe first (120; 0 if enough is known)"},
	{"settle", "SECONDS", "how long not to count then, for the server remembers what was before (61)"},
	{"seconds", "SECONDS", "how long to try and count (240)"},
	{NULL, NULL, NULL},
};

/* What is known of the server's connects. */
struct fate {
	uint32_t connects, failed;
	struct server_evidence evidence[SHOWN_MAX];
	struct server_report reports[SHOWN_MAX];
	size_t count;
	char mode[16], repair[16], destination[64];
	uint16_t port; /* 0: all */
};

struct experiment {
	const struct call *call;
	struct question question;
	const char *mode, *repair;
	struct fate before, after;
	bool has_begun;
};

static volatile sig_atomic_t has_to_end;

static void end(int signal)
{
	(void)signal;
	has_to_end = 1;
}

/* ---- what is known ---- */

static void add(uint32_t *sum, uint64_t count)
{
	*sum = *sum + count > UINT32_MAX / 4 ? UINT32_MAX / 4 : (uint32_t)(*sum + count);
}

/* A connect fails that has no answer, is answered by the ACK of another connection, or resets a SYN/ACK. */
static void add_evidence(struct fate *fate, const struct server_evidence *evidence)
{
	const uint32_t *signs = evidence->signs;

	for (int kind = 0; kind < SYN_KIND_COUNT; kind++) {
		add(&fate->connects, (uint64_t)evidence->syns[kind][0] + evidence->syns[kind][1]);
		add(&fate->failed, evidence->syns[kind][0]);
	}
	add(&fate->failed, (uint64_t)signs[SIGN_CHALLENGED_OLDER] + signs[SIGN_CHALLENGED_OTHER] + signs[SIGN_FOREIGN_RESET]);
	if (fate->failed > fate->connects)
		fate->connects = fate->failed;
}

static void take(void *context, const struct record *record)
{
	struct fate *fate = context;
	struct server_evidence evidence;

	if (strcmp(record->kind, "match") == 0) {
		snprintf(fate->mode, sizeof(fate->mode), "%s", text_of(record, "mode"));
		snprintf(fate->repair, sizeof(fate->repair), "%s", text_of(record, "synack_tsecr"));
		snprintf(fate->destination, sizeof(fate->destination), "%s", text_of(record, "destination"));
	}
	if (strcmp(record->kind, "server") != 0 || !evidence_read(record, &evidence) || (fate->port && fate->port != evidence.port))
		return;
	add_evidence(fate, &evidence);
	if (fate->count == SHOWN_MAX)
		return;
	fate->evidence[fate->count] = evidence;
	report_judge(&fate->reports[fate->count], &fate->evidence[fate->count]);
	fate->count++;
}

static int look(struct experiment *trial, struct fate *fate)
{
	char request[REQUEST_SIZE];

	memset(fate, 0, sizeof(*fate));
	fate->port = (uint16_t)strtoul(trial->question.port, NULL, 10);
	snprintf(request, sizeof(request), "explain %s %s -", trial->question.server, trial->question.port);
	return ask_records(trial->call, request, TIMEOUT_MS, take, fate);
}

/* What is known where the trial is still in force: else it is told of another mode's connections too. */
static int look_in_trial(struct experiment *trial, struct fate *fate)
{
	int status = look(trial, fate);

	if (status || strcmp(fate->destination, TRIAL_NAME) == 0)
		return status;
	fprintf(stderr, "pawsctl: the trial has ended before its time, as by a reload: nothing can be said\n");
	return EXIT_FAILURE;
}

/* ---- the trial ---- */

static int change(const struct call *call, const char *request)
{
	struct snapshot snapshot;
	char error[1024];

	if (snapshot_fetch(call->socket_path, request, CHANGE_TIMEOUT_MS, &snapshot, error, sizeof(error))) {
		fprintf(stderr, "pawsctl: %s\n", error);
		return EXIT_NO_ANSWER;
	}
	snapshot_free(&snapshot);
	return EXIT_SUCCESS;
}

static int begin(struct experiment *trial, const char *mode, const char *repair, unsigned int seconds)
{
	char request[REQUEST_SIZE];
	int status;

	snprintf(request, sizeof(request), "try %s %s %s %s %u", trial->question.server, trial->question.port, mode, repair,
		 seconds + GRACE_S);
	status = change(trial->call, request);
	if (!status)
		trial->has_begun = true;
	return status;
}

static int finish(const struct experiment *trial)
{
	char request[REQUEST_SIZE];

	snprintf(request, sizeof(request), "try end %s %s", trial->question.server, trial->question.port);
	return trial->has_begun ? change(trial->call, request) : EXIT_SUCCESS;
}

/* To its end, or until it is interrupted. */
static void pause_for(unsigned int seconds)
{
	struct timespec until, now;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	do {
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (!has_to_end && (now.tv_sec < until.tv_sec || (now.tv_sec == until.tv_sec && now.tv_nsec < until.tv_nsec)));
}

static void say(const struct experiment *trial, const char *words, unsigned int seconds)
{
	if (trial->call->json)
		return;
	printf("%s for %u s ...\n", words, seconds);
	fflush(stdout);
}

/* ---- what has come of it ---- */

static void print_fate(const char *name, const struct fate *fate)
{
	printf("%-14s %u connects", name, fate->connects);
	if (fate->connects)
		printf(", %u of them failed (%.1f %%)", fate->failed, 100.0 * fate->failed / fate->connects);
	putchar('\n');
	for (size_t i = 0; i < fate->count; i++) {
		for (enum finding finding = 0; finding < FINDING_COUNT; finding++) {
			if (fate->reports[i].found[finding].confidence != CONFIDENCE_NONE)
				printf("%-14s port %u: %s, %s\n", "", fate->evidence[i].port, finding_table[finding].name,
				       confidence_names[fate->reports[i].found[finding].confidence]);
		}
	}
}

static double chance_of(const struct experiment *trial)
{
	const struct fate *before = &trial->before, *after = &trial->after;

	return diagnosis_chance(before->failed, before->connects - before->failed, after->failed, after->connects - after->failed);
}

static void print_section(FILE *out, const struct experiment *trial)
{
	char name[ADDR_SIZE];

	snprintf(name, sizeof(name), "%s", trial->question.server);
	for (char *at = name; *at; at++)
		*at = *at == ':' ? '-' : *at;
	fprintf(out, "[destination %s]\nprefixes = %s\n", name, trial->question.server);
	if (trial->question.port[0] != '-')
		fprintf(out, "ports = %s\n", trial->question.port);
	fprintf(out, "mode = %s\n", trial->mode);
	if (strcmp(trial->repair, "off") != 0)
		fprintf(out, "synack_tsecr = %s\n", trial->repair);
}

static void print_outcome(const struct experiment *trial)
{
	const double chance = chance_of(trial);

	print_fate("before", &trial->before);
	print_fate(trial->mode, &trial->after);
	if (!trial->before.connects || !trial->after.connects)
		printf("without connects of both kinds nothing can be said\n");
	else if (chance < 0.05)
		printf("it helps: chance alone would make that difference once in %.3g times; to keep it:\n\n", 1 / chance);
	else
		printf("no difference that chance alone would not make\n");
	if (chance < 0.05)
		print_section(stdout, trial);
}

static json_t *fate_to_json(const struct fate *fate)
{
	json_t *servers = json_array();

	for (size_t i = 0; i < fate->count; i++)
		json_array_append_new(servers, report_to_json(&fate->reports[i], EXAMPLE_BY_AGE, 0));
	return json_pack("{s:I, s:I, s:o}", "connects", (json_int_t)fate->connects, "failed", (json_int_t)fate->failed, "servers", servers);
}

static int print_outcome_json(const struct experiment *trial)
{
	return print_json(json_pack("{s:s, s:s, s:o, s:o, s:f}", "mode", trial->mode, "synack_tsecr", trial->repair, "before",
				    fate_to_json(&trial->before), "after", fate_to_json(&trial->after), "chance", chance_of(trial)));
}

/* ---- the command ---- */

static bool read_seconds(const struct call *call, const char *name, unsigned int preset, unsigned int *ret)
{
	const char *text = call_option(call, name);
	char *last = NULL;
	unsigned long seconds = text ? strtoul(text, &last, 10) : preset;

	*ret = (unsigned int)seconds;
	return !text || (*text >= '0' && *text <= '9' && !*last && seconds <= SECONDS_MOST);
}

/* How it was without: what is known already, or what comes in `seconds`. */
static int find_before(struct experiment *trial, unsigned int seconds)
{
	int status = EXIT_SUCCESS;

	if (seconds && (call_option(trial->call, "before") || trial->before.connects < ENOUGH)) {
		say(trial, "observing", seconds);
		status = begin(trial, "observe", "off", seconds);
		if (status)
			return status;
		pause_for(seconds);
		status = look_in_trial(trial, &trial->before);
	}
	if (!status && has_to_end)
		fprintf(stderr, "pawsctl: interrupted\n");
	return has_to_end ? EXIT_FAILURE : status;
}

/* Begins it twice, for with the second time counting begins anew. */
static int find_after(struct experiment *trial, unsigned int settle_s, unsigned int seconds)
{
	char words[96];
	int status = EXIT_SUCCESS;

	if (settle_s) {
		snprintf(words, sizeof(words), "mode = %s, while the server may remember what was before,", trial->mode);
		status = begin(trial, trial->mode, trial->repair, settle_s);
		if (status)
			return status;
		say(trial, words, settle_s);
		pause_for(settle_s);
	}
	if (!has_to_end) {
		snprintf(words, sizeof(words), "mode = %s", trial->mode);
		status = begin(trial, trial->mode, trial->repair, seconds);
		if (status)
			return status;
		say(trial, words, seconds);
		pause_for(seconds);
	}
	return look_in_trial(trial, &trial->after);
}

int try_server(const struct call *call)
{
	struct experiment trial = {.call = call, .mode = "rewrite"};
	const struct sigaction action = {.sa_handler = end};
	unsigned int before_s, settle_s, seconds;
	char repair[16];
	int status, end_status;

	if (call->operand_count != 1 || !read_server(call->operands[0], &trial.question) || !read_seconds(call, "before", 120, &before_s) ||
	    !read_seconds(call, "settle", 61, &settle_s) || !read_seconds(call, "seconds", 240, &seconds) || seconds < 1)
		return usage_error(call->command);
	if (call_option(call, "mode"))
		trial.mode = call_option(call, "mode");
	trial.repair = call_option(call, "synack-tsecr");
	if ((strcmp(trial.mode, "rewrite") != 0 && strcmp(trial.mode, "strip") != 0) ||
	    (trial.repair && strcmp(trial.repair, "off") != 0 && strcmp(trial.repair, "echo") != 0 && strcmp(trial.repair, "zero") != 0))
		return usage_error(call->command);
	status = look(&trial, &trial.before);
	if (status)
		return status;
	if (strcmp(trial.before.mode, trial.mode) == 0) {
		fprintf(stderr, "pawsctl: [destination %s] has mode = %s for it already\n", trial.before.destination, trial.mode);
		return EXIT_FAILURE;
	}
	snprintf(repair, sizeof(repair), "%s", trial.before.repair);
	if (!trial.repair)
		trial.repair = repair;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	status = find_before(&trial, before_s);
	if (!status)
		status = find_after(&trial, settle_s, seconds);
	end_status = finish(&trial);
	if (status || end_status)
		return status ? status : end_status;
	if (call->json)
		return print_outcome_json(&trial);
	print_outcome(&trial);
	return finish_output();
}
