/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The main thread: brings all up in order, serves signals, sockets and timers, takes all down. */
#include "daemon.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "answers.h"
#include "confine.h"
#include "fdstore.h"
#include "log.h"
#include "notify.h"

enum {
	TICK_MS = 250,
	LISTING_MS = 10, /* while somebody waits for a list of flows */
	PLACES_MS = 25,	 /* while many places of flows rest */
	LINKS_MS = 50,	 /* while interfaces have come, gone or changed */
	STOP_WAIT_MS = 1000, /* for packets still queued when the rules have gone */
	ERROR_SIZE = 1024,
	MAIN_NICENESS = 10,
};

/* The counter slots of an earlier process, in terms of this one's. */
static void map_old_slots(const struct slot_names *old, const struct slot_names *names,
			  uint16_t slots[DESTINATION_SLOTS])
{

	for (uint32_t i = 0; i < DESTINATION_SLOTS; i++) {
		slots[i] = SLOT_NONE;
		for (uint32_t j = 0; i < old->count && j < names->count; j++) {
			if (strcmp(old->name[i], names->name[j]) == 0)
				slots[i] = (uint16_t)j;
		}
	}
}

static int open_workers(struct daemon *daemon, const struct fastpath_memory *left, char *error)
{
	uint32_t workers = daemon->config->rules.workers, known = 0, adopted = 0;
	uint16_t slots[DESTINATION_SLOTS];
	const struct worker_setup setup = {
		.config = daemon->config,
		.state = &daemon->state,
		.wan = daemon->wan,
		.done_fd = daemon->done_fd,
		.slots = slots,
		.fastpath = daemon->fastpath.memory.maps[FASTPATH_MAP_SHARED] ? &daemon->fastpath.memory : NULL,
		.left = left->maps[FASTPATH_MAP_SHARED] ? left : NULL,
		.hold_back_rules = fastpath_hold_back_rules,
		.stop_programs = fastpath_stop,
		.context = daemon,
	};

	map_old_slots(&daemon->state.old_names, daemon->first_names, slots);
	if (!watch_open(&daemon->watch, workers, daemon->config->rules.placement == PLACEMENT_POSTNAT)) {
		snprintf(error, ERROR_SIZE, "out of memory");
		return -1;
	}
	daemon->workers = calloc(workers, sizeof(*daemon->workers));
	if (!daemon->workers) {
		snprintf(error, ERROR_SIZE, "out of memory");
		return -1;
	}
	if (*daemon->state.rules_digest)
		daemon->config_digest = rules_digest(&daemon->config->rules, daemon->config->policy);
	if (daemon->config_digest && daemon->config_digest == *daemon->state.rules_digest)
		daemon->rules_policy = daemon->config->policy;
	worker_let_go_of_others(daemon->config);
	for (uint32_t i = 0; i < workers; i++) {
		if (worker_open(&daemon->workers[i], i, &setup, error, ERROR_SIZE) < 0)
			return -1;
		daemon->workers[i].engine.rules_policy = daemon->rules_policy;
		daemon->workers[i].engine.events = &daemon->watch.rings[i];
		daemon->workers[i].engine.is_draining = state_is_draining(&daemon->state);
		known += daemon->workers[i].engine.table.used;
		adopted += queue_is_adopted(daemon->workers[i].queues);
	}
	*daemon->state.names = *daemon->first_names;
	if (known)
		log_info("%u flows are known from before", known);
	if (adopted)
		log_info("queues of %u workers go on, with the packets that wait in them", adopted);
	return 0;
}

static int start_workers(struct daemon *daemon, char *error)
{
	for (uint32_t i = 0; i < daemon->config->rules.workers; i++) {
		int failed = worker_start(&daemon->workers[i], &daemon->config->queue_cpus);

		if (failed == EPERM) {
			snprintf(error, ERROR_SIZE, "[queue] cpus: not permitted; under systemd the unit needs "
				 "SystemCallFilter=sched_setaffinity");
			return -1;
		}
		if (failed == EINVAL) {
			snprintf(error, ERROR_SIZE, "[queue] cpus: a processor for worker %u is not there, or not for pawsd; "
				 "allowed: those in /sys/devices/system/cpu/online", i);
			return -1;
		}
		if (failed) {
			snprintf(error, ERROR_SIZE, "worker thread: %s", strerror(failed));
			return -1;
		}
	}
	return 0;
}

/* Before anything is changed: a signal that comes during the start is served after it. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* No file can be opened from here on, and no thread made. */
static void lock(struct daemon *daemon)
{
	char error[ERROR_SIZE];

	if (!daemon->config->confine)
		log_warning("[daemon] confine = no: this process may use all system calls");
	else if (confine_lock(error, sizeof(error)) < 0)
		log_warning("%s", error);
	else
		daemon->is_confined = true;
}

/* Up to here this process may be anybody and anything. */
static int confine(struct daemon *daemon, char *error)
{
	struct queue_kernel_stats ignored;

	queue_kernel_stats_read(daemon->config->rules.queue_first, &ignored); /* opens the kernel's list */
	return confine_drop(daemon->config->user, error, ERROR_SIZE);
}

/* In an order in which nothing is promised before it can be kept: rules come last but one. */
static int start(struct daemon *daemon, char *error)
{
	struct config *config = daemon->config;
	struct fastpath_memory left;

	daemon->signal_fd = open_signals();
	daemon->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (daemon->signal_fd < 0 || daemon->done_fd < 0) {
		snprintf(error, ERROR_SIZE, "signalfd, eventfd: %s", strerror(errno));
		return -1;
	}
	daemon->wan = wan_open();
	if (!daemon->wan) {
		snprintf(error, ERROR_SIZE, "interfaces cannot be listed: %s", strerror(errno));
		return -1;
	}
	wan_set(daemon->wan, &config->rules);
	daemon->rules_watch = rules_watch_open();
	daemon->control = control_open(config->control_socket, config->control_group, config->control_admin_group,
				       answer_request, daemon, error, ERROR_SIZE);
	if (!daemon->control)
		return -1;
	daemon->has_socket = true;
	if (fastpath_open(daemon, &left, error, ERROR_SIZE) < 0 || open_workers(daemon, &left, error) < 0)
		return -1;
	fastpath_begin(daemon, &left);
	if (confine(daemon, error) < 0 || start_workers(daemon, error) < 0)
		return -1;
	/* What this thread does gives way to packets. */
	setpriority(PRIO_PROCESS, 0, MAIN_NICENESS);
	lock(daemon);
	if (reload_apply(daemon, config, error, ERROR_SIZE) < 0)
		return -1;
	/* Rules of before may know nothing of programs. */
	fastpath_look(daemon);
	daemon->rules_policy = NULL;
	if (state_is_draining(&daemon->state)) {
		daemon->draining_flows = UINT64_MAX;
		log_warning("draining, as before this start: no new connection is rewritten; `pawsctl resume` ends that");
		reload_count_drain(daemon);
	}
	return 0;
}

int daemon_start(struct daemon *daemon)
{
	char error[ERROR_SIZE];

	daemon->last_reload_ok = true;
	strcpy(daemon->last_reload, "none yet");
	daemon->started_tick = state_now(&daemon->state);
	if (start(daemon, error) < 0) {
		log_error("%s", error);
		return -1;
	}
	log_info("ready: %zu destinations, %u workers, queues %u to %u, rules by %s%s%s",
		 daemon->config->policy->destination_count - 1, daemon->config->rules.workers,
		 daemon->config->rules.queue_first,
		 daemon->config->rules.queue_first + 2u * daemon->config->rules.workers - 1,
		 daemon->config->rules.backend == RULES_NONE	   ? "somebody else"
		 : daemon->config->rules.backend == RULES_IPTABLES ? "iptables"
								   : "nft",
		 daemon->fastpath.attached.count ? ", fast path by " : "",
		 !daemon->fastpath.attached.count ? "" : daemon->fastpath.attached.is_tcx ? "tcx" : "clsact");
	return 0;
}

/*
 * What is asked after a signal is answered after the service manager has been told what that brings about, which the unit's
 * ExecReload= counts on.
 */
static void take_signals(struct daemon *daemon)
{
	struct signalfd_siginfo info;

	while (read(daemon->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo != SIGHUP) {
			daemon->has_to_stop = true;
		} else {
			daemon->has_to_reload = true;
			notify_reloading();
		}
	}
}

/* The watchdog is fed only if every worker has made a turn since it was fed last. */
static void feed_watchdog(struct daemon *daemon)
{
	struct feeding *feeding = &daemon->feeding;
	uint32_t workers = daemon->config->rules.workers;

	if (!feeding->interval_ms || daemon->now - feeding->last < feeding->interval_ms)
		return;
	feeding->last = daemon->now;
	for (uint32_t i = 0; i < workers; i++) {
		if (__atomic_load_n(&daemon->workers[i].heartbeat, __ATOMIC_RELAXED) == feeding->heartbeats[i])
			return;
	}
	for (uint32_t i = 0; i < workers; i++)
		feeding->heartbeats[i] = __atomic_load_n(&daemon->workers[i].heartbeat, __ATOMIC_RELAXED);
	notify_send("WATCHDOG=1");
}

/* How long there is nothing else to do. */
static int wait_ms(struct daemon *daemon, int fd)
{
	const uint32_t feed_ms = daemon->feeding.interval_ms;

	if (listing_is_made(daemon))
		return LISTING_MS;
	if (worker_rests_many(&daemon->workers[0]))
		return PLACES_MS;
	if (daemon->fastpath.has_to_look)
		return LINKS_MS;
	if (fd < 0 && (daemon->has_to_stop || daemon->has_to_reload || daemon->change.kind != CHANGE_NONE))
		return 0;
	return feed_ms && feed_ms < TICK_MS ? (int)feed_ms : TICK_MS;
}

/* One turn of what is served at all times. Waits for it, but for TICK_MS at most. Returns whether `fd`, if not -1, can be read. */
static bool serve(struct daemon *daemon, int fd)
{
	struct pollfd polls[CONTROL_POLLS + 4];
	size_t count = control_fill_polls(daemon->control, polls);
	struct pollfd *asked = &polls[count], *signals = &polls[count + 1], *wan = &polls[count + 2], *tc = &polls[count + 3];

	*asked = (struct pollfd){.fd = fd, .events = POLLIN};
	*signals = (struct pollfd){.fd = daemon->signal_fd, .events = POLLIN};
	*wan = (struct pollfd){.fd = wan_fd(daemon->wan), .events = POLLIN};
	*tc = (struct pollfd){.fd = tc_watch_fd(daemon->fastpath.tc), .events = POLLIN};
	if (poll(polls, count + 4, wait_ms(daemon, fd)) < 0) {
		for (size_t i = 0; i < count + 4; i++)
			polls[i].revents = 0;
	}
	if (state_now(&daemon->state) > daemon->now)
		daemon->now = state_now(&daemon->state);
	if (signals->revents)
		take_signals(daemon);
	if (wan->revents) {
		wan_update(daemon->wan);
		daemon->has_to_look = true;
		daemon->fastpath.has_to_look = true;
	}
	if (tc->revents && tc_watch_has_changed(daemon->fastpath.tc))
		daemon->fastpath.has_to_look = true;
	watch_take(&daemon->watch, daemon->now);
	feed_watchdog(daemon);
	control_serve(daemon->control, polls, count, daemon->now);
	return asked->revents != 0;
}

/* While the helper is at work. */
static void serve_meanwhile(void *context, int fd)
{
	struct daemon *daemon = context;

	daemon->asking_since = state_now(&daemon->state);
	while (!serve(daemon, fd))
		;
	daemon->asking_since = 0;
}

static void save_clock(struct daemon *daemon, bool is_last)
{
	static bool failed_before;
	char error[ERROR_SIZE];
	bool failed = state_save_clock(&daemon->state, &daemon->workers[0].engine.clock, is_last, helper_store_clock,
				       daemon->helper, error, sizeof(error)) < 0;

	if (failed && !failed_before)
		log_warning("%s", error);
	failed_before = failed;
	fastpath_set_clock(daemon);
}

static void save_clock_meanwhile(struct daemon *daemon)
{
	save_clock(daemon, false);
}

/* Only if somebody has been there. */
static void watch_rules(struct daemon *daemon)
{
	bool has_changed = daemon->rules_watch && rules_watch_has_changed(daemon->rules_watch);

	if (!has_changed && !daemon->has_to_check_rules)
		return;
	reload_check_rules(daemon);
	daemon->has_to_look = true;
}

/* Sets of ipset, and iptables-legacy, have nobody who watches. */
static void look_at_rules(struct daemon *daemon)
{
	if (!daemon->rules_watch || daemon->config->rules.backend != RULES_NFT || daemon->has_failed_rules)
		reload_check_rules(daemon);
}

static void look_around_if_need_be(struct daemon *daemon)
{
	if (daemon->has_to_look)
		reload_look_around(daemon);
}

static void wait_for_programs(struct daemon *daemon)
{
	worker_wait_for_programs(&daemon->workers[0]);
}

static void follow_interfaces(struct daemon *daemon)
{
	if (daemon->fastpath.has_to_look)
		fastpath_look(daemon);
}

/* What is to be done time and again. */
static const struct chore {
	uint32_t interval_ms;
	void (*carry_out)(struct daemon *daemon);
} chores[] = {
	{250, watch_rules},
	{PLACES_MS, wait_for_programs},
	{LINKS_MS, follow_interfaces},
	{250, reload_check_trial},
	{1000, reload_count_drain},
	{5000, look_around_if_need_be},
	{60000, reload_look_around},
	{3000, look_at_rules}, /* what is amiss is to be found within 5 s */
	{STATE_SAVE_INTERVAL_MS, save_clock_meanwhile},
	{10000, reload_check_drain},
};

enum {
	CHORES = sizeof(chores) / sizeof(chores[0]),
};

/* `last`: when each was done last. */
static void do_chores(struct daemon *daemon, uint64_t last[CHORES])
{
	for (size_t i = 0; i < CHORES && !daemon->has_to_stop; i++) {
		if (daemon->now - last[i] < chores[i].interval_ms)
			continue;
		last[i] = daemon->now;
		chores[i].carry_out(daemon);
	}
}

void daemon_run(struct daemon *daemon)
{
	uint64_t last[CHORES];

	daemon->now = state_now(&daemon->state);
	daemon->feeding = (struct feeding){.interval_ms = notify_watchdog_interval_ms(), .last = daemon->now};
	for (size_t i = 0; i < CHORES; i++)
		last[i] = daemon->now;
	save_clock(daemon, false);
	notify_send("READY=1");
	helper_set_wait(daemon->helper, serve_meanwhile, daemon);
	reload_note_digest(daemon);
	reload_look_around(daemon);
	while (!daemon->has_to_stop) {
		if (daemon->has_to_reload) {
			daemon->has_to_reload = false;
			reload_config(daemon);
		}
		reload_carry_out(daemon);
		do_chores(daemon, last);
		serve(daemon, -1);
	}
	helper_set_wait(daemon->helper, NULL, NULL);
	notify_send("STOPPING=1");
}

/* Once the rules are gone nothing new is queued: waits until what is has had its verdict. */
static void wait_for_queues(struct daemon *daemon)
{
	uint64_t deadline = state_now(&daemon->state) + STOP_WAIT_MS, waiting = 1;

	while (waiting && state_now(&daemon->state) < deadline) {
		waiting = 0;
		for (uint32_t i = 0; i < 2u * daemon->config->rules.workers; i++) {
			struct queue_kernel_stats stats = {0};

			queue_kernel_stats_read((uint16_t)(daemon->config->rules.queue_first + i), &stats);
			waiting += stats.waiting;
		}
		if (waiting)
			poll(NULL, 0, 10);
	}
}

void daemon_stop(struct daemon *daemon)
{
	char error[ERROR_SIZE];
	bool removed = false;

	control_close(daemon->control);
	/* While the rules are there, what the programs do no more comes to the queues. */
	if (daemon->rules_installed ? daemon->config->on_stop == ON_STOP_REMOVE : !daemon->fastpath.memory.is_old)
		fastpath_end(daemon);
	if (daemon->rules_installed && daemon->config->on_stop == ON_STOP_REMOVE) {
		*daemon->state.rules_digest = 0;
		removed = helper_remove(daemon->helper, error, sizeof(error)) == 0;
		if (removed)
			wait_for_queues(daemon);
		else
			log_error("the rules are still there: %s", error);
	}
	for (uint32_t i = 0; daemon->workers && i < daemon->config->rules.workers; i++) {
		if (removed)
			worker_forget_queues(&daemon->workers[i]);
		worker_stop(&daemon->workers[i]);
	}
	if (removed)
		state_set_draining(&daemon->state, false);
	helper_remove_files(daemon->helper, daemon->has_socket, removed);
	if (daemon->workers && daemon->workers[0].engine.clock.shared)
		save_clock(daemon, true);
	wan_close(daemon->wan);
	tc_watch_close(daemon->fastpath.tc);
	rules_watch_close(daemon->rules_watch);
	drain_set_close(&daemon->drain);
	listing_close(daemon);
	free(daemon->workers);
	watch_close(&daemon->watch);
	helper_stop(daemon->helper);
	config_free(daemon->config);
	state_close(&daemon->state);
}
