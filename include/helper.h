/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_HELPER_H
#define PAWSD_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "fastpath_kernel.h"
#include "rules.h"
#include "surroundings.h"

/*
 * The helper: a process beside the one in the path of packets, which does for it what that one may not (confine.h). It
 * reads the configuration, runs iptables, ipset and nft, and writes the clock file. It is asked over a socket, by one
 * of the operations below; none says what command to run or what file to open, that is the helper's alone to know. All
 * rules are made from the configuration that the helper itself has read.
 *
 * It ends when the other process does, whatever way that ends. Where it ends first, operations fail from then on.
 *
 * All functions here wait for the answer, are for one thread, and where they return -1 have put one line of why
 * in ret_error.
 */
struct helper;

/* What to install. */
struct helper_install {
	bool is_new;   /* the configuration that was loaded last; else that which is in force */
	uint8_t label, generation; /* those of rules_config */
	const struct rules_drain *drain;
	size_t drain_count;
};

/*
 * Makes the helper, which will read the configuration at `config_path`. To be called before anything else is opened and
 * before there are threads. `names`: see config_load(). Returns NULL on failure.
 */
struct helper *helper_start(const char *config_path, const struct slot_names *names, char *ret_error, size_t error_size);

/*
 * Executes this program anew in the same process, with arguments `argv`; there helper_adopt() is to take the helper over.
 * Right after helper_start(). Returns only where that fails, and says so.
 */
void helper_exec(struct helper *helper, char **argv);

/* The helper of helper_exec(); NULL where there was none. */
struct helper *helper_adopt(void);

/* Waits until it has ended. NULL is nobody. */
void helper_stop(struct helper *helper);

bool helper_is_there(const struct helper *helper);

/*
 * What to do while the helper is at work, which may take seconds: `wait` is called before each answer is read, and returns
 * when `fd` can be. It must not ask the helper anything. NULL: nothing.
 */
typedef void (*helper_wait_fn)(void *context, int fd);
void helper_set_wait(struct helper *helper, helper_wait_fn wait, void *context);

/*
 * Reads the configuration and logs all that is to be said about it. Options that need a start are those in force, and
 * time-outs no shorter than conntrack's. Returns 0 with the configuration, to be freed with config_free(), and `names` brought
 * up to date. It is in force with the next helper_install() with is_new.
 */
int helper_load(struct helper *helper, struct config **ret, struct slot_names *names, char *ret_error, size_t error_size);

/*
 * The configuration in force, with another mode for the destination of that counter slot, as helper_load() hands one over. It
 * is refused where the file with that mode would be.
 */
int helper_set_mode(struct helper *helper, uint16_t slot, enum mode mode, struct config **ret, struct slot_names *names,
		    char *ret_error, size_t error_size);

/*
 * The configuration in force, with one more destination in front, which has but one address, or without it: `trial` NULL. Of
 * any that is there already it takes the place.
 */
int helper_try(struct helper *helper, const struct policy_trial *trial, struct config **ret, struct slot_names *names,
	       char *ret_error, size_t error_size);

/* rules_install(). Its size stays with the helper. Backend none is no error. */
int helper_install(struct helper *helper, const struct helper_install *request, struct rules_outcome *ret, char *ret_error,
		   size_t error_size);

/* rules_remove() */
int helper_remove(struct helper *helper, char *ret_error, size_t error_size);

/* rules_look(), for what was installed last; fingerprint 0 also where there is no helper. */
struct rules_look helper_look(struct helper *helper);

/* rules_read_counts(), of the configuration in force, which has `destination_count` destinations. */
int helper_read_counts(struct helper *helper, uint64_t (*ret_counts)[RULES_STRIP_REASONS], size_t destination_count,
		       char *ret_error, size_t error_size);

/* surroundings_look(), for the configuration in force. False where there is no helper. */
bool helper_look_around(struct helper *helper, struct surroundings *ret);

/*
 * fastpath_kernel_open(), for the configuration in force or, before there is one, that which was loaded; and its memory, mapped:
 * ret_maps, by enum fastpath_map, where ret->has_memory. False where there is no helper. Before confine_lock().
 */
bool helper_open_fastpath(struct helper *helper, struct fastpath_outcome *ret, void *ret_maps[FASTPATH_MAPS]);
/* fastpath_kernel_attach(). False where there is no helper. */
bool helper_attach_fastpath(struct helper *helper, struct fastpath_attached *ret);
/* rules_hold_back(), where there may be something to hold back. */
void helper_hold_back_rules(struct helper *helper);
/* The same, and fastpath_kernel_stop(). */
void helper_stop_fastpath(struct helper *helper);
/* fastpath_kernel_close(), as its end. */
void helper_end_fastpath(struct helper *helper);

/* clock_file_store() in the configuration's state_dir; context: the helper. Returns 0 or -1, errno set. */
int helper_store_clock(void *context, const char *text, size_t len);

/* Takes files away: the control socket's, and the flow tables'. */
void helper_remove_files(struct helper *helper, bool socket, bool flows);

#endif
