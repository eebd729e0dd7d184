/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is kept by name in [fastpath] pins. */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fastpath_internal.h"

enum {
	LOCK_TRIES = 40,
	LOCK_WAIT_MS = 50,
};

/* ---- names ---- */

void fastpath_pins_path(const char *pins, enum fastpath_map map, char ret[FASTPATH_PIN_PATH])
{
	snprintf(ret, FASTPATH_PIN_PATH, "%s/%s", pins, fastpath_map_names[map]);
}

static bool is_of_bpf(const char *path)
{
	struct statfs status;

	return statfs(path, &status) == 0 && (unsigned long)status.f_type == BPF_FS_MAGIC;
}

/* The helper of a pawsd that has just ended may be there for a moment longer. */
static bool take_lock(int fd)
{
	for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
		if (errno != EWOULDBLOCK || tries == LOCK_TRIES)
			return false;
		poll(NULL, 0, LOCK_WAIT_MS);
	}
	return true;
}

int fastpath_pins_lock(const char *pins, bool is_made, char *ret_words, size_t size)
{
	const bool is_new = is_made && mkdir(pins, 0700) == 0;
	int fd;

	if (is_made && !is_new && errno != EEXIST) {
		snprintf(ret_words, size, "[fastpath] pins = %s: cannot be made: %s%s", pins, strerror(errno),
			 errno == EACCES ? "; under systemd it takes fastpath.conf: pawsd(8), FAST PATH" : "");
		return -1;
	}
	fd = open(pins, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		snprintf(ret_words, size, "[fastpath] pins = %s: %s", pins, strerror(errno));
		return -1;
	}
	if (!is_of_bpf(pins)) {
		snprintf(ret_words, size, "[fastpath] pins = %s: in no file system of type bpf; allowed: a directory in one (mount -t bpf)", pins);
		if (is_new)
			rmdir(pins);
	} else if (!take_lock(fd)) {
		snprintf(ret_words, size, "[fastpath] pins = %s: in use by another pawsd; allowed: a directory of its own", pins);
	} else {
		return fd;
	}
	close(fd);
	return -1;
}

/* ---- what an earlier process has left ---- */

static bool is_fitting(int fd, enum fastpath_map map, const struct fastpath_sizes *sizes)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) == 0 && info.type == BPF_MAP_TYPE_ARRAY && (info.map_flags & BPF_F_MMAPABLE) &&
	       info.value_size == fastpath_map_value_bytes[map] && info.max_entries == fastpath_map_entries(map, sizes);
}

void *fastpath_pins_map(int fd, size_t bytes)
{
	void *memory = fd >= 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	return memory == MAP_FAILED ? NULL : memory;
}

static bool is_same_version(int fd)
{
	struct fastpath_shared *shared = fastpath_pins_map(fd, sizeof(*shared));
	bool is_same;

	if (!shared)
		return false;
	is_same = shared->magic == FASTPATH_MAGIC && shared->version == FASTPATH_VERSION;
	munmap(shared, sizeof(*shared));
	return is_same;
}

enum fastpath_leftover fastpath_pins_look(const char *pins, const struct fastpath_sizes *wanted)
{
	uint32_t found = 0, fitting = 0;
	char path[FASTPATH_PIN_PATH];

	for (enum fastpath_map map = 0; map < FASTPATH_MAPS; map++) {
		int fd;

		fastpath_pins_path(pins, map, path);
		fd = bpf_obj_get(path);
		if (fd < 0)
			continue;
		found++;
		fitting += is_fitting(fd, map, wanted) && (map != FASTPATH_MAP_SHARED || is_same_version(fd));
		close(fd);
	}
	return found == 0 ? LEFT_NOTHING : fitting == FASTPATH_MAPS ? LEFT_FITTING : LEFT_OTHER;
}

/* Flows, and what belongs to them. */
static const enum fastpath_map flow_maps[] = {FASTPATH_MAP_FLOWS, FASTPATH_MAP_SYNS, FASTPATH_MAP_PAIRS, FASTPATH_MAP_SCALED};

static uint32_t capacity_of_same_layout(int fd)
{
	struct fastpath_shared *shared = fastpath_pins_map(fd, sizeof(*shared));
	uint32_t capacity = 0;

	if (shared && shared->magic == FASTPATH_MAGIC && shared->flow_version == FLOW_VERSION)
		capacity = shared->capacity;
	if (shared)
		munmap(shared, sizeof(*shared));
	return capacity;
}

bool fastpath_pins_open_flows(const char *pins, int ret_fds[FASTPATH_MAPS], struct fastpath_sizes *ret_sizes)
{
	char path[FASTPATH_PIN_PATH];
	bool good;
	int fd;

	for (enum fastpath_map map = 0; map < FASTPATH_MAPS; map++)
		ret_fds[map] = -1;
	fastpath_pins_path(pins, FASTPATH_MAP_SHARED, path);
	fd = bpf_obj_get(path);
	*ret_sizes = fastpath_sizes_for(capacity_of_same_layout(fd), 1);
	if (fd >= 0)
		close(fd);
	good = ret_sizes->capacity > 0;
	for (size_t i = 0; good && i < sizeof(flow_maps) / sizeof(flow_maps[0]); i++) {
		fastpath_pins_path(pins, flow_maps[i], path);
		ret_fds[flow_maps[i]] = bpf_obj_get(path);
		good = ret_fds[flow_maps[i]] >= 0 && is_fitting(ret_fds[flow_maps[i]], flow_maps[i], ret_sizes);
	}
	for (enum fastpath_map map = 0; !good && map < FASTPATH_MAPS; map++) {
		if (ret_fds[map] >= 0)
			close(ret_fds[map]);
		ret_fds[map] = -1;
	}
	return good;
}

/* Of an interface whose link has that name; false: of none. */
static bool read_link_name(const char *name, struct fastpath_hook *hook, char ret_interface[IFNAMSIZ])
{
	const char *at = strncmp(name, "link_", 5) == 0 ? name + 5 : NULL, *way = at ? strrchr(at, '_') : NULL;

	if (!way || way - at >= IFNAMSIZ)
		return false;
	snprintf(ret_interface, IFNAMSIZ, "%.*s", (int)(way - at), at);
	for (char *c = ret_interface; *c; c++)
		if (*c == ',')
			*c = '.';
	hook->interface = ret_interface;
	hook->index = if_nametoindex(ret_interface);
	hook->way = strcmp(way, "_ingress") == 0 ? FASTPATH_INGRESS : FASTPATH_EGRESS;
	return true;
}

void fastpath_pins_detach(const char *pins, const char *interface)
{
	struct fastpath_hook hook = {.pins = pins, .interface = interface, .index = if_nametoindex(interface)};

	for (hook.way = 0; hook.way < FASTPATH_WAYS; hook.way++)
		fastpath_hook_detach(&hook);
}

void fastpath_pins_stop(const char *pins)
{
	const size_t bytes = sizeof(((struct fastpath_owner *)0)->interfaces);
	struct fastpath_interface *noted;
	DIR *directory = opendir(pins);
	struct dirent *entry;
	char path[FASTPATH_PIN_PATH];
	int fd;

	fastpath_pins_path(pins, FASTPATH_MAP_OWNER, path);
	fd = bpf_obj_get(path);
	noted = fastpath_pins_map(fd, bytes);
	for (size_t i = 0; noted && i < FASTPATH_INTERFACES_MAX; i++)
		if (memchr(noted[i].name, '\0', sizeof(noted[i].name)) && noted[i].name[0])
			fastpath_pins_detach(pins, noted[i].name);
	if (noted)
		munmap(noted, bytes);
	if (fd >= 0)
		close(fd);
	while (directory && (entry = readdir(directory))) {
		struct fastpath_hook hook = {.pins = pins};
		char interface[IFNAMSIZ];

		if (read_link_name(entry->d_name, &hook, interface))
			fastpath_hook_detach(&hook);
	}
	if (directory)
		closedir(directory);
}

void fastpath_pins_remove(const char *pins, bool with_directory)
{
	static const char *const kinds[] = {"fast_", "link_", FASTPATH_PROGRAM_PREFIX};
	DIR *directory = opendir(pins);
	struct dirent *entry;

	while (directory && (entry = readdir(directory))) {
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (strncmp(entry->d_name, kinds[i], strlen(kinds[i])) == 0)
				unlinkat(dirfd(directory), entry->d_name, 0);
	}
	if (directory)
		closedir(directory);
	if (with_directory)
		rmdir(pins);
}
