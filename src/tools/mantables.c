/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../daemon/config_options.h"

#include "diagnosis.h"
#include "doctor.h"
#include "event_kind.h"
#include "flow.h"
#include "metrics.h"
#include "reason.h"

/*
 * mantables <page.in >page: puts the tables that the program itself is made from into a manual
 * page, so that the page cannot say anything else. A part of the build, not installed. These
 * lines of a page are replaced; they are comments to mdoc(7), so that page.in is a page too:
 *
 *   .\" @REASONS@             list of reasons
 *   .\" @STATES@              list of flow states with their default time-outs
 *   .\" @METRICS@             list of metrics
 *   .\" @OPTIONS section@     list of a section's options
 *   .\" @FINDINGS@            list of what can be found about a server
 *   .\" @SIGNS@               list of what is counted of one
 *   .\" @KINDS@               list of the kinds of events
 *   .\" @DOCTOR@              list of what --doctor looks at
 */

enum {
	LINE_MAX_COLUMNS = 78,
};

/* Prints words as lines of mdoc text: none too long, none taken for a macro, each sentence begins one. */
static void print_text(const char *text)
{
	size_t column = 0;
	char last = '\0';

	while (*(text += strspn(text, " \n"))) {
		size_t len = strcspn(text, " \n");

		/* "..." between words ends no sentence. */
		if (column && (column + 1 + len > LINE_MAX_COLUMNS || (last == '.' && text[0] != '.'))) {
			putchar('\n');
			column = 0;
		} else if (column) {
			putchar(' ');
			column++;
		}
		if (column == 0 && (*text == '.' || *text == '\''))
			fputs("\\&", stdout);
		for (size_t i = 0; i < len; i++) {
			if (text[i] == '\\')
				fputs("\\e", stdout);
			else
				putchar(text[i]);
		}
		column += len;
		last = len == strlen("...") && strncmp(text, "...", len) == 0 ? '\0' : text[len - 1];
		text += len;
	}
	putchar('\n');
}

static void print_sentence(const char *words)
{
	size_t len = strlen(words);
	char text[1024];

	snprintf(text, sizeof(text), "%s%s", words, len && words[len - 1] == '.' ? "" : ".");
	if (text[0] >= 'a' && text[0] <= 'z' && strncmp(text, "pawsd", 5) != 0)
		text[0] = (char)(text[0] - 'a' + 'A');
	print_text(text);
}

static void print_reasons(void)
{
	puts(".Bl -tag -width Ds");
	for (int i = 0; i < REASON_COUNT; i++) {
		printf(".It Sy %s Pq %s\n", reason_table[i].name, reason_total_names[reason_table[i].total]);
		print_sentence(reason_table[i].help);
	}
	puts(".El");
}

static void print_findings(void)
{
	puts(".Bl -tag -width Ds");
	for (int i = 0; i < FINDING_COUNT; i++) {
		printf(".It Sy %s\n", finding_table[i].name);
		print_sentence(finding_table[i].help);
		printf(".br\nCure:");
		printf(finding_table[i].cure[0] ? " %s.\n" : " none.\n", finding_table[i].cure);
	}
	puts(".El");
}

static void print_signs(void)
{
	puts(".Bl -tag -width Ds");
	for (int i = 0; i < SIGN_COUNT; i++) {
		printf(".It Sy %s\n", sign_table[i].name);
		print_sentence(sign_table[i].help);
	}
	puts(".El");
}

static void print_kinds(void)
{
#define X(id, kind, words) {kind, words},
	static const struct {
		const char *name, *help;
	} kinds[] = {EVENT_KIND_TABLE(X)};
#undef X

	puts(".Bl -tag -width suspicious");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		printf(".It Sy %s\n", kinds[i].name);
		print_sentence(kinds[i].help);
	}
	puts(".El");
}

static void print_states(void)
{
#define X(id, state, timeout_s, words) {state, words},
	static const struct {
		const char *name, *help;
	} states[] = {FLOW_STATE_TABLE(X)};
#undef X

	puts(".Bl -tag -width ESTABLISHED");
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		printf(".It Sy %s\n", states[i].name);
		print_sentence(states[i].help);
	}
	puts(".El");
}

static void print_doctor(void)
{
#define X(subject, needs_config, help) {#subject, help},
	static const struct {
		const char *name, *help;
	} subjects[] = {DOCTOR_TABLE(X)};
#undef X

	puts(".Bl -tag -width Ds");
	for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
		printf(".It Sy %s\n", subjects[i].name);
		print_sentence(subjects[i].help);
	}
	puts(".El");
}

static void print_metrics(void)
{
	puts(".Bl -tag -width Ds");
	for (int i = 0; i < METRIC_COUNT; i++) {
		printf(".It Sy pawsd_%s Pq %s\n", metric_table[i].name,
		       metric_table[i].type == METRIC_TYPE_COUNTER ? "counter" : "gauge");
		print_sentence(metric_table[i].help);
	}
	puts(".El");
}

static void print_allowed(const struct option_info *option)
{
	if (option->type == OPTION_NUMBER)
		printf("Allowed: %u to %u.\n", option->min, option->max);
	if (option->type == OPTION_BOOL)
		puts("Allowed: yes, no.");
	if (option->type != OPTION_CHOICE)
		return;
	printf("Allowed: ");
	for (size_t i = 0; option->choices[i]; i++)
		printf("%s%s", i ? ", " : "", option->choices[i]);
	puts(".");
}

static void print_option(const struct option_info *option)
{
	printf(".It Ic %s\n", option->key);
	if (option->help)
		print_text(option->help);
	print_allowed(option);
	if (option->flags & OPTION_REQUIRED)
		puts("Required.");
	else if (strcmp(option->section, "destination") == 0 && option_find("default", option->key))
		puts("Default: that of [default].");
	else if (option->preset[0])
		printf("Default: %s.\n", option->preset);
	else
		puts("Default: empty.");
	if (option->flags & OPTION_STATIC)
		puts("Takes effect at a start only.");
}

/* False when there is no such section: a page must not lose its list in silence. */
static bool print_options(const char *section)
{
	bool found = false;

	puts(".Bl -tag -width Ds");
	for (size_t i = 0; i < option_count; i++) {
		if (strcmp(option_table[i].section, section) != 0)
			continue;
		print_option(&option_table[i]);
		found = true;
	}
	puts(".El");
	return found;
}

/* Replaces a marker. False when it is not one that we know. */
static bool print_marker(char *name)
{
	static const struct {
		const char *name;
		void (*print)(void);
	} tables[] = {{"REASONS", print_reasons},
		      {"STATES", print_states},
		      {"METRICS", print_metrics},
		      {"FINDINGS", print_findings},
		      {"SIGNS", print_signs},
		      {"KINDS", print_kinds},
		      {"DOCTOR", print_doctor}};

	name[strcspn(name, "@")] = '\0';
	if (strncmp(name, "OPTIONS ", strlen("OPTIONS ")) == 0)
		return print_options(name + strlen("OPTIONS "));
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (strcmp(tables[i].name, name) == 0) {
			tables[i].print();
			return true;
		}
	}
	return false;
}

int main(void)
{
	static const char marker[] = ".\\\" @";
	char line[1024];

	while (fgets(line, sizeof(line), stdin)) {
		if (strncmp(line, marker, strlen(marker)) != 0) {
			fputs(line, stdout);
		} else if (!print_marker(line + strlen(marker))) {
			fprintf(stderr, "mantables: unknown table in: %s\n", line);
			return EXIT_FAILURE;
		}
	}
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
