/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a file to a struct config: iniparser reads it, every section and key is held against
 * the table of options, then the whole is checked for what one option alone cannot show.
 * Errors are collected, so that one look shows them all.
 */
#include "config.h"

#include <errno.h>
#include <iniparser/iniparser.h>
#include <libgen.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config_check.h"
#include "config_lines.h"
#include "config_options.h"
#include "policy_build.h"

/* One load on its way. */
struct loading {
	const char *path;
	char directory[1024];
	dictionary *ini;
	struct config_lines lines;
	struct config_report *errors;
	struct config *config;
	struct destination *destinations;
	size_t destination_count;
};

void config_report_add(struct config_report *report, const char *format, ...)
{
	char **larger = realloc(report->lines, (report->count + 1) * sizeof(*larger));
	va_list args;
	char *line;

	if (!larger)
		return;
	report->lines = larger;
	va_start(args, format);
	if (vasprintf(&line, format, args) >= 0)
		report->lines[report->count++] = line;
	va_end(args);
}

void config_report_free(struct config_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		free(report->lines[i]);
	free(report->lines);
	*report = (struct config_report){0};
}

void slot_names_init(struct slot_names *names)
{
	memset(names, 0, sizeof(*names));
	strcpy(names->name[SLOT_NONE], "none");
	strcpy(names->name[SLOT_DEFAULT], "default");
	names->count = SLOT_DEFAULT + 1;
}

bool slot_names_find(struct slot_names *names, const char *name, uint16_t *ret)
{
	for (uint32_t i = SLOT_DEFAULT; i < names->count; i++) {
		if (strcmp(names->name[i], name) == 0) {
			*ret = (uint16_t)i;
			return true;
		}
	}
	if (names->count == DESTINATION_SLOTS)
		return false;
	*ret = (uint16_t)names->count;
	strcpy(names->name[names->count++], name);
	return true;
}

/* "file" or "file:line", to begin a message with. */
static const char *where(const struct loading *loading, const char *section, const char *key)
{
	static char text[1200];
	unsigned int number = config_lines_find(&loading->lines, section, key);

	if (number)
		snprintf(text, sizeof(text), "%s:%u", loading->path, number);
	else
		snprintf(text, sizeof(text), "%s", loading->path);
	return text;
}

static void list_keys(const char *section, char *ret_text, size_t size)
{
	size_t used = 0;

	ret_text[0] = '\0';
	for (size_t i = 0; i < option_count && used < size; i++) {
		if (strcmp(option_table[i].section, section) == 0)
			used += (size_t)snprintf(ret_text + used, size - used, "%s%s", used ? ", " : "",
						 option_table[i].key);
	}
}

/* Sets all options of one section, or their defaults. `name`: its name in the file. */
static void set_options(struct loading *loading, const char *section, const char *name, void *base)
{
	char path[256], problem[1600];

	for (size_t i = 0; i < option_count; i++) {
		const struct option_info *option = &option_table[i];
		const char *text;

		if (strcmp(option->section, section) != 0)
			continue;
		snprintf(path, sizeof(path), "%s:%s", name, option->key);
		text = iniparser_getstring(loading->ini, path, NULL);
		if (!text && (option->flags & OPTION_REQUIRED)) {
			option_set(option, base, "", loading->directory, problem, sizeof(problem));
			config_report_add(loading->errors, "%s: [%s] %s is missing; %s", where(loading, name, ""), name,
					  option->key, problem);
			continue;
		}
		if (!text && (option->flags & OPTION_INHERITED))
			continue;
		if (!option_set(option, base, text ? text : option->preset, loading->directory, problem,
				sizeof(problem)))
			config_report_add(loading->errors, "%s: [%s] %s = %s: %s", where(loading, name, option->key), name,
					  option->key, text ? text : option->preset, problem);
	}
}

/* Holds the keys of a section against the table. `section`: as the table calls it. */
static void check_keys(struct loading *loading, const char *section, const char *name)
{
	int count = iniparser_getsecnkeys(loading->ini, name);
	const char **keys = calloc((size_t)count + 1, sizeof(*keys));
	char allowed[512];

	if (!keys || (count > 0 && !iniparser_getseckeys(loading->ini, name, keys)))
		count = 0;
	for (int i = 0; i < count; i++) {
		const char *key = strchr(keys[i], ':') + 1;

		if (option_find(section, key))
			continue;
		list_keys(section, allowed, sizeof(allowed));
		config_report_add(loading->errors, "%s: [%s] %s = %s: unknown key; allowed: %s", where(loading, name, key),
				  name, key, iniparser_getstring(loading->ini, keys[i], ""), allowed);
	}
	free(keys);
}

static bool has_value(const struct loading *loading, const char *section, const char *key)
{
	char path[256];

	snprintf(path, sizeof(path), "%s:%s", section, key);
	return *iniparser_getstring(loading->ini, path, "") != '\0';
}

static void add_destination(struct loading *loading, const char *section)
{
	static const char name_characters[] = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
	const char *name = section + strlen("destination");
	struct destination *destination = &loading->destinations[loading->destination_count];
	size_t errors_before;
	bool is_given;

	name += strspn(name, " \t");
	if (!*name || strlen(name) > DESTINATION_NAME_MAX || strspn(name, name_characters) != strlen(name) ||
	    strcmp(name, "default") == 0 || strcmp(name, "none") == 0 || strcmp(name, TRIAL_NAME) == 0) {
		config_report_add(loading->errors,
				  "%s: [%s]: allowed: [destination NAME], NAME of up to %d letters, digits, '_', '.' and '-', "
				  "not \"default\", \"none\" or \"" TRIAL_NAME "\"",
				  where(loading, section, ""), section, DESTINATION_NAME_MAX);
		return;
	}
	for (size_t i = 1; i < loading->destination_count; i++) {
		if (strcmp(loading->destinations[i].name, name) == 0) {
			config_report_add(loading->errors, "%s: [%s]: a destination of that name stands in the file already; "
							   "allowed: once",
					  where(loading, section, ""), section);
			return;
		}
	}
	check_keys(loading, "destination", section);
	*destination = (struct destination){.repair = loading->destinations[0].repair};
	strcpy(destination->name, name);
	errors_before = loading->errors->count;
	set_options(loading, "destination", section, destination);
	is_given = has_value(loading, section, "prefixes") || has_value(loading, section, "prefixes_file");
	if (!is_given || (destination->prefix_count == 0 && loading->errors->count == errors_before))
		config_report_add(loading->errors,
				  "%s: [%s] has no prefixes; allowed: prefixes = ..., prefixes_file = ...",
				  where(loading, section, ""), section);
	loading->destination_count++;
}

/* The next section of the table after the option at *at, and moves on; NULL at the end. */
static const char *next_section(size_t *at)
{
	const char *section;

	if (*at == option_count)
		return NULL;
	section = option_table[*at].section;
	while (*at < option_count && strcmp(option_table[*at].section, section) == 0)
		(*at)++;
	return section;
}

static void report_unknown_section(struct loading *loading, const char *name)
{
	char allowed[256] = "";
	const char *section;
	size_t at = 0, used = 0;

	while ((section = next_section(&at)) && used < sizeof(allowed))
		used += (size_t)snprintf(allowed + used, sizeof(allowed) - used, "%s[%s%s]", used ? ", " : "", section,
					 strcmp(section, "destination") == 0 ? " NAME" : "");
	config_report_add(loading->errors, "%s: [%s]: unknown section; allowed: %s", where(loading, name, ""), name,
			  allowed);
}

static bool is_destination_section(const char *name)
{
	const size_t len = strlen("destination");

	return strncmp(name, "destination", len) == 0 && strchr(" \t", name[len]);
}

static void set_sections(struct loading *loading)
{
	struct destination *preset = &loading->destinations[0];
	int count = iniparser_getnsec(loading->ini);
	const char *section;
	size_t at = 0;

	*preset = (struct destination){.name = "default", .slot = SLOT_DEFAULT, .enabled = true};
	loading->destination_count = 1;
	while ((section = next_section(&at))) {
		if (strcmp(section, "destination") != 0)
			set_options(loading, section, section,
				    strcmp(section, "default") == 0 ? (void *)preset : (void *)loading->config);
	}
	for (int i = 0; i < count; i++) {
		const char *name = iniparser_getsecname(loading->ini, i);

		if (is_destination_section(name)) {
			add_destination(loading, name);
			continue;
		}
		at = 0;
		while ((section = next_section(&at)) && strcmp(section, name) != 0)
			;
		if (section)
			check_keys(loading, name, name);
		else
			report_unknown_section(loading, name);
	}
}

/* iniparser keeps the last of two keys of one name, and merges sections: neither was meant. */
static void check_duplicates(struct loading *loading)
{
	const struct config_lines *lines = &loading->lines;

	for (size_t i = 0; i < lines->count; i++) {
		const struct config_line *line = &lines->lines[i];
		unsigned int first = config_lines_find(lines, line->section, line->key);

		if (!line->section[0])
			config_report_add(loading->errors, "%s:%u: %s stands before any section", loading->path, line->number,
					  line->key);
		else if (first != line->number)
			config_report_add(loading->errors, "%s:%u: [%s]%s%s stands in line %u already; allowed: once",
					  loading->path, line->number, line->section, line->key[0] ? " " : "", line->key,
					  first);
	}
}

static char ini_message[1200];

__attribute__((format(printf, 1, 2))) static int keep_ini_message(const char *format, ...)
{
	va_list args;

	if (ini_message[0])
		return 0; /* the first is what matters */
	va_start(args, format);
	vsnprintf(ini_message, sizeof(ini_message), format, args);
	va_end(args);
	for (char *at = ini_message; *at; at++) {
		if (*at == '\n')
			*at = ' ';
	}
	return 0;
}

/* Opens the file; false and an error when it is not to be had or not INI at all. */
static bool open_file(struct loading *loading)
{
	char copy[1024];
	FILE *file = fopen(loading->path, "re");

	if (!file) {
		config_report_add(loading->errors, "%s: %s", loading->path, strerror(errno));
		return false;
	}
	fclose(file);
	snprintf(copy, sizeof(copy), "%s", loading->path);
	snprintf(loading->directory, sizeof(loading->directory), "%s", dirname(copy));
	ini_message[0] = '\0';
	iniparser_set_error_callback(keep_ini_message);
	loading->ini = iniparser_load(loading->path);
	if (!loading->ini || !config_lines_read(loading->path, &loading->lines)) {
		config_report_add(loading->errors, "%s: %s; allowed: [section], key = value, and lines under 1000 characters",
				  loading->path, ini_message[0] ? ini_message : "cannot be read as an INI file");
		return false;
	}
	return true;
}

/* Gives every destination its slot and builds the policy, which takes the destinations over. */
static bool finish(struct loading *loading, struct slot_names *names)
{
	struct slot_names *after = malloc(sizeof(*after));
	bool good = after != NULL;

	if (good)
		*after = *names;
	for (size_t i = 1; good && i < loading->destination_count; i++) {
		good = slot_names_find(after, loading->destinations[i].name, &loading->destinations[i].slot);
		if (!good)
			config_report_add(loading->errors,
					  "%s: [destination %s]: more than %d names of destinations since pawsd started; "
					  "allowed after a restart",
					  loading->path, loading->destinations[i].name, DESTINATION_SLOTS - SLOT_DEFAULT - 1);
	}
	if (good) {
		loading->config->policy = policy_build(loading->destinations, loading->destination_count);
		loading->destinations = NULL;
		good = loading->config->policy != NULL;
		if (!good)
			config_report_add(loading->errors, "%s: out of memory", loading->path);
	}
	if (good)
		*names = *after;
	free(after);
	return good;
}

struct config *config_load(const char *path, struct slot_names *names, struct config_report *ret_errors,
			   struct config_report *ret_warnings)
{
	struct loading loading = {.path = path, .errors = ret_errors};
	struct config *config = NULL;

	*ret_errors = *ret_warnings = (struct config_report){0};
	if (open_file(&loading)) {
		loading.config = calloc(1, sizeof(*loading.config));
		loading.destinations =
			calloc((size_t)iniparser_getnsec(loading.ini) + 1, sizeof(*loading.destinations));
		if (loading.config && loading.destinations) {
			check_duplicates(&loading);
			set_sections(&loading);
			config_check(path, loading.config, loading.destinations, loading.destination_count, ret_errors,
				     ret_warnings);
			if (ret_errors->count == 0 && finish(&loading, names)) {
				config = loading.config;
				loading.config = NULL;
			}
		} else {
			config_report_add(ret_errors, "%s: out of memory", path);
		}
	}
	if (loading.destinations)
		policy_free_destinations(loading.destinations, loading.destination_count);
	free(loading.config);
	config_lines_free(&loading.lines);
	if (loading.ini)
		iniparser_freedict(loading.ini);
	return config;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	policy_free(config->policy);
	free(config);
	malloc_trim(0);
}

void config_list_static_changes(const struct config *a, const struct config *b, char *ret_text, size_t size)
{
	size_t used = 0;

	ret_text[0] = '\0';
	for (size_t i = 0; i < option_count && used < size; i++) {
		const struct option_info *option = &option_table[i];

		if ((option->flags & OPTION_STATIC) &&
		    memcmp((const char *)a + option->offset, (const char *)b + option->offset, option->size) != 0)
			used += (size_t)snprintf(ret_text + used, size - used, "%s[%s] %s", used ? ", " : "",
						 option->section, option->key);
	}
}

void config_print_defaults(FILE *out)
{
	const char *section = "";

	fprintf(out, "# SPDX-License-Identifier: GPL-2.0-or-later\n"
		     "# pawsd.conf: every option at its default. Made by `pawsd --print-defaults`; see pawsd.conf(5).\n");
	for (size_t i = 0; i < option_count; i++) {
		const struct option_info *option = &option_table[i];
		bool is_example = strcmp(option->section, "destination") == 0;

		if (strcmp(section, option->section) != 0) {
			section = option->section;
			fprintf(out, is_example ? "\n# One such section for each destination, NAME being yours to choose.\n"
						  "#[destination %s]\n"
						: "\n[%s]\n",
				is_example ? "NAME" : section);
		}
		for (const char *line = option->help; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
			fprintf(out, "# %.*s\n", (int)strcspn(line, "\n"), line);
		fprintf(out, "%s%s =%s%s\n", is_example ? "#" : "", option->key, option->preset[0] ? " " : "",
			option->preset);
	}
}
