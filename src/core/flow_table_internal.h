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

/* A place that is lent and that nobody has taken yet. NULL where there is none. */
struct flow *flow_loan_take_back(struct flow_table *table);

/* Who else looks for flows may be at this one, and goes on to the next from there: its place is not free at once. */
void flow_loan_put_into_limbo(struct flow_table *table, const struct flow *flow);

/* What has been in limbo for a whole grace period is free. */
void flow_loan_empty_limbo(struct flow_table *table);

#endif
