/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FLOW_TABLE_H
#define PAWSD_FLOW_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow.h"

/*
 * One worker's flows: fixed memory that the caller provides (P9). The flows and SYN pairs may
 * lie in a file and outlive the process; the index (hash heads, free lists) is rebuilt from
 * them by flow_table_init(), so nothing has to be consistent but each single flow.
 */
struct flow_table {
	struct flow *flows;
	struct syn_pairs *pairs;
	uint32_t *heads;
	uint32_t capacity, pair_capacity, head_mask;
	uint32_t free_flow, free_pairs; /* free lists, index plus one */
	uint32_t used, pairs_used;
	uint32_t sweep_hand;
	uint64_t secret[2];
};

/* Bytes of the parts of a table for `capacity` flows. heads are private, the rest may be shared. */
uint32_t flow_table_pair_capacity(uint32_t capacity);
size_t flow_table_heads_bytes(uint32_t capacity);

/*
 * Sets up the index over what is in `flows` and `pairs` (zeroed, or from an earlier process;
 * flows with impossible contents are freed). `heads` has flow_table_heads_bytes() bytes, any
 * contents.
 */
void flow_table_init(struct flow_table *table, struct flow *flows, struct syn_pairs *pairs, uint32_t *heads,
		     uint32_t capacity, const uint64_t secret[2]);

/*
 * Finds the flow between two endpoints, whichever is the client: *ret_outbound says whether
 * `src` is. NULL where there is none.
 */
struct flow *flow_table_find(const struct flow_table *table, const struct addr *src, uint16_t src_port,
			     const struct addr *dst, uint16_t dst_port, bool *ret_outbound);

/*
 * A new flow with its key set, all else 0 and state FLOW_FREE: the caller fills it and sets
 * the state last. NULL when the table is full.
 */
struct flow *flow_table_add(struct flow_table *table, const struct addr *client, uint16_t client_port,
			    const struct addr *server, uint16_t server_port);

void flow_table_remove(struct flow_table *table, struct flow *flow);

/* The flow's SYN pairs; NULL where it has none. */
struct syn_pairs *flow_table_pairs(const struct flow_table *table, const struct flow *flow);
/* Gives it an empty block; NULL when none is left. */
struct syn_pairs *flow_table_add_pairs(struct flow_table *table, struct flow *flow);
void flow_table_drop_pairs(struct flow_table *table, struct flow *flow);

#endif
