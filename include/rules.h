/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_RULES_H
#define PAWSD_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "fastpath_config.h"
#include "policy.h"
#include "reason.h"

/*
 * The netfilter rules that a configuration needs: made from the policy's own ranges and groups
 * (policy.h), so that the kernel sends to user space just what the engine would do something
 * about. rules_text.c writes them as text, rules_apply.c puts them in place and takes them
 * away; `pawsd --print-rules` prints that same text.
 */

enum rules_backend {
	RULES_NONE,
	RULES_IPTABLES,
	RULES_NFT,
};

/* Which commands: iptables/ip6tables as the system has them, or those of one flavour. */
enum rules_flavour {
	FLAVOUR_DEFAULT,
	FLAVOUR_LEGACY,
	FLAVOUR_NFT,
};

enum placement {
	PLACEMENT_FORWARD, /* mangle/FORWARD: inner addresses in both directions */
	PLACEMENT_POSTNAT, /* after source NAT, before its reverse: public addresses; nft only */
};

/* Who strips timestamps where the policy says no more than that. */
enum rules_strip {
	STRIP_AUTO,   /* the kernel if it can, else pawsd */
	STRIP_KERNEL, /* the rules themselves: TCPOPTSTRIP, or nft's reset */
	STRIP_QUEUE,  /* pawsd */
};

enum {
	WAN_MAX = 16,
	INTERFACE_NAME_SIZE = 16,
	RULES_LABEL_MAX = 110,
	RULES_FAST_LABELS = 8,
};

/* Whether conntrack remembers by labels what is decided about a connection, so that its packets need one look only. */
enum rules_labels {
	LABELS_AUTO, /* if the kernel can */
	LABELS_OFF,
};

/* A server whose rewritten flows live on after a reload took its rewriting away. */
struct rules_drain {
	struct addr server;
	uint16_t port;
};

struct rules_config {
	enum rules_backend backend;
	enum rules_flavour flavour;
	enum placement placement;
	enum rules_strip strip;
	enum rules_labels labels;
	uint8_t label; /* for LABELS_AUTO: the first of two that no rules for an earlier policy have used; 0: none. RULES_LABEL_MAX at most */
	uint8_t generation; /* of the fast path's programs: which of their labels is that of those at work now */
	char wan[WAN_MAX][INTERFACE_NAME_SIZE]; /* a trailing * stands for any ending; none: any interface */
	size_t wan_count;
	uint16_t queue_first; /* handshake queues: first .. first + workers - 1; established: the next */
	uint16_t workers;
	struct fastpath_config fastpath;
};

/* Whether the rules are to use labels, if the kernel has them: rules_nft.c says why not with placement postnat. */
static inline bool rules_have_labels(const struct rules_config *config)
{
	return config->labels == LABELS_AUTO && config->backend != RULES_NONE &&
	       (config->placement == PLACEMENT_FORWARD || fastpath_is_wanted(&config->fastpath));
}

/*
 * Writes the whole rule set to `out`, as a script that a shell would run (backend iptables) or
 * nft would read (backend nft); comments say what each part is for.
 */
void rules_print(FILE *out, const struct rules_config *config, const struct policy *policy,
		 const struct rules_drain *drain, size_t drain_count);

/*
 * What the rules are made from, in one number, never 0: the same in every process for rules that take the same packets to
 * the same queues. 0 where memory is short.
 */
uint64_t rules_digest(const struct rules_config *config, const struct policy *policy);

/* How much there is of rules, and of iptables' sets. */
struct rules_size {
	uint32_t rules, sets, entries;
};

/*
 * What there is of our rules and sets just now, in one number: another one than before says that somebody has changed
 * them. 0: it cannot be told. `is_less`: than was installed, by which a change is known even where somebody was there before the
 * first look.
 */
struct rules_look {
	uint64_t fingerprint;
	bool is_less;
	struct rules_size size; /* of those there are */
};

struct rules_look rules_look(const struct rules_config *config, const struct rules_size *installed);

/*
 * Tells at little cost whether anybody has changed anything in nf_tables, iptables-nft's rules included, so that it need
 * not be looked at often. rules_watch_open() returns NULL where the kernel does not tell.
 */
struct rules_watch;
struct rules_watch *rules_watch_open(void);
void rules_watch_close(struct rules_watch *watch);
/* Since the last call, or the opening. */
bool rules_watch_has_changed(struct rules_watch *watch);

/* What rules_install() has put in place, and what it had to do without. */
struct rules_outcome {
	struct rules_size size;
	char strip_error[1024]; /* why the rules do not strip; "": they do, if the policy asks for it */
	char label_error[1024]; /* why they use no label; "": they do, if rules_config has one */
};

/*
 * Puts the rules in place of whatever rules of pawsd there are, each family's in one
 * transaction: no packet sees half of them. Returns 0, or -1 with one line of what went wrong
 * in ret_error (the command, its own words, and the kernel option that is missing where that
 * is why); the old rules then still stand. With STRIP_AUTO a kernel that cannot strip is no
 * error, nor is one without labels: *ret says so.
 */
int rules_install(const struct rules_config *config, const struct policy *policy, const struct rules_drain *drain,
		  size_t drain_count, struct rules_outcome *ret, char *ret_error, size_t error_size);

/*
 * Whether rules_install() could do that, with the same results; of *ret->size nothing but with nft. Changes nothing: with nft it is
 * a transaction that the kernel looks at and does not commit; with iptables and ipset the kernel is asked for each match,
 * target and type of set that the rules use, and no table is made.
 */
int rules_try(const struct rules_config *config, const struct policy *policy, struct rules_outcome *ret, char *ret_error,
	      size_t error_size);

/* Whether rules for that policy strip themselves, if the kernel can. */
bool rules_can_strip(const struct rules_config *config, const struct policy *policy);

/* The reasons that rules which strip count. */
enum {
	RULES_STRIP_REASONS = 4,
};
extern const enum reason rules_strip_reasons[RULES_STRIP_REASONS];

/*
 * Adds to ret_counts[number of the destination][reason] what the rules that strip have counted
 * since they were put in place, in packets. Returns 0, or -1 with one line in ret_error.
 */
int rules_read_counts(const struct rules_config *config, uint64_t (*ret_counts)[RULES_STRIP_REASONS],
		      size_t destination_count, char *ret_error, size_t error_size);

/*
 * Has the rules that are in place, whoever made them, let nothing go to programs behind the NAT: all of it is queued until the next
 * rules_install(). Before such programs stop, or open no flows. Where the rules let nothing go nothing happens.
 */
void rules_hold_back(const struct rules_config *config);

/* Removes all rules and sets of pawsd, its own and an earlier process's; none is no error. */
int rules_remove(const struct rules_config *config, char *ret_error, size_t error_size);

#endif
