/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether rules and sets are as they were: others write to the same tables, and a firewall that is started anew flushes them. */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "hash.h"
#include "rules_internal.h"

enum {
	NOTHING_THERE = 1,
};

static uint64_t add_text(uint64_t sum, const char *text, size_t len)
{
	return hash_mix(sum ^ hash_text(text, len));
}

/* ---- how much ---- */

/* The line behind this one; the end of the text if it was the last. */
static const char *behind_line(const char *line)
{
	line += strcspn(line, "\n");
	return line + (*line == '\n');
}

static bool begins(const char *line, const char *word)
{
	return strncmp(line, word, strlen(word)) == 0;
}

void rules_measure_iptables(const char *chains, struct rules_size *sum)
{
	for (const char *line = chains; *line; line = behind_line(line))
		sum->rules += begins(line, "-A ");
}

/* Of "pawsd-a4-g1", not of "pawsd-a-p3", which is a bitmap and may be given ranges. More may follow behind the name. */
static bool has_single_entries(const char *name)
{
	const size_t family = strlen(RULES_SET_PREFIX "a");

	return begins(name, RULES_SET_PREFIX) && name[family - 1] && name[family] >= '4' && name[family] <= '6';
}

void rules_measure_sets(const char *sets, struct rules_size *sum)
{
	static const char add[] = "add ";

	/* There may be hundreds of thousands, and sscanf() would look for the end of all of them in each line. */
	for (const char *line = sets; *line; line = behind_line(line)) {
		sum->sets += begins(line, "create ");
		sum->entries += begins(line, add) && has_single_entries(line + strlen(add));
	}
}

/* What stands in its chains, but for where base chains are hooked in. */
void rules_measure_nft(const char *script, struct rules_size *sum)
{
	bool is_chain = false;

	for (const char *line = script; *line; line = behind_line(line)) {
		const char *text = line + strspn(line, "\t ");

		if (begins(text, "chain "))
			is_chain = true;
		else if (*text == '}')
			is_chain = false;
		else if (is_chain && *text != '#' && *text != '\n' && !begins(text, "type "))
			sum->rules++;
	}
}

static bool is_less(const struct rules_size *size, const struct rules_size *installed)
{
	return size->rules < installed->rules || size->sets < installed->sets || size->entries < installed->entries;
}

/* ---- a look ---- */

/* Names and sizes of our sets, of "Name: pawsd-a4-g1" and, further on, "Number of entries: 7". */
static uint64_t add_sets(uint64_t sum, struct rules_size *size)
{
	static const char *const argv[] = {"ipset", "list", "-terse", NULL};
	static const char name[] = "Name: ", entries[] = "Number of entries: ";
	char *listing = NULL, *save = NULL, error[200];
	bool is_ours = false, is_counted = false;

	rules_run(argv, NULL, 0, &listing, error, sizeof(error));
	for (char *line = listing ? strtok_r(listing, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		if (begins(line, name)) {
			is_ours = begins(line + strlen(name), RULES_SET_PREFIX);
			is_counted = is_ours && has_single_entries(line + strlen(name));
			size->sets += is_ours;
		} else if (!begins(line, entries)) {
			continue;
		} else if (is_counted) {
			size->entries += (uint32_t)strtoul(line + strlen(entries), NULL, 10);
		}
		if (is_ours)
			sum = add_text(sum, line, strlen(line));
	}
	free(listing);
	return sum;
}

static uint64_t look_at_iptables(const struct rules_config *config, struct rules_size *size)
{
	uint64_t sum = NOTHING_THERE;
	char error[200];

	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		struct present present;
		const bool is_read = rules_read_present(config, family, false, &present, error, sizeof(error)) == 0;

		if (is_read && present.is_there) {
			sum = add_text(sum, present.rules.bytes, present.rules.len);
			sum = add_text(sum, present.jumps.bytes, present.jumps.len);
			rules_measure_iptables(present.rules.bytes, size);
			rules_measure_iptables(present.jumps.bytes, size);
		}
		rules_present_free(&present);
		if (!is_read)
			return 0;
	}
	return add_sets(sum, size);
}

/* Figures of counters left out, and elements of maps, which may be a hundred thousand. */
static uint64_t look_at_nft(struct rules_size *size)
{
	static const char *const argv[] = {"nft", "-s", "-t", "list", "table", "inet", "pawsd", NULL};
	char *listing = NULL, error[200];
	uint64_t sum = NOTHING_THERE;

	if (rules_run(argv, NULL, 0, &listing, error, sizeof(error)) == RUN_OK && listing) {
		sum = add_text(sum, listing, strlen(listing));
		rules_measure_nft(listing, size);
	}
	free(listing);
	return sum;
}

struct rules_look rules_look(const struct rules_config *config, const struct rules_size *installed)
{
	struct rules_size size = {0};
	uint64_t sum = 0;

	switch (config->backend) {
	case RULES_IPTABLES:
		sum = look_at_iptables(config, &size);
		break;
	case RULES_NFT:
		sum = look_at_nft(&size);
		break;
	case RULES_NONE:
		break;
	}
	return (struct rules_look){sum, is_less(&size, installed), size};
}

/* ---- has anybody changed anything ---- */

/*
 * The kernel numbers the states of nf_tables, on which iptables-nft builds, too. Asking for the number costs next to
 * nothing; iptables-legacy has none.
 */
struct rules_watch {
	struct mnl_socket *socket;
	uint32_t generation;
};

static int take_generation(const struct nlattr *attribute, void *context)
{
	if (mnl_attr_get_type(attribute) == NFTA_GEN_ID && mnl_attr_validate(attribute, MNL_TYPE_U32) >= 0)
		*(uint32_t *)context = ntohl(mnl_attr_get_u32(attribute));
	return MNL_CB_OK;
}

static int take_message(const struct nlmsghdr *message, void *context)
{
	return mnl_attr_parse(message, sizeof(struct nfgenmsg), take_generation, context);
}

/* Returns 0 where the kernel does not tell. */
static uint32_t ask_generation(struct rules_watch *watch)
{
	_Alignas(struct nlmsghdr) char buffer[4096];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *nfgen;
	uint32_t generation = 0;
	ssize_t len;

	message->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
	message->nlmsg_flags = NLM_F_REQUEST;
	nfgen = mnl_nlmsg_put_extra_header(message, sizeof(*nfgen));
	*nfgen = (struct nfgenmsg){.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};
	if (mnl_socket_sendto(watch->socket, message, message->nlmsg_len) < 0)
		return 0;
	len = mnl_socket_recvfrom(watch->socket, buffer, sizeof(buffer));
	if (len <= 0 || mnl_cb_run(buffer, (size_t)len, 0, 0, take_message, &generation) < 0)
		return 0;
	return generation;
}

struct rules_watch *rules_watch_open(void)
{
	const struct timeval wait = {.tv_usec = 100000};
	struct rules_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	watch->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (watch->socket && mnl_socket_bind(watch->socket, 0, MNL_SOCKET_AUTOPID) == 0 &&
	    setsockopt(mnl_socket_get_fd(watch->socket), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0) {
		watch->generation = ask_generation(watch);
		if (watch->generation)
			return watch;
	}
	rules_watch_close(watch);
	return NULL;
}

void rules_watch_close(struct rules_watch *watch)
{
	if (watch && watch->socket)
		mnl_socket_close(watch->socket);
	free(watch);
}

bool rules_watch_has_changed(struct rules_watch *watch)
{
	uint32_t before = watch->generation;

	watch->generation = ask_generation(watch);
	return watch->generation != before;
}
