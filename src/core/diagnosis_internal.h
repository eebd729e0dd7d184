/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_DIAGNOSIS_INTERNAL_H
#define PAWSD_DIAGNOSIS_INTERNAL_H

#include "diagnosis.h"

/* What diagnosis.c, diagnosis_evidence.c and diagnosis_places.c have in common. `ends`: the client's first. */

enum {
	DIAGNOSIS_STAMP_GONE_MS = 61000, /* after that a server remembers nothing of a connection */
};

/* The evidence about a port of a server; where there is none, a new one, for which what tells least makes room. */
struct server_evidence *diagnosis_find_server(struct diagnosis *diagnosis, const struct endpoints *ends);

/* What the server may remember; NULL: nothing. And a new one of these, for which the oldest makes room; its tick is the caller's. */
struct server_memory *diagnosis_find_memory(struct diagnosis *diagnosis, const struct endpoints *ends);
struct server_memory *diagnosis_make_memory(struct diagnosis *diagnosis, const struct endpoints *ends);

/* The attempt's server; NULL where its place has been given to another meanwhile, or the attempt is not to count any more. */
struct server_evidence *diagnosis_server_of(struct diagnosis *diagnosis, const struct attempt *attempt);

/* The attempt on these ends, or NULL; and the DIAGNOSIS_WAYS places that it may have. */
struct attempt *diagnosis_find_attempt(struct diagnosis *diagnosis, const struct endpoints *ends);
struct attempt *diagnosis_set_of_attempts(struct diagnosis *diagnosis, const struct endpoints *ends);

struct client_clock *diagnosis_find_client(struct diagnosis *diagnosis, const struct addr *addr);

bool diagnosis_ends_equal(const struct endpoints *a, const struct endpoints *b);

/* What a kind of SYN without an answer is evidence of; FINDING_COUNT: of nothing. */
enum finding diagnosis_finding_of(uint8_t kind);

/* The attempt's last SYN has had no answer. To be called again as time goes on: some are counted only later. */
void diagnosis_note_dropped(struct diagnosis *diagnosis, struct attempt *attempt);

/* Nothing more is to come of it; its place is free after that. After all that has had no answer until now was noted. */
void diagnosis_end_attempt(struct diagnosis *diagnosis, struct attempt *attempt);

/* A SYN of that kind has had an answer: at once, or after all, for it was on its way for long. Once for each kind, too. */
void diagnosis_note_answered(const struct diagnosis *diagnosis, struct server_evidence *server, struct attempt *attempt, uint8_t kind);

/* The attempt's last SYN shows something; `answer` is the serial of what came, `other` its TSecr. */
struct example diagnosis_example_of(const struct attempt *attempt, uint64_t answer, uint32_t other);

/* Keeps it, in the place of the oldest, and tells of it; and takes back what was shown by the attempt. */
void diagnosis_add_example(const struct diagnosis *diagnosis, struct server_evidence *server, enum finding finding, struct example example);
void diagnosis_take_back_example(const struct diagnosis *diagnosis, struct server_evidence *server, enum finding finding,
				 const struct attempt *attempt);

static inline void count(uint32_t *counter)
{
	if (*counter < UINT32_MAX)
		++*counter;
}

static inline void uncount(uint32_t *counter)
{
	*counter -= *counter > 0;
}

static inline uint8_t bit_of(uint8_t kind)
{
	return (uint8_t)(1u << kind);
}

#endif
