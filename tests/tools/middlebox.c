/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * middlebox: what stands between the gateway and the server in the tests and the demo. It takes
 * the packets of both directions from one NFQUEUE, one at a time, and is
 *
 *   vanilla, rhel7   the per-host check of an old server with tcp_tw_recycle=1 (oldserver.h), in
 *                    front of a real server: SYNs that the old one would drop are dropped
 *   f3               a firewall that answers with a timestamp echo that nobody sent: SYN/ACKs get
 *                    TSval 0, TSecr 2174718965 and a right checksum
 *   insist           a server that sends timestamps to who has not offered them: SYN/ACKs without
 *                    the option get one
 *
 *   middlebox --mode vanilla|rhel7|f3|insist --queue N --server-dev NAME [--key peer|pair]
 *             [--background] [--stats FILE]
 *
 * --server-dev: packets that came in by this interface are the server's. --key: what the record
 * is kept by; the default is peer for vanilla and pair (both addresses) for rhel7. On SIGTERM it
 * writes its counts to the --stats file. --selftest: checks the model against the figures
 * measured on a real 3.10.0-1160.
 */
#include "load.h"
#include "oldserver.h"

#include <getopt.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <net/if.h>
#include <signal.h>

enum mode {
	MODE_NONE,
	MODE_OLD_SERVER,
	MODE_F3,
	MODE_INSIST,
};

static const uint32_t F3_TSECR = 2174718965u;

static struct {
	enum mode mode;
	uint16_t queue;
	uint32_t server_ifindex;
	const char *stats_path;
	struct mnl_socket *nl;
	struct old_server server;
	uint64_t packets, rewritten;
} box;

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

static uint32_t now_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts); /* as the old kernels do */
	return (uint32_t)ts.tv_sec;
}

static void verdict_send(uint32_t id, unsigned int verdict, const uint8_t *data, uint32_t len)
{
	char buf[0xffff + 4096];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg;

	nlh->nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(box.queue);
	nfq_nlmsg_verdict_put(nlh, (int)id, (int)verdict);
	if (data)
		nfq_nlmsg_verdict_put_pkt(nlh, data, len);
	if (mnl_socket_sendto(box.nl, nlh, nlh->nlmsg_len) < 0)
		load_die("verdict");
}

static void synack_bogus_echo(struct segment *s)
{
	put32(s->ts + 2, 0);
	put32(s->ts + 6, F3_TSECR);
}

/* Appends NOP, NOP and a timestamp option to a SYN/ACK, which has no payload. */
static void synack_insist(struct segment *s)
{
	static const uint8_t option[12] = {1, 1, 8, 10, 0, 0, 0x30, 0x39, 0, 1, 0x09, 0x32};

	memcpy(s->tcp + s->tcp_len, option, sizeof(option));
	s->tcp_len += (uint32_t)sizeof(option);
	s->ip_len += (uint32_t)sizeof(option);
	s->tcp[12] = (uint8_t)(s->tcp[12] + (3 << 4));
	if (s->version == 6) {
		put16(s->ip + 4, (uint16_t)s->tcp_len);
		return;
	}
	put16(s->ip + 2, (uint16_t)s->ip_len);
	put16(s->ip + 10, 0);
	put16(s->ip + 10, (uint16_t)~sum16(0, s->ip, (uint32_t)(s->tcp - s->ip)));
}

/*
 * Returns the verdict; *ret_changed says whether the packet is now another one. It may have
 * become longer by up to 12 bytes: `data` has room.
 */
static unsigned int box_handle(uint8_t *data, uint32_t *len, bool from_server, bool *ret_changed)
{
	struct segment s;

	box.packets++;
	if (!segment_parse(data, *len, &s))
		return NF_ACCEPT;
	if (box.mode == MODE_OLD_SERVER) {
		if (!from_server)
			return old_server_receive(&box.server, &s, now_seconds()) ? NF_ACCEPT : NF_DROP;
		old_server_send(&box.server, &s);
		return NF_ACCEPT;
	}
	if (!from_server || (s.flags & (SEGMENT_SYN | SEGMENT_ACK)) != (SEGMENT_SYN | SEGMENT_ACK) ||
	    !s.ts != (box.mode == MODE_INSIST))
		return NF_ACCEPT;
	if (box.mode == MODE_F3)
		synack_bogus_echo(&s);
	else
		synack_insist(&s);
	segment_set_checksum(&s);
	*len = s.ip_len;
	box.rewritten++;
	*ret_changed = true;
	return NF_ACCEPT;
}

static int on_packet(const struct nlmsghdr *nlh, void *context)
{
	struct nlattr *attr[NFQA_MAX + 1] = {0};
	const struct nfqnl_msg_packet_hdr *header;
	static uint8_t data[0xffff + 16];
	uint32_t id, len = 0, indev = 0;
	bool changed = false;
	unsigned int verdict;

	(void)context;
	if (nfq_nlmsg_parse(nlh, attr) < 0 || !attr[NFQA_PACKET_HDR])
		return MNL_CB_OK;
	header = mnl_attr_get_payload(attr[NFQA_PACKET_HDR]);
	id = ntohl(header->packet_id);
	if (attr[NFQA_PAYLOAD]) {
		len = mnl_attr_get_payload_len(attr[NFQA_PAYLOAD]);
		memcpy(data, mnl_attr_get_payload(attr[NFQA_PAYLOAD]), len);
	}
	if (attr[NFQA_IFINDEX_INDEV])
		indev = ntohl(mnl_attr_get_u32(attr[NFQA_IFINDEX_INDEV]));
	verdict = box_handle(data, &len, indev == box.server_ifindex, &changed);
	verdict_send(id, verdict, changed ? data : NULL, len);
	return MNL_CB_OK;
}

static void queue_open(void)
{
	char buf[8192];
	struct nlmsghdr *nlh;
	unsigned int portid;
	int n;

	box.nl = mnl_socket_open(NETLINK_NETFILTER);
	if (!box.nl || mnl_socket_bind(box.nl, 0, MNL_SOCKET_AUTOPID) < 0)
		load_die("netlink");
	portid = mnl_socket_get_portid(box.nl);
	nlh = nfq_nlmsg_put(buf, NFQNL_MSG_CONFIG, box.queue);
	nlh->nlmsg_flags |= NLM_F_ACK;
	nfq_nlmsg_cfg_put_cmd(nlh, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
	nfq_nlmsg_cfg_put_params(nlh, NFQNL_COPY_PACKET, 0xffff);
	nfq_nlmsg_cfg_put_qmaxlen(nlh, 16384);
	if (mnl_socket_sendto(box.nl, nlh, nlh->nlmsg_len) < 0)
		load_die("queue");
	n = (int)mnl_socket_recvfrom(box.nl, buf, sizeof(buf));
	if (n < 0 || mnl_cb_run(buf, (size_t)n, 0, portid, NULL, NULL) < 0)
		load_die("queue bind");
	n = 8 << 20;
	setsockopt(mnl_socket_get_fd(box.nl), SOL_SOCKET, SO_RCVBUFFORCE, &n, sizeof(n));
}

static void box_run(void)
{
	static char buf[0xffff + 8192];
	unsigned int portid = mnl_socket_get_portid(box.nl);

	while (!stopped) {
		ssize_t n = mnl_socket_recvfrom(box.nl, buf, sizeof(buf));

		if (n < 0 && (errno == EINTR || errno == ENOBUFS))
			continue;
		if (n < 0 || mnl_cb_run(buf, (size_t)n, 0, portid, on_packet, NULL) < 0)
			load_die("queue");
	}
}

static void box_write_stats(void)
{
	FILE *file = box.stats_path ? fopen(box.stats_path, "w") : NULL;

	if (!file)
		return;
	fprintf(file, "packets=%llu syns=%llu refused=%llu written=%llu rewritten=%llu\n",
		(unsigned long long)box.packets, (unsigned long long)box.server.syns,
		(unsigned long long)box.server.refused, (unsigned long long)box.server.written,
		(unsigned long long)box.rewritten);
	fclose(file);
}

/* R is the remembered TSval, `after_s` the time since its stamp. */
static int selftest_one(enum old_family family, uint32_t offset, bool has_ts, uint32_t after_s, bool refused)
{
	static const uint32_t R = 1000;
	struct old_server *server = calloc(1, sizeof(*server));
	struct old_connection conn = {.version = 4, .has_ts = true, .ts_recent = R, .ts_recent_s = 5000};
	struct segment syn = {.version = 4, .tsval = R + offset};
	uint8_t option;
	bool is_refused;

	if (!server)
		load_die("calloc");
	server->family = family;
	if (has_ts)
		syn.ts = &option;
	old_server_remember(server, &conn, 5000);
	is_refused = old_server_refuses(server, &syn, 5000 + after_s);
	if (is_refused != refused)
		printf("not ok: %s, TSval R%+d%s after %u s: %s\n", family == OLD_RHEL7 ? "rhel7" : "vanilla",
		       (int)offset, has_ts ? "" : " (no option)", after_s, is_refused ? "refused" : "accepted");
	for (size_t i = 0; i < OLD_BUCKETS; i++)
		free(server->records[i]);
	free(server);
	return is_refused != refused;
}

static int selftest(void)
{
	int failed = 0;

	for (enum old_family f = OLD_VANILLA; f <= OLD_RHEL7; f++) {
		failed += selftest_one(f, 0u - 1, true, 0, false);
		failed += selftest_one(f, 0x7fffffffu, true, 0, false);
		failed += selftest_one(f, 0u - 2, true, 0, true);
		failed += selftest_one(f, 0u - 0x7fffffffu, true, 0, true);
		failed += selftest_one(f, 0x80000000u, true, 0, false);
		failed += selftest_one(f, 0u - 1000, true, 0, true); /* TSval 0 */
		failed += selftest_one(f, 0u - 2, true, 59, true);
		failed += selftest_one(f, 0u - 2, true, 60, false);
		failed += selftest_one(f, 0, false, 59, f == OLD_RHEL7);
		failed += selftest_one(f, 0, false, 60, false);
	}
	printf("selftest %s\n", failed ? "failed" : "ok");
	return failed != 0;
}

static bool box_set_mode(const char *mode)
{
	box.mode = MODE_OLD_SERVER;
	if (strcmp(mode, "rhel7") == 0) {
		box.server.family = OLD_RHEL7;
		box.server.key_pair = true;
	} else if (strcmp(mode, "f3") == 0) {
		box.mode = MODE_F3;
	} else if (strcmp(mode, "insist") == 0) {
		box.mode = MODE_INSIST;
	} else if (strcmp(mode, "vanilla") != 0) {
		return false;
	}
	return true;
}

static const struct option options[] = {
	{"mode", required_argument, NULL, 'm'},
	{"queue", required_argument, NULL, 'q'},
	{"server-dev", required_argument, NULL, 'd'},
	{"key", required_argument, NULL, 'k'},
	{"stats", required_argument, NULL, 's'},
	{"background", no_argument, NULL, 'b'},
	{"selftest", no_argument, NULL, 'S'},
	{NULL, 0, NULL, 0},
};

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};
	const char *key = NULL;
	bool background = false;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 'm':
			if (!box_set_mode(optarg))
				return 2;
			break;
		case 'q': box.queue = (uint16_t)atoi(optarg); break;
		case 'd': box.server_ifindex = if_nametoindex(optarg); break;
		case 'k': key = optarg; break;
		case 's': box.stats_path = optarg; break;
		case 'b': background = true; break;
		case 'S': return selftest();
		default: return 2;
		}
	}
	if (box.mode == MODE_NONE || box.server_ifindex == 0) {
		fprintf(stderr, "usage: middlebox --mode vanilla|rhel7|f3|insist --queue N --server-dev NAME ...\n");
		return 2;
	}
	if (key)
		box.server.key_pair = strcmp(key, "pair") == 0;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	queue_open();
	if (background)
		load_go_background();
	box_run();
	box_write_stats();
	return 0;
}
