/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_CAPTURE_FLOW_H
#define PAWSD_TESTS_CAPTURE_FLOW_H

/*
 * The connections of a capture: each begins with a SYN, and ends when its four-tuple is taken
 * by another. Packets keep their order.
 */

#include <stdlib.h>

#include "capture.h"

enum {
	OUT,
	IN,
	NO_FLOW = -1,
};

struct list {
	struct capture_packet **packets;
	size_t count;
};

struct flow {
	uint8_t version;
	uint8_t client[16], server[16];
	uint16_t client_port, server_port;
	uint32_t isn;
	bool over; /* its four-tuple has been taken by another */
	long partner;
	struct list way[2];
};

struct side {
	struct capture capture;
	struct flow *flows;
	size_t flow_count;
	size_t orphans; /* packets of no flow */
};

static inline bool is_syn(const struct segment *s)
{
	return (s->flags & (SEGMENT_SYN | SEGMENT_ACK)) == SEGMENT_SYN;
}

static inline bool is_synack(const struct segment *s)
{
	return (s->flags & (SEGMENT_SYN | SEGMENT_ACK)) == (SEGMENT_SYN | SEGMENT_ACK);
}

static inline void list_add(struct list *list, struct capture_packet *packet)
{
	if (list->count % 64 == 0)
		list->packets = realloc(list->packets, (list->count + 64) * sizeof(*list->packets));
	if (!list->packets)
		exit(2);
	list->packets[list->count++] = packet;
}

static inline bool flow_is(const struct flow *f, const struct segment *s, bool outward)
{
	const uint8_t *client = outward ? s->src : s->dst, *server = outward ? s->dst : s->src;

	return !f->over && f->version == s->version &&
	       f->client_port == (outward ? s->src_port : s->dst_port) &&
	       f->server_port == (outward ? s->dst_port : s->src_port) && memcmp(f->client, client, 16) == 0 &&
	       memcmp(f->server, server, 16) == 0;
}

static inline long flow_find(const struct side *side, const struct segment *s, int *ret_way)
{
	for (size_t i = side->flow_count; i-- > 0;) {
		for (*ret_way = OUT; *ret_way <= IN; ++*ret_way)
			if (flow_is(&side->flows[i], s, *ret_way == OUT))
				return (long)i;
	}
	return NO_FLOW;
}

static inline long flow_add(struct side *side, const struct segment *syn)
{
	struct flow *f;

	if (side->flow_count % 256 == 0)
		side->flows = realloc(side->flows, (side->flow_count + 256) * sizeof(*side->flows));
	if (!side->flows)
		exit(2);
	f = &side->flows[side->flow_count];
	*f = (struct flow){.version = syn->version, .client_port = syn->src_port, .server_port = syn->dst_port,
			   .isn = syn->seq, .partner = NO_FLOW};
	memcpy(f->client, syn->src, 16);
	memcpy(f->server, syn->dst, 16);
	return (long)side->flow_count++;
}

static inline void side_sort(struct side *side)
{
	for (size_t i = 0; i < side->capture.count; i++) {
		struct capture_packet *p = &side->capture.packets[i];
		int way = OUT;
		long flow;

		if (!p->is_sound) {
			side->orphans += p->is_tcp;
			continue;
		}
		flow = flow_find(side, &p->seg, &way);
		if (is_syn(&p->seg) && (flow == NO_FLOW || side->flows[flow].isn != p->seg.seq)) {
			if (flow != NO_FLOW)
				side->flows[flow].over = true;
			flow = flow_add(side, &p->seg);
			way = OUT;
		}
		if (flow == NO_FLOW)
			side->orphans++;
		else
			list_add(&side->flows[flow].way[way], p);
	}
}

#endif
