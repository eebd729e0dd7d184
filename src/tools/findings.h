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

/* A section of pawsd.conf that cures what was found; nothing where no setting does. False then. */
bool report_print_cure(FILE *out, const struct server_report *report, const char *indent);

/* All of it in words: findings, the newest examples of each (`most`), the cure. `base_ms`: what times count from. */
void report_print(FILE *out, const struct server_report *report, enum example_style style, size_t most, uint64_t base_ms);

/* A new object, or NULL when memory is short. */
json_t *report_to_json(const struct server_report *report, enum example_style style, uint64_t base_ms);

/* "192.0.2.1:80", "[2001:db8::1]:80". `size` >= 72. */
void format_endpoint(const struct addr *addr, uint16_t port, char *ret_text, size_t size);

#endif
