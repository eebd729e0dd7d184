/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "metrics.h"

const struct metric_info metric_table[METRIC_COUNT] = {
#define X(id, metric_name, metric_kind, metric_unit, text) \
	[METRIC_##id] = {.name = metric_name, \
			 .type = METRIC_TYPE_##metric_kind, \
			 .unit = METRIC_UNIT_##metric_unit, \
			 .help = text},
	METRIC_TABLE(X)
#undef X
};
