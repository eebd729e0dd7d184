/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counts what the fate of SYNs is evidence of, and keeps examples: diagnosis.h. */
#include "diagnosis_internal.h"

#include "hash.h"

static void tell(const struct diagnosis *diagnosis, enum finding finding, const struct example *example, bool is_taken_back)
{
	if (diagnosis->on_evidence)
		diagnosis->on_evidence(diagnosis->context, finding, example, is_taken_back);
}

struct example diagnosis_example_of(const struct attempt *attempt, uint64_t answer, uint32_t other)
{
	return (struct example){
		.ends = attempt->ends,
		.tick = attempt->tick,
		.syn = attempt->serial,
		.answer = answer,
		.tsval = attempt->last_left,
		.other = other,
	};
}

void diagnosis_add_example(const struct diagnosis *diagnosis, struct server_evidence *server, enum finding finding,
			   struct example example)
{
	server->examples[finding][server->example_count[finding]++ % DIAGNOSIS_EXAMPLES] = example;
	tell(diagnosis, finding, &example, false);
}

enum finding diagnosis_finding_of(uint8_t kind)
{
	return kind == SYN_OLDER ? FINDING_RECYCLE : kind == SYN_BARE ? FINDING_RECYCLE_BARE : FINDING_COUNT;
}

void diagnosis_take_back_example(const struct diagnosis *diagnosis, struct server_evidence *server, enum finding finding,
				 const struct attempt *attempt)
{
	for (uint32_t i = 0; i < DIAGNOSIS_EXAMPLES; i++) {
		struct example *example = &server->examples[finding][i];

		if (example->tick == 0 || !diagnosis_ends_equal(&example->ends, &attempt->ends))
			continue;
		tell(diagnosis, finding, example, true);
		*example = (struct example){0};
	}
}

static uint32_t number_of_client(const struct diagnosis *diagnosis, const struct addr *client)
{
	return (uint32_t)(hash_bytes16(client->byte, diagnosis->secret + 2) % (64 * CLIENT_SET_WORDS));
}

static void add_client(struct client_set *set, uint32_t number)
{
	set->words[number / 64] |= 1ull << number % 64;
}

static bool has_client(const struct client_set *set, uint32_t number)
{
	return set->words[number / 64] >> number % 64 & 1;
}

/* A SYN of that kind has had no answer. Once for each kind. */
static void count_dropped(const struct diagnosis *diagnosis, struct server_evidence *server, struct attempt *attempt, uint8_t kind)
{
	attempt->dropped |= bit_of(kind);
	count(&server->syns[kind][0]);
	add_client(&server->clients[kind][0], number_of_client(diagnosis, &attempt->ends.src));
}

/* No evidence yet: of a server that answers nobody since, a host that has died, nothing is to be told. */
static void note_silent(const struct diagnosis *diagnosis, struct server_evidence *server, struct attempt *attempt)
{
	if (attempt->silent.tick)
		return;
	attempt->silent = (struct silent_syn){
		.tick = attempt->tick,
		.serial = attempt->serial,
		.left = attempt->last_left,
		.behind = attempt->behind,
		.kind = attempt->kind,
	};
	count(&server->signs[SIGN_SILENT]);
	add_client(&server->silent[attempt->kind], number_of_client(diagnosis, &attempt->ends.src));
}

/* It has had an answer, or was dropped. */
static void forget_silent(struct server_evidence *server, struct attempt *attempt)
{
	attempt->silent.tick = 0;
	uncount(&server->signs[SIGN_SILENT]);
}

static void take_silent_for_dropped(const struct diagnosis *diagnosis, struct server_evidence *server, struct attempt *attempt)
{
	const struct silent_syn syn = attempt->silent;

	forget_silent(server, attempt);
	count_dropped(diagnosis, server, attempt, syn.kind);
	diagnosis_add_example(diagnosis, server, diagnosis_finding_of(syn.kind),
			      (struct example){.ends = attempt->ends, .tick = syn.tick, .syn = syn.serial, .tsval = syn.left, .other = syn.behind});
}

/* Somebody has had an answer since the attempt's last SYN, while the server may still have remembered what it drops SYNs for. */
static bool is_alive_since(const struct server_evidence *server, const struct attempt *attempt)
{
	return server->answered_tick > attempt->tick && server->answered_tick - attempt->tick <= DIAGNOSIS_STAMP_GONE_MS;
}

/* Nobody has had an answer since; nor has any SYN gone without one that the server had no reason to drop. */
static bool is_quiet_since(const struct server_evidence *server, uint64_t tick)
{
	return server->answered_tick <= tick && server->unanswered_tick <= server->answered_tick;
}

/* What the attempt's last SYN is evidence of, if it has had no answer. */
static void note_last(const struct diagnosis *diagnosis, struct server_evidence *server, struct attempt *attempt)
{
	if ((attempt->dropped | attempt->excluded) & bit_of(attempt->kind))
		return;
	/* Without timestamps and never sent again: no TCP does that, but floods and scanners do, and are filtered for it. */
	if (attempt->kind == SYN_BARE && !attempt->is_repeated)
		return;
	if (diagnosis_finding_of(attempt->kind) != FINDING_COUNT) {
		note_silent(diagnosis, server, attempt);
		return;
	}
	count_dropped(diagnosis, server, attempt, attempt->kind);
	if (attempt->tick > server->unanswered_tick)
		server->unanswered_tick = attempt->tick;
}

void diagnosis_note_dropped(struct diagnosis *diagnosis, struct attempt *attempt)
{
	struct server_evidence *server = diagnosis_server_of(diagnosis, attempt);

	if (attempt->is_answered || !server)
		return;
	note_last(diagnosis, server, attempt);
	if (attempt->silent.tick && is_alive_since(server, attempt))
		take_silent_for_dropped(diagnosis, server, attempt);
}

void diagnosis_end_attempt(struct diagnosis *diagnosis, struct attempt *attempt)
{
	struct server_evidence *server = attempt->silent.tick ? diagnosis_server_of(diagnosis, attempt) : NULL;

	if (server && (is_alive_since(server, attempt) || is_quiet_since(server, attempt->silent.tick)))
		take_silent_for_dropped(diagnosis, server, attempt);
	attempt->tick = 0;
}

void diagnosis_note_answered(const struct diagnosis *diagnosis, struct server_evidence *server, struct attempt *attempt, uint8_t kind)
{
	const uint32_t client = number_of_client(diagnosis, &attempt->ends.src);

	server->answered_tick = diagnosis->tick;
	if (attempt->silent.tick && attempt->silent.kind == kind)
		forget_silent(server, attempt);
	else if (attempt->silent.tick)
		take_silent_for_dropped(diagnosis, server, attempt);
	if (attempt->dropped & bit_of(kind)) {
		uncount(&server->syns[kind][0]);
		if (diagnosis_finding_of(kind) != FINDING_COUNT)
			diagnosis_take_back_example(diagnosis, server, diagnosis_finding_of(kind), attempt);
	}
	if (!(attempt->excluded & bit_of(kind))) {
		count(&server->syns[kind][1]);
		add_client(&server->clients[kind][1], client);
	}
	for (int other = 0; other < SYN_KIND_COUNT; other++) {
		if (other != kind && (has_client(&server->clients[other][0], client) || has_client(&server->silent[other], client)))
			add_client(&server->returned[other], client);
	}
	attempt->dropped &= (uint8_t)~bit_of(kind);
	attempt->excluded |= bit_of(kind);
}
