/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where what is known of servers, clients and handshakes lies, and what has to make room. See diagnosis.h. */
#include "diagnosis_internal.h"
#include "hash.h"

#define SET_OF(hash, places) ((uint32_t)((hash) % ((places) / DIAGNOSIS_WAYS)) * DIAGNOSIS_WAYS)

/* How much would be lost with it. */
static uint32_t worth_of(const struct server_evidence *server)
{
	uint32_t worth = server->syns[SYN_OLDER][0] + server->syns[SYN_BARE][0];

	for (int sign = 0; sign < SIGN_COUNT; sign++)
		worth += sign != SIGN_REFUSED && sign != SIGN_ZERO && sign != SIGN_SILENT && sign != SIGN_SERVER_FIRST ? server->signs[sign] : 0;
	return worth;
}

static bool is_worth_less(const struct server_evidence *a, const struct server_evidence *b)
{
	uint32_t worth_a = worth_of(a), worth_b = worth_of(b);

	return worth_a != worth_b ? worth_a < worth_b : a->last_tick < b->last_tick;
}

static bool is_about(const struct diagnosis *diagnosis, const struct server_evidence *server, const struct endpoints *ends)
{
	return server->port == ends->dst_port && addr_equal(&server->addr, &ends->dst) &&
	       (!diagnosis->is_by_client || addr_equal(&server->client, &ends->src));
}

/* With the client's address, where that is what the server sees. */
static uint64_t hash_of_server(const struct diagnosis *diagnosis, const struct endpoints *ends)
{
	uint64_t hash = hash_bytes16(ends->dst.byte, diagnosis->secret);

	return diagnosis->is_by_client ? hash_mix(hash ^ hash_bytes16(ends->src.byte, diagnosis->secret + 1)) : hash;
}

struct server_evidence *diagnosis_find_server(struct diagnosis *diagnosis, const struct endpoints *ends)
{
	struct server_evidence *set, *least;
	uint64_t hash = hash_mix(hash_of_server(diagnosis, ends) + ends->dst_port);

	set = least = &diagnosis->servers[SET_OF(hash, DIAGNOSIS_SERVERS)];
	for (struct server_evidence *server = set; server < set + DIAGNOSIS_WAYS; server++) {
		if (server->last_tick && is_about(diagnosis, server, ends)) {
			server->last_tick = diagnosis->tick;
			return server;
		}
		if (least->last_tick && (!server->last_tick || is_worth_less(server, least)))
			least = server;
	}
	if (worth_of(least))
		diagnosis->evicted++;
	*least = (struct server_evidence){.addr = ends->dst,
					  .port = ends->dst_port,
					  .first_tick = diagnosis->tick,
					  .halved_tick = diagnosis->tick,
					  .last_tick = diagnosis->tick};
	if (diagnosis->is_by_client)
		least->client = ends->src;
	return least;
}

static bool is_memory_of(const struct diagnosis *diagnosis, const struct server_memory *memory, const struct endpoints *ends)
{
	return memory->tick && addr_equal(&memory->addr, &ends->dst) &&
	       (!diagnosis->is_by_client || addr_equal(&memory->client, &ends->src));
}

static struct server_memory *set_of_memories(struct diagnosis *diagnosis, const struct endpoints *ends)
{
	return &diagnosis->memories[SET_OF(hash_of_server(diagnosis, ends), DIAGNOSIS_SERVERS)];
}

struct server_memory *diagnosis_find_memory(struct diagnosis *diagnosis, const struct endpoints *ends)
{
	struct server_memory *set = set_of_memories(diagnosis, ends);

	for (struct server_memory *memory = set; memory < set + DIAGNOSIS_WAYS; memory++) {
		if (is_memory_of(diagnosis, memory, ends))
			return memory;
	}
	return NULL;
}

struct server_memory *diagnosis_make_memory(struct diagnosis *diagnosis, const struct endpoints *ends)
{
	struct server_memory *set = set_of_memories(diagnosis, ends), *oldest = set;

	for (struct server_memory *memory = set; memory < set + DIAGNOSIS_WAYS; memory++) {
		if (memory->tick < oldest->tick)
			oldest = memory;
	}
	*oldest = (struct server_memory){.addr = ends->dst};
	if (diagnosis->is_by_client)
		oldest->client = ends->src;
	return oldest;
}

struct server_evidence *diagnosis_server_of(struct diagnosis *diagnosis, const struct attempt *attempt)
{
	struct server_evidence *server = &diagnosis->servers[attempt->server];

	return attempt->excluded != UINT8_MAX && is_about(diagnosis, server, &attempt->ends) ? server : NULL;
}

bool diagnosis_ends_equal(const struct endpoints *a, const struct endpoints *b)
{
	return a->src_port == b->src_port && a->dst_port == b->dst_port && addr_equal(&a->src, &b->src) &&
	       addr_equal(&a->dst, &b->dst);
}

struct attempt *diagnosis_set_of_attempts(struct diagnosis *diagnosis, const struct endpoints *ends)
{
	uint64_t hash = hash_bytes16(ends->src.byte, diagnosis->secret) ^
			hash_mix(hash_bytes16(ends->dst.byte, diagnosis->secret) + ((uint64_t)ends->src_port << 16 | ends->dst_port));

	return &diagnosis->attempts[SET_OF(hash_mix(hash), DIAGNOSIS_ATTEMPTS)];
}

struct attempt *diagnosis_find_attempt(struct diagnosis *diagnosis, const struct endpoints *ends)
{
	struct attempt *set = diagnosis_set_of_attempts(diagnosis, ends);

	for (struct attempt *attempt = set; attempt < set + DIAGNOSIS_WAYS; attempt++) {
		if (attempt->tick && diagnosis_ends_equal(&attempt->ends, ends))
			return attempt;
	}
	return NULL;
}

struct client_clock *diagnosis_find_client(struct diagnosis *diagnosis, const struct addr *addr)
{
	struct client_clock *set = &diagnosis->clients[SET_OF(hash_bytes16(addr->byte, diagnosis->secret), DIAGNOSIS_CLIENTS)];
	struct client_clock *oldest = set;

	for (struct client_clock *client = set; client < set + DIAGNOSIS_WAYS; client++) {
		if (client->last_tick && addr_equal(&client->addr, addr))
			return client;
		if (client->last_tick < oldest->last_tick)
			oldest = client;
	}
	*oldest = (struct client_clock){.addr = *addr};
	return oldest;
}
