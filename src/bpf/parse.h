/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_BPF_PARSE_H
#define PAWSD_BPF_PARSE_H

/* What a packet is: the same that src/core/packet.c makes of it, by way of the kernel. */

enum {
	LEAVE = TC_ACT_UNSPEC, /* whatever other programs there are */
	IPV6_EXTENSIONS_MAX = 8,
};

enum side {
	SIDE_PRE = 1, /* before netfilter */
	SIDE_OUT = 2, /* to the servers */
};

/* On the servers' side, behind netfilter: what it does not do with nobody does. */
inline_always bool is_last_out(uint32_t side)
{
	return (side & (SIDE_PRE | SIDE_OUT)) == SIDE_OUT;
}

struct segment {
	struct flow_key key;
	uint16_t tcp_at;
	uint16_t ts_at; /* of the option's kind byte; 0: none */
	uint32_t tsval, tsecr, seq, ack;
	uint8_t flags;
};

/* A packet on its way through the programs. No pointers, for a function that is verified by itself can have none. */
struct passage {
	struct segment segment;
	uint64_t tick; /* the time, ms */
	uint32_t head_at; /* of its hash chain */
	uint32_t head_was; /* what that was */
	uint32_t flow_at; /* number of its flow, plus one; 0: none is known */
	uint8_t outbound; /* of a known flow: from client to server */
	uint8_t side;	  /* enum side */
	uint8_t is_rough; /* the tick is of the same jiffy, but may be earlier */
	uint8_t is_sample; /* if it is done with, its connection is labelled: FASTPATH_MARK_LABEL */
	uint8_t is_told;  /* fast_tell() is to be called */
	uint8_t told;	  /* enum event_flag, of what there was before the packet */
	uint32_t left;	  /* the TSval or TSecr that it leaves with */
	union {
		uint32_t younger_at; /* likewise of the flow that is in front of its own on the four-tuple */
		uint32_t slot; /* of a SYN: where it is counted */
	};
};

/* What belongs to it, found anew by each such function. */
struct world {
	struct fastpath_shared *shared;
	struct clock clock;
	struct flow *flow;
	struct flow_syn *syn;
};

struct tcp_header {
	uint16_t src_port, dst_port;
	uint32_t seq, ack;
	uint8_t offset, flags;
	uint16_t window, check, urgent;
};

struct options {
	struct tcpopt_scan scan;
	uint32_t len;
	uint8_t bytes[TCPOPT_LEN_MAX + 8];
};

/* For bpf_loop(). Returns 0 to go on. */
static long step(uint32_t number, void *context)
{
	struct options *options = context;

	(void)number;
	return !tcpopt_step(options->bytes, options->len, &options->scan);
}

/* Where the timestamp option is, TCPOPT_NOWHERE, or more than that: the segment must not be touched. */
inline_always uint32_t find_option(struct __sk_buff *skb, uint32_t at, uint32_t len)
{
	struct options options = {.scan.found = TCPOPT_NOWHERE, .len = len};

	uint32_t less = len - 1;

	/* In a form in which verifiers before that of Linux 6.8, too, see that it is not 0; clang would leave the rest out. */
	__asm__ volatile("" : "+r"(less));
	if (less >= TCPOPT_LEN_MAX || bpf_skb_load_bytes(skb, at, options.bytes, less + 1) < 0)
		return UINT8_MAX + 1;
	bpf_loop(TCPOPT_LEN_MAX + 1, step, &options, 0);
	return options.scan.reason == REASON_COUNT ? options.scan.found : UINT8_MAX + 1;
}

/* True for a TCP header that is whole and sound; `end`: of the IP packet. */
inline_always bool parse_tcp(struct __sk_buff *skb, uint32_t at, uint32_t end, struct segment *ret)
{
	struct tcp_header tcp;
	uint32_t len, found, values[2];

	if (bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)) < 0)
		return false;
	len = (uint32_t)(tcp.offset >> 4) * 4;
	if (len < sizeof(tcp) || at + len > end || end > skb->len)
		return false;
	len -= sizeof(tcp);
	ret->tcp_at = at;
	ret->flags = tcp.flags;
	ret->seq = bpf_ntohl(tcp.seq);
	ret->ack = bpf_ntohl(tcp.ack);
	ret->key.src_port = bpf_ntohs(tcp.src_port);
	ret->key.dst_port = bpf_ntohs(tcp.dst_port);
	ret->ts_at = 0;
	if ((tcp.flags & TCP_SYN) && (tcp.flags & (TCP_RST | TCP_FIN)))
		return false;
	if (!len)
		return true;
	if (len == 12) {
		uint32_t usual[3];

		if (bpf_skb_load_bytes(skb, at + sizeof(tcp), usual, sizeof(usual)) < 0)
			return false;
		if (tcpopt_is_usual((const uint8_t *)usual, len)) {
			ret->ts_at = at + sizeof(tcp) + 2;
			ret->tsval = bpf_ntohl(usual[1]);
			ret->tsecr = bpf_ntohl(usual[2]);
			return true;
		}
	}
	found = find_option(skb, at + sizeof(tcp), len);
	if (found > UINT8_MAX)
		return false;
	if (found == TCPOPT_NOWHERE)
		return true;
	ret->ts_at = at + sizeof(tcp) + found;
	if (bpf_skb_load_bytes(skb, ret->ts_at + 2, values, sizeof(values)) < 0)
		return false;
	ret->tsval = bpf_ntohl(values[0]);
	ret->tsecr = bpf_ntohl(values[1]);
	return true;
}

/* As addr_from_ipv4(), in numbers: what clang 14 makes of the bytes of two addresses lacks the first. */
inline_always void map_ipv4(uint64_t ret[2], uint32_t address)
{
	ret[0] = 0;
	ret[1] = bpf_cpu_to_be64(0xffff00000000 | bpf_ntohl(address));
}

struct ipv4_header {
	uint8_t version, tos;
	uint16_t len, id, fragment;
	uint8_t ttl, protocol;
	uint16_t check;
	uint32_t src, dst;
};

struct ipv6_header {
	uint8_t version, flow[3];
	uint16_t len;
	uint8_t next, hops;
	uint32_t src[4], dst[4];
};

/*
 * Behind netfilter a packet that conntrack has put together from fragments may be in fragments once more. The first has all
 * of the TCP header, as a rule, and a change of the checksum is right for the whole whatever the others have. Before netfilter
 * they are for the queue, which gets them put together.
 */
inline_always bool parse_ipv4(struct __sk_buff *skb, uint32_t at, enum side side, struct segment *ret)
{
	struct ipv4_header ip;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0 || ip.version >> 4 != 4 || (ip.version & 0xf) < 5)
		return false;
	if (ip.protocol != IPPROTO_TCP || (ip.fragment & bpf_htons(side & SIDE_PRE ? 0x3fff : 0x1fff)))
		return false;
	map_ipv4(ret->key.src, ip.src);
	map_ipv4(ret->key.dst, ip.dst);
	return parse_tcp(skb, at + (ip.version & 0xf) * 4u, at + bpf_ntohs(ip.len), ret);
}

inline_always bool parse_ipv6(struct __sk_buff *skb, uint32_t at, enum side side, struct segment *ret)
{
	struct ipv6_header ip;
	uint32_t end;
	uint8_t next;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0 || ip.version >> 4 != 6)
		return false;
	memcpy(ret->key.src, ip.src, 16);
	memcpy(ret->key.dst, ip.dst, 16);
	next = ip.next;
	at += sizeof(ip);
	end = at + bpf_ntohs(ip.len);
	for (int i = 0; i < IPV6_EXTENSIONS_MAX && next != IPPROTO_TCP; i++) {
		uint8_t extension[4];

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    (next != IPPROTO_FRAGMENT || (side & SIDE_PRE)))
			return false;
		if (bpf_skb_load_bytes(skb, at, extension, sizeof(extension)) < 0)
			return false;
		if (next == IPPROTO_ROUTING && extension[3])
			return false;
		if (next == IPPROTO_FRAGMENT) {
			if (extension[2] || (extension[3] & 0xf8)) /* not the first */
				return false;
			extension[1] = 0;
		}
		next = extension[0];
		at += ((uint32_t)extension[1] + 1) * 8;
	}
	return next == IPPROTO_TCP && parse_tcp(skb, at, end, ret);
}

/* ---- nearly all packets ---- */

/* Where the timestamp option is of nearly all segments, and of most SYNs, from the options on; 0: to be looked for. */
inline_always uint32_t usual_place(const struct tcp_header *tcp, const void *data_end)
{
	const uint32_t *options = (const uint32_t *)(tcp + 1), len = (uint32_t)(tcp->offset >> 4) * 4 - (uint32_t)sizeof(*tcp);

	if (tcp->flags & TCP_SYN) {
		if ((const void *)(options + 5) > data_end || len != TCPOPT_USUAL_SYN_LEN || (tcp->flags & (TCP_RST | TCP_FIN)))
			return 0;
		return tcpopt_is_usual_syn(bpf_ntohl(options[0]), bpf_ntohl(options[1]), bpf_ntohl(options[4])) ? TCPOPT_USUAL_SYN_AT : 0;
	}
	if ((const void *)(options + 3) > data_end || options[0] != bpf_htonl(TCPOPT_USUAL))
		return 0;
	if (len == 12)
		return 2;
	return (const void *)(options + 4) <= data_end && tcpopt_is_usual_sack(bpf_ntohl(options[3]), len) ? 2 : 0;
}

/* `ip_len`: of the IP packet behind its header. */
inline_always bool take_usual(const struct tcp_header *tcp, const void *data_end, uint32_t at, uint32_t ip_len, uint32_t link_len,
			      struct segment *ret)
{
	const uint32_t place = usual_place(tcp, data_end), *values = (const uint32_t *)(tcp + 1) + (place == 2 ? 1 : 2);

	if (!place || (const void *)(values + 2) > data_end || ip_len < (uint32_t)(tcp->offset >> 4) * 4 || ip_len > link_len)
		return false;
	ret->tcp_at = at;
	ret->flags = tcp->flags;
	ret->seq = bpf_ntohl(tcp->seq);
	ret->ack = bpf_ntohl(tcp->ack);
	ret->key.src_port = bpf_ntohs(tcp->src_port);
	ret->key.dst_port = bpf_ntohs(tcp->dst_port);
	ret->ts_at = at + sizeof(*tcp) + place;
	ret->tsval = bpf_ntohl(values[0]);
	ret->tsecr = bpf_ntohl(values[1]);
	return true;
}

/* As parse_ipv4() and parse_ipv6(), where the packet is one of those and begins in one piece. False: it has to be looked at closely. */
inline_always bool parse_at_a_glance(struct __sk_buff *skb, struct segment *ret)
{
	const uint8_t *ip = (const uint8_t *)(long)skb->data + ETH_HLEN;
	const void *data_end = (const void *)(long)skb->data_end;
	const struct ipv4_header *ip4 = (const void *)ip;
	const struct ipv6_header *ip6 = (const void *)ip;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		const struct tcp_header *tcp = (const void *)(ip4 + 1);

		if ((const void *)(tcp + 1) > data_end || ip4->version != 0x45 || ip4->protocol != IPPROTO_TCP ||
		    (ip4->fragment & bpf_htons(0x3fff)))
			return false;
		map_ipv4(ret->key.src, ip4->src);
		map_ipv4(ret->key.dst, ip4->dst);
		return take_usual(tcp, data_end, ETH_HLEN + sizeof(*ip4), bpf_ntohs(ip4->len) - (uint32_t)sizeof(*ip4),
				  skb->len - ETH_HLEN - (uint32_t)sizeof(*ip4), ret);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		const struct tcp_header *tcp = (const void *)(ip6 + 1);

		if ((const void *)(tcp + 1) > data_end || ip6->version >> 4 != 6 || ip6->next != IPPROTO_TCP)
			return false;
		memcpy(ret->key.src, ip6->src, 16);
		memcpy(ret->key.dst, ip6->dst, 16);
		return take_usual(tcp, data_end, ETH_HLEN + sizeof(*ip6), bpf_ntohs(ip6->len), skb->len - ETH_HLEN - (uint32_t)sizeof(*ip6), ret);
	}
	return false;
}

#endif
