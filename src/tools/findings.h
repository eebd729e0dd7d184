/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FINDINGS_H
#define PAWSD_FINDINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "diagnosis.h"

/* What has been found about a server, for people and programs; `pawsctl analyze` and `suspects` have it in common. */

/* One finding, with what shows it. */
struct found {
	enum confidence confidence;
	double chance; /* as diagnosis_judge() has it */
	struct example *examples;
	size_t example_count;
};

struct server_report {
	const struct server_evidence *evidence;
	struct found found[FINDING_COUNT]; /* confidence NONE: not found */
};

/* How an example's two packets are called: by their numbers in a capture, or not at all. */
enum example_style {
	EXAMPLE_BY_AGE, /* its tick is how long ago it was */
	EXAMPLE_BY_NUMBER,
};

/* Judges by the evidence; the examples are the caller's to add. True where anything was found. */
bool report_judge(struct server_report *report, const struct server_evidence *evidence);

/* A section of pawsd.conf that cures what these have, which are of one address; nothing where no setting does. False then. */
bool reports_print_cure(FILE *out, const struct server_report *reports, size_t count, const char *indent);

/*
 * All of it in words, in the order of their addresses: findings, the newest examples of each (`most`), the cure. `base_ms`: what
 * times count from. Sorts them.
 */
void reports_print(FILE *out, struct server_report *reports, size_t count, enum example_style style, size_t most, uint64_t base_ms);

/* Sorts them by address and port, and tells how many from the first one on have the same address. */
void reports_sort(struct server_report *reports, size_t count);
size_t reports_of_address(const struct server_report *reports, size_t count);

/* A new object, or NULL when memory is short. */
json_t *report_to_json(const struct server_report *report, enum example_style style, uint64_t base_ms);

struct record;

/* pawsctl_suspects.c. What pawsd tells of a server (record "server"). False: it is none. */
bool evidence_read(const struct record *record, struct server_evidence *ret);

/* "192.0.2.1:80", "[2001:db8::1]:80". `size` >= 72. */
void format_endpoint(const struct addr *addr, uint16_t port, char *ret_text, size_t size);

#endif
