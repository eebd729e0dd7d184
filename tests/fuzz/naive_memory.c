/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "naive_memory.h"

#include <stdlib.h>

#include "fuzz.h"
#include "seq.h"

enum {
	SERVER_AGE_MS = 60000,	       /* P1 */
	MARK_AGE_MS = 60000 + 5000,    /* clock.h: so long a TSval may make SYNs newer */
	COHERENT_MS = 1 << 30,
	WORD_ALONE_S = 10,
	PUSHED_OUT_S = 3,
	PUSHED_OUT_PLACES = 16,
	REMEMBERED_SYNS = 12, /* flow.h: beyond that the oldest but the first is forgotten */
};

static void *grow(void *array, size_t count, size_t bytes)
{
	void *larger = reallocarray(array, count + 1, bytes);

	if (!larger)
		fuzz_fail("out of memory");
	return larger;
}

struct naive *naive_new(const struct fuzz_engine *engine, enum mode mode, enum repair repair)
{
	struct naive *naive = calloc(1, sizeof(*naive));

	if (!naive)
		fuzz_fail("out of memory");
	naive->engine = engine;
	naive->mode = mode;
	naive->repair = repair;
	return naive;
}

void naive_free(struct naive *naive)
{
	while (naive->flows)
		naive_remove(naive, naive->flows);
	free(naive->sent);
	free(naive);
}

int32_t naive_distance(const struct naive *naive, uint32_t tsval, uint64_t tick)
{
	return (int32_t)(tsval - fuzz_engine_clock_tsval(naive->engine, tick));
}

void naive_note_sent(struct naive *naive, const struct addr *server, uint32_t tsval, uint64_t tick, bool is_syn)
{
	int32_t distance = naive_distance(naive, tsval, tick);
	uint32_t slot = fuzz_engine_server_slot(naive->engine, server);

	naive->sent = grow(naive->sent, naive->sent_count, sizeof(*naive->sent));
	naive->sent[naive->sent_count++] = (struct naive_sent){
		.server = *server,
		.slot = slot,
		.tsval = tsval,
		.tick = tick,
		.was_ahead = distance > 0,
		.was_in_lead = distance > 0 && (uint32_t)distance <= naive->engine->engine.clock.max_lead_ms,
		.is_syn = is_syn,
	};
	if (distance > COHERENT_MS || distance < -COHERENT_MS)
		naive->is_incoherent[slot] = true;
}

/* True when something may still hold the mark of this slot ahead of the clock. */
static bool is_mark_alive(const struct naive *naive, uint32_t slot, uint64_t tick)
{
	for (size_t i = 0; i < naive->sent_count; i++) {
		const struct naive_sent *sent = &naive->sent[i];

		if (sent->slot == slot && sent->was_ahead && tick - sent->tick <= MARK_AGE_MS)
			return true;
	}
	return false;
}

/*
 * The newest that a SYN may be: what makes it newer than the clock must have been sent, to this
 * server or within the lead, and each SYN may be newer than the one before by one.
 */
static int64_t newest_allowed(const struct naive *naive, uint32_t slot, const uint32_t *previous, uint64_t tick)
{
	bool is_alive = is_mark_alive(naive, slot, tick);
	int64_t newest = 0;

	for (size_t i = 0; i < naive->sent_count; i++) {
		const struct naive_sent *sent = &naive->sent[i];
		int32_t distance = naive_distance(naive, sent->tsval, tick);

		if ((sent->was_in_lead || (is_alive && sent->slot == slot)) && distance > newest)
			newest = distance;
	}
	if (previous && naive_distance(naive, *previous, tick) > newest)
		newest = naive_distance(naive, *previous, tick);
	return newest + (int64_t)naive->sent_count + 1;
}

/*
 * P1: the SYN is not older than what this server was sent. The public port may have changed hands
 * after a connection that got further than its SYN; then an equal one would not do.
 */
static void judge_against(const struct naive_sent *sent, const struct naive_flow *flow, uint64_t tick, uint32_t tsval)
{
	uint64_t age = tick - sent->tick;

	if (!addr_equal(&sent->server, &flow->server) || age > SERVER_AGE_MS)
		return;
	if (seq_after(sent->tsval, tsval) || (!sent->is_syn && age > 0 && sent->tsval == tsval))
		fuzz_fail("P1: a SYN's TSval %u is not newer than %u, sent %llu ms before", tsval, sent->tsval,
			  (unsigned long long)age);
}

void naive_judge_syn_tsval(const struct naive *naive, const struct naive_flow *flow, const uint32_t *previous,
			   uint64_t tick, uint32_t tsval)
{
	uint32_t slot = fuzz_engine_server_slot(naive->engine, &flow->server);
	int32_t distance = naive_distance(naive, tsval, tick);
	/* Without SYN pairs a repeated SYN may keep its offset, as long as that costs no more than the lead. */
	int64_t slack = flow->is_echo_vague ? naive->engine->engine.clock.max_lead_ms : 0;

	if (tsval == 0)
		fuzz_fail("P1: a SYN's TSval is 0");
	if (naive->is_incoherent[slot])
		return;
	if (previous && !seq_after(tsval, *previous))
		fuzz_fail("P1: a SYN's TSval %u is not newer than %u before it", tsval, *previous);
	if (distance < 0)
		fuzz_fail("P2: a SYN's TSval %u is behind the clock by %d", tsval, -distance);
	for (size_t i = 0; i < naive->sent_count; i++)
		judge_against(&naive->sent[i], flow, tick, tsval);
	if (distance > newest_allowed(naive, slot, previous, tick) + slack)
		fuzz_fail("P9: a SYN's TSval %u is ahead of the clock by %d, and nothing sent explains it", tsval,
			  distance);
}

struct naive_flow *naive_find(const struct naive *naive, const struct naive_segment *segment, bool *ret_outbound)
{
	for (struct naive_flow *flow = naive->flows; flow; flow = flow->next) {
		bool is_out = flow->client_port == segment->src_port && flow->server_port == segment->dst_port &&
			      addr_equal(&flow->client, &segment->src) && addr_equal(&flow->server, &segment->dst);
		bool is_in = flow->client_port == segment->dst_port && flow->server_port == segment->src_port &&
			     addr_equal(&flow->client, &segment->dst) && addr_equal(&flow->server, &segment->src);

		if (is_out || is_in) {
			*ret_outbound = is_out;
			return flow;
		}
	}
	return NULL;
}

struct naive_flow *naive_find_elder(const struct naive_flow *flow)
{
	struct naive_flow *other = flow->next;

	while (other && !(other->client_port == flow->client_port && other->server_port == flow->server_port &&
			  addr_equal(&other->client, &flow->client) && addr_equal(&other->server, &flow->server)))
		other = other->next;
	return other;
}

struct naive_flow *naive_add(struct naive *naive, const struct naive_segment *segment)
{
	struct naive_flow *flow = calloc(1, sizeof(*flow));

	if (!flow)
		fuzz_fail("out of memory");
	flow->client = segment->src;
	flow->server = segment->dst;
	flow->client_port = segment->src_port;
	flow->server_port = segment->dst_port;
	flow->isn = segment->seq;
	flow->handshaking = true;
	flow->next = naive->flows;
	naive->flows = flow;
	naive->flow_count++;
	return flow;
}

void naive_remove(struct naive *naive, struct naive_flow *flow)
{
	struct naive_flow **link = &naive->flows;

	while (*link != flow)
		link = &(*link)->next;
	*link = flow->next;
	free(flow->echoes);
	free(flow);
	naive->flow_count--;
}

void naive_remove_all(struct naive *naive, struct naive_flow *flow)
{
	while (flow) {
		struct naive_flow *elder = naive_find_elder(flow);

		naive_remove(naive, flow);
		flow = elder;
	}
}

void naive_note_echo(struct naive_flow *flow, uint32_t tsval, uint32_t emitted, bool is_syn)
{
	flow->echoes = grow(flow->echoes, flow->echo_count, sizeof(*flow->echoes));
	flow->echoes[flow->echo_count++] =
		(struct naive_echo){tsval, emitted, is_syn, !is_syn && flow->handshaking && !flow->simultaneous};
	flow->syn_count += is_syn;
	if (!is_syn)
		return;
	/* Whoever sends a SYN again has not had an answer to anything else. */
	for (size_t i = 0; i < flow->echo_count; i++)
		flow->echoes[i].is_early |= !flow->echoes[i].is_syn;
	flow->newest_syn = emitted;
	flow->syn_tsval = tsval;
}

bool naive_has_said_in_syn(const struct naive_flow *flow, uint32_t tsval)
{
	for (size_t i = 0; i < flow->echo_count; i++) {
		if (flow->echoes[i].is_syn && flow->echoes[i].tsval == tsval)
			return true;
	}
	return false;
}

bool naive_is_shifted(const struct naive_flow *flow, uint32_t tsval, uint32_t emitted)
{
	return flow->is_offset_open || emitted - tsval == flow->offset ||
	       (flow->has_other_offset && emitted - tsval == flow->other_offset);
}

bool naive_has_many_syns(const struct naive_flow *flow)
{
	return flow->syn_count >= REMEMBERED_SYNS;
}

bool naive_has_left_so(const struct naive_flow *flow, uint32_t tsval, uint32_t emitted)
{
	for (size_t i = 0; i < flow->echo_count; i++) {
		if (flow->echoes[i].tsval == tsval && flow->echoes[i].emitted == emitted)
			return true;
	}
	return false;
}

/* Of the SYNs only the first and the last ones are remembered. */
static bool is_remembered(const struct naive_flow *flow, size_t number_of_syn)
{
	return number_of_syn == 0 || number_of_syn + REMEMBERED_SYNS > flow->syn_count;
}

static bool is_vague(const struct naive_flow *flow)
{
	return flow->is_echo_vague || flow->simultaneous || flow->scaled || flow->advanced > UINT32_MAX;
}

static bool has_emitted(const struct naive_flow *flow, uint32_t tsval)
{
	for (size_t i = 0; i < flow->echo_count; i++) {
		if (flow->echoes[i].emitted == tsval)
			return true;
	}
	return false;
}

enum naive_echo_is naive_classify_echo(const struct naive_flow *flow, uint32_t tsecr)
{
	size_t number_of_syn = 0;

	/* One that is half the number space old looks newer than the newest. */
	if (is_vague(flow) || (!flow->handshaking && has_emitted(flow, tsecr) && seq_after(tsecr, flow->newest)))
		return ECHO_EITHER;
	for (size_t i = 0; i < flow->echo_count; i++) {
		const struct naive_echo *echo = &flow->echoes[i];

		if (echo->emitted == tsecr && !echo->is_early)
			return !echo->is_syn || (is_remembered(flow, number_of_syn) && !flow->is_syn_forgotten)
				       ? ECHO_KNOWN
				       : ECHO_EITHER;
		number_of_syn += echo->is_syn;
	}
	if (flow->handshaking || seq_after(tsecr, flow->newest))
		return ECHO_FOREIGN;
	return ECHO_EITHER;
}

/* Of the client's TSvals after number `i`. */
static bool was_said_later(const struct naive_flow *flow, size_t i, uint32_t tsval)
{
	while (++i < flow->echo_count) {
		if (flow->echoes[i].tsval == tsval)
			return true;
	}
	return false;
}

/*
 * A flow with a clock too fast: the newest of the TSvals sent for this one, or a newer one, be it by more than half the
 * number space. For a TSecr that was never sent, or not by a clock that goes forward, also what the offset makes of it.
 */
static bool is_scaled_back(const struct naive_flow *flow, uint32_t tsecr, uint32_t back)
{
	bool is_known = false;

	/* The one for a TSval that would have become 0, too. */
	if (tsecr == UINT32_MAX && naive_has_said(flow, back + 1))
		return true;
	for (size_t i = 0; i < flow->echo_count; i++) {
		const struct naive_echo *echo = &flow->echoes[i];

		if (echo->emitted != tsecr || echo->is_early)
			continue;
		if (echo->is_syn && flow->syn_count > REMEMBERED_SYNS) /* may be forgotten */
			continue;
		is_known = true;
		if (!flow->is_unsteady && seq_after(echo->tsval, back) && !was_said_later(flow, i, back))
			return false;
	}
	return naive_has_said(flow, back) || ((!is_known || flow->went_back) && naive_is_shifted(flow, back, tsecr));
}

bool naive_is_turned_back(const struct naive_flow *flow, uint32_t tsecr, uint32_t back)
{
	bool is_known = false;

	if (flow->scaled)
		return is_scaled_back(flow, tsecr, back);
	for (size_t i = 0; i < flow->echo_count; i++) {
		const struct naive_echo *echo = &flow->echoes[i];

		if (echo->emitted != tsecr || echo->is_early)
			continue;
		is_known = true;
		if (echo->tsval == back)
			return true;
	}
	/*
	 * What the offset makes of it: for values between those emitted, for SYNs long past, and for the
	 * one TSval that would have become 0 and was sent as the one before.
	 */
	if (!is_known || tsecr == UINT32_MAX || flow->is_syn_forgotten || flow->syn_count > REMEMBERED_SYNS ||
	    is_vague(flow))
		return naive_is_shifted(flow, back, tsecr);
	return false;
}

bool naive_has_said(const struct naive_flow *flow, uint32_t tsval)
{
	for (size_t i = 0; i < flow->echo_count; i++) {
		if (flow->echoes[i].tsval == tsval)
			return true;
	}
	return false;
}

bool naive_engine_has(const struct naive *naive, const struct naive_flow *flow)
{
	const struct endpoints ends = {flow->client, flow->server, flow->client_port, flow->server_port};

	return fuzz_engine_has_flow(naive->engine, &ends, flow->isn);
}

static bool is_given_up(const struct naive_flow *flow, uint64_t silent_s)
{
	return naive_is_unanswered(flow) && silent_s >= PUSHED_OUT_S;
}

bool naive_can_push_out(const struct naive *naive, uint64_t tick)
{
	for (const struct naive_flow *flow = naive->flows; flow; flow = flow->next) {
		if (naive->engine->capacity <= PUSHED_OUT_PLACES && is_given_up(flow, tick / 1000 - flow->last_seen_s))
			return true;
	}
	return false;
}

/* The engine says that it has given somebody's place to the SYN at hand: this flow's, for there was no other. */
static bool is_pushed_out(struct naive *naive, const struct naive_flow *flow, uint64_t silent_s)
{
	if (!is_given_up(flow, silent_s) || naive->flow_count <= naive->engine->capacity ||
	    naive->pushed_out == naive->engine->engine.counters->pushed_out)
		return false;
	naive->pushed_out++;
	return true;
}

void naive_judge_sweep(struct naive *naive, uint64_t tick, uint32_t timeout_s, bool was_complete)
{
	struct naive_flow *next;

	for (struct naive_flow *flow = naive->flows; flow; flow = next) {
		uint64_t silent_s = tick / 1000 - flow->last_seen_s;
		uint32_t most_s = naive_is_word_alone(flow) ? WORD_ALONE_S : timeout_s;

		next = flow->next;
		if (naive_engine_has(naive, flow)) {
			if (was_complete && silent_s > most_s)
				fuzz_fail("P9: a flow outlives its time-out: silent for %llu s",
					  (unsigned long long)silent_s);
			continue;
		}
		if (silent_s <= most_s && !is_pushed_out(naive, flow, silent_s))
			fuzz_fail("P10: a flow is gone, silent for %llu s only", (unsigned long long)silent_s);
		naive_remove(naive, flow);
	}
	naive->pushed_out = naive->engine->engine.counters->pushed_out; /* those were past their time, or counters are new */
}
