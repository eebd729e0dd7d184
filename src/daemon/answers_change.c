/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `drain`, `resume`, `reload` and `set` on the control socket: what changes something. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "answers_internal.h"
#include "policy_build.h"

enum {
	TRIAL_MOST_S = 86400,
};

const char *answer_drain(struct daemon *daemon, const struct words *words, FILE *out)
{
	if (daemon->asking_since) /* perhaps in the midst of a change */
		return control_later;
	reload_drain(daemon, strcmp(words->word[0], "drain") == 0);
	return answer_status(daemon, words, out);
}

/*
 * Has the main loop carry it out, one after the other, and waits for that. Whoever has asked for one is told before the next
 * one is begun, for the next one to ask is asked behind him.
 */
static const char *carry_out(struct daemon *daemon, const struct words *words, const struct change *wanted, FILE *out)
{
	struct change *change = &daemon->change;

	if (*words->progress == 0) {
		if (change->kind != CHANGE_NONE || daemon->asking_since)
			return control_later;
		change->kind = wanted->kind;
		change->slot = wanted->slot;
		change->mode = wanted->mode;
		change->trial = wanted->trial;
		change->trial_s = wanted->trial_s;
		*words->progress = ++change->begun;
	}
	if (change->done < *words->progress)
		return control_later;
	return change->problem[0] ? change->problem : answer_status(daemon, words, out);
}

const char *answer_reload(struct daemon *daemon, const struct words *words, FILE *out)
{
	return carry_out(daemon, words, &(struct change){.kind = CHANGE_RELOAD}, out);
}

static const struct destination *find_destination(const struct policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->destination_count; i++) {
		if (strcmp(policy->destinations[i].name, name) == 0)
			return &policy->destinations[i];
	}
	return NULL;
}

static bool find_mode(const char *name, enum mode *ret)
{
	for (*ret = MODE_OFF; *ret <= MODE_MAX; ++*ret) {
		if (strcasecmp(mode_names[*ret], name) == 0)
			return true;
	}
	return false;
}

static bool find_repair(const char *name, enum repair *ret)
{
	for (*ret = REPAIR_OFF; *ret <= REPAIR_MAX; ++*ret) {
		if (strcasecmp(repair_names[*ret], name) == 0)
			return true;
	}
	return false;
}

const char *answer_set(struct daemon *daemon, const struct words *words, FILE *out)
{
	struct change change = {.kind = CHANGE_MODE, .mode = MODE_OFF};
	const struct destination *destination;

	if (*words->progress)
		return carry_out(daemon, words, &change, out);
	if (words->count != 4 || strcmp(words->word[2], "mode") != 0)
		return "set needs the name of a destination, the word mode, and off, observe, strip or rewrite";
	destination = find_destination(daemon->config->policy, words->word[1]);
	if (!destination)
		return "set: no such destination; allowed: default, and the names that `pawsctl destinations` shows";
	if (!find_mode(words->word[3], &change.mode))
		return "set: no such mode; allowed: off, observe, strip, rewrite";
	if (destination->is_trial)
		return "set: a trial has the mode that it was begun with";
	if (!destination->enabled)
		return "set: that destination is disabled (enabled = no), and its mode is of no consequence";
	change.slot = destination->slot;
	return carry_out(daemon, words, &change, out);
}

static bool read_server(const char *server, const char *port, struct policy_trial *ret)
{
	struct prefix prefix;

	if (strchr(server, '/') || prefix_parse(server, &prefix) || !words_port(port, &ret->port))
		return false;
	ret->server = prefix.addr;
	return true;
}

static const char usage_of_try[] = "try needs an address, a port or -, a mode, off, echo or zero, and a number of seconds; or, to "
				   "end it, the word end, the address, and the port or -";

/* ADDRESS PORT MODE REPAIR SECONDS. What is wrong with it, or NULL. */
static const char *read_trial(const struct words *words, struct change *ret)
{
	char *end;
	unsigned long seconds;

	if (words->count != 6 || !read_server(words->word[1], words->word[2], &ret->trial) ||
	    !find_mode(words->word[3], &ret->trial.mode) || !find_repair(words->word[4], &ret->trial.repair))
		return usage_of_try;
	seconds = strtoul(words->word[5], &end, 10);
	if (*words->word[5] < '0' || *words->word[5] > '9' || *end || seconds < 1 || seconds > TRIAL_MOST_S)
		return "try: a trial takes 1 to 86400 seconds";
	ret->trial_s = (uint32_t)seconds;
	return NULL;
}

/* Another one's trial is not replaced; one's own is, by its next part. */
static bool is_of_another(const struct daemon *daemon, const struct policy_trial *trial)
{
	return daemon->trial_until && !policy_is_same_trial(&daemon->trial, trial);
}

const char *answer_try(struct daemon *daemon, const struct words *words, FILE *out)
{
	struct change change = {.kind = CHANGE_TRIAL};
	const char *wrong;

	if (words->count > 1 && strcmp(words->word[1], "end") == 0) {
		if (words->count != 4 || !read_server(words->word[2], words->word[3], &change.trial))
			return usage_of_try;
		change.kind = CHANGE_TRIAL_END;
		return carry_out(daemon, words, &change, out);
	}
	wrong = read_trial(words, &change);
	if (wrong)
		return wrong;
	if (*words->progress == 0 && is_of_another(daemon, &change.trial))
		return "try: there is a trial of another server already; `pawsctl status` shows it";
	if (*words->progress == 0 && state_is_draining(&daemon->state)) /* be it to observe first */
		return "try: pawsd drains, and rewrites no new connection; `pawsctl resume` ends that";
	return carry_out(daemon, words, &change, out);
}
