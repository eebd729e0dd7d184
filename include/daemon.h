/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_DAEMON_H
#define PAWSD_DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "config.h"
#include "control.h"
#include "drain.h"
#include "helper.h"
#include "state.h"
#include "strip_counts.h"
#include "surroundings.h"
#include "tc_watch.h"
#include "wan.h"
#include "watch.h"
#include "worker.h"

/* Of the service manager's watchdog. */
struct feeding {
	uint32_t interval_ms; /* 0: there is none */
	uint64_t last;
	uint32_t heartbeats[WORKERS_MAX]; /* of the workers, at the last */
};

/* A list of flows that the workers make for somebody at the control socket (answers_flows.c). */
struct listing {
	bool is_begun;
	char request[256];
	uint64_t since_ms;
	struct flow_list *parts[WORKERS_MAX];
};

/* What somebody at the control socket wants changed, and the helper has to be asked for (answers_change.c). */
struct change {
	enum change_kind {
		CHANGE_NONE, /* nothing is wanted */
		CHANGE_RELOAD,
		CHANGE_MODE,
		CHANGE_TRIAL,
		CHANGE_TRIAL_END,
	} kind;
	uint16_t slot; /* CHANGE_MODE: of the destination */
	enum mode mode;
	struct policy_trial trial; /* CHANGE_TRIAL; CHANGE_TRIAL_END: of what server and port */
	uint32_t trial_s;   /* how long */
	uint64_t begun, done; /* how many there have been, this one included */
	char problem[1024];   /* why the last one was refused; "": it was not */
};

/* The fast path, if there is one (fastpath.c). */
struct fastpath {
	struct fastpath_memory memory;
	struct tc_watch *tc;		   /* NULL: there is no fast path, or the kernel does not tell */
	struct fastpath_attached attached; /* as of the last look */
	bool has_to_look;		   /* interfaces, or what is on them, may have changed since */
	bool has_old_rules;		   /* they go by labels of programs that are no more */
	uint32_t let_go;		   /* the rules are for programs at these interfaces, by their numbers: placement postnat */
	char why_not[FASTPATH_WORDS];	   /* it was asked for and is not to be had; "": not so */
};

/* All that the main thread owns. */
struct daemon {
	const char *config_path;
	struct helper *helper;
	struct config *config;
	const struct slot_names *first_names; /* of the configuration at the start */
	struct state state;
	struct wan *wan;
	struct worker *workers;
	struct watch watch;
	struct fastpath fastpath;
	struct listing listing;
	struct change change;
	uint64_t trial_until; /* shared clock; 0: there is no trial */
	struct policy_trial trial; /* the one that there is */
	struct control *control;
	struct feeding feeding;
	uint64_t now; /* the shared clock at the last look, ms; does not go back */
	uint64_t asking_since; /* the helper is at work, ms of the shared clock; 0: it waits */
	int done_fd; /* eventfd: a worker has carried out its order */
	int signal_fd;

	struct drain_set drain; /* what the rules in place name */
	uint64_t draining_flows; /* while pawsd drains: how many were rewritten at the last look */
	struct strip_counts strip_counts;
	uint64_t stripped_since[DESTINATION_SLOTS]; /* shared clock, by slot */
	bool has_socket, is_confined;
	bool has_to_stop, has_to_reload; /* a signal has come */
	bool is_in_force; /* `config`, that is: it has been installed */
	bool rules_installed, rules_label;
	uint64_t rules_fingerprint; /* as they were put in place; 0: not known */
	uint32_t less_in_a_row;	    /* times that they were less right after that */
	bool has_failed_rules;	    /* they could not be put in place again */
	bool rules_held_back;	    /* they are not what they were by our own doing: rules_hold_back() */
	bool has_to_check_rules;    /* whatever the kernel says of changes */
	struct rules_watch *rules_watch; /* NULL: there is none */
	uint64_t config_digest;		 /* rules_digest() of `config`, 0: not made yet */
	uint64_t rules_changed;
	struct surroundings surroundings; /* at the last look */
	bool has_to_look;		  /* for something may have changed */
	/* At the start: the policy, if the rules that an earlier process has left are those for it; or NULL. */
	const struct policy *rules_policy;
	uint64_t started_tick;
	uint64_t reloads, reloads_refused;
	bool last_reload_ok;
	char last_reload[1024]; /* in words */
};

/*
 * Starts everything: state, queues, workers, rules, control socket. Returns 0, or -1 after
 * having logged why; daemon_stop() cleans up in either case.
 */
int daemon_start(struct daemon *daemon);

/* Serves until SIGTERM or SIGINT. */
void daemon_run(struct daemon *daemon);

void daemon_stop(struct daemon *daemon);

/* answers_flows.c: forgets a list; the workers have ended, or are done with it. */
void listing_close(struct daemon *daemon);

/* answers_flows.c: whether a list is being made just now; forgets one that nobody has come for. */
bool listing_is_made(struct daemon *daemon);

/* metrics.c: packets of a slot that became that, and flows of it in that state, whoever has handled them. */
uint64_t daemon_count_packets(const struct daemon *daemon, uint32_t slot, enum reason reason);
uint64_t daemon_count_flows(const struct daemon *daemon, uint32_t slot, enum flow_state state);

/* metrics.c: the answers to "stats" and "status" (snapshot.h), written to `out`. */
void metrics_write(struct daemon *daemon, FILE *out, bool with_packets);

/*
 * fastpath.c: loads the kernel's programs, or takes over those that run, where the configuration wants them. *ret_left: flows of a fast
 * path that is not wanted any more. Returns 0, or -1 with one line in ret_error: it must be had.
 */
int fastpath_open(struct daemon *daemon, struct fastpath_memory *ret_left, char *ret_error, size_t error_size);
/* fastpath.c: the flows are where they belong, and those that were left elsewhere can go. */
void fastpath_begin(struct daemon *daemon, const struct fastpath_memory *left);
/* fastpath.c: says to the programs whether pawsd drains. */
void fastpath_set_draining(struct daemon *daemon);
/* fastpath.c: the rules let nothing go to programs until they are installed anew, rules_hold_back(). `context`: the daemon. */
void fastpath_hold_back_rules(void *context);
/* fastpath.c: no program sees packets until the next fastpath_look(). `context`: the daemon. */
void fastpath_stop(void *context);
/* fastpath.c: what has changed about interfaces: programs for those that have come, and where the servers are. */
void fastpath_look(struct daemon *daemon);
/* fastpath.c: the clock has been set. */
void fastpath_set_clock(struct daemon *daemon);
/* fastpath.c: no program sees a packet any more, and nothing is left. */
void fastpath_end(struct daemon *daemon);

/* reload.c: reads the configuration again and puts it in force, or keeps the old one; says when it is ready again. */
void reload_config(struct daemon *daemon);

/* reload.c: ends a trial whose time is up. */
void reload_check_trial(struct daemon *daemon);

/* reload.c: carries out the change that somebody at the control socket wants, if there is one. */
void reload_carry_out(struct daemon *daemon);

/*
 * reload.c: brings policy and rules in force: gives the policy to the workers, finds the
 * servers to drain, installs the rules. Returns 0, or -1 with one line in ret_error.
 */
int reload_apply(struct daemon *daemon, struct config *config, char *ret_error, size_t error_size);

/* reload.c: looks whether servers named only for old flows can be let go. */
void reload_check_drain(struct daemon *daemon);

/*
 * reload.c: writes down, for the next process, for what policy the rules are. Of a hundred thousand prefixes that takes
 * 50 ms, for which neither a start nor a reload waits.
 */
void reload_note_digest(struct daemon *daemon);

/* reload.c: looks around, and says what has come up, and what is gone. */
void reload_look_around(struct daemon *daemon);

/* reload.c: looks whether somebody else has changed the rules, and puts them in place again. */
void reload_check_rules(struct daemon *daemon);

/* reload.c: puts the rules in place anew, for programs are at other interfaces. False where that fails; it says so. */
bool reload_renew_rules(struct daemon *daemon);

/*
 * reload.c: drains, or no longer: no new connection is rewritten, so that pawsd can be stopped when the last that is has
 * ended. Rules and everything else stay. Survives a crash, and a restart that keeps the rules.
 */
void reload_drain(struct daemon *daemon, bool is_draining);

/* reload.c: while it drains, counts the connections that are rewritten still. */
void reload_count_drain(struct daemon *daemon);

#endif
