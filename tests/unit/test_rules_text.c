/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single properties of the rules' texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "rules_internal.h"
#include "rules_print.h"

static char *print_spec(const struct rules_config *config, const char *spec)
{
	struct policy *policy = spec_policy(spec);
	char *text = print_rules(config, policy, NULL, 0);

	policy_free(policy);
	return text;
}

static size_t count_of(const char *text, const char *part)
{
	size_t count = 0;

	for (; (text = strstr(text, part)) != NULL; text++)
		count++;
	return count;
}

static void assert_has(const char *text, const char *part, size_t times)
{
	if (count_of(text, part) != times)
		fail_msg("\"%s\" is there %zu times, not %zu, in:\n%s", part, count_of(text, part), times, text);
}

static const struct rules_config plain = {.backend = RULES_IPTABLES, .queue_first = 9470, .workers = 1, .strip = STRIP_QUEUE};

static void test_nothing_to_queue(void **state)
{
	static const char *const specs[] = {
		"default off\n",
		"default off\nx off 10.0.0.0/8\n",
		"default off\nx rewrite 10.0.0.0/8 disabled\n",
		/* No packet can come from there. */
		"default off\nx rewrite 10.0.0.0/8 sources=2001:db8::/32\n",
	};
	struct rules_config config = plain;
	(void)state;

	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		config.backend = RULES_IPTABLES;
		char *text = print_spec(&config, specs[i]);

		assert_has(text, "restore", 0);
		free(text);
		config.backend = RULES_NFT;
		text = print_spec(&config, specs[i]);
		assert_has(text, "queue ", 0);
		assert_has(text, "chain", 0);
		assert_has(text, "delete table inet pawsd", 1);
		free(text);
	}
}

static void test_only_families_with_rules(void **state)
{
	char *text = print_spec(&plain, "default off\nx rewrite 10.0.0.0/8\n");
	(void)state;

	assert_has(text, "\niptables-restore --noflush", 1);
	assert_has(text, "ip6tables", 0);
	free(text);
	text = print_spec(&plain, "default off\nx rewrite 2001:db8::/32\n");
	assert_has(text, "\niptables-restore", 0);
	assert_has(text, "ip6tables-restore --noflush", 1);
	free(text);
}

/* What makes no difference to the firewall makes no set. */
static void test_groups_become_few_sets(void **state)
{
	char *text = print_spec(&plain, "default off\n"
					"a rewrite 10.0.0.0/24\n"
					"b rewrite 10.0.1.0/24\n"
					"c rewrite 10.0.2.0/24 ports=443\n"
					"d rewrite 10.0.2.0/23\n"
					"off off 10.1.0.0/16\n"
					"offports off 10.1.0.0/16 ports=80\n");
	(void)state;

	assert_has(text, "create ", 1);
	assert_has(text, "add pawsd-a4-g", 1);
	assert_has(text, " 10.0.0.0/22\n", 1);
	free(text);

	/* Ports are a set of joined ranges, never --dport: that one drops segments with half a header. */
	text = print_spec(&plain, "default off\na rewrite 10.0.0.0/24 ports=443-450,451\n");
	assert_has(text, "create ", 2);
	assert_has(text, "add pawsd-a-p1 443-451\n", 1);
	assert_has(text, "port 4", 0);
	free(text);

	text = print_spec(&plain, "default rewrite\na rewrite 10.0.0.0/24 ports=443\n");
	assert_has(text, "ipset restore", 1);
	assert_has(text, "create ", 0);
	free(text);

	/* The rest of the address space needs none: the hole does. */
	text = print_spec(&plain, "default strip\nhole off 10.0.0.0/24\n");
	assert_has(text, "create ", 1);
	assert_has(text, "add ", 1);
	assert_has(text, " dst -j RETURN", 1);
	assert_has(text, " src -j RETURN", 1);
	free(text);
}

static void test_everything_is_two_halves(void **state)
{
	char *text = print_spec(&plain, "default off\nx rewrite 0.0.0.0/0,::/0 sources=0.0.0.0/0\n");
	(void)state;

	assert_has(text, " 0.0.0.0/1\n", 2);
	assert_has(text, " 128.0.0.0/1\n", 2);
	assert_has(text, "/0\n", 0);
	assert_has(text, "inet6", 0);
	free(text);
	text = print_spec(&plain, "default off\nx rewrite ::/0\n");
	assert_has(text, " ::/1\n", 1);
	assert_has(text, " 8000::/1\n", 1);
	free(text);
}

static void test_sets_fit(void **state)
{
	char *spec = NULL, *text;
	size_t len;
	FILE *out = open_memstream(&spec, &len);
	(void)state;

	assert_non_null(out);
	fputs("default off\nx rewrite ", out);
	for (int i = 0; i < 1000; i++)
		fprintf(out, "10.0.%d.%d,", i / 100, i % 100 * 2);
	fputs("\n", out);
	assert_int_equal(fclose(out), 0);
	text = print_spec(&plain, spec);
	assert_has(text, "create pawsd-a4-g1 hash:net family inet hashsize 512 maxelem 1000\n", 1);
	assert_has(text, "add pawsd-a4-g1 ", 1000);
	free(text);
	free(spec);
}

static void test_same_drain_twice(void **state)
{
	struct policy *policy = spec_policy("default off\n");
	struct rules_config config = plain;
	struct rules_drain drain[2] = {{.port = 443}, {.port = 443}};
	struct prefix prefix;
	(void)state;

	assert_null(prefix_parse("192.0.2.1", &prefix));
	drain[0].server = drain[1].server = prefix.addr;
	char *text = print_rules(&config, policy, drain, 2);

	assert_has(text, "add pawsd-a4-drain 192.0.2.1,tcp:443 -exist\n", 2);
	assert_has(text, "ip6tables", 0);
	free(text);
	config.backend = RULES_NFT;
	text = print_rules(&config, policy, drain, 2);
	assert_has(text, "192.0.2.1 . 443", 2); /* nft does not mind */
	free(text);
	policy_free(policy);
}

static void test_flavours_and_wan(void **state)
{
	struct rules_config config = plain;
	char *text;
	(void)state;

	config.flavour = FLAVOUR_LEGACY;
	strcpy(config.wan[config.wan_count++], "ppp*");
	text = print_spec(&config, "default strip\n");
	assert_has(text, "\niptables-legacy-restore --noflush", 1);
	assert_has(text, "\nip6tables-legacy-restore --noflush", 1);
	assert_has(text, "-A PAWSD -o ppp+ -j PAWSD-OUT\n-A PAWSD -i ppp+ -j PAWSD-IN\n", 2);
	free(text);
	config.flavour = FLAVOUR_NFT;
	text = print_spec(&config, "default strip\n");
	assert_has(text, "\niptables-nft-restore --noflush", 1);
	assert_has(text, "\nip6tables-nft-restore --noflush", 1);
	free(text);

	/* With backend none, what would do. */
	config.backend = RULES_NONE;
	text = print_spec(&config, "default strip\n");
	assert_has(text, "*mangle", 2);
	free(text);
	config.placement = PLACEMENT_POSTNAT;
	text = print_spec(&config, "default strip\n");
	assert_has(text, "hook postrouting priority srcnat + 5", 1);
	assert_has(text, "hook prerouting priority dstnat - 5", 1);
	assert_has(text, "hook forward", 0);
	free(text);
}

static void test_labels(void **state)
{
	struct rules_config config = plain;
	char *text;
	(void)state;

	config.label = 76;
	strcpy(config.wan[config.wan_count++], "ppp*");
	text = print_spec(&config, "default off\nx rewrite 10.0.0.0/24\n");
	assert_has(text, "-A FORWARD -p tcp -m connlabel ! --label 76 -j PAWSD\n", 1);
	assert_has(text, "-A PAWSD -o ppp+ -m connlabel --label 76 --set\n", 1);
	assert_has(text, "-A PAWSD -i ppp+ -m connlabel --label 76 --set\n", 1);
	assert_has(text, "-A PAWSD-FULL -m connlabel --label 77 --set\n", 1);
	assert_has(text, "-A PAWSD -p tcp -m connlabel --label 77 -m tcp ! --tcp-flags SYN SYN -j NFQUEUE --queue-num ", 1);
	free(text);
	/* Which of those that are not queued are observed is known no more when their handshake has gone by. */
	text = print_spec(&config, "default off\nx rewrite 10.0.0.0/24\ny observe 10.0.1.0/24\n");
	assert_has(text, "-A PAWSD -o ppp+ -m conntrack --ctstatus ASSURED -m connlabel --label 76 --set\n", 1);
	assert_has(text, "-A PAWSD -i ppp+ -m conntrack --ctstatus ASSURED -m connlabel --label 76 --set\n", 1);
	free(text);
	/* A look at the flags tells as soon. */
	text = print_spec(&config, "default off\nx strip 10.0.0.0/24\n");
	assert_has(text, "label", 0);
	free(text);

	config.backend = RULES_NFT;
	text = print_spec(&config, "default off\nx rewrite 10.0.0.0/24\n");
	assert_has(text, "\t\tmeta l4proto != tcp accept\n\t\tct label 76 accept\n"
		   "\t\tct label 77 tcp flags & syn == 0 queue to ", 1);
	assert_has(text, "ifname \"ppp*\" ct label set 76\n", 2);
	assert_has(text, "\tchain full {\n\t\tct label set 77\n", 1);
	free(text);
	text = print_spec(&config, "default off\nx rewrite 10.0.0.0/24\ny observe 10.0.1.0/24\n");
	assert_has(text, "ifname \"ppp*\" ct status assured ct label set 76\n", 2);
	free(text);
	config.placement = PLACEMENT_POSTNAT;
	text = print_spec(&config, "default off\nx rewrite 10.0.0.0/24\n");
	assert_has(text, "label", 0);
	free(text);
}

/* With programs of the kernel at the clients' interfaces. */
static void test_marks(void **state)
{
	static const char spec[] = "default off\nx rewrite 10.0.0.0/24\ny strip 2001:db8::/32\n";
	struct rules_config config = plain;
	char *text;
	(void)state;

	config.label = 76;
	config.generation = 3 + 2 * RULES_FAST_LABELS;
	config.fastpath = (struct fastpath_config){.mark_bit = 8, .interfaces = {{.name = "lan0"}, {.name = "lan1"}}, .interface_count = 2};
	text = print_spec(&config, spec);
	/* Nobody but IPv4 has anything to be rewritten. */
	assert_has(text, ":PAWSD-SLOW - [0:0]\n", 1);
	assert_has(text, "-A PAWSD-FULL -o lan0 -m mark --mark 0x0/0x300 -g PAWSD-SLOW\n"
		   "-A PAWSD-FULL -o lan1 -m mark --mark 0x0/0x300 -g PAWSD-SLOW\n"
		   "-A PAWSD-FULL -m connlabel --label 127 --set\n-A PAWSD-FULL -g PAWSD-SLOW\n"
		   "-A PAWSD-SLOW -j MARK --set-xmark 0x400/0x400\n-A PAWSD-SLOW -m length --length 0:39 -j NFQUEUE ", 1);
	assert_has(text, "-A PAWSD -o lan0 -m mark --mark 0x0/0x300 -m conntrack --ctdir REPLY -m connlabel --label 115 "
		   "-m connlabel ! --label 127 -j RETURN\n"
		   "-A PAWSD -o lan1 -m mark --mark 0x0/0x300 -m conntrack --ctdir REPLY -m connlabel --label 115 "
		   "-m connlabel ! --label 127 -j RETURN\n"
		   "-A PAWSD -m connlabel --label 76 -j RETURN\n"
		   "-A PAWSD -m mark --mark 0x500/0x700 -m connlabel --label 115 --set\n"
		   "-A PAWSD -m mark --mark 0x100/0x300 -j RETURN\n"
		   "-A PAWSD -m connlabel --label 127 -g PAWSD-SLOW\n", 1);
	assert_has(text, "-A FORWARD -p tcp -m mark ! --mark 0x100/0x700 -j PAWSD\n", 1);
	assert_has(text, "-A PAWSD -j PAWSD-OUT\n-A PAWSD -j PAWSD-IN\n-A PAWSD -m mark ! --mark 0x300/0x300 -m connlabel --label 115 -g PAWSD-FULL\n"
		   "-A PAWSD -m mark ! --mark 0x300/0x300 -m connlabel --label 114 -g PAWSD-FULL\n"
		   "-A PAWSD -m connlabel ! --label 115 -m connlabel --label 76 --set\n", 1);
	free(text);

	strcpy(config.wan[config.wan_count++], "eth0");
	text = print_spec(&config, spec);
	assert_has(text, "-A PAWSD -o lan0 -m mark --mark 0x0/0x300 -m connlabel --label 115 -m connlabel ! --label 127 -j RETURN\n", 1);
	free(text);
	/* What is watched may end any time. */
	text = print_spec(&config, "default off\nx rewrite 10.0.0.0/24\nz observe 10.0.1.0/24\n");
	assert_has(text, "-A PAWSD -p tcp -m length --length 40:65535 -m tcp --tcp-flags FIN,RST NONE -m connlabel --label 76 -j RETURN\n", 1);
	free(text);

	/* Without labels nobody knows whose a server's packets are. */
	config.label = 0;
	text = print_spec(&config, spec);
	assert_has(text, "label", 0);
	assert_has(text, "-o lan", 0);
	assert_has(text, "-A FORWARD -p tcp -m mark ! --mark 0x100/0x300 -j PAWSD\n", 1);
	assert_has(text, "-A PAWSD-SLOW -j MARK ", 1);
	free(text);

	config.label = 76;
	config.backend = RULES_NFT;
	text = print_spec(&config, spec);
	assert_has(text, "\tchain full {\n\t\toifname \"lan0\" meta mark & 0x300 == 0x0 goto slow\n"
		   "\t\toifname \"lan1\" meta mark & 0x300 == 0x0 goto slow\n\t\tct label set 127\n\t\tgoto slow\n\t}\n"
		   "\tchain slow {\n\t\tmeta mark set meta mark | 0x400\n", 1);
	assert_has(text, "\t\tmeta mark & 0x700 == 0x100 accept\n\t\tmeta mark & 0x300 == 0x100 ct label set 115 accept\n"
		   "\t\toifname \"lan0\" meta mark & 0x300 == 0x0 ct label and (115 | 127) == 115 accept\n"
		   "\t\toifname \"lan1\" meta mark & 0x300 == 0x0 ct label and (115 | 127) == 115 accept\n", 1);
	assert_has(text, "\t\tct label 127 goto slow\n", 1);
	assert_has(text, "\t\tmeta mark & 0x300 == 0x300 ct label 115 accept\n\t\tct label 115 goto full\n"
		   "\t\tmeta mark & 0x300 == 0x300 ct label 114 accept\n\t\tct label 114 goto full\n", 1);
	free(text);

	/* Where a program has to vouch for what is let go, nobody has to say that there is none. */
	config.fastpath.missing = UINT32_MAX;
	text = print_spec(&config, spec);
	assert_has(text, "\t\toifname \"lan0\" meta mark & 0x300 == 0x0 ct label and (115 | 127) == 115 accept\n", 1);
	free(text);

	/* Nothing is for programs. */
	text = print_spec(&config, "default off\ny strip 10.0.0.0/24\nz observe 2001:db8::/32\n");
	assert_has(text, "mark", 0);
	free(text);
}

/* At interfaces to the servers. */
static void test_marks_postnat(void **state)
{
	static const char spec[] = "default off\nx rewrite 10.0.0.0/24\ny rewrite 10.0.0.0/25 sources=10.9.0.0/24\n";
	struct rules_config config = plain;
	char *text;
	(void)state;

	config.backend = RULES_NFT;
	config.placement = PLACEMENT_POSTNAT;
	config.label = 76;
	strcpy(config.wan[config.wan_count++], "eth*");
	config.fastpath = (struct fastpath_config){.mark_bit = 8, .interfaces = {{"eth0", true}, {"eth1", true}}, .interface_count = 2};
	text = print_spec(&config, spec);
	assert_has(text, "\tchain full {\n\t\toifname \"eth0\" meta mark & 0x300 == 0x0 goto fast\n"
		   "\t\toifname \"eth1\" meta mark & 0x300 == 0x0 goto fast\n\t\tct label set 127\n\t\tgoto slow\n\t}\n", 1);
	assert_has(text, "\tchain fast {\n\t\ttcp flags & syn == 0 ct label and (77 | 127) == 77 accept\n\t\tct label 127 goto slow\n\t\ttcp flags & syn != 0 goto first\n"
		   "\t\tgoto slow\n\t}\n", 1);
	assert_has(text, "ct state new tcp option timestamp tsval != 0 ct label set 77 ct label set 126 ct label 126 accept\n", 1);
	assert_has(text, "\tchain slow {\n\t\tmeta mark set meta mark | 0x400\n\t\ttcp flags & syn != 0 queue flags bypass ", 1);
	assert_has(text, "hook postrouting priority srcnat + 5; policy accept;\n\t\tmeta l4proto != tcp accept\n"
		   "\t\tmeta mark & 0x300 == 0x100 accept\n", 1);
	assert_has(text, "hook prerouting priority dstnat - 5; policy accept;\n\t\tmeta l4proto != tcp accept\n"
		   "\t\tmeta mark & 0x300 == 0x100 ct label set 77 accept\n", 1);
	/* What the programs cannot tell, and what they can. */
	assert_has(text, "10.0.0.0-10.0.0.127 : goto left", 1);
	assert_has(text, "10.0.0.128-10.0.0.255 : goto full", 2);
	free(text);
	config.fastpath.missing = 2;
	text = print_spec(&config, spec);
	assert_has(text, "oifname \"eth1\" meta mark & 0x300 == 0x0 goto slow\n", 1);
	assert_has(text, "goto fast\n", 1);
	free(text);
	config.label = 0;
	text = print_spec(&config, spec);
	assert_has(text, "label", 0);
	assert_has(text, "\tchain full {\n\t\tgoto slow\n\t}\n", 1);
	assert_has(text, "goto left", 0);
	free(text);
}

/* A text is gone through once, however long it is: the square of this one would take minutes. */
static void test_size_of_many(void **state)
{
	enum { MANY = 400000 };
	static const char line[] = "add pawsd-a4-g1 192.0.2.1\n";
	char *text = malloc(MANY * (sizeof(line) - 1) + 1);
	struct rules_size size = {0};
	const clock_t begin = clock();
	(void)state;

	assert_non_null(text);
	for (size_t i = 0; i < MANY; i++)
		memcpy(text + i * (sizeof(line) - 1), line, sizeof(line));
	rules_measure_sets(text, &size);
	assert_int_equal(size.entries, MANY);
	assert_true(clock() - begin < 5 * CLOCKS_PER_SEC);
	free(text);
}

/* What is counted of a text is what a look at the rules will find of it. */
static void test_size(void **state)
{
	static const char spec[] = "default off\nx rewrite 10.0.0.0/8 ports=80,1000-2000\ny observe 10.1.0.0/16,2001:db8::/32\n"
				   "z strip 10.2.0.0/16 sources=10.9.0.0/24,10.10.0.0/24\n";
	struct rules_config config = plain;
	struct rules_size size = {0};
	char *text = print_spec(&config, spec), *save = NULL;
	(void)state;

	rules_measure_iptables(text, &size);
	rules_measure_sets(text, &size);
	assert_int_equal(size.rules, count_of(text, "\n-A "));
	assert_int_equal(size.sets, count_of(text, "\ncreate "));
	assert_true(size.sets > 3);
	/* Not the ports, which are a bitmap. */
	assert_int_equal(size.entries, count_of(text, "\nadd pawsd-a4-") + count_of(text, "\nadd pawsd-a6-"));
	assert_true(count_of(text, "\nadd pawsd-a-p") > 0);
	free(text);

	config.backend = RULES_NFT;
	text = print_spec(&config, spec);
	size = (struct rules_size){0};
	rules_measure_nft(text, &size);
	for (char *line = strtok_r(text, "\n", &save), *chain = NULL; line; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "\tchain ", 7) == 0 || strcmp(line, "\t}") == 0)
			chain = line[1] == 'c' ? line : NULL;
		else if (chain && strncmp(line, "\t\ttype ", 7) != 0)
			size.rules--;
	}
	assert_int_equal(size.rules, 0);
	free(text);

	rules_measure_nft("table inet pawsd {\n\tcounter c {\n\t}\n\tchain a {\n\t\ttype filter hook forward priority 0;\n"
			  "\t\ttcp flags & syn == 0 accept\n\t}\n\tchain b {\n\t\tqueue to 1\n\t\tqueue to 2\n\t}\n}\n",
			  &size);
	assert_int_equal(size.rules, 3);
}

static void test_refusals(void **state)
{
	struct policy *policy = spec_policy("default off\n");
	struct rules_config config = plain;
	struct rules_outcome outcome;
	char error[200] = "";
	(void)state;

	config.placement = PLACEMENT_POSTNAT;
	assert_int_equal(rules_install(&config, policy, NULL, 0, &outcome, error, sizeof(error)), -1);
	assert_string_equal(error, "rules: placement postnat needs backend nft");
	config.backend = RULES_NONE;
	assert_int_equal(rules_install(&config, policy, NULL, 0, &outcome, error, sizeof(error)), 0);
	assert_int_equal(rules_remove(&config, error, sizeof(error)), 0);
	policy_free(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_to_queue),
		cmocka_unit_test(test_only_families_with_rules),
		cmocka_unit_test(test_groups_become_few_sets),
		cmocka_unit_test(test_everything_is_two_halves),
		cmocka_unit_test(test_sets_fit),
		cmocka_unit_test(test_same_drain_twice),
		cmocka_unit_test(test_flavours_and_wan),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_marks_postnat),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_size_of_many),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
