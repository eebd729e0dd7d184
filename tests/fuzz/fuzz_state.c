/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a process finds when it starts: the files that an earlier one has left, damaged in any
 * way. The input says, file by file, what has become of it: nothing, other bytes, some bytes
 * overwritten, cut off or made longer, gone. Then state and table are opened as pawsd does it, and
 * traffic (traffic.h) goes over what was found.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz_engine.h"
#include "log.h"
#include "policy_build.h"
#include "state.h"
#include "traffic.h"

enum {
	CAPACITY = 12,
	FILES_MAX = 8,
	EVENTS_MAX = 200,
	LEAD_MS = 1000,
};

/* A file as a process leaves it that has come to no harm. */
struct left_file {
	char path[160];
	uint8_t *bytes;
	size_t len;
};

enum harm {
	HARM_NONE,
	HARM_OVERWRITE, /* how many, then: offset (4), length (1), bytes */
	HARM_REPLACE,	/* length (2), bytes */
	HARM_RESIZE,	/* length (4) */
	HARM_REMOVE,
	HARM_COUNT,
};

static const uint16_t ports[4] = {443, 80, 81, 82};
static struct config config;
static struct policy *policy;
static struct left_file files[FILES_MAX];
static size_t file_count;
static char error[1024];

static void make_policy(void)
{
	struct destination *all = calloc(1, sizeof(*all));

	if (!all)
		fuzz_fail("out of memory");
	*all = (struct destination){.name = "default", .slot = SLOT_DEFAULT, .enabled = true, .mode = MODE_REWRITE,
				    .repair = REPAIR_ECHO};
	policy = policy_build(all, 1);
	if (!policy)
		fuzz_fail("out of memory");
}

static int store(void *context, const char *text, size_t len)
{
	const struct state *state = context;

	return clock_file_store(state->clock_path, text, len);
}

static void run_traffic(struct fuzz_engine *engine, const struct state *state, struct fuzz_input input)
{
	struct fuzz_traffic traffic;
	struct fuzz_packet packet;
	enum fuzz_event event;

	fuzz_traffic_begin(&traffic, state_now(state), UINT64_MAX, ports);
	for (int i = 0; i < EVENTS_MAX && (event = fuzz_traffic_next(&traffic, &input, &packet)) != FUZZ_END; i++) {
		if (event == FUZZ_OTHER)
			engine_sweep(&engine->engine, CAPACITY, traffic.tick);
		if (!fuzz_event_has_packet(event))
			continue;
		fuzz_engine_handle(engine, &packet.input, traffic.tick);
		fuzz_traffic_done(&packet);
	}
	fuzz_engine_check(engine);
}

/* As daemon_start() and worker_open() do it. False when state_open() refused. */
static bool run(struct fuzz_input traffic)
{
	struct state state = {.runtime_lock = -1, .state_lock = -1};
	struct state_flows parts;
	struct fuzz_engine engine;
	struct fuzz_input kept;
	bool good = state_open(&config, &state, error, sizeof(error)) == 0;

	if (good) {
		FUZZ_CHECK(state.old_names.count >= 2 && state.old_names.count <= DESTINATION_SLOTS);
		for (int i = 0; i < DESTINATION_SLOTS; i++)
			FUZZ_CHECK(memchr(state.old_names.name[i], '\0', sizeof(state.old_names.name[i])));
		if (state_map_flows(&config, 0, CAPACITY, &parts, error, sizeof(error)) < 0)
			fuzz_fail("%s", error);
		/* A copy of exactly its size: behind a mapping there may be the rest of a page. */
		kept = (struct fuzz_input){parts.kept, flow_table_kept_bytes(CAPACITY)};
		parts.kept = fuzz_copy(kept);
		fuzz_engine_open_over(&engine, CAPACITY, LEAD_MS, parts.kept, state.clock, policy);
		fuzz_engine_check(&engine);
		run_traffic(&engine, &state, traffic);
		if (state_save_clock(&state, &engine.engine.clock, false, store, &state, error, sizeof(error)) < 0)
			fuzz_fail("%s", error);
		/* A mapping is written to in place; so that leave_files() leaves what the engine has made. */
		memcpy((uint8_t *)(uintptr_t)kept.data, parts.kept, kept.len);
		free(parts.kept);
		fuzz_engine_close(&engine);
	}
	state_close(&state);
	fuzz_unmap_files();
	return good;
}

static void remember_file(const char *directory, const char *name)
{
	struct left_file *file = &files[file_count];
	struct stat status;
	FILE *in;

	snprintf(file->path, sizeof(file->path), "%s/%s", directory, name);
	if (stat(file->path, &status) < 0 || !S_ISREG(status.st_mode) || file_count == FILES_MAX)
		return;
	for (size_t i = 0; i < file_count; i++) {
		if (strcmp(files[i].path, file->path) == 0)
			return;
	}
	file->len = (size_t)status.st_size;
	file->bytes = malloc(file->len + 1);
	in = fopen(file->path, "re");
	if (!in || !file->bytes || fread(file->bytes, 1, file->len, in) != file->len)
		fuzz_fail("%s: cannot be read", file->path);
	fclose(in);
	file_count++;
}

/* Those that this version is known to leave, in this order; then any other. */
static void remember_files(void)
{
	const char *directories[2] = {config.runtime_dir, config.state_dir};

	remember_file(config.runtime_dir, "shared");
	remember_file(config.runtime_dir, "flows.0");
	remember_file(config.state_dir, "clock");
	for (int i = 0; i < 2; i++) {
		struct dirent **entries;
		int count = scandir(directories[i], &entries, NULL, alphasort);

		for (int j = 0; j < count; j++) {
			if (strcmp(entries[j]->d_name, "lock") != 0)
				remember_file(directories[i], entries[j]->d_name);
			free(entries[j]);
		}
		if (count >= 0)
			free(entries);
	}
}

/* A process that comes to no harm: some flows, one with several SYNs, one that is closed. */
static void leave_files(void)
{
	static const uint8_t traffic[] = {
		FUZZ_SYN, 0, FUZZ_SYNACK, 0, FUZZ_DATA, 0, FUZZ_SYN, 1, FUZZ_TIME | 3 << 3, 200, FUZZ_SYN, 1, FUZZ_SYN,
		17, FUZZ_SYNACK, 17, FUZZ_DATA | 8 << 3, 0, FUZZ_DATA | 17 << 3, 0, FUZZ_SYN, 35,
	};
	struct fuzz_input input = {traffic, sizeof(traffic)};

	log_set_level(LOG_LEVEL_ERROR);
	snprintf(config.runtime_dir, sizeof(config.runtime_dir), "%s", fuzz_path("run"));
	snprintf(config.state_dir, sizeof(config.state_dir), "%s", fuzz_path("var"));
	config.rules.workers = 1;
	make_policy();
	if (!run(input))
		fuzz_fail("%s", error);
	remember_files();
	FUZZ_CHECK(file_count >= 3);
}

static void harm_file(const struct left_file *file, struct fuzz_input *input)
{
	struct fuzz_input whole = {file->bytes, file->len}, piece;
	uint8_t what = fuzz_take8(input), count;
	uint8_t *copy = fuzz_copy(whole);

	switch ((enum harm)(what % HARM_COUNT)) {
	case HARM_OVERWRITE:
		for (count = fuzz_take8(input) % 16; count; count--) {
			size_t offset = fuzz_take32(input) % (file->len + 1);

			piece = fuzz_take(input, fuzz_take8(input));
			if (offset + piece.len <= file->len && piece.len)
				memcpy(copy + offset, piece.data, piece.len);
		}
		fuzz_write_file(file->path, (struct fuzz_input){copy, file->len});
		break;
	case HARM_REPLACE:
		fuzz_write_file(file->path, fuzz_take(input, fuzz_take16(input)));
		break;
	case HARM_RESIZE:
		fuzz_write_file(file->path, whole);
		if (truncate(file->path, (off_t)(fuzz_take32(input) % (file->len + 100))) < 0)
			fuzz_fail("%s: cannot be resized", file->path);
		break;
	case HARM_REMOVE:
		unlink(file->path);
		break;
	case HARM_NONE:
	case HARM_COUNT:
		fuzz_write_file(file->path, whole);
		break;
	}
	free(copy);
}

/* What an earlier input has made besides. */
static void remove_asides(void)
{
	char path[sizeof(files[0].path) + 8];

	for (size_t i = 0; i < file_count; i++) {
		strcpy(path, files[i].path);
		strcat(path, ".aside");
		unlink(path);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	int free_fd;

	if (!policy)
		leave_files();
	free_fd = fuzz_free_fd();
	for (size_t i = 0; i < file_count; i++)
		harm_file(&files[i], &input);
	run(input);
	remove_asides();
	FUZZ_CHECK(fuzz_free_fd() == free_fd);
	return 0;
}
