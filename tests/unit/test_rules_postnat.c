/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * As test_rules.c, for the fast path with placement postnat: the rules decide what a program behind the NAT is left, which can
 * leave nothing to the queue.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rules_random.h"

/* ---- random policies ---- */

/* How often, on the way out by a program, of what is all queued: by labels, SYN, whether it was let go. */
static size_t seen[5][2][2];

static const uint64_t labels_before[] = {0, LABEL_SYN | LABEL_LET_GO, LABEL_SYN, LABEL_SLOW, LABEL_SLOW | LABEL_SYN | LABEL_LET_GO};

static bool is_full(const struct expected *policy)
{
	return policy->way_class[WAY_OUT] == CLASS_FULL || policy->way_class[WAY_IN] == CLASS_FULL;
}

/* What holds whatever has been before. */
static const char *find_broken(const struct scene *scene, const char *hook, const struct model_packet *packet,
			       const struct model_outcome *outcome, const struct model *model)
{
	const struct rules_config *config = &scene->config;
	const struct expected policy = expect_by_policy(scene, hook, packet);
	const uint32_t done = (uint32_t)FASTPATH_MARK_DONE_LAST << config->fastpath.mark_bit;
	const bool is_queued = outcome->result == MODEL_QUEUE, is_out = strcmp(hook, "postrouting") == 0;
	const bool is_done = mark_in(config, packet) == FASTPATH_MARK_DONE_FIRST;

	if (is_queued && is_done)
		return "queued, though a program has done with it";
	if (((model->mark ^ packet->mark) & ~done) || (!is_queued && model->mark != packet->mark))
		return "another mark";
	if (is_queued && policy.is_full && !(model->mark & done))
		return "queued, and left to a program as well";
	if (model->labels_set && !is_done && !is_full(&policy))
		return "a label where the policy has not all of a connection queued";
	if (!is_full(&policy) || is_queued || is_done)
		return NULL;
	if (!is_out || !is_for_last(config, packet))
		return "let go, and no program behind";
	if (packet->labels & LABEL_SLOW)
		return "let go, though of a connection that takes thought";
	if (!packet->syn)
		return packet->labels & LABEL_LET_GO ? NULL : "let go, though no program has vouched for its connection";
	if (packet->ack || (packet->labels & LABEL_SYN) || !packet->is_new || !packet->has_timestamps || !packet->has_tsval)
		return "a SYN that takes thought let go";
	if (!does_program_rewrite(scene->policy, &packet->dst, packet->dport))
		return "a SYN let go that a program cannot decide on";
	return (model->labels_set & (LABEL_SYN | LABEL_LET_GO)) == (LABEL_SYN | LABEL_LET_GO) ? NULL : "a SYN let go, and not remembered";
}

static void check_packet(struct model *model, const struct scene *scene, const char *hook, struct model_packet packet, uint64_t seed,
			 const char *text)
{
	static const uint32_t marks[] = {FASTPATH_MARK_NONE, FASTPATH_MARK_DONE_FIRST, FASTPATH_MARK_SLOW, FASTPATH_MARK_OTHER, FASTPATH_MARK_LABEL};
	const uint32_t label = random_below(5), mark = marks[random_below(2) ? 0 : random_below(5)];
	const struct expected policy = expect_by_policy(scene, hook, &packet);
	struct model_outcome outcome;
	struct expected expected;
	const char *broken;

	/* And marks of others. In prerouting the kernel does not know yet by which interface a packet will leave. */
	packet.mark = (random_below(1 << 16) & ~(7u << scene->config.fastpath.mark_bit)) | mark << scene->config.fastpath.mark_bit;
	packet.cannot_label = label == 0 && random_below(4) == 0;
	packet.labels = scene->config.label ? labels_before[label] : 0;
	if (strcmp(hook, "prerouting") == 0)
		packet.oif = "";
	outcome = walk_from(model, hook, &packet);
	expected = expect(scene, hook, &packet);
	check_outcome(scene, &packet, &expected, &outcome, model, seed, text);
	if (!scene->is_fast[0])
		return;
	broken = find_broken(scene, hook, &packet, &outcome, model);
	if (broken)
		fail_msg("seed %lu, %s, %s to %s: %s; labels %lx, mark %x, syn %d\n%s", (unsigned long)seed, hook, packet.iif, packet.oif,
			 broken, (unsigned long)packet.labels, packet.mark, packet.syn, text);
	if (scene->config.label && policy.way_class[WAY_OUT] == CLASS_FULL && is_for_last(&scene->config, &packet))
		seen[label][packet.syn][outcome.result != MODEL_QUEUE]++;
}

/* Two interfaces to the servers, of which programs are at one, or both, or at none just now. */
static struct rules_config random_postnat(void)
{
	struct rules_config config = random_config(RULES_NFT);

	config.placement = PLACEMENT_POSTNAT;
	config.wan_count = 0;
	strcpy(config.wan[config.wan_count++], "eth0");
	strcpy(config.wan[config.wan_count++], "ppp*");
	config.label = random_below(8) ? 64 : 0;
	config.fastpath.mark_bit = (uint32_t[]){16, 0, 29}[random_below(3)];
	for (size_t i = 0; i < 1 + random_below(2); i++) {
		config.fastpath.interfaces[i].is_wan = true;
		strcpy(config.fastpath.interfaces[i].name, i ? "ppp7" : "eth0");
		config.fastpath.interface_count = i + 1;
	}
	if (random_below(4) == 0)
		config.fastpath.missing = 1 + random_below(3);
	return config;
}

static void check_policy(uint64_t seed)
{
	size_t count;
	struct destination *destinations = random_destinations(seed, &count);
	struct policy *policy = policy_build(destinations, count);
	struct scene scene = {.policy = policy};
	struct model model = {0};
	char *text;

	assert_non_null(policy);
	if (random_below(2))
		destinations[0].mode = MODE_OFF;
	scene.config = random_postnat();
	scene.drain_count = random_below(2) ? random_below(4) : 0;
	for (size_t i = 0; i < scene.drain_count; i++)
		scene.drain[i] = (struct rules_drain){interesting_addr(destinations, count), (uint16_t)(1 + random_below(20))};
	scene_look_at_plans(&scene);
	text = print_rules(&scene.config, policy, scene.drain, scene.drain_count);
	read_rules(&model, RULES_NFT, text);
	for (int i = 0; i < 300; i++) {
		struct model_packet packet = random_packet(destinations, count);

		if (random_below(8) == 0 && scene.drain_count > 0 && addr_family(&scene.drain[0].server) == addr_family(&packet.src)) {
			packet.dst = scene.drain[0].server;
			packet.dport = (uint16_t)(scene.drain[0].port + random_below(4) / 3);
		}
		if (random_below(2))
			packet.oif = "eth0";
		check_packet(&model, &scene, "postrouting", packet, seed, text);
		check_packet(&model, &scene, "prerouting", packet, seed, text);
	}
	model_free(&model);
	policy_free(policy);
	free(text);
}

static void test_follows_marks(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 300; seed++)
		check_policy(seed);
	for (size_t label = 0; label < 5; label++)
		for (size_t syn = 0; syn < 2; syn++)
			for (size_t is_let_go = 0; is_let_go < 2; is_let_go++)
				if (is_let_go && !(syn ? label == 0 : label == 1))
					assert_int_equal(seen[label][syn][1], 0);
				else if (is_let_go || syn || label != 1)
					assert_in_range(seen[label][syn][is_let_go], 50, 10000);
}

/* ---- the life of a connection ---- */

/* Programs on eth0, and a connection through the NAT, as they, the engine and conntrack know it. */
struct life {
	bool has_programs;
	bool is_known, is_plain; /* there is a flow; the programs can do with it */
	bool is_new;
	uint64_t labels;
};

static struct model_packet life_packet(const struct life *life, bool is_in, bool is_ipv6)
{
	const char *const ends[2][2] = {{"198.51.100.7", "192.0.2.1"}, {"fd00::7", "2001:db8::1"}};
	struct model_packet packet = {.iif = "lan0", .oif = "eth0", .sport = 40000, .dport = 443, .labels = life->labels,
				      .is_new = life->is_new, .has_timestamps = true};
	struct addr unused;

	model_read_addr(ends[is_ipv6][0], &packet.src, &unused);
	model_read_addr(ends[is_ipv6][1], &packet.dst, &unused);
	packet.syn = life->is_new ? !is_in || random_below(2) : random_below(16) == 0;
	packet.ack = is_in || !packet.syn;
	packet.has_tsval = random_below(8) > 0;
	packet.is_assured = packet.is_answered = !life->is_new;
	if (is_in)
		packet = answer_to(&packet);
	if (is_in && life->has_programs)
		packet.mark = (uint32_t)(!life->is_known			       ? FASTPATH_MARK_OTHER
					 : !life->is_plain || !random_below(8) ? FASTPATH_MARK_SLOW
					 : random_below(2)			       ? FASTPATH_MARK_LABEL
										       : FASTPATH_MARK_DONE_FIRST)
			      << 16;
	if (is_in)
		packet.oif = "";
	return packet;
}

/* One packet: either a program does with it or the engine, and not both. */
static void live_on(struct life *life, struct model *model, bool is_ipv6, const char *text)
{
	const bool is_in = random_below(2);
	const struct model_packet packet = life_packet(life, is_in, is_ipv6);
	const bool is_queued = walk_from(model, is_in ? "prerouting" : "postrouting", &packet).result == MODEL_QUEUE;
	const bool is_first = packet.syn && !packet.ack;
	const bool is_done = is_in ? (packet.mark >> 16 & FASTPATH_MARK_FIRST) == FASTPATH_MARK_DONE_FIRST
				   : life->has_programs && !(model->mark >> 16 & FASTPATH_MARK_DONE_LAST) && (is_first || life->is_plain);

	if (is_queued == is_done)
		fail_msg("%s both: inbound %d, syn %d, known %d, plain %d, programs %d, labels %lx, mark %x\n%s", is_done ? "by" : "past",
			 is_in, packet.syn, life->is_known, life->is_plain, life->has_programs, (unsigned long)life->labels, packet.mark, text);
	life->labels |= model->labels_set;
	if (is_in)
		life->is_new = false;
	if (is_first && !life->is_known)
		life->is_known = life->is_plain = true;
	if (is_queued && life->is_known && random_below(4) == 0)
		life->is_plain = false;
}

/* New rules, which no program has vouched for anything in. */
static void exchange(struct life *life, struct model *model, struct rules_config *config, const struct policy *policy, char **text)
{
	model_free(model);
	free(*text);
	*text = print_rules(config, policy, NULL, 0);
	read_rules(model, RULES_NFT, *text);
	life->labels &= LABEL_SLOW | LABEL_SYN;
}

static void change_surroundings(struct life *life, struct model *model, struct rules_config *config, const struct policy *policy,
				char **text)
{
	switch (random_below(4)) {
	case 0:
		exchange(life, model, config, policy, text);
		break;
	case 1: /* before programs stop nothing is let go */
		config->fastpath.missing = 1;
		exchange(life, model, config, policy, text);
		life->has_programs = random_below(2);
		break;
	case 2: /* and something only behind some that are there */
		life->has_programs = true;
		if (random_below(2))
			config->fastpath.missing = 0;
		exchange(life, model, config, policy, text);
		break;
	case 3: /* the connection is over, for conntrack too, and another begins on its four-tuple; the flow may still be there */
		*life = (struct life){.has_programs = life->has_programs, .is_new = true};
		break;
	}
}

static void test_by_one_of_both(void **state)
{
	struct policy *policy = spec_policy("default off\nx rewrite 192.0.2.0/24,2001:db8::/32 ports=443\no observe 192.0.2.0/24\n"
					    "y strip 198.51.100.0/24\n");

	(void)state;
	random_state = 5;
	for (int round = 0; round < 2000; round++) {
		struct rules_config config = {.backend = RULES_NFT, .queue_first = 9470, .workers = 1, .strip = STRIP_KERNEL,
					      .placement = PLACEMENT_POSTNAT, .wan = {"eth0"}, .wan_count = 1};
		struct life life = {.is_new = true};
		struct model model = {0};
		const bool is_ipv6 = random_below(2);
		char *text;

		config.label = random_below(4) ? 64 : 0;
		config.fastpath = (struct fastpath_config){.mark_bit = 16, .interfaces = {{.name = "eth0", .is_wan = true}},
							   .interface_count = 1, .missing = 1};
		text = print_rules(&config, policy, NULL, 0);
		read_rules(&model, RULES_NFT, text);
		for (int i = 0; i < 50; i++) {
			live_on(&life, &model, is_ipv6, text);
			if (random_below(4) == 0)
				change_surroundings(&life, &model, &config, policy, &text);
		}
		model_free(&model);
		free(text);
	}
	policy_free(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_follows_marks),
		cmocka_unit_test(test_by_one_of_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
