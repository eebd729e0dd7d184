/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_HELPER_INTERNAL_H
#define PAWSD_HELPER_INTERNAL_H

#include "config.h"
#include "helper_wire.h"
#include "surroundings.h"

/* What the helper knows. */
struct helper_server {
	FILE *in, *out;
	const char *path;
	struct slot_names names;
	struct config *current; /* in force; NULL until the first has been installed */
	struct config *next;	/* loaded last, if it is not in force */
	struct rules_size size; /* of the rules installed last */
	struct fastpath_kernel *fastpath; /* NULL: there is none */
	struct surroundings surroundings; /* at the last look */
	uint8_t *body;
	size_t bytes;
};

/* The configuration in force or, before there is one, that which was loaded. */
static inline const struct config *helper_config(const struct helper_server *server)
{
	return server->current ? server->current : server->next;
}

/* Says how it has gone; `error`: if it has not. */
static inline bool helper_answer(struct helper_server *server, int result, const char *error)
{
	const uint8_t good = result == 0;

	return wire_put(server->out, &good, sizeof(good)) && (good || wire_put_text(server->out, error));
}

/* helper_fastpath.c: programs that run go on with the numbers that slots had. Where there is no room for the new names they do not. */
void helper_keep_slots(struct helper_server *server);
bool helper_serve_fastpath_open(struct helper_server *server);
bool helper_serve_fastpath_hand_over(struct helper_server *server);
bool helper_serve_fastpath_attach(struct helper_server *server);
bool helper_serve_fastpath_hold(struct helper_server *server);
bool helper_serve_fastpath_stop(struct helper_server *server);
bool helper_serve_fastpath_end(struct helper_server *server);

/* Serves requests from the socket `fd`, which it closes, until the other side is no more. */
void helper_serve(int fd, const char *config_path, const struct slot_names *names);

#endif
