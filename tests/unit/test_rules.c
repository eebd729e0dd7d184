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
#include "rules_random.h"

/* ---- random policies ---- */

/* Connections that were labelled as ones that pass, as ones whose packets are queued, and as ones that pass from the SYN on. */
static size_t labelled[3];

static const char *const hooks[] = {"forward", "postrouting", "prerouting"};

static const char *base_chain(const struct rules_config *config, const char *hook, const struct model_packet *packet)
{
	if (config->backend == RULES_NFT)
		return hook;
	return addr_family(&packet->src) == FAMILY_IPV4 ? "4 FORWARD" : "6 FORWARD";
}

/* `packet` of a connection that has just got `labels`: what the policy says of it, and comes of it, is what the label says. */
static void check_labelled(struct model *model, const struct scene *scene, struct model_packet packet, uint64_t labels,
			   uint64_t seed, const char *text)
{
	struct expected expected;
	struct model_outcome outcome;

	packet.labels = labels;
	expected = expect_by_policy(scene, hooks[0], &packet);
	if (expected.is_queued != (labels == LABEL_QUEUED) || expected.is_stripped)
		fail_msg("a connection was labelled whose packets are %sto be queued\n%s", labels == LABEL_QUEUED ? "not " : "", text);
	outcome = walk_from(model, base_chain(&scene->config, hooks[0], &packet), &packet);
	expected = expect(scene, hooks[0], &packet);
	check_outcome(scene, &packet, &expected, &outcome, model, seed, text);
	assert_int_equal(model->labels_set, 0);
}

/*
 * A packet that has just labelled its connection: of it and its answer either both would be queued or neither, as the
 * label says; those with SYN only where its handshake may not be over.
 */
static void check_label(struct model *model, const struct scene *scene, const struct model_packet *packet, uint64_t seed,
			const char *text)
{
	const struct model_packet ways[2] = {*packet, answer_to(packet)};
	const uint64_t labels = model->labels_set;
	const bool is_early = labels == LABEL_PASSING && !packet->is_assured;

	if (!labels || (labels != LABEL_PASSING && scene->is_fast[addr_family(&packet->src)]))
		return;
	labelled[is_early ? 2 : labels == LABEL_QUEUED]++;
	for (size_t i = 0; i < 2; i++) {
		struct model_packet next = ways[i];

		next.mark = 0;
		next.syn = next.end = next.is_answered = false; /* what is watched may come by whatever the label says */
		check_labelled(model, scene, next, labels, seed, text);
		next.syn = true;
		if (is_early)
			check_labelled(model, scene, next, labels, seed, text);
	}
}

/* What holds with the fast path whatever labels there are. */
static void check_promises(const struct scene *scene, const struct model_packet *packet, const struct model_outcome *outcome,
			   const struct model *model, const char *text)
{
	const struct rules_config *config = &scene->config;
	const struct expected policy = expect_by_policy(scene, hooks[0], packet);
	const uint32_t done_in = (uint32_t)FASTPATH_MARK_DONE_LAST << config->fastpath.mark_bit;
	const bool is_done = mark_in(config, packet) == FASTPATH_MARK_DONE_FIRST, is_queued = outcome->result == MODEL_QUEUE;
	const bool is_passing = packet->labels & LABEL_PASSING;
	const bool is_out = policy.way_class[WAY_OUT] == CLASS_FULL, is_in = policy.way_class[WAY_IN] == CLASS_FULL;
	const char *broken = NULL;

	if (is_queued && is_done)
		broken = "queued, though a program has done with it";
	if (is_out && (config->wan_count || !packet->is_reply) && !is_queued && !is_done && !is_passing)
		broken = "a client's packet let go";
	if (is_in && !is_queued && !is_done && !is_passing &&
	    !((packet->labels & LABEL_FAST) && is_for_program(config, packet)))
		broken = "a server's packet let go, and no program behind";
	if ((packet->labels & LABEL_FAST) && !is_queued && !is_done && !is_passing && mark_in(config, packet) != FASTPATH_MARK_OTHER &&
	    !(is_for_program(config, packet) && (config->wan_count || packet->is_reply)))
		broken = "of a connection of the programs, and let go";
	if (is_queued && (policy.is_full || (packet->labels & LABEL_SLOW) || !outcome->bypass) && !(model->mark & done_in))
		broken = "queued, and left to a program as well";
	if ((model->labels_set & LABEL_PASSING) && (is_out || is_in))
		broken = "labelled as passing";
	if ((model->mark ^ packet->mark) & ~done_in)
		broken = "another mark";
	if (broken)
		fail_msg("%s: %s to %s, reply %d, labels %lx, mark %x\n%s", broken, packet->iif, packet->oif, packet->is_reply,
			 (unsigned long)packet->labels, packet->mark, text);
}

/* How often: by mark, label, way that is all queued, SYN. */
static size_t seen[5][4][2][2];

/* With some mark and label: of the connection, or of an earlier policy. */
static void check_marked(struct model *model, const struct scene *scene, struct model_packet packet, const char *hook,
			 uint64_t seed, const char *text)
{
	static const uint64_t labels[] = {0, LABEL_PASSING, LABEL_FAST, LABEL_SLOW};
	static const uint32_t marks[] = {FASTPATH_MARK_NONE, FASTPATH_MARK_DONE_FIRST, FASTPATH_MARK_SLOW, FASTPATH_MARK_OTHER, FASTPATH_MARK_LABEL};
	const enum family family = addr_family(&packet.src);
	const uint32_t mark = random_below(5), label = random_below(4);
	struct model_outcome outcome;
	struct expected expected;

	/* And marks of others. */
	packet.mark = (random_below(1 << 16) & ~(7u << scene->config.fastpath.mark_bit)) | marks[mark] << scene->config.fastpath.mark_bit;
	packet.cannot_label = label == 0 && random_below(4) == 0;
	packet.labels = scene->is_labelled[family] ? labels[label] : 0;
	outcome = walk_from(model, base_chain(&scene->config, hook, &packet), &packet);
	expected = expect(scene, hook, &packet);
	check_outcome(scene, &packet, &expected, &outcome, model, seed, text);
	if (!scene->is_fast[family])
		return;
	check_promises(scene, &packet, &outcome, model, text);
	expected = expect_by_policy(scene, hook, &packet);
	for (enum way way = WAY_OUT; way <= WAY_IN; way++)
		if (scene->is_labelled[family] && expected.way_class[way] == CLASS_FULL)
			seen[mark][label][way][packet.syn]++;
}

/* Counts the packets that were queued and those that were stripped. */
static void check_packets(struct model *model, const struct scene *scene, uint64_t seed, const char *text, size_t *queued,
			  size_t *stripped)
{
	for (int i = 0; i < 300; i++) {
		struct model_packet packet = random_packet(scene->policy->destinations, scene->policy->destination_count);
		const size_t first = scene->config.placement == PLACEMENT_POSTNAT;

		if (random_below(8) == 0 && scene->drain_count > 0 &&
		    addr_family(&scene->drain[0].server) == addr_family(&packet.src)) {
			packet.dst = scene->drain[0].server;
			packet.dport = (uint16_t)(scene->drain[0].port + random_below(4) / 3);
		}
		for (size_t k = first; k <= 2 * first; k++) {
			const struct expected expected = expect(scene, hooks[k], &packet);
			const struct model_outcome outcome =
				walk_from(model, base_chain(&scene->config, hooks[k], &packet), &packet);

			check_outcome(scene, &packet, &expected, &outcome, model, seed, text);
			check_label(model, scene, &packet, seed, text);
			check_marked(model, scene, packet, hooks[k], seed, text);
			*queued += expected.is_queued;
			*stripped += expected.is_stripped;
		}
	}
}

/* What is said of the fast path makes no difference where it is not wanted. */
static void check_off(const struct scene *scene, const char *text)
{
	struct rules_config config = scene->config;
	char *without;

	config.fastpath = (struct fastpath_config){0};
	without = print_rules(&config, scene->policy, scene->drain, scene->drain_count);
	if (scene->config.fastpath.wish == FASTPATH_NO || scene->config.placement == PLACEMENT_POSTNAT)
		assert_string_equal(text, without);
	assert_null(strstr(without, "mark"));
	assert_null(strstr(without, "label 127"));
	assert_null(strstr(without, "label set 127"));
	free(without);
}

/* One or two of the clients' interfaces have programs. With placement postnat: test_rules_postnat.c. */
static void cover(struct fastpath_config *fastpath)
{
	*fastpath = (struct fastpath_config){.mark_bit = (uint32_t[]){16, 0, 29}[random_below(3)]};
	strcpy(fastpath->interfaces[fastpath->interface_count++].name, "lan0");
	if (random_below(2))
		strcpy(fastpath->interfaces[fastpath->interface_count++].name, "lan1");
	if (random_below(8) == 0)
		fastpath->wish = FASTPATH_NO;
}

static void check_random(enum rules_backend backend, bool is_fast)
{
	size_t queued = 0, stripped = 0;

	labelled[0] = labelled[1] = labelled[2] = 0;
	memset(seen, 0, sizeof(seen));
	for (uint64_t seed = 1; seed <= 300; seed++) {
		size_t count;
		struct destination *destinations = random_destinations(seed, &count);
		struct policy *policy = policy_build(destinations, count);
		struct scene scene = {.policy = policy};
		struct model model = {0};

		assert_non_null(policy);
		if (random_below(2))
			destinations[0].mode = MODE_OFF;
		scene.config = random_config(backend);
		scene.drain_count = random_below(2) ? random_below(4) : 0;
		for (size_t i = 0; i < scene.drain_count; i++)
			scene.drain[i] = (struct rules_drain){interesting_addr(destinations, count),
							      (uint16_t)(1 + random_below(20))};
		if (is_fast && scene.config.placement == PLACEMENT_FORWARD)
			cover(&scene.config.fastpath);
		scene_look_at_plans(&scene);
		char *text = print_rules(&scene.config, policy, scene.drain, scene.drain_count);

		check_off(&scene, text);
		read_rules(&model, backend, text);
		check_packets(&model, &scene, seed, text, &queued, &stripped);
		model_free(&model);
		policy_free(policy);
		free(text);
	}
	/* 90 000 packets, of postnat twice: a good part must be queued, and a good part not. */
	assert_in_range(queued, 15000, 75000);
	assert_in_range(stripped, 1000, 20000);
	assert_in_range(labelled[0], 2000, 40000);
	assert_in_range(labelled[1], is_fast ? 0 : 2000, 40000);
	assert_in_range(labelled[2], 100, 10000);
	for (size_t i = 0; is_fast && i < sizeof(seen) / sizeof(size_t); i++)
		assert_in_range(((size_t *)seen)[i], 50, 10000);
}

/* ---- the life of a connection ---- */

/* Programs on lan0, and the only connection, as they and the engine know it. */
struct life {
	bool has_ingress, has_egress;
	bool is_plain; /* the programs can do with it */
	uint64_t labels;
};

static struct model_packet life_packet(const struct life *life, bool is_to_client, bool is_ipv6)
{
	const char *const ends[2][2] = {{"10.0.0.7", "192.0.2.1"}, {"fd00::7", "2001:db8::1"}};
	struct model_packet packet = {.iif = "lan0", .oif = "eth0", .sport = 40000, .dport = 443, .labels = life->labels};
	struct addr unused;

	model_read_addr(ends[is_ipv6][0], &packet.src, &unused);
	model_read_addr(ends[is_ipv6][1], &packet.dst, &unused);
	packet.syn = random_below(8) == 0;
	packet.ack = is_to_client || !packet.syn;
	packet.is_assured = packet.is_answered = random_below(2);
	packet.end = !packet.syn && random_below(8) == 0;
	if (is_to_client)
		packet = answer_to(&packet);
	else if (life->has_ingress)
		packet.mark = (uint32_t)(!life->is_plain || !random_below(8) ? FASTPATH_MARK_SLOW
					 : random_below(2)		     ? FASTPATH_MARK_LABEL
									     : FASTPATH_MARK_DONE_FIRST)
			      << 16;
	return packet;
}

/* One packet: either a program does with it or the engine, and not both. */
static void live_on(struct life *life, struct model *model, const struct rules_config *config, bool is_ipv6, const char *text)
{
	const bool is_to_client = random_below(2);
	const struct model_packet packet = life_packet(life, is_to_client, is_ipv6);
	const bool is_queued = walk_from(model, base_chain(config, hooks[0], &packet), &packet).result == MODEL_QUEUE;
	const bool is_left = model->mark >> 16 & (FASTPATH_MARK_DONE_FIRST | FASTPATH_MARK_DONE_LAST);
	const bool is_done = is_to_client ? life->has_egress && life->is_plain && !is_left
					  : (packet.mark >> 16 & FASTPATH_MARK_FIRST) == FASTPATH_MARK_DONE_FIRST;

	if (is_queued == is_done)
		fail_msg("%s both: to a client %d, plain %d, programs %d %d, labels %lx, mark %x\n%s", is_done ? "by" : "past",
			 is_to_client, life->is_plain, life->has_ingress, life->has_egress, (unsigned long)life->labels,
			 packet.mark, text);
	life->labels |= model->labels_set;
	/* What a client has sent may need thought for good. */
	if (is_queued && !is_to_client && random_below(4) == 0)
		life->is_plain = false;
}

/* Rules in place of rules, programs that come and go: that of what leaves last and comes first. */
static void change_surroundings(struct life *life)
{
	switch (random_below(8)) {
	case 0:
		life->labels &= LABEL_SLOW | LABEL_FAST; /* of the new policy it has none */
		break;
	case 1:
		life->has_egress = true;
		break;
	case 2:
		life->has_ingress = life->has_egress;
		break;
	case 3:
		life->has_ingress = false;
		break;
	case 4: /* behind rules for other programs, of which it has no label */
		if (!life->has_ingress) {
			life->labels &= ~LABEL_FAST;
			life->has_egress = false;
		}
		break;
	}
}

static void check_lives(enum rules_backend backend)
{
	struct policy *policy = spec_policy("default off\nx rewrite 192.0.2.0/24,2001:db8::/32 ports=443\no observe 192.0.2.0/24\n"
					    "y strip 198.51.100.0/24\n");

	random_state = backend;
	for (int round = 0; round < 2000; round++) {
		struct rules_config config = {.backend = backend, .queue_first = 9470, .workers = 1, .strip = STRIP_KERNEL};
		struct life life = {.is_plain = random_below(4) > 0};
		struct model model = {0};
		const bool is_ipv6 = random_below(2);

		config.label = random_below(4) ? 64 : 0;
		config.fastpath = (struct fastpath_config){.mark_bit = 16, .interfaces = {{.name = "lan0"}}, .interface_count = 1};
		if (random_below(2))
			strcpy(config.wan[config.wan_count++], "eth0");
		char *text = print_rules(&config, policy, NULL, 0);

		read_rules(&model, backend, text);
		for (int i = 0; i < 50; i++) {
			live_on(&life, &model, &config, is_ipv6, text);
			if (random_below(4) == 0)
				change_surroundings(&life);
		}
		model_free(&model);
		free(text);
	}
	policy_free(policy);
}

static void test_by_one_of_both(void **state)
{
	(void)state;
	check_lives(RULES_IPTABLES);
	check_lives(RULES_NFT);
}

static void test_iptables_follow_policy(void **state)
{
	(void)state;
	check_random(RULES_IPTABLES, false);
}

static void test_nft_follows_policy(void **state)
{
	(void)state;
	check_random(RULES_NFT, false);
}

static void test_iptables_follow_marks(void **state)
{
	(void)state;
	check_random(RULES_IPTABLES, true);
}

static void test_nft_follows_marks(void **state)
{
	(void)state;
	check_random(RULES_NFT, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iptables_follow_policy),
		cmocka_unit_test(test_nft_follows_policy),
		cmocka_unit_test(test_iptables_follow_marks),
		cmocka_unit_test(test_nft_follows_marks),
		cmocka_unit_test(test_by_one_of_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
