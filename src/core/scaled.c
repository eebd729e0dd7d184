/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scaled.h"

#include <string.h>

#include "seq.h"

void scaled_start(struct scaled *scaled, uint32_t tsval, uint32_t emitted, uint32_t clock)
{
	scaled->switch_tsval = emitted;
	scaled->switch_clock = clock;
	scaled->newest_clock = clock;
	scaled->knows_switch = true;
	scaled->count = 1;
	scaled->echo[0].emitted = emitted;
	scaled->echo[0].tsval = tsval;
}

/*
 * Takes out the one between the first and the last that is missed least: where its neighbours
 * are close together, measured by how old it is.
 */
static void thin(struct scaled *scaled)
{
	const uint32_t newest = scaled->echo[scaled->count - 1].emitted;
	uint64_t least_gap = UINT32_MAX, least_age = 1;
	uint32_t least = 1;

	for (uint32_t i = 1; i + 1u < scaled->count; i++) {
		uint64_t gap = scaled->echo[i + 1].emitted - scaled->echo[i - 1].emitted;
		uint64_t age = newest - scaled->echo[i].emitted + SCALED_FINE_MS;

		if (gap * least_age < least_gap * age) {
			least_gap = gap;
			least_age = age;
			least = i;
		}
	}
	scaled->count--;
	memmove(&scaled->echo[least], &scaled->echo[least + 1], sizeof(scaled->echo[0]) * (scaled->count - least));
}

static void push(struct scaled *scaled, uint32_t emitted, uint32_t tsval)
{
	uint32_t old = 0;

	while (old < scaled->count && emitted - scaled->echo[old].emitted > SCALED_ECHO_AGE_MS)
		old++;
	scaled->knows_switch = scaled->knows_switch && old == 0;
	scaled->count = (uint8_t)(scaled->count - old);
	memmove(&scaled->echo[0], &scaled->echo[old], sizeof(scaled->echo[0]) * scaled->count);
	if (scaled->count == SCALED_ECHOES)
		thin(scaled);
	scaled->echo[scaled->count].emitted = emitted;
	scaled->echo[scaled->count].tsval = tsval;
	scaled->count++;
}

/* Where a flow that had run ahead has got to: it goes at half the clock's pace until the clock has caught up. */
static uint32_t current_tsval(const struct scaled *scaled, uint32_t clock)
{
	uint32_t tsval = seq_max(clock, scaled->switch_tsval + (clock - scaled->switch_clock) / 2);

	return tsval ? tsval : UINT32_MAX; /* as elsewhere, 0 is never emitted */
}

/* A segment that is not newer than the newest: what the first that is not older than it was emitted with. */
static uint32_t emitted_before(const struct scaled *scaled, uint32_t tsval, uint32_t offset)
{
	uint32_t i = 0;

	while (seq_after(tsval, scaled->echo[i].tsval))
		i++;
	return i == 0 && scaled->knows_switch ? tsval + offset : scaled->echo[i].emitted;
}

uint32_t scaled_emit(struct scaled *scaled, uint32_t tsval, uint32_t offset, uint32_t clock)
{
	const uint32_t last = scaled->count - 1u;
	const uint32_t last_emitted = scaled->echo[last].emitted;
	const bool idle = clock - scaled->newest_clock > SCALED_IDLE_MS;
	uint32_t emitted;

	if (!idle && !seq_after(tsval, scaled->echo[last].tsval))
		return emitted_before(scaled, tsval, offset);
	scaled->newest_clock = clock;
	emitted = current_tsval(scaled, clock);
	/* The clock has caught up, and must not be found behind again when it has gone round. */
	if (!scaled->knows_switch && emitted == clock)
		scaled->switch_tsval = scaled->switch_clock = clock;
	/* What follows the offset and what does not is never emitted as the same. */
	if (last == 0 && scaled->knows_switch && emitted == scaled->switch_tsval)
		emitted = emitted + 1 ? emitted + 1 : 1;
	if (seq_after(emitted, last_emitted))
		push(scaled, emitted, tsval);
	else
		scaled->echo[last].tsval = tsval;
	return seq_max(emitted, last_emitted);
}

bool scaled_find_echo(const struct scaled *scaled, uint32_t tsecr, uint32_t offset, uint32_t *ret_tsval)
{
	uint32_t i = 0;

	if (seq_after(tsecr, scaled->echo[scaled->count - 1].emitted))
		return false;
	while (seq_after(tsecr, scaled->echo[i].emitted))
		i++;
	*ret_tsval = i == 0 && scaled->knows_switch ? tsecr - offset : scaled->echo[i].tsval;
	return true;
}
