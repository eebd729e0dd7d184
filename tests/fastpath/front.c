/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "front_internal.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fastpath_policy.h"
#include "flow_key.h"
#include "plain.h"


static void *map_memory(const struct bpf_object *object, const char *name)
{
	const struct bpf_map *map = bpf_object__find_map_by_name(object, name);
	size_t bytes = (size_t)((bpf_map__value_size(map) + 7) & ~7u) * bpf_map__max_entries(map);
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void set_size(struct bpf_object *object, const char *name, uint32_t entries)
{
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, name), entries);
}

static int print_nothing(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level;
	(void)format;
	(void)arguments;
	return 0;
}

bool front_side_parse(const char *name, enum front_side *ret)
{
	*ret = strcmp(name, "wan") == 0 ? FRONT_WAN : FRONT_LAN;
	return *ret == FRONT_WAN || strcmp(name, "lan") == 0;
}

void front_use_side(struct front *front, enum front_side side)
{
	front->side = side;
}

struct front *front_open(const char *object, enum front_side side, char *ret_error, size_t error_size)
{
	static const char *const names[2][2] = {{"lan_ingress", "lan_egress"}, {"wan_ingress", "wan_egress"}};
	struct front *front = calloc(1, sizeof(*front));
	cpu_set_t one;

	if (!front)
		return NULL;
	/* The programs count for the processor they run on. */
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	libbpf_set_print(print_nothing);
	front->object = bpf_object__open(object);
	if (!front->object) {
		snprintf(ret_error, error_size, "%s: %s", object, strerror(errno));
		return NULL;
	}
	set_size(front->object, "fast_flows", CAPACITY_MAX);
	set_size(front->object, "fast_syns", CAPACITY_MAX);
	set_size(front->object, "fast_heads", CAPACITY_MAX / FASTPATH_HEADS_A_VALUE);
	set_size(front->object, "fast_clients", CAPACITY_MAX);
	set_size(front->object, "fast_lent", LENT);
	set_size(front->object, "fast_counts", (uint32_t)libbpf_num_possible_cpus() * DESTINATION_SLOTS);
	if (bpf_object__load(front->object) < 0) {
		snprintf(ret_error, error_size, "%s: cannot be loaded: %s", object, strerror(errno));
		return NULL;
	}
	front->side = side;
	for (int i = 0; i < 4; i++)
		front->programs[i / 2][i % 2] = bpf_program__fd(bpf_object__find_program_by_name(front->object, names[i / 2][i % 2]));
	front->policies = bpf_map__fd(bpf_object__find_map_by_name(front->object, "fast_policies"));
	front->shared = map_memory(front->object, "fast_shared");
	front->flows = map_memory(front->object, "fast_flows");
	front->syns = map_memory(front->object, "fast_syns");
	front->heads = map_memory(front->object, "fast_heads");
	front->clients = map_memory(front->object, "fast_clients");
	front->lent = map_memory(front->object, "fast_lent");
	front->counts = map_memory(front->object, "fast_counts");
	return front;
}

void front_close(struct front *front)
{
	bpf_object__close(front->object);
	free(front);
}

void front_attach(struct front *front, struct engine *engine)
{
	struct flow_table *table = &engine->table;
	struct fastpath_shared *shared = front->shared;

	front->engine = engine;
	front->was = *table;
	front->was_clock = engine->clock.shared;
	if (table->capacity > CAPACITY_MAX || table->client_mask >= CAPACITY_MAX)
		abort();
	memcpy(front->flows, table->flows, sizeof(*table->flows) * table->capacity);
	memcpy(front->syns, table->syns, sizeof(*table->syns) * table->capacity);
	memcpy(front->heads, table->heads, sizeof(*table->heads) * (table->head_mask + 1));
	memcpy(front->clients, table->clients, sizeof(*table->clients) * (table->client_mask + 1));
	memset(shared, 0, sizeof(*shared));
	shared->clock = *engine->clock.shared;
	shared->head_mask = table->head_mask;
	shared->client_mask = table->client_mask;
	shared->client_most = engine->client_most.flows;
	shared->clock_base = engine->clock.base;
	shared->clock_max_lead_ms = engine->clock.max_lead_ms;
	shared->lent_mask = LENT - 1;
	memcpy(shared->secret, table->secret, sizeof(shared->secret));
	table->flows = front->flows;
	table->syns = front->syns;
	table->heads = front->heads;
	table->clients = front->clients;
	engine->clock.shared = &shared->clock;
	flow_table_share(table, &shared->loan, front->lent, LENT, front->limbo);
	table->grace = table->generation + 1; /* nobody ever looks at flows while the engine works */
	/* Rules are new. */
	for (uint32_t i = 0; i < LABELS; i++)
		front->labels[i] &= front->side == FRONT_WAN ? (uint8_t)~LABEL_FAST : LABEL_NONE;
	front->used_policy = NULL;
}

void front_begin(struct front *front)
{
	memset(front->label_keys, 0, sizeof(front->label_keys));
}

void front_detach(struct front *front)
{
	struct flow_table *was = &front->was;

	if (!front->engine)
		return;
	memcpy(was->flows, front->flows, sizeof(*was->flows) * was->capacity);
	memcpy(was->syns, front->syns, sizeof(*was->syns) * was->capacity);
	*front->was_clock = front->shared->clock;
	front->engine->clock.shared = front->was_clock;
	front->engine = NULL;
}

/* ---- the policy ---- */

static void put_entry(void *context, const struct fastpath_policy_key *key, const struct fastpath_policy *value)
{
	const int *map = context;

	if (bpf_map_update_elem(*map, key, value, BPF_NOEXIST) < 0)
		abort();
}

/* A map of its own, as large as need be, that takes the place of the one before. */
void front_use_policy(struct front *front, const struct policy *policy)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
	const uint32_t zero = 0;
	size_t count;
	int map;

	if (policy == front->used_policy)
		return;
	front->used_policy = policy;
	if (!policy) {
		bpf_map_delete_elem(front->policies, &zero);
		return;
	}
	if (!fastpath_policy_count(policy, &count))
		abort();
	map = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "fast_policy", sizeof(struct fastpath_policy_key),
			     sizeof(struct fastpath_policy), (uint32_t)count + 1, &options);
	if (map < 0 || !fastpath_policy_each(policy, put_entry, &map) ||
	    bpf_map_update_elem(front->policies, &zero, &map, BPF_ANY) < 0)
		abort();
	close(map);
}

/* ---- packets ---- */

/* The label of the packet's connection. */
uint8_t *front_label_of(struct front *front, const struct packet *packet)
{
	static const uint64_t secret[2] = {0x9e3779b97f4a7c15u, 0xd6e8feb86659fd93u};
	const struct flow_key key = flow_key_of(&packet->ends);
	uint64_t hash = flow_key_hash(&key, secret) | 1;
	uint32_t at = (uint32_t)(hash >> 1) % LABELS;

	for (uint32_t tries = 0; tries < LABELS && front->label_keys[at] && front->label_keys[at] != hash; tries++)
		at = (at + 1) % LABELS;
	if (front->label_keys[at] && front->label_keys[at] != hash)
		abort();
	if (!front->label_keys[at])
		front->labels[at] = LABEL_NONE;
	front->label_keys[at] = hash;
	return &front->labels[at];
}

static void take_counts(struct front *front)
{
	int cpu = sched_getcpu();
	struct fastpath_counts *counts = front->counts + (size_t)cpu * DESTINATION_SLOTS;
	struct counters *into = front->engine->counters;

	for (uint32_t slot = 0; slot < 128; slot++) {
		for (uint32_t i = 0; i < REASON_COUNT; i++)
			into->reason[slot][i] += counts[slot].reason[i];
		for (uint32_t i = 0; i < FLOW_STATE_COUNT; i++)
			into->flows[slot][i] += counts[slot].flows[i];
		memset(&counts[slot], 0, sizeof(counts[slot]));
	}
}

int front_show(struct front *front, struct front_frame *frame, bool is_last)
{
	static _Thread_local uint8_t in[FRAME_MAX], out[FRAME_MAX];
	struct __sk_buff before = {.mark = frame->mark, .ifindex = frame->interface}, after = {0};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = in, .data_size_in = LINK_LEN + frame->len, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &before, .ctx_size_in = sizeof(before), .ctx_out = &after,
		    .ctx_size_out = sizeof(after), .repeat = 1);

	memset(in, 0, LINK_LEN);
	in[0] = frame->to;
	in[12] = (uint8_t)(frame->protocol >> 8);
	in[13] = (uint8_t)frame->protocol;
	memcpy(in + LINK_LEN, frame->data, frame->len);
	if (bpf_prog_test_run_opts(front->programs[front->side][is_last], &options) < 0) {
		snprintf(front->problem, sizeof(front->problem), "BPF_PROG_TEST_RUN: %s", strerror(errno));
		return -errno;
	}
	if (options.data_size_out != LINK_LEN + frame->len)
		snprintf(front->problem, sizeof(front->problem), "length %u became %u", LINK_LEN + frame->len, options.data_size_out);
	else
		memcpy(frame->data, out + LINK_LEN, frame->len);
	frame->mark = after.mark;
	frame->reason = (enum reason)after.cb[0];
	return (int)options.retval;
}

/* Runs a program on the packet, whose bytes it may change. Returns the packet's mark. */
uint32_t front_run(struct front *front, const struct packet_input *input, bool is_last, enum reason *ret_reason)
{
	struct front_frame frame = {.data = input->data, .len = input->len, .protocol = input->data[0] >> 4 == 4 ? 0x0800 : 0x86dd};
	int verdict = front_show(front, &frame, is_last);
	const uint32_t mark = frame.mark;

	if (verdict != -1 && !(verdict == DROPPED && frame.reason == REASON_OUT_DROPPED))
		snprintf(front->problem, sizeof(front->problem), "verdict %d", verdict);
	if (is_last ? mark != 0 && mark != FASTPATH_MARK_DONE_LAST
		    : mark != FASTPATH_MARK_DONE_FIRST && mark != FASTPATH_MARK_LABEL && mark != FASTPATH_MARK_SLOW && mark != FASTPATH_MARK_OTHER)
		snprintf(front->problem, sizeof(front->problem), "mark %x of the %s program", mark, is_last ? "last" : "first");
	*ret_reason = verdict == DROPPED ? REASON_OUT_DROPPED : frame.reason;
	take_counts(front);
	return mark;
}

enum reason front_handle_by_engine(struct front *front, const struct packet_input *input, uint64_t tick)
{
	return engine_handle(front->engine, input, tick);
}

static bool can_be_run(const struct packet_input *input)
{
	return !input->truncated && !input->gso && !input->csum_not_ready && input->direction != DIRECTION_UNKNOWN &&
	       ((input->len >= 20 && input->data[0] >> 4 == 4) || (input->len >= 40 && input->data[0] >> 4 == 6)) &&
	       input->len <= RUN_MAX;
}

static enum reason handle_outbound(struct front *front, const struct packet_input *input, uint64_t tick, uint8_t *label)
{
	enum reason reason = REASON_COUNT;
	uint32_t mark = front_run(front, input, false, &reason);

	if (mark == FASTPATH_MARK_DONE_FIRST || mark == FASTPATH_MARK_LABEL) {
		if (reason == REASON_SYN_REWRITTEN) /* conntrack knows nothing of it yet */
			*label = LABEL_NONE;
		if (mark == FASTPATH_MARK_LABEL && *label != LABEL_SLOW)
			*label = LABEL_FAST;
		front->done.done++;
		return reason;
	}
	if (mark == FASTPATH_MARK_SLOW)
		*label = LABEL_SLOW;
	front->done.left++;
	return front_handle_by_engine(front, input, tick);
}

static enum reason handle_inbound(struct front *front, const struct packet_input *input, uint64_t tick, const uint8_t *label)
{
	static uint8_t before[FRAME_MAX];
	enum reason reason = REASON_COUNT;

	memcpy(before, input->data, input->len);
	if (*label == LABEL_FAST && front_run(front, input, true, &reason) == FASTPATH_MARK_DONE_LAST) {
		front->done.done++;
		return reason;
	}
	front->done.queued++;
	reason = front_handle_by_engine(front, input, tick);
	if (*label == LABEL_FAST && reason_table[reason].action == ACTION_MODIFY)
		snprintf(front->problem, sizeof(front->problem), "past both: the engine says %s", reason_table[reason].name);
	return reason;
}

/* ---- both ---- */

/* What the engine does not take for a sound segment the programs do not, either. */
static void show_unsound(struct front *front, const struct packet_input *input)
{
	static uint8_t before[FRAME_MAX];
	enum reason reason;

	memcpy(before, input->data, input->len);
	if (front_run(front, input, false, &reason) != FASTPATH_MARK_OTHER || memcmp(before, input->data, input->len) != 0)
		snprintf(front->problem, sizeof(front->problem), "an unsound packet is taken for another");
}

/*
 * A packet that cannot be run, for its checksum or length, though the programs would see it as well. What they would have left
 * to the queue has the label.
 */
static enum reason handle_unseen(struct front *front, const struct packet_input *input, uint64_t tick)
{
	struct packet packet;
	const bool is_sound = packet_parse(input, &packet) == REASON_COUNT;
	enum reason reason = front_handle_by_engine(front, input, tick);
	const struct flow *flow;
	bool outbound;

	front->done.queued++;
	if (!is_sound && can_be_run(input))
		show_unsound(front, input);
	if (!is_sound || (input->direction == DIRECTION_IN && front->side == FRONT_LAN))
		return reason;
	flow = flow_table_look_up(&front->engine->table, &packet.ends, &outbound);
	if (front->side == FRONT_WAN)
		*front_label_of(front, &packet) |= LABEL_SYN | (input->direction == DIRECTION_IN ? LABEL_ANSWERED : 0);
	if (flow && !plain_is(flow))
		*front_label_of(front, &packet) |= LABEL_SLOW;
	else if (flow && front->side == FRONT_WAN)
		*front_label_of(front, &packet) |= LABEL_FAST;
	return reason;
}

enum reason front_handle(struct front *front, const struct packet_input *input, uint64_t tick, const char **ret_problem)
{
	struct flow_table *table = &front->engine->table;
	struct packet packet;
	enum reason reason;

	front->problem[0] = '\0';
	front->shared->frozen_tick = tick;
	front->shared->clock_base = front->engine->clock.base;
	front->shared->clock_max_lead_ms = front->engine->clock.max_lead_ms;
	front->shared->client_most = front->engine->client_most.flows;
	front->shared->flags = (front->engine->is_draining ? FASTPATH_DRAINING : 0) | (front->engine->rules_lag ? FASTPATH_RULES_LAG : 0) |
			       FASTPATH_ROUTES_UNKNOWN;
	front->shared->is_roomy = flow_table_used(table) < table->capacity - table->capacity / 4;
	front_use_policy(front, front->engine->policy);
	flow_table_lend(table);
	if (!can_be_run(input) || packet_parse(input, &packet) != REASON_COUNT) {
		reason = handle_unseen(front, input, tick);
	} else if (front->side == FRONT_WAN) {
		reason = front_handle_wan(front, input, &packet, tick);
	} else if (input->direction == DIRECTION_OUT) {
		reason = handle_outbound(front, input, tick, front_label_of(front, &packet));
	} else {
		reason = handle_inbound(front, input, tick, front_label_of(front, &packet));
	}
	*ret_problem = front->problem[0] ? front->problem : NULL;
	return reason;
}

struct fastpath_shared *front_shared(struct front *front)
{
	return front->shared;
}

const struct front_counts *front_counts(const struct front *front)
{
	return &front->done;
}
