/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pawsctl analyze`: the engine and the diagnosis over captures. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "analysis.h"
#include "config.h"
#include "findings.h"
#include "pawsctl.h"
#include "plot.h"
#include "policy_build.h"

enum {
	ERROR_SIZE = 512,
	EXAMPLES_SHOWN = 10,
};

const struct command_option analyze_options[] = {
	{"plot", "FILE", "draw the TSvals over time to FILE (.png or .svg), by gnuplot"},
	{"apply", "CONF", "what pawsd would have made of it with this configuration"},
	{"write", "FILE", "with --apply: the capture as pawsd would have sent it"},
	{NULL, NULL, NULL},
};

/* All evidence of a finding about one port of a server, as it comes. */
struct evidence_list {
	struct addr server;
	uint16_t port;
	enum finding finding;
	struct example *examples;
	size_t count, size;
};

struct work {
	const char *path;
	struct analysis *analysis;
	struct applied applied;	 /* all 0 without --apply */
	struct plot *plot;	 /* NULL without --plot */
	struct evidence_list *lists;
	size_t list_count;
	bool is_short_of_memory;
};

static struct evidence_list *find_list(struct work *work, const struct addr *server, uint16_t port, enum finding finding)
{
	struct evidence_list *lists;

	for (size_t i = 0; i < work->list_count; i++) {
		if (work->lists[i].finding == finding && work->lists[i].port == port && addr_equal(&work->lists[i].server, server))
			return &work->lists[i];
	}
	lists = realloc(work->lists, (work->list_count + 1) * sizeof(*lists));
	if (!lists)
		return NULL;
	work->lists = lists;
	lists[work->list_count] = (struct evidence_list){.server = *server, .port = port, .finding = finding};
	return &lists[work->list_count++];
}

static bool list_add(struct evidence_list *list, const struct example *example)
{
	if (list->count == list->size) {
		size_t size = list->size ? list->size * 2 : 16;
		struct example *examples = realloc(list->examples, size * sizeof(*examples));

		if (!examples)
			return false;
		list->examples = examples;
		list->size = size;
	}
	list->examples[list->count++] = *example;
	return true;
}

static void list_remove(struct evidence_list *list, const struct example *example)
{
	for (size_t i = list->count; i > 0; i--) {
		if (list->examples[i - 1].syn != example->syn)
			continue;
		memmove(&list->examples[i - 1], &list->examples[i], (list->count - i) * sizeof(*list->examples));
		list->count--;
		return;
	}
}

static void on_evidence(void *context, enum finding finding, const struct example *example, bool is_taken_back)
{
	struct work *work = context;
	struct evidence_list *list = find_list(work, &example->ends.dst, example->ends.dst_port, finding);

	if (list && is_taken_back)
		list_remove(list, example);
	else if (!list || !list_add(list, example))
		work->is_short_of_memory = true;
}

static void on_event(void *context, const struct event *event)
{
	struct work *work = context;

	if (work->plot && !plot_add(work->plot, event))
		work->is_short_of_memory = true;
}

/* ---- what is said ---- */

/* Its examples are all that were found. */
static bool report_server(struct work *work, const struct server_evidence *server, struct server_report *ret)
{
	if (!report_judge(ret, server))
		return false;
	for (enum finding finding = 0; finding < FINDING_COUNT; finding++) {
		struct evidence_list *list = find_list(work, &server->addr, server->port, finding);

		if (!list) {
			work->is_short_of_memory = true;
			continue;
		}
		ret->found[finding].examples = list->examples;
		ret->found[finding].example_count = list->count;
	}
	return true;
}

static size_t count_servers(const struct diagnosis *diagnosis)
{
	size_t count = 0;

	for (size_t i = 0; i < DIAGNOSIS_SERVERS; i++)
		count += diagnosis->servers[i].last_tick != 0;
	return count;
}

/* What became of SYNs with that configuration. */
static uint64_t count_reason(const struct analysis *analysis, enum reason reason)
{
	uint64_t count = 0;

	for (int slot = 0; slot < DESTINATION_SLOTS; slot++)
		count += analysis->engine.counters->reason[slot][reason];
	return count;
}

static uint64_t count_syns(const struct analysis *analysis)
{
	return count_reason(analysis, REASON_SYN_REWRITTEN) + count_reason(analysis, REASON_SYN_RETRANSMITTED);
}

/* Of these it cannot be said that they are not older: nobody has looked. */
static uint64_t count_passing_syns(const struct analysis *analysis)
{
	return count_reason(analysis, REASON_SYN_POLICY_OFF) + count_reason(analysis, REASON_TABLE_FULL) +
	       count_reason(analysis, REASON_CLIENT_QUOTA);
}

static void print_applied(const struct work *work, const char *write_path)
{
	const struct analysis *analysis = work->applied.analysis;

	printf("with that configuration: %" PRIu64 " packets changed, %" PRIu64 " SYNs rewritten; connects with a TSval older than "
	       "what their server may remember: %" PRIu64 " (as captured: %" PRIu64 ")\n",
	       work->applied.changed, count_syns(analysis), analysis_count_older(analysis),
	       analysis_count_older(work->analysis));
	if (count_passing_syns(analysis))
		printf("%" PRIu64 " SYNs are none that it does anything about: they are not among these\n", count_passing_syns(analysis));
	if (write_path)
		printf("written to %s\n", write_path);
}

/* True where anything was found. */
static bool print_report(struct work *work)
{
	const struct analysis *analysis = work->analysis;
	struct server_report *reports = calloc(DIAGNOSIS_SERVERS, sizeof(*reports));
	size_t count = 0;

	printf("%s: %" PRIu64 " packets in %.1f s, %" PRIu64 " of TCP, to %zu servers\n", work->path, analysis->packets,
	       (double)(analysis->last_ms - analysis->first_ms) / 1000, analysis->tcp_packets,
	       count_servers(analysis->diagnosis));
	for (size_t i = 0; reports && i < DIAGNOSIS_SERVERS; i++) {
		const struct server_evidence *server = &analysis->diagnosis->servers[i];

		count += server->last_tick && report_server(work, server, &reports[count]);
	}
	work->is_short_of_memory |= !reports;
	if (count) {
		putchar('\n');
		reports_print(stdout, reports, count, EXAMPLE_BY_NUMBER, EXAMPLES_SHOWN, analysis->first_ms);
	} else if (reports) {
		puts("nothing was found that timestamps are to blame for");
	}
	free(reports);
	return count > 0;
}

static json_t *clocks_to_json(const struct diagnosis *diagnosis)
{
	json_t *clocks = json_array();
	char addr[64];

	for (size_t i = 0; i < DIAGNOSIS_CLIENTS; i++) {
		const struct client_clock *client = &diagnosis->clients[i];

		if (!client->last_tick)
			continue;
		addr_format(&client->addr, addr, sizeof(addr));
		json_array_append_new(clocks, json_pack("{s:s, s:I, s:I}", "address", addr, "hz", (json_int_t)client->hz,
							"connections", (json_int_t)client->connections));
	}
	return clocks;
}

static json_t *applied_to_json(const struct work *work)
{
	const struct analysis *analysis = work->applied.analysis;

	if (!analysis)
		return json_null();
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "syns_passing", (json_int_t)count_passing_syns(analysis), "changed", (json_int_t)work->applied.changed, "syns_rewritten",
			 (json_int_t)count_syns(analysis), "older", (json_int_t)analysis_count_older(analysis), "older_as_captured",
			 (json_int_t)analysis_count_older(work->analysis));
}

/* A file's name may be any bytes; JSON takes UTF-8. */
static json_t *path_to_json(const char *path)
{
	json_t *string = json_string(path);
	char *tame;

	if (string || !(tame = strdup(path)))
		return string;
	for (char *at = tame; *at; at++)
		*at = *at & 0x80 ? '?' : *at;
	string = json_string(tame);
	free(tame);
	return string;
}

static json_t *to_json(struct work *work, bool *ret_any)
{
	const struct analysis *analysis = work->analysis;
	struct server_report report;
	json_t *servers = json_array();

	for (size_t i = 0; i < DIAGNOSIS_SERVERS; i++) {
		const struct server_evidence *server = &analysis->diagnosis->servers[i];

		if (!server->last_tick)
			continue;
		*ret_any |= report_server(work, server, &report);
		json_array_append_new(servers, report_to_json(&report, EXAMPLE_BY_NUMBER, analysis->first_ms));
	}
	return json_pack("{s:o, s:I, s:I, s:f, s:o, s:o, s:o}", "file", path_to_json(work->path), "packets", (json_int_t)analysis->packets,
			 "tcp_packets", (json_int_t)analysis->tcp_packets, "seconds",
			 (double)(analysis->last_ms - analysis->first_ms) / 1000, "servers", servers, "clients",
			 clocks_to_json(analysis->diagnosis), "applied", applied_to_json(work));
}

/* ---- what is done ---- */

static int complain(const char *words)
{
	fprintf(stderr, "pawsctl: %s\n", words);
	return EXIT_FAILURE;
}

static struct config *read_config(const char *path)
{
	static struct slot_names names;
	struct config_report errors = {0}, warnings = {0};
	struct config *config;

	slot_names_init(&names);
	config = config_load(path, &names, &errors, &warnings);
	for (size_t i = 0; !config && i < errors.count; i++)
		fprintf(stderr, "pawsctl: %s\n", errors.lines[i]);
	config_report_free(&errors);
	config_report_free(&warnings);
	return config;
}

/* All packets. Returns EXIT_SUCCESS, or has said what went wrong. */
static int go_through(struct work *work, struct capture *capture)
{
	struct capture_packet packet;
	char error[ERROR_SIZE];
	int result;

	while ((result = capture_next(capture, &packet, error, sizeof(error))) > 0) {
		analysis_take(work->analysis, &packet);
		if (work->applied.analysis)
			applied_take(&work->applied, &packet);
	}
	if (result < 0) /* cut off, say: what there is tells all the same */
		fprintf(stderr, "pawsctl: %s: %s\n", work->path, error);
	if (work->analysis->last_ms)
		diagnosis_advance(work->analysis->diagnosis, work->analysis->last_ms);
	diagnosis_finish(work->analysis->diagnosis);
	return result < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int open_all(struct work *work, const struct call *call, const struct config *config, struct capture **ret_capture)
{
	const char *write_path = call_option(call, "write");
	char error[ERROR_SIZE];

	*ret_capture = capture_open(work->path, error, sizeof(error));
	if (!*ret_capture)
		return complain(error);
	if (write_path && !capture_write_to(*ret_capture, write_path, error, sizeof(error)))
		return complain(error);
	work->analysis = analysis_open(NULL);
	if (call_option(call, "plot"))
		work->plot = plot_open();
	if (!work->analysis || (config && !applied_open(&work->applied, config)) || (call_option(call, "plot") && !work->plot))
		return complain("out of memory");
	work->analysis->context = work->analysis->diagnosis->context = work;
	work->analysis->on_event = on_event;
	work->analysis->diagnosis->on_evidence = on_evidence;
	return EXIT_SUCCESS;
}

static void mark_unanswered(struct work *work)
{
	for (size_t i = 0; i < work->list_count; i++) {
		const struct evidence_list *list = &work->lists[i];

		for (size_t j = 0; list->finding == FINDING_RECYCLE && j < list->count; j++)
			plot_mark(work->plot, list->examples[j].syn);
	}
}

static int say(struct work *work, struct capture *capture, const struct call *call, json_t *files, bool *ret_any)
{
	char error[ERROR_SIZE];

	if (call->json)
		work->is_short_of_memory |= json_array_append_new(files, to_json(work, ret_any)) != 0;
	else
		*ret_any |= print_report(work);
	if (call_option(call, "write") && !capture_end_writing(capture, error, sizeof(error)))
		return complain(error);
	if (work->applied.analysis && !call->json)
		print_applied(work, call_option(call, "write"));
	if (work->is_short_of_memory)
		return complain("out of memory: not all is shown");
	if (!work->plot)
		return EXIT_SUCCESS;
	mark_unanswered(work);
	return plot_draw(work->plot, call_option(call, "plot"), work->analysis->first_ms, error, sizeof(error)) ? EXIT_SUCCESS
														 : complain(error);
}

static void close_all(struct work *work, struct capture *capture)
{
	capture_close(capture);
	analysis_close(work->analysis);
	applied_close(&work->applied);
	plot_close(work->plot);
	for (size_t i = 0; i < work->list_count; i++)
		free(work->lists[i].examples);
	free(work->lists);
}

static int analyze_file(const char *path, const struct call *call, const struct config *config, json_t *files, bool *ret_any)
{
	struct work work = {.path = path};
	struct capture *capture;
	int status = open_all(&work, call, config, &capture);

	if (status == EXIT_SUCCESS) {
		int said;

		status = go_through(&work, capture);
		said = say(&work, capture, call, files, ret_any);
		status = status ? status : said;
	}
	close_all(&work, capture);
	return status;
}

int analyze(const struct call *call)
{
	const char *config_path = call_option(call, "apply");
	struct config *config = NULL;
	json_t *files;
	int status = EXIT_SUCCESS;
	bool is_any = false;

	if (call_option(call, "write") && (!config_path || call->operand_count > 1))
		return usage_error(call->command);
	if (call_option(call, "plot") && call->operand_count > 1)
		return usage_error(call->command);
	if (config_path && !(config = read_config(config_path)))
		return EXIT_USAGE;
	files = json_array();
	for (int i = 0; i < call->operand_count; i++) {
		int result;

		if (i && !call->json)
			putchar('\n');
		result = analyze_file(call->operands[i], call, config, files, &is_any);
		status = status ? status : result;
	}
	if (call->json && json_dumpf(files, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) == 0)
		putchar('\n');
	json_decref(files);
	config_free(config);
	if (finish_output() || status)
		return EXIT_FAILURE;
	return is_any ? EXIT_FOUND : EXIT_SUCCESS;
}
