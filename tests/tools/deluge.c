/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * deluge: more packets than anybody wants, out of a packet socket, at a rate.
 *
 *   deluge --device NAME --gateway MAC --from ADDR[+N] --to ADDR KIND [--rate N] [--seconds S] [--count N]
 *
 *   syn        SYNs, each on a four-tuple of its own: through all addresses of --from, then the next port
 *   open       a SYN and the client's ACK on each four-tuple, as if it had been answered
 *   jump       64 connections opened like that, then segments with TSvals from anywhere
 *   fragment   first fragments of SYNs; the rest never comes
 *   gso        one packet of 65535 bytes, to be cut into segments by whoever sends it on
 *
 * gso is IPv6, for a device can be told (ip link set gso_max_size) to take one as long; all others are IPv4.
 * --rate is in packets a second, 0 for as fast as they go; what falls behind is made up for. It ends after --seconds or
 * --count packets. The numbers in the packets come from a generator with a fixed seed. Prints "sent=N seconds=S".
 */
#include <getopt.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>

#include "load.h"
#include "packet_view.h"

enum {
	BATCH = 64,
	IP_BYTES = 20,
	IP6_BYTES = 40,
	TCP_BYTES = 32, /* with NOP, NOP, timestamps */
	JUMPERS = 64,
	PORT_FIRST = 1024,
	PORTS = 64000,
	GSO_BYTES = 65535,
	GSO_SEGMENT = 1428,
};

enum kind { SYN, OPEN, JUMP, FRAGMENT, GSO, KINDS };

static const char *const kind_names[KINDS] = {"syn", "open", "jump", "fragment", "gso"};

static struct {
	const char *device, *gateway;
	struct load_addrs from, to;
	enum kind kind;
	double rate, seconds;
	uint64_t count;
} config = {.kind = KINDS, .seconds = 1, .count = UINT64_MAX};

static uint64_t random_state = 5;

static uint32_t random32(void)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 32);
}

/* What packet number `n` of the flood is. */
struct shape {
	uint64_t tuple; /* number of its four-tuple */
	uint8_t flags;
	uint32_t tsval;
};

static struct shape shape_of(uint64_t n)
{
	struct shape shape = {.tuple = n, .flags = SEGMENT_SYN, .tsval = random32()};

	switch (config.kind) {
	case OPEN:
		shape.tuple = n / 2;
		shape.flags = n % 2 ? SEGMENT_ACK : SEGMENT_SYN;
		shape.tsval = 1000;
		break;
	case JUMP:
		shape.tuple = n < 2 * JUMPERS ? n / 2 : n % JUMPERS;
		shape.flags = n < 2 * JUMPERS && n % 2 == 0 ? SEGMENT_SYN : SEGMENT_ACK;
		break;
	case GSO:
		shape.flags = SEGMENT_ACK;
		break;
	default:
		break;
	}
	return shape;
}

/* The TCP header, but for the checksum. */
static void put_tcp(uint8_t *tcp, const struct shape *shape)
{
	uint64_t round = shape->tuple / config.from.count;

	memset(tcp, 0, TCP_BYTES);
	put16(tcp, (uint16_t)(PORT_FIRST + round % PORTS));
	put16(tcp + 2, (uint16_t)(PORT_FIRST + round / PORTS % PORTS));
	put32(tcp + 4, (uint32_t)shape->tuple * 2654435761u + (shape->flags & SEGMENT_SYN ? 0 : 1));
	put32(tcp + 8, shape->flags & SEGMENT_ACK ? 1000 : 0);
	tcp[12] = TCP_BYTES / 4 << 4;
	tcp[13] = shape->flags;
	put16(tcp + 14, 64240);
	memcpy(tcp + 20, (const uint8_t[]){1, 1, 8, 10}, 4);
	put32(tcp + 24, shape->tsval);
}

static void make_packet(uint8_t *ip, const struct shape *shape)
{
	const struct load_addr *from = &config.from.addr[shape->tuple % config.from.count];
	struct segment s = {.ip = ip, .version = 4, .tcp = ip + IP_BYTES, .tcp_len = TCP_BYTES};

	memcpy(s.src, &((const struct sockaddr_in *)&from->ss)->sin_addr, 4);
	memcpy(s.dst, &((const struct sockaddr_in *)&config.to.addr[0].ss)->sin_addr, 4);
	memset(ip, 0, IP_BYTES);
	ip[0] = 0x45;
	put16(ip + 2, IP_BYTES + TCP_BYTES);
	put16(ip + 4, (uint16_t)shape->tuple);
	ip[6] = config.kind == FRAGMENT ? 0x20 : 0x40;
	ip[8] = 64;
	ip[9] = IPPROTO_TCP;
	memcpy(ip + 12, s.src, 4);
	memcpy(ip + 16, s.dst, 4);
	put16(ip + 10, (uint16_t)~sum16(0, ip, IP_BYTES));
	put_tcp(s.tcp, shape);
	segment_set_checksum(&s);
}

static void put_ethernet(uint8_t *frame)
{
	unsigned int mac[6];

	if (sscanf(config.gateway, "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) != 6) {
		fprintf(stderr, "not a MAC address: %s\n", config.gateway);
		exit(2);
	}
	memset(frame, 0, ETHER_HDR_LEN);
	for (int i = 0; i < 6; i++)
		frame[i] = (uint8_t)mac[i];
	put16(frame + 12, config.kind == GSO ? ETHERTYPE_IPV6 : ETHERTYPE_IP);
}

static int open_socket(void)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET,
				      .sll_protocol = htons(config.kind == GSO ? ETH_P_IPV6 : ETH_P_IP)};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;

	address.sll_ifindex = (int)if_nametoindex(config.device);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		load_die(config.device);
	if (config.kind == GSO && setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) < 0)
		load_die("PACKET_VNET_HDR");
	return fd;
}

/* How many packets are due, at most a batch; sleeps where none is. */
static uint64_t wait_for_due(double begin_ms, uint64_t sent)
{
	const struct timespec nap = {.tv_nsec = 500000};
	uint64_t due = BATCH, left = config.count - sent;

	while (config.rate > 0) {
		due = (uint64_t)((load_now_ms() - begin_ms) * config.rate / 1000) - sent;
		if (due > 0)
			break;
		nanosleep(&nap, NULL);
	}
	due = due < BATCH ? due : BATCH;
	return due < left ? due : left;
}

static uint64_t flood(int fd)
{
	static uint8_t frames[BATCH][ETHER_HDR_LEN + IP_BYTES + TCP_BYTES];
	static struct mmsghdr messages[BATCH];
	static struct iovec iov[BATCH];
	double begin_ms = load_now_ms();
	uint64_t sent = 0;

	for (int i = 0; i < BATCH; i++) {
		put_ethernet(frames[i]);
		iov[i] = (struct iovec){frames[i], sizeof(frames[i])};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
	while (sent < config.count && load_now_ms() < begin_ms + config.seconds * 1000) {
		uint64_t due = wait_for_due(begin_ms, sent);

		for (uint64_t i = 0; i < due; i++) {
			struct shape shape = shape_of(sent + i);

			make_packet(frames[i] + ETHER_HDR_LEN, &shape);
		}
		for (uint64_t done = 0; done < due;) {
			int n = sendmmsg(fd, messages + done, (unsigned int)(due - done), 0);

			if (n < 0 && errno != ENOBUFS)
				load_die("sendmmsg");
			done += n > 0 ? (uint64_t)n : 0;
		}
		sent += due;
	}
	return sent;
}

static uint64_t send_gso(int fd)
{
	static uint8_t frame[sizeof(struct virtio_net_hdr) + ETHER_HDR_LEN + GSO_BYTES];
	uint8_t *ip = frame + sizeof(struct virtio_net_hdr) + ETHER_HDR_LEN, *tcp = ip + IP6_BYTES;
	const struct shape shape = shape_of(0);
	const struct virtio_net_hdr header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV6,
		.hdr_len = ETHER_HDR_LEN + IP6_BYTES + TCP_BYTES,
		.gso_size = GSO_SEGMENT,
		.csum_start = ETHER_HDR_LEN + IP6_BYTES,
		.csum_offset = 16,
	};

	memcpy(frame, &header, sizeof(header));
	put_ethernet(frame + sizeof(header));
	ip[0] = 0x60;
	put16(ip + 4, GSO_BYTES - IP6_BYTES);
	ip[6] = IPPROTO_TCP;
	ip[7] = 64;
	memcpy(ip + 8, &((const struct sockaddr_in6 *)&config.from.addr[0].ss)->sin6_addr, 16);
	memcpy(ip + 24, &((const struct sockaddr_in6 *)&config.to.addr[0].ss)->sin6_addr, 16);
	put_tcp(tcp, &shape);
	/* Whoever cuts it wants the sum of the pseudo-header there. */
	put16(tcp + 16, (uint16_t)sum16(IPPROTO_TCP + GSO_BYTES - IP6_BYTES, ip + 8, 32));
	if (send(fd, frame, sizeof(frame), 0) != (ssize_t)sizeof(frame))
		load_die("send");
	return 1;
}

static const struct option options[] = {
	{"device", required_argument, NULL, 'd'},  {"gateway", required_argument, NULL, 'g'},
	{"from", required_argument, NULL, 'f'},	   {"to", required_argument, NULL, 't'},
	{"rate", required_argument, NULL, 'r'},	   {"seconds", required_argument, NULL, 's'},
	{"count", required_argument, NULL, 'n'},   {NULL, 0, NULL, 0},
};

int main(int argc, char **argv)
{
	double begin_ms;
	uint64_t sent;
	int fd;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 'd': config.device = optarg; break;
		case 'g': config.gateway = optarg; break;
		case 'f': load_parse_hosts(optarg, &config.from); break;
		case 't': load_parse_hosts(optarg, &config.to); break;
		case 'r': config.rate = strtod(optarg, NULL); break;
		case 's': config.seconds = strtod(optarg, NULL); break;
		case 'n': config.count = strtoull(optarg, NULL, 10); break;
		default: return 2;
		}
	}
	for (int kind = 0; optind < argc && kind < KINDS; kind++)
		if (strcmp(argv[optind], kind_names[kind]) == 0)
			config.kind = (enum kind)kind;
	if (config.kind == KINDS || !config.device || !config.gateway || config.from.count == 0 || config.to.count == 0) {
		fputs("usage: deluge --device NAME --gateway MAC --from ADDR[+N] --to ADDR KIND\n", stderr);
		return 2;
	}
	fd = open_socket();
	begin_ms = load_now_ms();
	sent = config.kind == GSO ? send_gso(fd) : flood(fd);
	printf("sent=%llu seconds=%.2f\n", (unsigned long long)sent, (load_now_ms() - begin_ms) / 1000);
	return 0;
}
