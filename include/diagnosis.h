/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_DIAGNOSIS_H
#define PAWSD_DIAGNOSIS_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "event.h"

/*
 * What is wrong with a server, from what the engine tells of handshakes (event.h). Pure, in memory of a fixed size: for each
 * server how its SYNs fared, by what their TSval was to a server that remembers the last one of each peer.
 *
 * A SYN's kind is decided as it leaves. A server with tcp_tw_recycle remembers the last TSval of a connection that it has
 * closed first, for 60 s; what it may remember is known from the FINs. A SYN is
 *
 *   older   its TSval is behind that by more than one: such a server drops it
 *   newer   it is not; and meanwhile, if one that is older, or bare, was sent a quarter of a minute before at most
 *   bare    it has no timestamp while there is something remembered: the RHEL 7 family drops it
 *   plain   nothing is remembered
 *
 * If older SYNs go unanswered and newer ones do not, chance is asked how often it would part them so (Fisher's exact test).
 * So loss, a closed port, a dead host or a firewall that drops all, which do not look at TSvals, are not mistaken for it,
 * nor is the kind of anything that too little is known of.
 *
 * Chance is not all that parts them: the older ones may be those of other clients, or of other times. So they have to fare much
 * worse than newer ones, and than newer ones at the same time. A connection that tries and gets no answer is counted once for
 * each kind of its SYNs, for the fate of a SYN's copies hangs together. So does that of a client, which may be filtered: where
 * those that are dropped are not served afterwards by another kind of SYN, clients are counted instead; and one that had been
 * served by this kind before has been cut off. A bare SYN that is never sent again is a flood's or a scanner's, and tells
 * nothing. And each port is judged by itself.
 *
 * A dead server drops them all, and more and more of them are older, for what it may remember only grows. So an older or bare SYN
 * counts as dropped once the server has answered somebody since, within the minute for which it remembers; or in the end, if no
 * newer or plain one has gone without an answer since the last one.
 *
 * Evidence fades: all counts are halved every two hours.
 */

#define SYN_KIND_TABLE(X) \
	X(PLAIN, "plain") \
	X(NEWER, "newer") \
	X(MEANWHILE, "meanwhile") \
	X(OLDER, "older") \
	X(BARE, "bare")

enum syn_kind {
#define X(id, name) SYN_##id,
	SYN_KIND_TABLE(X)
#undef X
	SYN_KIND_COUNT,
};

extern const char *const syn_kind_names[SYN_KIND_COUNT];

/*
 * What else is counted of a server.
 *
 * X(ID, name, help)
 */
#define SIGN_TABLE(X) \
	X(REFUSED, "refused", "SYN answered by RST: a closed port") \
	X(CHALLENGED_OLDER, "challenged_older", \
	  "SYN answered by a bare ACK that echoes a newer TSval than the SYN's: an old connection in TIME_WAIT, or alive") \
	X(CHALLENGED_OTHER, "challenged_other", \
	  "SYN answered by a bare ACK that does not: an older TSval is not the cause") \
	X(CHALLENGED_RESET, "challenged_reset", "of both, those that the client answered with RST") \
	X(FOREIGN, "foreign_tsecr", "SYN/ACK with a TSecr that was never sent") \
	X(FOREIGN_RESET, "foreign_tsecr_reset", "of those, the ones that the client answered with RST") \
	X(FOREIGN_REPAIRED, "foreign_tsecr_repaired", "of those, the ones that pawsd has repaired") \
	X(ZERO, "zero_timestamps", "SYN/ACK with TSval 0 and TSecr 0, which every client takes") \
	X(SILENT, "silent", \
	  "SYN with an older TSval, or with none, that had no answer, as nobody else had: that tells nothing") \
	X(SERVER_FIRST, "closed_first", "connection that the server closed first: it may remember its TSval")

enum sign {
#define X(id, name, help) SIGN_##id,
	SIGN_TABLE(X)
#undef X
	SIGN_COUNT,
};

struct sign_info {
	const char *name, *help;
};

extern const struct sign_info sign_table[SIGN_COUNT];

/*
 * What is found.
 *
 * X(ID, name, help, cure)
 */
#define FINDING_TABLE(X) \
	X(RECYCLE, "tw_recycle", \
	  "drops SYNs whose TSval is older than the last that it remembers of this public address (tcp_tw_recycle)", \
	  "mode = rewrite") \
	X(RECYCLE_BARE, "tw_recycle_bare", \
	  "drops SYNs without timestamps while it remembers some of this public address (tcp_tw_recycle of the RHEL 7 family)", \
	  "mode = strip") \
	X(TIME_WAIT, "time_wait", \
	  "refuses SYNs on a four-tuple that it has in TIME_WAIT, for their TSval is older than the last connection's", \
	  "mode = rewrite") \
	X(BUSY_TUPLE, "busy_four_tuple", \
	  "answers SYNs as if their four-tuple were in use, though their TSval is new: no timestamp cures that", "") \
	X(FOREIGN_TSECR, "foreign_tsecr", \
	  "answers with a TSecr that was never sent, and clients reset: a firewall or scrubber in front of it", \
	  "synack_tsecr = echo")

enum finding {
#define X(id, name, help, cure) FINDING_##id,
	FINDING_TABLE(X)
#undef X
	FINDING_COUNT,
};

struct finding_info {
	const char *name, *help, *cure;
};

extern const struct finding_info finding_table[FINDING_COUNT];

enum confidence {
	CONFIDENCE_NONE,
	CONFIDENCE_POSSIBLE, /* worth a look */
	CONFIDENCE_LIKELY,   /* chance alone does that once in a hundred times */
	CONFIDENCE_CERTAIN,  /* once in ten thousand, or it was seen often enough */
	CONFIDENCE_COUNT,
};

extern const char *const confidence_names[CONFIDENCE_COUNT];

enum {
	DIAGNOSIS_EXAMPLES = 4, /* of each kind of evidence, the newest ones */
	DIAGNOSIS_SERVERS = 1024,
	DIAGNOSIS_ATTEMPTS = 8192,
	DIAGNOSIS_CLIENTS = 1024,
	DIAGNOSIS_WAYS = 8, /* places that a key may have */
};

/* One connection that shows it: its SYN and what came of it, by the serials of the events (0: nothing). */
struct example {
	struct endpoints ends;
	uint64_t tick;
	uint64_t syn, answer;
	uint32_t tsval, other; /* of the SYN; what it was behind, or the TSecr that came */
};

/* Of which clients something was seen: a bit for each, by a hash. */
enum {
	CLIENT_SET_WORDS = 4,
};

struct client_set {
	uint64_t words[CLIENT_SET_WORDS];
};

/* Of one port of one address: others may be filtered. What a server remembers is all of the address's: struct server_memory. */
struct server_evidence {
	struct addr addr;
	uint16_t port;
	struct addr client; /* all zero: the clients together */
	uint64_t first_tick, last_tick; /* last_tick 0: the place is free */
	uint64_t halved_tick, suspicious_tick; /* suspicious_tick: of the last SYN that it may drop, 0: none */
	uint64_t answered_tick, unanswered_tick; /* when a SYN had an answer last; when one left that had none without a reason; 0: none */
	uint32_t syns[SYN_KIND_COUNT][2]; /* connections' tries, by kind: [0] without an answer, [1] answered */
	struct client_set clients[SYN_KIND_COUNT][2]; /* whose they were */
	struct client_set silent[SYN_KIND_COUNT];     /* whose were without an answer that is counted in SIGN_SILENT, or was */
	struct client_set returned[SYN_KIND_COUNT];   /* of those without an answer, who had one later on, to a SYN of another kind */
	uint32_t signs[SIGN_COUNT];
	uint32_t example_count[FINDING_COUNT];
	struct example examples[FINDING_COUNT][DIAGNOSIS_EXAMPLES];
};

/* What a server may remember of us: the last TSval of a connection that it has closed first. */
struct server_memory {
	struct addr addr;
	struct addr client; /* all zero: the clients together */
	uint32_t tsval;
	uint64_t tick; /* 0: the place is free */
};

/* A SYN that the server may have dropped for its TSval, or may be dead. */
struct silent_syn {
	uint64_t tick; /* 0: none */
	uint64_t serial;
	uint32_t left, behind; /* its TSval, and what that was older than */
	uint8_t kind;
};

/* A handshake that is under way, or was lately. */
struct attempt {
	struct endpoints ends;
	uint64_t tick;		  /* of the last SYN; 0: the place is free */
	uint64_t serial;	  /* of the last SYN */
	uint32_t isn, first_left, last_left; /* TSvals that left */
	uint16_t server;
	uint8_t kind, first_kind; /* of the last SYN, of the first */
	uint8_t dropped;	  /* bit per kind: a SYN of it has had no answer, which is counted */
	uint8_t excluded;	  /* bit per kind: is not counted any more, whatever comes; UINT8_MAX: nothing is, diagnosis_forget() */
	bool has_ts, is_answered, is_challenged, is_foreign, is_repeated;
	uint8_t challenge;	  /* what was counted of it: enum sign */
	uint32_t behind; /* what the last SYN was older than */
	struct silent_syn silent; /* without an answer, which is not counted yet */
};

/* How fast a client's clock runs, by its connections of ten seconds and more. */
struct client_clock {
	struct addr addr;
	uint64_t last_tick; /* 0: the place is free */
	uint32_t hz;
	uint32_t connections;
};

struct diagnosis {
	/* Told of each piece of evidence, and where one turns out to be none after all; NULL: nobody. */
	void (*on_evidence)(void *context, enum finding finding, const struct example *example, bool is_taken_back);
	void *context;
	uint64_t secret, tick;
	bool is_by_client; /* clients' addresses are those that servers see: each by itself */
	uint64_t swept_tick;
	uint64_t events, evicted; /* evidence that had to make room */
	uint32_t halve_hand;
	struct server_evidence servers[DIAGNOSIS_SERVERS];
	struct server_memory memories[DIAGNOSIS_SERVERS];
	struct attempt attempts[DIAGNOSIS_ATTEMPTS];
	struct client_clock clients[DIAGNOSIS_CLIENTS];
};

/*
 * Sets it up, empty; `secret` keys the places. Where clients are seen behind the NAT, is_by_client is the caller's to set: a server
 * remembers each of our public addresses by itself. In front of it all clients of a server count as one.
 */
void diagnosis_init(struct diagnosis *diagnosis, uint64_t secret);

/* Takes in what the engine has told; in the order in which it was told. */
void diagnosis_take(struct diagnosis *diagnosis, const struct event *event);

/* Says that `tick` has come: SYNs that have waited for long enough are without an answer. Cheap; call it now and then. */
void diagnosis_advance(struct diagnosis *diagnosis, uint64_t tick);

/* Connects with a TSval that is not older, sent meanwhile or not: without an answer (0) or with one (1). */
static inline uint64_t diagnosis_newer(const struct server_evidence *server, int outcome)
{
	return (uint64_t)server->syns[SYN_NEWER][outcome] + server->syns[SYN_MEANWHILE][outcome];
}

/* Forgets what was seen of a server's port, and SYNs that are under way to it; what it may remember stays. */
void diagnosis_forget(struct diagnosis *diagnosis, struct server_evidence *server);

/* Nothing more will come: what is without an answer now remains so. */
void diagnosis_finish(struct diagnosis *diagnosis);

/*
 * How sure it is that the server is so. *ret_chance: how often chance alone would part the SYNs as they were parted (RECYCLE
 * and RECYCLE_BARE; otherwise 0).
 */
enum confidence diagnosis_judge(const struct server_evidence *server, enum finding finding, double *ret_chance);

/*
 * How often chance alone would have as many of the first group fail, or more, were both groups the same (Fisher's exact test,
 * one-sided).
 */
double diagnosis_chance(uint32_t failed, uint32_t good, uint32_t others_failed, uint32_t others_good);

#endif
