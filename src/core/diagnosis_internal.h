/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_DIAGNOSIS_INTERNAL_H
#define PAWSD_DIAGNOSIS_INTERNAL_H

#include "diagnosis.h"

/* What diagnosis.c and diagnosis_places.c have in common. `ends`: the client's first. */

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

#endif
