/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_STATE_WORLD_H
#define PAWSD_TESTS_STATE_WORLD_H

/* Directories and processes for the tests of what outlives a process. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "flow_table.h"
#include "state.h"

enum {
	CAPACITY = 1024,
};

static char directory[] = "/tmp/pawsd-test-state-XXXXXX";
static struct config config;
static char error[1024];

static inline struct state open_state(void)
{
	struct state state = {.runtime_lock = -1, .state_lock = -1};

	if (state_open(&config, &state, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	return state;
}

/* As the daemon saves its clock; the worker's view of it. */
static inline struct clock clock_of(const struct state *state)
{
	return (struct clock){.shared = state->clock, .max_lead_ms = 1000, .base = epoch_tsval_base(&state->epoch)};
}

static inline int store_clock(void *context, const char *text, size_t len)
{
	const struct state *state = context;

	return clock_file_store(state->clock_path, text, len);
}

static inline void save_clock(struct state *state, bool is_last)
{
	struct clock clock = clock_of(state);

	assert_int_equal(state_save_clock(state, &clock, is_last, store_clock, state, error, sizeof(error)), 0);
}

static inline void write_file(const char *name, const char *text)
{
	char path[160];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* All that a reboot takes away. */
static inline void reboot(struct state *state)
{
	static char boot_id[sizeof(directory) + 16];
	static int boots;
	char command[256], text[40];

	state_close(state);
	snprintf(command, sizeof(command), "rm -rf %s", config.runtime_dir);
	assert_int_equal(system(command), 0);
	snprintf(text, sizeof(text), "boot-%d\n", ++boots);
	write_file("boot_id", text);
	snprintf(boot_id, sizeof(boot_id), "%s/boot_id", directory);
	state_boot_id_path = boot_id;
	*state = open_state();
}

static inline bool is_there(const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return access(path, F_OK) == 0;
}

static inline uint64_t realtime_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline int set_up(void **state)
{
	char run[sizeof(directory) + 8], var[sizeof(directory) + 8];

	(void)state;
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(run, sizeof(run), "%s/run", directory);
	snprintf(var, sizeof(var), "%s/var", directory);
	memset(&config, 0, sizeof(config));
	state_boot_id_path = "/proc/sys/kernel/random/boot_id";
	strcpy(config.runtime_dir, run);
	strcpy(config.state_dir, var);
	config.rules.workers = 1;
	return 0;
}

static inline int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

static inline size_t read_file(const char *name, char *ret_text, size_t size)
{
	char path[160];
	FILE *file;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "r");
	assert_non_null(file);
	len = fread(ret_text, 1, size - 1, file);
	ret_text[len] = '\0';
	fclose(file);
	return len;
}

#endif
