/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fastpath_maps.h"

#include "flow_table.h"

enum {
	LENT_MAX = 1 << 16,
};

const char *const fastpath_map_names[FASTPATH_MAPS] = {
#define X(id, name, is_shown, bytes) [FASTPATH_MAP_##id] = name,
	FASTPATH_MAP_TABLE(X)
#undef X
};

const bool fastpath_map_is_shown[FASTPATH_MAPS] = {
#define X(id, name, is_shown, bytes) [FASTPATH_MAP_##id] = is_shown,
	FASTPATH_MAP_TABLE(X)
#undef X
};

const uint32_t fastpath_map_value_bytes[FASTPATH_MAPS] = {
#define X(id, name, is_shown, bytes) [FASTPATH_MAP_##id] = bytes,
	FASTPATH_MAP_TABLE(X)
#undef X
};

static uint32_t plain_values(size_t bytes)
{
	return (uint32_t)((bytes + FASTPATH_PLAIN_VALUE - 1) / FASTPATH_PLAIN_VALUE);
}

uint32_t fastpath_map_entries(enum fastpath_map map, const struct fastpath_sizes *sizes)
{
	switch (map) {
	case FASTPATH_MAP_SHARED:
		return 1;
	case FASTPATH_MAP_FLOWS:
	case FASTPATH_MAP_SYNS:
		return sizes->capacity;
	case FASTPATH_MAP_HEADS:
		return flow_table_head_count(sizes->capacity) / FASTPATH_HEADS_A_VALUE;
	case FASTPATH_MAP_CLIENTS:
		return flow_table_client_count(sizes->capacity);
	case FASTPATH_MAP_LENT:
		return sizes->lent;
	case FASTPATH_MAP_COUNTS:
		return sizes->cpus * DESTINATION_SLOTS;
	case FASTPATH_MAP_EVENTS:
		return sizes->cpus;
	case FASTPATH_MAP_PAIRS:
		return plain_values(flow_table_pair_capacity(sizes->capacity) * sizeof(struct syn_pairs));
	case FASTPATH_MAP_SCALED:
		return plain_values(flow_table_scaled_capacity(sizes->capacity) * sizeof(struct scaled));
	case FASTPATH_MAP_OWNER:
		return plain_values(sizeof(struct fastpath_owner));
	case FASTPATH_MAPS:
		break;
	}
	return 0;
}

size_t fastpath_map_bytes(enum fastpath_map map, const struct fastpath_sizes *sizes)
{
	if (map >= FASTPATH_MAPS)
		return 0;
	return (size_t)fastpath_map_entries(map, sizes) * ((fastpath_map_value_bytes[map] + 7u) & ~7u);
}

struct fastpath_sizes fastpath_sizes_for(uint32_t capacity, uint32_t cpus)
{
	struct fastpath_sizes sizes = {.capacity = capacity, .lent = LENT_MAX, .cpus = cpus};

	while (sizes.lent > capacity / 2)
		sizes.lent /= 2;
	return sizes;
}
