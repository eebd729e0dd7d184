/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tsvalwatch: sees to it that what leaves by an interface has the shared clock's TSvals.
 *
 *   tsvalwatch --device NAME [--within MS] [--background] --stats FILE
 *
 * The clients' clocks run at 1 kHz and begin anywhere; rewritten, each segment's TSval is the shared clock's time when its
 * client sent it. So all of them, less the time of day, are about the first SYN's: --within (5000) is for what waits on
 * its way. One that is further off has left as its client sent it. On SIGTERM one line goes to FILE:
 *
 *   seen=1234 off=0 lost=0
 *
 * seen: segments with the option; off: those too far off; lost: those that this program was too slow for.
 */
#include "load.h"
#include "packet_view.h"

#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <signal.h>

static struct {
	const char *device, *stats;
	uint32_t within_ms;
	bool background;
} config = {.within_ms = 5000};

static struct {
	uint64_t seen, off;
	bool has_base;
	uint32_t base;
} watch;

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static void look_at(uint8_t *ip, uint32_t len)
{
	struct segment segment;
	uint32_t base, off;

	if (!segment_parse(ip, len, &segment) || !segment.ts)
		return;
	base = segment.tsval - (uint32_t)load_now_ms();
	if (!watch.has_base) {
		watch.has_base = segment.flags & SEGMENT_SYN;
		watch.base = base;
		return;
	}
	off = base - watch.base;
	watch.seen++;
	watch.off += off + config.within_ms > 2 * config.within_ms;
}

static int open_device(void)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
				      .sll_ifindex = (int)if_nametoindex(config.device)};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0), bytes = 64 << 20;

	if (fd < 0 || address.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		load_die(config.device);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	return fd;
}

static void run(int fd)
{
	static uint8_t packet[65536 + 256];
	struct sockaddr_ll from;

	while (!stopped) {
		socklen_t size = sizeof(from);
		ssize_t len = recvfrom(fd, packet, sizeof(packet), 0, (struct sockaddr *)&from, &size);

		if (len > 0 && from.sll_pkttype == PACKET_OUTGOING)
			look_at(packet, (uint32_t)len);
	}
}

static bool write_stats(int fd)
{
	struct tpacket_stats lost = {0};
	socklen_t size = sizeof(lost);
	FILE *file = fopen(config.stats, "w");

	if (!file || getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &lost, &size) < 0)
		return false;
	fprintf(file, "seen=%llu off=%llu lost=%u\n", (unsigned long long)watch.seen, (unsigned long long)watch.off,
		lost.tp_drops);
	return fclose(file) == 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"device", required_argument, NULL, 'd'},	{"within", required_argument, NULL, 'w'},
		{"background", no_argument, NULL, 'b'}, {"stats", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	struct sigaction action = {.sa_handler = on_signal};
	int fd;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 'd': config.device = optarg; break;
		case 'w': config.within_ms = (uint32_t)strtoul(optarg, NULL, 10); break;
		case 'b': config.background = true; break;
		case 's': config.stats = optarg; break;
		default: return 2;
		}
	}
	if (!config.device || !config.stats) {
		fprintf(stderr, "usage: tsvalwatch --device NAME ... (see the head of tsvalwatch.c)\n");
		return 2;
	}
	fd = open_device();
	sigaction(SIGTERM, &action, NULL);
	if (config.background)
		load_go_background();
	run(fd);
	return write_stats(fd) ? 0 : 1;
}
