/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_CONFIG_OPTIONS_H
#define PAWSD_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The one table of options. Defaults, range checks, error messages, `pawsd --check`,
 * conf/pawsd.conf and the manual's test come from it. To add an option: a line in
 * config_options.c, its field in config.h or policy.h, and a paragraph in pawsd.conf(5).
 */

enum option_type {
	OPTION_NUMBER,	    /* uint16_t or uint32_t, min..max */
	OPTION_CHOICE,	    /* an enum: index into choices */
	OPTION_BOOL,	    /* yes or no */
	OPTION_TEXT,	    /* char[size], at most size - 1 characters, no blanks */
	OPTION_PATH,	    /* the same, beginning with / */
	OPTION_INTERFACES,  /* char[WAN_MAX][INTERFACE_NAME_SIZE] and its count */
	OPTION_SIDES,	    /* struct fastpath_interface[FASTPATH_INTERFACES_MAX] and its count */
	OPTION_CPUS,	    /* cpu_set_t */
	OPTION_PREFIXES,    /* struct prefix * and its count */
	OPTION_PREFIX_FILE, /* appends to the same */
	OPTION_PORTS,	    /* struct port_range * and its count */
};

enum option_flag {
	OPTION_REQUIRED = 0x1,
	OPTION_STATIC = 0x2, /* takes effect only at a start */
	OPTION_INHERITED = 0x4, /* of a destination: when it is missing, [default]'s holds */
};

struct option_info {
	const char *section; /* "destination" stands for every [destination NAME] */
	const char *key;
	enum option_type type;
	size_t offset; /* in struct config or, for [default] and destinations, struct destination */
	size_t size;
	size_t count_offset;	    /* of lists */
	const char *const *choices; /* NULL-terminated */
	uint32_t min, max;
	const char *preset; /* the default, as it would stand in the file */
	unsigned int flags; /* enum option_flag */
	const char *help;
};

extern const struct option_info option_table[];
extern const size_t option_count;

/* The option, or NULL. */
const struct option_info *option_find(const char *section, const char *key);

/* True for the sections whose options lie in a struct destination. */
bool option_is_of_destination(const struct option_info *option);

/*
 * Sets the option's field in `base` from `text`. Returns true, or false with what is wrong and
 * what is allowed in ret_problem. Paths in the text are relative to `directory`.
 */
bool option_set(const struct option_info *option, void *base, const char *text, const char *directory,
		char *ret_problem, size_t problem_size);

#endif
