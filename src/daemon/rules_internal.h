/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_RULES_INTERNAL_H
#define PAWSD_RULES_INTERNAL_H

#include "intern.h"
#include "rules.h"

/*
 * The parts of rules.h among themselves.
 *
 *   rules_plan.c      which packets go to which queues, in no firewall's language
 *   rules_text.c      the plan for iptables-restore, and rules_print()
 *   rules_text_fast.c what of it goes by the fast path's marks
 *   rules_sets.c      the sets that go with it, for ipset
 *   rules_nft.c       the plan for nft
 *   rules_nft_fast.c  what of it goes by the fast path's marks
 *   rules_nft_clear.c what takes the place of the table there is
 *   rules_run.c       running a command with text as its input
 *   rules_words.c     what to say when it fails
 *   rules_iptables.c  reading what rules there are, and replacing them
 *   rules_apply.c     rules_install() and rules_remove()
 *   rules_counts.c    rules_read_counts()
 *   rules_try.c       what iptables and ipset would need, asked of the kernel
 */

/* Which packets of a connection user space must see. */
enum rules_class {
	CLASS_NONE,	 /* off */
	CLASS_HANDSHAKE, /* strip: packets with SYN set */
	CLASS_WATCH,	 /* observe: by which connections begin, end and are refused; all go to the handshake queue */
	CLASS_FULL,	 /* rewrite: all; those with SYN set go to the handshake queue */
	CLASS_LEFT,	 /* the same, where the fast path's programs cannot decide on a SYN to the servers: with placement postnat */
	CLASS_STRIP,	 /* strip: none, the rules do it */
};

enum way {
	WAY_OUT,
	WAY_IN,
};

/* One candidate of a list. A list's last step has no condition. */
struct rules_step {
	enum rules_class class;
	uint16_t stripped;		     /* CLASS_STRIP: number of the destination, whose packets are counted */
	const struct destination *condition; /* its ports and sources; NULL: always */
	uint16_t number;		     /* of that destination */
};

/*
 * One family's rules. A list is what a policy group (policy.h) comes to for the firewall: the
 * classes of its candidates in order, each with its condition. Candidates that make no
 * difference to the firewall are left out, and so many groups become one list: a thousand
 * destinations that are rewritten, without ports and sources, are a single list.
 *
 * List 0 is that of [default]. It has one step and holds for all addresses that no other list
 * has, so that it needs no set of its own.
 */
struct rules_plan {
	enum family family;
	const struct rules_config *config;
	const struct policy *policy;
	const struct rules_drain *drain; /* of both families */
	size_t drain_count;		 /* likewise */
	size_t drains;			 /* of this family */
	bool kernel_strips;		 /* strip is CLASS_STRIP */
	struct intern lists;
	uint32_t *list_of_group;
	size_t *prefix_counts; /* by list: prefixes that its addresses come to; 0: the list is unused */
	bool *is_condition;    /* by destination: some list in use asks for its ports or sources */
	bool *is_stripped;     /* by destination: some list in use has CLASS_STRIP for it */
	bool is_empty;	       /* nothing of this family goes to user space or is stripped */
	bool is_queued;	       /* something of this family goes to user space */
	bool is_syn_only;      /* nothing but packets with SYN set is of interest */
	bool is_watch_only;    /* nothing but those and what CLASS_WATCH is for */
	bool is_labelled;      /* connections get one of the labels below, once it is known which */
	bool has_handshakes;   /* of some connections only the handshake is of interest */
	bool has_watched;      /* of some their ends are, too: CLASS_WATCH */
	bool is_fast;	       /* the kernel's programs handle packets, and mark them: fastpath.h */
};

/* The label of a connection whose packets pass, and of one whose packets are all queued. */
static inline unsigned int rules_label_passing(const struct rules_config *config)
{
	return config->label;
}

static inline unsigned int rules_label_queued(const struct rules_config *config)
{
	return config->label + 1u;
}

enum {
	RULES_LABEL_FAST = 112, /* with the fast path, and the first of RULES_FAST_LABELS */
	RULES_LABEL_SYN = 126,	/* whatever the policy: a SYN of the connection has been let go to a program behind the NAT */
	RULES_LABEL_SLOW = 127, /* likewise: who has left a connection does not come back */
};

/*
 * Of a connection that the programs handle which are at work now, whatever the policy. With placement postnat it is one of these rules
 * alone: those before may have queued what leaves, and it may take thought since.
 */
static inline unsigned int rules_label_fast(const struct rules_config *config)
{
	return config->placement == PLACEMENT_POSTNAT ? config->label + 1u
						      : (unsigned int)RULES_LABEL_FAST + config->generation % RULES_FAST_LABELS;
}

/* With placement forward: of those before, which may be at work no more, or only elsewhere. */
static inline unsigned int rules_label_fast_before(const struct rules_config *config)
{
	return (unsigned int)RULES_LABEL_FAST + (config->generation + RULES_FAST_LABELS - 1u) % RULES_FAST_LABELS;
}

/* How names of sets and chains tell the families apart. */
static inline char rules_family_digit(enum family family)
{
	return family == FAMILY_IPV4 ? '4' : '6';
}

int rules_plan_init(struct rules_plan *ret, enum family family, const struct rules_config *config,
		    const struct policy *policy, const struct rules_drain *drain, size_t drain_count,
		    bool kernel_strips);
void rules_plan_free(struct rules_plan *plan);

static inline uint32_t rules_list_len(const struct rules_plan *plan, uint32_t list)
{
	return plan->lists.lists[list].count / 2;
}

struct rules_step rules_list_step(const struct rules_plan *plan, uint32_t list, uint32_t step);

/* Whether the list is one for which addresses are to be collected: not list 0, and not unused. */
static inline bool rules_list_has_set(const struct rules_plan *plan, uint32_t list)
{
	return list > 0 && plan->prefix_counts[list] > 0;
}

/* Calls `each` for the maximal ranges of addresses of all lists but 0, ascending. */
typedef void (*rules_range_fn)(void *context, const struct addr *first, const struct addr *last, uint32_t list);
void rules_plan_each_range(const struct rules_plan *plan, rules_range_fn each, void *context);

/* "# group 3: web, old"; for the reader of the rules. */
void rules_list_describe(FILE *out, const struct rules_plan *plan, uint32_t list);

/* The backend that rules_print() shows: with "none" the one that can do the placement. */
enum rules_backend rules_backend_shown(const struct rules_config *config);

/* ---- texts ---- */

/* Names of the sets hold a letter, their generation, so that new ones can be made beside the old. */
#define RULES_SET_PREFIX "pawsd-"
#define RULES_CHAIN "PAWSD"

/* Input of `ipset restore` that makes all sets of both families' plans; nothing if there are none. */
void rules_write_sets(FILE *out, const struct rules_plan plans[FAMILY_COUNT], char generation);

/* IP and TCP header without options. */
static inline unsigned int rules_shortest_packet(const struct rules_plan *plan)
{
	return plan->family == FAMILY_IPV4 ? 20 + 20 : 40 + 20;
}

/*
 * rules_text_fast.c. What the chain for packets that are all queued begins with, and the chain that goes with it; what PAWSD begins
 * with; and, behind "-p tcp", the words for what a program has not done with.
 */
void rules_text_write_fast_chains(FILE *out, const struct rules_plan *plan);
void rules_text_write_fast_jumps(FILE *out, const struct rules_plan *plan);
void rules_text_write_fast_rest(FILE *out, const struct rules_plan *plan);
void rules_text_write_not_done(FILE *out, const struct rules_plan *plan);

/* Chains and rules for iptables-restore, the jump included, but neither "*mangle" nor "COMMIT". */
void rules_write_chains(FILE *out, const struct rules_plan *plan, char generation);

/*
 * Input of `nft -f`. With no plans: what removes the table. `clearing`: statements that empty the
 * table there is; NULL: it is deleted as a whole.
 */
void rules_write_nft(FILE *out, const struct rules_plan *plans, const char *clearing);

/*
 * rules_nft_fast.c. What the chain for packets that are all queued begins with, and chains that go with it; and of a base chain what
 * lets go what a program has done with, and what goes by labels.
 */
void rules_nft_write_fast_chains(FILE *out, const struct rules_plan *plans);
void rules_nft_write_done(FILE *out, const struct rules_plan *plans, bool is_postrouting);
void rules_nft_write_fast_back(FILE *out, const struct rules_plan *plans);
void rules_nft_write_fast_base(FILE *out, const struct rules_plan *plans);
void rules_nft_write_fast_rest(FILE *out, const struct rules_config *config);

/* Of either family: whether programs mark packets; and whether the rules let go what is for a program behind the NAT. */
bool rules_nft_is_fast(const struct rules_plan *plans);
bool rules_nft_lets_go(const struct rules_plan *plans);

/*
 * Statements that empty our table but for its base chains, made from what `nft -t list table`
 * says of it (`listing` is changed). NULL when its base chains are not those of `placement`, or
 * memory is short. To be freed.
 */
char *rules_nft_clearing(char *listing, enum placement placement);

/* Of the configured flavour: "iptables-restore", "ip6tables-legacy-save", ... */
const char *rules_iptables_command(const struct rules_config *config, enum family family, bool is_save);

/* Text that grows. */
struct text {
	FILE *file;
	char *bytes;
	size_t len;
};

bool rules_text_begin(struct text *text);
bool rules_text_end(struct text *text);
void rules_text_free(struct text *text);
int rules_complain_of_memory(char *ret_error, size_t error_size);

/* ---- commands ---- */

enum run_result {
	RUN_OK,
	RUN_MISSING, /* there is no such command */
	RUN_FAILED,
};

/*
 * Runs a command with `input` (NULL: none) and waits for it, at most 30 s. *ret_output, if
 * wanted, gets what it printed, to be freed by the caller, also on failure. Unless the result
 * is RUN_OK, ret_error has one line of why.
 */
enum run_result rules_run(const char *const *argv, const char *input, size_t input_bytes, char **ret_output,
			  char *ret_error, size_t error_size);

/* The same, without input; *ret_words gets what it said to standard error, also where all went well. May be NULL. */
enum run_result rules_run_for_words(const char *const *argv, char **ret_words, char *ret_error, size_t error_size);

/*
 * One line from what a command said, the line of its input that it did not like, and the
 * kernel's option that is missing where that is why.
 */
void rules_explain(const char *const *argv, const char *words, const char *input, char *ret_error,
		   size_t error_size);
void rules_explain_missing(const char *command, char *ret_error, size_t error_size);

/* ---- transactions of iptables ---- */

/* Our part of a family's table mangle. */
struct present {
	bool is_there;
	struct text flush;  /* ":PAWSD - [0:0]" lines of all our chains: makes them, or empties them */
	struct text remove; /* "-X PAWSD" lines of them */
	struct text rules;  /* "-A PAWSD ..." lines of them */
	struct text jumps;  /* "-A FORWARD ... -j PAWSD" lines */
};

/*
 * Reads what there is. `is_needed`: whether rules are to be made in this family; where not, a
 * machine without the command has none, and one whose kernel has no IPv6 has none either.
 */
int rules_read_present(const struct rules_config *config, enum family family, bool is_needed, struct present *ret,
		       char *ret_error, size_t error_size);
void rules_present_free(struct present *present);

/* In one transaction: away with what is present, in with `wanted` (chains, rules and jump; may be ""). */
int rules_replace(const struct rules_config *config, enum family family, const struct present *present,
		  const char *wanted, char *ret_error, size_t error_size);

/* Back to what was present before. */
void rules_put_back(const struct rules_config *config, enum family family, const struct present *before);

/*
 * rules_try.c. Whether the kernel and the commands have what these texts need: every match and target of a family's chains,
 * every type of the sets. Returns 0, or -1 with one line in ret_error.
 */
int rules_try_chains(const struct rules_config *config, enum family family, const char *chains, char *ret_error,
		     size_t error_size);
int rules_try_sets(const char *sets, char *ret_error, size_t error_size);

/* rules_check.c. Adds what these texts would install: chains for iptables-restore, sets for ipset; a script for nft. */
void rules_measure_iptables(const char *chains, struct rules_size *sum);
void rules_measure_sets(const char *sets, struct rules_size *sum);
void rules_measure_nft(const char *script, struct rules_size *sum);

#endif
