/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config_lines.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies `len` bytes without the blanks around them, in lower case, cut off to fit. */
static void copy_lower(char *ret, size_t size, const char *text, size_t len)
{
	size_t used = 0;

	while (len && isspace((unsigned char)*text))
		text++, len--;
	while (len && isspace((unsigned char)text[len - 1]))
		len--;
	while (used < len && used + 1 < size) {
		ret[used] = (char)tolower((unsigned char)text[used]);
		used++;
	}
	ret[used] = '\0';
}

static bool add_line(struct config_lines *lines, const struct config_line *line)
{
	if ((lines->count & (lines->count - 1)) == 0) {
		size_t room = lines->count ? lines->count * 2 : 1;
		struct config_line *larger = realloc(lines->lines, room * sizeof(*larger));

		if (!larger)
			return false;
		lines->lines = larger;
	}
	lines->lines[lines->count++] = *line;
	return true;
}

/* Takes in one line of the file; `line` carries the section from line to line. */
static bool read_line(struct config_lines *lines, struct config_line *line, const char *text)
{
	const char *end;

	while (isspace((unsigned char)*text))
		text++;
	if (*text == '[') {
		end = strchr(text, ']');
		if (!end)
			return true; /* iniparser complains */
		copy_lower(line->section, sizeof(line->section), text + 1, (size_t)(end - text - 1));
		line->key[0] = '\0';
		return add_line(lines, line);
	}
	end = strchr(text, '=');
	if (!*text || *text == '#' || *text == ';' || !end)
		return true;
	copy_lower(line->key, sizeof(line->key), text, (size_t)(end - text));
	return add_line(lines, line);
}

bool config_lines_read(const char *path, struct config_lines *ret)
{
	struct config_line line = {.section = ""};
	bool good = true, continued = false;
	char *text = NULL;
	size_t size = 0;
	ssize_t len;
	FILE *file = fopen(path, "re");

	*ret = (struct config_lines){0};
	if (!file)
		return false;
	while (good && (len = getline(&text, &size, file)) >= 0) {
		line.number++;
		if (!continued)
			good = read_line(ret, &line, text);
		while (len && isspace((unsigned char)text[len - 1]))
			len--;
		continued = len && text[len - 1] == '\\';
	}
	free(text);
	fclose(file);
	if (!good)
		config_lines_free(ret);
	return good;
}

void config_lines_free(struct config_lines *lines)
{
	free(lines->lines);
	*lines = (struct config_lines){0};
}

unsigned int config_lines_find(const struct config_lines *lines, const char *section, const char *key)
{
	for (size_t i = 0; i < lines->count; i++) {
		if (strcmp(lines->lines[i].section, section) == 0 && strcmp(lines->lines[i].key, key) == 0)
			return lines->lines[i].number;
	}
	return 0;
}
