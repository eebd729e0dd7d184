/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The input is a configuration file; what follows a line "%%" is the file `more` beside it, which
 * a prefixes_file may name. Every message must name the file; what is accepted must match as the
 * naive policy does, and its rules must be printable.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "fuzz.h"
#include "naive.h"

static const char separator[] = "\n%%\n";

static void check_lines(const struct config_report *report, const char *path)
{
	for (size_t i = 0; i < report->count; i++) {
		FUZZ_CHECK(report->lines[i] != NULL);
		if (strncmp(report->lines[i], path, strlen(path)) != 0)
			fuzz_fail("a message does not name the file: %s", report->lines[i]);
	}
}

static void check_config(const struct config *config, const struct slot_names *names)
{
	static const uint32_t least_s = 10;

	FUZZ_CHECK(config->policy && config->policy->destination_count >= 1);
	FUZZ_CHECK(config->rules.workers >= 1 && config->rules.workers <= 64);
	FUZZ_CHECK(config->rules.queue_first + 2 * config->rules.workers <= 65536);
	FUZZ_CHECK(config->flows_max / config->rules.workers >= 16);
	FUZZ_CHECK(config->rules.wan_count <= WAN_MAX);
	FUZZ_CHECK(config->control_socket[0] == '/' && config->runtime_dir[0] == '/' && config->state_dir[0] == '/');
	for (int i = FLOW_FREE + 1; i < FLOW_STATE_COUNT; i++)
		FUZZ_CHECK(config->timeout_s[i] >= least_s);
	FUZZ_CHECK(names->count >= 2 && names->count <= DESTINATION_SLOTS);
	for (size_t i = 0; i < config->policy->destination_count; i++) {
		const struct destination *destination = &config->policy->destinations[i];

		FUZZ_CHECK(destination->mode <= MODE_MAX && destination->repair <= REPAIR_MAX);
		FUZZ_CHECK(destination->slot >= SLOT_DEFAULT && destination->slot < names->count);
		FUZZ_CHECK(strcmp(names->name[destination->slot], destination->name) == 0);
	}
}

/* The rules' text of a small policy; a line's words are the rules' own, whatever the file said. */
static void print_rules(const struct config *config)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		fuzz_fail("out of memory");
	if (config->policy->ranges[FAMILY_IPV4].count + config->policy->ranges[FAMILY_IPV6].count < 200)
		rules_print(out, &config->rules, config->policy, NULL, 0);
	fclose(out);
	FUZZ_CHECK(memchr(text, '\0', len) == NULL);
	free(text);
}

static void load(const char *path, const uint8_t *data, size_t size)
{
	struct config_report errors, warnings;
	struct slot_names names, before;
	struct config *config;
	char changes[1024];

	slot_names_init(&names);
	before = names;
	config = config_load(path, &names, &errors, &warnings);
	FUZZ_CHECK((config == NULL) == (errors.count > 0));
	check_lines(&errors, path);
	check_lines(&warnings, path);
	config_report_free(&errors);
	config_report_free(&warnings);
	if (!config) {
		FUZZ_CHECK(memcmp(&names, &before, sizeof(names)) == 0);
		return;
	}
	check_config(config, &names);
	naive_check_policy(config->policy, data, size);
	print_rules(config);
	config_list_static_changes(config, config, changes, sizeof(changes));
	FUZZ_CHECK(changes[0] == '\0');
	config_free(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *second = memmem(data, size, separator, strlen(separator));
	size_t first_len = second ? (size_t)(second - data) + 1 : size;
	struct fuzz_input first = {data, first_len}, more = {data, 0};
	char path[96];

	if (second)
		more = (struct fuzz_input){second + strlen(separator), size - first_len - strlen(separator) + 1};
	fuzz_write_file(fuzz_path("more"), more);
	snprintf(path, sizeof(path), "%s", fuzz_path("conf"));
	fuzz_write_file(path, first);
	load(path, data, size);
	return 0;
}
