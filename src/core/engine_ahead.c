/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking ahead over a batch. With many flows each packet finds two lines of memory that are in no cache, one behind
 * the other: the head of its chain, and its flow. Asked for a batch at a time, they come side by side, while there is
 * still other work.
 */
#include "engine.h"

void engine_look_ahead(const struct engine *engine, const struct packet_input *inputs, uint32_t count)
{
	const uint32_t *heads[ENGINE_AHEAD_MAX];
	struct endpoints ends;
	uint32_t found = 0;

	if (count > ENGINE_AHEAD_MAX)
		count = ENGINE_AHEAD_MAX;
	for (uint32_t i = 0; i < count; i++)
		if (packet_peek_ends(&inputs[i], &ends))
			heads[found++] = flow_table_prefetch_head(&engine->table, &ends);
	for (uint32_t i = 0; i < found; i++)
		flow_table_prefetch_flow(&engine->table, heads[i]);
}
