/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "totals.h"

#include <string.h>

void count_add(uint64_t *sum, uint64_t count)
{
	*sum = count > INT64_MAX - *sum ? INT64_MAX : *sum + count;
}

/* Every reason about a SYN; those of no room are not named so. */
static bool reason_is_syn(int reason)
{
	return strncmp(reason_table[reason].name, "syn_", strlen("syn_")) == 0 || reason == REASON_TABLE_FULL ||
	       reason == REASON_CLIENT_QUOTA;
}

void totals_add(struct totals *totals, const struct snapshot_destination *destination)
{
	for (int i = 0; i < REASON_COUNT; i++) {
		enum reason_total total = reason_table[i].total;

		count_add(&totals->packets[total], destination->packets[i]);
		if (reason_is_syn(i)) {
			count_add(&totals->syns[total], destination->packets[i]);
			count_add(&totals->syn_count, destination->packets[i]);
		}
	}
	for (int i = FLOW_FREE + 1; i < FLOW_STATE_COUNT; i++)
		count_add(&totals->flows[i], destination->flows[i]);
}

const char *advice_strip(const struct snapshot_destination *destination)
{
	if (destination->packets[REASON_SYN_NO_TIMESTAMPS_MIXED] == 0 || strcmp(destination->mode, "strip") == 0)
		return NULL;
	return "clients without timestamps connect to servers that others use timestamps with. If these servers "
	       "are of the RHEL 7 family with tcp_tw_recycle, they drop such SYNs, and only mode = strip for all "
	       "clients of this destination is a cure";
}
