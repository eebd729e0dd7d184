/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A table in which others open flows, too: places that are lent to them, and those that come back. See flow_loan.h. */
#include "flow_table_internal.h"

struct flow *flow_loan_take_back(struct flow_table *table)
{
	struct flow_loan *loan = table->loan;
	uint32_t tail = loan ? atomic_load(&loan->tail) : 0;

	while (loan && tail != loan->head) {
		uint32_t at = (uint32_t)atomic_load(&table->lent[tail & table->lent_mask]);

		if (atomic_exchange_if32(&loan->tail, &tail, tail + 1))
			return &table->flows[at];
	}
	return NULL;
}

void flow_loan_empty_limbo(struct flow_table *table)
{
	while (flow_table_is_limbo_over(table)) {
		struct flow *flow = &table->flows[table->limbo[table->limbo_first].place];

		table->limbo_first = (table->limbo_first + 1) % table->capacity;
		atomic_store(&table->limbo_count, table->limbo_count - 1);
		flow_table_push(table, &table->free_flow, flow);
	}
}

void flow_loan_put_into_limbo(struct flow_table *table, const struct flow *flow)
{
	const uint32_t at = (uint32_t)(((uint64_t)table->limbo_first + table->limbo_count) % table->capacity);

	table->limbo[at] = (struct flow_limbo){(uint32_t)(flow - table->flows), table->generation};
	atomic_store(&table->limbo_count, table->limbo_count + 1);
}

void flow_table_take_back(struct flow_table *table, struct flow *flow)
{
	atomic_store(&flow->word, 0);
	flow_table_push(table, &table->free_flow, flow); /* nobody has ever found it */
}

void flow_table_share(struct flow_table *table, struct flow_loan *loan, uint64_t *lent, uint32_t count,
		      struct flow_limbo *limbo)
{
	table->limbo = limbo;
	table->loan = loan;
	table->lent = lent;
	table->lent_mask = count - 1;
}

void flow_table_grace(struct flow_table *table, uint32_t generation)
{
	table->grace = generation;
	/* Whoever reads it has what was taken out of chains before behind him. */
	if (table->generation == generation)
		__atomic_store_n(&table->generation, generation + 1, __ATOMIC_RELEASE);
}

void flow_table_lend(struct flow_table *table)
{
	struct flow_loan *loan = table->loan;

	flow_loan_empty_limbo(table);
	while (table->free_flow && loan->head - atomic_load(&loan->tail) <= table->lent_mask) {
		uint32_t at = table->free_flow - 1;

		table->free_flow = table->flows[at].next;
		if (table->used_end <= at)
			table->used_end = at + 1;
		atomic_store(&table->lent[loan->head & table->lent_mask], at);
		__atomic_store_n(&loan->head, loan->head + 1, __ATOMIC_RELEASE);
	}
}
