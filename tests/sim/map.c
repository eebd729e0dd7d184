/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Open addressing, linear probing; removal moves back what stands behind. */
#include "sim.h"

static uint32_t home(const struct map *map, uint64_t key)
{
	return (uint32_t)hash_mix(key) & map->mask;
}

uint32_t *map_find(const struct map *map, uint64_t key)
{
	if (!map->keys)
		return NULL;
	for (uint32_t i = home(map, key); map->keys[i]; i = (i + 1) & map->mask)
		if (map->keys[i] == key)
			return &map->values[i];
	return NULL;
}

static void put(struct map *map, uint64_t key, uint32_t value)
{
	uint32_t i = home(map, key);

	while (map->keys[i])
		i = (i + 1) & map->mask;
	map->keys[i] = key;
	map->values[i] = value;
	map->count++;
}

static void grow(struct map *map)
{
	struct map old = *map;
	uint32_t size = old.keys ? (old.mask + 1) * 2 : 1024;

	map->keys = sim_allocate(size, sizeof(*map->keys));
	map->values = sim_allocate(size, sizeof(*map->values));
	map->mask = size - 1;
	map->count = 0;
	for (uint32_t i = 0; old.keys && i <= old.mask; i++)
		if (old.keys[i])
			put(map, old.keys[i], old.values[i]);
	free(old.keys);
	free(old.values);
}

void map_set(struct map *map, uint64_t key, uint32_t value)
{
	uint32_t *found = map_find(map, key);

	if (found) {
		*found = value;
		return;
	}
	if (!map->keys || map->count * 2 > map->mask)
		grow(map);
	put(map, key, value);
}

void map_remove(struct map *map, uint64_t key)
{
	uint32_t *found = map_find(map, key), hole, i;

	if (!found)
		return;
	hole = (uint32_t)(found - map->values);
	map->keys[hole] = 0;
	map->count--;
	for (i = (hole + 1) & map->mask; map->keys[i]; i = (i + 1) & map->mask) {
		uint32_t wanted = home(map, map->keys[i]);

		if (((i - wanted) & map->mask) < ((i - hole) & map->mask))
			continue;
		map->keys[hole] = map->keys[i];
		map->values[hole] = map->values[i];
		map->keys[i] = 0;
		hole = i;
	}
}

void map_free(struct map *map)
{
	free(map->keys);
	free(map->values);
	*map = (struct map){0};
}
