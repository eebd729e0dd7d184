/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "strip_counts.h"

#include <stdlib.h>
#include <string.h>

#include "log.h"

enum {
	READ_INTERVAL_MS = 1000,
};

/* A figure smaller than before: somebody has made the rules anew. */
static void note(struct strip_counts *counts, uint32_t slot, uint32_t reason, uint64_t packets)
{
	if (packets < counts->now[slot][reason])
		counts->before[slot][reason] += counts->now[slot][reason];
	counts->now[slot][reason] = packets;
}

void strip_counts_read(struct strip_counts *counts, struct helper *helper, const struct policy *policy,
		       uint64_t now_ms, bool is_last)
{
	uint64_t(*read)[RULES_STRIP_REASONS];
	char error[512];

	if (!counts->in_kernel || (!is_last && now_ms - counts->read_ms < READ_INTERVAL_MS))
		return;
	counts->read_ms = now_ms;
	read = calloc(policy->destination_count, sizeof(*read));
	if (!read)
		return;
	if (helper_read_counts(helper, read, policy->destination_count, error, sizeof(error)) == 0) {
		counts->has_failed = false;
		for (size_t i = 0; i < policy->destination_count; i++)
			for (uint32_t reason = 0; reason < RULES_STRIP_REASONS; reason++)
				note(counts, policy->destinations[i].slot, reason, read[i][reason]);
	} else if (!counts->has_failed) {
		counts->has_failed = true;
		log_warning("what the rules have stripped cannot be read: %s", error);
	}
	free(read);
}

void strip_counts_change(struct strip_counts *counts, bool in_kernel)
{
	for (uint32_t slot = 0; slot < DESTINATION_SLOTS; slot++)
		for (uint32_t reason = 0; reason < RULES_STRIP_REASONS; reason++)
			counts->before[slot][reason] += counts->now[slot][reason];
	memset(counts->now, 0, sizeof(counts->now));
	counts->in_kernel = in_kernel;
}

uint64_t strip_counts_get(const struct strip_counts *counts, uint32_t slot, enum reason reason)
{
	for (uint32_t i = 0; i < RULES_STRIP_REASONS && slot < DESTINATION_SLOTS; i++)
		if (rules_strip_reasons[i] == reason)
			return counts->before[slot][i] + counts->now[slot][i];
	return 0;
}
