/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What would become of a fast path, for who only wants to know: `pawsd --doctor`. Nothing is left of it. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fastpath_internal.h"

enum {
	FLOWS_TRIED = 4096, /* the kernel looks at the programs, whatever they are for */
};

/* build/src/bpf/fastpath.bpf.o, as the linker has put it there: fastpath_object.S. */
extern const char fastpath_object[], fastpath_object_end[];

static char complaint[FASTPATH_WORDS];

static int note_complaint(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level == LIBBPF_WARN && !complaint[0]) {
		vsnprintf(complaint, sizeof(complaint), format, arguments);
		complaint[strcspn(complaint, "\n")] = '\0';
	}
	return 0;
}

static int load(struct bpf_object *object)
{
	const struct fastpath_sizes sizes = fastpath_sizes_for(FLOWS_TRIED, 1);

	for (enum fastpath_map map = 0; map < FASTPATH_MAPS; map++) {
		struct bpf_map *shown = bpf_object__find_map_by_name(object, fastpath_map_names[map]);

		if (shown && bpf_map__set_max_entries(shown, fastpath_map_entries(map, &sizes)) < 0)
			return -EINVAL;
	}
	return bpf_object__load(object);
}

bool fastpath_kernel_try(char *ret_words, size_t size)
{
	const struct bpf_object_open_opts options = {.sz = sizeof(options), .object_name = "pawsd"};
	struct bpf_object *object;
	int error;

	complaint[0] = '\0';
	libbpf_set_print(note_complaint);
	object = bpf_object__open_mem(fastpath_object, (size_t)(fastpath_object_end - fastpath_object), &options);
	error = object ? load(object) : -errno;
	if (error)
		snprintf(ret_words, size, "%s%s%.*s", strerror(-error), complaint[0] ? ": " : "", (int)size / 2, complaint);
	bpf_object__close(object);
	return error == 0;
}

bool fastpath_kernel_is_hindered(const struct fastpath_config *config, size_t interface, char *ret_words, size_t size)
{
	const char *name = config->interfaces[interface].name;
	struct fastpath_hook hook = {.pins = config->pins, .interface = name, .index = if_nametoindex(name)};

	if (fastpath_has_hazard(name, ret_words, size))
		return true;
	for (hook.way = 0; hook.way < FASTPATH_WAYS; hook.way++)
		if (fastpath_hook_is_shared(&hook, ret_words, size))
			return true;
	return false;
}
