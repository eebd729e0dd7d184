/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_FLOW_KEY_H
#define PAWSD_FLOW_KEY_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "flow.h"
#include "hash.h"

/* Both ends of a packet as numbers, which is how they are hashed and compared. */
struct flow_key {
	uint64_t src[2], dst[2];
	uint32_t src_port, dst_port;
};

static inline struct flow_key flow_key_of(const struct endpoints *ends)
{
	struct flow_key key = {.src_port = ends->src_port, .dst_port = ends->dst_port};

	memcpy(key.src, ends->src.byte, sizeof(key.src));
	memcpy(key.dst, ends->dst.byte, sizeof(key.dst));
	return key;
}

/*
 * The same for both directions, so that one look finds the flow whoever is the client. Ports come in behind the addresses,
 * where nobody can know what they are laid upon: an IPv6 client may choose both, and could have one cancel the other.
 */
static inline uint64_t flow_key_hash(const struct flow_key *key, const uint64_t secret[2])
{
	return hash_multiply(hash_multiply(key->src[0] ^ secret[0], key->src[1] ^ secret[1]) ^ key->src_port,
			     hash_multiply(key->dst[0] ^ secret[0], key->dst[1] ^ secret[1]) ^ key->dst_port);
}

static inline bool flow_key_is_at(const struct addr *addr, const uint64_t number[2])
{
	uint64_t half[2];

	memcpy(half, addr->byte, sizeof(half));
	return half[0] == number[0] && half[1] == number[1];
}

/* True for the flow's packets to the server. */
static inline bool flow_key_is_outbound(const struct flow_key *key, const struct flow *flow)
{
	return flow->client_port == key->src_port && flow->server_port == key->dst_port &&
	       flow_key_is_at(&flow->client, key->src) && flow_key_is_at(&flow->server, key->dst);
}

/* True for the flow's packets to the client. */
static inline bool flow_key_is_inbound(const struct flow_key *key, const struct flow *flow)
{
	return flow->client_port == key->dst_port && flow->server_port == key->src_port &&
	       flow_key_is_at(&flow->client, key->dst) && flow_key_is_at(&flow->server, key->src);
}

#endif
