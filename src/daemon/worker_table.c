/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a worker's flows are, and how those of an earlier process are taken over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "log.h"
#include "worker_internal.h"

static void *claim(size_t bytes)
{
	/* Not from the heap: it is to be claimed now, and large. */
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static int complain_of_memory(const struct config *config, char *ret_error, size_t error_size)
{
	snprintf(ret_error, error_size, "[flows] max = %u: out of memory", config->flows_max);
	return -1;
}

/* Flows in a file, and all else this process's own. */
static int open_table(struct worker *worker, const struct worker_setup *setup, uint32_t capacity, const uint64_t secret[2],
		      char *ret_error, size_t error_size)
{
	struct flow_table_memory memory, left;
	struct state_flows parts;
	void *index;

	if (state_map_flows(setup->config, worker->index, capacity, &parts, ret_error, error_size) < 0)
		return -1;
	index = claim(flow_table_index_bytes(capacity));
	worker->counters = calloc(1, sizeof(*worker->counters));
	if (!index || !worker->counters)
		return complain_of_memory(setup->config, ret_error, error_size);
	memory = flow_table_memory_of(parts.kept, index, capacity);
	if (setup->left) {
		left = fastpath_table_memory(setup->left);
		fastpath_copy_flows(&memory, &left, capacity);
	}
	worker->engine.counters = worker->counters;
	flow_table_open(&worker->engine.table, &memory, capacity, secret);
	engine_adopt(&worker->engine, setup->slots);
	return 0;
}

/* New flows begin with what there is in a file, if there is any. */
static int take_from_file(struct worker *worker, const struct worker_setup *setup, struct flow_table_memory *memory, uint32_t capacity,
			  char *ret_error, size_t error_size)
{
	struct flow_table_memory kept;
	struct state_flows parts;

	if (state_map_flows(setup->config, worker->index, capacity, &parts, ret_error, error_size) < 0)
		return -1;
	kept = flow_table_memory_of(parts.kept, NULL, capacity);
	fastpath_copy_flows(memory, &kept, capacity);
	munmap((char *)parts.kept - STATE_FLOWS_AT, STATE_FLOWS_AT + flow_table_kept_bytes(capacity));
	return 0;
}

/* No program looks at the table. */
static void open_anew(struct worker *worker, const struct worker_setup *setup, const struct flow_table_memory *memory, uint32_t capacity,
		      const uint64_t secret[2])
{
	struct fastpath_memory *fastpath = setup->fastpath;
	struct flow_table *table = &worker->engine.table;

	/* Packets are counted on; flows are counted anew. */
	memset(worker->counters->flows, 0, sizeof(worker->counters->flows));
	fastpath_forget_flow_counts(fastpath);
	flow_table_open(table, memory, capacity, secret);
	worker->fastpath->loan = (struct flow_loan){0};
	flow_table_share(table, &worker->fastpath->loan, fastpath->maps[FASTPATH_MAP_LENT], fastpath->sizes.lent, worker->limbo);
	engine_adopt(&worker->engine, setup->slots);
}

/* Programs go on with the table meanwhile, and open no flows. False where its chains are damaged. */
static bool take_over(struct worker *worker, const struct worker_setup *setup, const struct flow_table_memory *memory, uint32_t capacity)
{
	struct fastpath_memory *fastpath = setup->fastpath;
	struct fastpath_shared *shared = worker->fastpath;

	setup->hold_back_rules(setup->context);
	fastpath_set_flags(fastpath, FASTPATH_HOLD);
	fastpath_wait_for_programs();
	return flow_table_take_over(&worker->engine.table, memory, capacity, shared->secret, &shared->loan,
				    fastpath->maps[FASTPATH_MAP_LENT], fastpath->sizes.lent, worker->limbo);
}

/* Flows and all else that the kernel's programs look at in memory in common with them. */
static int open_common_table(struct worker *worker, const struct worker_setup *setup, uint32_t capacity, const uint64_t secret[2],
			     char *ret_error, size_t error_size)
{
	struct fastpath_memory *fastpath = setup->fastpath;
	struct flow_table_memory memory = fastpath_table_memory(fastpath);

	worker->fastpath = fastpath_shared_of(fastpath);
	worker->engine.counters = worker->counters = &fastpath_owner_of(fastpath)->counters;
	worker->limbo = claim(capacity * sizeof(*worker->limbo));
	if (!worker->limbo)
		return complain_of_memory(setup->config, ret_error, error_size);
	if (!fastpath->is_old && !fastpath->is_carried && take_from_file(worker, setup, &memory, capacity, ret_error, error_size) < 0)
		return -1;
	state_forget_flows(setup->config);
	if (fastpath->is_live && take_over(worker, setup, &memory, capacity))
		return 0;
	if (fastpath->is_live) {
		log_warning("the chains of the fast path's flows are damaged: its programs stop while they are made anew");
		setup->stop_programs(setup->context);
	}
	open_anew(worker, setup, &memory, capacity, secret);
	return 0;
}

int worker_open_table(struct worker *worker, const struct worker_setup *setup, uint32_t capacity, char *ret_error, size_t error_size)
{
	uint64_t secret[2];

	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		return complain_of_memory(setup->config, ret_error, error_size);
	return setup->fastpath ? open_common_table(worker, setup, capacity, secret, ret_error, error_size)
			       : open_table(worker, setup, capacity, secret, ret_error, error_size);
}
