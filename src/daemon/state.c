/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "flow_table.h"
#include "log.h"

enum {
	FILE_MAGIC = 0x64777061, /* "apwd" */
	FILE_VERSION = FLOW_VERSION,
	/* When the time of day is set forward the clock follows by so much at each save, and no faster: the age of
	 * flows and marks is measured by it, and the 65 s of a mark must not be less than a server's 60. */
	FOLLOW_STEP_MS = STATE_SAVE_INTERVAL_MS / 20,
	/* Where it was set back the clock goes slower by so much: less than what clients' clocks are off by, for it must not
	 * make theirs look fast. */
	FOLLOW_BACK_SHARE = 1000,
	/* What the clock may be off from where the clock file says that it must be by now. */
	CLOCK_DOUBT_MS = 60000,
	/* Conntrack's labels that pawsd uses, two after the other: of the upper half of the 128 there are. */
	LABEL_FIRST = 64,
	LABEL_LAST = RULES_LABEL_MAX,
};

struct file_header {
	uint32_t magic, version;
	uint32_t kind, worker, workers, capacity;
	uint64_t bytes;
	uint64_t unused[4];
};

_Static_assert(sizeof(struct file_header) == STATE_FLOWS_AT, "flows begin on a cache line");

enum file_kind {
	KIND_SHARED = 1,
	KIND_FLOWS,
};

struct shared_file {
	struct file_header header;
	/* The clock as it runs, for the next process in this same boot of the machine. */
	int64_t clock_offset_ms;
	char boot_id[BOOT_ID_SIZE];
	uint8_t label, generation;
	uint32_t draining;
	uint64_t rules_digest;
	struct epoch epoch;
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
			file_set_aside(path, "of another version, size or number of workers, or damaged");
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

const char *state_boot_id_path = "/proc/sys/kernel/random/boot_id";

static void read_boot_id(char *ret_text)
{
	FILE *file = fopen(state_boot_id_path, "re");

	memset(ret_text, 0, BOOT_ID_SIZE);
	if (!file)
		return;
	if (fscanf(file, "%38s", ret_text) != 1)
		ret_text[0] = '\0';
	fclose(file);
}

/* Forgets a clock that no process can have left. */
static void drop_damaged_clock(const char *path, struct shared_file *shared)
{
	if (shared->clock.published < CLOCK_MS_MAX && shared->clock_offset_ms > -(int64_t)CLOCK_MS_MAX &&
	    shared->clock_offset_ms < (int64_t)CLOCK_MS_MAX)
		return;
	log_warning("%s: the clock in it is damaged; starting it afresh", path);
	shared->clock.published = 0;
	shared->clock_offset_ms = 0;
	memset(shared->boot_id, 0, sizeof(shared->boot_id));
}

/*
 * Where the clock of an earlier process in this boot must be by now, if the clock file knows: ahead of it by the time
 * since, and by what it may have followed the time of day without being able to say so. False where it does not.
 */
static bool expect_tick(const struct clock_reading *saved, const char *boot_id, uint64_t *ret_tick)
{
	uint64_t boottime = clock_ms(CLOCK_BOOTTIME), passed;

	if (!saved || !boot_id[0] || memcmp(saved->boot_id, boot_id, BOOT_ID_SIZE) != 0 || boottime < saved->boottime_ms)
		return false;
	passed = boottime - saved->boottime_ms;
	*ret_tick = saved->tick + passed + (saved->is_last ? 0 : FOLLOW_STEP_MS + passed / (STATE_SAVE_INTERVAL_MS / FOLLOW_STEP_MS));
	return true;
}

/*
 * Goes on with the clock of an earlier process in this boot, as if it had never stopped: the one in `shared`, or that of
 * the clock file where that has gone or cannot be right. False when there is none.
 */
static bool go_on_with_clock(struct state *state, const char *path, struct shared_file *shared,
			     const struct clock_reading *saved)
{
	uint64_t boottime = clock_ms(CLOCK_BOOTTIME), tick, expected, doubt;
	bool same = state->boot_id[0] && memcmp(state->boot_id, shared->boot_id, BOOT_ID_SIZE) == 0;
	bool is_expected = expect_tick(saved, state->boot_id, &expected);

	memcpy(shared->boot_id, state->boot_id, BOOT_ID_SIZE);
	if (!same && !is_expected)
		return false;
	tick = same ? (uint64_t)((int64_t)boottime + shared->clock_offset_ms) : 0;
	if (same && shared->clock.published > tick)
		tick = shared->clock.published;
	doubt = is_expected ? CLOCK_DOUBT_MS + (expected - saved->tick) / 10 : 0;
	if (is_expected && tick - expected + doubt > 2 * doubt) {
		if (same)
			log_warning("%s: the clock in it is damaged; going on with that of %s", path, state->clock_path);
		tick = expected;
		shared->clock.published = 0;
		shared->clock.high = 0;
	}
	state->clock_offset_ms = (int64_t)tick - (int64_t)boottime;
	return true;
}

/*
 * Where the clock begins otherwise: at the time of day, so that gateways with a common address agree; but
 * not behind what any process before has reached, even if the time of day has gone back. `saved`: what
 * the clock file says, or NULL.
 */
static void start_clock(struct state *state, const struct clock_reading *saved)
{
	uint64_t realtime = clock_ms(CLOCK_REALTIME), tick = realtime, reached;

	if (saved) {
		/* After a crash nobody knows how long it went on. */
		reached = saved->tick + (saved->is_last ? 0 : 2 * STATE_SAVE_INTERVAL_MS);
		if (realtime > saved->realtime_ms && saved->tick + (realtime - saved->realtime_ms) > reached)
			reached = saved->tick + (realtime - saved->realtime_ms);
		if (reached > tick)
			tick = reached;
	}
	if (state->clock->published > tick)
		tick = state->clock->published;
	if (tick > realtime + 1000)
		log_info("the shared clock is %" PRIu64 " ms ahead of the time of day, which it follows slowly",
			 tick - realtime);
	state->clock_offset_ms = (int64_t)tick - (int64_t)clock_ms(CLOCK_BOOTTIME);
}

static bool is_epoch_equal(const struct epoch *a, const struct epoch *b)
{
	return a->epoch_ms == b->epoch_ms && memcmp(a->secret, b->secret, sizeof(a->secret)) == 0;
}

/* Marks, that were made with `before`, are worth nothing under another epoch. */
static bool is_epoch_new(const struct config *config, const struct epoch *now, const struct epoch *before)
{
	if (is_epoch_equal(now, before))
		return false;
	log_warning("%s/epoch is another than before: TSvals jump, servers may refuse SYNs for a minute", config->state_dir);
	return true;
}

/* Makes `shared` ready: marks of this epoch, from before (`found`) or from the clock file's `marks`. */
static void take_marks(const struct config *config, const struct state *state, struct shared_file *shared, bool found,
		       const struct clock_reading *saved, const uint64_t *marks)
{
	uint64_t published = shared->clock.published;

	/* Where the clock file has the epoch it is the one that was in force, and what is in `shared` is damaged. */
	if (found && ((saved && is_epoch_equal(&state->epoch, &saved->epoch)) ||
		      !is_epoch_new(config, &state->epoch, &shared->epoch))) {
		shared->clock.secret = epoch_slot_secret(&state->epoch);
		shared->epoch = state->epoch;
		return;
	}
	memset(&shared->clock, 0, sizeof(shared->clock));
	shared->clock.published = published;
	shared->clock.secret = epoch_slot_secret(&state->epoch);
	shared->epoch = state->epoch;
	if (!found && saved && !is_epoch_new(config, &state->epoch, &saved->epoch))
		memcpy(shared->clock.server, marks, sizeof(shared->clock.server));
}

/* Clock, epoch and marks of earlier processes, out of state_dir and `shared`. */
static int open_clock(const struct config *config, struct state *state, const char *path, struct shared_file *shared,
		      bool found, char *ret_error, size_t error_size)
{
	char epoch_path[CONFIG_PATH_SIZE + 16];
	struct clock_reading reading = {0}, *saved = NULL;
	uint64_t *marks = calloc(CLOCK_SERVER_SLOTS, sizeof(*marks));

	if (!marks) {
		snprintf(ret_error, error_size, "out of memory");
		return -1;
	}
	snprintf(epoch_path, sizeof(epoch_path), "%s/epoch", config->state_dir);
	state_clock_path(config, state->clock_path, sizeof(state->clock_path));
	if (clock_file_read(state->clock_path, &reading, marks))
		saved = &reading;
	if (epoch_load(epoch_path, saved ? &saved->epoch : found ? &shared->epoch : NULL, &state->epoch, ret_error,
		       error_size) < 0) {
		free(marks);
		return -1;
	}
	read_boot_id(state->boot_id);
	state->clock = &shared->clock;
	take_marks(config, state, shared, found, saved, marks);
	free(marks);
	state->shared_offset_ms = &shared->clock_offset_ms;
	if (!go_on_with_clock(state, path, shared, saved))
		start_clock(state, saved);
	*state->shared_offset_ms = state->clock_offset_ms;
	state->saved_boottime_ms = clock_ms(CLOCK_BOOTTIME);
	return 0;
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
	shared = map_file(path, &header, &found, ret_error, error_size);
	if (!shared)
		return -1;
	shared->header = header;
	drop_damaged_clock(path, shared);
	ret->names = &shared->names;
	ret->label = &shared->label;
	ret->generation = &shared->generation;
	ret->rules_digest = &shared->rules_digest;
	ret->draining = &shared->draining;
	slot_names_init(&ret->old_names);
	if (found && ret->names->count > SLOT_DEFAULT && ret->names->count <= DESTINATION_SLOTS)
		ret->old_names = *ret->names;
	for (uint32_t i = 0; i < DESTINATION_SLOTS; i++)
		ret->old_names.name[i][DESTINATION_NAME_MAX] = '\0';
	return open_clock(config, ret, path, shared, found, ret_error, error_size);
}

int state_map_flows(const struct config *config, uint32_t worker, uint32_t capacity, struct state_flows *ret,
		    char *ret_error, size_t error_size)
{
	struct file_header header = {.magic = FILE_MAGIC, .version = FILE_VERSION, .kind = KIND_FLOWS, .worker = worker,
				     .workers = config->rules.workers, .capacity = capacity,
				     .bytes = sizeof(header) + flow_table_kept_bytes(capacity)};
	char path[CONFIG_PATH_SIZE + 32];
	uint8_t *memory;

	snprintf(path, sizeof(path), "%s/flows.%u", config->runtime_dir, worker);
	memory = map_file(path, &header, &ret->adopted, ret_error, error_size);
	if (!memory)
		return -1;
	memcpy(memory, &header, sizeof(header));
	ret->kept = memory + sizeof(header);
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

uint8_t state_next_labels(struct state *state)
{
	bool is_ours = *state->label >= LABEL_FIRST && *state->label < LABEL_LAST;

	*state->label = is_ours ? (uint8_t)((*state->label & ~1) + 2) : LABEL_FIRST;
	return *state->label;
}

void state_close(struct state *state)
{
	/* The mappings end with the process. */
	if (state->runtime_lock >= 0)
		close(state->runtime_lock);
	if (state->state_lock >= 0)
		close(state->state_lock);
}

/* Programs may be raising them. */
static void copy_marks(struct clock_shared *to, const struct clock_shared *from)
{
	to->published = atomic_load(&from->published);
	to->high = atomic_load(&from->high);
	to->secret = from->secret;
	for (uint32_t slot = 0; slot < CLOCK_SERVER_SLOTS; slot++) {
		to->server[slot] = atomic_load(&from->server[slot]);
		to->stamped_s[slot] = atomic_load(&from->stamped_s[slot]);
	}
}

bool state_take_clock(struct state *state, const struct clock_shared *from)
{
	const uint64_t published = state->clock->published;

	/* Marks that were made with another epoch are worth nothing. */
	if (from->secret != state->clock->secret || atomic_load(&from->published) >= CLOCK_MS_MAX)
		return false;
	copy_marks(state->clock, from);
	if (state->clock->published < published)
		state->clock->published = published;
	return true;
}

void state_move_clock(struct state *state, struct clock_shared *to, bool is_old)
{
	struct clock moved = {.shared = to};

	/* Nothing else is to be written over what programs raise meanwhile. */
	if (is_old && state_take_clock(state, to))
		clock_publish(&moved, state->clock->published);
	else
		*to = *state->clock;
	state->clock = to;
}

/* Follows the time of day: the other gateway does too. */
static void follow_realtime(struct state *state, uint64_t realtime)
{
	uint64_t tick = state_now(state), boottime = clock_ms(CLOCK_BOOTTIME);
	int64_t step = (int64_t)(realtime - tick), slowest = -(int64_t)((boottime - state->saved_boottime_ms) / FOLLOW_BACK_SHARE);

	if (step > FOLLOW_STEP_MS)
		step = FOLLOW_STEP_MS;
	if (step < slowest)
		step = slowest;
	state->saved_boottime_ms = boottime;
	__atomic_add_fetch(&state->clock_offset_ms, step, __ATOMIC_RELAXED);
	*state->shared_offset_ms = state->clock_offset_ms;
}

void state_clock_path(const struct config *config, char *ret_path, size_t size)
{
	snprintf(ret_path, size, "%s/clock", config->state_dir);
}

int state_save_clock(struct state *state, const struct clock *clock, bool is_last, state_store_fn store, void *context,
		     char *ret_error, size_t error_size)
{
	struct clock_reading reading = {.realtime_ms = clock_ms(CLOCK_REALTIME), .boottime_ms = clock_ms(CLOCK_BOOTTIME),
					.is_last = is_last, .epoch = state->epoch};
	size_t len = 0;
	uint64_t now;
	char *text;
	int result = -1;

	memcpy(reading.boot_id, state->boot_id, sizeof(reading.boot_id));
	follow_realtime(state, reading.realtime_ms);
	now = state_now(state);
	reading.tick = now + clock_lead_ms(clock, now);
	text = clock_file_text(&reading, clock, now, &len);
	errno = ENOMEM;
	if (text)
		result = store(context, text, len);
	if (result < 0)
		snprintf(ret_error, error_size, "%s: cannot be written: %s", state->clock_path, strerror(errno));
	free(text);
	return result;
}
