/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "reason.h"

const struct reason_info reason_table[REASON_COUNT] = {
#define X(id, reason_name, reason_act, reason_tot, text) \
	[REASON_##id] = {.name = reason_name, .action = ACTION_##reason_act, .total = TOTAL_##reason_tot, .help = text},
	REASON_TABLE(X)
#undef X
};

const char *const reason_total_names[TOTAL_COUNT] = {
	[TOTAL_REWRITTEN] = "rewritten",
	[TOTAL_STRIPPED] = "stripped",
	[TOTAL_REPAIRED] = "repaired",
	[TOTAL_OBSERVED] = "observed",
	[TOTAL_PASSED] = "passed",
};
