/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "flow.h"

const char *const flow_state_names[FLOW_STATE_COUNT] = {
	[FLOW_FREE] = "FREE",
#define X(id, name, timeout_s, help) [FLOW_##id] = name,
	FLOW_STATE_TABLE(X)
#undef X
};
