/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `drain`, `resume`, `reload` and `set` on the control socket: what changes something. */
#include <string.h>
#include <strings.h>

#include "answers_internal.h"

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
	while (change.mode <= MODE_MAX && strcasecmp(mode_names[change.mode], words->word[3]) != 0)
		change.mode++;
	if (change.mode > MODE_MAX)
		return "set: no such mode; allowed: off, observe, strip, rewrite";
	if (!destination->enabled)
		return "set: that destination is disabled (enabled = no), and its mode is of no consequence";
	change.slot = destination->slot;
	return carry_out(daemon, words, &change, out);
}
