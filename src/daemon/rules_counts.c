/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the rules that strip have counted. With iptables a rule's comment says of what reason its
 * packets are, and its chain of which destination; with nft the name of a counter says both.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rules_internal.h"

struct counts {
	uint64_t (*of)[RULES_STRIP_REASONS];
	size_t destination_count;
};

static void add(const struct counts *counts, unsigned int destination, const char *reason, uint64_t packets)
{
	for (size_t i = 0; i < RULES_STRIP_REASONS && destination < counts->destination_count; i++)
		if (strcmp(reason_table[rules_strip_reasons[i]].name, reason) == 0)
			counts->of[destination][i] += packets;
}

/* "[7:420] -A PAWSD-S3-OUT ... --comment syn_stripped ..." */
static void read_iptables_line(const struct counts *counts, const char *line)
{
	const char *comment = strstr(line, " --comment ");
	unsigned int destination;
	uint64_t packets;
	char reason[40];

	if (sscanf(line, "[%" SCNu64 ":%*u] -A " RULES_CHAIN "-S%u-", &packets, &destination) == 2 && comment &&
	    sscanf(comment, " --comment %39s", reason) == 1)
		add(counts, destination, reason, packets);
}

static int read_iptables(const struct rules_config *config, const struct counts *counts, char *ret_error,
			 size_t error_size)
{
	int error = 0;

	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		const char *argv[] = {rules_iptables_command(config, family, true), "-c", "-t", "mangle", NULL};
		char *saved = NULL, *save = NULL;

		/* Without IPv6 there is nothing to count. */
		if (rules_run(argv, NULL, 0, &saved, ret_error, error_size) != RUN_OK && family == FAMILY_IPV4)
			error = -1;
		for (char *line = saved ? strtok_r(saved, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
			read_iptables_line(counts, line);
		free(saved);
	}
	return error;
}

/* "counter s3_syn_stripped {" and, on the next line, "packets 7 bytes 420". */
static int read_nft(const struct counts *counts, char *ret_error, size_t error_size)
{
	static const char *const argv[] = {"nft", "list", "counters", "table", "inet", "pawsd", NULL};
	char *listing = NULL, *save = NULL, reason[40] = "";
	unsigned int destination = 0;
	uint64_t packets;
	int error = rules_run(argv, NULL, 0, &listing, ret_error, error_size) == RUN_OK ? 0 : -1;

	for (char *line = listing ? strtok_r(listing, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, " packets %" SCNu64 " bytes", &packets) == 1)
			add(counts, destination, reason, packets);
		else if (sscanf(line, " counter s%u_%39s {", &destination, reason) != 2)
			reason[0] = '\0';
	}
	free(listing);
	return error;
}

int rules_read_counts(const struct rules_config *config, uint64_t (*ret_counts)[RULES_STRIP_REASONS],
		      size_t destination_count, char *ret_error, size_t error_size)
{
	const struct counts counts = {ret_counts, destination_count};

	switch (config->backend) {
	case RULES_IPTABLES:
		return read_iptables(config, &counts, ret_error, error_size);
	case RULES_NFT:
		return read_nft(&counts, ret_error, error_size);
	case RULES_NONE:
		break;
	}
	return 0;
}
