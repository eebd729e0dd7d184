/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FLOW_TABLE_H
#define PAWSD_FLOW_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "flow.h"
#include "flow_loan.h"
#include "scaled.h"
#include "seq.h"

/* A place whose flow has gone. Nowhere else: what is in the place itself someone may still be writing. */
struct flow_limbo {
	uint32_t place, generation;
};

/*
 * One worker's flows: fixed memory that the caller provides (P9). The flows and what belongs to
 * them may lie in a file and outlive the process ("kept"); the index (hash heads, what clients have,
 * free lists) is rebuilt from them by flow_table_init(), so nothing has to be consistent but each
 * single flow.
 */
struct flow_table {
	struct flow *flows;
	struct flow_syn *syns; /* as many, in the same places */
	struct syn_pairs *pairs;
	struct scaled *scaled;
	uint32_t *heads;
	struct client_use *clients; /* by a hash of the address */
	uint32_t capacity, pair_capacity, scaled_capacity, head_mask, client_mask;
	uint32_t free_flow, free_pairs, free_scaled; /* free lists, index plus one */
	uint32_t used, pairs_used, scaled_used;
	uint32_t used_end; /* no flow in use, now or earlier, is at this place or behind it */
	struct flow_loan *loan; /* NULL: the owner is alone */
	uint64_t *lent;		/* numbers of the places that are lent: head is at [head & lent_mask] */
	uint32_t lent_mask;
	struct flow_limbo *limbo; /* places that someone may still be looking at, as many as there are, round and round */
	uint32_t limbo_first, limbo_count;
	uint32_t generation; /* of what is put there now */
	uint32_t grace;	     /* what was put there in earlier generations may be used again: flow_table_grace() */
	uint32_t sweep_hand;
	uint64_t secret[2];
};

/* Blocks of SYN pairs, and of scaled flows, that a table for `capacity` flows has. */
uint32_t flow_table_pair_capacity(uint32_t capacity);
uint32_t flow_table_scaled_capacity(uint32_t capacity);

/* Heads of chains, and clients that are told apart. */
uint32_t flow_table_head_count(uint32_t capacity);
uint32_t flow_table_client_count(uint32_t capacity);

/* Bytes of the two parts of a table for `capacity` flows: what may outlive the process, and the index. */
size_t flow_table_kept_bytes(uint32_t capacity);
size_t flow_table_index_bytes(uint32_t capacity);

/* Where a table lies. */
struct flow_table_memory {
	struct flow *flows;
	struct flow_syn *syns;
	struct syn_pairs *pairs;
	struct scaled *scaled;
	uint32_t *heads;
	struct client_use *clients;
};

/* The same in two pieces, of flow_table_kept_bytes() and flow_table_index_bytes(). */
struct flow_table_memory flow_table_memory_of(void *kept, void *index, uint32_t capacity);

/*
 * Sets up the index over what is in `kept` (zeroed, or from an earlier process; flows with
 * impossible contents are freed, and all but one on a four-tuple, but for one with FLOW_HAS_ELDER). `index` may have any contents. Both are aligned as struct flow is
 * in an array that begins on a cache line.
 */
void flow_table_init(struct flow_table *table, void *kept, void *index, uint32_t capacity, const uint64_t secret[2]);
void flow_table_open(struct flow_table *table, const struct flow_table_memory *memory, uint32_t capacity, const uint64_t secret[2]);

/*
 * Has others open flows in the table, by places that flow_table_lend() puts into `lent`, of which there are `count`, a
 * power of 2. Both live on with the table. When a flow has gone its place is given to another after a grace period only, for
 * somebody may be standing on it; till then it is kept in `limbo`, the owner's, as large as the table's capacity.
 */
void flow_table_share(struct flow_table *table, struct flow_loan *loan, uint64_t *lent, uint32_t count,
		      struct flow_limbo *limbo);

/*
 * flow_table_open() and flow_table_share() at once, over an index that an earlier process has left, while others go on looking
 * for flows in it and moving them on. None of them opens one meanwhile, nor has for a grace period, nor is about to. That
 * process may have been killed at any instant. False where chains are damaged: then nobody may look, and it is flow_table_open()
 * that makes them anew. `secret` is that of the index.
 */
bool flow_table_take_over(struct flow_table *table, const struct flow_table_memory *memory, uint32_t capacity,
			  const uint64_t secret[2], struct flow_loan *loan, uint64_t *lent, uint32_t count,
			  struct flow_limbo *limbo);

/*
 * Whoever was looking at flows when table->generation was found to be `generation`, before or since, has gone: as the kernel's
 * programs have after a membarrier() (MEMBARRIER_CMD_GLOBAL, a grace period of RCU) that began later. What went into limbo
 * before that generation is free, and the next one begins. So, time and again, another thread than the owner's reads
 * table->generation, waits for such a period, and hands the number to the owner, who calls this.
 */
void flow_table_grace(struct flow_table *table, uint32_t generation);

/* Lends as many places as there is room for. To be called often. */
void flow_table_lend(struct flow_table *table);

/* Takes back a place that is FLOW_GIVEN_BACK. */
void flow_table_take_back(struct flow_table *table, struct flow *flow);

/* How many flows there are. */
static inline uint32_t flow_table_used(const struct flow_table *table)
{
	return table->used + (table->loan ? atomic_load(&table->loan->opened) : 0);
}

/* True where the first place in limbo may be used again. */
static inline bool flow_table_is_limbo_over(const struct flow_table *table)
{
	return table->limbo_count && seq_after(table->grace, table->limbo[table->limbo_first].generation);
}

/* True where there is a place for one more. */
static inline bool flow_table_has_room(const struct flow_table *table)
{
	return table->free_flow || flow_table_is_limbo_over(table) ||
	       (table->loan && atomic_load(&table->loan->tail) != table->loan->head);
}

/*
 * Finds the flow between two endpoints, whichever is the client: *ret_outbound says whether
 * `src` is. NULL where there is none.
 */
struct flow *flow_table_look_up(const struct flow_table *table, const struct endpoints *ends, bool *ret_outbound);

/*
 * Asks the memory for what flow_table_look_up() will read: the head of the chain, which is returned; and once that has
 * come, the first flow in it. Hints, without effect on anything.
 */
const uint32_t *flow_table_prefetch_head(const struct flow_table *table, const struct endpoints *ends);
void flow_table_prefetch_flow(const struct flow_table *table, const uint32_t *head);

/* As flow_table_look_up(), of ends that lie apart. */
static inline struct flow *flow_table_find(const struct flow_table *table, const struct addr *src, uint16_t src_port,
					   const struct addr *dst, uint16_t dst_port, bool *ret_outbound)
{
	const struct endpoints ends = {*src, *dst, src_port, dst_port};

	return flow_table_look_up(table, &ends, ret_outbound);
}

/* The next flow on the same four-tuple, made before `flow`; NULL where there is none. */
struct flow *flow_table_find_elder(const struct flow_table *table, const struct flow *flow);

/*
 * A new flow with its key set, all else 0 and state FLOW_FREE: the caller fills it and sets
 * the state last. NULL when the table is full.
 */
struct flow *flow_table_add(struct flow_table *table, const struct addr *client, uint16_t client_port,
			    const struct addr *server, uint16_t server_port);

/* Takes the flow away. Returns what its word was. */
uint64_t flow_table_remove(struct flow_table *table, struct flow *flow);
/* The same, if its word is still that: false where somebody else has changed it. */
bool flow_table_remove_if(struct flow_table *table, struct flow *flow, uint64_t word);

/*
 * Takes the flow away, and has a new one with the same key in its very place, as flow_table_add() makes it. Whoever looks for
 * flows, at the same time too, finds his way. Returns what its word was.
 */
uint64_t flow_table_renew(struct flow_table *table, struct flow *flow);

/* What is kept of the flow's last SYN. */
struct flow_syn *flow_table_syn(const struct flow_table *table, const struct flow *flow);

/*
 * What `client` has, and any other client of the same hash; an IPv6 client with the others of its /64. Belongs to
 * the table, and lives on with it.
 */
const struct client_use *flow_table_use_of_client(const struct flow_table *table, const struct addr *client);

/* A client's due where it may have `flows` flows: the same share of the blocks, one of each in any case. 0: no limit. */
struct client_use flow_table_due(const struct flow_table *table, uint32_t flows);

/* The flow's SYN pairs; NULL where it has none. */
struct syn_pairs *flow_table_pairs(const struct flow_table *table, const struct flow *flow);
/* Gives it an empty block; NULL when none is left. */
struct syn_pairs *flow_table_add_pairs(struct flow_table *table, struct flow *flow);
void flow_table_drop_pairs(struct flow_table *table, struct flow *flow);

/* The block of a flow with FLOW_SCALED; NULL without. */
struct scaled *flow_table_scaled(const struct flow_table *table, const struct flow *flow);
/*
 * Makes it a scaled flow with a copy of `start`, which keeps its SYN pairs; NULL when no block is
 * left.
 */
struct scaled *flow_table_add_scaled(struct flow_table *table, struct flow *flow, const struct scaled *start);

#endif
