/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_PAWSCTL_RECORDS_H
#define PAWSD_PAWSCTL_RECORDS_H

#include <jansson.h>

#include "pawsctl.h"
#include "records.h"

/* Asks, and hands over the records of the answer. Returns the exit status; for one that is not 0 it has said why. */
int ask_records(const struct call *call, const char *request, int timeout_ms, record_fn take, void *context);

/*
 * The command's own options as a request: its name, and KEY=VALUE for each that was given, or KEY for one without a
 * value; those in `ours`, a list that ends with NULL, are left out. False: it would be longer than a request may be.
 */
enum {
	REQUEST_SIZE = 240,
};
bool options_to_request(const struct call *call, const char *const *ours, char ret_request[REQUEST_SIZE]);

/* What is asked about; "-" for a port or a client that is not named. */
enum {
	ADDR_SIZE = 64,
};
struct question {
	char server[ADDR_SIZE], port[8], client[ADDR_SIZE];
};

bool is_addr(const char *text);

/* Server and port of "192.0.2.1", "192.0.2.1:443", "2001:db8::1", "[2001:db8::1]:443". False: it is none. */
bool read_server(const char *text, struct question *ret);

/* The field's value; "?" where it has none of that name. */
const char *text_of(const struct record *record, const char *key);

/* Its fields, numbers, yes and no as such. NULL where memory is short. */
json_t *record_to_json(const struct record *record);

/* Prints `root`, which it takes (NULL: memory was short). Returns the exit status. */
int print_json(json_t *root);

#endif
