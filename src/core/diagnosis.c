/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What packets tell about servers: diagnosis.h. It is counted in diagnosis_evidence.c; what it comes to is in diagnosis_judge.c. */
#include "diagnosis_internal.h"

#include "packet.h"
#include "seq.h"

enum {
	STAMP_SURE_MS = 59000,	/* a stamp's 60 s are whole seconds of the server's clock, */
	STAMP_GONE_MS = DIAGNOSIS_STAMP_GONE_MS, /* so that in between nobody can tell */
	NO_ANSWER_MS = 3000,	/* a SYN that has had no answer for so long has none */
	ATTEMPT_KEEP_MS = 130000, /* for a late answer, or the next SYN: as long as Linux tries by default */
	MEANWHILE_MS = 15000,	/* so long after one that it may drop a SYN tells what it does otherwise */
	RATE_LEAST_MS = 10000,	/* how long a connection has to be to tell its client's clock */
	SWEEP_MS = 1000,
	HALVE_MS = 2 * 3600 * 1000,
	DATA_MOST = 65536,	/* in a SYN (RFC 7413), which its answer acknowledges */
};

void diagnosis_init(struct diagnosis *diagnosis, uint64_t secret)
{
	memset(diagnosis, 0, sizeof(*diagnosis));
	diagnosis->secret = secret;
}

/* False where nobody can tell. */
static bool classify(const struct server_memory *memory, uint64_t tick, const struct event *syn, uint8_t *ret_kind)
{
	uint64_t age_ms = memory ? tick - memory->tick : STAMP_GONE_MS;
	bool has_ts = syn->flags & EVENT_LEFT_WITH;

	*ret_kind = SYN_PLAIN;
	if (age_ms >= STAMP_GONE_MS)
		return true;
	if (!has_ts)
		*ret_kind = SYN_BARE;
	else
		*ret_kind = seq_after(memory->tsval, syn->left + 1) ? SYN_OLDER : SYN_NEWER;
	return age_ms <= STAMP_SURE_MS;
}

/* A SYN that is newer is all the more worth comparing with for being sent at about the time of one that may be dropped. */
static bool is_meanwhile(const struct diagnosis *diagnosis, const struct server_evidence *server)
{
	return server->suspicious_tick && diagnosis->tick - server->suspicious_tick <= MEANWHILE_MS;
}

/* Gives up what was known on the place. */
static struct attempt *begin_attempt(struct diagnosis *diagnosis, const struct event *event)
{
	struct attempt *set = diagnosis_set_of_attempts(diagnosis, &event->ends), *oldest = set;

	for (struct attempt *attempt = set; attempt < set + DIAGNOSIS_WAYS; attempt++) {
		if (attempt->tick && diagnosis_ends_equal(&attempt->ends, &event->ends)) {
			oldest = attempt;
			break;
		}
		if (attempt->tick < oldest->tick)
			oldest = attempt;
	}
	if (oldest->tick && diagnosis->tick - oldest->tick >= NO_ANSWER_MS)
		diagnosis_note_dropped(diagnosis, oldest);
	diagnosis_end_attempt(diagnosis, oldest);
	*oldest = (struct attempt){.ends = event->ends, .isn = event->number};
	return oldest;
}

static void take_syn(struct diagnosis *diagnosis, const struct event *event)
{
	struct server_evidence *server = diagnosis_find_server(diagnosis, &event->ends);
	const struct server_memory *memory = diagnosis_find_memory(diagnosis, &event->ends);
	struct attempt *attempt = diagnosis_find_attempt(diagnosis, &event->ends);
	bool is_repeated = attempt && attempt->isn == event->number && diagnosis->tick - attempt->tick <= ATTEMPT_KEEP_MS, is_sure;
	uint8_t kind;

	if (is_repeated && !attempt->is_answered) {
		attempt->is_repeated = true;
		diagnosis_note_dropped(diagnosis, attempt);
	}
	if (!is_repeated)
		attempt = begin_attempt(diagnosis, event);
	attempt->tick = diagnosis->tick;
	attempt->serial = event->serial;
	attempt->server = (uint16_t)(server - diagnosis->servers);
	attempt->last_left = event->left;
	attempt->has_ts = event->flags & EVENT_LEFT_WITH;
	attempt->behind = memory ? memory->tsval : 0;
	is_sure = classify(memory, diagnosis->tick, event, &kind);
	if (diagnosis_finding_of(kind) != FINDING_COUNT)
		server->suspicious_tick = diagnosis->tick;
	else if (kind == SYN_NEWER && (is_repeated ? attempt->kind == SYN_MEANWHILE : is_meanwhile(diagnosis, server)))
		kind = SYN_MEANWHILE;
	attempt->kind = kind;
	if (!is_sure)
		attempt->excluded |= bit_of(kind);
	if (is_repeated)
		return;
	attempt->first_left = event->left;
	attempt->first_kind = attempt->kind;
}

static bool is_answer(const struct attempt *attempt, const struct event *event)
{
	return event->number - (attempt->isn + 1) < DATA_MOST;
}

/*
 * True for a TSecr that an earlier or later copy of the SYN may have brought which was not seen: a capture begins in the
 * midst of things, and loses packets.
 */
static bool may_echo_unseen(const struct diagnosis *diagnosis, const struct attempt *attempt, uint32_t tsecr)
{
	uint32_t first = attempt->first_left - ATTEMPT_KEEP_MS;
	uint32_t last = attempt->last_left + (uint32_t)(diagnosis->tick - attempt->tick);

	return !seq_after(first, tsecr) && !seq_after(tsecr, last);
}

/* The SYN/ACK comes though the client has not answered the ACK: that was the old connection's, late. */
static void take_back_challenge(const struct diagnosis *diagnosis, struct server_evidence *server, struct attempt *attempt)
{
	if (!attempt->is_challenged)
		return;
	attempt->is_challenged = false;
	uncount(&server->signs[attempt->challenge]);
	diagnosis_take_back_example(diagnosis, server, attempt->challenge == SIGN_CHALLENGED_OLDER ? FINDING_TIME_WAIT : FINDING_BUSY_TUPLE, attempt);
}

static void take_synack(struct diagnosis *diagnosis, const struct event *event)
{
	struct attempt *attempt = diagnosis_find_attempt(diagnosis, &event->ends);
	struct server_evidence *server = attempt ? diagnosis_server_of(diagnosis, attempt) : NULL;
	bool has_ts = event->flags & EVENT_TIMESTAMPS, is_foreign;
	uint8_t kind;

	if (!server || !is_answer(attempt, event))
		return;
	is_foreign = has_ts && attempt->has_ts && event->tsecr && event->reason != REASON_SYNACK_REWRITTEN &&
		     event->reason != REASON_SYNACK_OBSERVED && event->reason != REASON_SYNACK_UNKNOWN &&
		     !may_echo_unseen(diagnosis, attempt, event->tsecr);
	if (has_ts && !event->tsval && !event->tsecr && !attempt->is_answered)
		count(&server->signs[SIGN_ZERO]);
	/* A repeated one may echo what came after the SYN, which is not seen of all connections. */
	is_foreign &= !attempt->is_answered;
	if (is_foreign && !attempt->is_foreign) {
		count(&server->signs[SIGN_FOREIGN]);
		if (event->left != event->tsecr)
			count(&server->signs[SIGN_FOREIGN_REPAIRED]);
		diagnosis_add_example(diagnosis, server, FINDING_FOREIGN_TSECR, diagnosis_example_of(attempt, event->serial, event->tsecr));
	}
	if (attempt->is_answered)
		return;
	attempt->is_foreign = is_foreign;
	take_back_challenge(diagnosis, server, attempt);
	attempt->is_answered = true;
	kind = has_ts && event->tsecr == attempt->first_left ? attempt->first_kind : attempt->kind;
	diagnosis_note_answered(diagnosis, server, attempt, kind);
}

/* A bare ACK that acknowledges something else: a connection that the server still knows on this four-tuple. */
static void take_challenge(struct diagnosis *diagnosis, const struct event *event)
{
	struct attempt *attempt = diagnosis_find_attempt(diagnosis, &event->ends);
	struct server_evidence *server = attempt ? diagnosis_server_of(diagnosis, attempt) : NULL;
	bool is_older;

	if (!server || attempt->is_answered || attempt->is_challenged || is_answer(attempt, event) ||
	    diagnosis->tick - attempt->tick > NO_ANSWER_MS)
		return;
	/* What it echoes is the last that it has taken, which the SYN is not newer than. */
	is_older = (event->flags & EVENT_TIMESTAMPS) && attempt->has_ts && seq_after(event->tsecr, attempt->last_left);
	attempt->is_challenged = true;
	attempt->challenge = is_older ? SIGN_CHALLENGED_OLDER : SIGN_CHALLENGED_OTHER;
	diagnosis_note_answered(diagnosis, server, attempt, attempt->kind);
	count(&server->signs[attempt->challenge]);
	diagnosis_add_example(diagnosis, server, is_older ? FINDING_TIME_WAIT : FINDING_BUSY_TUPLE,
		    diagnosis_example_of(attempt, event->serial, event->flags & EVENT_TIMESTAMPS ? event->tsecr : 0));
}

static void take_reset_out(struct diagnosis *diagnosis, const struct event *event)
{
	struct attempt *attempt = diagnosis_find_attempt(diagnosis, &event->ends);
	struct server_evidence *server = attempt ? diagnosis_server_of(diagnosis, attempt) : NULL;

	if (!server)
		return;
	if (attempt->is_challenged)
		count(&server->signs[SIGN_CHALLENGED_RESET]);
	/* The client refuses the SYN/ACK with a RST at just the next byte. */
	if (attempt->is_foreign && event->number == attempt->isn + 1)
		count(&server->signs[SIGN_FOREIGN_RESET]);
	if (attempt->is_foreign || attempt->is_challenged)
		attempt->is_answered = false; /* it will try again */
	attempt->is_challenged = attempt->is_foreign = false;
}

static void take_reset_in(struct diagnosis *diagnosis, const struct event *event)
{
	struct attempt *attempt = diagnosis_find_attempt(diagnosis, &event->ends);
	struct server_evidence *server = attempt ? diagnosis_server_of(diagnosis, attempt) : NULL;

	if (!server || attempt->is_answered || !is_answer(attempt, event))
		return;
	attempt->is_answered = true;
	diagnosis_note_answered(diagnosis, server, attempt, attempt->kind);
	count(&server->signs[SIGN_REFUSED]);
}

/* ---- ends ---- */

/* By what servers do: nothing older within its time (Linux, tcp_tw_remember_stamp()). */
static void remember_stamp(struct diagnosis *diagnosis, const struct event *event, uint32_t tsval)
{
	struct server_memory *memory = diagnosis_find_memory(diagnosis, &event->ends);

	if (memory && diagnosis->tick - memory->tick < STAMP_GONE_MS && seq_after(memory->tsval, tsval))
		return;
	if (!memory)
		memory = diagnosis_make_memory(diagnosis, &event->ends);
	memory->tsval = tsval;
	memory->tick = diagnosis->tick;
}

static void measure_clock(struct diagnosis *diagnosis, const struct event *event)
{
	struct client_clock *client;

	if (!(event->flags & EVENT_KNOWN) || event->age_ms < RATE_LEAST_MS || !event->span || event->span > INT32_MAX)
		return;
	client = diagnosis_find_client(diagnosis, &event->ends.src);
	client->last_tick = diagnosis->tick;
	client->hz = (uint32_t)((uint64_t)event->span * 1000 / event->age_ms);
	count(&client->connections);
}

static void take_fin(struct diagnosis *diagnosis, const struct event *event)
{
	if (!(event->flags & EVENT_OUTBOUND) || !(event->flags & EVENT_LEFT_WITH))
		return;
	measure_clock(diagnosis, event);
	if (!(event->flags & EVENT_SERVER_FIRST))
		return;
	remember_stamp(diagnosis, event, event->left);
	count(&diagnosis_find_server(diagnosis, &event->ends)->signs[SIGN_SERVER_FIRST]);
}

/* ---- all of it ---- */

void diagnosis_forget(struct diagnosis *diagnosis, struct server_evidence *server)
{
	for (uint32_t i = 0; i < DIAGNOSIS_ATTEMPTS; i++) {
		struct attempt *attempt = &diagnosis->attempts[i];

		if (!attempt->tick || &diagnosis->servers[attempt->server] != server)
			continue;
		attempt->excluded = UINT8_MAX;
	}
	memset(server->syns, 0, sizeof(server->syns));
	memset(server->clients, 0, sizeof(server->clients));
	memset(server->silent, 0, sizeof(server->silent));
	memset(server->returned, 0, sizeof(server->returned));
	memset(server->signs, 0, sizeof(server->signs));
	memset(server->examples, 0, sizeof(server->examples));
}

static void fade(struct diagnosis *diagnosis, struct server_evidence *server)
{
	if (!server->last_tick || diagnosis->tick - server->halved_tick < HALVE_MS)
		return;
	server->halved_tick = diagnosis->tick;
	for (int kind = 0; kind < SYN_KIND_COUNT; kind++) {
		for (int outcome = 0; outcome < 2; outcome++) {
			server->syns[kind][outcome] /= 2;
			if (!server->syns[kind][outcome])
				server->clients[kind][outcome] = (struct client_set){{0}};
		}
		server->silent[kind] = (struct client_set){{0}};
		if (!server->syns[kind][0])
			server->returned[kind] = (struct client_set){{0}};
	}
	for (int sign = 0; sign < SIGN_COUNT; sign++)
		server->signs[sign] /= 2;
}

static void note_all_dropped(struct diagnosis *diagnosis)
{
	for (uint32_t i = 0; i < DIAGNOSIS_ATTEMPTS; i++) {
		struct attempt *attempt = &diagnosis->attempts[i];

		if (attempt->tick && diagnosis->tick - attempt->tick >= NO_ANSWER_MS)
			diagnosis_note_dropped(diagnosis, attempt);
	}
}

static void end_attempts_before(struct diagnosis *diagnosis, uint64_t tick)
{
	for (uint32_t i = 0; i < DIAGNOSIS_ATTEMPTS; i++) {
		if (diagnosis->attempts[i].tick && diagnosis->attempts[i].tick < tick)
			diagnosis_end_attempt(diagnosis, &diagnosis->attempts[i]);
	}
}

/* So often that it is known that a SYN has no answer before much else is heard of its client. */
static void sweep(struct diagnosis *diagnosis)
{
	diagnosis->swept_tick = diagnosis->tick;
	note_all_dropped(diagnosis);
	if (diagnosis->tick > ATTEMPT_KEEP_MS)
		end_attempts_before(diagnosis, diagnosis->tick - ATTEMPT_KEEP_MS);
}

void diagnosis_advance(struct diagnosis *diagnosis, uint64_t tick)
{
	if (tick > diagnosis->tick)
		diagnosis->tick = tick;
	fade(diagnosis, &diagnosis->servers[diagnosis->halve_hand++ % DIAGNOSIS_SERVERS]);
	if (diagnosis->tick - diagnosis->swept_tick >= SWEEP_MS)
		sweep(diagnosis);
}

void diagnosis_finish(struct diagnosis *diagnosis)
{
	note_all_dropped(diagnosis);
	end_attempts_before(diagnosis, UINT64_MAX);
}

void diagnosis_take(struct diagnosis *diagnosis, const struct event *event)
{
	const bool is_outbound = event->flags & EVENT_OUTBOUND;

	diagnosis_advance(diagnosis, event->tick ? event->tick : 1);
	diagnosis->events++;
	switch (event->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) {
	case TCP_SYN:
		take_syn(diagnosis, event);
		break;
	case TCP_SYN | TCP_ACK:
		if (!is_outbound)
			take_synack(diagnosis, event);
		break;
	case TCP_RST:
	case TCP_RST | TCP_ACK:
		if (is_outbound)
			take_reset_out(diagnosis, event);
		else
			take_reset_in(diagnosis, event);
		break;
	default:
		if (event->tcp_flags & TCP_FIN)
			take_fin(diagnosis, event);
		else if (!is_outbound)
			take_challenge(diagnosis, event);
	}
}
