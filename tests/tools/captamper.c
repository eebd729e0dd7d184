/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * captamper: changes one packet of a capture, so that it can be shown that capcheck sees it.
 *
 *   captamper KIND IN.pcap OUT.pcap
 *
 * The packet is the middle one of those that the kind applies to; TCP checksums are made right
 * again, but for `checksum`:
 *
 *   syn-back  a SYN's TSval goes 100000 back         syn-zero   a SYN's TSval becomes 0
 *   echo      the TSecr of a segment from the server  shift     the TSval of a later segment to it
 *   window, ack, payload, option                      that field, or a byte of it, of any segment
 *   checksum  the TCP checksum itself                 drop      the packet is left out
 *   ttl       TTL or hop limit (what NAT gateways change: not to be complained about)
 */
#include <stdlib.h>

#include "capture.h"

static const char *kind;

/* Connections are opened from ports above their server's. */
static bool applies(const struct segment *s)
{
	bool to_server = s->dst_port < s->src_port, syn = (s->flags & SEGMENT_SYN) != 0;

	if (strncmp(kind, "syn-", 4) == 0)
		return syn && to_server && s->ts;
	if (strcmp(kind, "echo") == 0)
		return !to_server && !syn && s->ts;
	if (strcmp(kind, "shift") == 0)
		return to_server && !syn && s->ts;
	if (strcmp(kind, "payload") == 0)
		return s->payload_len > 0;
	if (strcmp(kind, "option") == 0)
		return s->tcp_header_len > 20 && !syn;
	return !syn && (s->flags & SEGMENT_ACK);
}

static void tamper(struct segment *s)
{
	if (strcmp(kind, "syn-back") == 0)
		put32(s->ts + 2, s->tsval - 100000);
	else if (strcmp(kind, "syn-zero") == 0)
		put32(s->ts + 2, 0);
	else if (strcmp(kind, "echo") == 0)
		put32(s->ts + 6, s->tsecr + 0x10000000);
	else if (strcmp(kind, "shift") == 0)
		put32(s->ts + 2, s->tsval + 5);
	else if (strcmp(kind, "window") == 0)
		s->tcp[15] ^= 1;
	else if (strcmp(kind, "ack") == 0)
		put32(s->tcp + 8, s->ack + 1);
	else if (strcmp(kind, "payload") == 0)
		s->tcp[s->tcp_header_len] ^= 0x20;
	else if (strcmp(kind, "option") == 0)
		s->tcp[20] ^= 1; /* NOP becomes EOL */
	else if (strcmp(kind, "ttl") == 0)
		s->ip[s->version == 4 ? 8 : 7]--;
	if (strcmp(kind, "ttl") == 0 && s->version == 4) {
		put16(s->ip + 10, 0);
		put16(s->ip + 10, (uint16_t)~sum16(0, s->ip, (uint32_t)(s->tcp - s->ip)));
	}
	if (strcmp(kind, "checksum") == 0)
		s->tcp[16] ^= 1;
	else
		segment_set_checksum(s);
}

/* Goes through the file. With `out`, copies it and tampers with the `target`th that applies. */
static long pass(const char *path, const char *out, long target)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *pcap = pcap_open_offline(path, error);
	pcap_dumper_t *dumper = pcap && out ? pcap_dump_open(pcap, out) : NULL;
	struct pcap_pkthdr *header;
	const u_char *bytes;
	long found = 0;

	if (!pcap || (out && !dumper)) {
		fprintf(stderr, "%s\n", pcap ? pcap_geterr(pcap) : error);
		exit(2);
	}
	while (pcap_next_ex(pcap, &header, &bytes) == 1) {
		static uint8_t copy[70000];
		uint32_t skip = capture_link_len(pcap);
		struct segment s;
		bool hit;

		if (header->caplen > sizeof(copy))
			exit(2);
		memcpy(copy, bytes, header->caplen);
		hit = header->caplen > skip && segment_parse(copy + skip, header->caplen - skip, &s) && applies(&s) &&
		      found++ == target;
		if (hit && strcmp(kind, "drop") == 0)
			continue;
		if (hit)
			tamper(&s);
		if (dumper)
			pcap_dump((u_char *)dumper, header, copy);
	}
	if (dumper)
		pcap_dump_close(dumper);
	pcap_close(pcap);
	return found;
}

int main(int argc, char **argv)
{
	long count;

	if (argc != 4) {
		fprintf(stderr, "usage: captamper KIND IN.pcap OUT.pcap\n");
		return 2;
	}
	kind = argv[1];
	count = pass(argv[2], NULL, -1);
	if (count == 0) {
		fprintf(stderr, "%s: no packet for '%s'\n", argv[2], kind);
		return 2;
	}
	pass(argv[2], argv[3], count / 2);
	return 0;
}
