/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_TABLE_CHECK_H
#define PAWSD_TESTS_TABLE_CHECK_H

#include "flow_table.h"

/* A connection of an end with itself goes out both ways. */
static inline bool table_same_ends(const struct flow *flow)
{
	return flow->client_port == flow->server_port && addr_equal(&flow->client, &flow->server);
}

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

		if (!found || (outbound != from_client && !table_same_ends(flow)))
			return false;
		if (found != flow && !((found->flags & FLOW_HAS_ELDER) && flow_table_find_elder(table, found) == flow))
			return false;
	}
	return true;
}

#endif
