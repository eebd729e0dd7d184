/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "Destination unreachable" (RFC 792, RFC 4443), from a router on the way. */
#include <stdlib.h>
#include <string.h>

#include "handcap.h"

static uint32_t sum_words(const uint8_t *bytes, uint32_t len)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	return sum;
}

static void put_sum(uint8_t *at, uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	at[0] = (uint8_t)(~sum >> 8);
	at[1] = (uint8_t)~sum;
}

static uint32_t put_ipv4(uint8_t *to, const struct endpoint *client, uint32_t quoted)
{
	const uint8_t head[20] = {0x45, 0, 0, (uint8_t)(28 + quoted), 0, 0, 0, 0, 60, 1, 0, 0, 198, 51, 100, 254};

	memcpy(to, head, sizeof(head));
	memcpy(to + 16, client->addr.byte + 12, 4);
	put_sum(to + 10, sum_words(to, 20));
	to[20] = 3; /* unreachable: the host */
	to[21] = 1;
	return 20;
}

static uint32_t put_ipv6(uint8_t *to, const struct endpoint *client, uint32_t quoted)
{
	const uint8_t head[24] = {0x60, 0, 0, 0, 0, (uint8_t)(8 + quoted), 58, 60, 0x20, 1, 0x0d, 0xb8, [23] = 0xfe};

	memcpy(to, head, sizeof(head));
	memcpy(to + 24, client->addr.byte, 16);
	to[40] = 1; /* unreachable: the address */
	to[41] = 3;
	return 40;
}

void icmp_add(struct file *file, uint64_t time_us, const struct segment *syn, const struct endpoint *client,
	      const struct endpoint *server)
{
	struct built built;
	uint8_t *data = calloc(1, 256);
	bool is_ipv6;
	uint32_t at, pseudo = 0;

	if (!data)
		abort();
	build_packet(syn, client, server, &built);
	is_ipv6 = built.data[0] >> 4 == 6;
	at = is_ipv6 ? put_ipv6(data, client, built.len) : put_ipv4(data, client, built.len);
	memcpy(data + at + 8, built.data, built.len);
	if (is_ipv6)
		pseudo = sum_words(data + 8, 32) + 58 + 8 + built.len;
	put_sum(data + at + 2, pseudo + sum_words(data + at, 8 + built.len));
	file_add(file, time_us, data, at + 8 + built.len, false);
	free(built.data);
}
