/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "wan.h"

#include <libnfnetlink/libnfnetlink.h>
#include <pthread.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

struct wan {
	pthread_mutex_t lock; /* nlif_handle is for one thread at a time */
	struct nlif_handle *names;
	char patterns[WAN_MAX][INTERFACE_NAME_SIZE];
	size_t pattern_count;
	uint32_t generation; /* grows whenever an answer may have changed */
};

struct wan *wan_open(void)
{
	struct wan *wan = calloc(1, sizeof(*wan));

	if (!wan)
		return NULL;
	pthread_mutex_init(&wan->lock, NULL);
	wan->generation = 1;
	wan->names = nlif_open();
	if (!wan->names || nlif_query(wan->names) < 0) {
		wan_close(wan);
		return NULL;
	}
	return wan;
}

void wan_close(struct wan *wan)
{
	if (!wan)
		return;
	if (wan->names)
		nlif_close(wan->names);
	pthread_mutex_destroy(&wan->lock);
	free(wan);
}

int wan_fd(const struct wan *wan)
{
	return nlif_fd(wan->names);
}

static void outdate_answers(struct wan *wan)
{
	__atomic_add_fetch(&wan->generation, 1, __ATOMIC_RELEASE);
}

void wan_update(struct wan *wan)
{
	pthread_mutex_lock(&wan->lock);
	if (nlif_catch(wan->names) < 0)
		nlif_query(wan->names); /* some news was lost: ask for all */
	outdate_answers(wan);
	pthread_mutex_unlock(&wan->lock);
}

void wan_set(struct wan *wan, const struct rules_config *config)
{
	pthread_mutex_lock(&wan->lock);
	memcpy(wan->patterns, config->wan, sizeof(wan->patterns));
	wan->pattern_count = config->wan_count;
	outdate_answers(wan);
	pthread_mutex_unlock(&wan->lock);
}

bool wan_is_match(const char *pattern, const char *name)
{
	size_t len = strcspn(pattern, "*");

	return pattern[len] == '*' ? strncmp(pattern, name, len) == 0 : strcmp(pattern, name) == 0;
}

uint32_t wan_list(const struct rules_config *config, uint32_t *ret, uint32_t most)
{
	struct if_nameindex *all = if_nameindex();
	uint32_t count = 0;

	for (const struct if_nameindex *at = all; at && at->if_index && count < most; at++) {
		bool found = false;

		for (size_t i = 0; i < config->wan_count && !found; i++)
			found = wan_is_match(config->wan[i], at->if_name);
		if (found)
			ret[count++] = at->if_index;
	}
	if (all)
		if_freenameindex(all);
	return count;
}

static bool ask(struct wan *wan, uint32_t index)
{
	char name[IFNAMSIZ];
	bool found = false;

	pthread_mutex_lock(&wan->lock);
	if (nlif_index2name(wan->names, index, name) >= 0) {
		for (size_t i = 0; i < wan->pattern_count && !found; i++)
			found = wan_is_match(wan->patterns[i], name);
	}
	pthread_mutex_unlock(&wan->lock);
	return found;
}

static bool is_wan(struct wan *wan, struct wan_cache *cache, uint32_t index)
{
	uint32_t at = index % WAN_CACHE_SIZE;

	if (index == 0)
		return false;
	if (cache->entry[at].index != index) {
		cache->entry[at].index = index;
		cache->entry[at].is_wan = ask(wan, index);
	}
	return cache->entry[at].is_wan;
}

enum direction wan_direction(struct wan *wan, struct wan_cache *cache, uint32_t indev, uint32_t outdev)
{
	uint32_t generation = __atomic_load_n(&wan->generation, __ATOMIC_ACQUIRE);
	bool in, out;

	if (cache->generation != generation)
		*cache = (struct wan_cache){.generation = generation};
	in = is_wan(wan, cache, indev);
	out = is_wan(wan, cache, outdev);
	if (in == out)
		return DIRECTION_UNKNOWN;
	return out ? DIRECTION_OUT : DIRECTION_IN;
}
