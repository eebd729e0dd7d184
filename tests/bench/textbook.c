/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What one would write first, to be measured beside pawsd: a libnetfilter_queue loop as in the
 * library's own example. One recv() and one verdict a packet, every checksum made anew over the whole
 * segment. It shifts the TSvals of packets from --inside by a constant and the TSecrs of all others back.
 *
 *   textbook --queue N --inside NET/BITS (IPv4)
 *
 * Runs until SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <libnetfilter_queue/libnetfilter_queue_tcp.h>
#include <linux/netfilter.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	SHIFT = 1000000,
	RECEIVE_BYTES = 4 << 20,
};

static uint32_t inside, inside_mask;

static uint8_t *find_timestamps(struct tcphdr *tcp)
{
	uint8_t *at = (uint8_t *)(tcp + 1), *end = (uint8_t *)tcp + tcp->doff * 4;

	while (at < end && *at != TCPOPT_EOL) {
		if (*at == TCPOPT_NOP) {
			at++;
			continue;
		}
		if (end - at < 2 || at[1] < 2 || at[1] > end - at)
			return NULL;
		if (at[0] == TCPOPT_TIMESTAMP && at[1] == TCPOLEN_TIMESTAMP)
			return at;
		at += at[1];
	}
	return NULL;
}

static void add_to(uint8_t *field, uint32_t difference)
{
	uint32_t value;

	memcpy(&value, field, sizeof(value));
	value = htonl(ntohl(value) + difference);
	memcpy(field, &value, sizeof(value));
}

/* True when the packet has been changed. */
static bool rewrite(uint8_t *packet, int len)
{
	struct iphdr *ip = (struct iphdr *)(void *)packet;
	struct tcphdr *tcp;
	uint8_t *timestamps;

	if (len < (int)sizeof(*ip) || ip->version != 4 || ip->protocol != IPPROTO_TCP ||
	    len < ip->ihl * 4 + (int)sizeof(*tcp))
		return false;
	tcp = (struct tcphdr *)(void *)(packet + ip->ihl * 4);
	if (len < ip->ihl * 4 + tcp->doff * 4)
		return false;
	timestamps = find_timestamps(tcp);
	if (!timestamps)
		return false;
	if ((ip->saddr & inside_mask) == inside)
		add_to(timestamps + 2, SHIFT);
	else if (tcp->ack)
		add_to(timestamps + 6, (uint32_t)-SHIFT);
	nfq_tcp_compute_checksum_ipv4(tcp, ip);
	return true;
}

static int decide(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *data, void *context)
{
	struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);
	uint8_t *packet;
	int len = nfq_get_payload(data, &packet);

	(void)message;
	(void)context;
	if (len > 0 && rewrite(packet, len))
		return nfq_set_verdict(queue, ntohl(header->packet_id), NF_ACCEPT, (uint32_t)len, packet);
	return nfq_set_verdict(queue, ntohl(header->packet_id), NF_ACCEPT, 0, NULL);
}

static void parse_inside(const char *text)
{
	char host[64];
	unsigned int bits;
	struct in_addr address;

	if (sscanf(text, "%63[^/]/%u", host, &bits) != 2 || bits == 0 || bits > 32 ||
	    inet_pton(AF_INET, host, &address) != 1) {
		fprintf(stderr, "not NET/BITS: %s\n", text);
		exit(2);
	}
	inside_mask = htonl(UINT32_MAX << (32 - bits));
	inside = address.s_addr & inside_mask;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"queue", required_argument, NULL, 'q'},
						{"inside", required_argument, NULL, 'i'},
						{NULL, 0, NULL, 0}};
	static char buffer[65536 + 4096] __attribute__((aligned));
	struct nfq_handle *handle = nfq_open();
	struct nfq_q_handle *queue;
	uint16_t number = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'q')
			number = (uint16_t)strtoul(optarg, NULL, 10);
		else if (option == 'i')
			parse_inside(optarg);
		else
			return 2;
	}
	queue = handle ? nfq_create_queue(handle, number, decide, NULL) : NULL;
	if (!queue || nfq_set_mode(queue, NFQNL_COPY_PACKET, 0xffff) < 0) {
		perror("nfqueue");
		return 1;
	}
	nfnl_rcvbufsiz(nfq_nfnlh(handle), RECEIVE_BYTES);
	for (;;) {
		ssize_t len = recv(nfq_fd(handle), buffer, sizeof(buffer), 0);

		if (len >= 0)
			nfq_handle_packet(handle, buffer, (int)len);
		else if (errno != ENOBUFS && errno != EINTR)
			return 1;
	}
}
