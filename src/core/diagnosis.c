/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gathers evidence about servers: diagnosis.h. What it comes to is in diagnosis_judge.c. */
#include "diagnosis.h"

#include "hash.h"
#include "packet.h"
#include "seq.h"

enum {
	STAMP_SURE_MS = 59000,	/* a stamp's 60 s are whole seconds of the server's clock, */
	STAMP_GONE_MS = 61000,	/* so that in between nobody can tell */
	NO_ANSWER_MS = 3000,	/* a SYN that has had no answer for so long has none */
	ATTEMPT_KEEP_MS = 130000, /* for a late answer, or the next SYN: as long as Linux tries by default */
	RATE_LEAST_MS = 10000,	/* how long a connection has to be to tell its client's clock */
	SWEEP_PLACES = 64,
	HALVE_MS = 2 * 3600 * 1000,
	DATA_MOST = 65536,	/* in a SYN (RFC 7413), which its answer acknowledges */
};

#define SET_OF(hash, places) ((uint32_t)((hash) % ((places) / DIAGNOSIS_WAYS)) * DIAGNOSIS_WAYS)

void diagnosis_init(struct diagnosis *diagnosis, uint64_t secret)
{
	memset(diagnosis, 0, sizeof(*diagnosis));
	diagnosis->secret = secret;
}

/* ---- places ---- */

/* How much would be lost with it. */
static uint32_t worth_of(const struct server_evidence *server)
{
	uint32_t worth = server->syns[SYN_OLDER][0] + server->syns[SYN_BARE][0];

	for (int sign = 0; sign < SIGN_COUNT; sign++)
		worth += sign != SIGN_REFUSED && sign != SIGN_ZERO && sign != SIGN_SERVER_FIRST ? server->signs[sign] : 0;
	return worth;
}

static bool is_worth_less(const struct server_evidence *a, const struct server_evidence *b)
{
	uint32_t worth_a = worth_of(a), worth_b = worth_of(b);

	return worth_a != worth_b ? worth_a < worth_b : a->last_tick < b->last_tick;
}

static bool is_about(const struct diagnosis *diagnosis, const struct server_evidence *server, const struct endpoints *ends)
{
	return server->port == ends->dst_port && addr_equal(&server->addr, &ends->dst) && (!diagnosis->is_by_client || addr_equal(&server->client, &ends->src));
}

/* With the client's address, where that is what the server sees. */
static uint64_t hash_of_server(const struct diagnosis *diagnosis, const struct endpoints *ends)
{
	uint64_t hash = hash_bytes16(ends->dst.byte, diagnosis->secret);

	return diagnosis->is_by_client ? hash_mix(hash ^ hash_bytes16(ends->src.byte, diagnosis->secret + 1)) : hash;
}

static struct server_evidence *find_server(struct diagnosis *diagnosis, const struct endpoints *ends)
{
	struct server_evidence *set, *least;
	uint64_t hash = hash_mix(hash_of_server(diagnosis, ends) + ends->dst_port);

	set = least = &diagnosis->servers[SET_OF(hash, DIAGNOSIS_SERVERS)];
	for (struct server_evidence *server = set; server < set + DIAGNOSIS_WAYS; server++) {
		if (server->last_tick && is_about(diagnosis, server, ends)) {
			server->last_tick = diagnosis->tick;
			return server;
		}
		if (least->last_tick && (!server->last_tick || is_worth_less(server, least)))
			least = server;
	}
	if (worth_of(least))
		diagnosis->evicted++;
	*least = (struct server_evidence){.addr = ends->dst,
					  .port = ends->dst_port,
					  .first_tick = diagnosis->tick,
					  .halved_tick = diagnosis->tick,
					  .last_tick = diagnosis->tick};
	if (diagnosis->is_by_client)
		least->client = ends->src;
	return least;
}

/* What the server may remember, its tick 0 where that is nothing; for that another server's oldest may be given up. */
static struct server_memory *find_stamp(struct diagnosis *diagnosis, const struct endpoints *ends)
{
	struct server_memory *set = &diagnosis->stamps[SET_OF(hash_of_server(diagnosis, ends), DIAGNOSIS_SERVERS)], *oldest = set;

	for (struct server_memory *stamp = set; stamp < set + DIAGNOSIS_WAYS; stamp++) {
		if (stamp->tick && addr_equal(&stamp->addr, &ends->dst) &&
		    (!diagnosis->is_by_client || addr_equal(&stamp->client, &ends->src)))
			return stamp;
		if (stamp->tick < oldest->tick)
			oldest = stamp;
	}
	*oldest = (struct server_memory){.addr = ends->dst};
	if (diagnosis->is_by_client)
		oldest->client = ends->src;
	return oldest;
}

/* The attempt's server; NULL where its place has been given to another meanwhile. */
static struct server_evidence *server_of(struct diagnosis *diagnosis, const struct attempt *attempt)
{
	struct server_evidence *server = &diagnosis->servers[attempt->server];

	return is_about(diagnosis, server, &attempt->ends) ? server : NULL;
}

static bool ends_equal(const struct endpoints *a, const struct endpoints *b)
{
	return a->src_port == b->src_port && a->dst_port == b->dst_port && addr_equal(&a->src, &b->src) &&
	       addr_equal(&a->dst, &b->dst);
}

static struct attempt *set_of_attempts(struct diagnosis *diagnosis, const struct endpoints *ends)
{
	uint64_t hash = hash_bytes16(ends->src.byte, diagnosis->secret) ^
			hash_mix(hash_bytes16(ends->dst.byte, diagnosis->secret) + ((uint64_t)ends->src_port << 16 | ends->dst_port));

	return &diagnosis->attempts[SET_OF(hash_mix(hash), DIAGNOSIS_ATTEMPTS)];
}

static struct attempt *find_attempt(struct diagnosis *diagnosis, const struct endpoints *ends)
{
	struct attempt *set = set_of_attempts(diagnosis, ends);

	for (struct attempt *attempt = set; attempt < set + DIAGNOSIS_WAYS; attempt++) {
		if (attempt->tick && ends_equal(&attempt->ends, ends))
			return attempt;
	}
	return NULL;
}

/* ---- evidence ---- */

static void tell(const struct diagnosis *diagnosis, enum finding finding, const struct example *example, bool is_taken_back)
{
	if (diagnosis->on_evidence)
		diagnosis->on_evidence(diagnosis->context, finding, example, is_taken_back);
}

/* The attempt shows it; `answer` is the serial of what came, `other` its TSecr, or what the SYN was behind. */
static void add_example(const struct diagnosis *diagnosis, struct server_evidence *server, enum finding finding,
			const struct attempt *attempt, uint64_t answer, uint32_t other)
{
	struct example *example = &server->examples[finding][server->example_count[finding]++ % DIAGNOSIS_EXAMPLES];

	*example = (struct example){
		.ends = attempt->ends,
		.tick = attempt->tick,
		.syn = attempt->serial,
		.answer = answer,
		.tsval = attempt->last_left,
		.other = other,
	};
	tell(diagnosis, finding, example, false);
}

/* What a kind of SYN without an answer is evidence of; FINDING_COUNT: of nothing. */
static enum finding finding_of(uint8_t kind)
{
	return kind == SYN_OLDER ? FINDING_RECYCLE : kind == SYN_BARE ? FINDING_RECYCLE_BARE : FINDING_COUNT;
}

static void take_back_example(const struct diagnosis *diagnosis, struct server_evidence *server, enum finding finding,
			      const struct attempt *attempt)
{
	for (uint32_t i = 0; i < DIAGNOSIS_EXAMPLES; i++) {
		struct example *example = &server->examples[finding][i];

		if (example->tick == 0 || !ends_equal(&example->ends, &attempt->ends))
			continue;
		tell(diagnosis, finding, example, true);
		*example = (struct example){0};
	}
}

static void count(uint32_t *counter)
{
	if (*counter < UINT32_MAX)
		++*counter;
}

static void add_client(const struct diagnosis *diagnosis, struct client_set *set, const struct addr *client)
{
	uint64_t bit = hash_bytes16(client->byte, diagnosis->secret + 2) % (64 * CLIENT_SET_WORDS);

	set->words[bit / 64] |= 1ull << bit % 64;
}

static uint8_t bit_of(uint8_t kind)
{
	return (uint8_t)(1u << kind);
}

/* The attempt's last SYN has had no answer. Once for each kind. */
static void note_dropped(struct diagnosis *diagnosis, struct attempt *attempt)
{
	struct server_evidence *server = server_of(diagnosis, attempt);

	if (attempt->is_answered || !server || ((attempt->dropped | attempt->excluded) & bit_of(attempt->kind)))
		return;
	attempt->dropped |= bit_of(attempt->kind);
	count(&server->syns[attempt->kind][0]);
	add_client(diagnosis, &server->clients[attempt->kind][0], &attempt->ends.src);
	if (finding_of(attempt->kind) != FINDING_COUNT)
		add_example(diagnosis, server, finding_of(attempt->kind), attempt, 0, attempt->behind);
}

/* A SYN of that kind has had an answer: at once, or after all, for it was on its way for long. Once for each kind, too. */
static void note_answered(const struct diagnosis *diagnosis, struct server_evidence *server, struct attempt *attempt, uint8_t kind)
{
	if (attempt->dropped & bit_of(kind)) {
		server->syns[kind][0] -= server->syns[kind][0] > 0;
		if (finding_of(kind) != FINDING_COUNT)
			take_back_example(diagnosis, server, finding_of(kind), attempt);
	}
	if (!(attempt->excluded & bit_of(kind))) {
		count(&server->syns[kind][1]);
		add_client(diagnosis, &server->clients[kind][1], &attempt->ends.src);
	}
	attempt->dropped &= (uint8_t)~bit_of(kind);
	attempt->excluded |= bit_of(kind);
}

/* False where nobody can tell. */
static bool classify(const struct server_memory *stamp, uint64_t tick, const struct event *syn, uint8_t *ret_kind)
{
	uint64_t age_ms = tick - stamp->tick;
	bool has_ts = syn->flags & EVENT_LEFT_WITH;

	*ret_kind = SYN_PLAIN;
	if (!stamp->tick || age_ms >= STAMP_GONE_MS)
		return true;
	if (!has_ts)
		*ret_kind = SYN_BARE;
	else
		*ret_kind = seq_after(stamp->tsval, syn->left + 1) ? SYN_OLDER : SYN_NEWER;
	return age_ms <= STAMP_SURE_MS;
}

/* Gives up what was known on the place. */
static struct attempt *begin_attempt(struct diagnosis *diagnosis, const struct event *event)
{
	struct attempt *set = set_of_attempts(diagnosis, &event->ends), *oldest = set;

	for (struct attempt *attempt = set; attempt < set + DIAGNOSIS_WAYS; attempt++) {
		if (attempt->tick && ends_equal(&attempt->ends, &event->ends)) {
			oldest = attempt;
			break;
		}
		if (attempt->tick < oldest->tick)
			oldest = attempt;
	}
	if (oldest->tick && diagnosis->tick - oldest->tick >= NO_ANSWER_MS)
		note_dropped(diagnosis, oldest);
	*oldest = (struct attempt){.ends = event->ends, .isn = event->number};
	return oldest;
}

static void take_syn(struct diagnosis *diagnosis, const struct event *event)
{
	struct server_evidence *server = find_server(diagnosis, &event->ends);
	const struct server_memory *stamp = find_stamp(diagnosis, &event->ends);
	struct attempt *attempt = find_attempt(diagnosis, &event->ends);
	bool is_repeated = attempt && attempt->isn == event->number && diagnosis->tick - attempt->tick <= ATTEMPT_KEEP_MS;

	if (is_repeated && !attempt->is_answered)
		note_dropped(diagnosis, attempt);
	if (!is_repeated)
		attempt = begin_attempt(diagnosis, event);
	attempt->tick = diagnosis->tick;
	attempt->serial = event->serial;
	attempt->server = (uint16_t)(server - diagnosis->servers);
	attempt->last_left = event->left;
	attempt->has_ts = event->flags & EVENT_LEFT_WITH;
	attempt->behind = stamp->tsval;
	if (!classify(stamp, diagnosis->tick, event, &attempt->kind))
		attempt->excluded |= bit_of(attempt->kind);
	if (is_repeated)
		return;
	attempt->first_left = event->left;
	attempt->first_kind = attempt->kind;
}

static bool is_answer(const struct attempt *attempt, const struct event *event)
{
	return event->number - (attempt->isn + 1) < DATA_MOST;
}

/* The SYN/ACK comes though the client has not answered the ACK: that was the old connection's, late. */
static void take_back_challenge(const struct diagnosis *diagnosis, struct server_evidence *server, struct attempt *attempt)
{
	if (!attempt->is_challenged)
		return;
	attempt->is_challenged = false;
	server->signs[attempt->challenge] -= server->signs[attempt->challenge] > 0;
	take_back_example(diagnosis, server, attempt->challenge == SIGN_CHALLENGED_OLDER ? FINDING_TIME_WAIT : FINDING_BUSY_TUPLE, attempt);
}

static void take_synack(struct diagnosis *diagnosis, const struct event *event)
{
	struct attempt *attempt = find_attempt(diagnosis, &event->ends);
	struct server_evidence *server = attempt ? server_of(diagnosis, attempt) : NULL;
	bool has_ts = event->flags & EVENT_TIMESTAMPS, is_foreign;
	uint8_t kind;

	if (!server || !is_answer(attempt, event))
		return;
	is_foreign = has_ts && attempt->has_ts && event->tsecr && event->reason != REASON_SYNACK_REWRITTEN &&
		     event->reason != REASON_SYNACK_OBSERVED && event->reason != REASON_SYNACK_UNKNOWN;
	if (has_ts && !event->tsval && !event->tsecr && !attempt->is_answered)
		count(&server->signs[SIGN_ZERO]);
	/* A repeated one may echo what came after the SYN, which is not seen of all connections. */
	is_foreign &= !attempt->is_answered;
	if (is_foreign && !attempt->is_foreign) {
		count(&server->signs[SIGN_FOREIGN]);
		if (event->left != event->tsecr)
			count(&server->signs[SIGN_FOREIGN_REPAIRED]);
		add_example(diagnosis, server, FINDING_FOREIGN_TSECR, attempt, event->serial, event->tsecr);
	}
	if (attempt->is_answered)
		return;
	attempt->is_foreign = is_foreign;
	take_back_challenge(diagnosis, server, attempt);
	attempt->is_answered = true;
	kind = has_ts && event->tsecr == attempt->first_left ? attempt->first_kind : attempt->kind;
	note_answered(diagnosis, server, attempt, kind);
}

/* A bare ACK that acknowledges something else: a connection that the server still knows on this four-tuple. */
static void take_challenge(struct diagnosis *diagnosis, const struct event *event)
{
	struct attempt *attempt = find_attempt(diagnosis, &event->ends);
	struct server_evidence *server = attempt ? server_of(diagnosis, attempt) : NULL;
	bool is_older;

	if (!server || attempt->is_answered || attempt->is_challenged || is_answer(attempt, event) ||
	    diagnosis->tick - attempt->tick > NO_ANSWER_MS)
		return;
	/* What it echoes is the last that it has taken, which the SYN is not newer than. */
	is_older = (event->flags & EVENT_TIMESTAMPS) && attempt->has_ts && seq_after(event->tsecr, attempt->last_left);
	attempt->is_challenged = true;
	attempt->challenge = is_older ? SIGN_CHALLENGED_OLDER : SIGN_CHALLENGED_OTHER;
	note_answered(diagnosis, server, attempt, attempt->kind);
	count(&server->signs[attempt->challenge]);
	add_example(diagnosis, server, is_older ? FINDING_TIME_WAIT : FINDING_BUSY_TUPLE, attempt, event->serial,
		    event->flags & EVENT_TIMESTAMPS ? event->tsecr : 0);
}

static void take_reset_out(struct diagnosis *diagnosis, const struct event *event)
{
	struct attempt *attempt = find_attempt(diagnosis, &event->ends);
	struct server_evidence *server = attempt ? server_of(diagnosis, attempt) : NULL;

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
	struct attempt *attempt = find_attempt(diagnosis, &event->ends);
	struct server_evidence *server = attempt ? server_of(diagnosis, attempt) : NULL;

	if (!server || attempt->is_answered || !is_answer(attempt, event))
		return;
	attempt->is_answered = true;
	note_answered(diagnosis, server, attempt, attempt->kind);
	count(&server->signs[SIGN_REFUSED]);
}

/* ---- ends ---- */

/* By what servers do: nothing older within its time (Linux, tcp_tw_remember_stamp()). */
static void remember_stamp(struct diagnosis *diagnosis, const struct event *event, uint32_t tsval)
{
	struct server_memory *stamp = find_stamp(diagnosis, &event->ends);

	if (stamp->tick && diagnosis->tick - stamp->tick < STAMP_GONE_MS && seq_after(stamp->tsval, tsval))
		return;
	stamp->tsval = tsval;
	stamp->tick = diagnosis->tick;
}

static struct client_clock *find_client(struct diagnosis *diagnosis, const struct addr *addr)
{
	struct client_clock *set = &diagnosis->clients[SET_OF(hash_bytes16(addr->byte, diagnosis->secret), DIAGNOSIS_CLIENTS)];
	struct client_clock *oldest = set;

	for (struct client_clock *client = set; client < set + DIAGNOSIS_WAYS; client++) {
		if (client->last_tick && addr_equal(&client->addr, addr))
			return client;
		if (client->last_tick < oldest->last_tick)
			oldest = client;
	}
	*oldest = (struct client_clock){.addr = *addr};
	return oldest;
}

static void measure_clock(struct diagnosis *diagnosis, const struct event *event)
{
	struct client_clock *client;

	if (!(event->flags & EVENT_KNOWN) || event->age_ms < RATE_LEAST_MS || !event->span || event->span > INT32_MAX)
		return;
	client = find_client(diagnosis, &event->ends.src);
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
	count(&find_server(diagnosis, &event->ends)->signs[SIGN_SERVER_FIRST]);
}

/* ---- all of it ---- */

void diagnosis_forget(struct server_evidence *server)
{
	memset(server->syns, 0, sizeof(server->syns));
	memset(server->clients, 0, sizeof(server->clients));
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
	}
	for (int sign = 0; sign < SIGN_COUNT; sign++)
		server->signs[sign] /= 2;
}

void diagnosis_advance(struct diagnosis *diagnosis, uint64_t tick)
{
	if (tick > diagnosis->tick)
		diagnosis->tick = tick;
	fade(diagnosis, &diagnosis->servers[diagnosis->halve_hand++ % DIAGNOSIS_SERVERS]);
	for (uint32_t i = 0; i < SWEEP_PLACES; i++) {
		struct attempt *attempt = &diagnosis->attempts[diagnosis->sweep_hand++ % DIAGNOSIS_ATTEMPTS];

		if (attempt->tick && diagnosis->tick - attempt->tick >= NO_ANSWER_MS)
			note_dropped(diagnosis, attempt);
		if (attempt->tick && diagnosis->tick - attempt->tick > ATTEMPT_KEEP_MS)
			attempt->tick = 0;
	}
}

void diagnosis_finish(struct diagnosis *diagnosis)
{
	for (uint32_t i = 0; i < DIAGNOSIS_ATTEMPTS; i++) {
		struct attempt *attempt = &diagnosis->attempts[i];

		if (attempt->tick && diagnosis->tick - attempt->tick >= NO_ANSWER_MS)
			note_dropped(diagnosis, attempt);
		attempt->tick = 0;
	}
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
