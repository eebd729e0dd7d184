/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connection tracking, forwarding, interfaces, and what others have set up. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conntrack.h"
#include "doctor_internal.h"
#include "metrics.h"
#include "rules_internal.h"
#include "surroundings.h"
#include "wan.h"

enum {
	SERVER_TIME_WAIT_S = 60,
	NAMES_SIZE = 256,
};

/* ---- connection tracking ---- */

static void say_how_full(struct doctor *doctor, uint64_t count, uint64_t max)
{
	const char *cure = "; sysctl -w net.netfilter.nf_conntrack_max=";
	uint64_t loose = 0, liberal = 0;

	doctor_read_number(doctor, "/proc/sys/net/netfilter/nf_conntrack_tcp_loose", &loose);
	doctor_read_number(doctor, "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", &liberal);
	if (count >= max / 10 * 9)
		doctor_say(doctor, DOCTOR_FAIL, "pawsd(8), OVERLOAD",
			   "%" PRIu64 " of %" PRIu64 " entries are used: new connections of everybody are about to be "
						     "dropped%s%" PRIu64,
			   count, max, cure, max * 2);
	else if (count >= max / 4 * 3)
		doctor_say(doctor, DOCTOR_WARN, "pawsd(8), OVERLOAD",
			   "%" PRIu64 " of %" PRIu64 " entries are used, and when all are new connections of everybody are "
						     "dropped%s%" PRIu64,
			   count, max, cure, max * 2);
	else
		doctor_say(doctor, DOCTOR_OK, NULL,
			   "%" PRIu64 " of %" PRIu64 " entries; tcp_loose %" PRIu64 ", tcp_be_liberal %" PRIu64 ", neither of "
														"which pawsd "
														"minds",
			   count, max, loose, liberal);
}

void doctor_look_at_conntrack(struct doctor *doctor)
{
	uint64_t count, max;

	if (doctor_read_number(doctor, "/proc/sys/net/netfilter/nf_conntrack_count", &count) &&
	    doctor_read_number(doctor, "/proc/sys/net/netfilter/nf_conntrack_max", &max))
		say_how_full(doctor, count, max);
	else
		doctor_say(doctor, DOCTOR_WARN, "pawsd(8), DOCTOR",
			   "connections are not tracked here: without a NAT rule there is no address that they share, and "
			   "nothing to cure; set up the NAT (modprobe nf_conntrack if its rules are still to come)");
}

void doctor_look_at_timeouts(struct doctor *doctor)
{
	char list[512] = "", name[64];
	size_t used = 0;
	uint32_t kept_s, known = 0;

	for (enum flow_state state = FLOW_FREE + 1; state < FLOW_STATE_COUNT && used < sizeof(list); state++) {
		const uint32_t ours_s = doctor->config->timeout_s[state];

		if (!conntrack_timeout(doctor->root, state, &kept_s))
			continue;
		known++;
		conntrack_timeout_name(state, name, sizeof(name));
		if (kept_s > ours_s)
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s %u s (the file says %u)",
						 used ? ", " : "", name, kept_s, ours_s);
	}
	if (*list)
		doctor_say(doctor, DOCTOR_NOTE, "pawsd.conf(5), FLOWS",
			   "conntrack keeps connections longer: %s; so will pawsd, and nothing is to be done, but that flows "
			   "take their places for longer: mind [flows] max",
			   list);
	if (conntrack_timeout(doctor->root, FLOW_TIME_WAIT, &kept_s) && kept_s < SERVER_TIME_WAIT_S)
		doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), DESCRIPTION",
			   "nf_conntrack_tcp_timeout_time_wait is %u s: public ports are given away while servers still hold "
			   "them in TIME_WAIT (60 s), which pawsd cures where it rewrites; elsewhere sysctl -w "
			   "net.netfilter.nf_conntrack_tcp_timeout_time_wait=120",
			   kept_s);
	if (known && !*list)
		doctor_say(doctor, DOCTOR_OK, NULL, "those of [flows] are no shorter than conntrack's");
}

/* ---- forwarding ---- */

/* Whether anything of that family is to be done. */
static bool is_named(const struct policy *policy, enum family family)
{
	bool found = policy->destinations[0].mode != MODE_OFF;

	for (size_t i = 1; i < policy->destination_count; i++) {
		const struct destination *destination = &policy->destinations[i];

		for (size_t j = 0; !found && j < destination->prefix_count; j++)
			found = destination->enabled && destination->mode != MODE_OFF &&
				destination->prefixes[j].family == family;
	}
	return found;
}

void doctor_look_at_forwarding(struct doctor *doctor)
{
	static const struct {
		enum family family;
		const char *path, *sysctl;
	} switches[] = {
		{FAMILY_IPV4, "/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"},
		{FAMILY_IPV6, "/proc/sys/net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"},
	};
	uint64_t value;
	bool is_on = true;

	for (size_t i = 0; i < 2; i++) {
		if (!is_named(doctor->config->policy, switches[i].family) ||
		    (doctor_read_number(doctor, switches[i].path, &value) && value))
			continue;
		is_on = false;
		doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), DOCTOR",
			   "%s is 0: nothing of that family is forwarded, so nothing comes to pawsd; sysctl -w %s=1",
			   switches[i].sysctl, switches[i].sysctl);
	}
	if (is_on)
		doctor_say(doctor, DOCTOR_OK, NULL, "what the destinations name is forwarded");
	if (doctor_read_number(doctor, "/proc/sys/net/ipv4/tcp_timestamps", &value) && value != 1)
		doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), DOCTOR",
			   "net.ipv4.tcp_timestamps is %" PRIu64 ": it concerns connections of the gateway itself, which pawsd "
								 "never sees, and no client's; nothing is to be done",
			   value);
}

/* ---- interfaces ---- */

struct interfaces {
	struct if_nameindex *list;
	int fd; /* for ioctl() */
};

static bool is_up(const struct interfaces *interfaces, const char *name)
{
	struct ifreq request = {0};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	return ioctl(interfaces->fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) &&
	       (request.ifr_flags & IFF_RUNNING);
}

static void look_at_pattern(struct doctor *doctor, const struct interfaces *interfaces, const char *pattern)
{
	size_t found = 0, up = 0;
	char names[NAMES_SIZE] = "";

	for (const struct if_nameindex *at = interfaces->list; at->if_index; at++) {
		if (!wan_is_match(pattern, at->if_name))
			continue;
		found++;
		up += is_up(interfaces, at->if_name);
		snprintf(names + strlen(names), sizeof(names) - strlen(names), " %s", at->if_name);
	}
	if (!found)
		doctor_say(doctor, DOCTOR_WARN, "pawsd(8), SURROUNDINGS",
			   "%s: there is no such interface: connections over it are rewritten once it is there; ip link shows "
			   "what there is, [gateway] wan is what to change",
			   pattern);
	else if (!up)
		doctor_say(doctor, DOCTOR_WARN, "pawsd.conf(5), GATEWAY",
			   "%s: not up, or without a carrier:%s; ip link set NAME up", pattern, names);
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "%s: %zu of %zu up:%s", pattern, up, found, names);
}

static bool is_wan(const struct rules_config *config, const char *name)
{
	for (size_t i = 0; i < config->wan_count; i++)
		if (wan_is_match(config->wan[i], name))
			return true;
	return false;
}

/* Where what no other route says leaves, by main's first default route. */
static void look_at_default_route(struct doctor *doctor)
{
	char path[512], line[256], name[32];
	unsigned int destination, mask;
	FILE *file;

	snprintf(path, sizeof(path), "%s/proc/net/route", doctor->root);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%31s %x %*x %*x %*d %*d %*d %x", name, &destination, &mask) != 3 || destination || mask)
			continue;
		if (!is_wan(&doctor->config->rules, name))
			doctor_say(doctor, DOCTOR_NOTE, "pawsd.conf(5), GATEWAY",
				   "the default route leaves by %s, which [gateway] wan does not name: connections over it "
				   "pass unmodified; add it if servers are reached over it",
				   name);
		break;
	}
	if (file)
		fclose(file);
}

static void look_for_cilium(struct doctor *doctor, const struct interfaces *interfaces)
{
	for (const struct if_nameindex *at = interfaces->list; at->if_index; at++) {
		if (strncmp(at->if_name, "cilium_", strlen("cilium_")) != 0)
			continue;
		doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), DOCTOR",
			   "%s: with eBPF host routing Cilium takes packets past netfilter, and so past pawsd; cilium status "
			   "--verbose must say \"Host Routing: Legacy\" (Helm: bpf.hostLegacyRouting=true), and [gateway] "
			   "placement be forward",
			   at->if_name);
		return;
	}
}

void doctor_look_at_wan(struct doctor *doctor)
{
	const struct rules_config *config = &doctor->config->rules;
	struct interfaces interfaces = {if_nameindex(), socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};

	if (!interfaces.list || interfaces.fd < 0) {
		doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), DOCTOR", "interfaces cannot be listed; look as root");
	} else {
		for (size_t i = 0; i < config->wan_count; i++)
			look_at_pattern(doctor, &interfaces, config->wan[i]);
		if (config->wan_count)
			look_at_default_route(doctor);
		else
			doctor_say(doctor, DOCTOR_OK, NULL, "none is named: the side that a destination names is the server's");
		look_for_cilium(doctor, &interfaces);
	}
	if (interfaces.list)
		if_freenameindex(interfaces.list);
	if (interfaces.fd >= 0)
		close(interfaces.fd);
}

/* ---- surroundings ---- */

/* Of each, unless a subject of its own says it: whether only root can look, and what to do. */
static const struct {
	bool has_subject, needs_rights;
	const char *cure;
} hazards[HAZARD_COUNT] = {
	[HAZARD_FLOWTABLE] = {.needs_rights = true,
			      .cure = "leave connections to rewritten destinations out of it, both ways (nft list flowtables, "
				      "nft list ruleset)"},
	[HAZARD_BRIDGE] = {.cure = "sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0, "
				   "unless containers need it"},
	[HAZARD_FOREIGN_QUEUE] = {.needs_rights = true, .cure = "take other numbers with [queue] first, or change that rule"},
	[HAZARD_RULES_BEHIND] = {.needs_rights = true,
				 .cure = "put them in front; systemctl reload pawsd puts the jump behind them"},
	[HAZARD_WAN_MISSING] = {.has_subject = true},
	[HAZARD_BIG_TCP] = {.cure = "ip link set dev NAME gro_max_size 65000 gro_ipv4_max_size 65000; until then those longer "
				    "than 65531 bytes pass unmodified"},
	[HAZARD_MARKS] = {.needs_rights = true,
			  .cure = "give that rule a mask without [fastpath] mark_bit's three bits, or choose others"},
	[HAZARD_KERNEL] = {.has_subject = true},
};

/* What a figure stands for, without how it is counted. */
static const char *meaning_of(const struct metric_info *metric)
{
	static const char counted[] = "1 while ";

	return metric->help + (strncmp(metric->help, counted, strlen(counted)) == 0 ? strlen(counted) : 0);
}

void doctor_look_at_surroundings(struct doctor *doctor)
{
	struct rules_config rules = doctor->config->rules;
	struct surroundings surroundings;

	rules.backend = rules_backend_shown(&rules);
	surroundings_look(&rules, &surroundings);
	for (enum hazard hazard = 0; hazard < HAZARD_COUNT; hazard++) {
		const struct metric_info *metric = &metric_table[METRIC_HAZARD_FLOWTABLE + hazard];
		const char *found = surroundings.found[hazard], *cure = hazards[hazard].cure;

		if (hazards[hazard].has_subject)
			continue;
		if (*found)
			doctor_say(doctor, DOCTOR_WARN, "pawsd(8), SURROUNDINGS", "%s: %s: %s%s%s", metric->name, found,
				   meaning_of(metric), cure ? "; " : "", cure ? cure : "");
		else if (hazards[hazard].needs_rights && !doctor->is_admin)
			doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), SURROUNDINGS",
				   "%s: not looked at, which takes CAP_NET_ADMIN; run pawsd --doctor as root", metric->name);
		else
			doctor_say(doctor, DOCTOR_OK, NULL, "%s: none", metric->name);
	}
}
