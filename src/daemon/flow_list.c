/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "flow_list.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"

enum {
	TRIES = 32, /* places that a client may have */
};

struct flow_list *flow_list_open(const struct flow_filter *filter, uint32_t room, bool with_clients)
{
	struct flow_list *list = calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	list->filter = *filter;
	list->room = room;
	list->flows = room ? calloc(room, sizeof(*list->flows)) : NULL;
	list->clients = with_clients ? calloc(FLOW_LIST_CLIENTS, sizeof(*list->clients)) : NULL;
	if ((room && !list->flows) || (with_clients && !list->clients)) {
		flow_list_close(list);
		return NULL;
	}
	return list;
}

void flow_list_close(struct flow_list *list)
{
	if (!list)
		return;
	free(list->flows);
	free(list->clients);
	free(list);
}

bool prefix_has(const struct prefix *prefix, const struct addr *addr)
{
	uint32_t bits = prefix->len + (prefix->family == FAMILY_IPV4 ? 96u : 0u), whole = bits / 8, rest = bits % 8;

	if (addr_family(addr) != prefix->family || memcmp(prefix->addr.byte, addr->byte, whole) != 0)
		return false;
	return rest == 0 || ((prefix->addr.byte[whole] ^ addr->byte[whole]) >> (8 - rest)) == 0;
}

static bool is_wanted(const struct flow_filter *filter, const struct flow *flow)
{
	return (filter->states >> flow->state & 1) && (filter->modes >> flow->mode & 1) &&
	       (filter->slot == FLOW_LIST_SLOT_ANY || filter->slot == flow->slot) &&
	       (!filter->port || filter->port == flow->server_port) &&
	       (!filter->has_server || prefix_has(&filter->server, &flow->server)) &&
	       (!filter->has_client || prefix_has(&filter->client, &flow->client));
}

static void add_client(struct flow_list *list, const struct addr *addr, uint32_t flows)
{
	uint32_t at = (uint32_t)hash_bytes16(addr->byte, 0);

	for (uint32_t i = 0; i < TRIES; i++) {
		struct client_count *client = &list->clients[(at + i) % FLOW_LIST_CLIENTS];

		if (client->flows && !addr_equal(&client->addr, addr))
			continue;
		client->addr = *addr;
		client->flows += flows;
		return;
	}
	list->other_clients += flows;
}

static void take(struct flow_list *list, const struct flow_table *table, const struct flow *flow)
{
	list->matched++;
	list->by_state[flow->state]++;
	list->by_slot[flow->slot < DESTINATION_SLOTS ? flow->slot : SLOT_NONE]++;
	if (list->clients)
		add_client(list, &flow->client, 1);
	if (list->count < list->room)
		list->flows[list->count++] = (struct listed_flow){*flow, *flow_table_syn(table, flow)};
}

bool flow_list_scan(struct flow_list *list, const struct flow_table *table, uint32_t count)
{
	for (; count && list->at < table->used_end; count--, list->at++) {
		const struct flow *flow = &table->flows[list->at];

		if (flow->state != FLOW_FREE && is_wanted(&list->filter, flow))
			take(list, table, flow);
	}
	return list->at < table->used_end;
}

void flow_list_merge_clients(struct flow_list *list, const struct flow_list *from)
{
	for (uint32_t i = 0; i < FLOW_LIST_CLIENTS; i++) {
		if (from->clients[i].flows)
			add_client(list, &from->clients[i].addr, from->clients[i].flows);
	}
	list->other_clients += from->other_clients;
}
