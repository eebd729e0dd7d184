/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_PAWSCTL_H
#define PAWSD_PAWSCTL_H

#include <stdbool.h>
#include <stdio.h>

#include "snapshot.h"
#include "totals.h"

/* Exit statuses, beside EXIT_SUCCESS and EXIT_FAILURE, which is EXIT_NO_ANSWER as well. */
enum {
	EXIT_NO_ANSWER = 1,
	EXIT_USAGE = 2,
	EXIT_FOUND = 3, /* analyze, suspects: something is wrong with a server */
};

enum {
	CHANGE_TIMEOUT_MS = 120000, /* for the end of another change that is under way */
	CALL_VALUES_MAX = 16,
};

struct call;

struct command_option {
	const char *name;
	const char *argument; /* its word for --help; NULL: it has none */
	const char *help;
};

/* One of pawsctl's commands. To add one: a line in `commands` (pawsctl.c), its function, its paragraph in the manual. */
struct command {
	const char *name;
	const char *operands; /* for --help; "": it has none */
	const char *help;
	int (*run)(const struct call *call); /* returns the exit status */
	const struct command_option *options; /* its own, beside those that all have; the last one's name is NULL */
};

/* A command as it was given. */
struct call {
	const struct command *command;
	const char *socket_path;
	bool json;
	char **operands;
	int operand_count;
	struct call_value {
		const char *name, *text;
	} values[CALL_VALUES_MAX];
	size_t value_count;
};

/* What was given with the option --NAME, "" for one without an argument; NULL: it was not given. */
const char *call_option(const struct call *call, const char *name);

/* Says how the command (NULL: pawsctl) is used, to stderr. Returns EXIT_USAGE. */
int usage_error(const struct command *command);

/* Returns EXIT_SUCCESS, or EXIT_FAILURE after it has said that stdout did not take all. */
int finish_output(void);

typedef void (*snapshot_text_fn)(FILE *out, const struct snapshot *snapshot);
typedef int (*snapshot_json_fn)(FILE *out, const struct snapshot *snapshot);

/* Asks pawsd, and prints its answer one way or the other. Returns the exit status. */
int snapshot_command(const struct call *call, const char *request, int timeout_ms, snapshot_text_fn print_text,
		     snapshot_json_fn print_json);

void text_print_stats(FILE *out, const struct snapshot *snapshot);
void text_print_status(FILE *out, const struct snapshot *snapshot);

/*
 * `pawsctl drain`: has pawsd rewrite no new connection and, without --no-wait, tells how many go on until there is none.
 * Returns the exit status; for one that is not 0 it has said why.
 */
int drain(const struct call *call);

/* pawsctl_completion.c. False: no such shell (bash, zsh). */
bool print_completion(FILE *out, const char *shell, const struct command *commands, size_t count);

/* `pawsctl destinations`, `pawsctl reload`, `pawsctl set`. */
int destinations(const struct call *call);
int reload(const struct call *call);
int set(const struct call *call);

/* `pawsctl top`. */
int show_top(const struct call *call);
extern const struct command_option top_options[];

/* `pawsctl try`. */
int try_server(const struct call *call);
extern const struct command_option try_options[];

/* `pawsctl events`. */
int events(const struct call *call);
extern const struct command_option events_options[];

/* `pawsctl flows`. */
int flows(const struct call *call);
extern const struct command_option flows_options[];

/* `pawsctl clock`, `pawsctl explain`. */
int show_clock(const struct call *call);
int explain(const struct call *call);

/* `pawsctl suspects`. */
int suspects(const struct call *call);

/* `pawsctl analyze`. */
int analyze(const struct call *call);
extern const struct command_option analyze_options[];

/* Return 0, or -1 when memory is short. Whether the words got out, `out` tells. */
int json_print_stats(FILE *out, const struct snapshot *snapshot);
int json_print_status(FILE *out, const struct snapshot *snapshot);

#endif
