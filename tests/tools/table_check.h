/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_TABLE_CHECK_H
#define PAWSD_TESTS_TABLE_CHECK_H

#include "flow_table.h"

/* True when the flow, or the younger one that it is the elder of, is what a look-up finds from either side. */
static inline bool table_reaches(const struct flow_table *table, const struct flow *flow)
{
	for (int from_client = 0; from_client < 2; from_client++) {
		bool outbound = !from_client;
		const struct flow *found =
			from_client ? flow_table_find(table, &flow->client, flow->client_port, &flow->server,
						      flow->server_port, &outbound)
				    : flow_table_find(table, &flow->server, flow->server_port, &flow->client,
						      flow->client_port, &outbound);

		if (!found || outbound != from_client)
			return false;
		if (found != flow && !((found->flags & FLOW_HAS_ELDER) && flow_table_find_elder(table, found) == flow))
			return false;
	}
	return true;
}

#endif
