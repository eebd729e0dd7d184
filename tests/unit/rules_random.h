/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_RULES_RANDOM_H
#define PAWSD_TESTS_RULES_RANDOM_H

/* Rules for random policies, in the model of netfilter, and random packets that meet them. */

#include "policy_random.h"
#include "rules_expect.h"
#include "rules_model_nft.h"
#include "rules_model_text.h"
#include "rules_print.h"

static void check_outcome(const struct scene *scene, const struct model_packet *packet, const struct expected *expected,
			  const struct model_outcome *outcome, const struct model *model, uint64_t seed, const char *text)
{
	const struct rules_config *config = &scene->config;
	const uint32_t first = config->queue_first + (expected->is_handshake ? 0u : config->workers);

	if ((outcome->result == MODEL_QUEUE) == expected->is_queued && model->is_stripped == expected->is_stripped &&
	    strcmp(model->counter, expected->counter) == 0 && !model->is_counted_twice &&
	    ((model->labels_set ^ expected->labels) & ~packet->labels) == 0 && model->mark == expected->mark &&
	    (!expected->is_queued || (outcome->queue == first && outcome->queues == config->workers &&
				      outcome->bypass == expected->is_handshake)))
		return;
	fail_msg("seed %lu: %s to %s, syn %d, labels %lx, mark %x: queued %d to %u of %u bypass %d, stripped %d counted \"%s\", "
		 "labels %lx mark %x; expected %d %u, %d \"%s\", %lx %x\n%s",
		 (unsigned long)seed, packet->iif, packet->oif, packet->syn, (unsigned long)packet->labels, packet->mark,
		 outcome->result == MODEL_QUEUE, outcome->queue, outcome->queues, outcome->bypass, model->is_stripped,
		 model->counter, (unsigned long)model->labels_set, model->mark, expected->is_queued, first,
		 expected->is_stripped, expected->counter, (unsigned long)expected->labels, expected->mark, text);
}

static const char *const interfaces[] = {"lan0", "eth0", "ppp7", "lo", "eth01", "lan1"};

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
		.is_new = random_below(2),
		.has_tsval = random_below(8) > 0,
		.is_assured = random_below(2),
		.end = random_below(4) == 0,
		.is_answered = random_below(2),
		.has_timestamps = random_below(4) > 0,
		.has_ao = random_below(8) == 0,
		.iif = interfaces[random_below(6)],
		.oif = interfaces[random_below(6)],
	};

	packet.is_invalid |= packet.syn && packet.end;
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
	model->mark = packet->mark;
	for (size_t c = 0; c < model->chain_count; c++)
		if (strcmp(model->chains[c].name, base) == 0)
			outcome = model_walk(model, &model->chains[c], packet);
	return outcome;
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

static void read_rules(struct model *model, enum rules_backend backend, const char *text)
{
	char *copy = strdup(text);

	assert_non_null(copy);
	if (backend == RULES_NFT)
		model_read_nft(model, copy);
	else
		model_read_script(model, copy);
	free(copy);
}

#endif
