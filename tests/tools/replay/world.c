/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../fastpath/front.h"
#include "replay.h"

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		abort();
	return memory;
}

void world_problem(struct world *world, const char *format, ...)
{
	va_list arguments;

	world->problems++;
	printf("# %s:%d: ", world->path, world->line);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

uint64_t world_tick(const struct world *world)
{
	return world->clock + (uint64_t)world->now_ms;
}

int world_slot(const struct world *world, const char *name)
{
	for (uint32_t i = 0; i < world->slot_count; i++)
		if (strcmp(world->slot_name[i], name) == 0)
			return (int)i;
	return -1;
}

static uint16_t slot_of_name(struct world *world, const char *name)
{
	int slot = world_slot(world, name);

	if (slot >= 0)
		return (uint16_t)slot;
	snprintf(world->slot_name[world->slot_count], sizeof(world->slot_name[0]), "%s", name);
	return (uint16_t)world->slot_count++;
}

static void free_next(struct world *world)
{
	for (size_t i = 0; i < world->next_count; i++) {
		free(world->next[i].prefixes);
		free(world->next[i].ports);
		free(world->next[i].sources);
	}
	free(world->next);
	world->next = NULL;
	world->next_count = 0;
}

static struct destination *add_destination(struct world *world)
{
	struct destination *destination;

	world->next = realloc(world->next, (world->next_count + 1) * sizeof(*world->next));
	if (!world->next)
		abort();
	destination = &world->next[world->next_count++];
	memset(destination, 0, sizeof(*destination));
	destination->enabled = true;
	return destination;
}

void world_clear_policy(struct world *world)
{
	struct destination *destination;

	free_next(world);
	destination = add_destination(world);
	snprintf(destination->name, sizeof(destination->name), "default");
	destination->slot = SLOT_DEFAULT;
	destination->mode = MODE_OFF;
	world->policy_pending = true;
}

static void add_prefix(struct prefix **prefixes, size_t *count, struct text *text)
{
	do {
		*prefixes = realloc(*prefixes, (*count + 1) * sizeof(**prefixes));
		if (!*prefixes)
			abort();
		if (!text_prefix(text, &(*prefixes)[*count]))
			return;
		(*count)++;
	} while (text_char(text, ','));
}

static void add_ports(struct destination *destination, struct text *text)
{
	do {
		destination->ports = realloc(destination->ports, (destination->port_count + 1) *
								 sizeof(*destination->ports));
		if (!destination->ports)
			abort();
		if (!text_ports(text, &destination->ports[destination->port_count]))
			return;
		destination->port_count++;
	} while (text_char(text, ','));
}

static int word_index(struct text *text, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (text_word(text, words[i]))
			return i;
	text_problem(text, "unknown word at \"%.20s\"", text->at);
	return 0;
}

bool world_policy_line(struct world *world, struct text *text, bool is_default)
{
	static const char *const modes[] = {"off", "observe", "strip", "rewrite", NULL};
	static const char *const repairs[] = {"off", "echo", "zero", NULL};
	struct destination *destination;

	if (!world->policy_pending)
		return text_problem(text, "the policy is in use; say \"reload\" first");
	destination = is_default ? &world->next[0] : add_destination(world);
	if (!is_default) {
		snprintf(destination->name, sizeof(destination->name), "d%zu", world->next_count - 1);
		add_prefix(&destination->prefixes, &destination->prefix_count, text);
	}
	while (!text->problem[0] && !text_end(text)) {
		if (text_word(text, "mode"))
			destination->mode = (enum mode)word_index(text, modes);
		else if (text_word(text, "synack_tsecr"))
			destination->repair = (enum repair)word_index(text, repairs);
		else if (text_word(text, "ports"))
			add_ports(destination, text);
		else if (text_word(text, "sources"))
			add_prefix(&destination->sources, &destination->source_count, text);
		else if (text_word(text, "disabled"))
			destination->enabled = false;
		else if (text_word(text, "name"))
			text_name(text, destination->name, sizeof(destination->name));
		else
			return text_problem(text, "unknown word at \"%.20s\"", text->at);
	}
	if (!is_default)
		destination->slot = slot_of_name(world, destination->name);
	return text->problem[0] == 0;
}

static void use_policy(struct world *world)
{
	struct policy *policy = policy_build(world->next, world->next_count);

	if (!policy)
		abort();
	world->next = NULL;
	world->next_count = 0;
	world->policy_pending = false;
	world->engine.policy = policy;
	policy_free(world->policy);
	world->policy = policy;
}

/* Heads and secret are another process's: nothing of the old index may be trusted. */
static void init_table(struct world *world)
{
	size_t bytes = flow_table_index_bytes(world->capacity);
	uint64_t secret[2] = {0x9e3779b97f4a7c15u * ++world->secret_salt, 0xdeadbeefcafef00du};

	free(world->index);
	world->index = allocate(1, bytes);
	memset(world->index, 0xa5, bytes);
	flow_table_init(&world->engine.table, world->flows, world->index, world->capacity, secret);
	world->engine.client_most = flow_table_due(&world->engine.table, world->engine.client_most.flows);
}

bool world_start(struct world *world)
{
	if (!world->running) {
		world->running = true;
		world->flows = allocate(1, flow_table_kept_bytes(world->capacity));
		world->counters = allocate(1, sizeof(*world->counters));
		world->counters_before = allocate(1, sizeof(*world->counters));
		world->engine.counters = world->counters;
		world->engine.clock.shared = allocate(1, sizeof(*world->engine.clock.shared));
		init_table(world);
		if (world->front)
			front_attach(world->front, &world->engine);
	}
	if (world->policy_pending)
		use_policy(world);
	return true;
}

void world_restart(struct world *world)
{
	static uint16_t slots[DESTINATION_SLOTS];
	size_t bytes = flow_table_kept_bytes(world->capacity);
	struct flow *flows;

	world_start(world);
	if (world->front)
		front_detach(world->front);
	flows = allocate(1, bytes);
	memcpy(flows, world->flows, bytes);
	free(world->flows);
	world->flows = flows;
	memset(world->counters, 0, sizeof(*world->counters));
	init_table(world);
	for (uint32_t i = 0; i < DESTINATION_SLOTS; i++)
		slots[i] = (uint16_t)i;
	engine_adopt(&world->engine, slots);
	if (world->front)
		front_attach(world->front, &world->engine);
}

void world_sweep(struct world *world)
{
	world_start(world);
	clock_publish(&world->engine.clock, world_tick(world));
	engine_sweep(&world->engine, world->capacity, world_tick(world));
}

void world_init(struct world *world, const char *path)
{
	static const uint32_t timeouts[FLOW_STATE_COUNT] = {
#define X(id, name, timeout_s, help) [FLOW_##id] = timeout_s,
		FLOW_STATE_TABLE(X)
#undef X
	};

	struct front *front = world->front;

	if (front)
		front_begin(front);
	memset(world, 0, sizeof(*world));
	world->front = front;
	world->path = path;
	world->capacity = 64;
	world->clock = 1000000;
	world->engine.clock.max_lead_ms = 1000;
	memcpy(world->engine.timeout_s, timeouts, sizeof(timeouts));
	slot_of_name(world, "none");
	slot_of_name(world, "default");
	world_clear_policy(world);
}

void world_free(struct world *world)
{
	if (world->front)
		front_detach(world->front);
	free_next(world);
	policy_free(world->policy);
	free(world->flows);
	free(world->index);
	free(world->counters);
	free(world->counters_before);
	free(world->engine.clock.shared);
}
