/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_WAN_H
#define PAWSD_WAN_H

#include <stdbool.h>
#include <stdint.h>

#include "packet.h"
#include "rules.h"

/*
 * Which interface numbers are wan interfaces: libnfnetlink keeps the names, the configuration
 * the patterns. Interfaces may come and go.
 */
struct wan;

/* NULL when the kernel does not tell interfaces (errno is set). */
struct wan *wan_open(void);
void wan_close(struct wan *wan);

/* The main thread polls this and calls wan_update() when it is readable. */
int wan_fd(const struct wan *wan);
void wan_update(struct wan *wan);

/* Takes the patterns of a configuration. */
void wan_set(struct wan *wan, const struct rules_config *config);

/* A worker's own memory of answers; zeroed at first. */
enum {
	WAN_CACHE_SIZE = 32,
};

struct wan_cache {
	uint32_t generation;
	struct {
		uint32_t index;
		bool is_wan;
	} entry[WAN_CACHE_SIZE];
};

/* Which way a packet with these interface numbers (0: none) goes. Any thread. */
enum direction wan_direction(struct wan *wan, struct wan_cache *cache, uint32_t indev, uint32_t outdev);

/* The numbers of wan interfaces that there are, of up to `most`; returns how many. Asks the kernel, which a confined process may not. */
uint32_t wan_list(const struct rules_config *config, uint32_t *ret, uint32_t most);

/* Whether an interface's name is the pattern, or begins with what stands before its *. */
bool wan_is_match(const char *pattern, const char *name);

#endif
