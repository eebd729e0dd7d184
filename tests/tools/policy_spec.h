/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_POLICY_SPEC_H
#define PAWSD_TESTS_POLICY_SPEC_H

/*
 * Policies for tests, written as text without the configuration file's ceremony. One line per
 * destination, blank separated words, [default] first:
 *
 *   default off
 *   web rewrite 192.0.2.0/24,2001:db8::/32 ports=443,8000-8100 sources=10.0.0.0/8
 *   list strip @FILE                          prefixes from a file, one per line
 *   old off 198.51.100.0/24 disabled
 *
 * A mistake in it ends the program: it is the test's own.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy_build.h"

__attribute__((noreturn, unused)) static void spec_die(const char *what, const char *why)
{
	fprintf(stderr, "policy_spec: %s: %s\n", what, why);
	exit(2);
}

static void *spec_append(void *array, size_t count, size_t bytes)
{
	/* Grows at the powers of two. */
	if ((count & (count - 1)) == 0)
		array = reallocarray(array, count ? count * 2 : 1, bytes);
	if (!array)
		spec_die("memory", "short");
	return array;
}

static void spec_add_prefix(struct prefix **prefixes, size_t *count, const char *text)
{
	struct prefix prefix;
	const char *error = prefix_parse(text, &prefix);

	if (error)
		spec_die(text, error);
	*prefixes = spec_append(*prefixes, *count, sizeof(prefix));
	(*prefixes)[(*count)++] = prefix;
}

static void spec_read_file(struct destination *destination, const char *path)
{
	FILE *file = fopen(path, "r");
	char line[128];

	if (!file)
		spec_die(path, "cannot be opened");
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, " #\n")] = '\0';
		if (line[0])
			spec_add_prefix(&destination->prefixes, &destination->prefix_count, line);
	}
	fclose(file);
}

static void spec_add_port(struct destination *destination, const char *text)
{
	char *end;
	const unsigned long first = strtoul(text, &end, 10);
	const unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;

	if (*end || end == text || first > last || last > 65535)
		spec_die(text, "not a port or range of ports");
	destination->ports = spec_append(destination->ports, destination->port_count, sizeof(struct port_range));
	destination->ports[destination->port_count++] = (struct port_range){(uint16_t)first, (uint16_t)last};
}

static void spec_read_word(struct destination *destination, char *word)
{
	char *rest = strchr(word, '='), *save = NULL;
	char *item = strtok_r(rest ? rest + 1 : word, ",", &save);

	if (strcmp(word, "disabled") == 0) {
		destination->enabled = false;
		return;
	}
	for (; item; item = strtok_r(NULL, ",", &save)) {
		if (item[0] == '@')
			spec_read_file(destination, item + 1);
		else if (!rest)
			spec_add_prefix(&destination->prefixes, &destination->prefix_count, item);
		else if (strncmp(word, "ports=", 6) == 0)
			spec_add_port(destination, item);
		else if (strncmp(word, "sources=", 8) == 0)
			spec_add_prefix(&destination->sources, &destination->source_count, item);
		else
			spec_die(word, "not a known word");
	}
}

static struct destination spec_read_line(char *line, size_t number)
{
	static const char *const modes[] = {"off", "observe", "strip", "rewrite"};
	struct destination destination = {.enabled = true, .slot = (uint16_t)(number + 1)};
	char *save = NULL;
	const char *name = strtok_r(line, " \t", &save);
	const char *mode = strtok_r(NULL, " \t", &save);

	if (!name || !mode || (number == 0) != (strcmp(name, "default") == 0))
		spec_die(line, "NAME MODE expected, \"default\" first");
	snprintf(destination.name, sizeof(destination.name), "%s", name);
	while (destination.mode < 4 && strcmp(mode, modes[destination.mode]) != 0)
		destination.mode++;
	if (destination.mode == 4)
		spec_die(mode, "not a mode");
	for (char *word; (word = strtok_r(NULL, " \t", &save)) != NULL;)
		spec_read_word(&destination, word);
	return destination;
}

__attribute__((unused)) static struct policy *spec_policy(const char *text)
{
	struct destination *destinations = NULL;
	size_t count = 0;
	char *copy = strdup(text), *save = NULL;

	if (!copy)
		spec_die("memory", "short");
	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		destinations = spec_append(destinations, count, sizeof(*destinations));
		destinations[count] = spec_read_line(line, count);
		count++;
	}
	free(copy);
	struct policy *policy = policy_build(destinations, count);

	if (!policy)
		spec_die("memory", "short");
	return policy;
}

#endif
