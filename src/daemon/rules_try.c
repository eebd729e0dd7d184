/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What rules for iptables and ipset need, asked of the commands and the kernel without making any. `iptables -m MATCH -j TARGET
 * -h` looks for the extension, asks the kernel whether it has it too, and ends before it touches a table: the legacy flavour
 * would make an empty one by looking at it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "rules_internal.h"

enum {
	NAMES_MAX = 16,
	NAME_SIZE = 32,
	IPSET_PROTOCOL_OLDEST = 6, /* of Linux 4.19 and before; newer ones speak it as well */
};

/* Each name once. */
struct names {
	char name[NAMES_MAX][NAME_SIZE];
	size_t count;
};

static void add_name(struct names *names, const char *name, size_t len)
{
	for (size_t i = 0; i < names->count; i++)
		if (strlen(names->name[i]) == len && memcmp(names->name[i], name, len) == 0)
			return;
	if (names->count < NAMES_MAX && len < NAME_SIZE)
		snprintf(names->name[names->count++], NAME_SIZE, "%.*s", (int)len, name);
}

/* Neither what iptables has without one, nor a chain of our own. */
static bool is_extension(const char *name, size_t len)
{
	static const char *const verdicts[] = {"ACCEPT", "DROP", "RETURN"};
	const size_t own = strlen(RULES_CHAIN);

	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
		if (strlen(verdicts[i]) == len && memcmp(name, verdicts[i], len) == 0)
			return false;
	return len < own || memcmp(name, RULES_CHAIN, own) != 0 || (len > own && name[own] != '-');
}

/* The words behind each `option`, as " -m ". */
static void find_names(const char *text, const char *option, struct names *ret)
{
	ret->count = 0;
	while ((text = strstr(text, option))) {
		text += strlen(option);
		if (is_extension(text, strcspn(text, " \n")))
			add_name(ret, text, strcspn(text, " \n"));
	}
}

/* With "iptables-restore" or the like: "iptables -m MATCH -h". */
static int try_extension(const char *restore, const char *option, const char *name, char *ret_error, size_t error_size)
{
	char command[32], *words = NULL;
	const char *argv[] = {command, option, name, "-h", NULL};
	enum run_result result;

	snprintf(command, sizeof(command), "%.*s", (int)(strlen(restore) - strlen("-restore")), restore);
	result = rules_run_for_words(argv, &words, ret_error, error_size);
	if (result == RUN_OK && words && strstr(words, "missing kernel module")) {
		rules_explain(argv, words, NULL, ret_error, error_size);
		result = RUN_FAILED;
	}
	free(words);
	return result == RUN_OK ? 0 : -1;
}

int rules_try_chains(const struct rules_config *config, enum family family, const char *chains, char *ret_error,
		     size_t error_size)
{
	static const char *const options[] = {" -m ", " -j "};
	const char *restore = rules_iptables_command(config, family, false);
	struct names names;

	for (size_t i = 0; i < 2; i++) {
		const char option[] = {'-', options[i][2], '\0'};

		find_names(chains, options[i], &names);
		for (size_t j = 0; j < names.count; j++)
			if (try_extension(restore, option, names.name[j], ret_error, error_size) != 0)
				return -1;
	}
	return 0;
}

/* ---- ipset ---- */

/* Asks the kernel for a type of set. Returns 0 or an errno. */
static int ask_type(struct mnl_socket *socket, const char *type, uint8_t family)
{
	_Alignas(struct nlmsghdr) char buffer[1024] = {0};
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *nfgen;
	ssize_t len;

	message->nlmsg_type = NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_TYPE;
	message->nlmsg_flags = NLM_F_REQUEST;
	nfgen = mnl_nlmsg_put_extra_header(message, sizeof(*nfgen));
	*nfgen = (struct nfgenmsg){.nfgen_family = family, .version = NFNETLINK_V0};
	mnl_attr_put_u8(message, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_OLDEST);
	mnl_attr_put_strz(message, IPSET_ATTR_TYPENAME, type);
	mnl_attr_put_u8(message, IPSET_ATTR_FAMILY, family);
	if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0)
		return errno;
	len = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
	if (len < 0)
		return errno;
	return mnl_cb_run(buffer, (size_t)len, 0, 0, NULL, NULL) < 0 ? errno : 0;
}

static void explain_type(const char *type, int error, char *ret_error, size_t error_size)
{
	const char *argv[] = {"ipset", NULL};
	char line[64];

	/* The kernel's number for an unknown type is none of errno's. */
	snprintf(line, sizeof(line), "line 1: %s", error == EPERM ? "Operation not permitted" : "set type not supported");
	rules_explain(argv, line, type, ret_error, error_size);
}

static int try_types(const char *sets, char *ret_error, size_t error_size)
{
	const struct timeval wait = {.tv_sec = 5};
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	char type[NAME_SIZE], family[8];
	int error = socket ? 0 : errno;

	if (socket && (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
		       setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0))
		error = errno;
	if (error)
		snprintf(ret_error, error_size, "ipset: %s", strerror(error));
	for (const char *line = sets; !error && (line = strstr(line, "create ")); line++) {
		const int fields = sscanf(line, "create %*s %31s family %7s", type, family);

		if (fields < 1)
			continue;
		error = ask_type(socket, type, fields == 2 && strcmp(family, "inet6") == 0 ? AF_INET6 : AF_INET);
		if (error)
			explain_type(type, error, ret_error, error_size);
	}
	if (socket)
		mnl_socket_close(socket);
	return error ? -1 : 0;
}

int rules_try_sets(const char *sets, char *ret_error, size_t error_size)
{
	static const char *const argv[] = {"ipset", "list", "-n", NULL};

	if (*sets && rules_run(argv, NULL, 0, NULL, ret_error, error_size) != RUN_OK)
		return -1;
	return try_types(sets, ret_error, error_size);
}
