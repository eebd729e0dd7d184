/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's programs as they are in pawsd, for libbpf. */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

#include "fastpath_internal.h"

/* build/src/bpf/fastpath.bpf.o, as the linker has put it there: fastpath_object.S. */
extern const char fastpath_object[];
extern const uint64_t fastpath_object_bytes;

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
