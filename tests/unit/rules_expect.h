/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_RULES_EXPECT_H
#define PAWSD_TESTS_RULES_EXPECT_H

/*
 * What must become of a packet, from the policy's own decision and what rules_text.c and rules_nft_fast.c say of labels and
 * marks.
 */

#include "fastpath_policy.h"
#include "rules_internal.h"
#include "rules_model.h"

/* Labels as the model has them. */
enum {
	LABEL_PASSING = 1,
	LABEL_QUEUED = 2,
};
#define LABEL_FAST (UINT64_C(1) << (RULES_LABEL_FAST - 64))
#define LABEL_LET_GO 2u /* LABEL_FAST with placement postnat */
#define LABEL_SYN (UINT64_C(1) << (RULES_LABEL_SYN - 64))
#define LABEL_SLOW (UINT64_C(1) << (RULES_LABEL_SLOW - 64))

/* What the rules are made from; of families as the kernel will see them: nft has one base chain for both. */
struct scene {
	struct rules_config config;
	const struct policy *policy;
	struct rules_drain drain[3];
	size_t drain_count;
	bool is_labelled[FAMILY_COUNT], is_fast[FAMILY_COUNT], has_handshakes[FAMILY_COUNT], has_watched[FAMILY_COUNT];
};

static void scene_look_at_plans(struct scene *scene)
{
	for (enum family family = 0; family < FAMILY_COUNT; family++) {
		struct rules_plan plan;

		if (rules_plan_init(&plan, family, &scene->config, scene->policy, scene->drain, scene->drain_count,
				    scene->config.strip != STRIP_QUEUE) != 0)
			spec_die("memory", "short");
		for (enum family other = 0; other < FAMILY_COUNT; other++) {
			if (other != family && scene->config.backend != RULES_NFT)
				continue;
			scene->is_labelled[other] |= plan.is_labelled;
			scene->is_fast[other] |= plan.is_fast;
			scene->has_handshakes[other] |= plan.has_handshakes;
			scene->has_watched[other] |= plan.has_watched;
		}
		rules_plan_free(&plan);
	}
}

/* `ret_number`: of the destination. */
static enum rules_class wanted_class(const struct scene *scene, const struct addr *server, uint16_t port,
				     const struct addr *client, uint32_t *ret_number)
{
	const struct destination *destination = policy_match(scene->policy, server, port, client);

	*ret_number = (uint32_t)(destination - scene->policy->destinations);
	for (size_t i = 0; i < scene->drain_count; i++)
		if (scene->drain[i].port == port && addr_equal(&scene->drain[i].server, server))
			return CLASS_FULL;
	if (destination->mode == MODE_STRIP && scene->config.strip != STRIP_QUEUE)
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

static bool is_covered(const struct rules_config *config, const char *name)
{
	for (size_t i = 0; i < config->fastpath.interface_count; i++)
		if (strcmp(config->fastpath.interfaces[i].name, name) == 0)
			return true;
	return false;
}

/* What a program says of the packet. */
static enum fastpath_mark mark_in(const struct rules_config *config, const struct model_packet *packet)
{
	return (enum fastpath_mark)(packet->mark >> config->fastpath.mark_bit & FASTPATH_MARK_FIRST);
}

/* Whether it leaves by a program that may not have seen it. */
static bool is_for_program(const struct rules_config *config, const struct model_packet *packet)
{
	return is_covered(config, packet->oif) && mark_in(config, packet) == FASTPATH_MARK_NONE;
}

struct expected {
	bool is_queued, is_handshake, is_stripped;
	bool is_full;		     /* the policy has all packets of its connection queued */
	enum rules_class way_class[2]; /* by enum way; CLASS_NONE also where it was not looked at */
	char counter[48];	     /* "s3_syn_stripped" */
	uint64_t labels;	     /* that it gives */
	uint32_t mark;		     /* of it, in the end */
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

/* Which ways a packet is looked at. `hook` is one of "forward", "postrouting", "prerouting". */
static void find_ways(const struct rules_config *config, const char *hook, const struct model_packet *packet, bool ret[2])
{
	ret[WAY_OUT] = strcmp(hook, "prerouting") != 0;
	ret[WAY_IN] = strcmp(hook, "postrouting") != 0;
	if (config->wan_count > 0) {
		ret[WAY_OUT] &= is_wan(config, packet->oif);
		ret[WAY_IN] &= is_wan(config, packet->iif);
	} else if (config->placement == PLACEMENT_POSTNAT) {
		ret[WAY_OUT] &= !packet->is_reply && strcmp(packet->oif, "lo") != 0;
		ret[WAY_IN] &= packet->is_reply && strcmp(packet->iif, "lo") != 0;
	}
}

/* Were there neither labels nor marks. */
static struct expected expect_by_policy(const struct scene *scene, const char *hook, const struct model_packet *packet)
{
	struct expected expected = {.is_handshake = packet->syn, .mark = packet->mark};
	bool ways[2];

	find_ways(&scene->config, hook, packet, ways);
	for (enum way way = WAY_OUT; way <= WAY_IN; way++) {
		const bool out = way == WAY_OUT;
		uint32_t number;
		enum rules_class class;

		if (!ways[way])
			continue;
		class = wanted_class(scene, out ? &packet->dst : &packet->src, out ? packet->dport : packet->sport,
				     out ? &packet->src : &packet->dst, &number);
		expected.way_class[way] = class;
		if (expected.is_queued)
			continue;
		expected.is_queued = is_queued(class, packet);
		expected.is_full = class == CLASS_FULL;
		expected.is_handshake |= class == CLASS_WATCH && expected.is_queued;
		if (class == CLASS_STRIP && packet->is_reply != out)
			expect_strip(packet, number, &expected);
	}
	return expected;
}

/* What it tells of its connection by being queued, or by not being. */
static uint64_t expect_label(const struct scene *scene, const struct model_packet *packet, const struct expected *expected)
{
	const enum family family = addr_family(&packet->src);
	bool ways[2];

	if (expected->is_queued && !expected->is_full)
		return 0;
	if (expected->is_queued && scene->is_fast[family])
		return is_for_program(&scene->config, packet) ? 0 : LABEL_SLOW;
	if (expected->is_queued)
		return LABEL_QUEUED;
	find_ways(&scene->config, "forward", packet, ways);
	if ((!ways[WAY_OUT] && !ways[WAY_IN]) || (scene->has_handshakes[family] && !packet->is_assured) ||
	    (scene->is_fast[family] && (packet->labels & LABEL_FAST)))
		return 0;
	return LABEL_PASSING;
}

/* ---- placement postnat ---- */

struct told_policy {
	const struct addr *server;
	uint32_t len;
	struct fastpath_policy value;
};

static void take_told(void *context, const struct fastpath_policy_key *key, const struct fastpath_policy *value)
{
	struct told_policy *told = context;
	uint32_t same = 0;

	while (same < key->len && !((key->addr.byte[same / 8] ^ told->server->byte[same / 8]) >> (7 - same % 8) & 1))
		same++;
	if (same == key->len && (!told->len || key->len + 1 > told->len)) {
		told->len = key->len + 1;
		told->value = *value;
	}
}

/* Whether a program, which has the policy told, rewrites a connection to there. */
static bool does_program_rewrite(const struct policy *policy, const struct addr *server, uint16_t port)
{
	struct told_policy told = {.server = server};
	const struct fastpath_candidate *candidate;

	if (!fastpath_policy_each(policy, take_told, &told))
		spec_die("memory", "short");
	candidate = told.len ? fastpath_choose(&told.value, port) : NULL;
	return candidate && candidate->mode == MODE_REWRITE;
}

static bool is_drained(const struct scene *scene, const struct addr *server, uint16_t port)
{
	for (size_t i = 0; i < scene->drain_count; i++)
		if (scene->drain[i].port == port && addr_equal(&scene->drain[i].server, server))
			return true;
	return false;
}

/* Whether a program sees it that may be left something. */
static bool is_for_last(const struct rules_config *config, const struct model_packet *packet)
{
	for (size_t i = 0; i < config->fastpath.interface_count; i++)
		if (strcmp(config->fastpath.interfaces[i].name, packet->oif) == 0)
			return mark_in(config, packet) == FASTPATH_MARK_NONE && !fastpath_is_missing(&config->fastpath, i);
	return false;
}

/* Of what is all queued, on its way out by a program. */
static struct expected expect_last(const struct scene *scene, const struct model_packet *packet, struct expected queued)
{
	const struct expected let_go = {.mark = packet->mark};
	const bool is_first = packet->syn && !packet->ack && packet->is_new && packet->has_timestamps && packet->has_tsval &&
			      !packet->cannot_label && !(packet->labels & LABEL_SYN);
	struct expected first = let_go;

	first.labels = LABEL_LET_GO | LABEL_SYN;
	/* What the programs do not know of has been told before. */
	if (is_drained(scene, &packet->dst, packet->dport) ? packet->syn && !packet->ack
							  : !does_program_rewrite(scene->policy, &packet->dst, packet->dport)) {
		queued.labels = LABEL_SLOW;
		return queued;
	}
	queued.labels = packet->syn && !(packet->labels & LABEL_SLOW) ? LABEL_SLOW : 0;
	if (packet->labels & LABEL_SLOW)
		return queued;
	if (packet->syn)
		return is_first ? first : queued;
	return packet->labels & LABEL_LET_GO ? let_go : queued;
}

static struct expected expect_postnat(const struct scene *scene, const char *hook, const struct model_packet *packet)
{
	const struct rules_config *config = &scene->config;
	const bool is_out = strcmp(hook, "postrouting") == 0;
	struct expected expected = {.mark = packet->mark};

	if (mark_in(config, packet) == FASTPATH_MARK_DONE_FIRST) {
		expected.labels = config->label && !is_out && !packet->cannot_label ? LABEL_LET_GO : 0;
		return expected;
	}
	expected = expect_by_policy(scene, hook, packet);
	if (!expected.is_queued || !expected.is_full)
		return expected;
	expected.mark |= (uint32_t)FASTPATH_MARK_DONE_LAST << config->fastpath.mark_bit;
	if (!config->label)
		return expected;
	if (is_out && is_for_last(config, packet))
		expected = expect_last(scene, packet, expected);
	else if (!is_out || !is_covered(config, packet->oif) || mark_in(config, packet) != FASTPATH_MARK_NONE ||
		 (is_drained(scene, &packet->dst, packet->dport) ? packet->syn && !packet->ack
								 : !does_program_rewrite(scene->policy, &packet->dst, packet->dport)))
		expected.labels = LABEL_SLOW;
	if (packet->cannot_label)
		expected.labels = 0;
	return expected;
}

static struct expected expect(const struct scene *scene, const char *hook, const struct model_packet *packet)
{
	const struct rules_config *config = &scene->config;
	const enum family family = addr_family(&packet->src);
	const bool is_fast = scene->is_fast[family];
	const uint64_t labels = scene->is_labelled[family] ? packet->labels : 0;
	const bool is_passing = (labels & LABEL_PASSING) && !(scene->has_watched[family] && packet->end);
	struct expected let_go = {.mark = packet->mark}, queued = {.is_queued = true, .is_full = true, .mark = packet->mark};
	struct expected expected;

	if (is_fast && config->placement == PLACEMENT_POSTNAT)
		return expect_postnat(scene, hook, packet);
	if (is_fast && mark_in(config, packet) == FASTPATH_MARK_DONE_FIRST) {
		if (scene->is_labelled[family] && !packet->cannot_label && !(is_passing && config->backend == RULES_IPTABLES) &&
		    (packet->mark >> config->fastpath.mark_bit & FASTPATH_MARK_ALL) == FASTPATH_MARK_LABEL)
			let_go.labels = LABEL_FAST;
		return let_go;
	}
	if (is_passing)
		return let_go;
	queued.is_handshake = packet->syn;
	if (is_fast && (labels & LABEL_SLOW))
		expected = queued;
	else if (is_fast && (labels & LABEL_FAST) && is_for_program(config, packet) && (config->wan_count || packet->is_reply))
		return let_go;
	else if (!is_fast && (labels & LABEL_QUEUED) && !packet->syn)
		return queued;
	else
		expected = expect_by_policy(scene, hook, packet);
	if (is_fast && (labels & LABEL_FAST) && mark_in(config, packet) != FASTPATH_MARK_OTHER && !expected.is_queued) {
		expected.is_queued = expected.is_full = true;
		expected.is_handshake = packet->syn;
	}
	if (is_fast && expected.is_queued && expected.is_full)
		expected.mark |= (uint32_t)FASTPATH_MARK_DONE_LAST << config->fastpath.mark_bit;
	if (scene->is_labelled[family] && !packet->cannot_label && !(labels & LABEL_SLOW && is_fast))
		expected.labels = expect_label(scene, packet, &expected);
	return expected;
}

#endif
