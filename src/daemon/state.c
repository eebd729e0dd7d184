/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "flow_table.h"
#include "log.h"

enum {
	FILE_MAGIC = 0x64777061, /* "apwd" */
	FILE_VERSION = 1,
	/* When the time of day is set forward the clock follows by so much at each save, and no faster:
	 * the age of flows and marks is measured by it. */
	FOLLOW_STEP_MS = 1000,
	BOOT_ID_SIZE = 40,
};

/* A tick beyond this, 140 000 years, was never reached: what says so is damaged. */
#define TICK_MAX ((int64_t)1 << 52)

struct file_header {
	uint32_t magic, version;
	uint32_t kind, worker, workers, capacity;
	uint64_t bytes;
	uint64_t unused[4];
};

_Static_assert(sizeof(struct file_header) == 64, "flows begin on a cache line");

enum file_kind {
	KIND_SHARED = 1,
	KIND_FLOWS,
};

struct shared_file {
	struct file_header header;
	/* The clock as it runs, for the next process in this same boot of the machine. */
	int64_t clock_offset_ms;
	char boot_id[BOOT_ID_SIZE];
	struct clock_shared clock;
	struct slot_names names;
};

static uint64_t clock_ms(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t state_now(const struct state *state)
{
	int64_t offset_ms = __atomic_load_n(&state->clock_offset_ms, __ATOMIC_RELAXED);

	return (uint64_t)((int64_t)clock_ms(CLOCK_BOOTTIME) + offset_ms);
}

/* Makes the directory if need be and locks it. Returns the lock's descriptor, or -1. */
static int lock_directory(const char *directory, const char *option, char *ret_error, size_t error_size)
{
	char path[CONFIG_PATH_SIZE + 16], owner[32] = "";
	ssize_t len;
	int fd;

	if (mkdir(directory, 0755) < 0 && errno != EEXIST) {
		snprintf(ret_error, error_size, "[daemon] %s = %s: cannot be made: %s", option, directory,
			 strerror(errno));
		return -1;
	}
	snprintf(path, sizeof(path), "%s/lock", directory);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0) {
		snprintf(ret_error, error_size, "[daemon] %s = %s: cannot open %s: %s", option, directory, path,
			 strerror(errno));
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		len = read(fd, owner, sizeof(owner) - 1);
		owner[len > 0 ? len : 0] = '\0';
		owner[strcspn(owner, "\n")] = '\0';
		snprintf(ret_error, error_size,
			 "[daemon] %s = %s: in use by another pawsd (process %s); allowed: a directory of its own", option,
			 directory, owner[0] ? owner : "unknown");
		close(fd);
		return -1;
	}
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", getpid()) < 0)
		log_warning("%s: %s", path, strerror(errno));
	return fd;
}

static bool is_same_directory(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Moves a file that cannot be used out of the way, where it can be looked at. */
static void set_aside(const char *path, const char *why)
{
	char aside[CONFIG_PATH_SIZE + 48];

	snprintf(aside, sizeof(aside), "%s.aside", path);
	if (rename(path, aside) < 0)
		log_warning("%s: %s; and cannot be set aside: %s", path, why, strerror(errno));
	else
		log_warning("%s: %s; set aside as %s, starting afresh", path, why, aside);
}

static bool is_header_equal(const struct file_header *a, const struct file_header *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/*
 * Maps the file at `path`, of the size and kind that `header` says. *ret_found: it was there and
 * fits. All its memory is claimed now. NULL with a line in ret_error.
 */
static void *map_file(const char *path, const struct file_header *header, bool *ret_found, char *ret_error,
		      size_t error_size)
{
	struct file_header found;
	struct stat status;
	void *memory;
	int fd = open(path, O_RDWR | O_CLOEXEC), error = 0;

	*ret_found = false;
	if (fd >= 0) {
		if (fstat(fd, &status) == 0 && (uint64_t)status.st_size == header->bytes &&
		    read(fd, &found, sizeof(found)) == sizeof(found) && is_header_equal(&found, header)) {
			*ret_found = true;
		} else {
			close(fd);
			set_aside(path, "of another version, size or number of workers, or damaged");
			fd = -1;
		}
	}
	if (fd < 0)
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0)
		error = errno;
	else
		error = posix_fallocate(fd, 0, (off_t)header->bytes);
	if (error) {
		snprintf(ret_error, error_size, "%s: cannot claim %" PRIu64 " bytes: %s", path, header->bytes,
			 strerror(error));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	memory = mmap(NULL, header->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	close(fd);
	if (memory == MAP_FAILED) {
		snprintf(ret_error, error_size, "%s: cannot be mapped: %s", path, strerror(errno));
		return NULL;
	}
	return memory;
}

/* What state_dir's clock file says: a tick reached at a time of day. Zeros when there is none. */
static void read_clock(const char *path, uint64_t *ret_tick, uint64_t *ret_realtime)
{
	FILE *file = fopen(path, "re");
	unsigned int sum = 0;
	int fields;

	*ret_tick = *ret_realtime = 0;
	if (!file)
		return;
	fields = fscanf(file, "pawsd-clock 1 %" SCNu64 " %" SCNu64 " %u", ret_tick, ret_realtime, &sum);
	fclose(file);
	if (fields == 3 && sum == (uint32_t)(*ret_tick ^ *ret_realtime) && *ret_tick < TICK_MAX &&
	    *ret_realtime < TICK_MAX)
		return;
	*ret_tick = *ret_realtime = 0;
	set_aside(path, "damaged");
}

static void read_boot_id(char *ret_text)
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	memset(ret_text, 0, BOOT_ID_SIZE);
	if (!file)
		return;
	if (fscanf(file, "%39s", ret_text) != 1)
		ret_text[0] = '\0';
	fclose(file);
}

/* Forgets a clock that no process can have left. */
static void drop_damaged_clock(const char *path, struct shared_file *shared)
{
	if (shared->clock.published < TICK_MAX && shared->clock_offset_ms > -TICK_MAX &&
	    shared->clock_offset_ms < TICK_MAX)
		return;
	log_warning("%s: the clock in it is damaged; starting it afresh", path);
	shared->clock.published = 0;
	shared->clock_offset_ms = 0;
	memset(shared->boot_id, 0, sizeof(shared->boot_id));
}

/*
 * Goes on with the clock of an earlier process in this boot, as if it had never stopped. False
 * when there is none.
 */
static bool go_on_with_clock(struct state *state, struct shared_file *shared)
{
	char boot_id[BOOT_ID_SIZE];
	int64_t reached;
	bool same;

	read_boot_id(boot_id);
	same = boot_id[0] && memcmp(boot_id, shared->boot_id, sizeof(boot_id)) == 0;
	memcpy(shared->boot_id, boot_id, sizeof(boot_id));
	if (!same)
		return false;
	state->clock_offset_ms = shared->clock_offset_ms;
	reached = (int64_t)state->clock->published - (int64_t)clock_ms(CLOCK_BOOTTIME);
	if (reached > state->clock_offset_ms)
		state->clock_offset_ms = reached;
	return true;
}

/*
 * Where the clock begins otherwise: at the time of day, so that gateways with a common address agree; but
 * not behind what any process before has reached, even if the time of day has gone back.
 */
static void start_clock(struct state *state)
{
	uint64_t realtime = clock_ms(CLOCK_REALTIME), saved_tick, saved_realtime, tick = realtime;

	read_clock(state->clock_path, &saved_tick, &saved_realtime);
	if (saved_tick && realtime > saved_realtime)
		saved_tick += realtime - saved_realtime;
	if (saved_tick > tick)
		tick = saved_tick;
	if (state->clock->published > tick)
		tick = state->clock->published;
	if (tick > realtime + 1000)
		log_info("the shared clock is %" PRIu64 " ms ahead of the time of day, which must have gone back",
			 tick - realtime);
	state->clock_offset_ms = (int64_t)tick - (int64_t)clock_ms(CLOCK_BOOTTIME);
}

int state_open(const struct config *config, struct state *ret, char *ret_error, size_t error_size)
{
	const struct file_header header = {.magic = FILE_MAGIC, .version = FILE_VERSION, .kind = KIND_SHARED,
					   .bytes = sizeof(struct shared_file)};
	char path[CONFIG_PATH_SIZE + 16];
	struct shared_file *shared;
	bool found;

	ret->runtime_lock = lock_directory(config->runtime_dir, "runtime_dir", ret_error, error_size);
	if (ret->runtime_lock < 0)
		return -1;
	if (!is_same_directory(config->runtime_dir, config->state_dir)) {
		ret->state_lock = lock_directory(config->state_dir, "state_dir", ret_error, error_size);
		if (ret->state_lock < 0)
			return -1;
	}
	snprintf(path, sizeof(path), "%s/shared", config->runtime_dir);
	snprintf(ret->clock_path, sizeof(ret->clock_path), "%s/clock", config->state_dir);
	shared = map_file(path, &header, &found, ret_error, error_size);
	if (!shared)
		return -1;
	shared->header = header;
	drop_damaged_clock(path, shared);
	if (!found && getrandom(&shared->clock.secret, sizeof(shared->clock.secret), 0) < 0) {
		snprintf(ret_error, error_size, "getrandom: %s", strerror(errno));
		return -1;
	}
	ret->clock = &shared->clock;
	ret->names = &shared->names;
	slot_names_init(&ret->old_names);
	if (found && ret->names->count > SLOT_DEFAULT && ret->names->count <= DESTINATION_SLOTS)
		ret->old_names = *ret->names;
	for (uint32_t i = 0; i < DESTINATION_SLOTS; i++)
		ret->old_names.name[i][DESTINATION_NAME_MAX] = '\0';
	ret->shared_offset_ms = &shared->clock_offset_ms;
	if (!go_on_with_clock(ret, shared))
		start_clock(ret);
	*ret->shared_offset_ms = ret->clock_offset_ms;
	return 0;
}

int state_map_flows(const struct config *config, uint32_t worker, uint32_t capacity, struct state_flows *ret,
		    char *ret_error, size_t error_size)
{
	size_t flows_bytes = (size_t)capacity * sizeof(struct flow);
	size_t pairs_bytes = (size_t)flow_table_pair_capacity(capacity) * sizeof(struct syn_pairs);
	struct file_header header = {.magic = FILE_MAGIC, .version = FILE_VERSION, .kind = KIND_FLOWS, .worker = worker,
				     .workers = config->rules.workers, .capacity = capacity,
				     .bytes = sizeof(header) + flows_bytes + pairs_bytes};
	char path[CONFIG_PATH_SIZE + 32];
	uint8_t *memory;

	snprintf(path, sizeof(path), "%s/flows.%u", config->runtime_dir, worker);
	memory = map_file(path, &header, &ret->adopted, ret_error, error_size);
	if (!memory)
		return -1;
	memcpy(memory, &header, sizeof(header));
	ret->flows = (struct flow *)(void *)(memory + sizeof(header));
	ret->pairs = (struct syn_pairs *)(void *)(memory + sizeof(header) + flows_bytes);
	return 0;
}

void state_forget_flows(const struct config *config)
{
	char path[CONFIG_PATH_SIZE + 32];

	for (uint32_t i = 0; i < config->rules.workers; i++) {
		snprintf(path, sizeof(path), "%s/flows.%u", config->runtime_dir, i);
		unlink(path);
	}
}

void state_close(struct state *state)
{
	/* The mappings end with the process. */
	if (state->runtime_lock >= 0)
		close(state->runtime_lock);
	if (state->state_lock >= 0)
		close(state->state_lock);
}

int state_save_clock(struct state *state, uint32_t lead_ms, char *ret_error, size_t error_size)
{
	uint64_t realtime = clock_ms(CLOCK_REALTIME), tick = state_now(state);
	char next[CONFIG_PATH_SIZE + 32];
	bool good;
	int fd;

	/* The time of day was set forward: follow it, for the other gateway does too. */
	if (realtime > tick) {
		uint64_t step = realtime - tick < FOLLOW_STEP_MS ? realtime - tick : FOLLOW_STEP_MS;

		__atomic_add_fetch(&state->clock_offset_ms, (int64_t)step, __ATOMIC_RELAXED);
		*state->shared_offset_ms = state->clock_offset_ms;
		tick += step;
	}
	tick += lead_ms;
	snprintf(next, sizeof(next), "%s.new", state->clock_path);
	fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	good = fd >= 0 && dprintf(fd, "pawsd-clock 1 %" PRIu64 " %" PRIu64 " %u\n", tick, realtime,
				  (uint32_t)(tick ^ realtime)) > 0;
	good = good && fdatasync(fd) == 0 && rename(next, state->clock_path) == 0;
	if (!good)
		snprintf(ret_error, error_size, "%s: cannot be written: %s", state->clock_path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return good ? 0 : -1;
}
