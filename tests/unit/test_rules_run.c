/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running the commands that put rules in place, and what is said when they fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "rules_internal.h"

static void test_run(void **state)
{
	static const char *const cat[] = {"cat", NULL};
	static const char *const nothing[] = {"sh", "-c", "cat; echo said >&2", NULL};
	static const char *const fails[] = {"sh", "-c", "echo; echo \"Try \\`x'\"; echo ' why ' >&2; exit 3", NULL};
	static const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
	static const char *const missing[] = {"ipset-that-is-not-there", NULL};
	static const char *const floods[] = {"sh", "-c", "head -c 3000000 /dev/zero >&2; exit 1", NULL};
	static const char *const leaves[] = {"sh", "-c", "sleep 20 & echo done", NULL};
	const size_t bytes = 5000000;
	char *input = malloc(bytes + 1), *output = NULL, error[200];
	(void)state;

	assert_non_null(input);
	for (size_t i = 0; i < bytes; i++)
		input[i] = (char)('a' + i % 26);
	input[bytes] = '\0';
	assert_int_equal(rules_run(cat, input, bytes, &output, error, sizeof(error)), RUN_OK);
	assert_string_equal(output, input);
	free(output);
	assert_int_equal(rules_run(nothing, NULL, 0, &output, error, sizeof(error)), RUN_OK);
	assert_null(output);
	assert_int_equal(rules_run(cat, input, bytes, NULL, error, sizeof(error)), RUN_OK);
	assert_int_equal(rules_run(fails, NULL, 0, NULL, error, sizeof(error)), RUN_FAILED);
	assert_string_equal(error, "sh: why ");
	assert_int_equal(rules_run(killed, NULL, 0, NULL, error, sizeof(error)), RUN_FAILED);
	assert_string_equal(error, "sh: ended by signal 9");
	assert_int_equal(rules_run(missing, NULL, 0, NULL, error, sizeof(error)), RUN_MISSING);
	assert_int_equal(rules_run(floods, NULL, 0, NULL, error, sizeof(error)), RUN_FAILED);
	/* It is not waited for what a command leaves behind. */
	assert_int_equal(rules_run(leaves, NULL, 0, &output, error, sizeof(error)), RUN_OK);
	assert_string_equal(output, "done\n");
	free(output);
	free(input);
}

/* Words as the commands say them on kernels or machines that lack something. */
static void test_explanations(void **state)
{
	static const struct {
		const char *command, *words, *input, *error;
	} cases[] = {
		{"nft",
		 "/dev/stdin:2:24-49: Error: Could not process rule: No such file or directory\n"
		 "\t\ttcp flags & syn != 0 queue flags bypass to 9470\n\t\t         ^^^^\n",
		 "table inet pawsd {\n\t\ttcp flags & syn != 0 queue flags bypass to 9470\n}\n",
		 "nft: /dev/stdin:2:24-49: Error: Could not process rule: No such file or directory, at \"tcp flags & syn "
		 "!= 0 queue flags bypass to 9470\": the kernel lacks CONFIG_NFT_QUEUE"},
		{"nft", "/dev/stdin:1:1-9: Error: Could not process rule: No such file or directory\n",
		 "queue to symhash mod 2 offset 5\n",
		 "nft: /dev/stdin:1:1-9: Error: Could not process rule: No such file or directory, at \"queue to symhash "
		 "mod 2 offset 5\": the kernel lacks CONFIG_NFT_QUEUE or CONFIG_NFT_HASH"},
		{"nft", "Operation not permitted (you must be root)\nnetlink: Error: cache initialization failed: x\n", "x\n",
		 "nft: Operation not permitted (you must be root); netlink: Error: cache initialization failed: x: this "
		 "needs the capability CAP_NET_ADMIN"},
		{"ipset", "ipset v7.17: Cannot open session to kernel.\n", "create a hash:net\n",
		 "ipset: ipset v7.17: Cannot open session to kernel.: the kernel lacks CONFIG_IP_SET"},
		{"ipset", "ipset v7.17: Error in line 2: Kernel error received: set type not supported\n",
		 "create a bitmap:port\ncreate b hash:net family inet\n",
		 "ipset: ipset v7.17: Error in line 2: Kernel error received: set type not supported, at \"create b "
		 "hash:net family inet\": the kernel lacks CONFIG_IP_SET_HASH_NET"},
		{"ipset", "Error in line 1: set type not supported\n", "create a bitmap:port range 0-65535\n",
		 "ipset: Error in line 1: set type not supported, at \"create a bitmap:port range 0-65535\": the kernel "
		 "lacks CONFIG_IP_SET_BITMAP_PORT"},
		{"ipset", "Error in line 1: set type not supported\n", "create a hash:ip,port\n",
		 "ipset: Error in line 1: set type not supported, at \"create a hash:ip,port\": the kernel lacks "
		 "CONFIG_IP_SET_HASH_IPPORT"},
		{"iptables-restore",
		 "Warning: Extension NFQUEUE revision 0 not supported, missing kernel module?\n"
		 "iptables-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (No such file or directory): rule in "
		 "chain PAWSD-FULL\n",
		 "*mangle\n:PAWSD-FULL - [0:0]\n-A PAWSD-FULL -j NFQUEUE\nCOMMIT\n",
		 "iptables-restore: Warning: Extension NFQUEUE revision 0 not supported, missing kernel module?; "
		 "iptables-restore v1.8.9 (nf_tables): , at \"-A PAWSD-FULL -j NFQUEUE\": the kernel lacks "
		 "CONFIG_NETFILTER_XT_TARGET_NFQUEUE"},
		{"iptables", "Warning: Extension MARK revision 0 not supported, missing kernel module?\n", NULL,
		 "iptables: Warning: Extension MARK revision 0 not supported, missing kernel module?: the kernel lacks "
		 "CONFIG_NETFILTER_XT_MARK"},
		{"iptables", "Warning: Extension mark revision 0 not supported, missing kernel module?\n", NULL,
		 "iptables: Warning: Extension mark revision 0 not supported, missing kernel module?: the kernel lacks "
		 "CONFIG_NETFILTER_XT_MARK"},
		{"iptables-restore", "line 1: RULE_APPEND failed (No such file or directory): rule in chain PAWSD-SLOW\n",
		 "-A PAWSD-SLOW -j MARK --set-xmark 0x40000/0x40000\n",
		 "iptables-restore: line 1: RULE_APPEND failed (No such file or directory): rule in chain PAWSD-SLOW, at "
		 "\"-A PAWSD-SLOW -j MARK --set-xmark 0x40000/0x40000\": the kernel lacks CONFIG_NETFILTER_XT_MARK or "
		 "CONFIG_NFT_COMPAT"},
		{"iptables-restore", "line 1: RULE_APPEND failed (No such file or directory): rule in chain PAWSD\n",
		 "-A PAWSD -m mark --mark 0x10000/0x30000 -j RETURN\n",
		 "iptables-restore: line 1: RULE_APPEND failed (No such file or directory): rule in chain PAWSD, at "
		 "\"-A PAWSD -m mark --mark 0x10000/0x30000 -j RETURN\": the kernel lacks CONFIG_NETFILTER_XT_MARK or "
		 "CONFIG_NFT_COMPAT"},
		{"iptables-legacy-restore",
		 "# Warning: something\niptables-legacy-restore v1.8.9 (legacy): can't initialize iptables table `mangle'\n",
		 "*mangle\n",
		 "iptables-legacy-restore: iptables-legacy-restore v1.8.9 (legacy): can't initialize iptables table "
		 "`mangle': the kernel lacks CONFIG_IP_NF_MANGLE"},
		{"ip6tables-legacy-restore", "can't initialize ip6tables table `mangle'\n", "*mangle\n",
		 "ip6tables-legacy-restore: can't initialize ip6tables table `mangle': the kernel lacks "
		 "CONFIG_IP6_NF_MANGLE"},
		{"ipset", "", NULL, "ipset: failed without a word"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *argv[] = {cases[i].command, NULL};
		char error[512];

		rules_explain(argv, cases[i].words, cases[i].input, error, sizeof(error));
		assert_string_equal(error, cases[i].error);
	}
}

static void test_missing_commands(void **state)
{
	static const char *const cases[][2] = {
		{"ipset", "ipset"}, {"nft", "nftables"}, {"ip6tables-save", "iptables"}};
	char error[200], expected[200];
	(void)state;

	for (size_t i = 0; i < 3; i++) {
		rules_explain_missing(cases[i][0], error, sizeof(error));
		snprintf(expected, sizeof(expected), "%s: command not found; it is in the Debian package %s",
			 cases[i][0], cases[i][1]);
		assert_string_equal(error, expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run),
		cmocka_unit_test(test_explanations),
		cmocka_unit_test(test_missing_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
