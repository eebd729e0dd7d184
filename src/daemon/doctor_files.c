/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories and files: what pawsd will find, and whether it can make what it does not. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "clock_file.h"
#include "doctor_internal.h"
#include "state.h"

enum {
	PATH_SIZE = CONFIG_PATH_SIZE + 32,
	SHARED_BYTES = 1 << 20,	     /* of "shared", and to spare */
	CLOCK_FILES_BYTES = 8 << 20, /* of a clock file with a mark in every slot, twice */
	AHEAD_MS = 60000,
};

static void parent_of(const char *path, char ret_parent[PATH_SIZE])
{
	char copy[PATH_SIZE];

	snprintf(copy, sizeof(copy), "%s", path);
	snprintf(ret_parent, PATH_SIZE, "%s", dirname(copy));
}

/* By the rights that this process has. 0 or an errno. */
static int may_write(const char *directory)
{
	struct stat status;

	if (stat(directory, &status) < 0)
		return errno;
	if (!S_ISDIR(status.st_mode))
		return ENOTDIR;
	return faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) < 0 ? errno : 0;
}

/* ---- the two directories ---- */

struct directory {
	const char *option, *path;
	uint64_t need_bytes; /* that are not there yet */
};

static void look_at_space(struct doctor *doctor, const struct directory *directory, const char *where)
{
	char need[DOCTOR_SIZE_TEXT], available[DOCTOR_SIZE_TEXT];
	const bool is_there = strcmp(where, directory->path) == 0;
	struct statvfs space;
	uint64_t bytes;

	if (statvfs(where, &space) < 0)
		return;
	bytes = (uint64_t)space.f_bavail * space.f_frsize;
	doctor_size(bytes, available);
	doctor_size(directory->need_bytes, need);
	if (bytes < directory->need_bytes)
		doctor_say(doctor, DOCTOR_FAIL, "pawsd.conf(5), DAEMON", "[daemon] %s = %s: %s are needed, %s are free; %s",
			   directory->option, directory->path, need, available,
			   strcmp(directory->option, "runtime_dir") == 0 ? "lower [flows] max, or mount -o remount,size=... "
									   "what it lies on"
									 : "make room");
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "%s: %s, %s needed, %s free", directory->path,
			   is_there ? "writable" : "will be made", need, available);
}

static void look_at_directory(struct doctor *doctor, const struct directory *directory)
{
	char parent[PATH_SIZE];
	int error = may_write(directory->path);

	if (error == ENOENT) {
		parent_of(directory->path, parent);
		error = may_write(parent);
		if (error == 0)
			look_at_space(doctor, directory, parent);
		else
			doctor_say(doctor, doctor_level_if_root(doctor), "pawsd(8), FILES",
				   "[daemon] %s = %s: is not there and cannot be made, for %s: %s; mkdir -p %s",
				   directory->option, directory->path, parent, strerror(error), directory->path);
	} else if (error) {
		doctor_say(doctor, doctor_level_if_root(doctor), "pawsd(8), FILES",
			   "[daemon] %s = %s: cannot be written: %s; %s", directory->option, directory->path, strerror(error),
			   doctor->is_root ? "name another, or mount it writable"
					   : "look as root, or as the user that pawsd runs as");
	} else {
		look_at_space(doctor, directory, directory->path);
	}
}

/* What files of an earlier process have already. */
static uint64_t flow_file_bytes(const struct config *config)
{
	char path[PATH_SIZE];
	struct stat status;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < config->rules.workers; i++) {
		snprintf(path, sizeof(path), "%s/flows.%u", config->runtime_dir, i);
		if (stat(path, &status) == 0)
			bytes += (uint64_t)status.st_blocks * 512;
	}
	return bytes;
}

void doctor_look_at_runtime_dir(struct doctor *doctor)
{
	const struct config *config = doctor->config;
	const uint64_t need = doctor_flow_need(config).file_bytes + SHARED_BYTES, there = flow_file_bytes(config);
	const struct directory directory = {"runtime_dir", config->runtime_dir, need > there ? need - there : 0};
	struct statfs status;

	look_at_directory(doctor, &directory);
	if (statfs(config->runtime_dir, &status) == 0 && status.f_type != TMPFS_MAGIC && status.f_type != RAMFS_MAGIC)
		doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), Flows",
			   "%s lies on no tmpfs: the kernel writes the flow table to a disk, and it outlives a reboot, which "
			   "it should not; take a directory below /run",
			   config->runtime_dir);
	if (doctor->running)
		doctor_say(doctor, DOCTOR_OK, NULL, "%s: pawsd runs, as process %u", config->runtime_dir, doctor->running);
}

void doctor_look_at_state_dir(struct doctor *doctor)
{
	const struct config *config = doctor->config;
	const struct directory directory = {"state_dir", config->state_dir, CLOCK_FILES_BYTES};
	const unsigned int holder = doctor_find_holder(doctor, config->state_dir);

	look_at_directory(doctor, &directory);
	if (holder && holder != doctor->running)
		doctor_say(doctor, DOCTOR_FAIL, "pawsd(8), FILES",
			   "[daemon] state_dir = %s: held by process %u, another pawsd than that of runtime_dir; each needs "
			   "directories of its own",
			   config->state_dir, holder);
}

/* ---- the clock ---- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A file that is there and not readable is none to the look: only root can tell. */
static bool is_hidden(struct doctor *doctor, const char *path)
{
	if (access(path, R_OK) == 0 || errno != EACCES)
		return false;
	doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), DOCTOR", "%s: not looked at, it cannot be read; run pawsd --doctor as root",
		   path);
	return true;
}

static void look_at_epoch(struct doctor *doctor)
{
	char path[PATH_SIZE];
	struct epoch epoch;

	snprintf(path, sizeof(path), "%s/epoch", doctor->config->state_dir);
	if (is_hidden(doctor, path))
		return;
	switch (epoch_look(path, &epoch)) {
	case FILE_GOOD:
		doctor_say(doctor, DOCTOR_OK, NULL, "%s is good", path);
		break;
	case FILE_NONE:
		doctor_say(doctor, DOCTOR_OK, NULL,
			   "%s is not there: the first start makes it; gateways with a common address need the same one", path);
		break;
	case FILE_DAMAGED:
		doctor_say(doctor, DOCTOR_WARN, "pawsd.conf(5), CLOCK",
			   "%s is damaged: pawsd sets it aside and takes that of the clock file, or else makes another, with "
			   "which TSvals jump; copy that of the other gateway, or a backup, there",
			   path);
		break;
	}
}

static void look_at_reading(struct doctor *doctor, const char *path, const struct clock_reading *reading)
{
	const uint64_t now = now_ms();

	if (reading->tick > now + AHEAD_MS)
		doctor_say(doctor, DOCTOR_WARN, "pawsd.conf(5), CLOCK",
			   "%s is %" PRIu64 " s ahead of the time of day, which was later once, or is wrong now: pawsd's clock "
					    "never goes back, stays ahead, and disagrees for so long with that of another "
					    "gateway with this address; set the time (timedatectl set-ntp true) before pawsd "
					    "starts",
			   path, (reading->tick - now) / 1000);
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "%s is good, %" PRIu64 " s old", path,
			   now > reading->realtime_ms ? (now - reading->realtime_ms) / 1000 : 0);
}

static void look_at_clock_file(struct doctor *doctor)
{
	uint64_t *marks = calloc(CLOCK_SERVER_SLOTS, sizeof(*marks));
	struct clock_reading reading = {0};
	char path[PATH_SIZE];

	state_clock_path(doctor->config, path, sizeof(path));
	if (marks && !is_hidden(doctor, path)) {
		switch (clock_file_look(path, &reading, marks)) {
		case FILE_GOOD:
			look_at_reading(doctor, path, &reading);
			break;
		case FILE_NONE:
			break;
		case FILE_DAMAGED:
			doctor_say(doctor, DOCTOR_WARN, "pawsd(8), FILES",
				   "%s is damaged: pawsd sets it aside and goes on from runtime_dir, or else from the time of "
				   "day, which may be behind what servers have seen, for a minute; nothing to do but to look "
				   "at the disk",
				   path);
			break;
		}
	}
	free(marks);
}

static void look_at_asides(struct doctor *doctor)
{
	static const char *const names[] = {"epoch", "clock"};
	char path[PATH_SIZE];

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s.aside", doctor->config->state_dir, names[i]);
		if (access(path, F_OK) == 0)
			doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), FILES",
				   "%s: an earlier start found it damaged and went on without it; rm it once you have looked",
				   path);
	}
}

static void look_at_time_of_day(struct doctor *doctor)
{
	struct timex timex = {0};

	if (adjtimex(&timex) == TIME_ERROR)
		doctor_say(doctor, DOCTOR_NOTE, "pawsd.conf(5), CLOCK",
			   "the time of day is not synchronised: no matter to one gateway, but two with a common address agree "
			   "no better than their clocks; timedatectl set-ntp true");
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "the time of day is synchronised");
}

void doctor_look_at_clock(struct doctor *doctor)
{
	look_at_epoch(doctor);
	look_at_clock_file(doctor);
	look_at_asides(doctor);
	look_at_time_of_day(doctor);
}

/* ---- the control socket ---- */

/* By the kernel's list: to connect would be to ask. */
static bool does_somebody_listen(const struct doctor *doctor, const char *path)
{
	char list[PATH_SIZE], line[512], at[256];
	unsigned int flags;
	bool found = false;
	FILE *file;

	snprintf(list, sizeof(list), "%s/proc/net/unix", doctor->root);
	file = fopen(list, "re");
	while (file && !found && fgets(line, sizeof(line), file)) {
		found = sscanf(line, "%*x: %*x %*x %x %*x %*x %*u %255s", &flags, at) == 2 && (flags & 0x10000) &&
			strcmp(at, path) == 0;
	}
	if (file)
		fclose(file);
	return found;
}

void doctor_look_at_control(struct doctor *doctor)
{
	const char *path = doctor->config->control_socket, *see = "pawsd.conf(5), CONTROL";
	char parent[PATH_SIZE];
	struct stat status;
	int error;

	parent_of(path, parent);
	error = may_write(parent);
	if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode))
		doctor_say(doctor, DOCTOR_FAIL, see,
			   "[control] socket = %s: there is a file of that name, which is no socket; remove it", path);
	else if (!doctor->running && does_somebody_listen(doctor, path))
		doctor_say(doctor, DOCTOR_FAIL, see, "[control] socket = %s: another program listens there; name another",
			   path);
	else if (doctor->running && !does_somebody_listen(doctor, path))
		doctor_say(doctor, DOCTOR_WARN, see,
			   "[control] socket = %s: process %u does not listen there: it starts or stops just now, or runs with "
			   "another file",
			   path, doctor->running);
	else if (doctor->running)
		doctor_say(doctor, DOCTOR_OK, NULL, "%s: process %u listens", path, doctor->running);
	else if (error && !(error == ENOENT && strcmp(parent, doctor->config->runtime_dir) == 0))
		doctor_say(doctor, doctor_level_if_root(doctor), see,
			   "[control] socket = %s: cannot be made, for %s: %s; %s", path, parent, strerror(error),
			   error == ENOENT   ? "make that directory, or name another"
			   : doctor->is_root ? "name another, or mount it writable"
					     : "look as root, or as the user that pawsd runs as");
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "%s: can be made", path);
}
