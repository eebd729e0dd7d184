/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What to say when iptables, ipset or nft refuse: their own words, and what they leave unsaid. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules_internal.h"

enum {
	WORDS_SIZE = 400,
	LINE_SIZE = 160,
};

/*
 * What is missing where a command's words hold `words` and the line of its input that failed
 * holds `line` (NULL: whatever line). The first that fits is it.
 */
static const struct {
	const char *words, *line, *meaning;
} meanings[] = {
	{"Operation not permitted", NULL, "this needs the capability CAP_NET_ADMIN"},
	{"Permission denied", NULL, "this needs the capability CAP_NET_ADMIN"},
	{"Cannot open session to kernel", NULL, "the kernel lacks CONFIG_IP_SET"},
	{"set type not supported", "hash:ip,port", "the kernel lacks CONFIG_IP_SET_HASH_IPPORT"},
	{"set type not supported", "hash:net", "the kernel lacks CONFIG_IP_SET_HASH_NET"},
	{"set type not supported", "bitmap:port", "the kernel lacks CONFIG_IP_SET_BITMAP_PORT"},
	{"Extension TCPOPTSTRIP", NULL, "the kernel lacks CONFIG_NETFILTER_XT_TARGET_TCPOPTSTRIP"},
	{"Extension conntrack", NULL, "the kernel lacks CONFIG_NETFILTER_XT_MATCH_CONNTRACK"},
	{"Extension connlabel", NULL, "the kernel lacks CONFIG_NETFILTER_XT_MATCH_CONNLABEL"},
	{"Extension mark", NULL, "the kernel lacks CONFIG_NETFILTER_XT_MARK"},
	{"Extension MARK", NULL, "the kernel lacks CONFIG_NETFILTER_XT_MARK"},
	{"Extension comment", NULL, "the kernel lacks CONFIG_NETFILTER_XT_MATCH_COMMENT"},
	{"Extension NFQUEUE", NULL, "the kernel lacks CONFIG_NETFILTER_XT_TARGET_NFQUEUE"},
	{"Extension set", NULL, "the kernel lacks CONFIG_NETFILTER_XT_SET"},
	{"open socket to ipset", NULL, "the kernel lacks CONFIG_IP_SET"},
	{"verify IPSET version", NULL, "the kernel lacks CONFIG_IP_SET"},
	{"ip6tables table `mangle'", NULL, "the kernel lacks CONFIG_IP6_NF_MANGLE"},
	{"iptables table `mangle'", NULL, "the kernel lacks CONFIG_IP_NF_MANGLE"},
	{"RULE_APPEND failed (No such file", "-j NFQUEUE",
	 "the kernel lacks CONFIG_NETFILTER_XT_TARGET_NFQUEUE or CONFIG_NFT_COMPAT"},
	{"RULE_APPEND failed (No such file", "--match-set",
	 "the kernel lacks CONFIG_NETFILTER_XT_SET or CONFIG_NFT_COMPAT"},
	{"RULE_APPEND failed (No such file", "-j TCPOPTSTRIP",
	 "the kernel lacks CONFIG_NETFILTER_XT_TARGET_TCPOPTSTRIP or CONFIG_NFT_COMPAT"},
	{"RULE_APPEND failed (No such file", "-j MARK", "the kernel lacks CONFIG_NETFILTER_XT_MARK or CONFIG_NFT_COMPAT"},
	{"RULE_APPEND failed (No such file", "-m mark", "the kernel lacks CONFIG_NETFILTER_XT_MARK or CONFIG_NFT_COMPAT"},
	{"RULE_APPEND failed (No such file", "connlabel",
	 "the kernel lacks CONFIG_NETFILTER_XT_MATCH_CONNLABEL or CONFIG_NFT_COMPAT"},
	{"Could not process rule: Operation not supported", "ct label", "the kernel lacks CONFIG_NF_CONNTRACK_LABELS"},
	{"Could not process rule: No such file", "to symhash",
	 "the kernel lacks CONFIG_NFT_QUEUE or CONFIG_NFT_HASH"},
	{"Could not process rule: No such file", "queue ", "the kernel lacks CONFIG_NFT_QUEUE"},
	{"Could not process rule: No such file", "ct direction", "the kernel lacks CONFIG_NFT_CT"},
	{"Could not process rule", "reset tcp option", "the kernel cannot reset a TCP option, which it can from 5.18 on"},
	{"syntax error", "reset tcp option", "nft cannot reset a TCP option, which it can from 1.0.2 on"},
	{"Could not process rule: Operation not supported", "table inet", "the kernel lacks CONFIG_NF_TABLES_INET"},
	{"Could not process rule: Operation not supported", "hook ", "the kernel lacks CONFIG_NF_TABLES_INET"},
	{"Unable to initialize Netlink socket", NULL, "the kernel lacks CONFIG_NF_TABLES"},
	{"cache initialization failed", NULL, "the kernel lacks CONFIG_NF_TABLES"},
	{"Failed to initialize nft", NULL, "the kernel lacks CONFIG_NF_TABLES"},
};

/* The number behind "line 7", "line: 7" or "/dev/stdin:7:", or 0. */
static unsigned long failed_line_number(const char *words)
{
	static const char *const before[] = {"/dev/stdin:", "line: ", "line "};

	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		for (const char *at = strstr(words, before[i]); at; at = strstr(at + 1, before[i])) {
			const unsigned long number = strtoul(at + strlen(before[i]), NULL, 10);

			if (number > 0)
				return number;
		}
	}
	return 0;
}

static void copy_line(const char *input, unsigned long number, char *ret_line, size_t size)
{
	const char *line = input;

	ret_line[0] = '\0';
	for (; line && number > 1; number--) {
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	if (!line || number == 0)
		return;
	line += strspn(line, " \t");
	snprintf(ret_line, size, "%.*s", (int)(strcspn(line, "\n") < size ? strcspn(line, "\n") : size - 1), line);
}

/* nft puts these signs under the place; warnings are not the reason; nobody wants usage hints. */
static bool is_worth_telling(const char *line, size_t len)
{
	const size_t blanks = strspn(line, " \t");

	if (blanks >= len || strncmp(line, "# Warning", 9) == 0 || strncmp(line, "Try `", 5) == 0)
		return false;
	return strspn(line, " \t^~") < len;
}

/* The first two lines that say something, joined by "; "; of nft one: the second repeats its input. */
static void join_words(const char *words, char *ret_text, size_t size)
{
	size_t used = 0;
	const int lines_max = strstr(words, "/dev/stdin:") ? 1 : 2;
	int lines = 0;

	ret_text[0] = '\0';
	for (const char *line = words; *line && lines < lines_max;) {
		const size_t len = strcspn(line, "\n");

		if (is_worth_telling(line, len) && used < size) {
			const size_t blanks = strspn(line, " \t");

			used += (size_t)snprintf(ret_text + used, size - used, "%s%.*s", lines ? "; " : "",
						 (int)(len - blanks > size ? size : len - blanks), line + blanks);
			lines++;
		}
		line += len + (line[len] == '\n');
	}
}

static bool proc_lists(const char *path, const char *name)
{
	FILE *file = fopen(path, "re");
	char line[64];
	bool is_there = false;

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		is_there |= strcmp(line, name) == 0;
	}
	fclose(file);
	return is_there;
}

/* iptables-legacy-restore says no more than "line 9 failed", of the COMMIT: ask the kernel. */
static const char *legacy_meaning(const char *command, const char *words, const char *input)
{
	const bool is_ipv6 = strncmp(command, "ip6", 3) == 0;
	const char *targets = is_ipv6 ? "/proc/net/ip6_tables_targets" : "/proc/net/ip_tables_targets";
	const char *matches = is_ipv6 ? "/proc/net/ip6_tables_matches" : "/proc/net/ip_tables_matches";

	if (!input || !strstr(command, "tables") || !strstr(words, " failed") || strstr(words, "RULE_") ||
	    !proc_lists(targets, "ERROR"))
		return NULL;
	if (strstr(input, "NFQUEUE") && !proc_lists(targets, "NFQUEUE"))
		return "the kernel lacks CONFIG_NETFILTER_XT_TARGET_NFQUEUE";
	if (strstr(input, "TCPOPTSTRIP") && !proc_lists(targets, "TCPOPTSTRIP"))
		return "the kernel lacks CONFIG_NETFILTER_XT_TARGET_TCPOPTSTRIP";
	if (strstr(input, "connlabel") && !proc_lists(matches, "connlabel"))
		return "the kernel lacks CONFIG_NETFILTER_XT_MATCH_CONNLABEL";
	if (strstr(input, "-j MARK") && !proc_lists(targets, "MARK"))
		return "the kernel lacks CONFIG_NETFILTER_XT_MARK";
	if (strstr(input, "--ctstat") && !proc_lists(matches, "conntrack"))
		return "the kernel lacks CONFIG_NETFILTER_XT_MATCH_CONNTRACK";
	if (strstr(input, "--match-set") && !proc_lists(matches, "set"))
		return "the kernel lacks CONFIG_NETFILTER_XT_SET";
	return NULL;
}

static const char *find_meaning(const char *command, const char *words, const char *line, const char *input)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (strstr(words, meanings[i].words) && (!meanings[i].line || strstr(line, meanings[i].line)))
			return meanings[i].meaning;
	return legacy_meaning(command, words, input);
}

void rules_explain(const char *const *argv, const char *words, const char *input, char *ret_error,
		   size_t error_size)
{
	char text[WORDS_SIZE], line[LINE_SIZE] = "";
	const unsigned long number = failed_line_number(words);

	if (input)
		copy_line(input, number, line, sizeof(line));
	join_words(words, text, sizeof(text));
	const char *meaning = find_meaning(argv[0], words, line, input);

	snprintf(ret_error, error_size, "%s: %s%s%s%s%s%s", argv[0], text[0] ? text : "failed without a word",
		 line[0] ? ", at \"" : "", line, line[0] ? "\"" : "", meaning ? ": " : "", meaning ? meaning : "");
}

void rules_explain_missing(const char *command, char *ret_error, size_t error_size)
{
	const char *package = "iptables";

	if (strcmp(command, "ipset") == 0 || strcmp(command, "nft") == 0)
		package = command[0] == 'i' ? "ipset" : "nftables";
	snprintf(ret_error, error_size, "%s: command not found; it is in the Debian package %s", command, package);
}
