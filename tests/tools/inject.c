/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * inject: sends single odd TCP segments by a raw socket, which no kernel would send by itself.
 *
 *   inject --from ADDR --to ADDR:PORT [--seconds S --rate N] KIND...
 *   inject --list
 *   inject --compare INSIDE.pcap OUTSIDE.pcap KIND...
 *
 * --seconds: over and over for so long, N segments a second; prints "sent=N".
 *
 * Each segment has a sequence number of its own, SEQ_FIRST on, in the order of the list. By it
 * --compare finds it in captures from both sides of a gateway, and says whether it is there in
 * both and bit-identical, TTL and IP checksum aside. Where the gateway has changed the source
 * address, so have source port and TCP checksum. Exit status 1: not all of the kinds are.
 */
#include "load.h"
#include "capture.h"

#include <getopt.h>

static const uint32_t SEQ_FIRST = 0x70610000;
static struct load_addrs from, to;

struct kind {
	const char *name;
	uint8_t flags;
	uint8_t data_offset; /* in 32-bit words; 0: as long as the options are */
	uint8_t options_len;
	uint8_t options[40];
	uint32_t cut; /* bytes left out at the end */
	bool bad_checksum;
};

#define TS 8, 10, 0, 0, 0x12, 0x34, 0, 0, 0, 0

static const struct kind kinds[] = {
	{"bad-checksum", SEGMENT_SYN, .options_len = 12, .options = {1, 1, TS}, .bad_checksum = true},
	{"offset-too-small", SEGMENT_SYN, .data_offset = 4, .options_len = 12, .options = {1, 1, TS}},
	{"offset-too-large", SEGMENT_SYN, .data_offset = 15, .options_len = 12, .options = {1, 1, TS}},
	{"header-cut", SEGMENT_SYN, .cut = 8},
	{"syn-rst", SEGMENT_SYN | SEGMENT_RST, .options_len = 12, .options = {1, 1, TS}},
	{"syn-fin", SEGMENT_SYN | SEGMENT_FIN, .options_len = 12, .options = {1, 1, TS}},
	{"option-len-zero", SEGMENT_SYN, .options_len = 4, .options = {8, 0, 0, 0}},
	{"option-len-one", SEGMENT_SYN, .options_len = 4, .options = {254, 1, 1, 1}},
	{"option-too-long", SEGMENT_SYN, .options_len = 12, .options = {2, 4, 5, 0xb4, 8, 10, 1, 2, 3, 4, 5, 6}},
	{"option-no-len", SEGMENT_SYN, .options_len = 4, .options = {1, 1, 1, 8}},
	{"timestamps-len-8", SEGMENT_SYN, .options_len = 8, .options = {8, 8, 1, 2, 3, 4, 5, 6}},
	{"two-timestamps", SEGMENT_SYN, .options_len = 20, .options = {TS, TS}},
	{"tcp-ao", SEGMENT_SYN, .options_len = 28,
	 .options = {29, 16, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 1, 1, TS}},
};

enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

static size_t build_tcp(const struct kind *kind, size_t index, uint8_t *ret)
{
	uint32_t len = 20u + kind->options_len;

	memset(ret, 0, len);
	put16(ret, (uint16_t)(61000 + index));
	put32(ret + 4, SEQ_FIRST + (uint32_t)index);
	ret[12] = (uint8_t)((kind->data_offset ? kind->data_offset : len / 4) << 4);
	ret[13] = kind->flags;
	put16(ret + 14, 64240);
	memcpy(ret + 20, kind->options, kind->options_len);
	return len - kind->cut;
}

static void send_kind(int fd, size_t index)
{
	const struct load_addr *src = &from.addr[0], *dst = &to.addr[0];
	const struct kind *kind = &kinds[index];
	uint8_t packet[128] = {0};
	bool v6 = src->ss.ss_family == AF_INET6;
	struct segment s = {.ip = packet, .version = v6 ? 6 : 4, .tcp = packet + (v6 ? 40 : 20)};
	struct load_addr target = *dst;
	uint16_t port = ntohs(v6 ? ((const struct sockaddr_in6 *)&dst->ss)->sin6_port
				 : ((const struct sockaddr_in *)&dst->ss)->sin_port);

	if (v6) {
		memcpy(s.src, &((const struct sockaddr_in6 *)&src->ss)->sin6_addr, 16);
		memcpy(s.dst, &((const struct sockaddr_in6 *)&dst->ss)->sin6_addr, 16);
	} else {
		memcpy(s.src, &((const struct sockaddr_in *)&src->ss)->sin_addr, 4);
		memcpy(s.dst, &((const struct sockaddr_in *)&dst->ss)->sin_addr, 4);
	}
	s.tcp_len = (uint32_t)build_tcp(kind, index, s.tcp);
	put16(s.tcp + 2, port);
	if (s.tcp_len >= 18)
		segment_set_checksum(&s);
	if (kind->bad_checksum)
		s.tcp[16] ^= 0x55;
	s.ip_len = s.tcp_len + (v6 ? 40 : 20);
	if (v6) {
		packet[0] = 0x60;
		put16(packet + 4, (uint16_t)s.tcp_len);
		packet[6] = IPPROTO_TCP;
		packet[7] = 64;
		memcpy(packet + 8, s.src, 16);
		memcpy(packet + 24, s.dst, 16);
	} else {
		packet[0] = 0x45;
		put16(packet + 2, (uint16_t)s.ip_len);
		put16(packet + 4, (uint16_t)(0x7000 + index));
		packet[6] = 0x40;
		packet[8] = 64;
		packet[9] = IPPROTO_TCP;
		memcpy(packet + 12, s.src, 4);
		memcpy(packet + 16, s.dst, 4);
	}
	load_set_port(&target, 0); /* a raw IPv6 socket has none */
	if (sendto(fd, packet, s.ip_len, 0, (const struct sockaddr *)&target.ss, target.len) != (ssize_t)s.ip_len)
		load_die(kind->name);
}

static size_t kind_find(const char *name)
{
	for (size_t i = 0; i < KIND_COUNT; i++)
		if (strcmp(kinds[i].name, name) == 0)
			return i;
	fprintf(stderr, "no such kind: %s\n", name);
	exit(2);
}

/* The packet that carries this kind in the capture, by the sequence number. */
static struct capture_packet *capture_find(struct capture *capture, uint8_t version, size_t index)
{
	for (size_t i = 0; i < capture->count; i++) {
		struct capture_packet *p = &capture->packets[i];
		uint32_t tcp = version == 4 ? 20 : 40;

		if (p->ip[0] >> 4 == version && p->is_tcp && p->is_whole && p->len >= tcp + 8 &&
		    get32(p->ip + tcp + 4) == SEQ_FIRST + index)
			return p;
	}
	return NULL;
}

static const char *compare_one(const struct capture_packet *in, const struct capture_packet *out)
{
	uint32_t tcp = in->ip[0] >> 4 == 4 ? 20 : 40;
	uint32_t src = tcp == 20 ? 12 : 8, src_len = tcp == 20 ? 4 : 16;
	bool nat = memcmp(in->ip + src, out->ip + src, src_len) != 0;

	if (in->len != out->len)
		return "has another length";
	for (uint32_t i = 0; i < in->len; i++) {
		bool ttl = tcp == 20 ? i == 8 || i == 10 || i == 11 : i == 7;
		bool by_nat = nat && ((i >= src && i < src + src_len) || i == tcp || i == tcp + 1 || i == tcp + 16 ||
				      i == tcp + 17);

		if (!ttl && !by_nat && in->ip[i] != out->ip[i])
			return "was changed";
	}
	return NULL;
}

static int compare(const char *inside_path, const char *outside_path, char **names, int count)
{
	static struct capture inside, outside;
	int failed = 0;

	if (!capture_read(inside_path, &inside) || !capture_read(outside_path, &outside))
		return 2;
	for (int i = 0; i < count; i++) {
		for (uint8_t version = 4; version <= 6; version = (uint8_t)(version + 2)) {
			size_t index = kind_find(names[i]);
			const struct capture_packet *in = capture_find(&inside, version, index);
			const struct capture_packet *out = capture_find(&outside, version, index);
			const char *fault = !in ? "is not there inside" : !out ? "is not there outside"
									       : compare_one(in, out);

			printf("IPv%u %s %s\n", version, names[i], fault ? fault : "identical");
			failed |= fault != NULL;
		}
	}
	return failed;
}

/* These kinds over and over, at a pace. */
static void flood(int fd, char **names, int count, double seconds, double rate)
{
	const struct timespec nap = {.tv_nsec = 500000};
	double begin_ms = load_now_ms(), passed_ms;
	uint64_t sent = 0;

	while ((passed_ms = load_now_ms() - begin_ms) < seconds * 1000) {
		if ((double)sent >= passed_ms * rate / 1000)
			nanosleep(&nap, NULL);
		for (; (double)sent < passed_ms * rate / 1000; sent++)
			send_kind(fd, kind_find(names[sent % (uint64_t)count]));
	}
	printf("sent=%llu\n", (unsigned long long)sent);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"from", required_argument, NULL, 'f'},
						{"to", required_argument, NULL, 't'},
						{"list", no_argument, NULL, 'l'},
						{"compare", no_argument, NULL, 'c'},
						{"seconds", required_argument, NULL, 's'},
						{"rate", required_argument, NULL, 'r'},
						{NULL, 0, NULL, 0}};
	double seconds = 0, rate = 1000;
	int fd, one = 1;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'f')
			load_parse_hosts(optarg, &from);
		else if (c == 't')
			load_parse_endpoints(optarg, &to);
		else if (c == 's')
			seconds = strtod(optarg, NULL);
		else if (c == 'r')
			rate = strtod(optarg, NULL);
		else if (c == 'c' && argc - optind >= 2)
			return compare(argv[optind], argv[optind + 1], argv + optind + 2, argc - optind - 2);
		else if (c != 'l')
			return 2;
		for (size_t i = 0; c == 'l' && i < KIND_COUNT; i++)
			printf("%s\n", kinds[i].name);
	}
	if (from.count == 0 || to.count == 0)
		return optind == argc ? 0 : 2;
	fd = socket(from.addr[0].ss.ss_family, SOCK_RAW, IPPROTO_RAW);
	if (fd < 0)
		load_die("raw socket");
	if (from.addr[0].ss.ss_family == AF_INET)
		setsockopt(fd, IPPROTO_IP, IP_HDRINCL, &one, sizeof(one));
	if (seconds > 0)
		flood(fd, argv + optind, argc - optind, seconds, rate);
	for (; seconds == 0 && optind < argc; optind++)
		send_kind(fd, kind_find(argv[optind]));
	close(fd);
	return 0;
}
