/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's programs as they are in pawsd, for libbpf, and how they and their maps get their names: which are all that is needed of
 * them from then on. A later process of the same build finds the programs by name as well, and spares itself the second and more that
 * the kernel's verifier takes.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fastpath_internal.h"

/* build/src/bpf/fastpath.bpf.o, as the linker has put it there: fastpath_object.S. */
extern const char fastpath_object[];
extern const uint64_t fastpath_object_bytes;

/* Where the policy in force is. */
static const char policies_name[] = "fast_policies";

static const char *const program_names[FASTPATH_SIDES][FASTPATH_WAYS] = {{"lan_ingress", "lan_egress"}, {"wan_ingress", "wan_egress"}};

enum {
	MAPS_OF_A_PROGRAM = 64,
};

static char complaint[FASTPATH_WORDS];

static int note_complaint(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level == LIBBPF_WARN && !complaint[0]) {
		vsnprintf(complaint, sizeof(complaint), format, arguments);
		complaint[strcspn(complaint, "\n")] = '\0';
	}
	return 0;
}

struct bpf_object *fastpath_programs_open(void)
{
	const struct bpf_object_open_opts options = {.sz = sizeof(options), .object_name = "pawsd"};

	complaint[0] = '\0';
	libbpf_set_print(note_complaint);
	return bpf_object__open_mem(fastpath_object, fastpath_object_bytes, &options);
}

const char *fastpath_programs_complaint(void)
{
	return complaint;
}

/* ---- names ---- */

/* FNV-1a: tells builds apart, and nobody else has a say in what is in the directory. */
static uint64_t digest_of_object(void)
{
	uint64_t digest = 0xcbf29ce484222325;

	for (uint64_t i = 0; i < fastpath_object_bytes; i++)
		digest = (digest ^ (uint8_t)fastpath_object[i]) * 0x100000001b3;
	return digest;
}

static void policies_path(const char *pins, char ret[FASTPATH_PIN_PATH])
{
	snprintf(ret, FASTPATH_PIN_PATH, "%s/%s", pins, policies_name);
}

static void program_path(const char *pins, uint64_t digest, const char *name, char ret[FASTPATH_PIN_PATH])
{
	snprintf(ret, FASTPATH_PIN_PATH, "%s/%s%016" PRIx64 "_%s", pins, FASTPATH_PROGRAM_PREFIX, digest, name);
}

/* ---- making them ---- */

static int set_sizes(struct bpf_object *object, const char *pins, const struct fastpath_sizes *sizes)
{
	struct bpf_map *policies = bpf_object__find_map_by_name(object, policies_name);
	char path[FASTPATH_PIN_PATH];

	policies_path(pins, path);
	if (!policies || bpf_map__set_pin_path(policies, path) < 0)
		return -EINVAL;

	for (enum fastpath_map map = 0; map < FASTPATH_MAPS; map++) {
		struct bpf_map *shown;

		if (!fastpath_map_is_shown[map])
			continue;
		shown = bpf_object__find_map_by_name(object, fastpath_map_names[map]);
		fastpath_pins_path(pins, map, path);
		if (!shown || bpf_map__set_max_entries(shown, fastpath_map_entries(map, sizes)) < 0 ||
		    bpf_map__set_pin_path(shown, path) < 0)
			return -EINVAL;
	}
	return 0;
}

/* One that the programs do not look at, unless it is there. */
static int make_plain_map(const char *pins, enum fastpath_map map, const struct fastpath_sizes *sizes)
{
	const struct bpf_map_create_opts options = {.sz = sizeof(options), .map_flags = BPF_F_MMAPABLE};
	char path[FASTPATH_PIN_PATH];
	int fd, error;

	fastpath_pins_path(pins, map, path);
	if (access(path, F_OK) == 0)
		return 0;
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, fastpath_map_names[map], sizeof(uint32_t), fastpath_map_value_bytes[map],
			    fastpath_map_entries(map, sizes), &options);
	if (fd < 0)
		return -errno;
	error = bpf_obj_pin(fd, path) < 0 ? -errno : 0;
	close(fd);
	return error;
}

/* Whatever build they are of: what is attached goes on without a name. */
static void forget_programs(const char *pins)
{
	DIR *directory = opendir(pins);
	struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		if (strncmp(entry->d_name, FASTPATH_PROGRAM_PREFIX, strlen(FASTPATH_PROGRAM_PREFIX)) == 0)
			unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
}

static int name_programs(struct bpf_object *object, const char *pins)
{
	const uint64_t digest = digest_of_object();
	char path[FASTPATH_PIN_PATH];
	int error = 0;

	forget_programs(pins);
	for (int i = 0; error == 0 && i < FASTPATH_SIDES * FASTPATH_WAYS; i++) {
		const char *name = program_names[i / FASTPATH_WAYS][i % FASTPATH_WAYS];
		const struct bpf_program *program = bpf_object__find_program_by_name(object, name);

		program_path(pins, digest, name, path);
		if (!program)
			error = -ENOENT;
		else if (bpf_obj_pin(bpf_program__fd(program), path) < 0)
			error = -errno;
	}
	return error;
}

int fastpath_programs_make(const char *pins, const struct fastpath_sizes *sizes)
{
	struct bpf_object *object = fastpath_programs_open();
	int error = object ? set_sizes(object, pins, sizes) : -errno;

	if (error == 0)
		error = bpf_object__load(object);
	for (enum fastpath_map map = 0; error == 0 && map < FASTPATH_MAPS; map++)
		if (!fastpath_map_is_shown[map])
			error = make_plain_map(pins, map, sizes);
	if (error == 0)
		error = name_programs(object, pins);
	bpf_object__close(object);
	return error;
}

/* ---- finding them ---- */

/* Somebody may have put other maps in the place of those that the program was made with. */
static bool looks_at(int program, int map)
{
	uint32_t ids[MAPS_OF_A_PROGRAM] = {0};
	struct bpf_prog_info info = {.nr_map_ids = MAPS_OF_A_PROGRAM, .map_ids = (uint64_t)(uintptr_t)ids};
	struct bpf_map_info wanted = {0};
	uint32_t info_len = sizeof(info), wanted_len = sizeof(wanted);

	if (bpf_obj_get_info_by_fd(program, &info, &info_len) < 0 || bpf_obj_get_info_by_fd(map, &wanted, &wanted_len) < 0)
		return false;
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_OF_A_PROGRAM; i++)
		if (ids[i] == wanted.id)
			return true;
	return false;
}

static bool find_programs(const char *pins, struct fastpath_named *named)
{
	const uint64_t digest = digest_of_object();
	char path[FASTPATH_PIN_PATH];

	for (int side = 0; side < FASTPATH_SIDES; side++)
		for (int way = 0; way < FASTPATH_WAYS; way++) {
			program_path(pins, digest, program_names[side][way], path);
			named->programs[side][way] = bpf_obj_get(path);
			if (named->programs[side][way] < 0 || !looks_at(named->programs[side][way], named->maps[FASTPATH_MAP_SHARED]) ||
			    !looks_at(named->programs[side][way], named->maps[FASTPATH_MAP_FLOWS]))
				return false;
		}
	return true;
}

void fastpath_named_init(struct fastpath_named *ret)
{
	memset(ret, 0xff, sizeof(*ret)); /* -1: nothing is open */
}

void fastpath_named_close(struct fastpath_named *named)
{
	int *const fds = (int *)(void *)named;

	for (size_t i = 0; i < sizeof(*named) / sizeof(int); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

bool fastpath_named_open_maps(const char *pins, struct fastpath_named *ret)
{
	char path[FASTPATH_PIN_PATH];
	bool good;

	policies_path(pins, path);
	ret->policies = bpf_obj_get(path);
	good = ret->policies >= 0;
	for (enum fastpath_map map = 0; map < FASTPATH_MAPS; map++) {
		fastpath_pins_path(pins, map, path);
		ret->maps[map] = bpf_obj_get(path);
		good = good && ret->maps[map] >= 0;
	}
	return good;
}

bool fastpath_named_open(const char *pins, struct fastpath_named *ret)
{
	fastpath_named_init(ret);
	if (fastpath_named_open_maps(pins, ret) && find_programs(pins, ret))
		return true;
	fastpath_named_close(ret);
	return false;
}
