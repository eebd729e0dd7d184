/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What would become of a fast path, for who only wants to know: `pawsd --doctor`. Nothing is left of it. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fastpath_internal.h"

enum {
	FLOWS_TRIED = 4096, /* the kernel looks at the programs, whatever they are for */
};

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
	const char *complaint = fastpath_programs_complaint();
	struct bpf_object *object = fastpath_programs_open();
	int error;

	error = object ? load(object) : -errno;
	if (error)
		snprintf(ret_words, size, "%s%s%.*s", strerror(-error), complaint[0] ? ": " : "", (int)size / 2, complaint);
	bpf_object__close(object);
	return error == 0;
}

bool fastpath_kernel_is_hindered(const struct fastpath_config *config, size_t interface, char *ret_words, size_t size)
{
	return fastpath_is_hindered(config->pins, config->interfaces[interface].name, ret_words, size);
}
