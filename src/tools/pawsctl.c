/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pawsctl.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

/* pawsctl: asks a running pawsd over its control socket, for people (text) and programs (JSON). */

enum {
	EXIT_NO_ANSWER = 1,
	EXIT_USAGE = 2,
	TIMEOUT_MS = 5000,
	CHANGE_TIMEOUT_MS = 120000, /* for the end of another change that is under way */
};

static const char default_socket[] = "/run/pawsd/control.sock";

struct command {
	const char *name; /* the request, too */
	int timeout_ms;
	void (*print_text)(FILE *out, const struct snapshot *snapshot);
	int (*print_json)(FILE *out, const struct snapshot *snapshot);
};

static const struct command commands[] = {
	{"stats", TIMEOUT_MS, text_print_stats, json_print_stats},
	{"status", TIMEOUT_MS, text_print_status, json_print_status},
	{"resume", CHANGE_TIMEOUT_MS, text_print_status, json_print_status},
};

static const char usage[] =
	"usage: pawsctl [-s SOCKET] stats [--json]     count of packets, SYNs and flows, by destination\n"
	"       pawsctl [-s SOCKET] status [--json]    what pawsd runs with\n"
	"       pawsctl [-s SOCKET] drain [--no-wait]  rewrite no new connections; wait for the end of the last\n"
	"       pawsctl [-s SOCKET] resume [--json]    rewrite them again\n"
	"       pawsctl --help | --version\n";

void count_add(uint64_t *sum, uint64_t count)
{
	*sum = count > INT64_MAX - *sum ? INT64_MAX : *sum + count;
}

/* Every reason about a SYN; those of no room are not named so. */
static bool reason_is_syn(int reason)
{
	return strncmp(reason_table[reason].name, "syn_", strlen("syn_")) == 0 || reason == REASON_TABLE_FULL ||
	       reason == REASON_CLIENT_QUOTA;
}

void totals_add(struct totals *totals, const struct snapshot_destination *destination)
{
	for (int i = 0; i < REASON_COUNT; i++) {
		enum reason_total total = reason_table[i].total;

		count_add(&totals->packets[total], destination->packets[i]);
		if (reason_is_syn(i)) {
			count_add(&totals->syns[total], destination->packets[i]);
			count_add(&totals->syn_count, destination->packets[i]);
		}
	}
	for (int i = FLOW_FREE + 1; i < FLOW_STATE_COUNT; i++)
		count_add(&totals->flows[i], destination->flows[i]);
}

const char *advice_strip(const struct snapshot_destination *destination)
{
	if (destination->packets[REASON_SYN_NO_TIMESTAMPS_MIXED] == 0 || strcmp(destination->mode, "strip") == 0)
		return NULL;
	return "clients without timestamps connect to servers that others use timestamps with. If these servers "
	       "are of the RHEL 7 family with tcp_tw_recycle, they drop such SYNs, and only mode = strip for all "
	       "clients of this destination is a cure";
}

static int command_run(const struct command *command, const char *socket_path, bool json)
{
	struct snapshot snapshot;
	char error[1024];
	int result = 0;

	if (snapshot_fetch(socket_path, command->name, command->timeout_ms, &snapshot, error, sizeof(error))) {
		fprintf(stderr, "pawsctl: %s\n", error);
		return EXIT_NO_ANSWER;
	}
	if (json)
		result = command->print_json(stdout, &snapshot);
	else
		command->print_text(stdout, &snapshot);
	snapshot_free(&snapshot);
	if (result) {
		fprintf(stderr, "pawsctl: out of memory\n");
		return EXIT_FAILURE;
	}
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "pawsctl: cannot write: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

static int usage_error(void)
{
	fputs(usage, stderr);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
		{"no-wait", no_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},	  {"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	const char *socket_path = default_socket;
	bool json = false, wait = true;
	int option;

	while ((option = getopt_long(argc, argv, "s:jhV", options, NULL)) != -1) {
		if (option == 's') {
			socket_path = optarg;
		} else if (option == 'j') {
			json = true;
		} else if (option == 'n') {
			wait = false;
		} else if (option == 'h') {
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		} else if (option == 'V') {
			puts("pawsctl " PAWSD_VERSION);
			return EXIT_SUCCESS;
		} else {
			return usage_error();
		}
	}
	if (argc - optind != 1)
		return usage_error();
	if (strcmp(argv[optind], "drain") == 0)
		return json ? usage_error() : drain(socket_path, CHANGE_TIMEOUT_MS, wait);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[optind], commands[i].name) == 0)
			return command_run(&commands[i], socket_path, json);
	}
	fprintf(stderr, "pawsctl: unknown command \"%s\"\n", argv[optind]);
	return usage_error();
}
