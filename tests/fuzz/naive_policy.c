/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The naive policy: every prefix of every destination is looked at, bit by bit. */
#include "fuzz.h"
#include "naive.h"
#include "policy_build.h"

enum {
	PREFIXES_MAX = 64, /* whose borders are asked about */
	ASKED_MAX = 32,	   /* off the tape */
};

static bool bit(const struct addr *addr, unsigned int number)
{
	return addr->byte[number / 8] >> (7 - number % 8) & 1;
}

static bool covers(const struct prefix *prefix, const struct addr *addr)
{
	unsigned int skip = prefix->family == FAMILY_IPV4 ? 96 : 0;

	if (addr_family(addr) != prefix->family)
		return false;
	for (unsigned int i = 0; i < prefix->len; i++) {
		if (bit(addr, skip + i) != bit(&prefix->addr, skip + i))
			return false;
	}
	return true;
}

/* The longest prefix of the destination that covers the server; -1 when it does not fit the connection. */
static int fit(const struct destination *destination, const struct addr *server, uint16_t port,
	       const struct addr *client)
{
	bool has_port = destination->port_count == 0, has_source = destination->source_count == 0;
	int longest = -1;

	for (size_t i = 0; i < destination->port_count; i++)
		has_port |= destination->ports[i].first <= port && port <= destination->ports[i].last;
	for (size_t i = 0; i < destination->source_count; i++)
		has_source |= covers(&destination->sources[i], client);
	if (!destination->enabled || !has_port || !has_source)
		return -1;
	for (size_t i = 0; i < destination->prefix_count; i++) {
		if (covers(&destination->prefixes[i], server) && destination->prefixes[i].len > longest)
			longest = destination->prefixes[i].len;
	}
	return longest;
}

const struct destination *naive_match(const struct policy *policy, const struct addr *server, uint16_t port,
				      const struct addr *client)
{
	const struct destination *best = &policy->destinations[0];
	int best_len = -1;

	for (size_t i = 1; i < policy->destination_count; i++) {
		const struct destination *destination = &policy->destinations[i];
		int len = fit(destination, server, port, client);
		bool is_nicer = destination->port_count && !best->port_count;

		if (len > best_len || (len >= 0 && len == best_len && is_nicer)) {
			best = destination;
			best_len = len;
		}
	}
	return best;
}

static void compare(const struct policy *policy, const struct addr *server, uint16_t port, const struct addr *client)
{
	const struct destination *expected = naive_match(policy, server, port, client);
	const struct destination *found = policy_match(policy, server, port, client);
	char text[64], client_text[64];

	if (found == expected)
		return;
	addr_format(server, text, sizeof(text));
	addr_format(client, client_text, sizeof(client_text));
	fuzz_fail("%s to %s port %u: [%s] instead of [%s]", client_text, text, port, found->name, expected->name);
}

/* The address before, or behind. */
static struct addr step(struct addr addr, bool up)
{
	for (int i = 15; i >= 0; i--) {
		addr.byte[i] = (uint8_t)(addr.byte[i] + (up ? 1 : -1));
		if (addr.byte[i] != (up ? 0 : 0xff))
			break;
	}
	return addr;
}

static struct addr last_of(const struct prefix *prefix)
{
	struct addr addr = prefix->addr;

	for (unsigned int i = prefix->len + (prefix->family == FAMILY_IPV4 ? 96u : 0u); i < 128; i++)
		addr.byte[i / 8] |= (uint8_t)(0x80 >> i % 8);
	return addr;
}

/* Four addresses at the two borders of a prefix. */
static void borders(const struct prefix *prefix, struct addr ret[4])
{
	ret[0] = step(prefix->addr, false);
	ret[1] = prefix->addr;
	ret[2] = last_of(prefix);
	ret[3] = step(ret[2], true);
}

static void check_ports(const struct policy *policy, const struct destination *destination,
			const struct addr *server, const struct addr *client)
{
	compare(policy, server, 0, client);
	compare(policy, server, 65535, client);
	for (size_t i = 0; i < destination->port_count && i < 8; i++) {
		compare(policy, server, destination->ports[i].first, client);
		compare(policy, server, destination->ports[i].last, client);
		compare(policy, server, (uint16_t)(destination->ports[i].first - 1), client);
		compare(policy, server, (uint16_t)(destination->ports[i].last + 1), client);
	}
}

static void check_destination(const struct policy *policy, const struct destination *destination)
{
	struct addr servers[4], clients[4] = {{{0}}};

	for (size_t i = 0; i < destination->prefix_count && i < PREFIXES_MAX; i++) {
		borders(&destination->prefixes[i], servers);
		for (int s = 0; s < 4; s++)
			check_ports(policy, destination, &servers[s], &clients[0]);
	}
	for (size_t i = 0; i < destination->source_count && i < PREFIXES_MAX && destination->prefix_count; i++) {
		borders(&destination->sources[i], clients);
		for (int c = 0; c < 4; c++)
			check_ports(policy, destination, &destination->prefixes[0].addr, &clients[c]);
	}
}

void naive_check_policy(const struct policy *policy, const uint8_t *data, size_t len)
{
	struct fuzz_input input = {data, len};

	for (size_t i = 0; i < policy->destination_count && i < PREFIXES_MAX; i++)
		check_destination(policy, &policy->destinations[i]);
	for (int i = 0; i < ASKED_MAX && input.len >= 11; i++) {
		struct fuzz_input piece = fuzz_take(&input, 11);
		struct addr server = addr_from_ipv4(piece.data), client = addr_from_ipv4(piece.data + 4);

		if (piece.data[10] & 1)
			server = (struct addr){.byte = {piece.data[0], piece.data[1], piece.data[2], piece.data[3]}};
		compare(policy, &server, (uint16_t)(piece.data[8] | piece.data[9] << 8), &client);
	}
}
