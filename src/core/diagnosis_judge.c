/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the evidence about a server comes to: diagnosis.h. */
#include "diagnosis.h"

enum {
	SAMPLE_MAX = 400, /* larger counts are scaled down, which makes the judgement milder */
	DROPPED_LEAST = 3,
	SEEN_CERTAIN = 3,
};

const char *const syn_kind_names[SYN_KIND_COUNT] = {
#define X(id, name) [SYN_##id] = name,
	SYN_KIND_TABLE(X)
#undef X
};

const struct sign_info sign_table[SIGN_COUNT] = {
#define X(id, name, help) [SIGN_##id] = {name, help},
	SIGN_TABLE(X)
#undef X
};

const struct finding_info finding_table[FINDING_COUNT] = {
#define X(id, name, help, cure) [FINDING_##id] = {name, help, cure},
	FINDING_TABLE(X)
#undef X
};

const char *const confidence_names[CONFIDENCE_COUNT] = {
	[CONFIDENCE_NONE] = "none",
	[CONFIDENCE_POSSIBLE] = "possible",
	[CONFIDENCE_LIKELY] = "likely",
	[CONFIDENCE_CERTAIN] = "certain",
};

/* Two by two: what became of the suspicious ones, and of the others. */
struct sample {
	uint32_t dropped, answered, others_dropped, others_answered;
};

/* Each row by itself, for else a small one would come to nothing beside a large one. */
static void scale_row(uint32_t *suspicious, uint32_t *other)
{
	while (*suspicious > SAMPLE_MAX || *other > SAMPLE_MAX) {
		*suspicious /= 2;
		*other = (*other + 1) / 2;
	}
}

/* That of `draws` out of `all`, of which `marked` are marked, `hits` are: the factors in an order that keeps the product small. */
static double chance_of(uint32_t hits, uint32_t draws, uint32_t marked, uint32_t all)
{
	double product = 1;
	uint32_t misses = draws - hits;

	for (uint32_t i = 0; i < hits; i++)
		product *= (double)(marked - i) / (all - i) * (draws - i) / (hits - i);
	for (uint32_t i = 0; i < misses; i++)
		product *= (double)(all - marked - i) / (all - hits - i);
	return product;
}

/*
 * Fisher's exact test, one-sided: how often as many of the dropped ones or more would be among the suspicious if TSvals made
 * no difference.
 */
static double chance_of_sample(struct sample sample)
{
	uint32_t draws, marked, all, most;
	double chance, sum = 0;

	scale_row(&sample.dropped, &sample.answered);
	scale_row(&sample.others_answered, &sample.others_dropped);
	draws = sample.dropped + sample.answered;
	marked = sample.dropped + sample.others_dropped;
	all = draws + sample.others_dropped + sample.others_answered;
	most = draws < marked ? draws : marked;
	chance = chance_of(sample.dropped, draws, marked, all);
	for (uint32_t hits = sample.dropped; hits <= most; hits++) {
		sum += chance;
		/* Of one more, by what changes in the binomials. */
		chance *= (double)(marked - hits) / (hits + 1) * (draws - hits) / ((double)all - marked - draws + hits + 1);
	}
	return sum < 1 ? sum : 1;
}

double diagnosis_chance(uint32_t failed, uint32_t good, uint32_t others_failed, uint32_t others_good)
{
	if (failed + good == 0 || others_failed + others_good == 0)
		return 1;
	return chance_of_sample((struct sample){failed, good, others_failed, others_good});
}

static enum confidence judge_sample(struct sample sample, double *ret_chance)
{
	*ret_chance = 1;
	/*
	 * Such a server drops them all; but now and then one is not what it was taken for, and behind one address there may be
	 * servers of both kinds.
	 */
	if (sample.dropped < DROPPED_LEAST || sample.answered > sample.dropped)
		return CONFIDENCE_NONE;
	*ret_chance = chance_of_sample(sample);
	if (*ret_chance < 1e-4)
		return CONFIDENCE_CERTAIN;
	return *ret_chance < 1e-2 ? CONFIDENCE_LIKELY : *ret_chance < 5e-2 ? CONFIDENCE_POSSIBLE : CONFIDENCE_NONE;
}

static uint32_t count_bits(const struct client_set *set)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < CLIENT_SET_WORDS; i++) {
		for (uint64_t word = set->words[i]; word; word &= word - 1)
			count++;
	}
	return count;
}

static uint32_t count_common_bits(const struct client_set *a, const struct client_set *b)
{
	struct client_set common;

	for (uint32_t i = 0; i < CLIENT_SET_WORDS; i++)
		common.words[i] = a->words[i] & b->words[i];
	return count_bits(&common);
}

/* Whether most of the clients whose SYNs of that kind were dropped have had an answer otherwise. */
static bool are_clients_served(const struct server_evidence *server, enum syn_kind kind)
{
	struct client_set answered = {{0}};

	for (int other = 0; other < SYN_KIND_COUNT; other++) {
		for (uint32_t i = 0; i < CLIENT_SET_WORDS; i++)
			answered.words[i] |= server->clients[other][1].words[i];
	}
	return 2 * count_common_bits(&server->clients[kind][0], &answered) >= count_bits(&server->clients[kind][0]);
}

/*
 * By connections; but where those that are dropped are of clients that are never served, it may be the client, and clients are
 * what is counted.
 */
static enum confidence judge_kind(const struct server_evidence *server, enum syn_kind kind, double *ret_chance)
{
	const struct sample connections = {server->syns[kind][0], server->syns[kind][1], server->syns[SYN_NEWER][0],
					   server->syns[SYN_NEWER][1]};
	const struct sample clients = {count_bits(&server->clients[kind][0]), count_bits(&server->clients[kind][1]),
				       count_bits(&server->clients[SYN_NEWER][0]), count_bits(&server->clients[SYN_NEWER][1])};

	*ret_chance = 1;
	if (connections.dropped < DROPPED_LEAST)
		return CONFIDENCE_NONE;
	return judge_sample(are_clients_served(server, kind) ? connections : clients, ret_chance);
}

static enum confidence judge_count(uint32_t seen, uint32_t confirmed)
{
	if (!seen)
		return CONFIDENCE_NONE;
	if (!confirmed)
		return CONFIDENCE_POSSIBLE;
	return confirmed >= SEEN_CERTAIN ? CONFIDENCE_CERTAIN : CONFIDENCE_LIKELY;
}

enum confidence diagnosis_judge(const struct server_evidence *server, enum finding finding, double *ret_chance)
{
	const uint32_t *signs = server->signs;

	*ret_chance = 0;
	switch (finding) {
	case FINDING_RECYCLE:
		return judge_kind(server, SYN_OLDER, ret_chance);
	case FINDING_RECYCLE_BARE:
		return judge_kind(server, SYN_BARE, ret_chance);
	case FINDING_TIME_WAIT:
		return judge_count(signs[SIGN_CHALLENGED_OLDER], signs[SIGN_CHALLENGED_OLDER]);
	case FINDING_BUSY_TUPLE:
		return judge_count(signs[SIGN_CHALLENGED_OTHER], signs[SIGN_CHALLENGED_OTHER]);
	case FINDING_FOREIGN_TSECR:
		return judge_count(signs[SIGN_FOREIGN], signs[SIGN_FOREIGN_RESET] + signs[SIGN_FOREIGN_REPAIRED]);
	case FINDING_COUNT:
		break;
	}
	return CONFIDENCE_NONE;
}
