/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the text of an option becomes a value in a struct: one function for each option type. */
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_options.h"
#include "policy_build.h"
#include "rules.h"

struct problem {
	char *text;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static bool fail(struct problem *problem, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(problem->text, problem->size, format, args);
	va_end(args);
	return false;
}

/* Calls `each` for every word of a list whose separators are blanks and commas. */
static bool each_word(const char *text, bool (*each)(void *context, const char *word), void *context)
{
	char word[128];
	size_t len;

	for (;;) {
		text += strspn(text, ", \t\r\n");
		if (!*text)
			return true;
		len = strcspn(text, ", \t\r\n");
		snprintf(word, sizeof(word), "%.*s", (int)len, text);
		if (!each(context, word))
			return false;
		text += len;
	}
}

/* A decimal number that fills the whole text. */
static bool parse_number(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' && *ret <= max;
}

static bool set_number(const struct option_info *option, void *field, const char *text, struct problem *problem)
{
	uint64_t value;
	uint16_t value16;
	uint32_t value32;

	if (!parse_number(text, option->max, &value) || value < option->min)
		return fail(problem, "allowed: a number from %u to %u", option->min, option->max);
	value16 = (uint16_t)value;
	value32 = (uint32_t)value;
	if (option->size == sizeof(value16))
		memcpy(field, &value16, sizeof(value16));
	else
		memcpy(field, &value32, sizeof(value32));
	return true;
}

static bool set_choice(const struct option_info *option, void *field, const char *text, struct problem *problem)
{
	char allowed[128] = "";

	for (unsigned int i = 0; option->choices[i]; i++) {
		if (strcasecmp(option->choices[i], text) == 0) {
			memcpy(field, &i, sizeof(i));
			return true;
		}
		if (i > 0)
			strncat(allowed, ", ", sizeof(allowed) - strlen(allowed) - 1);
		strncat(allowed, option->choices[i], sizeof(allowed) - strlen(allowed) - 1);
	}
	return fail(problem, "allowed: %s", allowed);
}

static bool set_bool(void *field, const char *text, struct problem *problem)
{
	static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
			*(bool *)field = strcasecmp(text, yes[i]) == 0;
			return true;
		}
	}
	return fail(problem, "allowed: yes, no");
}

static bool set_text(const struct option_info *option, char *field, const char *text, struct problem *problem)
{
	if (strlen(text) >= option->size)
		return fail(problem, "allowed: at most %zu characters", option->size - 1);
	if (strpbrk(text, " \t"))
		return fail(problem, "allowed: no blanks");
	if (option->type == OPTION_PATH && text[0] != '/')
		return fail(problem, "allowed: a path from the root, /...");
	memset(field, 0, option->size);
	memcpy(field, text, strlen(text));
	return true;
}

struct interface_list {
	char (*names)[INTERFACE_NAME_SIZE];
	size_t count;
	struct problem *problem;
};

static bool add_interface(void *context, const char *word)
{
	struct interface_list *list = context;
	const char *star = strchr(word, '*');

	if (strlen(word) >= INTERFACE_NAME_SIZE || (star && star[1]) || strpbrk(word, "/:+!\"'$"))
		return fail(list->problem, "\"%s\" is no interface name; allowed: up to 15 characters, * at the end",
			    word);
	if (list->count == WAN_MAX)
		return fail(list->problem, "allowed: at most %d interfaces", WAN_MAX);
	memset(list->names[list->count], 0, INTERFACE_NAME_SIZE);
	memcpy(list->names[list->count], word, strlen(word));
	list->count++;
	return true;
}

static bool set_interfaces(const struct option_info *option, void *base, const char *text, struct problem *problem)
{
	struct interface_list list = {.names = (void *)((char *)base + option->offset), .problem = problem};

	if (!each_word(text, add_interface, &list))
		return false;
	*(size_t *)((char *)base + option->count_offset) = list.count;
	return true;
}

struct side_list {
	struct fastpath_interface *interfaces;
	size_t count;
	struct problem *problem;
};

/* "eth1:lan" */
static bool add_side(void *context, const char *word)
{
	struct side_list *list = context;
	struct fastpath_interface *interface = &list->interfaces[list->count];
	const char *colon = strrchr(word, ':');
	const size_t len = colon ? (size_t)(colon - word) : 0;

	if (!colon || (strcmp(colon, ":lan") != 0 && strcmp(colon, ":wan") != 0))
		return fail(list->problem, "\"%s\" does not say its side; allowed: INTERFACE:lan, INTERFACE:wan", word);
	if (len == 0 || len >= sizeof(interface->name) || strcspn(word, "/:*+!\"'$") < len)
		return fail(list->problem, "\"%s\" is no interface's name; allowed: up to 15 characters, then :lan or :wan", word);
	if (list->count == FASTPATH_INTERFACES_MAX)
		return fail(list->problem, "allowed: at most %d interfaces", FASTPATH_INTERFACES_MAX);
	memset(interface, 0, sizeof(*interface));
	memcpy(interface->name, word, len);
	interface->is_wan = strcmp(colon, ":wan") == 0;
	list->count++;
	return true;
}

static bool set_sides(const struct option_info *option, void *base, const char *text, struct problem *problem)
{
	struct side_list list = {.interfaces = (void *)((char *)base + option->offset), .problem = problem};

	if (!each_word(text, add_side, &list))
		return false;
	*(size_t *)((char *)base + option->count_offset) = list.count;
	return true;
}

/* Appends one element to a growing array, doubling its room at powers of two. */
static bool append(void **array, size_t *count, const void *element, size_t size)
{
	if ((*count & (*count - 1)) == 0) {
		void *larger = realloc(*array, (*count ? *count * 2 : 1) * size);

		if (!larger)
			return false;
		*array = larger;
	}
	memcpy((char *)*array + *count * size, element, size);
	(*count)++;
	return true;
}

struct list {
	void **array;
	size_t *count;
	struct problem *problem;
};

static bool add_prefix(void *context, const char *word)
{
	struct list *list = context;
	struct prefix prefix;
	const char *wrong = prefix_parse(word, &prefix);

	if (wrong)
		return fail(list->problem, "\"%s\" %s; allowed: IPv4 and IPv6 prefixes or addresses", word, wrong);
	return append(list->array, list->count, &prefix, sizeof(prefix)) || fail(list->problem, "out of memory");
}

/* "7" or "7-9". */
static bool parse_range(const char *word, uint64_t max, uint64_t *ret_first, uint64_t *ret_last)
{
	char text[128];
	char *dash;

	snprintf(text, sizeof(text), "%s", word);
	dash = strchr(text, '-');
	if (dash)
		*dash++ = '\0';
	return parse_number(text, max, ret_first) && parse_number(dash ? dash : text, max, ret_last) &&
	       *ret_first <= *ret_last;
}

struct cpu_list {
	cpu_set_t *set;
	struct problem *problem;
};

static bool add_cpus(void *context, const char *word)
{
	struct cpu_list *list = context;
	uint64_t first, last;

	if (!parse_range(word, CPU_SETSIZE - 1, &first, &last))
		return fail(list->problem, "\"%s\" is no processor; allowed: numbers from 0 to %d and ranges like 4-7", word,
			    CPU_SETSIZE - 1);
	for (uint64_t cpu = first; cpu <= last; cpu++)
		CPU_SET(cpu, list->set);
	return true;
}

static bool set_cpus(void *field, const char *text, struct problem *problem)
{
	struct cpu_list list = {field, problem};

	CPU_ZERO(list.set);
	return each_word(text, add_cpus, &list);
}

static bool add_ports(void *context, const char *word)
{
	struct list *list = context;
	struct port_range range;
	uint64_t first, last;

	if (!parse_range(word, 65535, &first, &last) || first == 0)
		return fail(list->problem, "\"%s\" is no port; allowed: numbers from 1 to 65535 and ranges like 8000-8100",
			    word);
	range = (struct port_range){.first = (uint16_t)first, .last = (uint16_t)last};
	return append(list->array, list->count, &range, sizeof(range)) || fail(list->problem, "out of memory");
}

/* Reads a file of prefixes, one a line. */
static bool set_prefix_file(const struct list *target, struct problem *problem, const char *name,
			    const char *directory)
{
	char path[1024], wrong[256], *line = NULL;
	size_t line_size = 0;
	struct problem inner = {wrong, sizeof(wrong)};
	struct list list = {target->array, target->count, &inner};
	unsigned int number = 0;
	bool good = true;
	FILE *file;

	if (name[0] == '/')
		snprintf(path, sizeof(path), "%s", name);
	else
		snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "re");
	if (!file)
		return fail(problem, "%s: %s; allowed: a readable file with one prefix a line", path, strerror(errno));
	while (good && getline(&line, &line_size, file) >= 0) {
		number++;
		line[strcspn(line, "#;\n")] = '\0';
		good = each_word(line, add_prefix, &list);
	}
	if (!good)
		fail(problem, "%s:%u: %s", path, number, wrong);
	else if (ferror(file))
		good = fail(problem, "%s: %s", path, strerror(errno));
	free(line);
	fclose(file);
	return good;
}

bool option_set(const struct option_info *option, void *base, const char *text, const char *directory,
		char *ret_problem, size_t problem_size)
{
	struct problem problem = {ret_problem, problem_size};
	char *field = (char *)base + option->offset;
	struct list list = {(void **)(void *)field, (size_t *)(void *)((char *)base + option->count_offset), &problem};

	switch (option->type) {
	case OPTION_NUMBER:
		return set_number(option, field, text, &problem);
	case OPTION_CHOICE:
		return set_choice(option, field, text, &problem);
	case OPTION_BOOL:
		return set_bool(field, text, &problem);
	case OPTION_TEXT:
	case OPTION_PATH:
		return set_text(option, field, text, &problem);
	case OPTION_INTERFACES:
		return set_interfaces(option, base, text, &problem);
	case OPTION_SIDES:
		return set_sides(option, base, text, &problem);
	case OPTION_CPUS:
		return set_cpus(field, text, &problem);
	case OPTION_PREFIXES:
		return each_word(text, add_prefix, &list);
	case OPTION_PREFIX_FILE:
		return text[0] == '\0' || set_prefix_file(&list, &problem, text, directory);
	case OPTION_PORTS:
		return each_word(text, add_ports, &list);
	}
	return fail(&problem, "unknown option type");
}
