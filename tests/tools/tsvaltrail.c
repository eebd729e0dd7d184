/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tsvaltrail: follows the TSvals that leave by an interface for some servers, connection by connection, and writes down each
 * that is not what its connection, or its server, had before.
 *
 *   tsvaltrail --device NAME --to ADDR[+N]... [--within MS] [--background] --events FILE --stats FILE
 *
 * Clients' clocks run at 1 kHz, so a TSval less the time is the same for all segments of a connection; and for all SYNs to a
 * server where they follow one clock. What is off by more than --within (5000) is an event, a line in FILE:
 *
 *   TIME KIND SERVER:PORT CLIENT-PORT MS SYN-TIME
 *
 *   flow   the segment is MS ahead (or, negative, behind) of where its connection's last SYN was
 *   syn    the SYN is MS ahead of where the server's SYN before it was: from here on it is this one that counts
 *   older  the SYN is older, by MS, than something that was sent to the server within the last 60 s
 *
 * TIME and SYN-TIME (when the connection's SYN left): the time of day in ms; ports as they are outside. Of a connection
 * there is one event a second at most. On SIGTERM one line goes to --stats: seen=N (segments with the option) syns=N
 * events=N lost=N (packets that this program was too slow for).
 */
#include "load.h"
#include "packet_view.h"

#include <getopt.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <signal.h>

enum {
	SERVERS_MAX = 32,
	OLDER_WITHIN_MS = 60000,
	EVENT_GAP_MS = 1000,
	SNAP_BYTES = 256, /* all headers */
};

struct trail {
	uint16_t server_port; /* 0: no SYN yet */
	uint32_t base;	      /* TSval less time, of the last SYN */
	double syn_ms, event_ms;
};

struct server {
	uint8_t address[16];
	bool has_syn;
	uint32_t base;	 /* of the last SYN */
	uint32_t newest; /* of what was sent within OLDER_WITHIN_MS */
	double newest_ms;
	struct trail trails[65536]; /* by the port outside */
};

static struct {
	struct load_addrs to;
	const char *device, *stats;
	FILE *events;
	double within_ms;
	bool background;
} config = {.within_ms = 5000};

static struct {
	uint64_t seen, syns, events;
} result;

static struct server *servers[SERVERS_MAX];
static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static struct server *find_server(const struct segment *segment)
{
	for (size_t i = 0; i < config.to.count; i++) {
		if (memcmp(servers[i]->address, segment->dst, sizeof(segment->dst)) == 0)
			return servers[i];
	}
	return NULL;
}

static void write_event(const char *kind, const struct segment *segment, int32_t ms, double syn_ms)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(segment->version == 4 ? AF_INET : AF_INET6, segment->dst, text, sizeof(text));
	fprintf(config.events, segment->version == 4 ? "%.0f %s %s:%u %u %d %.0f\n" : "%.0f %s [%s]:%u %u %d %.0f\n",
		load_time_of_day_ms(), kind, text, segment->dst_port, segment->src_port, ms, syn_ms);
	fflush(config.events);
	result.events++;
}

static bool is_off(int32_t ms)
{
	return ms > config.within_ms || ms < -config.within_ms;
}

static void look_at_syn(struct server *server, struct trail *trail, const struct segment *segment, double now_ms)
{
	uint32_t base = segment->tsval - (uint32_t)(uint64_t)now_ms;
	int32_t step = (int32_t)(base - server->base), behind = (int32_t)(server->newest - segment->tsval);

	result.syns++;
	if (server->has_syn && is_off(step))
		write_event("syn", segment, step, now_ms);
	if (server->has_syn && behind > 0 && now_ms - server->newest_ms < OLDER_WITHIN_MS)
		write_event("older", segment, behind, now_ms);
	server->has_syn = true;
	server->base = base;
	*trail = (struct trail){.server_port = segment->dst_port, .base = base, .syn_ms = now_ms};
}

static void look_at_flow(struct trail *trail, const struct segment *segment, double now_ms)
{
	int32_t off = (int32_t)(segment->tsval - (uint32_t)(uint64_t)now_ms - trail->base);

	if (trail->server_port != segment->dst_port || !is_off(off) || now_ms - trail->event_ms < EVENT_GAP_MS)
		return;
	trail->event_ms = now_ms;
	write_event("flow", segment, off, trail->syn_ms);
}

static void look_at(uint8_t *ip, uint32_t len)
{
	double now_ms = load_time_of_day_ms();
	struct segment segment;
	struct server *server;

	if (!segment_parse(ip, len, &segment) || !segment.ts || (segment.flags & SEGMENT_RST))
		return;
	server = find_server(&segment);
	if (!server)
		return;
	result.seen++;
	if (segment.flags & SEGMENT_SYN)
		look_at_syn(server, &server->trails[segment.src_port], &segment, now_ms);
	else
		look_at_flow(&server->trails[segment.src_port], &segment, now_ms);
	if (now_ms - server->newest_ms >= OLDER_WITHIN_MS || (int32_t)(segment.tsval - server->newest) >= 0) {
		server->newest = segment.tsval;
		server->newest_ms = now_ms;
	}
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
	uint8_t packet[SNAP_BYTES];
	struct sockaddr_ll from;

	while (!stopped) {
		socklen_t size = sizeof(from);
		ssize_t len = recvfrom(fd, packet, sizeof(packet), MSG_TRUNC, (struct sockaddr *)&from, &size);

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
	fprintf(file, "seen=%llu syns=%llu events=%llu lost=%u\n", (unsigned long long)result.seen,
		(unsigned long long)result.syns, (unsigned long long)result.events, lost.tp_drops);
	return fclose(file) == 0;
}

static void make_servers(void)
{
	for (size_t i = 0; i < config.to.count; i++) {
		const struct sockaddr_storage *address = &config.to.addr[i].ss;

		servers[i] = calloc(1, sizeof(*servers[i]));
		if (!servers[i])
			load_die("calloc");
		if (address->ss_family == AF_INET)
			memcpy(servers[i]->address, &((const struct sockaddr_in *)address)->sin_addr, 4);
		else
			memcpy(servers[i]->address, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"device", required_argument, NULL, 'd'}, {"to", required_argument, NULL, 't'},
		{"within", required_argument, NULL, 'w'}, {"background", no_argument, NULL, 'b'},
		{"events", required_argument, NULL, 'e'}, {"stats", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	struct sigaction action = {.sa_handler = on_signal};
	int fd;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 'd': config.device = optarg; break;
		case 't': load_parse_hosts(optarg, &config.to); break;
		case 'w': config.within_ms = atof(optarg); break;
		case 'b': config.background = true; break;
		case 'e': config.events = fopen(optarg, "a"); break;
		case 's': config.stats = optarg; break;
		default: return 2;
		}
	}
	if (!config.device || !config.events || !config.stats || config.to.count == 0 || config.to.count > SERVERS_MAX) {
		fprintf(stderr, "usage: tsvaltrail --device NAME ... (see the head of tsvaltrail.c)\n");
		return 2;
	}
	make_servers();
	fd = open_device();
	sigaction(SIGTERM, &action, NULL);
	if (config.background)
		load_go_background();
	run(fd);
	fclose(config.events);
	return write_stats(fd) ? 0 : 1;
}
