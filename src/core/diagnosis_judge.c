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

static void scale_down(struct sample *sample)
{
	while (sample->dropped > SAMPLE_MAX || sample->answered > SAMPLE_MAX || sample->others_dropped > SAMPLE_MAX ||
	       sample->others_answered > SAMPLE_MAX) {
		sample->dropped /= 2;
		sample->answered = (sample->answered + 1) / 2;
		sample->others_dropped = (sample->others_dropped + 1) / 2;
		sample->others_answered /= 2;
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

	scale_down(&sample);
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
		return judge_sample((struct sample){server->syns[SYN_OLDER][0], server->syns[SYN_OLDER][1],
						    server->syns[SYN_NEWER][0], server->syns[SYN_NEWER][1]},
				    ret_chance);
	case FINDING_RECYCLE_BARE:
		return judge_sample((struct sample){server->syns[SYN_BARE][0], server->syns[SYN_BARE][1],
						    server->syns[SYN_NEWER][0], server->syns[SYN_NEWER][1]},
				    ret_chance);
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
