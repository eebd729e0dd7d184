/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loop of a worker thread: wait for its pair of queues, take a batch, let the engine
 * decide about each packet, send the verdicts. In between: an order of the main thread, and a
 * part of the flow table to be swept.
 */
#include "worker.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fdstore.h"
#include "worker_internal.h"

enum {
	WAIT_MS = 250,		/* for packets; then it is looked whether something else is to be done */
	SWEEP_INTERVAL_MS = 10, /* at least, so that packets need not wait long for a part of the table */
	SWEEP_ROUND_MS = 10000, /* the whole table once in this time */
	SCAN_FLOWS = 2048,	/* of the table between two batches, for an order */
	AHEAD_LEAST = 4,	/* packets for which looking ahead pays */
};

/* Under which the socket of a pair with these numbers is kept from process to process. */
static const char *kept_name(const uint16_t numbers[QUEUE_ROLES], char text[FDSTORE_NAME_SIZE])
{
	snprintf(text, FDSTORE_NAME_SIZE, "queues-%u-%u", numbers[QUEUE_HANDSHAKE], numbers[QUEUE_ESTABLISHED]);
	return text;
}

static void queue_numbers(const struct config *config, uint32_t index, uint16_t ret_numbers[QUEUE_ROLES])
{
	for (uint32_t role = 0; role < QUEUE_ROLES; role++)
		ret_numbers[role] = (uint16_t)(config->rules.queue_first + index + role * config->rules.workers);
}

static bool is_pair_of_config(void *context, const char *name)
{
	const struct config *config = context;
	uint16_t numbers[QUEUE_ROLES];
	char text[FDSTORE_NAME_SIZE];

	for (uint32_t i = 0; i < config->rules.workers; i++) {
		queue_numbers(config, i, numbers);
		if (strcmp(name, kept_name(numbers, text)) == 0)
			return true;
	}
	return false;
}

void worker_let_go_of_others(struct config *config)
{
	char name[FDSTORE_NAME_SIZE];
	int fd;

	while ((fd = fdstore_take_other(is_pair_of_config, config, name)) >= 0) {
		queue_fd_let_go(fd);
		close(fd);
		fdstore_drop(name);
	}
}

static int open_queues(struct worker *worker, struct queue_options *options, char *ret_error, size_t error_size)
{
	char text[FDSTORE_NAME_SIZE];
	const char *name = kept_name(options->numbers, text);

	options->kept_fd = fdstore_take(name);
	if (options->kept_fd >= 0 && !queue_fd_has(options->kept_fd, options->numbers)) {
		queue_fd_let_go(options->kept_fd);
		close(options->kept_fd);
		fdstore_drop(name);
		options->kept_fd = -1;
	}
	worker->queues = queue_open(options, ret_error, error_size);
	if (!worker->queues)
		return -1;
	if (!queue_is_adopted(worker->queues))
		fdstore_keep(name, queue_fd(worker->queues));
	return 0;
}

int worker_open(struct worker *worker, uint32_t index, const struct worker_setup *setup, char *ret_error, size_t error_size)
{
	const struct config *config = setup->config;
	const uint32_t capacity = config->flows_max / config->rules.workers;
	struct state *state = setup->state;
	struct queue_options options = {
		.max_packets = config->queue_max_packets,
		.buffer_bytes = config->queue_buffer_kib * 1024,
		.wait_ms = WAIT_MS,
		.batch_packets = config->queue_batch_packets,
		.batch_bytes = config->queue_batch_kib * 1024,
		.spin_us = config->queue_spin_us,
	};

	const struct flow_table *table = &worker->engine.table;

	worker->index = index;
	worker->state = state;
	worker->wan = setup->wan;
	worker->done_fd = setup->done_fd;
	worker->is_postnat = config->rules.placement == PLACEMENT_POSTNAT;
	queue_numbers(config, index, options.numbers);
	/* First of all: what the rules or programs bring from here on waits. */
	if (open_queues(worker, &options, ret_error, error_size) < 0)
		return -1;
	if (worker_open_table(worker, setup, capacity, ret_error, error_size) < 0)
		return -1;
	worker->engine.clock = (struct clock){.shared = state->clock,
					      .max_lead_ms = config->clock_max_lead_ms,
					      .base = epoch_tsval_base(&state->epoch)};
	/* Behind the NAT all clients have a few addresses in common. */
	if (!worker->is_postnat)
		worker->engine.client_most = flow_table_due(
			table, (uint32_t)((uint64_t)table->capacity * config->client_share_percent / 100));
	worker->engine.policy = config->policy;
	worker->engine.rules_lag = true; /* until reload_apply() */
	worker->swept_tick = state_now(state);
	memcpy(worker->engine.timeout_s, config->timeout_s, sizeof(worker->engine.timeout_s));
	return 0;
}

static struct packet_input make_input(struct worker *worker, const struct queue_packet *packet)
{
	struct packet_input input = {
		.data = packet->data,
		.len = packet->len,
		.truncated = packet->truncated,
		.gso = packet->skb_info & NFQA_SKB_GSO,
		.csum_not_ready = packet->skb_info & NFQA_SKB_CSUMNOTREADY,
		.direction = wan_direction(worker->wan, &worker->wan_cache, packet->indev, packet->outdev),
	};

	/* What is for the gateway itself is never cut into segments: its sum is made here. */
	if (worker->is_postnat && input.direction != DIRECTION_OUT)
		input.gso = false;
	return input;
}

static bool is_seen_by_programs(const struct fastpath_shared *fastpath, const struct queue_packet *packet)
{
	for (uint32_t i = 0; i < fastpath->covered_count; i++)
		if (fastpath->covered[i] == packet->indev)
			return true;
	return false;
}

/* Whether the packet is to be sent on changed. */
static bool handle(struct worker *worker, const struct queue_packet *packet, const struct packet_input *input, uint64_t tick)
{
	const uint32_t mark = worker->fastpath ? packet->mark >> worker->fastpath->mark_shift & FASTPATH_MARK_FIRST : 0;
	enum reason reason;

	/* While rules are in place that know nothing of programs yet. */
	if (mark == FASTPATH_MARK_DONE_FIRST)
		return false;
	if (worker->fastpath && mark == FASTPATH_MARK_NONE && is_seen_by_programs(worker->fastpath, packet))
		reason = engine_handle_unmarked(&worker->engine, input, tick);
	else
		reason = engine_handle(&worker->engine, input, tick);
	return reason_table[reason].action == ACTION_MODIFY;
}

static void handle_batch(struct worker *worker, const struct queue_packet *packets, uint32_t count, uint64_t tick)
{
	struct packet_input inputs[QUEUE_BATCH_PACKETS];

	for (uint32_t i = 0; i < count; i++)
		inputs[i] = make_input(worker, &packets[i]);
	if (count >= AHEAD_LEAST)
		engine_look_ahead(&worker->engine, inputs, count);
	for (uint32_t i = 0; i < count; i++) {
		if (handle(worker, &packets[i], &inputs[i], tick))
			queue_accept_modified(worker->queues, &packets[i]);
		else
			queue_accept(worker->queues, &packets[i]);
	}
}

static uint64_t now(struct worker *worker)
{
	return clock_publish(&worker->engine.clock, state_now(worker->state));
}

/* What the policy in force would do with the connection of `flow`. */
static const struct destination *match_flow(const struct worker *worker, const struct flow *flow)
{
	return policy_match(worker->engine.policy, &flow->server, flow->server_port, &flow->client);
}

static void look_at_flow(const struct worker *worker, const struct flow *flow)
{
	const struct destination *destination = match_flow(worker, flow);
	bool was_rewritten = flow->mode == MODE_REWRITE && destination->mode != MODE_REWRITE;
	bool is_stripped = flow->mode != MODE_STRIP && destination->mode == MODE_STRIP;

	if (flow->mode == MODE_REWRITE)
		drain_set_add_rewritten(worker->order.drain, flow);
	if (was_rewritten || is_stripped)
		drain_set_add(worker->order.drain, &flow->server, flow->server_port);
	if (is_stripped)
		drain_set_add_strip(worker->order.drain, destination->slot, flow);
}

/* Looks at some flows for order.drain. True when all have been looked at. */
static bool scan_flows(struct worker *worker)
{
	const struct flow_table *table = &worker->engine.table;
	uint32_t end = worker->scan_at + SCAN_FLOWS;

	if (!worker->order.drain)
		return true;
	for (; worker->scan_at < table->used_end && worker->scan_at < end; worker->scan_at++) {
		const struct flow *flow = &table->flows[worker->scan_at];

		if (flow->state != FLOW_FREE)
			look_at_flow(worker, flow);
	}
	return worker->scan_at >= table->used_end;
}

/* Begins or goes on with an order. True while there is more to do. */
static bool handle_order(struct worker *worker)
{
	uint32_t wanted = __atomic_load_n(&worker->order_wanted, __ATOMIC_ACQUIRE);

	if (wanted == worker->order_done)
		return false;
	if (worker->scan_at == 0) {
		worker->engine.policy = worker->order.policy;
		worker->engine.rules_lag = worker->order.rules_lag;
		worker->engine.is_draining = worker->order.is_draining;
		worker->engine.rules_policy = worker->order.rules_policy;
		memcpy(worker->engine.timeout_s, worker->order.timeout_s, sizeof(worker->engine.timeout_s));
	}
	if (!scan_flows(worker))
		return true;
	worker->scan_at = 0;
	__atomic_store_n(&worker->order_done, wanted, __ATOMIC_RELEASE);
	eventfd_write(worker->done_fd, 1);
	return false;
}

/* Begins or goes on with a list. True while there is more to do. */
static bool handle_list(struct worker *worker)
{
	struct flow_list *list = __atomic_load_n(&worker->list, __ATOMIC_ACQUIRE);

	if (!list)
		return false;
	if (flow_list_scan(list, &worker->engine.table, SCAN_FLOWS))
		return true;
	__atomic_store_n(&worker->list, NULL, __ATOMIC_RELAXED);
	__atomic_store_n(&list->is_done, true, __ATOMIC_RELEASE);
	return false;
}

/* What the kernel's programs need: places for flows, and whether there are many. */
static void serve_programs(struct worker *worker)
{
	struct flow_table *table = &worker->engine.table;
	const uint32_t grace = __atomic_exchange_n(&worker->grace, 0, __ATOMIC_ACQUIRE);

	if (grace)
		flow_table_grace(table, grace - 1);
	flow_table_lend(table);
	__atomic_store_n(&worker->fastpath->is_roomy, flow_table_used(table) < table->capacity - table->capacity / 4, __ATOMIC_RELAXED);
}

static void sweep(struct worker *worker, uint64_t tick)
{
	const struct flow_table *table = &worker->engine.table;

	uint64_t elapsed_ms = tick - worker->swept_tick;

	if (elapsed_ms >= SWEEP_INTERVAL_MS) {
		worker->swept_tick = tick;
		elapsed_ms = elapsed_ms < WAIT_MS ? elapsed_ms : WAIT_MS;
		engine_sweep(&worker->engine, (uint32_t)(table->capacity * elapsed_ms / SWEEP_ROUND_MS) + 1, tick);
	}
	if (worker->fastpath)
		serve_programs(worker);
	__atomic_store_n(&worker->flows_used, flow_table_used(table), __ATOMIC_RELAXED);
	__atomic_store_n(&worker->pairs_used, table->pairs_used, __ATOMIC_RELAXED);
	__atomic_store_n(&worker->scaled_used, table->scaled_used, __ATOMIC_RELAXED);
	__atomic_store_n(&worker->heartbeat, worker->heartbeat + 1, __ATOMIC_RELAXED);
}

static void *run(void *context)
{
	struct worker *worker = context;
	const struct queue_packet *packets;
	bool busy = false;
	char name[16];

	snprintf(name, sizeof(name), "worker/%u", worker->index);
	pthread_setname_np(pthread_self(), name);
	while (!__atomic_load_n(&worker->stop, __ATOMIC_ACQUIRE)) {
		uint32_t count = queue_receive(worker->queues, !busy, &packets);
		uint64_t tick = now(worker);

		handle_batch(worker, packets, count, tick);
		queue_flush(worker->queues);
		busy = handle_order(worker);
		busy |= handle_list(worker);
		sweep(worker, tick);
	}
	return NULL;
}

/* Its processor, the index'th of `cpus`, which is not empty. */
static cpu_set_t choose_processor(uint32_t index, const cpu_set_t *cpus)
{
	uint32_t left = index % (uint32_t)CPU_COUNT(cpus);
	cpu_set_t one;

	CPU_ZERO(&one);
	for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, cpus) && left-- == 0) {
			CPU_SET(cpu, &one);
			break;
		}
	}
	return one;
}

/* From its first packet on: what it has sent from another processor may be overtaken by what comes behind. */
static int create_thread(struct worker *worker, const cpu_set_t *cpus)
{
	pthread_attr_t attributes;
	int error = pthread_attr_init(&attributes);

	if (error)
		return error;
	if (CPU_COUNT(cpus) > 0) {
		const cpu_set_t one = choose_processor(worker->index, cpus);

		error = pthread_attr_setaffinity_np(&attributes, sizeof(one), &one);
	}
	if (!error)
		error = pthread_create(&worker->thread, &attributes, run, worker);
	pthread_attr_destroy(&attributes);
	return error;
}

int worker_start(struct worker *worker, const cpu_set_t *cpus)
{
	sigset_t all, before;
	int error;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = create_thread(worker, cpus);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	worker->running = error == 0;
	return error;
}

void worker_give_order(struct worker *worker, const struct worker_order *order)
{
	worker->order = *order;
	__atomic_add_fetch(&worker->order_wanted, 1, __ATOMIC_RELEASE);
	queue_wake(worker->queues);
}

void worker_wait_for_programs(struct worker *worker)
{
	const uint32_t generation = worker->fastpath ? __atomic_load_n(&worker->engine.table.generation, __ATOMIC_ACQUIRE) : 0;

	if (!worker->fastpath || !__atomic_load_n(&worker->engine.table.limbo_count, __ATOMIC_RELAXED))
		return;
	fastpath_wait_for_programs();
	__atomic_store_n(&worker->grace, generation + 1, __ATOMIC_RELEASE);
}

bool worker_rests_many(const struct worker *worker)
{
	return worker->fastpath && __atomic_load_n(&worker->engine.table.limbo_count, __ATOMIC_RELAXED) > worker->engine.table.capacity / 256;
}

bool worker_has_done(const struct worker *worker)
{
	return __atomic_load_n(&worker->order_done, __ATOMIC_ACQUIRE) == worker->order_wanted;
}

void worker_list_flows(struct worker *worker, struct flow_list *list)
{
	__atomic_store_n(&worker->list, list, __ATOMIC_RELEASE);
	queue_wake(worker->queues);
}

void worker_forget_queues(const struct worker *worker)
{
	uint16_t numbers[QUEUE_ROLES];
	char text[FDSTORE_NAME_SIZE];

	for (int role = 0; worker->queues && role < QUEUE_ROLES; role++)
		numbers[role] = queue_number(worker->queues, (enum queue_role)role);
	if (worker->queues)
		fdstore_drop(kept_name(numbers, text));
}

void worker_stop(struct worker *worker)
{
	__atomic_store_n(&worker->stop, true, __ATOMIC_RELEASE);
	if (worker->running) {
		queue_wake(worker->queues);
		pthread_join(worker->thread, NULL);
	}
	queue_close(worker->queues);
	if (worker->limbo)
		munmap(worker->limbo, worker->engine.table.capacity * sizeof(*worker->limbo));
	if (worker->fastpath) /* which goes on with the rest */
		return;
	free(worker->counters);
	if (worker->engine.table.heads)
		munmap(worker->engine.table.heads, flow_table_index_bytes(worker->engine.table.capacity));
}
