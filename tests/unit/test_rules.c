/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules' texts against the policy's own decision, for random policies and packets, in a
 * model of netfilter (rules_model.h); then single properties of the texts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy_random.h"
#include "rules_internal.h"
#include "rules_model_text.h"

static char *print_rules(const struct rules_config *config, const struct policy *policy,
			 const struct rules_drain *drain, size_t drain_count)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	rules_print(out, config, policy, drain, drain_count);
	assert_int_equal(fclose(out), 0);
	return text;
}

/* ---- what must happen ---- */

/* `ret_number`: of the destination. */
static enum rules_class wanted_class(const struct rules_config *config, const struct policy *policy,
				     const struct rules_drain *drain, size_t drain_count, const struct addr *server,
				     uint16_t port, const struct addr *client, uint32_t *ret_number)
{
	const struct destination *destination = policy_match(policy, server, port, client);

	*ret_number = (uint32_t)(destination - policy->destinations);
	for (size_t i = 0; i < drain_count; i++)
		if (drain[i].port == port && addr_equal(&drain[i].server, server))
			return CLASS_FULL;
	if (destination->mode == MODE_STRIP && config->strip != STRIP_QUEUE)
		return CLASS_STRIP;
	return destination->mode == MODE_REWRITE ? CLASS_FULL : destination->mode == MODE_OFF ? CLASS_NONE : CLASS_HANDSHAKE;
}

static bool is_wan(const struct rules_config *config, const char *name)
{
	for (size_t i = 0; i < config->wan_count; i++)
		if (model_in_interface(config->wan[i], name))
			return true;
	return false;
}

struct expected {
	bool is_queued, is_handshake, is_stripped;
	char counter[48]; /* "s3_syn_stripped" */
};

static bool is_queued(enum rules_class class, const struct model_packet *packet)
{
	return class == CLASS_FULL || (class == CLASS_HANDSHAKE && packet->syn);
}

/* What the rules that strip for destination `number` do with the packet. */
static void expect_strip(const struct model_packet *packet, uint32_t number, struct expected *ret)
{
	const char *reason = packet->has_ao				 ? "tcp_ao"
			     : packet->has_timestamps && packet->ack ? "synack_stripped"
			     : packet->has_timestamps			 ? "syn_stripped"
			     : packet->ack				 ? NULL
									 : "syn_no_timestamps";

	if (!packet->syn || packet->is_invalid || !reason)
		return;
	snprintf(ret->counter, sizeof(ret->counter), "s%u_%s", number, reason);
	ret->is_stripped = packet->has_timestamps && !packet->has_ao;
}

/* `hook` is one of "forward", "postrouting", "prerouting". */
static struct expected expect(const struct rules_config *config, const struct policy *policy,
			      const struct rules_drain *drain, size_t drain_count, const char *hook,
			      const struct model_packet *packet)
{
	bool out = strcmp(hook, "prerouting") != 0, in = strcmp(hook, "postrouting") != 0;
	struct expected expected = {.is_handshake = packet->syn};
	enum rules_class class;
	uint32_t number;

	if (config->wan_count > 0) {
		out &= is_wan(config, packet->oif);
		in &= is_wan(config, packet->iif);
	} else if (config->placement == PLACEMENT_POSTNAT) {
		out &= !packet->is_reply && strcmp(packet->oif, "lo") != 0;
		in &= packet->is_reply && strcmp(packet->iif, "lo") != 0;
	}
	if (out) {
		class = wanted_class(config, policy, drain, drain_count, &packet->dst, packet->dport, &packet->src,
				     &number);
		expected.is_queued = is_queued(class, packet);
		if (class == CLASS_STRIP && !packet->is_reply)
			expect_strip(packet, number, &expected);
	}
	if (in && !expected.is_queued) {
		class = wanted_class(config, policy, drain, drain_count, &packet->src, packet->sport, &packet->dst,
				     &number);
		expected.is_queued = is_queued(class, packet);
		if (class == CLASS_STRIP && packet->is_reply)
			expect_strip(packet, number, &expected);
	}
	return expected;
}

static void check_outcome(const struct rules_config *config, const struct expected *expected,
			  const struct model_outcome *outcome, const struct model *model, uint64_t seed,
			  const char *text)
{
	const uint32_t first = config->queue_first + (expected->is_handshake ? 0u : config->workers);

	if ((outcome->result == MODEL_QUEUE) == expected->is_queued && model->is_stripped == expected->is_stripped &&
	    strcmp(model->counter, expected->counter) == 0 && !model->is_counted_twice &&
	    (!expected->is_queued || (outcome->queue == first && outcome->queues == config->workers &&
				      outcome->bypass == expected->is_handshake)))
		return;
	fail_msg("seed %lu: queued %d to %u of %u bypass %d, stripped %d counted \"%s\", expected %d %u, %d \"%s\"\n%s",
		 (unsigned long)seed, outcome->result == MODEL_QUEUE, outcome->queue, outcome->queues, outcome->bypass,
		 model->is_stripped, model->counter, expected->is_queued, first, expected->is_stripped,
		 expected->counter, text);
}

/* ---- random policies ---- */

static const char *const interfaces[] = {"lan0", "eth0", "ppp7", "lo", "eth01"};

static struct rules_config random_config(enum rules_backend backend)
{
	struct rules_config config = {.backend = backend, .queue_first = 9470, .workers = 1};

	config.strip = random_below(2) ? STRIP_KERNEL : STRIP_QUEUE;

	if (random_below(2))
		config.workers = (uint16_t)(2 + random_below(4));
	if (backend == RULES_NFT && random_below(2))
		config.placement = PLACEMENT_POSTNAT;
	if (random_below(2)) {
		strcpy(config.wan[config.wan_count++], "eth0");
		if (random_below(2))
			strcpy(config.wan[config.wan_count++], "ppp*");
	}
	return config;
}

static struct model_packet random_packet(const struct destination *destinations, size_t count)
{
	struct model_packet packet = {
		.dst = interesting_addr(destinations, count),
		.dport = (uint16_t)random_below(25),
		.sport = (uint16_t)(random_below(2) ? random_below(25) : 40000),
		.syn = random_below(2),
		.ack = random_below(2),
		.is_reply = random_below(2),
		.is_invalid = random_below(8) == 0,
		.has_timestamps = random_below(4) > 0,
		.has_ao = random_below(8) == 0,
		.iif = interfaces[random_below(5)],
		.oif = interfaces[random_below(5)],
	};

	do
		packet.src = random_below(2) ? interesting_addr(destinations, count)
					     : random_addr(addr_family(&packet.dst));
	while (addr_family(&packet.src) != addr_family(&packet.dst));
	if (random_below(2)) {
		const struct model_packet back = packet;

		packet.src = back.dst;
		packet.dst = back.src;
		packet.sport = back.dport;
		packet.dport = back.sport;
	}
	return packet;
}

static const char *const hooks[] = {"forward", "postrouting", "prerouting"};

/* Counts the packets that were queued and those that were stripped. */
static void check_packets(struct model *model, const struct rules_config *config, const struct policy *policy,
			    const struct rules_drain *drain, size_t drain_count, uint64_t seed, const char *text,
			  size_t *queued, size_t *stripped)
{
	for (int i = 0; i < 300; i++) {
		struct model_packet packet = random_packet(policy->destinations, policy->destination_count);
		const size_t first = config->placement == PLACEMENT_POSTNAT;

		if (random_below(8) == 0 && drain_count > 0 &&
		    addr_family(&drain[0].server) == addr_family(&packet.src)) {
			packet.dst = drain[0].server;
			packet.dport = (uint16_t)(drain[0].port + random_below(4) / 3);
		}
		for (size_t k = first; k <= 2 * first; k++) {
			struct model_outcome outcome = {0};
			const struct expected expected = expect(config, policy, drain, drain_count, hooks[k], &packet);
			const char *base = config->backend == RULES_NFT			    ? hooks[k]
					   : addr_family(&packet.src) == FAMILY_IPV4 ? "4 FORWARD"
										     : "6 FORWARD";

			model->counter[0] = '\0';
			model->is_stripped = false;
			for (size_t c = 0; c < model->chain_count; c++)
				if (strcmp(model->chains[c].name, base) == 0)
					outcome = model_walk(model, &model->chains[c], &packet);
			check_outcome(config, &expected, &outcome, model, seed, text);
			*queued += expected.is_queued;
			*stripped += expected.is_stripped;
		}
	}
}

static void check_random(enum rules_backend backend)
{
	size_t queued = 0, stripped = 0;

	for (uint64_t seed = 1; seed <= 300; seed++) {
		size_t count;
		struct destination *destinations = random_destinations(seed, &count);
		struct policy *policy = policy_build(destinations, count);
		struct rules_drain drain[3];
		struct model model = {0};

		assert_non_null(policy);
		if (random_below(2))
			destinations[0].mode = MODE_OFF;
		const struct rules_config config = random_config(backend);
		const size_t drain_count = random_below(2) ? random_below(4) : 0;

		for (size_t i = 0; i < drain_count; i++)
			drain[i] = (struct rules_drain){interesting_addr(destinations, count),
							(uint16_t)(1 + random_below(20))};
		char *text = print_rules(&config, policy, drain, drain_count);
		char *copy = strdup(text);

		assert_non_null(copy);
		if (backend == RULES_NFT)
			model_read_nft(&model, copy);
		else
			model_read_script(&model, copy);
		check_packets(&model, &config, policy, drain, drain_count, seed, text, &queued, &stripped);
		model_free(&model);
		policy_free(policy);
		free(copy);
		free(text);
	}
	/* 90 000 packets, of postnat twice: a good part must be queued, and a good part not. */
	assert_in_range(queued, 15000, 75000);
	assert_in_range(stripped, 1000, 20000);
}

static void test_iptables_follow_policy(void **state)
{
	(void)state;
	check_random(RULES_IPTABLES);
}

static void test_nft_follows_policy(void **state)
{
	(void)state;
	check_random(RULES_NFT);
}

/* ---- the texts ---- */

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

static void test_refusals(void **state)
{
	struct policy *policy = spec_policy("default off\n");
	struct rules_config config = plain;
	char error[200] = "", strip_error[200];
	(void)state;

	config.placement = PLACEMENT_POSTNAT;
	assert_int_equal(rules_install(&config, policy, NULL, 0, strip_error, error, sizeof(error)), -1);
	assert_string_equal(error, "rules: placement postnat needs backend nft");
	config.backend = RULES_NONE;
	assert_int_equal(rules_install(&config, policy, NULL, 0, strip_error, error, sizeof(error)), 0);
	assert_int_equal(rules_remove(&config, error, sizeof(error)), 0);
	policy_free(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iptables_follow_policy),
		cmocka_unit_test(test_nft_follows_policy),
		cmocka_unit_test(test_nothing_to_queue),
		cmocka_unit_test(test_only_families_with_rules),
		cmocka_unit_test(test_groups_become_few_sets),
		cmocka_unit_test(test_everything_is_two_halves),
		cmocka_unit_test(test_sets_fit),
		cmocka_unit_test(test_same_drain_twice),
		cmocka_unit_test(test_flavours_and_wan),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
