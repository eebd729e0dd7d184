/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drives rules.h from a shell, without a daemon:
 *
 *   rulesctl install|print|remove [OPTION=VALUE ...] < policy
 *
 *   backend=iptables|nft|none  flavour=default|legacy|nft  placement=forward|postnat
 *   wan=NAME (may be repeated)  first=QUEUE  workers=N  drain=ADDRESS,PORT (may be repeated)
 *   fast=NAME (an interface with the kernel's programs; may be repeated)  mark_bit=N
 *
 * The policy is as policy_spec.h has it; remove reads none. Exit status 1 and one line on
 * standard error if it fails.
 */
#include "policy_spec.h"
#include "rules.h"

struct options {
	struct rules_config config;
	struct rules_drain drain[64];
	size_t drain_count;
};

static int choose(const char *value, const char *const *words, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(value, words[i]) == 0)
			return i;
	spec_die(value, "not one of the values");
}

static void add_drain(struct options *options, const char *value)
{
	char address[64];
	struct prefix prefix;
	const char *comma = strchr(value, ',');

	if (!comma || options->drain_count == 64)
		spec_die(value, "ADDRESS,PORT expected");
	snprintf(address, sizeof(address), "%.*s", (int)(comma - value), value);
	const char *error = prefix_parse(address, &prefix);

	if (error)
		spec_die(value, error);
	options->drain[options->drain_count++] =
		(struct rules_drain){.server = prefix.addr, .port = (uint16_t)atoi(comma + 1)};
}

static void read_option(struct options *options, const char *text)
{
	static const char *const backends[] = {"none", "iptables", "nft"};
	static const char *const flavours[] = {"default", "legacy", "nft"};
	static const char *const placements[] = {"forward", "postnat"};
	static const char *const strips[] = {"auto", "kernel", "queue"};
	struct rules_config *config = &options->config;
	const char *value = strchr(text, '=');

	if (!value++)
		spec_die(text, "OPTION=VALUE expected");
	if (strncmp(text, "backend=", 8) == 0)
		config->backend = (enum rules_backend)choose(value, backends, 3);
	else if (strncmp(text, "flavour=", 8) == 0)
		config->flavour = (enum rules_flavour)choose(value, flavours, 3);
	else if (strncmp(text, "placement=", 10) == 0)
		config->placement = (enum placement)choose(value, placements, 2);
	else if (strncmp(text, "label=", 6) == 0)
		options->config.label = (uint8_t)strtoul(value, NULL, 10);
	else if (strncmp(text, "strip=", 6) == 0)
		config->strip = (enum rules_strip)choose(value, strips, 3);
	else if (strncmp(text, "wan=", 4) == 0 && config->wan_count < WAN_MAX)
		snprintf(config->wan[config->wan_count++], INTERFACE_NAME_SIZE, "%s", value);
	else if (strncmp(text, "fast=", 5) == 0 && config->fastpath.interface_count < FASTPATH_INTERFACES_MAX)
		snprintf(config->fastpath.interfaces[config->fastpath.interface_count++].name,
			 sizeof(config->fastpath.interfaces[0].name), "%s", value);
	else if (strncmp(text, "mark_bit=", 9) == 0)
		config->fastpath.mark_bit = (uint32_t)atoi(value);
	else if (strncmp(text, "first=", 6) == 0)
		config->queue_first = (uint16_t)atoi(value);
	else if (strncmp(text, "workers=", 8) == 0)
		config->workers = (uint16_t)atoi(value);
	else if (strncmp(text, "drain=", 6) == 0)
		add_drain(options, value);
	else
		spec_die(text, "not a known option");
}

static struct policy *read_policy(void)
{
	static char text[1 << 20];
	const size_t len = fread(text, 1, sizeof(text) - 1, stdin);

	text[len] = '\0';
	return spec_policy(text);
}

int main(int argc, char **argv)
{
	struct options options = {
		.config = {.backend = RULES_IPTABLES, .queue_first = 9470, .workers = 1, .strip = STRIP_QUEUE,
			   .fastpath = {.mark_bit = 16}}};
	struct rules_outcome outcome;
	char error[512] = "";
	int result = 0;

	if (argc < 2)
		spec_die("usage", "rulesctl install|print|remove [OPTION=VALUE ...] < policy");
	for (int i = 2; i < argc; i++)
		read_option(&options, argv[i]);
	if (strcmp(argv[1], "remove") == 0) {
		result = rules_remove(&options.config, error, sizeof(error));
	} else {
		struct policy *policy = read_policy();

		if (strcmp(argv[1], "print") == 0)
			rules_print(stdout, &options.config, policy, options.drain, options.drain_count);
		else
			result = rules_install(&options.config, policy, options.drain, options.drain_count,
					       &outcome, error, sizeof(error));
		policy_free(policy);
	}
	if (result != 0)
		fprintf(stderr, "rulesctl: %s\n", error);
	return result != 0;
}
