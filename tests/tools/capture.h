/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_CAPTURE_H
#define PAWSD_TESTS_CAPTURE_H

/*
 * A capture in memory: the IP packets of a pcap file in order, TCP read where it is sound.
 * Ethernet, Linux cooked and raw IP.
 */

#include <pcap/pcap.h>
#include <stdio.h>

#include "packet_view.h"

struct capture_packet {
	uint8_t *ip;
	uint32_t len;
	bool is_tcp;	/* by the IP header */
	bool is_whole;	/* nothing was cut off when it was captured */
	bool is_sound;	/* seg is filled */
	struct segment seg;
};

struct capture {
	struct capture_packet *packets;
	size_t count;
};

static inline uint32_t capture_link_len(pcap_t *pcap)
{
	switch (pcap_datalink(pcap)) {
	case DLT_EN10MB: return 14;
	case DLT_LINUX_SLL: return 16;
	case DLT_LINUX_SLL2: return 20;
	default: return 0;
	}
}

/* The length the IP header gives: frames may be padded. 0: no IP. */
static inline uint32_t capture_ip_len(const uint8_t *ip, uint32_t len)
{
	if (len >= 20 && ip[0] >> 4 == 4)
		return get16(ip + 2);
	if (len >= 40 && ip[0] >> 4 == 6)
		return 40u + get16(ip + 4);
	return 0;
}

/* Reads the file. False, with a message on standard error, where that is not possible. */
static inline bool capture_read(const char *path, struct capture *ret)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline(path, error);
	struct pcap_pkthdr *header;
	const u_char *bytes;
	uint32_t link_len;
	int status;

	memset(ret, 0, sizeof(*ret));
	if (!pcap) {
		fprintf(stderr, "%s\n", error);
		return false;
	}
	link_len = capture_link_len(pcap);
	while ((status = pcap_next_ex(pcap, &header, &bytes)) == 1) {
		struct capture_packet *p;
		uint32_t ip_len;

		if (header->caplen <= link_len)
			continue;
		ip_len = capture_ip_len(bytes + link_len, header->caplen - link_len);
		if (ip_len == 0)
			continue;
		if (ret->count % 1024 == 0)
			ret->packets = realloc(ret->packets, (ret->count + 1024) * sizeof(*ret->packets));
		p = ret->packets ? &ret->packets[ret->count++] : NULL;
		if (!p || !(memset(p, 0, sizeof(*p)), p->ip = calloc(1, ip_len + 1))) {
			fprintf(stderr, "out of memory\n");
			exit(2);
		}
		p->len = ip_len;
		p->is_whole = header->caplen - link_len >= ip_len;
		memcpy(p->ip, bytes + link_len, p->is_whole ? ip_len : header->caplen - link_len);
		p->is_tcp = p->ip[0] >> 4 == 4 ? p->ip[9] == 6 : p->ip[6] == 6;
		p->is_sound = p->is_tcp && p->is_whole && segment_parse(p->ip, p->len, &p->seg);
	}
	if (status == PCAP_ERROR)
		fprintf(stderr, "%s: %s\n", path, pcap_geterr(pcap));
	pcap_close(pcap);
	return status != PCAP_ERROR;
}

#endif
