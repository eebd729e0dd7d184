/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_FASTPATH_FRONT_INTERNAL_H
#define PAWSD_TESTS_FASTPATH_FRONT_INTERNAL_H

/* Between front.c, which has the programs and runs them on the clients' side, and front_wan.c. */

#include "front.h"

enum {
	LINK_LEN = 14,
	FRAME_MAX = 70000,
	RUN_MAX = 3000, /* as much as BPF_PROG_TEST_RUN takes in one piece */
	LENT = 1024,
	CAPACITY_MAX = 1 << 17,
	LABELS = 1 << 16,
};

/* What conntrack would remember of a connection: labels of the rules, and that there has been an answer. */
enum label {
	LABEL_NONE,
	LABEL_FAST = 1, /* of these programs, or of these rules alone */
	LABEL_SLOW = 2,
	LABEL_SYN = 4,
	LABEL_ANSWERED = 8,
};

enum {
	DROPPED = 2, /* TC_ACT_SHOT */
};

struct front {
	struct bpf_object *object;
	enum front_side side;
	int programs[2][2]; /* of each side the first and the last */
	int policies;
	struct fastpath_shared *shared;
	struct flow *flows;
	struct flow_syn *syns;
	uint32_t *heads;
	struct client_use *clients;
	uint64_t *lent;
	struct flow_limbo limbo[CAPACITY_MAX];
	struct fastpath_counts *counts;
	struct engine *engine;
	struct flow_table was;
	struct clock_shared *was_clock;
	const struct policy *used_policy;
	uint64_t label_keys[LABELS];
	uint8_t labels[LABELS];
	struct front_counts done;
	char problem[160];
};

/* What is remembered of a packet's connection. */
uint8_t *front_label_of(struct front *front, const struct packet *packet);

/* The mark that the first program, or the last, leaves; its reason, if it has one. */
uint32_t front_run(struct front *front, const struct packet_input *input, bool is_last, enum reason *ret_reason);

/* As the daemon would, of what is queued. */
enum reason front_handle_by_engine(struct front *front, const struct packet_input *input, uint64_t tick);

/* A packet on the servers' side. */
enum reason front_handle_wan(struct front *front, const struct packet_input *input, const struct packet *packet, uint64_t tick);

#endif
