/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a policy comes into force, at the start and at each reload:
 *
 *   1. The workers get it, and each says so between two of its batches. From then on new
 *      connections follow it; known flows keep what they have.
 *   2. While at it, each worker looks for rewritten flows whose server the policy no longer
 *      rewrites, and for flows with timestamps that it would strip now. Their packets must go on
 *      coming, so the rules name these servers one by one.
 *   3. The rules are put in place. If that fails, the workers get the old policy back. Until then
 *      connections that only the new policy rewrites are left alone: their later segments would
 *      not come to pawsd yet.
 *   4. The workers hear that the rules are in place.
 *
 * The old policy is freed when no worker can be looking at it any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "answers_internal.h"
#include "daemon.h"
#include "log.h"
#include "metrics.h"
#include "notify.h"
#include "policy_build.h"

static void wait_for_worker(struct daemon *daemon, const struct worker *worker)
{
	struct pollfd poll_done = {.fd = daemon->done_fd, .events = POLLIN};
	eventfd_t ignored;

	while (!worker_has_done(worker)) {
		if (poll(&poll_done, 1, 1000) > 0)
			eventfd_read(daemon->done_fd, &ignored);
	}
}

/*
 * Gives all workers `config`'s policy; fills `drain` if it is not NULL. `rules_lag`: the rules in
 * place are those for `rules_policy`. False when memory is short.
 */
static bool give_policy(struct daemon *daemon, const struct config *config, struct drain_set *drain, bool rules_lag,
			const struct policy *rules_policy)
{
	uint32_t workers = daemon->config->rules.workers;
	struct drain_set *parts = calloc(workers, sizeof(*parts));
	bool good = parts != NULL;

	for (uint32_t i = 0; good && drain && i < workers; i++)
		good = drain_set_open(&parts[i]);
	for (uint32_t i = 0; good && i < workers; i++) {
		struct worker_order order = {.policy = config->policy,
					     .rules_lag = rules_lag,
					     .rules_policy = rules_policy,
					     .is_draining = state_is_draining(&daemon->state),
					     .drain = drain ? &parts[i] : NULL};

		memcpy(order.timeout_s, config->timeout_s, sizeof(order.timeout_s));
		worker_give_order(&daemon->workers[i], &order);
	}
	for (uint32_t i = 0; good && i < workers; i++) {
		wait_for_worker(daemon, &daemon->workers[i]);
		if (drain)
			drain_set_merge(drain, &parts[i]);
	}
	for (uint32_t i = 0; parts && i < workers; i++)
		drain_set_close(&parts[i]);
	free(parts);
	return good;
}

enum {
	TRIAL_RETRY_MS = 10000,
	LESS_MOST = 4, /* times in a row that rules are put in place, and less is found */
};

/* True where somebody else has changed the rules since they were put in place; *ret_found: what they are. */
static bool are_rules_changed(struct daemon *daemon, uint64_t *ret_found)
{
	const struct rules_look look = helper_look(daemon->helper);

	*ret_found = look.fingerprint;
	if (look.fingerprint && !daemon->rules_fingerprint && !look.is_less)
		daemon->rules_fingerprint = look.fingerprint;
	return look.fingerprint && look.fingerprint != daemon->rules_fingerprint;
}

/*
 * Between the rules' installation and the first look somebody else may be there, too. A change before the kernel's count is asked
 * for is found by the look that follows, one after it by the count.
 */
static void note_rules(struct daemon *daemon)
{
	struct rules_look look;

	if (daemon->rules_watch)
		rules_watch_has_changed(daemon->rules_watch);
	look = helper_look(daemon->helper);
	daemon->less_in_a_row = look.is_less ? daemon->less_in_a_row + 1 : 0;
	daemon->rules_fingerprint = look.is_less && daemon->less_in_a_row < LESS_MOST ? 0 : look.fingerprint;
	daemon->has_to_check_rules = daemon->rules_fingerprint == 0;
	if (daemon->less_in_a_row == LESS_MOST)
		log_warning("some of pawsd's rules or sets are gone as soon as they are in place: they stay so, until somebody changes more");
}

static int install(struct daemon *daemon, const struct config *config, const struct drain_set *drain,
		   char *ret_error, size_t error_size)
{
	const struct rules_config *rules = &config->rules;
	struct helper_install request = {
		.is_new = !daemon->is_in_force || config != daemon->config, .drain = drain->entries, .drain_count = drain->count};
	struct rules_outcome outcome;
	uint64_t found;
	bool was_changed;

	if (daemon->rules_installed)
		strip_counts_read(&daemon->strip_counts, daemon->helper, daemon->config->policy,
				  state_now(&daemon->state), true);
	if (rules_have_labels(rules)) {
		request.label = state_next_labels(&daemon->state);
		request.generation = *daemon->state.generation;
	}
	/* Whoever comes after a kill cannot know which are in place, unless those before and behind are the same. */
	if (config != daemon->config || !daemon->config_digest || *daemon->state.rules_digest != daemon->config_digest)
		*daemon->state.rules_digest = 0;
	was_changed = daemon->rules_installed && !daemon->rules_held_back && are_rules_changed(daemon, &found);
	if (helper_install(daemon->helper, &request, &outcome, ret_error, error_size) < 0)
		return -1;
	daemon->is_in_force = true;
	daemon->has_failed_rules = false;
	daemon->rules_held_back = false;
	if (rules->backend == RULES_NONE)
		return 0;
	if (config == daemon->config)
		*daemon->state.rules_digest = daemon->config_digest;
	note_rules(daemon);
	if (was_changed) {
		log_warning("somebody else had changed pawsd's rules or sets: they are in place again");
		daemon->rules_changed++;
	}
	if (outcome.strip_error[0])
		log_warning("pawsd strips, for the rules cannot: %s", outcome.strip_error);
	if (outcome.label_error[0])
		log_warning("the rules look at every packet, for they cannot label connections: %s", outcome.label_error);
	daemon->rules_label = request.label && !outcome.label_error[0];
	strip_counts_change(&daemon->strip_counts, rules_can_strip(rules, config->policy) && !outcome.strip_error[0]);
	daemon->rules_installed = true;
	return 0;
}

static const struct destination *find_slot(const struct policy *policy, uint16_t slot)
{
	for (size_t i = 0; policy && i < policy->destination_count; i++) {
		if (policy->destinations[i].slot == slot)
			return &policy->destinations[i];
	}
	return NULL;
}

/* Notes since when each destination is stripped; `before`: the policy until now, or NULL. */
static void note_strips(struct daemon *daemon, const struct policy *policy, const struct policy *before)
{
	uint64_t now = state_now(&daemon->state);

	for (size_t i = 0; i < policy->destination_count; i++) {
		const struct destination *destination = &policy->destinations[i];
		const struct destination *old = find_slot(before, destination->slot);

		if (destination->mode == MODE_STRIP && !(old && old->mode == MODE_STRIP))
			daemon->stripped_since[destination->slot] = now;
	}
}

int reload_apply(struct daemon *daemon, struct config *config, char *ret_error, size_t error_size)
{
	const struct policy *before = config == daemon->config ? NULL : daemon->config->policy;
	const struct policy *rules_policy = before ? before : daemon->rules_policy;
	struct drain_set drain;

	if (!drain_set_open(&drain) || !give_policy(daemon, config, &drain, true, rules_policy)) {
		snprintf(ret_error, error_size, "out of memory");
		drain_set_close(&drain);
		return -1;
	}
	if (install(daemon, config, &drain, ret_error, error_size) < 0) {
		drain_set_close(&drain);
		return -1;
	}
	if (drain.overflow)
		log_warning("rewritten flows go to more than %d servers that are no longer rewritten; flows to the rest "
			    "will break",
			    DRAIN_MAX);
	if (drain.count)
		log_info("%zu servers stay queued until their flows of before have ended", drain.count);
	drain_set_close(&daemon->drain);
	daemon->drain = drain;
	note_strips(daemon, config->policy, before);
	if (before)
		watch_forget_changed(&daemon->watch, before, config->policy);
	give_policy(daemon, config, NULL, false, NULL);
	return 0;
}

static void note_outcome(struct daemon *daemon, bool ok, const char *words)
{
	daemon->last_reload_ok = ok;
	if (ok)
		daemon->reloads++;
	else
		daemon->reloads_refused++;
	snprintf(daemon->last_reload, sizeof(daemon->last_reload), "%s", words);
}

void reload_note_digest(struct daemon *daemon)
{
	if (!daemon->config_digest)
		daemon->config_digest = rules_digest(&daemon->config->rules, daemon->config->policy);
	if (daemon->rules_installed)
		*daemon->state.rules_digest = daemon->config_digest;
}

/* Looks for flows of before once more, and has the rules follow. */
static void renew_drain(struct daemon *daemon)
{
	struct drain_set drain;
	char error[1024];

	if (!drain_set_open(&drain) || !give_policy(daemon, daemon->config, &drain, false, NULL)) {
		drain_set_close(&drain);
		return;
	}
	memcpy(daemon->drain.strips, drain.strips, DESTINATION_SLOTS * sizeof(*drain.strips));
	if (drain_set_equal(&daemon->drain, &drain)) {
		drain_set_close(&drain);
		return;
	}
	if (install(daemon, daemon->config, &drain, error, sizeof(error)) < 0) {
		log_warning("the rules do not follow flows of before: %s", error);
		drain_set_close(&drain);
		return;
	}
	drain_set_close(&daemon->drain);
	daemon->drain = drain;
	if (drain.count == 0)
		log_info("the last flow of before has ended");
}

/* Puts `next`, which it takes, in force. Where that fails what is in force stays. */
static bool put_in_force(struct daemon *daemon, struct config *next, char *ret_error, size_t error_size)
{
	if (reload_apply(daemon, next, ret_error, error_size) < 0) {
		give_policy(daemon, daemon->config, NULL, false, NULL);
		config_free(next);
		reload_note_digest(daemon);
		return false;
	}
	config_free(daemon->config);
	daemon->config = next;
	daemon->config_digest = 0;
	/* Until the kernel's programs had the new policy they opened flows by that of before, also behind the look for them. */
	if (daemon->fastpath.attached.count)
		renew_drain(daemon);
	return true;
}

static size_t count_overrides(const struct policy *policy)
{
	size_t count = 0;

	for (size_t i = 0; i < policy->destination_count; i++)
		count += policy->destinations[i].is_overridden;
	return count;
}

void reload_config(struct daemon *daemon)
{
	const size_t overrides = count_overrides(daemon->config->policy);
	char error[1024];
	struct config *next;
	bool is_loaded = helper_load(daemon->helper, &next, daemon->state.names, error, sizeof(error)) == 0;

	if (is_loaded && daemon->has_to_stop) {
		config_free(next);
		return;
	}
	if (is_loaded && put_in_force(daemon, next, error, sizeof(error))) {
		log_set_level(next->log_level);
		note_outcome(daemon, true, "ok");
		log_info("reloaded %s: %zu destinations", daemon->config_path, next->policy->destination_count - 1);
		if (daemon->trial_until)
			log_info("the trial has ended");
		daemon->trial_until = 0;
		if (overrides)
			log_info("modes that were set by pawsctl, of %zu destinations, are those of the file again", overrides);
	} else {
		log_error("reload refused, the policy in force stays: %s", error);
		note_outcome(daemon, false, error);
	}
	if (!daemon->has_to_reload) /* not once more */
		notify_send("READY=1");
	reload_note_digest(daemon);
	reload_look_around(daemon);
}

static bool set_mode(struct daemon *daemon, const struct change *change, char *ret_error, size_t error_size)
{
	const struct destination *destination;
	struct config *next;

	if (helper_set_mode(daemon->helper, change->slot, change->mode, &next, daemon->state.names, ret_error, error_size) < 0 ||
	    !put_in_force(daemon, next, ret_error, error_size))
		return false;
	destination = find_slot(daemon->config->policy, change->slot);
	log_info(destination && destination->is_overridden ? "[%s%s] mode = %s until the next reload or start, by pawsctl set"
							   : "[%s%s] mode = %s, as the file says, by pawsctl set",
		 change->slot == SLOT_DEFAULT ? "" : "destination ", daemon->state.names->name[change->slot], mode_names[change->mode]);
	reload_note_digest(daemon);
	return true;
}

/* `trial` NULL: ends the one that there is. */
static bool change_trial(struct daemon *daemon, const struct policy_trial *trial, uint32_t seconds, char *ret_error, size_t error_size)
{
	struct config *next;
	char addr[64];

	if (helper_try(daemon->helper, trial, &next, daemon->state.names, ret_error, error_size) < 0 ||
	    !put_in_force(daemon, next, ret_error, error_size))
		return false;
	daemon->trial_until = 0;
	if (trial) {
		daemon->trial = *trial;
		daemon->trial_until = state_now(&daemon->state) + seconds * 1000ull;
		watch_forget_server(&daemon->watch, &trial->server, trial->port);
		addr_format(&trial->server, addr, sizeof(addr));
		log_info("trial: %s, mode = %s for %u s", addr, mode_names[trial->mode], seconds);
	} else {
		log_info("the trial has ended");
	}
	reload_note_digest(daemon);
	return true;
}

void reload_check_trial(struct daemon *daemon)
{
	char error[1024];

	if (!daemon->trial_until || daemon->now < daemon->trial_until)
		return;
	if (change_trial(daemon, NULL, 0, error, sizeof(error)))
		return;
	log_error("the trial's time is up, but it cannot be ended now: %s", error);
	daemon->trial_until = daemon->now + TRIAL_RETRY_MS;
}

void reload_carry_out(struct daemon *daemon)
{
	struct change *change = &daemon->change;
	bool good = false;

	switch (change->kind) {
	case CHANGE_NONE:
		return;
	case CHANGE_RELOAD:
		notify_reloading();
		reload_config(daemon);
		good = daemon->last_reload_ok;
		snprintf(change->problem, sizeof(change->problem), "%s", daemon->last_reload);
		break;
	case CHANGE_MODE:
		good = set_mode(daemon, change, change->problem, sizeof(change->problem));
		break;
	case CHANGE_TRIAL:
		good = change_trial(daemon, &change->trial, change->trial_s, change->problem, sizeof(change->problem));
		break;
	case CHANGE_TRIAL_END:
		/* One that has ended is no more, whoever has begun another since. */
		good = !daemon->trial_until || !policy_is_same_trial(&daemon->trial, &change->trial) ||
		       change_trial(daemon, NULL, 0, change->problem, sizeof(change->problem));
		break;
	}
	if (good)
		change->problem[0] = '\0';
	if (daemon->has_to_stop)
		snprintf(change->problem, sizeof(change->problem), "pawsd stops");
	change->kind = CHANGE_NONE;
	change->done++;
}

void reload_check_drain(struct daemon *daemon)
{
	if (daemon->drain.count > 0 || drain_set_has_strips(&daemon->drain))
		renew_drain(daemon);
}

void reload_check_rules(struct daemon *daemon)
{
	uint64_t found;
	char error[1024];

	daemon->has_to_check_rules = false;
	if (!daemon->rules_installed || !are_rules_changed(daemon, &found))
		return;
	*daemon->state.rules_digest = 0;
	if (daemon->config->on_change == ON_CHANGE_RESTORE) {
		daemon->has_failed_rules = install(daemon, daemon->config, &daemon->drain, error, sizeof(error)) < 0;
		if (daemon->has_failed_rules) /* it is tried again */
			log_error("somebody else has changed pawsd's rules, and they cannot be put in place again: %s", error);
	} else {
		log_warning("somebody else has changed pawsd's rules or sets: they stay so, see [rules] on_change");
		daemon->rules_fingerprint = found;
		daemon->rules_changed++;
	}
}

bool reload_renew_rules(struct daemon *daemon)
{
	char error[1024];

	if (!daemon->rules_installed)
		return true;
	daemon->rules_held_back = true;
	if (install(daemon, daemon->config, &daemon->drain, error, sizeof(error)) == 0)
		return true;
	log_warning("the rules do not go by what programs of the fast path there are now: %s", error);
	return false;
}

void reload_look_around(struct daemon *daemon)
{
	struct surroundings now;

	daemon->has_to_look = false;
	if (!daemon->is_in_force || !helper_is_there(daemon->helper) || !helper_look_around(daemon->helper, &now))
		return;
	for (int i = 0; i < HAZARD_COUNT; i++) {
		const struct metric_info *metric = &metric_table[METRIC_HAZARD_FLOWTABLE + i];
		const bool was = *daemon->surroundings.found[i], is = *now.found[i];

		if (is && !was)
			log_warning("%s %s: %s; see SURROUNDINGS in pawsd(8)", metric->name, metric->help, now.found[i]);
		else if (was && !is)
			log_info("%s 0: no more", metric->name);
	}
	daemon->surroundings = now;
	fastpath_look(daemon);
}

void reload_count_drain(struct daemon *daemon)
{
	uint64_t before = daemon->draining_flows;
	struct drain_set drain;
	char words[80];

	if (!state_is_draining(&daemon->state) || !drain_set_open(&drain))
		return;
	if (give_policy(daemon, daemon->config, &drain, false, NULL)) {
		daemon->draining_flows = drain.rewritten;
		snprintf(words, sizeof(words), "STATUS=draining, %" PRIu64 " rewritten connections go on", drain.rewritten);
		if (drain.rewritten != before)
			notify_send(drain.rewritten ? words : "STATUS=drained, pawsd can be stopped");
		if (drain.rewritten == 0 && before)
			log_info("drained: no connection is rewritten any more, pawsd can be stopped");
	}
	drain_set_close(&drain);
}

void reload_drain(struct daemon *daemon, bool is_draining)
{
	if (state_is_draining(&daemon->state) == is_draining)
		return;
	state_set_draining(&daemon->state, is_draining);
	fastpath_set_draining(daemon);
	daemon->draining_flows = UINT64_MAX; /* not counted yet */
	if (is_draining) {
		log_info("draining: no new connection is rewritten");
		reload_count_drain(daemon);
	} else {
		give_policy(daemon, daemon->config, NULL, false, NULL);
		log_info("no longer draining: new connections are rewritten again");
		notify_send("STATUS=");
	}
}
