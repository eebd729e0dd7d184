/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FASTPATH_KERNEL_H
#define PAWSD_FASTPATH_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "fastpath_maps.h"

/*
 * The fast path as the kernel has it: loads the programs (src/bpf/), keeps their memory and their attachments by name in
 * [fastpath] pins, so that they go on when pawsd is away, and takes all of it away again. For the helper: it needs CAP_BPF,
 * CAP_PERFMON and CAP_NET_ADMIN.
 */
struct fastpath_kernel;

enum {
	FASTPATH_WORDS = 256,
};

/* Whether the programs are in pawsd, and what is missing if not: NULL, or in words. */
const char *fastpath_kernel_missing(void);

/* What has come of it. */
struct fastpath_outcome {
	bool has_memory;	/* fastpath_kernel_fds() has it */
	bool is_old;		/* what an earlier process has left, with its flows; programs may be running on it */
	bool is_carried;	/* it is new, and has the flows of one of another version, or size */
	bool is_to_go;		/* it is not to be used any more: no program runs on it, and the flows are to be taken out of it */
	char why_not[FASTPATH_WORDS]; /* it was asked for, and cannot be had, in words; "": not so */
	struct fastpath_sizes sizes;
};

struct fastpath_attached {
	uint32_t count;
	uint32_t index[FASTPATH_INTERFACES_MAX]; /* interfaces whose packets the programs see, both ways */
	bool is_tcx;				 /* or else clsact */
	uint32_t live;				 /* fastpath_kernel_live() */
	char missing[FASTPATH_WORDS]; /* the first interface of the configuration that is not among these, and why; "": all are */
};

/*
 * Loads the programs for a table of `capacity` flows, or takes over those that are there, or, where the configuration does not
 * want them, stops those. `hindrance`: why it cannot be, whatever is found here; "": nothing. NULL where there is no memory; *ret
 * says what is so.
 */
struct fastpath_kernel *fastpath_kernel_open(const struct config *config, const char *hindrance, struct fastpath_outcome *ret);

/* The numbers of slots that programs of an earlier process go on with; false: there are none. */
bool fastpath_kernel_names(const struct config *config, struct slot_names *ret);

/* Descriptors of the maps, by enum fastpath_map. They belong to `kernel`. */
const int *fastpath_kernel_fds(const struct fastpath_kernel *kernel);

/*
 * Puts the programs on the interfaces that are there and have none, and in place of older ones; takes them away where that
 * cannot be any more. May be done again at any time. `hindrance`: likewise.
 */
void fastpath_kernel_attach(struct fastpath_kernel *kernel, const struct config *config, const char *hindrance,
			    struct fastpath_attached *ret);

/*
 * Where programs have been since the last fastpath_kernel_attach(): bit n for interfaces[n] of the configuration. Before one goes
 * from an interface to the servers the rules are held back (rules.h).
 */
uint32_t fastpath_kernel_live(const struct fastpath_kernel *kernel);

/* No program sees packets any more, until the next fastpath_kernel_attach(). */
void fastpath_kernel_stop(struct fastpath_kernel *kernel);

/* Makes what the programs have to know of that policy, for fastpath_kernel_use_policy(). Returns 0, or -1 with one line in ret_error. */
int fastpath_kernel_make_policy(struct fastpath_kernel *kernel, const struct policy *policy, char *ret_error, size_t error_size);
/* Has the programs follow it from now on, if `is_good`; or forgets it. */
void fastpath_kernel_use_policy(struct fastpath_kernel *kernel, bool is_good);

/*
 * Neither leaves anything. Whether the kernel takes the programs, for a process that may load some; else why not, in words. And
 * whether something keeps them from the interface of that number in the configuration, which is there: if so, what, in words.
 */
bool fastpath_kernel_try(char *ret_words, size_t size);
bool fastpath_kernel_is_hindered(const struct fastpath_config *config, size_t interface, char *ret_words, size_t size);

/* Programs and memory go, if `is_end`; or stay. Frees `kernel`. NULL is nothing. */
void fastpath_kernel_close(struct fastpath_kernel *kernel, bool is_end);

#endif
