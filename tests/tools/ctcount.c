/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctcount: counts the connection tracking entries of its network namespace whose original
 * destination is an address, expired ones left out.
 *
 *   ctcount [--wait SECONDS] [--status BITS] ADDR...
 *
 * Prints the number. With --wait it looks until there are none; exit status 1: still some. --status: only those
 * that have one of these bits (IPS_* of linux/netfilter/nf_conntrack_common.h), as 0x40 for adjusted sequence
 * numbers.
 */
#include "load.h"

#include <getopt.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

static struct load_addrs wanted;
static uint32_t wanted_status;

struct seen_entry {
	unsigned int matches; /* of its addresses */
	uint32_t status;
};

static bool is_wanted(const struct nlattr *address, int family)
{
	for (size_t i = 0; i < wanted.count; i++) {
		const struct sockaddr_storage *ss = &wanted.addr[i].ss;
		const void *bytes = family == AF_INET ? (const void *)&((const struct sockaddr_in *)ss)->sin_addr
						      : (const void *)&((const struct sockaddr_in6 *)ss)->sin6_addr;
		size_t len = family == AF_INET ? 4 : 16;

		if (ss->ss_family == family && mnl_attr_get_payload_len(address) == len &&
		    memcmp(mnl_attr_get_payload(address), bytes, len) == 0)
			return true;
	}
	return false;
}

static int on_address(const struct nlattr *attr, void *context)
{
	struct seen_entry *entry = context;

	if (mnl_attr_get_type(attr) == CTA_IP_V4_DST)
		entry->matches += is_wanted(attr, AF_INET);
	if (mnl_attr_get_type(attr) == CTA_IP_V6_DST)
		entry->matches += is_wanted(attr, AF_INET6);
	return MNL_CB_OK;
}

static int on_tuple(const struct nlattr *attr, void *context)
{
	return mnl_attr_get_type(attr) == CTA_TUPLE_IP ? mnl_attr_parse_nested(attr, on_address, context) : MNL_CB_OK;
}

static int on_attribute(const struct nlattr *attr, void *context)
{
	struct seen_entry *entry = context;

	if (mnl_attr_get_type(attr) == CTA_STATUS)
		entry->status = ntohl(mnl_attr_get_u32(attr));
	return mnl_attr_get_type(attr) == CTA_TUPLE_ORIG ? mnl_attr_parse_nested(attr, on_tuple, context) : MNL_CB_OK;
}

static int on_entry(const struct nlmsghdr *nlh, void *context)
{
	struct seen_entry entry = {0};
	unsigned int *count = context;
	const int status = mnl_attr_parse(nlh, sizeof(struct nfgenmsg), on_attribute, &entry);

	*count += entry.matches > 0 && (!wanted_status || entry.status & wanted_status);
	return status;
}

static unsigned int count_entries(struct mnl_socket *nl)
{
	static unsigned int seq;
	char buf[32768];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg;
	unsigned int count = 0;
	int status = MNL_CB_OK;

	nlh->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = ++seq;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		load_die("conntrack");
	while (status > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(nl, buf, sizeof(buf));

		if (n < 0)
			load_die("conntrack");
		status = mnl_cb_run(buf, (size_t)n, seq, mnl_socket_get_portid(nl), on_entry, &count);
	}
	if (status < 0)
		load_die("conntrack");
	return count;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"wait", required_argument, NULL, 'w'}, {"status", required_argument, NULL, 's'}, {NULL, 0, NULL, 0}};
	const struct timespec pause = {.tv_nsec = 20000000};
	double end_ms = 0;
	struct mnl_socket *nl;
	unsigned int count;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 'w': end_ms = load_now_ms() + atof(optarg) * 1e3; break;
		case 's': wanted_status = (uint32_t)strtoul(optarg, NULL, 0); break;
		default: return 2;
		}
	}
	while (optind < argc)
		load_parse_hosts(argv[optind++], &wanted);
	nl = mnl_socket_open(NETLINK_NETFILTER);
	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		load_die("netlink");
	while ((count = count_entries(nl)) > 0 && load_now_ms() < end_ms)
		nanosleep(&pause, NULL);
	printf("%u\n", count);
	mnl_socket_close(nl);
	return end_ms > 0 && count > 0;
}
