/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * modelcheck: does the model of the old server (oldserver.h) say of each SYN in a capture what
 * the real server did with it?
 *
 *   modelcheck --server ADDR [--family vanilla|rhel7] [--one-host] FILE.pcap
 *
 * --one-host: taken inside of the NAT; to the server all clients were one address. A SYN was
 * accepted iff a SYN/ACK for it follows. Prints the figures; exit status 1: they do not agree
 * throughout, or the capture has no refused SYN.
 */
#include "load.h"
#include "oldserver.h"

#include <getopt.h>
#include <pcap/pcap.h>

struct syn {
	uint32_t isn;
	uint16_t port;
	bool predicted, accepted, superseded;
};

static struct {
	struct old_server server;
	uint8_t address[16];
	bool one_host;
	struct syn *syns;
	size_t count;
} check;

static void syn_add(const struct segment *s, bool predicted)
{
	for (size_t i = 0; i < check.count; i++)
		if (check.syns[i].isn == s->seq && check.syns[i].port == s->src_port)
			check.syns[i].superseded = true;
	check.syns = realloc(check.syns, (check.count + 1) * sizeof(*check.syns));
	if (!check.syns)
		load_die("realloc");
	check.syns[check.count++] = (struct syn){.isn = s->seq, .port = s->src_port, .predicted = predicted};
}

static void syn_answered(const struct segment *synack)
{
	for (size_t i = 0; i < check.count; i++)
		if (!check.syns[i].superseded && check.syns[i].port == synack->dst_port &&
		    check.syns[i].isn + 1 == synack->ack)
			check.syns[i].accepted = true;
}

static void on_frame(u_char *link_len, const struct pcap_pkthdr *header, const u_char *bytes)
{
	static uint8_t copy[65536];
	uint32_t skip = *(const uint32_t *)(const void *)link_len, now_s = (uint32_t)header->ts.tv_sec;
	struct segment s;

	if (header->caplen <= skip || header->caplen - skip > sizeof(copy))
		return;
	memset(copy, 0, sizeof(copy)); /* of a cut-off packet the headers are there: all that is needed */
	memcpy(copy, bytes + skip, header->caplen - skip);
	if (!segment_parse(copy, header->len - skip, &s))
		return;
	if (memcmp(s.src, check.address, 16) == 0) {
		if (check.one_host)
			memset(s.dst, 1, 4);
		old_server_send(&check.server, &s);
		if ((s.flags & (SEGMENT_SYN | SEGMENT_ACK)) == (SEGMENT_SYN | SEGMENT_ACK))
			syn_answered(&s);
	} else if (memcmp(s.dst, check.address, 16) == 0) {
		bool predicted;

		if (check.one_host)
			memset(s.src, 1, 4);
		predicted = old_server_receive(&check.server, &s, now_s);
		if ((s.flags & (SEGMENT_SYN | SEGMENT_ACK)) == SEGMENT_SYN)
			syn_add(&s, predicted);
	}
}

static int report(void)
{
	size_t refused = 0, wrong = 0;

	for (size_t i = 0; i < check.count; i++) {
		refused += !check.syns[i].accepted;
		wrong += check.syns[i].predicted != check.syns[i].accepted;
		if (check.syns[i].predicted != check.syns[i].accepted)
			printf("SYN %zu, port %u: the server %s it, the model says otherwise\n", i + 1,
			       check.syns[i].port, check.syns[i].accepted ? "accepted" : "refused");
	}
	printf("syns=%zu refused=%zu wrong=%zu\n", check.count, refused, wrong);
	return wrong > 0 || refused == 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"server", required_argument, NULL, 's'},
						{"family", required_argument, NULL, 'f'},
						{"one-host", no_argument, NULL, 'o'},
						{NULL, 0, NULL, 0}};
	char error[PCAP_ERRBUF_SIZE];
	uint32_t link_len;
	pcap_t *pcap;

	check.server.family = OLD_RHEL7;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 's' && inet_pton(AF_INET, optarg, check.address) == 1)
			continue;
		if (c == 'f')
			check.server.family = strcmp(optarg, "vanilla") == 0 ? OLD_VANILLA : OLD_RHEL7;
		else if (c == 'o')
			check.one_host = true;
		else
			return 2;
	}
	pcap = optind < argc ? pcap_open_offline(argv[optind], error) : NULL;
	if (!pcap) {
		fprintf(stderr, "usage: modelcheck --server ADDR [--one-host] FILE.pcap\n");
		return 2;
	}
	link_len = pcap_datalink(pcap) == DLT_EN10MB ? 14 : pcap_datalink(pcap) == DLT_LINUX_SLL ? 16 : 0;
	pcap_loop(pcap, -1, on_frame, (u_char *)&link_len);
	pcap_close(pcap);
	return report();
}
