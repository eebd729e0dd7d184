/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * queuecount: listens on the queues that pawsd's rules feed, accepts everything unmodified, and
 * counts what comes by which queue.
 *
 *   queuecount --first QUEUE --workers N [--conntrack] [--background] --stats FILE
 *
 * On SIGTERM it writes one line to FILE:
 *
 *   hs_syn=2 hs_other=0 est_syn=0 est_other=7 flows=1 split=0 used=1 conntrack=0
 *
 * hs and est: by the handshake and established queues; syn and other: packets with and without
 * SYN; flows: pairs of endpoints seen; split: of these, seen by more than one worker; used:
 * workers that saw any; conntrack: packets that brought conntrack's entry with them, which --conntrack
 * asks for.
 */
#include "load.h"
#include "packet.h"

#include <getopt.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <signal.h>

enum {
	FLOWS_MAX = 4096,
	WORKERS_MAX = 32,
};

struct seen_flow {
	struct addr ends[2];
	uint16_t ports[2];
	uint32_t workers; /* a bit for each that saw it */
};

static struct {
	uint16_t first, workers;
	const char *stats;
	uint64_t counts[2][2]; /* handshake or established queue; with or without SYN */
	struct seen_flow flows[FLOWS_MAX];
	size_t flow_count;
	uint32_t used;
	bool want_conntrack;
	uint64_t with_conntrack;
} counter = {.workers = 1};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static int on_attribute(const struct nlattr *attr, void *context)
{
	(void)context;
	counter.with_conntrack += mnl_attr_get_type(attr) == NFQA_CT;
	return MNL_CB_OK;
}

/* libnetfilter_queue's old interface does not give this attribute, so it is looked for in the message as it came. */
static void count_conntrack(const char *message, size_t len)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)message;

	if (mnl_nlmsg_ok(nlh, (int)len))
		mnl_attr_parse(nlh, sizeof(struct nfgenmsg), on_attribute, NULL);
}

static void count_flow(const struct packet *packet, uint32_t worker)
{
	const bool swapped = memcmp(&packet->ends.src, &packet->ends.dst, sizeof(packet->ends.src)) > 0;
	struct seen_flow flow = {.workers = 1u << worker};
	size_t i = 0;

	flow.ends[swapped] = packet->ends.src;
	flow.ends[!swapped] = packet->ends.dst;
	flow.ports[swapped] = packet->ends.src_port;
	flow.ports[!swapped] = packet->ends.dst_port;
	counter.used |= flow.workers;
	while (i < counter.flow_count && (memcmp(counter.flows[i].ends, flow.ends, sizeof(flow.ends)) != 0 ||
					  memcmp(counter.flows[i].ports, flow.ports, sizeof(flow.ports)) != 0))
		i++;
	if (i < counter.flow_count)
		counter.flows[i].workers |= flow.workers;
	else if (i < FLOWS_MAX)
		counter.flows[counter.flow_count++] = flow;
}

static int on_packet(struct nfq_q_handle *queue, struct nfgenmsg *message, struct nfq_data *data, void *context)
{
	const uint32_t number = *(uint16_t *)context - counter.first;
	struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);
	struct packet_input input = {0};
	struct packet packet;
	const int len = nfq_get_payload(data, &input.data);

	(void)message;
	input.len = len < 0 ? 0 : (uint32_t)len;
	if (packet_parse(&input, &packet) == REASON_COUNT) {
		counter.counts[number >= counter.workers][!(packet.flags & TCP_SYN)]++;
		count_flow(&packet, number % counter.workers);
	}
	return nfq_set_verdict(queue, ntohl(header->packet_id), NF_ACCEPT, 0, NULL);
}

static void write_stats(void)
{
	FILE *out = fopen(counter.stats, "w");
	size_t split = 0;

	if (!out)
		load_die(counter.stats);
	for (size_t i = 0; i < counter.flow_count; i++)
		split += __builtin_popcount(counter.flows[i].workers) > 1;
	fprintf(out, "hs_syn=%lu hs_other=%lu est_syn=%lu est_other=%lu flows=%zu split=%zu used=%d conntrack=%lu\n",
		(unsigned long)counter.counts[0][0], (unsigned long)counter.counts[0][1],
		(unsigned long)counter.counts[1][0], (unsigned long)counter.counts[1][1], counter.flow_count, split,
		__builtin_popcount(counter.used), (unsigned long)counter.with_conntrack);
	fclose(out);
}

static struct nfq_handle *open_queues(void)
{
	static uint16_t numbers[2 * WORKERS_MAX];
	/* A SIGTERM just before recv() must not wait for the next packet. */
	const struct timeval timeout = {.tv_usec = 100000};
	struct nfq_handle *handle = nfq_open();

	if (!handle || setsockopt(nfq_fd(handle), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
		load_die("nfq_open");
	const uint32_t flags = NFQA_CFG_F_GSO | (counter.want_conntrack ? NFQA_CFG_F_CONNTRACK : 0);

	for (uint16_t i = 0; i < 2 * counter.workers; i++) {
		struct nfq_q_handle *queue;

		numbers[i] = (uint16_t)(counter.first + i);
		queue = nfq_create_queue(handle, numbers[i], on_packet, &numbers[i]);
		if (!queue || nfq_set_mode(queue, NFQNL_COPY_PACKET, 0xffff) < 0)
			load_die("queue");
		nfq_set_queue_flags(queue, flags, flags);
	}
	return handle;
}

static const struct option options[] = {
	{"first", required_argument, NULL, 'f'},
	{"workers", required_argument, NULL, 'w'},
	{"stats", required_argument, NULL, 's'},
	{"conntrack", no_argument, NULL, 'c'},
	{"background", no_argument, NULL, 'b'},
	{NULL, 0, NULL, 0},
};

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};
	bool background = false;
	static char buffer[1 << 17];

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 'f': counter.first = (uint16_t)atoi(optarg); break;
		case 'w': counter.workers = (uint16_t)atoi(optarg); break;
		case 's': counter.stats = optarg; break;
		case 'c': counter.want_conntrack = true; break;
		case 'b': background = true; break;
		default: return 2;
		}
	}
	if (!counter.stats || counter.workers == 0 || counter.workers > WORKERS_MAX) {
		fprintf(stderr, "usage: queuecount --first QUEUE --workers N [--conntrack] [--background] --stats FILE\n");
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	struct nfq_handle *handle = open_queues();

	if (background)
		load_go_background();
	while (!stopped) {
		const ssize_t n = recv(nfq_fd(handle), buffer, sizeof(buffer), 0);

		if (n <= 0)
			continue;
		count_conntrack(buffer, (size_t)n);
		nfq_handle_packet(handle, buffer, (int)n);
	}
	write_stats();
	nfq_close(handle);
	return 0;
}
