/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands that make rules, what the rules need, and rules that are there already. */
#include <stdlib.h>
#include <string.h>

#include "doctor_internal.h"
#include "rules_internal.h"

enum {
	ERROR_SIZE = 1024,
	LABEL_TRIED = 64,
};

static const char backend_place[] = "pawsd.conf(5), RULES";

/* "iptables", "ip6tables-legacy", ... */
static const char *iptables_name(const struct rules_config *config, enum family family, char ret_name[32])
{
	const char *restore = rules_iptables_command(config, family, false);

	snprintf(ret_name, 32, "%.*s", (int)(strlen(restore) - strlen("-restore")), restore);
	return ret_name;
}

/* What a command says of its version, its first line; one line of why not, where it is not RUN_OK. */
static enum run_result ask_version(const char *command, const char *option, char *ret_text, size_t size)
{
	const char *argv[] = {command, option, NULL};
	char *output = NULL;
	const enum run_result result = rules_run(argv, NULL, 0, &output, ret_text, size);

	if (result == RUN_OK)
		snprintf(ret_text, size, "%.*s", output ? (int)strcspn(output, "\n") : 0, output ? output : "");
	free(output);
	return result;
}

/* ---- commands ---- */

static void look_at_command(struct doctor *doctor, const char *command, const char *option, bool is_needed)
{
	const enum doctor_level level = is_needed ? DOCTOR_FAIL : DOCTOR_NOTE;
	char text[ERROR_SIZE];

	switch (ask_version(command, option, text, sizeof(text))) {
	case RUN_OK:
		doctor_say(doctor, DOCTOR_OK, NULL, "%s", text);
		break;
	case RUN_MISSING:
		doctor_say(doctor, level, backend_place, "%s; install it%s", text,
			   is_needed ? ", or take another [rules] backend" : ", if you use it");
		break;
	case RUN_FAILED:
		doctor_say(doctor, doctor->is_admin ? level : DOCTOR_NOTE, backend_place, "%s; %s", text,
			   doctor->is_admin ? "take another [rules] backend, or another kernel" : "run pawsd --doctor as root");
		break;
	}
}

void doctor_look_at_commands(struct doctor *doctor)
{
	const struct rules_config *config = &doctor->config->rules;
	const bool is_iptables = config->backend == RULES_IPTABLES;
	char name[32];

	if (config->backend != RULES_NFT) {
		look_at_command(doctor, iptables_name(config, FAMILY_IPV4, name), "-V", is_iptables);
		look_at_command(doctor, iptables_name(config, FAMILY_IPV6, name), "-V", is_iptables);
		look_at_command(doctor, "ipset", "version", is_iptables);
	}
	look_at_command(doctor, "nft", "-v", config->backend == RULES_NFT);
}

/* ---- what the rules need ---- */

void doctor_look_at_rules(struct doctor *doctor)
{
	struct rules_config config = doctor->config->rules;
	const bool is_ours = config.backend != RULES_NONE;
	struct rules_outcome outcome;
	char error[ERROR_SIZE];

	if (doctor_lacks_rights(doctor))
		return;
	config.backend = rules_backend_shown(&config);
	if (rules_have_labels(&config))
		config.label = LABEL_TRIED;
	if (rules_try(&config, doctor->config->policy, &outcome, error, sizeof(error)) != 0) {
		doctor_say(doctor, is_ours ? DOCTOR_FAIL : DOCTOR_WARN, backend_place,
			   "they cannot be put in place: %s; take [rules] backend = %s, or another kernel", error,
			   config.backend == RULES_NFT && config.placement == PLACEMENT_FORWARD ? "iptables" : "nft");
		return;
	}
	if (*outcome.strip_error)
		doctor_say(doctor, DOCTOR_NOTE, backend_place,
			   "they cannot strip, so pawsd will, for which handshakes are queued: %s; no matter, or strip_backend "
			   "= queue",
			   outcome.strip_error);
	if (*outcome.label_error)
		doctor_say(doctor, DOCTOR_NOTE, backend_place,
			   "they cannot label connections, so each packet of others is looked at%s: %s; no matter, or labels = "
			   "off",
			   fastpath_is_wanted(&config.fastpath) ? ", and with the fast path packets to clients are queued" : "",
			   outcome.label_error);
	doctor_say(doctor, DOCTOR_OK, NULL, "kernel and commands have what they need, by %s%s",
		   config.backend == RULES_NFT ? "nft" : "iptables and ipset",
		   is_ours ? "" : " (backend = none: you put them in place)");
}

/* ---- what there is ---- */

/* The legacy flavour makes a table by looking at it. */
static bool has_legacy_table(const struct doctor *doctor, enum family family)
{
	char path[512], line[64];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "%s/proc/net/ip%s_tables_names", doctor->root, family == FAMILY_IPV6 ? "6" : "");
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		found |= strcmp(line, "mangle\n") == 0;
	if (file)
		fclose(file);
	return found;
}

/* Rules and jumps of ours, in both families. */
static uint32_t count_iptables(const struct doctor *doctor, const struct rules_config *config)
{
	struct rules_size size = {0};
	char name[32], text[ERROR_SIZE];

	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		struct present present = {0};

		if (ask_version(iptables_name(config, family, name), "-V", text, sizeof(text)) != RUN_OK ||
		    (strstr(text, "legacy") && !has_legacy_table(doctor, family)))
			continue;
		if (rules_read_present(config, family, false, &present, text, sizeof(text)) == 0 && present.is_there) {
			rules_measure_iptables(present.rules.bytes, &size);
			rules_measure_iptables(present.jumps.bytes, &size);
		}
		rules_present_free(&present);
	}
	return size.rules;
}

static uint32_t count_nft(void)
{
	const struct rules_config nft = {.backend = RULES_NFT};
	const struct rules_size none = {0};

	return rules_look(&nft, &none).size.rules;
}

static void say_left_over(struct doctor *doctor, bool is_nft, uint32_t count, const char *why)
{
	doctor_say(doctor, DOCTOR_WARN, "pawsd(8), Switching it off", "%u rules of pawsd by %s are there, %s: %s", count,
		   is_nft ? "nft" : "iptables", why,
		   is_nft ? "nft delete table inet pawsd"
			  : "iptables -t mangle -D FORWARD -p tcp -j PAWSD, and the same with ip6tables (iptables-save -t "
			    "mangle shows them)");
}

/* Those of the backend that is configured. */
static void look_at_own(struct doctor *doctor, bool is_nft, uint32_t count)
{
	if (doctor->running && count)
		doctor_say(doctor, DOCTOR_OK, NULL, "%u rules of pawsd by %s are in place", count, is_nft ? "nft" : "iptables");
	else if (doctor->running)
		doctor_say(doctor, DOCTOR_WARN, "pawsd(8), Queues and rules",
			   "process %u runs, and no rule of pawsd is in place: it has nothing to do, or somebody has flushed "
			   "them, and it puts them back within 5 seconds unless [rules] on_change = warn; pawsctl status, "
			   "rules_installed",
			   doctor->running);
	else if (count)
		say_left_over(doctor, is_nft, count,
			      "and no pawsd: until one starts, packets of rewritten connections are dropped, and all SYNs pass "
			      "unmodified; systemctl start pawsd, or to be rid of them");
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "none is left over");
}

void doctor_look_at_rules_present(struct doctor *doctor)
{
	const struct rules_config *config = &doctor->config->rules;
	const uint32_t by_iptables = doctor->is_admin ? count_iptables(doctor, config) : 0,
		       by_nft = doctor->is_admin ? count_nft() : 0;

	if (doctor_lacks_rights(doctor))
		return;
	if (config->backend == RULES_NONE) {
		if (by_iptables || by_nft)
			doctor_say(doctor, DOCTOR_OK, NULL, "%u rules with pawsd's names are in place", by_iptables + by_nft);
		else
			doctor_say(doctor, DOCTOR_WARN, backend_place,
				   "[rules] backend = none, and no rule with pawsd's names is there: no packet comes to it; "
				   "put in place what pawsd -c %s --print-rules prints, or take backend = iptables or nft",
				   doctor->path);
		return;
	}
	look_at_own(doctor, config->backend == RULES_NFT, config->backend == RULES_NFT ? by_nft : by_iptables);
	if (config->backend == RULES_NFT ? by_iptables : by_nft)
		say_left_over(doctor, config->backend != RULES_NFT, config->backend == RULES_NFT ? by_iptables : by_nft,
			      "which the other [rules] backend has made, and nobody removes, so that packets are queued twice");
}
