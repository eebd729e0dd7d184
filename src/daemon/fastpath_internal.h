/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FASTPATH_INTERNAL_H
#define PAWSD_FASTPATH_INTERNAL_H

#include "fastpath_kernel.h"

/* The parts of fastpath_kernel.c. */

enum fastpath_way {
	FASTPATH_INGRESS,
	FASTPATH_EGRESS,
	FASTPATH_WAYS,
};

/*
 * fastpath_attach.c: where packets pass a program. `pins`: the directory where a link is kept by name, if the kernel has links for that
 * (tcx, Linux 6.6); else it is a filter of clsact, which needs no name.
 */
struct fastpath_hook {
	const char *pins;
	const char *interface;
	uint32_t index; /* of the interface; 0: it is not there */
	enum fastpath_way way;
	bool was_there; /* a program, when it was last looked at */
};

/* In place of what was there of pawsd; says it where nothing was that should have been. Returns 1 for a link, 0 for a filter, -1 with words. */
int fastpath_hook_attach(const struct fastpath_hook *hook, int program, char *ret_words, size_t size);

/* Takes it away, whichever it is. Nothing there is no error. */
void fastpath_hook_detach(const struct fastpath_hook *hook);

/* Words for a program of somebody else's on the same hook; false: there is none. */
bool fastpath_hook_is_shared(const struct fastpath_hook *hook, char *ret_words, size_t size);

/* ---- fastpath_programs.c ---- */

enum {
	FASTPATH_SIDES = 2, /* an interface to the clients, and to the servers */
};

/* Programs have names that begin so, and their build's digest in them. */
#define FASTPATH_PROGRAM_PREFIX "code_"

/* What is kept by name, opened: descriptors, or -1. Nothing but int. */
struct fastpath_named {
	int maps[FASTPATH_MAPS];
	int policies; /* where the policy in force is */
	int programs[FASTPATH_SIDES][FASTPATH_WAYS];
};

/*
 * The programs, opened; NULL with errno. And what libbpf has complained of first since then, which says more than errno does; "":
 * nothing.
 */
struct bpf_object *fastpath_programs_open(void);
const char *fastpath_programs_complaint(void);

/* Has the kernel take them, with the maps that are there by name or new ones, and gives names to all. Returns 0, or a negative errno. */
int fastpath_programs_make(const char *pins, const struct fastpath_sizes *sizes);

/* All there is by name, with programs of this build that look at those maps. False, with nothing open: there is not. */
bool fastpath_named_open(const char *pins, struct fastpath_named *ret);
/* The maps alone; false where one is missing. */
bool fastpath_named_open_maps(const char *pins, struct fastpath_named *ret);
void fastpath_named_init(struct fastpath_named *ret);
void fastpath_named_close(struct fastpath_named *named);

/* ---- fastpath_pins.c ---- */

enum {
	FASTPATH_PIN_PATH = FASTPATH_PATH_SIZE + 64,
};

/* What an earlier process has left. */
enum fastpath_leftover {
	LEFT_NOTHING,
	LEFT_FITTING,
	LEFT_OTHER, /* of another version or size */
};

/*
 * The directory, locked for as long as this process lives; made, if `is_made`. -1, with words, where it cannot be had.
 */
int fastpath_pins_lock(const char *pins, bool is_made, char *ret_words, size_t size);
void fastpath_pins_path(const char *pins, enum fastpath_map map, char ret[FASTPATH_PIN_PATH]);
enum fastpath_leftover fastpath_pins_look(const char *pins, const struct fastpath_sizes *wanted);
/* Memory of a map, from its beginning; NULL where that cannot be had. */
void *fastpath_pins_map(int fd, size_t bytes);
/*
 * Of what another version has left, or of another size: the maps with its flows, if those can be understood, opened. False: they
 * cannot.
 */
bool fastpath_pins_open_flows(const char *pins, int ret_fds[FASTPATH_MAPS], struct fastpath_sizes *ret_sizes);
/* Stops the programs of that interface, or all: those on the interfaces that are noted, and whose links have names. */
void fastpath_pins_detach(const char *pins, const char *interface);
void fastpath_pins_stop(const char *pins);
void fastpath_pins_remove(const char *pins, bool with_directory);

/* fastpath_policy_map.c: a map of the policy, for the programs to look at. -1, errno set, where there is none to be had. */
int fastpath_make_policy_map(const struct policy *policy);

/* fastpath_hazards.c: why the interface cannot be used; false: it can. */
bool fastpath_has_hazard(const char *interface, char *ret_words, size_t size);

/* Why it cannot have programs, for that or others' programs; false: it can. */
bool fastpath_is_hindered(const char *pins, const char *interface, char *ret_words, size_t size);

#endif
