/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "surroundings.h"

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>

#include "rules_internal.h"
#include "wan.h"

enum {
	FOUND_SIZE = sizeof(((struct surroundings *)0)->found[0]),
	/* A packet and its attributes have to fit a netlink message: 65531 bytes at most. */
	PACKET_MOST = 65536,
	GRO_IPV4_MAX_SIZE = 64, /* IFLA_GRO_IPV4_MAX_SIZE of Linux 6.3 */
};

/* The first that is found is told. */
static void note(char *ret_found, const char *before, const char *text, size_t len)
{
	if (!*ret_found)
		snprintf(ret_found, FOUND_SIZE, "%s%.*s", before, (int)len, text);
}

/* The next line, without blanks in front, its length in *ret_len; NULL at the end. */
static const char *next_line(const char **at, size_t *ret_len)
{
	const char *line = *at + strspn(*at, " \t\n");

	if (!*line)
		return NULL;
	*ret_len = strcspn(line, "\n");
	*at = line + *ret_len;
	return line;
}

static bool begins(const char *line, const char *word)
{
	return strncmp(line, word, strlen(word)) == 0;
}

/* The place behind a word of the line, or NULL. */
static const char *behind(const char *line, size_t len, const char *word)
{
	const char *at = memmem(line, len, word, strlen(word));

	return at ? at + strlen(word) : NULL;
}

/* ---- rules ---- */

void surroundings_read_flowtables(const char *listing, char *ret_found)
{
	char name[64] = "";
	size_t len;

	for (const char *line; (line = next_line(&listing, &len));) {
		if (begins(line, "flowtable "))
			snprintf(name, sizeof(name), "%.*s ", (int)strcspn(line + 10, " {"), line + 10);
		else if (begins(line, "devices = {") && line[len - 1] == '}' && strcspn(line + 11, "}") > 1)
			note(ret_found, name, line, len);
	}
}

/* Whether "7", "7-9" or "7:9" (also "to 7") names one of our queues. */
static bool is_our_queue(const char *numbers, const struct rules_config *config)
{
	const unsigned int ours_first = config->queue_first, ours_last = config->queue_first + 2u * config->workers - 1;
	unsigned int first = 0, last = 0;
	int fields;

	numbers += strcspn(numbers, "0123456789\n");
	fields = sscanf(numbers, "%u%*[-:]%u", &first, &last);
	if (fields < 2)
		last = first;
	return fields >= 1 && first <= ours_last && last >= ours_first;
}

static bool is_jump_to_us(const char *line, size_t len)
{
	const char *at = behind(line, len, " -j " RULES_CHAIN);

	return at && (*at == ' ' || *at == '\n' || *at == '\0');
}

void surroundings_read_saved(const char *saved, const struct rules_config *config, struct surroundings *ret)
{
	bool is_mangle = false, is_behind = false;
	size_t len;

	for (const char *line; (line = next_line(&saved, &len));) {
		const char *queues;

		if (*line == '*') {
			is_mangle = begins(line, "*mangle\n");
			is_behind = false;
		}
		if (!begins(line, "-A ") || begins(line, "-A " RULES_CHAIN))
			continue;
		if (fastpath_is_wanted(&config->fastpath) && surroundings_is_mark_saved(line, len, config))
			note(ret->found[HAZARD_MARKS], "", line, len);
		queues = behind(line, len, "-j NFQUEUE --queue-");
		if (queues && is_our_queue(queues, config))
			note(ret->found[HAZARD_FOREIGN_QUEUE], "", line, len);
		if (!is_mangle || !begins(line, "-A FORWARD "))
			continue;
		if (is_jump_to_us(line, len))
			is_behind = true;
		else if (is_behind)
			note(ret->found[HAZARD_RULES_BEHIND], "", line, len);
	}
}

void surroundings_read_ruleset(const char *listing, const struct rules_config *config, struct surroundings *ret)
{
	const bool is_by_nft = config->backend == RULES_NFT;
	bool is_ours = false;
	size_t len;

	for (const char *line; (line = next_line(&listing, &len));) {
		const char *queues;

		/* With iptables its rules, whatever is below them, are found by its own command. */
		if (begins(line, "table "))
			is_ours = begins(line, "table inet pawsd ") ||
				  (!is_by_nft && (begins(line, "table ip mangle ") || begins(line, "table ip6 mangle ")));
		if (!is_ours && fastpath_is_wanted(&config->fastpath) && surroundings_is_mark_listed(line, len, config))
			note(ret->found[HAZARD_MARKS], "", line, len);
		queues = behind(line, len, "queue ");
		if (queues && behind(line, len, " offset "))
			queues = behind(line, len, " offset ");
		if (is_by_nft && !is_ours && queues && !begins(line, "#") && is_our_queue(queues, config))
			note(ret->found[HAZARD_FOREIGN_QUEUE], "", line, len);
	}
}

/* What a command prints; NULL where there is none. To be freed. */
static char *output_of(const char *const *argv)
{
	char *output = NULL, error[200];

	if (rules_run(argv, NULL, 0, &output, error, sizeof(error)) == RUN_OK)
		return output;
	free(output);
	return NULL;
}

static void look_at_nft(const struct rules_config *config, struct surroundings *ret)
{
	static const char *const flowtables[] = {"nft", "list", "flowtables", NULL};
	static const char *const ruleset[] = {"nft", "-s", "-t", "list", "ruleset", NULL};
	char *listing = output_of(flowtables);

	if (listing)
		surroundings_read_flowtables(listing, ret->found[HAZARD_FLOWTABLE]);
	free(listing);
	if (config->backend != RULES_NFT && !fastpath_is_wanted(&config->fastpath))
		return;
	listing = output_of(ruleset);
	if (listing)
		surroundings_read_ruleset(listing, config, ret);
	free(listing);
}

static void look_at_iptables(const struct rules_config *config, struct surroundings *ret)
{
	for (enum family family = 0; config->backend == RULES_IPTABLES && family < FAMILY_COUNT; family++) {
		const char *argv[] = {rules_iptables_command(config, family, true), NULL};
		char *saved = output_of(argv);

		if (saved)
			surroundings_read_saved(saved, config, ret);
		free(saved);
	}
}

/* ---- interfaces ---- */

struct links {
	const struct rules_config *config;
	struct surroundings *ret;
	bool is_there[WAN_MAX]; /* some interface fits the pattern */
	char bridge[INTERFACE_NAME_SIZE];
};

static int take_kind(const struct nlattr *attribute, void *context)
{
	if (mnl_attr_get_type(attribute) == IFLA_INFO_KIND)
		*(const char **)context = mnl_attr_get_str(attribute);
	return MNL_CB_OK;
}

struct link {
	const char *name, *kind;
	uint32_t longest; /* packet that it makes of several */
};

static int take_attribute(const struct nlattr *attribute, void *context)
{
	struct link *link = context;
	uint32_t bytes = 0;

	switch (mnl_attr_get_type(attribute)) {
	case IFLA_IFNAME:
		link->name = mnl_attr_get_str(attribute);
		break;
	case IFLA_LINKINFO:
		mnl_attr_parse_nested(attribute, take_kind, &link->kind);
		break;
	case IFLA_GRO_MAX_SIZE:
	case GRO_IPV4_MAX_SIZE:
		bytes = mnl_attr_get_u32(attribute);
		break;
	default:
		break;
	}
	if (bytes > link->longest)
		link->longest = bytes;
	return MNL_CB_OK;
}

static int take_link(const struct nlmsghdr *message, void *context)
{
	struct links *links = context;
	struct link link = {0};
	char longest[32];

	if (mnl_attr_parse(message, sizeof(struct ifinfomsg), take_attribute, &link) < 0 || !link.name)
		return MNL_CB_OK;
	for (size_t i = 0; i < links->config->wan_count; i++)
		links->is_there[i] |= wan_is_match(links->config->wan[i], link.name);
	if (link.kind && strcmp(link.kind, "bridge") == 0 && !*links->bridge)
		snprintf(links->bridge, sizeof(links->bridge), "%s", link.name);
	if (link.longest > PACKET_MOST) {
		snprintf(longest, sizeof(longest), "gro_max_size %u of ", link.longest);
		note(links->ret->found[HAZARD_BIG_TCP], longest, link.name, strlen(link.name));
	}
	return MNL_CB_OK;
}

/* False where the kernel does not list them. */
static bool list_links(struct links *links)
{
	_Alignas(struct nlmsghdr) char buffer[32768];
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(message, sizeof(*info));
	int more = MNL_CB_ERROR;
	ssize_t len;

	if (!socket)
		return false;
	message->nlmsg_type = RTM_GETLINK;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message->nlmsg_seq = 1;
	info->ifi_family = AF_UNSPEC;
	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 && mnl_socket_sendto(socket, message, message->nlmsg_len) > 0) {
		do {
			len = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
			more = len > 0 ? mnl_cb_run(buffer, (size_t)len, 1, mnl_socket_get_portid(socket), take_link, links)
				       : MNL_CB_ERROR;
		} while (more > MNL_CB_STOP);
	}
	mnl_socket_close(socket);
	return more == MNL_CB_STOP;
}

static bool read_line(const char *path, char *ret, size_t size)
{
	FILE *file = fopen(path, "re");
	bool good = file && fgets(ret, (int)size, file);

	if (file)
		fclose(file);
	return good;
}

static bool is_bridge_filtered(void)
{
	static const char *const settings[] = {"/proc/sys/net/bridge/bridge-nf-call-iptables",
					       "/proc/sys/net/bridge/bridge-nf-call-ip6tables"};
	char value[16];

	for (size_t i = 0; i < 2; i++) {
		if (read_line(settings[i], value, sizeof(value)) && value[0] != '0')
			return true;
	}
	return false;
}

static void look_at_links(const struct rules_config *config, struct surroundings *ret)
{
	struct links links = {.config = config, .ret = ret};

	if (!list_links(&links))
		return;
	for (size_t i = 0; i < config->wan_count; i++) {
		if (!links.is_there[i])
			note(ret->found[HAZARD_WAN_MISSING], "", config->wan[i], strlen(config->wan[i]));
	}
	if (*links.bridge && is_bridge_filtered())
		note(ret->found[HAZARD_BRIDGE], "", links.bridge, strlen(links.bridge));
}

/* ---- the kernel ---- */

void surroundings_judge_kernel(const char *release, const char *uid_map, char *ret_found)
{
	unsigned int major = 0, minor = 0, inside = 0, outside = 0, count = 0;

	/* From 7.1 on a verdict with a payload is for who has rights in the machine's own user namespace. */
	if (sscanf(release, "%u.%u", &major, &minor) != 2 || major < 7 || (major == 7 && minor < 1))
		return;
	if (sscanf(uid_map, "%u %u %u", &inside, &outside, &count) == 3 && (outside != 0 || count != UINT32_MAX))
		note(ret_found, "Linux ", release, strlen(release));
}

static void look_at_kernel(struct surroundings *ret)
{
	struct utsname name;
	char uid_map[80];

	if (uname(&name) == 0 && read_line("/proc/self/uid_map", uid_map, sizeof(uid_map)))
		surroundings_judge_kernel(name.release, uid_map, ret->found[HAZARD_KERNEL]);
}

void surroundings_look(const struct rules_config *config, struct surroundings *ret)
{
	memset(ret, 0, sizeof(*ret));
	look_at_nft(config, ret);
	look_at_iptables(config, ret);
	look_at_links(config, ret);
	look_at_kernel(ret);
}
