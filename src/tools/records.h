/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_RECORDS_H
#define PAWSD_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

/*
 * Answers of the control socket that are records: a word and fields KEY=VALUE, a line each. What is not known is passed
 * over, so that a newer pawsd can say more than we understand.
 */

enum {
	RECORD_FIELDS_MAX = 64,
};

struct record {
	const char *kind;
	struct {
		const char *key, *value;
	} fields[RECORD_FIELDS_MAX];
	size_t count;
};

/* The field's value; NULL: it has none of that name. */
const char *record_text(const struct record *record, const char *key);

/* As a number; 0 where it is none. */
uint64_t record_number(const struct record *record, const char *key);

/* As an address, or an address and port ("192.0.2.1:80", "[2001:db8::1]:80"). False where it is none. */
bool record_addr(const struct record *record, const char *key, struct addr *ret);
bool record_endpoint(const struct record *record, const char *key, struct addr *ret_addr, uint16_t *ret_port);

/* Hands the records of an answer (of pawsd, or of whoever may bind the socket) over, one after the other, in `text`, which it changes. */
typedef void (*record_fn)(void *context, const struct record *record);

/* Returns 0, or -1 with one line in ret_error: pawsd refuses, or the answer is none. */
int records_parse(char *text, size_t len, record_fn take, void *context, char *ret_error, size_t error_size);

/* snapshot.c. Asks as snapshot_fetch() does, and hands over the answer's records. */
int answer_fetch(const char *path, const char *request, int timeout_ms, record_fn take, void *context, char *ret_error,
		 size_t error_size);

#endif
