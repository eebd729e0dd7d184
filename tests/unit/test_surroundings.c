/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What others' rules and this kernel are found to be, from what commands print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "surroundings.h"

static struct rules_config config = {.backend = RULES_NFT, .queue_first = 100, .workers = 2}; /* 100 to 103 */
static struct surroundings found;

static void forget(void)
{
	memset(&found, 0, sizeof(found));
}

static void test_flowtables(void **state)
{
	char text[128] = "";

	(void)state;
	surroundings_read_flowtables("", text);
	assert_string_equal(text, "");
	surroundings_read_flowtables("table inet f {\n\tflowtable ft {\n\t\thook ingress priority filter\n\t\tdevices = {}\n\t}\n}\n",
				     text);
	assert_string_equal(text, "");
	surroundings_read_flowtables("table inet f {\n\tflowtable ft {\n\t\thook ingress priority filter\n"
				     "\t\tdevices = { lan0, wan0 }\n\t}\n}\n",
				     text);
	assert_string_equal(text, "ft devices = { lan0, wan0 }");
}

static const char *queue_rule(const char *rule)
{
	char saved[256];

	forget();
	snprintf(saved, sizeof(saved), "*filter\n:FORWARD ACCEPT [0:0]\n%s\nCOMMIT\n", rule);
	surroundings_read_saved(saved, &config, &found);
	return found.found[HAZARD_FOREIGN_QUEUE];
}

static void test_others_queue_rules(void **state)
{
	static const char ours[] = "-A PAWSD-OUT -j NFQUEUE --queue-num 100";
	static const char single[] = "-A FORWARD -p udp -j NFQUEUE --queue-num 103 --queue-bypass";
	static const char balanced[] = "-A FORWARD -j NFQUEUE --queue-balance 90:100";

	(void)state;
	assert_string_equal(queue_rule(ours), "");
	assert_string_equal(queue_rule(single), single);
	assert_string_equal(queue_rule(balanced), balanced);
	assert_string_equal(queue_rule("-A FORWARD -j NFQUEUE --queue-num 99"), "");
	assert_string_equal(queue_rule("-A FORWARD -j NFQUEUE --queue-num 104"), "");
	assert_string_equal(queue_rule("-A FORWARD -j NFQUEUE --queue-balance 104:200"), "");
}

static const char *nft_rule(const char *table, const char *rule)
{
	char listing[256];

	forget();
	snprintf(listing, sizeof(listing), "table %s {\n\tchain c {\n\t\t%s\n\t}\n}\n", table, rule);
	surroundings_read_ruleset(listing, &config, &found);
	return found.found[HAZARD_FOREIGN_QUEUE];
}

static void test_others_nft_rules(void **state)
{
	(void)state;
	assert_string_equal(nft_rule("inet pawsd", "queue to 100"), "");
	assert_string_equal(nft_rule("inet other", "queue to 100"), "queue to 100");
	assert_string_equal(nft_rule("inet other", "queue flags bypass to 99-101"), "queue flags bypass to 99-101");
	assert_string_equal(nft_rule("inet other", "queue to symhash mod 2 offset 101"), "queue to symhash mod 2 offset 101");
	assert_string_equal(nft_rule("inet other", "queue to 7"), "");
	assert_string_equal(nft_rule("inet other", "tcp dport 100 accept"), "");
}

static const char *behind(const char *rules)
{
	char saved[512];

	forget();
	snprintf(saved, sizeof(saved), "*filter\n-A FORWARD -j PAWSD\n-A FORWARD -j ACCEPT\nCOMMIT\n*mangle\n%sCOMMIT\n", rules);
	surroundings_read_saved(saved, &config, &found);
	return found.found[HAZARD_RULES_BEHIND];
}

static void test_rules_behind_the_jump(void **state)
{
	static const char mss[] = "-A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu";

	(void)state;
	assert_string_equal(behind("-A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu\n-A FORWARD -p tcp -j PAWSD\n"), "");
	assert_string_equal(behind("-A FORWARD -p tcp -j PAWSD\n-A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu\n"), mss);
	assert_string_equal(behind("-A FORWARD -p tcp -j PAWSD\n-A PAWSD -j PAWSD-OUT\n-A INPUT -j ACCEPT\n"), "");
	assert_string_equal(behind("-A FORWARD -p tcp -j PAWSDLIKE\n-A FORWARD -j ACCEPT\n"), "");
}

static bool is_mark_saved(const char *rule)
{
	return surroundings_is_mark_saved(rule, strlen(rule), &config);
}

static bool is_mark_listed(const char *rule)
{
	return surroundings_is_mark_listed(rule, strlen(rule), &config);
}

/* The fast path has the bits 0x70000. */
static void test_marks(void **state)
{
	(void)state;
	config.fastpath.mark_bit = 16;
	config.fastpath.interface_count = 1;
	strcpy(config.fastpath.interfaces[0].name, "lan0");
	assert_true(is_mark_saved("-A PREROUTING -i lan0 -j MARK --set-xmark 0x7/0xffffffff"));
	assert_true(is_mark_saved("-A FORWARD -j MARK --set-xmark 0x20000/0x20000"));
	assert_true(is_mark_saved("-A mine -j MARK --set-xmark 0x10000/0x0"));
	assert_true(is_mark_saved("-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff"));
	assert_false(is_mark_saved("-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xffff --ctmask 0xffff"));
	assert_false(is_mark_saved("-A PREROUTING -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff"));
	assert_false(is_mark_saved("-A PREROUTING -j MARK --set-xmark 0x1/0xff"));
	assert_false(is_mark_saved("-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"));
	assert_true(is_mark_saved("-A POSTROUTING -j MARK --set-xmark 0x0/0xffffffff"));
	assert_true(is_mark_saved("-A POSTROUTING -o lan0 -j MARK --set-xmark 0xa/0xffffffff"));
	assert_true(is_mark_saved("-A POSTROUTING -o la+ -j MARK --set-xmark 0xa/0xffffffff"));
	assert_true(is_mark_saved("-A POSTROUTING ! -o wan0 -j MARK --set-xmark 0xa/0xffffffff"));
	assert_false(is_mark_saved("-A POSTROUTING -o wan0 -j MARK --set-xmark 0xa/0xffffffff"));
	assert_false(is_mark_saved("-A POSTROUTING -o lan -j MARK --set-xmark 0xa/0xffffffff"));
	assert_false(is_mark_saved("-A POSTROUTING -o lan00 -j MARK --set-xmark 0xa/0xffffffff"));
	config.placement = PLACEMENT_POSTNAT;
	assert_false(is_mark_saved("-A POSTROUTING -j MARK --set-xmark 0x0/0xffffffff"));
	config.placement = PLACEMENT_FORWARD;
	assert_false(is_mark_saved("-A FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT"));
	assert_true(is_mark_listed("meta mark set 0x00000001"));
	assert_true(is_mark_listed("iifname \"lan0\" meta mark set ct mark"));
	assert_true(is_mark_listed("meta mark set meta mark & 0xff00ffff | 0x00000001"));
	assert_true(is_mark_listed("meta mark set mark or 0x10000"));
	assert_false(is_mark_listed("meta mark set meta mark | 0x00000001"));
	assert_false(is_mark_listed("meta mark set mark and 0xffffff00 xor 0x1"));
	assert_false(is_mark_listed("ct mark set meta mark"));
	assert_false(is_mark_listed("meta mark 0x00010000 accept"));
}

static const char *kernel(const char *release, const char *uid_map)
{
	forget();
	surroundings_judge_kernel(release, uid_map, found.found[HAZARD_KERNEL]);
	return found.found[HAZARD_KERNEL];
}

static void test_kernels(void **state)
{
	static const char machine[] = "         0          0 4294967295\n", user[] = "         0     100000      65536\n";

	(void)state;
	assert_string_equal(kernel("6.1.0-56-cloud-amd64", user), "");
	assert_string_equal(kernel("7.0.3", user), "");
	assert_string_equal(kernel("7.1.0-rc1", machine), "");
	assert_string_equal(kernel("7.1.0-rc1", user), "Linux 7.1.0-rc1");
	assert_string_equal(kernel("8.0", user), "Linux 8.0");
	assert_string_equal(kernel("unknown", user), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flowtables),
		cmocka_unit_test(test_others_queue_rules),
		cmocka_unit_test(test_others_nft_rules),
		cmocka_unit_test(test_rules_behind_the_jump),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_kernels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
