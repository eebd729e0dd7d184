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

/* How far an answer has come. */
enum records_state {
	RECORDS_BEGIN,
	RECORDS_GO_ON,
	RECORDS_ENDED,
	RECORDS_FAILED, /* one line in ret_error: pawsd refuses, or the answer is none */
};

/* The whole lines of a piece of an answer, which begins behind what was taken before: *ret_used bytes. */
enum records_state records_take(enum records_state state, char *text, size_t len, size_t *ret_used, record_fn take, void *context,
				char *ret_error, size_t error_size);

/* A whole answer. Returns 0, or -1 with one line in ret_error. */
int records_parse(char *text, size_t len, record_fn take, void *context, char *ret_error, size_t error_size);

/* snapshot.c. Asks as snapshot_fetch() does, and hands over the answer's records. */
int answer_fetch(const char *path, const char *request, int timeout_ms, record_fn take, void *context, char *ret_error,
		 size_t error_size);

/*
 * snapshot.c. The same for an answer without end: hands over what there is, and then calls `taken`, time and again, until that
 * returns false. Waits `timeout_ms` for the first piece. Returns 0, or -1 with one line in ret_error: pawsd has ended, too.
 */
typedef bool (*records_taken_fn)(void *context);
int answer_follow(const char *path, const char *request, int timeout_ms, record_fn take, records_taken_fn taken, void *context,
		  char *ret_error, size_t error_size);

#endif
