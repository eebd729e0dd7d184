/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the evidence about a server comes to: diagnosis.h. */
#include "diagnosis.h"

enum {
	SAMPLE_MAX = 400, /* larger counts are scaled down, which makes the judgement milder */
	DROPPED_LEAST = 3,
	SEEN_CERTAIN = 3,
	ALIVE_MOST = 3,
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

static double share(double part, double other)
{
	return part + other > 0 ? part / (part + other) : 0;
}

/*
 * Such a server drops them all; but now and then one is not what it was taken for, and behind one address there may be
 * servers of both kinds: so of the answers that others get no more than half, in proportion. What drops both, if one more than
 * the other, is something else, however many there are: an overloaded server's impatient clients, say.
 */
static bool is_difference_large(const struct sample *sample)
{
	return 2 * share(sample->answered, sample->dropped) <= share(sample->others_answered, sample->others_dropped);
}

static enum confidence judge_sample(struct sample sample, double *ret_chance)
{
	*ret_chance = 1;
	if (sample.dropped < DROPPED_LEAST || sample.others_answered == 0 || !is_difference_large(&sample))
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

static struct client_set set_union(const struct client_set *a, const struct client_set *b)
{
	struct client_set both;

	for (uint32_t i = 0; i < CLIENT_SET_WORDS; i++)
		both.words[i] = a->words[i] | b->words[i];
	return both;
}

static struct client_set set_without(const struct client_set *a, const struct client_set *b)
{
	struct client_set rest;

	for (uint32_t i = 0; i < CLIENT_SET_WORDS; i++)
		rest.words[i] = a->words[i] & ~b->words[i];
	return rest;
}

/* Whether most of the clients whose SYNs of that kind were dropped have had an answer since, to another kind. */
static bool are_clients_served(const struct server_evidence *server, enum syn_kind kind)
{
	const struct client_set gone = set_without(&server->clients[kind][0], &server->returned[kind]);

	return 2 * count_bits(&gone) <= count_bits(&server->clients[kind][0]);
}

/* A client is served, or it never is. */
static struct sample count_clients(const struct server_evidence *server, enum syn_kind kind)
{
	const struct client_set answered = server->clients[kind][1];
	const struct client_set others_answered = set_union(&server->clients[SYN_NEWER][1], &server->clients[SYN_MEANWHILE][1]);
	const struct client_set others_dropped = set_union(&server->clients[SYN_NEWER][0], &server->clients[SYN_MEANWHILE][0]);
	const struct client_set never = set_without(&server->clients[kind][0], &answered);
	const struct client_set others_never = set_without(&others_dropped, &others_answered);

	return (struct sample){count_bits(&never), count_bits(&answered), count_bits(&others_never), count_bits(&others_answered)};
}

static uint32_t to_count(uint64_t count)
{
	return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

/*
 * Times differ: a server may be overloaded just when many connect that are behind. So it is held against what became of newer
 * ones meanwhile, too.
 */
static bool is_different_meanwhile(const struct server_evidence *server, enum syn_kind kind)
{
	const uint32_t *these = server->syns[kind], *others = server->syns[SYN_MEANWHILE];
	const struct sample sample = {these[0], these[1], others[0], others[1]};

	return (others[0] == 0 && others[1] == 0) || is_difference_large(&sample);
}

/*
 * By connections; but where those that are dropped are of clients that are not served again, it may be the client, and
 * clients are what is counted: one that has had answers to that very kind of SYN before has been cut off.
 */
static enum confidence judge_kind(const struct server_evidence *server, enum syn_kind kind, double *ret_chance)
{
	const struct sample connections = {server->syns[kind][0], server->syns[kind][1], to_count(diagnosis_newer(server, 0)),
					   to_count(diagnosis_newer(server, 1))};

	*ret_chance = 1;
	if (connections.dropped < DROPPED_LEAST || !is_different_meanwhile(server, kind))
		return CONFIDENCE_NONE;
	return judge_sample(are_clients_served(server, kind) ? connections : count_clients(server, kind), ret_chance);
}

static enum confidence judge_count(uint32_t seen, uint32_t confirmed)
{
	if (!seen)
		return CONFIDENCE_NONE;
	if (!confirmed)
		return CONFIDENCE_POSSIBLE;
	return confirmed >= SEEN_CERTAIN ? CONFIDENCE_CERTAIN : CONFIDENCE_LIKELY;
}

/*
 * What is alive at the server, or half closed, is challenged whatever the SYN's TSval is; so where SYNs that are not older are,
 * older ones were for the same reason: as many, or some more by chance.
 */
static uint32_t count_time_wait(const uint32_t *signs)
{
	uint64_t explained = (uint64_t)ALIVE_MOST * signs[SIGN_CHALLENGED_OTHER];

	return signs[SIGN_CHALLENGED_OLDER] > explained ? signs[SIGN_CHALLENGED_OLDER] - (uint32_t)explained : 0;
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
		return judge_count(count_time_wait(signs), count_time_wait(signs));
	case FINDING_BUSY_TUPLE:
		return judge_count(signs[SIGN_CHALLENGED_OTHER], signs[SIGN_CHALLENGED_OTHER]);
	case FINDING_FOREIGN_TSECR:
		return judge_count(signs[SIGN_FOREIGN], signs[SIGN_FOREIGN_RESET] + signs[SIGN_FOREIGN_REPAIRED]);
	case FINDING_COUNT:
		break;
	}
	return CONFIDENCE_NONE;
}
