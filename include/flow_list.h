/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FLOW_LIST_H
#define PAWSD_FLOW_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "flow_table.h"
#include "policy.h"

/*
 * A worker's flows, for somebody who looks on. The worker itself goes through its table, a part between two batches, and copies
 * what is asked for: nobody else may read its flows.
 */

enum {
	FLOW_LIST_CLIENTS = 16384, /* told apart in the count by client; a power of 2 */
	FLOW_LIST_SLOT_ANY = UINT16_MAX,
};

/* What is asked for. */
struct flow_filter {
	struct prefix client, server;
	bool has_client, has_server;
	uint16_t port; /* of the server; 0: any */
	uint16_t slot; /* of the destination, or FLOW_LIST_SLOT_ANY */
	uint16_t states, modes; /* a bit for each enum flow_state, enum mode */
};

struct listed_flow {
	struct flow flow;
	struct flow_syn syn;
};

struct client_count {
	struct addr addr;
	uint32_t flows; /* 0: the place is free */
};

struct flow_list {
	struct flow_filter filter;
	uint32_t room, count;	    /* of flows[] */
	struct listed_flow *flows;
	struct client_count *clients; /* FLOW_LIST_CLIENTS; NULL: not asked for */
	uint64_t matched, other_clients; /* flows; those of clients that there was no place for */
	uint64_t by_state[FLOW_STATE_COUNT], by_slot[DESTINATION_SLOTS];
	uint32_t at;  /* next place of the table to look at */
	bool is_done; /* the worker's last word: written with release */
};

/* Makes one with room for `room` flows. NULL when memory is short. */
struct flow_list *flow_list_open(const struct flow_filter *filter, uint32_t room, bool with_clients);
void flow_list_close(struct flow_list *list);

/* Looks at the next `count` places. True when there is more to look at. */
bool flow_list_scan(struct flow_list *list, const struct flow_table *table, uint32_t count);

/* Adds another worker's clients; both have them. */
void flow_list_merge_clients(struct flow_list *list, const struct flow_list *from);

bool prefix_has(const struct prefix *prefix, const struct addr *addr);

#endif
