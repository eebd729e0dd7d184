/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A policy with a trial in it: one more destination, of one address, for a while. */
#include <stdlib.h>
#include <string.h>

#include "policy_build.h"

static void free_lists(struct destination *destination)
{
	free(destination->prefixes);
	free(destination->ports);
	free(destination->sources);
	*destination = (struct destination){0};
}

/* Those of the policy, which then has none, but no trial; and `trial`, if it is one, behind [default]. Takes it over. */
static struct destination *take_destinations(struct policy *policy, struct destination *trial, size_t *ret_count)
{
	struct destination *all = calloc(policy->destination_count + 1, sizeof(*all));
	size_t count = 0;

	if (!all)
		return NULL;
	all[count++] = policy->destinations[0];
	if (trial->is_trial)
		all[count++] = *trial;
	for (size_t i = 1; i < policy->destination_count; i++) {
		if (policy->destinations[i].is_trial)
			free_lists(&policy->destinations[i]);
		else
			all[count++] = policy->destinations[i];
	}
	policy->destination_count = 0;
	*trial = (struct destination){0};
	*ret_count = count;
	return all;
}

struct policy *policy_change_trial(struct policy *policy, const struct policy_trial *wanted, uint16_t slot)
{
	struct destination trial = {.enabled = true, .is_trial = wanted != NULL, .slot = slot, .name = TRIAL_NAME};
	struct destination *all = NULL;
	size_t count = 0;
	bool good = true;

	if (wanted) {
		trial.mode = wanted->mode;
		trial.repair = wanted->repair;
		trial.prefixes = calloc(1, sizeof(*trial.prefixes));
		trial.ports = wanted->port ? calloc(1, sizeof(*trial.ports)) : NULL;
		good = trial.prefixes && (trial.ports || !wanted->port);
	}
	if (wanted && good) {
		const enum family family = addr_family(&wanted->server);

		trial.prefixes[0] = (struct prefix){.addr = wanted->server, .family = family, .len = family == FAMILY_IPV4 ? 32 : 128};
		trial.prefix_count = 1;
		if (trial.ports)
			trial.ports[0] = (struct port_range){wanted->port, wanted->port};
		trial.port_count = trial.ports != NULL;
	}
	if (good)
		all = take_destinations(policy, &trial, &count);
	free_lists(&trial);
	policy_free(policy);
	return all ? policy_build(all, count) : NULL;
}
