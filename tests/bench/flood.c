/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * flood: segments of many flows at random (IPv4, the even ones of bench_packet.h), out of a packet socket, as
 * fast as they go or at a rate.
 *
 *   flood --interface NAME --gateway MAC --flows N [--seconds S] [--rate PACKETS-A-SECOND]
 *
 * Prints how many were sent.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "bench_packet.h"

enum {
	BATCH = 64,
	PAYLOAD = 64,
	FRAME_BYTES = 256,
};

static struct {
	const char *interface, *gateway;
	uint32_t flows;
	double seconds, rate;
} config = {.seconds = 1, .flows = 1000};

static uint8_t frames[BATCH][FRAME_BYTES];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* One's complement sum of the IP header's ten words. */
static void put_header_checksum(uint8_t *ip)
{
	uint32_t sum = 0;

	for (int i = 0; i < 20; i += 2)
		sum += i == 10 ? 0u : (uint32_t)(ip[i] << 8 | ip[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, ~(sum + (sum >> 16)) & 0xffff);
}

static uint32_t make_frame(uint8_t *frame, uint32_t flow)
{
	struct shape shape = {.flow = flow, .outbound = true, .flags = 0x10, .isn = 2, .payload = PAYLOAD,
			      .tsval = client_tsval(flow, 100), .tsecr = 55};
	struct made made = make_packet(frame + ETHER_HDR_LEN, &shape);

	put_header_checksum(frame + ETHER_HDR_LEN);
	return ETHER_HDR_LEN + made.len;
}

static int open_socket(void)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	address.sll_ifindex = (int)if_nametoindex(config.interface);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		perror(config.interface);
		exit(1);
	}
	return fd;
}

static void prepare(struct mmsghdr *messages, struct iovec *iov)
{
	unsigned int mac[6];

	if (sscanf(config.gateway, "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) != 6) {
		fprintf(stderr, "not a MAC address: %s\n", config.gateway);
		exit(2);
	}
	for (int i = 0; i < BATCH; i++) {
		for (int k = 0; k < 6; k++)
			frames[i][k] = (uint8_t)mac[k];
		put16(frames[i] + 12, ETH_P_IP);
		iov[i].iov_base = frames[i];
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
}

static uint64_t flood(int fd)
{
	static struct mmsghdr messages[BATCH];
	static struct iovec iov[BATCH];
	uint64_t begin = now_ns(), end = begin + (uint64_t)(config.seconds * 1e9), sent = 0;
	uint32_t random = 1;

	prepare(messages, iov);
	while (now_ns() < end) {
		if (config.rate > 0 && (double)sent > (double)(now_ns() - begin) / 1e9 * config.rate)
			continue;
		for (int i = 0; i < BATCH; i++) {
			random = random * 1664525 + 1013904223;
			iov[i].iov_len = make_frame(frames[i], (random >> 8) % config.flows * 2);
		}
		int count = sendmmsg(fd, messages, BATCH, 0);

		sent += count > 0 ? (uint64_t)count : 0;
	}
	return sent;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"interface", required_argument, NULL, 'i'}, {"gateway", required_argument, NULL, 'g'},
		{"flows", required_argument, NULL, 'f'},     {"seconds", required_argument, NULL, 's'},
		{"rate", required_argument, NULL, 'r'},	     {NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'i': config.interface = optarg; break;
		case 'g': config.gateway = optarg; break;
		case 'f': config.flows = (uint32_t)strtoul(optarg, NULL, 10); break;
		case 's': config.seconds = strtod(optarg, NULL); break;
		case 'r': config.rate = strtod(optarg, NULL); break;
		default: return 2;
		}
	}
	if (!config.interface || !config.gateway || config.flows == 0) {
		fputs("usage: flood --interface NAME --gateway MAC --flows N [--seconds S] [--rate N]\n", stderr);
		return 2;
	}
	printf("%lu\n", (unsigned long)flood(open_socket()));
	return 0;
}
