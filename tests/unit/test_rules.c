/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules' texts against the policy's own decision, for random policies and packets, in a
 * model of netfilter (rules_model.h).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy_random.h"
#include "rules_internal.h"
#include "rules_model_text.h"
#include "rules_print.h"

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
	return destination->mode == MODE_REWRITE   ? CLASS_FULL
	       : destination->mode == MODE_OBSERVE ? CLASS_WATCH
	       : destination->mode == MODE_STRIP   ? CLASS_HANDSHAKE
						   : CLASS_NONE;
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
	if (class == CLASS_WATCH)
		return packet->syn || packet->end || (packet->is_answered && !packet->is_assured);
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
		expected.is_handshake |= class == CLASS_WATCH && expected.is_queued;
		if (class == CLASS_STRIP && !packet->is_reply)
			expect_strip(packet, number, &expected);
	}
	if (in && !expected.is_queued) {
		class = wanted_class(config, policy, drain, drain_count, &packet->src, packet->sport, &packet->dst,
				     &number);
		expected.is_queued = is_queued(class, packet);
		expected.is_handshake |= class == CLASS_WATCH && expected.is_queued;
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

/* Connections that were labelled as ones that pass, as ones whose packets are queued, and as ones that pass from the SYN on. */
static size_t labelled[3];

static const char *const interfaces[] = {"lan0", "eth0", "ppp7", "lo", "eth01"};

static struct rules_config random_config(enum rules_backend backend)
{
	struct rules_config config = {.backend = backend, .queue_first = 9470, .workers = 1};

	config.strip = random_below(2) ? STRIP_KERNEL : STRIP_QUEUE;
	config.label = random_below(2) ? 64 : 0;

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
		.is_assured = random_below(2),
		.end = random_below(4) == 0,
		.is_answered = random_below(2),
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

static struct model_outcome walk_from(struct model *model, const char *base, const struct model_packet *packet)
{
	struct model_outcome outcome = {0};

	model->counter[0] = '\0';
	model->is_stripped = false;
	model->labels_set = 0;
	for (size_t c = 0; c < model->chain_count; c++)
		if (strcmp(model->chains[c].name, base) == 0)
			outcome = model_walk(model, &model->chains[c], packet);
	return outcome;
}

static const char *const hooks[] = {"forward", "postrouting", "prerouting"};

static const char *base_chain(const struct rules_config *config, const char *hook, const struct model_packet *packet)
{
	if (config->backend == RULES_NFT)
		return hook;
	return addr_family(&packet->src) == FAMILY_IPV4 ? "4 FORWARD" : "6 FORWARD";
}

static struct model_packet answer_to(const struct model_packet *packet)
{
	struct model_packet answer = *packet;

	answer.src = packet->dst;
	answer.dst = packet->src;
	answer.sport = packet->dport;
	answer.dport = packet->sport;
	answer.iif = packet->oif;
	answer.oif = packet->iif;
	answer.is_reply = !packet->is_reply;
	return answer;
}

/* `packet` of a connection that has just got `labels`: what is expected of it, and comes of it, is what the label says. */
static void check_labelled(struct model *model, const struct rules_config *config, const struct policy *policy,
			   const struct rules_drain *drain, size_t drain_count, struct model_packet packet,
			   uint64_t labels, uint64_t seed, const char *text)
{
	struct expected expected;
	struct model_outcome outcome;

	packet.labels = labels;
	expected = expect(config, policy, drain, drain_count, hooks[0], &packet);
	if (expected.is_queued != (labels == 2) || expected.is_stripped)
		fail_msg("a connection was labelled whose packets are %sto be queued\n%s", labels == 2 ? "not " : "", text);
	outcome = walk_from(model, base_chain(config, hooks[0], &packet), &packet);
	check_outcome(config, &expected, &outcome, model, seed, text);
	assert_int_equal(model->labels_set, 0);
}

/*
 * A packet that has just labelled its connection: of it and its answer either both would be queued or neither, as the
 * label says; those with SYN only where its handshake may not be over.
 */
static void check_label(struct model *model, const struct rules_config *config, const struct policy *policy,
			const struct rules_drain *drain, size_t drain_count, const struct model_packet *packet,
			uint64_t seed, const char *text)
{
	const struct model_packet ways[2] = {*packet, answer_to(packet)};
	const uint64_t labels = model->labels_set;
	const bool is_early = labels == 1 && !packet->is_assured;

	if (!labels)
		return;
	labelled[is_early ? 2 : labels == 2]++;
	for (size_t i = 0; i < 2; i++) {
		struct model_packet next = ways[i];

		next.syn = next.end = next.is_answered = false; /* what is watched may come by whatever the label says */
		check_labelled(model, config, policy, drain, drain_count, next, labels, seed, text);
		next.syn = true;
		if (is_early)
			check_labelled(model, config, policy, drain, drain_count, next, labels, seed, text);
	}
}

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

			outcome = walk_from(model, base_chain(config, hooks[k], &packet), &packet);
			check_outcome(config, &expected, &outcome, model, seed, text);
			check_label(model, config, policy, drain, drain_count, &packet, seed, text);
			*queued += expected.is_queued;
			*stripped += expected.is_stripped;
		}
	}
}

static void check_random(enum rules_backend backend)
{
	size_t queued = 0, stripped = 0;

	labelled[0] = labelled[1] = labelled[2] = 0;
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
	assert_in_range(labelled[0], 2000, 40000);
	assert_in_range(labelled[1], 2000, 40000);
	assert_in_range(labelled[2], 100, 10000);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iptables_follow_policy),
		cmocka_unit_test(test_nft_follows_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
