/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pawsctl top`: what pawsd does just now, on a terminal. */
#include <curses.h>
#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "findings.h"
#include "pawsctl_records.h"
#include "top_view.h"

enum {
	TIMEOUT_MS = 5000,
	ERROR_SIZE = 1024,
	ONCE_ROWS = VIEW_LINES,
	KEY_WAIT_MS = 100,
};

const struct command_option top_options[] = {
	{"interval", "SECONDS", "look as often as that (2)"},
	{"once", NULL, "print it once, as it is on stdout if that is no terminal"},
	{NULL, NULL, NULL},
};

static const char keys[] = "q: quit   p, s, f, n: order by packets, SYNs, flows, name   space: hold";

/* Two looks, and the suspects. */
struct top {
	const struct call *call;
	struct snapshot looks[2];
	double at[2]; /* seconds; 0: there has been none */
	int last;     /* of the two */
	struct view_suspect suspects[VIEW_SUSPECTS];
	size_t suspect_count;
	char error[ERROR_SIZE];
};

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void take_suspect(void *context, const struct record *record)
{
	struct top *top = context;
	struct server_evidence evidence;
	struct server_report report;

	if (strcmp(record->kind, "server") != 0 || !evidence_read(record, &evidence) || !report_judge(&report, &evidence))
		return;
	for (enum finding finding = 0; finding < FINDING_COUNT && top->suspect_count < VIEW_SUSPECTS; finding++) {
		struct view_suspect *suspect = &top->suspects[top->suspect_count];

		if (report.found[finding].confidence < CONFIDENCE_LIKELY)
			continue;
		format_endpoint(&evidence.addr, evidence.port, suspect->server, sizeof(suspect->server));
		suspect->finding = finding;
		suspect->confidence = report.found[finding].confidence;
		top->suspect_count++;
	}
}

/* False: top->error says why. What was seen last stays then. */
static bool look(struct top *top)
{
	const int next = 1 - top->last;
	struct snapshot snapshot;

	if (snapshot_fetch(top->call->socket_path, "stats", TIMEOUT_MS, &snapshot, top->error, sizeof(top->error)))
		return false;
	if (top->at[next] > 0)
		snapshot_free(&top->looks[next]);
	top->looks[next] = snapshot;
	top->at[next] = seconds_now();
	top->last = next;
	top->suspect_count = 0;
	return answer_fetch(top->call->socket_path, "suspects", TIMEOUT_MS, take_suspect, top, top->error, sizeof(top->error)) == 0;
}

static struct view_data data_of(const struct top *top)
{
	const int before = 1 - top->last;

	return (struct view_data){
		.before = top->at[before] > 0 ? &top->looks[before] : NULL,
		.now = &top->looks[top->last],
		.seconds = top->at[before] > 0 ? top->at[top->last] - top->at[before] : 0,
		.suspects = top->suspects,
		.suspect_count = top->suspect_count,
	};
}

static void top_free(struct top *top)
{
	for (int i = 0; i < 2; i++) {
		if (top->at[i] > 0)
			snapshot_free(&top->looks[i]);
	}
}

/* ---- once ---- */

static int print_once(struct top *top, double interval)
{
	static struct view view;
	struct timespec pause = {(time_t)interval, (long)((interval - (double)(time_t)interval) * 1e9)};
	struct view_data data;

	if (!look(top))
		return EXIT_NO_ANSWER;
	while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
		;
	if (!look(top))
		return EXIT_NO_ANSWER;
	data = data_of(top);
	if (top->call->json)
		return print_json(view_to_json(&data, VIEW_BY_PACKETS));
	view_make(&view, &data, VIEW_BY_PACKETS, ONCE_ROWS);
	for (size_t i = 0; i < view.count; i++)
		puts(view.lines[i].text);
	return finish_output();
}

/* ---- on a terminal ---- */

static void draw(const struct top *top, enum view_order order, bool is_held, const char *trouble)
{
	static const int attributes[] = {[VIEW_PLAIN] = A_NORMAL, [VIEW_TITLE] = A_REVERSE, [VIEW_ALARM] = A_BOLD};
	static struct view view;
	const int rows = LINES > 3 ? LINES - 2 : 1;
	struct view_data data = data_of(top);

	erase();
	view_make(&view, &data, order, (size_t)rows);
	for (size_t i = 0; i < view.count && (int)i < rows; i++) {
		attrset(attributes[view.lines[i].style]);
		mvaddnstr((int)i, 0, view.lines[i].text, COLS);
	}
	attrset(A_DIM);
	mvaddnstr(LINES - 1, 0, keys, COLS);
	if (trouble || is_held) {
		attrset(A_BOLD);
		mvaddnstr(LINES - 2, 0, trouble ? trouble : "held", COLS);
	}
	attrset(A_NORMAL);
	refresh();
}

/* What a key means; false: the end. */
static bool take_key(int key, enum view_order *order, bool *is_held)
{
	static const struct {
		int key;
		enum view_order order;
	} orders[] = {{'p', VIEW_BY_PACKETS}, {'s', VIEW_BY_SYNS}, {'f', VIEW_BY_FLOWS}, {'n', VIEW_BY_NAME}};

	if (key == ' ')
		*is_held = !*is_held;
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		if (key == orders[i].key)
			*order = orders[i].order;
	}
	return key != 'q' && key != 'Q' && key != 3;
}

/* ERR: none in KEY_WAIT_MS; 'q' where the terminal is no more, of which getch() says the same at once, again and again. */
static int wait_for_key(void)
{
	struct pollfd terminal = {.fd = STDIN_FILENO, .events = POLLIN};

	if (poll(&terminal, 1, KEY_WAIT_MS) > 0 && (terminal.revents & (POLLHUP | POLLERR | POLLNVAL)))
		return 'q';
	return getch();
}

static void show(struct top *top, double interval)
{
	enum view_order order = VIEW_BY_PACKETS;
	double next = seconds_now() + interval;
	bool is_held = false, goes_on = true, is_well = true;
	int key;

	while (goes_on) {
		draw(top, order, is_held, is_well ? NULL : top->error);
		do {
			key = wait_for_key();
			goes_on = take_key(key, &order, &is_held);
		} while (key == ERR && (seconds_now() < next || is_held));
		if (!is_held && seconds_now() >= next) {
			is_well = look(top);
			next = seconds_now() + interval;
		}
	}
}

static int run_terminal(struct top *top, double interval)
{
	SCREEN *screen;

	if (!look(top))
		return EXIT_NO_ANSWER;
	setlocale(LC_ALL, "");
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		snprintf(top->error, sizeof(top->error), "this terminal (TERM) cannot be drawn on; --once prints");
		return EXIT_FAILURE;
	}
	raw();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	timeout(0);
	top->error[0] = '\0';
	show(top, interval);
	endwin();
	delscreen(screen);
	return EXIT_SUCCESS;
}

int show_top(const struct call *call)
{
	const char *text = call_option(call, "interval");
	struct top top = {.call = call};
	char *end = NULL;
	double interval = text ? strtod(text, &end) : 2;
	int status;

	if (text && (*end || !(interval >= 0.1 && interval <= 3600)))
		return usage_error(call->command);
	if (call->json || call_option(call, "once") || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
		status = print_once(&top, interval);
	else
		status = run_terminal(&top, interval);
	if (status && top.error[0])
		fprintf(stderr, "pawsctl: %s\n", top.error);
	top_free(&top);
	return status;
}
