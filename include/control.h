/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_CONTROL_H
#define PAWSD_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * The server side of the control socket (snapshot.h describes what is said on it). One request
 * a connection; a peer that is slow, silent or sends rubbish loses its connection and hinders
 * nobody. Some answers have no end, but that of the peer's patience.
 */
struct control;

enum {
	CONTROL_CLIENTS = 16,
	CONTROL_POLLS = CONTROL_CLIENTS + 1,
	CONTROL_STREAMS = 4, /* answers without end, at a time */
};

struct control_request {
	const char *text;
	bool may_change;   /* the peer may do more than ask */
	uint64_t progress; /* 0 when it is answered first; from then on the answerer's own: not 0 where something is begun */
};

/* What control_answer_fn returns where it has to be asked again later; nothing that it has written counts then. */
extern const char control_later[];

/* The same, but what it has written is sent: an answer without end. */
extern const char control_more[];

/*
 * Carries out `request` and writes the answer. Returns NULL, control_later, control_more, or why it does not, in words that are
 * the answer then. It may call control_serve(), which leaves this request alone.
 */
typedef const char *(*control_answer_fn)(void *context, struct control_request *request, FILE *out);

/*
 * Listens on the unix socket at `path`, for root and for `group` (empty: that of the calling process). Root and the members
 * of `admin_group` (empty: none) may change things. Returns NULL with one line in ret_error.
 */
struct control *control_open(const char *path, const char *group, const char *admin_group, control_answer_fn answer,
			     void *context, char *ret_error, size_t error_size);

/* The socket's file stays. */
void control_close(struct control *control);

/* Fills up to CONTROL_POLLS entries to be polled; returns how many. */
size_t control_fill_polls(const struct control *control, struct pollfd *ret_polls);

/* Serves what the poll found, and ends connections whose time is up. `now_ms`: any steady clock. */
void control_serve(struct control *control, const struct pollfd *polls, size_t count, uint64_t now_ms);

#endif
