/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_HELPER_WIRE_H
#define PAWSD_HELPER_WIRE_H

#include <stdio.h>

#include "config.h"
#include "drain.h"

/*
 * What helper and daemon say to each other. A request is a header and a body whose length each operation bounds; the
 * helper ends itself when one is not as it should be. Answers are as long as they are, for who gets them trusts the helper. All
 * numbers are in the machine's own order.
 */
enum helper_operation {
	HELPER_LOAD,
	HELPER_SET_MODE,
	HELPER_TRY,
	HELPER_INSTALL,
	HELPER_REMOVE,
	HELPER_LOOK,
	HELPER_READ_COUNTS,
	HELPER_STORE_CLOCK,
	HELPER_REMOVE_FILES,
	HELPER_LOOK_AROUND,
	HELPER_FASTPATH_OPEN,
	HELPER_FASTPATH_HAND_OVER, /* the answer is one byte, with the descriptors */
	HELPER_FASTPATH_ATTACH,
	HELPER_FASTPATH_HOLD,
	HELPER_FASTPATH_STOP,
	HELPER_FASTPATH_END,
	HELPER_OPERATIONS,
};

struct helper_header {
	uint32_t operation, bytes;
};

/* In front of INSTALL's servers, each a struct rules_drain. */
struct helper_install_head {
	uint8_t is_new, label, generation;
};

struct helper_set_mode_body {
	uint16_t slot;
	uint8_t mode; /* enum mode */
};

struct helper_remove_files_body {
	uint8_t socket, flows;
};

enum {
	HELPER_ERROR_SIZE = 1024,
	HELPER_CLOCK_MAX = 4 << 20,
};

/* Whole or not at all; false: the other side has gone. */
bool wire_put(FILE *out, const void *bytes, size_t count);
bool wire_get(FILE *in, void *bytes, size_t count);

/* A text of less than HELPER_ERROR_SIZE bytes. */
bool wire_put_text(FILE *out, const char *text);
bool wire_get_text(FILE *in, char *ret, size_t size);

/* A configuration with its policy. wire_get_config() returns NULL where the other side has gone, or memory is short. */
bool wire_put_config(FILE *out, const struct config *config);
struct config *wire_get_config(FILE *in);

/* NULL where memory is short. */
struct config *wire_copy_config(const struct config *config);

#endif
