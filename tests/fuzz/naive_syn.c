/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The naive judge of SYNs. */
#include "fuzz.h"
#include "naive_trial.h"
#include "seq.h"
#include "traffic.h"

enum {
	COPY_MOST_MS = 130000 + 120000, /* as long as a client tries, and then on its way */
};

/* A SYN of a rewritten flow has left with a TSval of the engine's choice. */
static struct change note_syn(struct trial *t, const uint32_t *previous)
{
	struct naive_flow *flow = t->flow;

	naive_judge_syn_tsval(t->naive, flow, previous, t->tick, t->tsval);
	naive_note_sent(t->naive, &flow->server, t->tsval, t->tick, true);
	/* A copy of an old SYN: the client's clock has come further since. If that SYN is forgotten it is not known for one. */
	flow->has_other_offset = flow->reading && t->segment.tsval && seq_after(flow->reading, t->segment.tsval) &&
				 naive_has_said_in_syn(flow, t->segment.tsval);
	flow->other_offset = t->tsval - t->segment.tsval;
	if (!flow->has_other_offset)
		flow->reading = t->segment.tsval;
	else if (naive_has_many_syns(flow) || flow->is_echo_vague || flow->is_syn_forgotten)
		flow->is_offset_open = flow->is_echo_vague = true;
	naive_note_echo(flow, t->segment.tsval, t->tsval, true);
	flow->offset = t->tsval - flow->reading;
	flow->syn_tick = t->tick;
	flow->newest = t->tsval;
	flow->advanced = 0;
	/* After a copy it is as if the newest had been sent once more, just behind. */
	if (flow->has_other_offset && !flow->is_offset_open) {
		flow->newest = flow->newest_syn = t->tsval + 1 ? t->tsval + 1 : 1;
		flow->offset = flow->newest - flow->reading;
	}
	flow->pending = flow->is_zero_none = t->segment.tsval == 0;
	return tsval_of(t);
}

/* The newest that the server has been sent for sure: after a copy of an old SYN, `newest` may only be as if. */
static uint32_t newest_sent(const struct naive_flow *flow)
{
	return flow->has_other_offset && flow->newest == flow->newest_syn ? flow->newest - 1 : flow->newest;
}

/* As the engine keeps it. */
static uint64_t syn_age_ms(const struct trial *t)
{
	return (uint64_t)(uint32_t)(t->tick / FLOW_SYN_TIME_MS - t->flow->syn_tick / FLOW_SYN_TIME_MS) * FLOW_SYN_TIME_MS;
}

/*
 * Of what there was on the four-tuple one connection may go on behind the new one: the elder. Returns the newest TSval
 * of all.
 */
static uint32_t make_way(struct trial *t, uint32_t isn)
{
	struct naive_flow *flow = t->flow, *elder = naive_find_elder(flow);
	uint32_t newest = elder ? seq_max(newest_sent(elder), newest_sent(flow)) : newest_sent(flow);

	/* Of three the oldest is given up where it has been silent since the next one's SYN, which has been answered. */
	if (elder && flow->isn != isn && flow->handshaking && flow->is_answered && !flow->refused &&
	    !naive_is_word_alone(flow) && (t->tick - syn_age_ms(t)) / 1000 > elder->last_seen_s)
		naive_remove(t->naive, elder);
	else if (elder || flow->isn == isn || t->naive->mode == MODE_STRIP || !naive_engine_has(t->naive, flow))
		naive_remove(t->naive, flow);
	return newest;
}

/* P8: nothing is known on the four-tuple that the server has answered. */
static bool is_first(const struct trial *t)
{
	return !t->flow || (t->flow->is_first && naive_is_unanswered(t->flow));
}

/* A SYN that passes where something is known: it may be an old one, so that both are known, if there is room. */
static void pass_over(struct trial *t)
{
	uint32_t newest;
	bool first = is_first(t);

	if (!t->flow)
		return;
	newest = make_way(t, t->segment.seq);
	t->flow = naive_add(t->naive, &t->segment);
	t->flow->is_first = first;
	t->flow->last_seen_s = t->tick / 1000;
	t->flow->syn_tick = t->tick;
	t->flow->is_off = true;
	t->flow->newest = newest;
	if (!naive_engine_has(t->naive, t->flow))
		naive_remove_all(t->naive, t->flow);
}

/* Of two on the four-tuple the younger. */
static struct naive_flow *newest_known(const struct trial *t)
{
	bool outbound;

	return naive_find(t->naive, &t->segment, &outbound);
}

void naive_know_unseen(struct trial *t)
{
	struct naive_segment syn = t->segment;
	struct naive_flow *flow, *younger = newest_known(t);

	if (!t->segment.has_ts || t->naive->mode == MODE_STRIP)
		return;
	/* Of two such words beside what is over the later one counts. */
	if (younger != t->flow) {
		if (!naive_is_word_alone(younger) || naive_engine_has(t->naive, younger))
			return;
		naive_remove(t->naive, younger);
	}
	syn.src = t->segment.dst;
	syn.dst = t->segment.src;
	syn.src_port = t->segment.dst_port;
	syn.dst_port = t->segment.src_port;
	syn.seq = t->segment.ack - 1;
	flow = naive_add(t->naive, &syn);
	if (!naive_engine_has(t->naive, flow)) {
		naive_remove(t->naive, flow);
		/* P10: if there is no room for both, what is over makes some. */
		if (!naive_engine_has(t->naive, t->flow) && t->flow->has_ended)
			naive_remove(t->naive, t->flow);
		return;
	}
	flow->last_seen_s = t->tick / 1000;
	flow->syn_tick = t->tick;
	flow->is_off = flow->is_unseen = flow->is_answered = true;
	flow->newest = newest_sent(t->flow);
}

static struct change judge_first_syn(struct trial *t)
{
	struct naive *naive = t->naive;
	const uint32_t *previous = NULL;
	uint32_t newest;
	bool first = is_first(t);

	if (!naive_comes_in(t) && fuzz_is_server(&t->segment.dst) && !t->segment.has_ts) {
		pass_over(t);
		return nothing;
	}
	if (naive_comes_in(t) || !fuzz_is_server(&t->segment.dst)) {
		naive_remove_all(naive, t->flow);
		if (!naive_comes_in(t))
			naive_note_foreign(t);
		return nothing;
	}
	if (t->flow) {
		newest = make_way(t, t->segment.seq);
		if (naive->mode == MODE_REWRITE)
			previous = &newest;
		t->flow = NULL;
	}
	if (naive_is_reason(t, "table_full")) {
		if (naive->flow_count < naive->engine->capacity)
			fuzz_fail("P9: the table is full with %u flows", naive->flow_count);
		if (naive_can_push_out(naive, t->tick))
			fuzz_fail("P9: the table is full, but for a SYN that has had no answer");
		naive_note_foreign(t);
		return nothing;
	}
	t->flow = naive_add(naive, &t->segment);
	t->flow->is_first = first;
	t->flow->last_seen_s = t->tick / 1000;
	t->flow->syn_tick = t->tick;
	if (naive->mode == MODE_REWRITE)
		return note_syn(t, previous);
	if (naive->mode == MODE_STRIP)
		return naive_strip(t);
	naive_note_foreign(t);
	return nothing;
}

/* There was a block of SYN pairs for this flow, or was there not? */
static void claim_pairs(struct trial *t)
{
	const struct flow_table *table = &t->naive->engine->engine.table;

	if (table->pairs_used == table->pair_capacity)
		t->flow->is_echo_vague = true;
}

/* What the last SYN left with; a copy of an old one may count as sent once more just behind, if it was known for one. */
static bool is_of_last_syn(const struct naive_flow *flow, uint32_t emitted)
{
	return flow->has_other_offset ? emitted - flow->newest_syn + 1 <= 2 : emitted == flow->newest_syn;
}

static struct change judge_repeated_syn(struct trial *t)
{
	struct naive_flow *flow = t->flow;
	const struct naive_flow *younger = newest_known(t), *other = younger == flow ? naive_find_elder(flow) : younger;
	uint32_t shifted = t->segment.tsval + flow->offset, before = flow->newest - flow->has_other_offset;
	bool is_mere_copy = t->segment.tsval == flow->syn_tsval;

	if (!t->segment.has_ts)
		return nothing;
	flow->refused = flow->was_answered = false;
	if (flow->is_off) {
		naive_note_foreign(t);
		return nothing;
	}
	if (t->naive->mode == MODE_STRIP)
		return naive_strip(t);
	claim_pairs(t);
	if (t->naive->mode == MODE_OBSERVE) {
		naive_note_foreign(t);
		flow->syn_tick = t->tick;
		return nothing;
	}
	if (!flow->handshaking) {
		/* A copy that was held back on the way: as it left, or, where that is forgotten, by the offset. */
		if (!naive_has_left_so(flow, t->segment.tsval, t->tsval) &&
		    !naive_is_shifted(flow, t->segment.tsval, t->tsval) &&
		    !(seq_after(shifted, flow->newest) && is_of_last_syn(flow, t->tsval)) &&
		    !(shifted == 0 && t->tsval == UINT32_MAX))
			fuzz_fail("P3: a late SYN's TSval is %u, not %u", t->tsval, shifted);
		return tsval_of(t);
	}
	if (is_mere_copy) /* may leave with the same TSval; and whether the engine took the last for an old copy is not sure */
		before = flow->newest_syn - 1 - flow->has_other_offset;
	if (other && other->newest)
		before = seq_max(before, newest_sent(other));
	return note_syn(t, &before);
}

/*
 * With the ISN of one so long ago that it is no copy; of one that passed, and has had no answer; or of one that is over,
 * and newer than all it has said.
 */
static bool begins_anew(const struct trial *t)
{
	const struct naive_flow *flow = t->flow;
	bool is_older = false;

	if (flow == newest_known(t) && syn_age_ms(t) > COPY_MOST_MS)
		return true;
	if (flow->is_off && flow->has_ended)
		return flow == newest_known(t) && (naive_is_reason(t, "syn_rewritten") || !naive_engine_has(t->naive, flow));
	if (flow->is_off)
		return flow == newest_known(t) && naive_is_unanswered(flow);
	if (flow->handshaking || !t->segment.has_ts || !t->segment.tsval ||
	    !(naive_is_reason(t, "syn_rewritten") || (naive_comes_in(t) && naive_is_reason(t, "syn_from_outside"))))
		return false;
	/* Where the newest to leave may have been a copy of an old SYN, it is the client's newest that counts. */
	if (flow->has_other_offset && seq_after(t->segment.tsval, flow->reading))
		return true;
	/* Of several that left as the newest, any may have been the last. */
	for (size_t i = 0; i < flow->echo_count; i++) {
		if (flow->echoes[i].emitted != flow->newest)
			continue;
		if (seq_after(t->segment.tsval, flow->echoes[i].tsval))
			return true;
		is_older = true;
	}
	return !is_older;
}

struct change naive_judge_syn(struct trial *t)
{
	if (t->flow && !t->outbound) {
		if (!t->flow->handshaking)
			return nothing;
		t->flow->simultaneous = true;
		/* P8: the server's SYN is of the handshake, too. */
		return t->naive->mode == MODE_STRIP && t->segment.has_ts ? naive_strip(t) : nothing;
	}
	if (t->flow && t->flow->isn == t->segment.seq && !begins_anew(t))
		return judge_repeated_syn(t);
	return judge_first_syn(t);
}
