/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_ADDR_H
#define PAWSD_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* An IPv6 address in network byte order; IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). */
struct addr {
	uint8_t byte[16];
};

/* Both ends of a packet, ports in host order. A flow begins with its own, the client as src. */
struct endpoints {
	struct addr src, dst;
	uint16_t src_port, dst_port;
};

enum family {
	FAMILY_IPV4,
	FAMILY_IPV6,
	FAMILY_COUNT,
};

static inline struct addr addr_from_ipv4(const uint8_t *bytes)
{
	struct addr a = {.byte = {[10] = 0xff, [11] = 0xff}};

	memcpy(a.byte + 12, bytes, 4);
	return a;
}

static inline struct addr addr_from_ipv6(const uint8_t *bytes)
{
	struct addr a;

	memcpy(a.byte, bytes, 16);
	return a;
}

static inline bool addr_equal(const struct addr *a, const struct addr *b)
{
	return memcmp(a->byte, b->byte, sizeof(a->byte)) == 0;
}

static inline enum family addr_family(const struct addr *a)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(a->byte, mapped, sizeof(mapped)) == 0 ? FAMILY_IPV4 : FAMILY_IPV6;
}

#endif
