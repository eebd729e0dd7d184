/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_STATE_H
#define PAWSD_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "clock_file.h"
#include "config.h"
#include "flow.h"

/*
 * What outlives the process. In runtime_dir, mapped: "shared" (names of counter slots, the
 * clock's marks) and "flows.N" (worker N's flows); they survive a kill at any instant and are gone
 * with a reboot. In state_dir: "epoch" and "clock" (clock_file.h), which survive the
 * reboot too. A file that does not fit is set aside under another name and said so.
 *
 * Both directories are locked: a second pawsd on either is refused.
 */

struct state {
	int runtime_lock, state_lock;
	char clock_path[CONFIG_PATH_SIZE + 16];
	struct epoch epoch;
	struct slot_names old_names; /* of the process before this one */
	struct slot_names *names;    /* this one's, mapped */
	struct clock_shared *clock;  /* mapped */
	uint8_t *label;		     /* the last of state_next_labels(), mapped */
	uint8_t *generation;	     /* of the fast path's programs, mapped: another one each time that new ones begin */
	uint64_t *rules_digest;	     /* rules_digest() of the rules in place, 0 where that is not known; mapped */
	uint32_t *draining;	     /* STATE_DRAINS or anything else, mapped */
	uint64_t saved_boottime_ms;
	char boot_id[BOOT_ID_SIZE]; /* as in struct clock_reading */
	/* Shared clock minus CLOCK_BOOTTIME, ms. */
	int64_t clock_offset_ms;
	int64_t *shared_offset_ms; /* the same, mapped, for the next process */
};

enum {
	STATE_FLOWS_AT = 64, /* where flows are in their file */
};

/* A worker's part of the flow table, mapped. */
struct state_flows {
	void *kept; /* see flow_table.h */
	bool adopted; /* an earlier process left them */
};

/*
 * No new connection is rewritten, until a stop that removes the rules. By a word that no damaged byte makes: in doubt
 * connections are rewritten.
 */
enum {
	STATE_DRAINS = 0x6e696172,
};

static inline bool state_is_draining(const struct state *state)
{
	return *state->draining == STATE_DRAINS;
}

static inline void state_set_draining(struct state *state, bool is_draining)
{
	*state->draining = is_draining ? STATE_DRAINS : 0;
}

/* Where the kernel says which boot this is; tests have it say another. */
extern const char *state_boot_id_path;

/* Returns 0, or -1 with one line in ret_error. */
int state_open(const struct config *config, struct state *ret, char *ret_error, size_t error_size);
int state_map_flows(const struct config *config, uint32_t worker, uint32_t capacity, struct state_flows *ret,
		    char *ret_error, size_t error_size);
void state_close(struct state *state);

/*
 * Removes the files of the flow table. For a stop after which packets go by unmodified: flows
 * that live on through that must not be shifted again by the next process.
 */
void state_forget_flows(const struct config *config);

/*
 * The first of two labels of conntrack (0 to 127) for the next rules: others than any rules of this boot have used or,
 * after 24 reloads, those used longest ago. What a label means belongs to one policy.
 */
uint8_t state_next_labels(struct state *state);

enum {
	STATE_SAVE_INTERVAL_MS = 5000,
};

/*
 * The shared clock's tick, ms. Any thread. Where it follows a time of day that has gone back it may
 * be some milliseconds less than before; clock_publish() makes it stand still for them (P2).
 */
uint64_t state_now(const struct state *state);

/*
 * Has the clock's marks in `to` from now on, which is mapped and outlives the process: those that are there, of an earlier process
 * (`is_old`), which programs may be raising, or what they are now. state_take_clock(): the marks are those, once. False where
 * they are of another epoch.
 */
void state_move_clock(struct state *state, struct clock_shared *to, bool is_old);
bool state_take_clock(struct state *state, const struct clock_shared *from);

/* Where in state_dir the clock file is. */
void state_clock_path(const struct config *config, char *ret_path, size_t size);

/* Puts a text into the clock file's place. Returns 0 or -1, errno set. */
typedef int (*state_store_fn)(void *context, const char *text, size_t len);

/*
 * Has `store` write down how far the clock has come, so that it does not step back after a reboot with a
 * wrong time of day, and its marks; `is_last`: at a stop. And follows the time of day: ahead, by a 20th
 * of the time since it did so last; back, by a thousandth of it. To be called every
 * STATE_SAVE_INTERVAL_MS. Returns -1 with a line in ret_error when it cannot be written.
 */
int state_save_clock(struct state *state, const struct clock *clock, bool is_last, state_store_fn store, void *context,
		     char *ret_error, size_t error_size);

#endif
