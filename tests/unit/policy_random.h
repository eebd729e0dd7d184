/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_POLICY_RANDOM_H
#define PAWSD_TESTS_POLICY_RANDOM_H

/* Random policies, small and full of nested, touching and equal prefixes; the same for a seed. */

#include "../tools/policy_spec.h"

static uint64_t random_state;

static uint32_t random_below(uint32_t bound)
{
	random_state = random_state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)((random_state >> 33) % bound);
}

/* Few bits at chosen places, so that prefixes often nest, touch and repeat. */
static struct addr random_addr(enum family family)
{
	static const uint8_t bytes[] = {0, 0, 1, 127, 128, 254, 255, 255};
	uint8_t raw[16];

	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = bytes[random_below(8)];
	if (family == FAMILY_IPV4)
		return addr_from_ipv4(raw);
	raw[0] = random_below(2) ? 0x20 : 0xff;
	return addr_from_ipv6(raw);
}

static void clear_host_bits(struct prefix *prefix)
{
	const uint32_t from = prefix->len + (prefix->family == FAMILY_IPV4 ? 96u : 0u);

	for (uint32_t bit = from; bit < 128; bit++)
		prefix->addr.byte[bit / 8] &= (uint8_t)~(0x80 >> bit % 8);
}

static struct prefix random_prefix(void)
{
	struct prefix prefix = {.family = random_below(2) ? FAMILY_IPV4 : FAMILY_IPV6};

	prefix.addr = random_addr(prefix.family);
	prefix.len = (uint8_t)random_below(prefix.family == FAMILY_IPV4 ? 33 : 129);
	if (random_below(3) == 0)
		prefix.len = (uint8_t)(random_below(4) * 8);
	clear_host_bits(&prefix);
	return prefix;
}

static struct destination random_destination(size_t number)
{
	struct destination destination = {.enabled = random_below(8) != 0, .mode = random_below(4)};

	snprintf(destination.name, sizeof(destination.name), "d%zu", number);
	for (size_t i = random_below(9); number && i; i--) {
		destination.prefixes = spec_append(destination.prefixes, destination.prefix_count,
						   sizeof(struct prefix));
		destination.prefixes[destination.prefix_count++] = random_prefix();
	}
	for (size_t i = number && random_below(2) ? random_below(4) : 0; i; i--) {
		const uint16_t first = (uint16_t)random_below(20);

		destination.ports = spec_append(destination.ports, destination.port_count,
						sizeof(struct port_range));
		destination.ports[destination.port_count++] =
			(struct port_range){first, (uint16_t)(first + random_below(4))};
	}
	for (size_t i = number && random_below(3) == 0 ? random_below(5) : 0; i; i--) {
		destination.sources = spec_append(destination.sources, destination.source_count,
						  sizeof(struct prefix));
		destination.sources[destination.source_count++] = random_prefix();
	}
	return destination;
}

/* An address at the border of a prefix of the policy, or any. */
static inline struct addr interesting_addr(const struct destination *destinations, size_t count)
{
	const struct destination *d = &destinations[random_below((uint32_t)count)];
	struct prefix prefix;

	if (d->prefix_count == 0 || random_below(8) == 0)
		return random_addr(random_below(2) ? FAMILY_IPV4 : FAMILY_IPV6);
	prefix = d->prefixes[random_below((uint32_t)d->prefix_count)];
	const uint32_t kind = random_below(4);

	if (kind & 1) /* the last address */
		for (uint32_t bit = prefix.len + (prefix.family == FAMILY_IPV4 ? 96u : 0u); bit < 128; bit++)
			prefix.addr.byte[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	if (kind & 2) { /* and one beyond it, or before the first; it may wrap */
		const int low = prefix.family == FAMILY_IPV4 ? 12 : 0;

		for (int i = 15; i >= low; i--) {
			prefix.addr.byte[i] = (uint8_t)(prefix.addr.byte[i] + (kind & 1 ? 1 : -1));
			if (prefix.addr.byte[i] != (kind & 1 ? 0x00 : 0xff))
				break;
		}
	}
	return prefix.addr;
}

static inline struct destination *random_destinations(uint64_t seed, size_t *ret_count)
{
	random_state = seed;
	const size_t count = 1 + random_below(25);
	struct destination *destinations = calloc(count, sizeof(*destinations));

	if (!destinations)
		spec_die("memory", "short");
	for (size_t i = 0; i < count; i++)
		destinations[i] = random_destination(i);
	*ret_count = count;
	return destinations;
}

#endif
