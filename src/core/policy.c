/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "policy.h"

#include <endian.h>

#include "range_key.h"

static uint64_t load_be64(const uint8_t *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof(value));
	return be64toh(value);
}

struct range_key policy_key_of_addr(const struct addr *addr)
{
	struct range_key key = {.hi = load_be64(addr->byte), .lo = load_be64(addr->byte + 8)};

	if (addr_family(addr) == FAMILY_IPV4) {
		key.hi = key.lo << 32;
		key.lo = 0;
	}
	return key;
}

bool policy_has_port(const struct destination *destination, uint16_t port)
{
	size_t low = 0, high = destination->port_count;

	if (high == 0)
		return true;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (destination->ports[middle].last < port)
			low = middle + 1;
		else
			high = middle;
	}
	return low < destination->port_count && destination->ports[low].first <= port;
}

/*
 * policy_build() has sorted the sources by family and address and dropped those inside of
 * others, so the last one that begins at or before the client is the only one that can hold it.
 */
bool policy_has_source(const struct destination *destination, const struct addr *client)
{
	size_t low = 0, high = destination->source_count;
	enum family family;
	struct range_key key;

	if (high == 0)
		return true;
	family = addr_family(client);
	key = policy_key_of_addr(client);
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct prefix *source = &destination->sources[middle];

		if (source->family > family ||
		    (source->family == family && range_key_compare(policy_key_of_addr(&source->addr), key) > 0))
			high = middle;
		else
			low = middle + 1;
	}
	if (low == 0 || destination->sources[low - 1].family != family)
		return false;
	const struct prefix *source = &destination->sources[low - 1];

	return range_key_compare(range_key_last(policy_key_of_addr(&source->addr), source->len), key) >= 0;
}

static uint32_t group_of_addr(const struct policy_ranges *ranges, const struct addr *addr)
{
	const struct range_key key = policy_key_of_addr(addr);
	uint32_t low = ranges->index[key.hi >> 48];
	uint32_t high = ranges->index[(key.hi >> 48) + 1];

	/* The first range that begins behind the address; the one before it holds the address. */
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (range_key_compare(ranges->start[middle], key) > 0)
			high = middle;
		else
			low = middle + 1;
	}
	return ranges->group[low - 1];
}

const struct destination *policy_match(const struct policy *policy, const struct addr *server, uint16_t port,
				       const struct addr *client)
{
	const uint32_t number = group_of_addr(&policy->ranges[addr_family(server)], server);
	const struct policy_group *group = &policy->groups[number];
	const uint16_t *candidates = policy->candidates + group->first;
	uint32_t i = 0;

	/* The last candidate has no conditions. */
	for (; i + 1 < group->count; i++) {
		const struct destination *destination = &policy->destinations[candidates[i]];

		if (policy_has_port(destination, port) && policy_has_source(destination, client))
			break;
	}
	return &policy->destinations[candidates[i]];
}
