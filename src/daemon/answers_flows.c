/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `flows` on the control socket: lists of the workers' flows. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "answers_internal.h"
#include "policy_build.h"

enum {
	LIMIT_DEFAULT = 1000,
	LIMIT_MOST = 50000, /* whose answer pawsctl takes */
	CLIENTS_MOST = 1000,
	CLAIM_MS = 10000, /* a list that nobody has come for in this time is nobody's */
	ADDR_SIZE = 64,
};

struct query {
	struct flow_filter filter;
	uint32_t limit;
	bool is_summary;
};

/* ---- what is asked for ---- */

static const char *read_key(void *context, const struct daemon *daemon, const char *key, char *value)
{
	struct query *query = context;
	struct flow_filter *filter = &query->filter;
	uint64_t bits;
	uint32_t number;
	const char *wrong;

	if (strcmp(key, "client") == 0)
		return query_prefix("flows", key, value, &filter->client, &filter->has_client);
	if (strcmp(key, "server") == 0)
		return query_prefix("flows", key, value, &filter->server, &filter->has_server);
	if (strcmp(key, "destination") == 0)
		return query_destination("flows", daemon, value, &filter->slot);
	if (strcmp(key, "limit") == 0)
		return query_number("flows", key, value, LIMIT_MOST, &query->limit);
	if (strcmp(key, "port") == 0) {
		wrong = query_number("flows", key, value, UINT16_MAX, &number);
		filter->port = (uint16_t)number;
		return wrong;
	}
	if (strcmp(key, "state") == 0) {
		wrong = query_names("flows", key, value, flow_state_names, FLOW_FREE + 1, FLOW_STATE_COUNT, &bits);
		filter->states = (uint16_t)bits;
		return wrong;
	}
	if (strcmp(key, "mode") == 0) {
		wrong = query_names("flows", key, value, mode_names, MODE_OFF, MODE_MAX + 1, &bits);
		filter->modes = (uint16_t)bits;
		return wrong;
	}
	if (strcmp(key, "summary") == 0) {
		query->is_summary = true;
		return NULL;
	}
	return query_complain("flows", key, value, "client, server, port, destination, state, mode, limit, summary");
}

/* ---- what is told ---- */

static const char *name_of(const struct daemon *daemon, uint16_t slot)
{
	return daemon->state.names->name[slot < daemon->state.names->count ? slot : SLOT_NONE];
}

static void write_flow(const struct daemon *daemon, const struct listed_flow *listed, uint64_t tick, FILE *out)
{
	const struct flow *flow = &listed->flow;
	uint32_t syn_age_ms = ((uint32_t)(tick / FLOW_SYN_TIME_MS) - listed->syn.time) * FLOW_SYN_TIME_MS;

	fputs("flow", out);
	write_endpoint(out, "client", &flow->client, flow->client_port);
	write_endpoint(out, "server", &flow->server, flow->server_port);
	fprintf(out, " destination=%s state=%s mode=%s offset=%u tsval=%u age_ms=%u idle_s=%u clock=%s\n", name_of(daemon, flow->slot),
		flow_state_names[flow->state], mode_names[flow->mode], flow->offset, flow->tsval_high, syn_age_ms,
		engine_seconds(tick) - flow->last_seen_s, flow->flags & FLOW_SCALED ? "fast" : "plain");
}

static int compare_counts(const void *a, const void *b)
{
	const struct client_count *left = a, *right = b;

	return left->flows < right->flows ? 1 : left->flows > right->flows ? -1 : memcmp(&left->addr, &right->addr, sizeof(left->addr));
}

static void write_summary(const struct daemon *daemon, struct flow_list *sum, FILE *out)
{
	char addr[ADDR_SIZE];
	uint64_t others = sum->other_clients;

	for (int state = FLOW_FREE + 1; state < FLOW_STATE_COUNT; state++)
		fprintf(out, "state name=%s flows=%" PRIu64 "\n", flow_state_names[state], sum->by_state[state]);
	for (uint32_t slot = 0; slot < daemon->state.names->count; slot++) {
		if (sum->by_slot[slot])
			fprintf(out, "destination name=%s flows=%" PRIu64 "\n", daemon->state.names->name[slot], sum->by_slot[slot]);
	}
	qsort(sum->clients, FLOW_LIST_CLIENTS, sizeof(*sum->clients), compare_counts);
	for (uint32_t i = 0; i < FLOW_LIST_CLIENTS && sum->clients[i].flows; i++) {
		if (i >= CLIENTS_MOST) {
			others += sum->clients[i].flows;
			continue;
		}
		addr_format(&sum->clients[i].addr, addr, sizeof(addr));
		fprintf(out, "client address=%s flows=%u\n", addr, sum->clients[i].flows);
	}
	if (others)
		fprintf(out, "others flows=%" PRIu64 "\n", others);
}

static void write_lists(struct daemon *daemon, const struct query *query, FILE *out)
{
	struct listing *listing = &daemon->listing;
	struct flow_list *sum = listing->parts[0];
	uint64_t tick = state_now(&daemon->state);
	uint32_t shown = 0;

	for (uint32_t i = 0; i < daemon->config->rules.workers; i++) {
		const struct flow_list *part = listing->parts[i];

		for (uint32_t k = 0; k < part->count && shown < query->limit; k++, shown++)
			write_flow(daemon, &part->flows[k], tick, out);
		if (i == 0)
			continue;
		sum->matched += part->matched;
		for (int state = 0; state < FLOW_STATE_COUNT; state++)
			sum->by_state[state] += part->by_state[state];
		for (int slot = 0; slot < DESTINATION_SLOTS; slot++)
			sum->by_slot[slot] += part->by_slot[slot];
		if (query->is_summary)
			flow_list_merge_clients(sum, part);
	}
	if (query->is_summary)
		write_summary(daemon, sum, out);
	fprintf(out, "flows matched=%" PRIu64 " shown=%u\n", sum->matched, shown);
}

/* ---- the list that is being made ---- */

void listing_close(struct daemon *daemon)
{
	for (uint32_t i = 0; i < WORKERS_MAX; i++)
		flow_list_close(daemon->listing.parts[i]);
	daemon->listing = (struct listing){0};
}

static bool is_done(const struct daemon *daemon)
{
	for (uint32_t i = 0; i < daemon->config->rules.workers; i++) {
		if (!__atomic_load_n(&daemon->listing.parts[i]->is_done, __ATOMIC_ACQUIRE))
			return false;
	}
	return true;
}

bool listing_is_made(struct daemon *daemon)
{
	if (daemon->listing.is_begun && is_done(daemon) && state_now(&daemon->state) - daemon->listing.since_ms >= CLAIM_MS)
		listing_close(daemon);
	return daemon->listing.is_begun && !is_done(daemon);
}

static const char *begin(struct daemon *daemon, const struct words *words, const struct query *query)
{
	struct listing *listing = &daemon->listing;
	uint32_t workers = daemon->config->rules.workers;

	for (uint32_t i = 0; i < workers; i++) {
		listing->parts[i] = flow_list_open(&query->filter, query->is_summary ? 0 : query->limit, query->is_summary);
		if (!listing->parts[i]) {
			listing_close(daemon);
			return "out of memory";
		}
	}
	snprintf(listing->request, sizeof(listing->request), "%s", words->request);
	listing->is_begun = true;
	listing->since_ms = state_now(&daemon->state);
	for (uint32_t i = 0; i < workers; i++)
		worker_list_flows(&daemon->workers[i], listing->parts[i]);
	return control_later;
}

const char *answer_flows(struct daemon *daemon, const struct words *words, FILE *out)
{
	struct listing *listing = &daemon->listing;
	struct query query = {.filter = {.slot = FLOW_LIST_SLOT_ANY, .states = UINT16_MAX, .modes = UINT16_MAX}, .limit = LIMIT_DEFAULT};
	const char *wrong = query_read(daemon, words, read_key, &query);

	if (wrong)
		return wrong;
	if (!listing->is_begun)
		return begin(daemon, words, &query);
	if (!is_done(daemon))
		return control_later;
	if (strcmp(listing->request, words->request) != 0) /* somebody else's, who will come for it or be late */
		return control_later;
	write_lists(daemon, &query, out);
	listing_close(daemon);
	return NULL;
}
