/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TOP_VIEW_H
#define PAWSD_TOP_VIEW_H

#include <jansson.h>
#include <stdbool.h>

#include "diagnosis.h"
#include "snapshot.h"

/* What `pawsctl top` shows: two looks at pawsd, and what has happened in between. Lines of text, for a terminal or a file. */

enum {
	VIEW_LINES = 200,
	VIEW_WIDTH = 240,
	VIEW_SUSPECTS = 64,
};

enum view_style {
	VIEW_PLAIN,
	VIEW_TITLE, /* a table's head */
	VIEW_ALARM, /* worth a look */
};

enum view_order {
	VIEW_BY_PACKETS,
	VIEW_BY_SYNS,
	VIEW_BY_FLOWS,
	VIEW_BY_NAME,
	VIEW_ORDERS,
};

extern const char *const view_order_names[VIEW_ORDERS];

/* A server of which something is found. */
struct view_suspect {
	char server[72];
	enum finding finding;
	enum confidence confidence;
};

struct view_data {
	const struct snapshot *before, *now; /* before NULL: there is but one look */
	double seconds;			     /* between them */
	const struct view_suspect *suspects;
	size_t suspect_count;
};

struct view {
	struct {
		char text[VIEW_WIDTH];
		enum view_style style;
	} lines[VIEW_LINES];
	size_t count;
};

/* At most `rows` lines: what there is no room for is left out, and that is said. */
void view_make(struct view *view, const struct view_data *data, enum view_order order, size_t rows);

/* The same figures. A new object, or NULL when memory is short. */
json_t *view_to_json(const struct view_data *data, enum view_order order);

#endif
