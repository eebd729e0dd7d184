/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fastpath_memory.h"

#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

void fastpath_memory_unmap(struct fastpath_memory *memory)
{
	for (enum fastpath_map map = 0; map < FASTPATH_MAPS; map++) {
		if (memory->maps[map])
			munmap(memory->maps[map], fastpath_map_bytes(map, &memory->sizes));
		memory->maps[map] = NULL;
	}
}

struct flow_table_memory fastpath_table_memory(const struct fastpath_memory *memory)
{
	void *const *maps = memory->maps;

	return (struct flow_table_memory){
		.flows = maps[FASTPATH_MAP_FLOWS],
		.syns = maps[FASTPATH_MAP_SYNS],
		.pairs = maps[FASTPATH_MAP_PAIRS],
		.scaled = maps[FASTPATH_MAP_SCALED],
		.heads = maps[FASTPATH_MAP_HEADS],
		.clients = maps[FASTPATH_MAP_CLIENTS],
	};
}

void fastpath_copy_flows(struct flow_table_memory *to, const struct flow_table_memory *from, uint32_t capacity)
{
	memcpy(to->flows, from->flows, capacity * sizeof(*to->flows));
	memcpy(to->syns, from->syns, capacity * sizeof(*to->syns));
	memcpy(to->pairs, from->pairs, flow_table_pair_capacity(capacity) * sizeof(*to->pairs));
	memcpy(to->scaled, from->scaled, flow_table_scaled_capacity(capacity) * sizeof(*to->scaled));
}

void fastpath_tell(struct fastpath_memory *memory, const struct engine *engine, const struct fastpath_config *config,
		   int64_t clock_offset_ms)
{
	struct fastpath_shared *shared = fastpath_shared_of(memory);
	const struct flow_table *table = &engine->table;

	shared->head_mask = table->head_mask;
	shared->client_mask = table->client_mask;
	shared->client_most = engine->client_most.flows;
	shared->lent_mask = memory->sizes.lent - 1;
	shared->mark_shift = config->mark_bit;
	shared->clock_base = engine->clock.base;
	shared->clock_max_lead_ms = engine->clock.max_lead_ms;
	shared->clock_offset_ms = clock_offset_ms;
	memcpy(shared->secret, table->secret, sizeof(shared->secret));
	shared->version = FASTPATH_VERSION;
	shared->flow_version = FLOW_VERSION;
	shared->capacity = table->capacity;
	shared->magic = FASTPATH_MAGIC;
}

void fastpath_set_flags(struct fastpath_memory *memory, uint32_t flags)
{
	if (memory->maps[FASTPATH_MAP_SHARED])
		__atomic_store_n(&fastpath_shared_of(memory)->flags, flags, __ATOMIC_SEQ_CST);
}

void fastpath_wait_for_programs(void)
{
	static const struct timespec long_enough = {.tv_nsec = 200000000};

	/* A grace period of RCU. Kernels with nohz_full do not give it: programs take microseconds. */
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
		nanosleep(&long_enough, NULL);
}

uint64_t fastpath_count(const struct fastpath_memory *memory, uint32_t slot, enum reason reason)
{
	const struct fastpath_counts *counts = memory->maps[FASTPATH_MAP_COUNTS];
	uint64_t sum = 0;

	for (uint32_t cpu = 0; counts && cpu < memory->sizes.cpus; cpu++)
		sum += counter_read(&counts[cpu * DESTINATION_SLOTS + slot].reason[reason]);
	return sum;
}

uint64_t fastpath_count_flows(const struct fastpath_memory *memory, uint32_t slot, enum flow_state state)
{
	const struct fastpath_counts *counts = memory->maps[FASTPATH_MAP_COUNTS];
	uint64_t sum = 0;

	for (uint32_t cpu = 0; counts && cpu < memory->sizes.cpus; cpu++)
		sum += counter_read(&counts[cpu * DESTINATION_SLOTS + slot].flows[state]);
	return sum;
}

void fastpath_forget_flow_counts(struct fastpath_memory *memory)
{
	struct fastpath_counts *counts = memory->maps[FASTPATH_MAP_COUNTS];

	for (uint32_t i = 0; i < memory->sizes.cpus * DESTINATION_SLOTS; i++)
		memset(counts[i].flows, 0, sizeof(counts[i].flows));
}
