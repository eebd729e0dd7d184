/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pawsctl.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

/* pawsctl: asks a running pawsd over its control socket, or a capture, for people (text) and programs (JSON). */

enum {
	TIMEOUT_MS = 5000,
	HELP_COLUMN = 40,
};

static const char default_socket[] = "/run/pawsd/control.sock";

static int run_status(const struct call *call)
{
	return snapshot_command(call, "status", TIMEOUT_MS, text_print_status, json_print_status);
}

static int run_stats(const struct call *call)
{
	return snapshot_command(call, "stats", TIMEOUT_MS, text_print_stats, json_print_stats);
}

static int run_resume(const struct call *call)
{
	return snapshot_command(call, "resume", CHANGE_TIMEOUT_MS, text_print_status, json_print_status);
}

static const struct command_option drain_options[] = {
	{"no-wait", NULL, "do not wait for the end of a drain"},
	{NULL, NULL, NULL},
};

/* In the order in which --help shows them. */
static const struct command commands[] = {
	{"status", "", "what pawsd runs with", run_status, NULL},
	{"stats", "", "count of packets, SYNs and flows, by destination", run_stats, NULL},
	{"destinations", "", "what the policy says of each destination", destinations, NULL},
	{"reload", "", "read the configuration again", reload, NULL},
	{"set", "NAME mode MODE", "give a destination another mode, until the next reload", set, NULL},
	{"try", "ADDRESS[:PORT]", "how a server's connections fare with another mode, for a few minutes", try_server, try_options},
	{"drain", "", "rewrite no new connections; wait for the end of the last", drain, drain_options},
	{"resume", "", "rewrite them again", run_resume, NULL},
	{"top", "", "what pawsd does just now, on a terminal", show_top, top_options},
	{"flows", "", "the connections that pawsd knows", flows, flows_options},
	{"events", "", "what becomes of SYNs and their answers, as it happens", events, events_options},
	{"clock", "", "the shared clock, and what is ahead of it", show_clock, NULL},
	{"explain", "ADDRESS[:PORT] [from CLIENT]", "what becomes of a connection to that address, and why", explain, NULL},
	{"suspects", "", "servers that something is wrong with, and what cures it", suspects, NULL},
	{"analyze", "FILE...", "what is wrong with the servers in a capture, before or behind a gateway", analyze,
	 analyze_options},
};

enum {
	COMMANDS = sizeof(commands) / sizeof(commands[0]),
};

static void print_usage(FILE *out)
{
	fputs("usage: pawsctl [-s SOCKET] COMMAND [--json] ...\n"
	      "       pawsctl COMMAND --help\n"
	      "       pawsctl --help | --version\n\n",
	      out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %s %-*s %s\n", commands[i].name, HELP_COLUMN - 4 - (int)strlen(commands[i].name),
			commands[i].operands, commands[i].help);
}

static void print_option(FILE *out, const char *name, const char *argument, const char *help)
{
	char text[64];

	snprintf(text, sizeof(text), "%s%s%s", name, argument ? " " : "", argument ? argument : "");
	fprintf(out, "  %-*s %s\n", HELP_COLUMN - 3, text, help);
}

static void print_help(FILE *out, const struct command *command)
{
	char name[32];

	fprintf(out, "usage: pawsctl %s [OPTION...]%s%s\n\n%s\n\n", command->name, *command->operands ? " " : "",
		command->operands, command->help);
	for (const struct command_option *option = command->options; option && option->name; option++) {
		snprintf(name, sizeof(name), "--%s", option->name);
		print_option(out, name, option->argument, option->help);
	}
	print_option(out, "-j, --json", NULL, "print JSON");
	print_option(out, "-s, --socket", "SOCKET", "ask there instead of /run/pawsd/control.sock");
	print_option(out, "-h, --help", NULL, "print this");
}

int finish_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_SUCCESS;
	fprintf(stderr, "pawsctl: cannot write: %s\n", strerror(errno));
	return EXIT_FAILURE;
}

int snapshot_command(const struct call *call, const char *request, int timeout_ms, snapshot_text_fn print_text,
		     snapshot_json_fn print_json)
{
	struct snapshot snapshot;
	char error[1024];
	int result = 0;

	if (snapshot_fetch(call->socket_path, request, timeout_ms, &snapshot, error, sizeof(error))) {
		fprintf(stderr, "pawsctl: %s\n", error);
		return EXIT_NO_ANSWER;
	}
	if (call->json)
		result = print_json(stdout, &snapshot);
	else
		print_text(stdout, &snapshot);
	snapshot_free(&snapshot);
	if (result) {
		fprintf(stderr, "pawsctl: out of memory\n");
		return EXIT_FAILURE;
	}
	return finish_output();
}

int usage_error(const struct command *command)
{
	if (command)
		print_help(stderr, command);
	else
		print_usage(stderr);
	return EXIT_USAGE;
}

const char *call_option(const struct call *call, const char *name)
{
	for (size_t i = 0; i < call->value_count; i++) {
		if (strcmp(call->values[i].name, name) == 0)
			return call->values[i].text;
	}
	return NULL;
}

enum {
	OPTION_FIRST = 256, /* of a command's own: no letter */
	OPTIONS_MAX = 16,
};

/* The general options, and the command's own. */
static void list_options(const struct command *command, struct option ret[OPTIONS_MAX])
{
	static const struct option general[] = {
		{"socket", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
	};
	size_t count = sizeof(general) / sizeof(general[0]);

	memset(ret, 0, sizeof(*ret) * OPTIONS_MAX);
	memcpy(ret, general, sizeof(general));
	for (int i = 0; command->options && command->options[i].name && count < OPTIONS_MAX - 1; i++)
		ret[count++] = (struct option){command->options[i].name,
					       command->options[i].argument ? required_argument : no_argument, NULL, OPTION_FIRST + i};
}

static int run_command(const struct command *command, struct call *call, int argc, char **argv)
{
	struct option options[OPTIONS_MAX];
	int option;

	list_options(command, options);
	optind = 0; /* begins anew */
	while ((option = getopt_long(argc, argv, "s:jh", options, NULL)) != -1) {
		if (option == 's') {
			call->socket_path = optarg;
		} else if (option == 'j') {
			call->json = true;
		} else if (option == 'h') {
			print_help(stdout, command);
			return finish_output();
		} else if (option >= OPTION_FIRST && call->value_count < CALL_VALUES_MAX) {
			call->values[call->value_count++] =
				(struct call_value){command->options[option - OPTION_FIRST].name, optarg ? optarg : ""};
		} else {
			return usage_error(command);
		}
	}
	call->command = command;
	call->operands = argv + optind;
	call->operand_count = argc - optind;
	if ((call->operand_count > 0) != (*command->operands != '\0'))
		return usage_error(command);
	return command->run(call);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},	  {"version", no_argument, NULL, 'V'},
		{"completion", required_argument, NULL, 'C'},
		{NULL, 0, NULL, 0},
	};
	struct call call = {.socket_path = default_socket};
	int option;

	while ((option = getopt_long(argc, argv, "+s:jhV", options, NULL)) != -1) {
		if (option == 's') {
			call.socket_path = optarg;
		} else if (option == 'j') {
			call.json = true;
		} else if (option == 'h') {
			print_usage(stdout);
			return finish_output();
		} else if (option == 'V') {
			puts("pawsctl " PAWSD_VERSION);
			return finish_output();
		} else if (option == 'C') {
			return print_completion(stdout, optarg, commands, COMMANDS) ? finish_output() : usage_error(NULL);
		} else {
			return usage_error(NULL);
		}
	}
	if (optind == argc)
		return usage_error(NULL);
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(argv[optind], commands[i].name) == 0)
			return run_command(&commands[i], &call, argc - optind, argv + optind);
	}
	fprintf(stderr, "pawsctl: unknown command \"%s\"\n", argv[optind]);
	return usage_error(NULL);
}
