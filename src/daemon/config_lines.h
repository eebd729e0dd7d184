/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_CONFIG_LINES_H
#define PAWSD_CONFIG_LINES_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Where in a file its sections and keys stand. iniparser reads the values but keeps no line
 * numbers, and of two keys with one name it silently takes the last: messages and the search
 * for duplicates need more.
 */
struct config_line {
	char section[80]; /* lower case, as iniparser names it */
	char key[64];	  /* empty for the section's own line */
	unsigned int number;
};

struct config_lines {
	struct config_line *lines;
	size_t count;
};

/* False when the file cannot be read or memory is short. */
bool config_lines_read(const char *path, struct config_lines *ret);
void config_lines_free(struct config_lines *lines);

/* The first line of that section and key (key "": of the section), or 0. */
unsigned int config_lines_find(const struct config_lines *lines, const char *section, const char *key);

#endif
