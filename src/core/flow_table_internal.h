/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FLOW_TABLE_INTERNAL_H
#define PAWSD_FLOW_TABLE_INTERNAL_H

#include "flow_table.h"

/* What flow_table.c and flow_loan.c have in common. */

/* In front of a list that is the owner's alone. */
static inline void flow_table_push(struct flow_table *table, uint32_t *list, struct flow *flow)
{
	flow->next = *list;
	*list = (uint32_t)(flow - table->flows) + 1;
}

static inline bool flow_is_between(const struct flow *flow, const struct addr *client, uint16_t client_port,
				   const struct addr *server, uint16_t server_port)
{
	return flow->client_port == client_port && flow->server_port == server_port && addr_equal(&flow->client, client) &&
	       addr_equal(&flow->server, server);
}

/* The head of the chain that the flow is to be found in. */
uint32_t *flow_table_head_of(const struct flow_table *table, const struct flow *flow);

/* What `client` has. */
struct client_use *flow_table_use(const struct flow_table *table, const struct addr *client);

/* Puts a flow whose key is set where it is found; and counts it, which is part of that. */
void flow_table_link(struct flow_table *table, struct flow *flow);
void flow_table_count_in(struct flow_table *table, const struct flow *flow);

/* Where the number of the flow's block of SYN pairs is kept. */
static inline uint16_t *flow_table_pairs_number(const struct flow_table *table, struct flow *flow)
{
	const struct flow now = {.word = atomic_load(&flow->word)};

	return now.flags & FLOW_SCALED ? &table->scaled[now.block - 1].pairs : &flow->block;
}

/* A place that is lent and that nobody has taken yet. NULL where there is none. */
struct flow *flow_loan_take_back(struct flow_table *table);

/* Who else looks for flows may be at this one, and goes on to the next from there: its place is not free at once. */
void flow_loan_put_into_limbo(struct flow_table *table, const struct flow *flow);

/* What has been in limbo for a whole grace period is free. */
void flow_loan_empty_limbo(struct flow_table *table);

#endif
