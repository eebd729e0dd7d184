/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Putting rules in place and taking them away.
 *
 * nft does it all in one transaction. With iptables the order is this, so that at any instant
 * a packet meets either the old rules or the new ones, and any failure leaves the old:
 *
 *   1. read what there is of ours, in both families: chains, their rules, jumps to them
 *   2. make the new sets, their names with a letter (generation) that no set has yet
 *   3. per family, one iptables-restore that flushes and deletes our old chains and jumps, and
 *      makes the new; if the second family fails, the first gets back what step 1 read
 *   4. destroy all sets of other generations
 *
 * A process that was killed in between leaves nothing that the next one would not find in
 * steps 1 and 4.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rules_internal.h"

/* ---- sets ---- */

/* The letter of a set of ours ("pawsd-b4-g1", "pawsd-b-p2"), or 0. */
static char set_generation(const char *name)
{
	const size_t own = strlen(RULES_SET_PREFIX);

	if (strncmp(name, RULES_SET_PREFIX, own) != 0 || !islower((unsigned char)name[own]))
		return 0;
	const char *rest = name + own + 1;

	rest += *rest == '4' || *rest == '6';
	return *rest == '-' ? name[own] : '\0';
}

/*
 * The names of all sets, one per line; "" also where ipset is missing or the kernel has none:
 * if sets are needed, making them will tell.
 */
static char *list_sets(void)
{
	static const char *const argv[] = {"ipset", "list", "-n", NULL};
	char error[200], *names = NULL;

	if (rules_run(argv, NULL, 0, &names, error, sizeof(error)) != RUN_OK) {
		free(names);
		names = NULL;
	}
	return names ? names : strdup("");
}

static char choose_generation(void)
{
	char *names = list_sets();
	bool is_taken[128] = {false};
	char letter = 'a';

	for (const char *name = names; name && *name; name += strcspn(name, "\n"), name += *name == '\n')
		is_taken[(unsigned char)set_generation(name)] = true;
	free(names);
	while (letter <= 'z' && is_taken[(unsigned char)letter])
		letter++;
	return letter <= 'z' ? letter : '\0';
}

/* "destroy NAME" lines for our sets: those of generation `only`, or where that is 0 all but `keep`. */
static bool write_destroys(struct text *ret, char only, char keep)
{
	char *names = list_sets();

	if (!names || !rules_text_begin(ret)) {
		free(names);
		return false;
	}
	for (const char *name = names; *name;) {
		const size_t len = strcspn(name, "\n");
		const char generation = set_generation(name);

		if (generation && (only ? generation == only : generation != keep))
			fprintf(ret->file, "destroy %.*s\n", (int)len, name);
		name += len + (name[len] == '\n');
	}
	free(names);
	return rules_text_end(ret);
}

/* Each by itself: one that something else uses must not keep the others. */
static int destroy_one_by_one(const char *destroys, char *ret_error, size_t error_size)
{
	char error[200], name[40];
	int result = 0;

	for (const char *line = destroys; *line; line += strcspn(line, "\n") + 1) {
		const char *argv[] = {"ipset", "destroy", name, NULL};

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(line + 8, "\n"), line + 8);
		if (rules_run(argv, NULL, 0, NULL, error, sizeof(error)) != RUN_OK) {
			snprintf(ret_error, error_size, "set %s: %s", name, error);
			result = -1;
		}
	}
	return result;
}

/*
 * Destroys sets. The kernel lets go of the rules of a transaction of iptables-nft some time
 * after it, and until then says that their sets are in use: so it is tried for a second.
 */
static int destroy_sets(char only, char keep, char *ret_error, size_t error_size)
{
	static const char *const argv[] = {"ipset", "restore", NULL};
	const struct timespec pause = {.tv_nsec = 20000000};

	for (int tries = 0;; tries++) {
		struct text input = {0};

		if (!write_destroys(&input, only, keep)) {
			rules_text_free(&input);
			return rules_complain_of_memory(ret_error, error_size);
		}
		if (input.len == 0 ||
		    rules_run(argv, input.bytes, input.len, NULL, ret_error, error_size) == RUN_OK) {
			rules_text_free(&input);
			return 0;
		}
		if (tries == 50) {
			const int result = destroy_one_by_one(input.bytes, ret_error, error_size);

			rules_text_free(&input);
			return result;
		}
		rules_text_free(&input);
		nanosleep(&pause, NULL);
	}
}

/* ---- install and remove ---- */

/* All that an installation needs, made before anything is changed. */
struct installation {
	struct rules_plan plans[FAMILY_COUNT];
	struct present before[FAMILY_COUNT];
	struct text chains[FAMILY_COUNT];
	struct text sets;
	char generation;
};

static void installation_free(struct installation *installation)
{
	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		rules_plan_free(&installation->plans[family]);
		rules_present_free(&installation->before[family]);
		rules_text_free(&installation->chains[family]);
	}
	rules_text_free(&installation->sets);
}

static int write_texts(struct installation *installation)
{
	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		struct text *chains = &installation->chains[family];

		if (!rules_text_begin(chains))
			return -1;
		rules_write_chains(chains->file, &installation->plans[family], installation->generation);
		if (!rules_text_end(chains))
			return -1;
	}
	if (!rules_text_begin(&installation->sets))
		return -1;
	rules_write_sets(installation->sets.file, installation->plans, installation->generation);
	return rules_text_end(&installation->sets) ? 0 : -1;
}

static int prepare(struct installation *installation, const struct rules_config *config, char *ret_error,
		   size_t error_size)
{
	for (enum family family = 0; family < FAMILY_COUNT; family++)
		if (rules_read_present(config, family, !installation->plans[family].is_empty,
				 &installation->before[family], ret_error, error_size) != 0)
			return -1;
	installation->generation = choose_generation();
	if (!installation->generation) {
		snprintf(ret_error, error_size, "ipset: sets " RULES_SET_PREFIX "a... to " RULES_SET_PREFIX
			 "z... are all there and in use, no name is left");
		return -1;
	}
	return write_texts(installation) == 0 ? 0 : rules_complain_of_memory(ret_error, error_size);
}

static int switch_chains(struct installation *installation, const struct rules_config *config, char *ret_error,
			 size_t error_size)
{
	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		if (rules_replace(config, family, &installation->before[family], installation->chains[family].bytes,
			    ret_error, error_size) == 0)
			continue;
		while (family-- > 0)
			rules_put_back(config, family, &installation->before[family]);
		return -1;
	}
	return 0;
}

static int install_iptables(struct installation *installation, const struct rules_config *config,
			    struct rules_size *ret_size, char *ret_error, size_t error_size)
{
	static const char *const argv[] = {"ipset", "restore", NULL};
	const struct text *sets = &installation->sets;
	char ignored[200];

	if (prepare(installation, config, ret_error, error_size) != 0)
		return -1;
	if (sets->len > 0 && rules_run(argv, sets->bytes, sets->len, NULL, ret_error, error_size) != RUN_OK) {
		destroy_sets(installation->generation, 0, ignored, sizeof(ignored));
		return -1;
	}
	if (switch_chains(installation, config, ret_error, error_size) != 0) {
		destroy_sets(installation->generation, 0, ignored, sizeof(ignored));
		return -1;
	}
	for (enum family family = 0; family < FAMILY_COUNT; family++)
		rules_measure_iptables(installation->chains[family].bytes, ret_size);
	rules_measure_sets(sets->bytes, ret_size);
	/* The rules are in place; a set that cannot be destroyed now is tried again next time. */
	destroy_sets(0, installation->generation, ignored, sizeof(ignored));
	return 0;
}

static const char *const nft_commit[] = {"nft", "-f", "-", NULL};
static const char *const nft_check[] = {"nft", "-c", "-f", "-", NULL};

static int run_nft(const char *const *argv, const struct rules_plan *plans, const char *clearing, struct rules_size *ret_size,
		   char *ret_error, size_t error_size)
{
	struct text input;
	int error = 0;

	if (!rules_text_begin(&input))
		return rules_complain_of_memory(ret_error, error_size);
	rules_write_nft(input.file, plans, clearing);
	if (!rules_text_end(&input))
		error = rules_complain_of_memory(ret_error, error_size);
	else if (rules_run(argv, input.bytes, input.len, NULL, ret_error, error_size) != RUN_OK)
		error = -1;
	else if (ret_size)
		rules_measure_nft(input.bytes, ret_size);
	rules_text_free(&input);
	return error;
}

/* Over the table that stands, if it is one like this; else in its place. */
static int install_nft(const struct installation *installation, const struct rules_config *config,
		       struct rules_size *ret_size, char *ret_error, size_t error_size)
{
	static const char *const argv[] = {"nft", "-t", "list", "table", "inet", "pawsd", NULL};
	const struct rules_plan *plans = installation->plans;
	bool is_empty = plans[FAMILY_IPV4].is_empty && plans[FAMILY_IPV6].is_empty;
	char *listing = NULL, *clearing = NULL;
	int error = -1;

	if (!is_empty && rules_run(argv, "", 0, &listing, ret_error, error_size) == RUN_OK && listing)
		clearing = rules_nft_clearing(listing, config->placement);
	free(listing);
	if (clearing)
		error = run_nft(nft_commit, plans, clearing, ret_size, ret_error, error_size);
	free(clearing);
	return error == 0 ? 0 : run_nft(nft_commit, plans, NULL, ret_size, ret_error, error_size);
}

/* In nobody's place: what is there stays. */
static int try_iptables(struct installation *installation, const struct rules_config *config, char *ret_error,
			size_t error_size)
{
	installation->generation = 'a';
	if (write_texts(installation) != 0)
		return rules_complain_of_memory(ret_error, error_size);
	for (enum family family = 0; family < FAMILY_COUNT; family++)
		if (rules_try_chains(config, family, installation->chains[family].bytes, ret_error, error_size) != 0)
			return -1;
	return rules_try_sets(installation->sets.bytes, ret_error, error_size);
}

/* What is to be installed. */
struct request {
	const struct rules_config *config;
	const struct policy *policy;
	const struct rules_drain *drain;
	size_t drain_count;
	bool is_trial; /* nothing is: it is asked whether it could be */
};

static int install_plans(const struct request *request, bool kernel_strips, struct rules_size *ret_size, char *ret_error,
			 size_t error_size)
{
	const struct rules_config *config = request->config;
	struct installation installation = {0};
	bool done = true;
	int error;

	*ret_size = (struct rules_size){0};
	for (enum family family = 0; family < FAMILY_COUNT; family++)
		done &= rules_plan_init(&installation.plans[family], family, config, request->policy, request->drain,
					request->drain_count, kernel_strips) == 0;
	if (!done)
		error = rules_complain_of_memory(ret_error, error_size);
	else if (request->is_trial && config->backend == RULES_NFT)
		error = run_nft(nft_check, installation.plans, NULL, ret_size, ret_error, error_size);
	else if (request->is_trial)
		error = try_iptables(&installation, config, ret_error, error_size);
	else if (config->backend == RULES_NFT)
		error = install_nft(&installation, config, ret_size, ret_error, error_size);
	else
		error = install_iptables(&installation, config, ret_size, ret_error, error_size);
	installation_free(&installation);
	return error;
}

bool rules_can_strip(const struct rules_config *config, const struct policy *policy)
{
	for (size_t i = 0; i < policy->destination_count && config->strip != STRIP_QUEUE; i++)
		if (policy->destinations[i].mode == MODE_STRIP && !policy->destinations[i].is_trial)
			return true;
	return false;
}

/* With kernel strip or without. */
static int install(const struct request *request, struct rules_outcome *ret, char *ret_error, size_t error_size)
{
	const struct rules_config *config = request->config;

	ret->strip_error[0] = '\0';
	if (config->strip == STRIP_AUTO && rules_can_strip(config, request->policy)) {
		if (install_plans(request, true, &ret->size, ret->strip_error, sizeof(ret->strip_error)) == 0) {
			ret->strip_error[0] = '\0';
			return 0;
		}
		return install_plans(request, false, &ret->size, ret_error, error_size);
	}
	return install_plans(request, config->strip != STRIP_QUEUE, &ret->size, ret_error, error_size);
}

/* And with labels or without. */
static int install_request(const struct request *request, struct rules_outcome *ret, char *ret_error, size_t error_size)
{
	const struct rules_config *config = request->config;
	struct rules_config without = *config;
	struct request unlabelled = *request;

	*ret = (struct rules_outcome){0};
	if (config->backend == RULES_NONE)
		return 0;
	if (config->backend == RULES_IPTABLES && config->placement == PLACEMENT_POSTNAT) {
		snprintf(ret_error, error_size, "rules: placement postnat needs backend nft");
		return -1;
	}
	if (!config->label)
		return install(request, ret, ret_error, error_size);
	if (install(request, ret, ret->label_error, sizeof(ret->label_error)) == 0) {
		ret->label_error[0] = '\0';
		return 0;
	}
	without.label = 0;
	unlabelled.config = &without;
	return install(&unlabelled, ret, ret_error, error_size);
}

int rules_install(const struct rules_config *config, const struct policy *policy, const struct rules_drain *drain,
		  size_t drain_count, struct rules_outcome *ret, char *ret_error, size_t error_size)
{
	const struct request request = {config, policy, drain, drain_count, false};

	return install_request(&request, ret, ret_error, error_size);
}

int rules_try(const struct rules_config *config, const struct policy *policy, struct rules_outcome *ret, char *ret_error,
	      size_t error_size)
{
	const struct request request = {config, policy, NULL, 0, true};

	return install_request(&request, ret, ret_error, error_size);
}

static int remove_iptables(const struct rules_config *config, char *ret_error, size_t error_size)
{
	int result = 0;

	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		struct present present;

		if (rules_read_present(config, family, false, &present, ret_error, error_size) != 0 ||
		    rules_replace(config, family, &present, "", ret_error, error_size) != 0)
			result = -1;
		rules_present_free(&present);
	}
	/* Sets that rules still use would only hide what went wrong. */
	return result == 0 ? destroy_sets(0, 0, ret_error, error_size) : result;
}

void rules_hold_back(const struct rules_config *config)
{
	static const char script[] = "flush chain inet pawsd fast\nadd rule inet pawsd fast goto slow\n";
	char ignored[200];

	if (config->backend == RULES_NFT)
		rules_run(nft_commit, script, strlen(script), NULL, ignored, sizeof(ignored));
}

int rules_remove(const struct rules_config *config, char *ret_error, size_t error_size)
{
	switch (config->backend) {
	case RULES_IPTABLES:
		return remove_iptables(config, ret_error, error_size);
	case RULES_NFT:
		return run_nft(nft_commit, NULL, NULL, NULL, ret_error, error_size);
	case RULES_NONE:
		break;
	}
	return 0;
}
