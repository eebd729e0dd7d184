/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "clock.h"

#include "atomic.h"
#include "hash.h"
#include "seq.h"

static uint64_t mark_make(uint32_t tsval, uint64_t tick)
{
	return (uint64_t)tsval << 32 | (uint32_t)tick;
}

static uint32_t mark_tsval(uint64_t mark)
{
	return (uint32_t)(mark >> 32);
}

static uint32_t mark_age_ms(uint64_t mark, uint64_t tick)
{
	uint32_t age = (uint32_t)tick - (uint32_t)mark;

	/* Another worker's batch may have begun a little later than ours. */
	return age > UINT32_MAX - CLOCK_MARK_AGE_MS ? 0 : age;
}

static bool mark_is_fresh(uint64_t mark, uint64_t tick, uint32_t max_age_ms)
{
	return mark != 0 && mark_age_ms(mark, tick) <= max_age_ms;
}

/*
 * The oldest TSval a SYN may carry beside this mark. The mark's flow may have ended and its
 * four-tuple be another client's by now, so that a SYN must be strictly newer (P1); a public
 * port does not change hands within the millisecond, and in it the mark itself will do. That
 * keeps a stream of SYNs from driving the mark ahead of itself.
 */
static uint32_t mark_floor(uint64_t mark, uint64_t tick)
{
	return mark_tsval(mark) + (mark_age_ms(mark, tick) > 0);
}

/*
 * How far a TSval is ahead of the clock, ms; 0 where it is not. TSvals are compared by this alone: those
 * that unmanaged flows send lie anywhere, and of three of them each may be newer than the next.
 */
static uint32_t ahead_ms(const struct clock *clock, uint64_t tick, uint32_t tsval)
{
	uint32_t ahead = tsval - clock_tsval(clock, tick);

	return seq_after(ahead, 0) ? ahead : 0;
}

/*
 * Replaces the mark unless it is fresh and further ahead. Where it is, it lives on, for forgetting it would
 * forget `tsval` as well: as the floor that it is by now, so that no SYN is given less than one before it.
 * What is not ahead of the clock need not be noted: no SYN is older.
 */
static void mark_raise(const struct clock *clock, uint64_t *mark, uint64_t tick, uint32_t max_age_ms, uint32_t tsval)
{
	uint64_t old = atomic_load(mark), new;
	uint32_t ahead = ahead_ms(clock, tick, tsval);

	if (ahead == 0)
		return;
	for (uint32_t tries = 0; tries < ATOMIC_TRIES; tries++) {
		new = mark_make(tsval, tick);
		if (mark_is_fresh(old, tick, max_age_ms) && ahead <= ahead_ms(clock, tick, mark_tsval(old))) {
			if (mark_age_ms(old, tick) <= CLOCK_MARK_REFRESH_MS)
				return;
			new = mark_make(mark_floor(old, tick), tick);
		}
		if (atomic_exchange_if(mark, &old, new))
			return;
	}
}

uint32_t clock_slot(const struct clock *clock, const struct addr *server)
{
	return (uint32_t)(hash_bytes16(server->byte, clock->shared->secret) % CLOCK_SERVER_SLOTS);
}

uint64_t clock_publish(struct clock *clock, uint64_t tick)
{
	uint64_t *published = &clock->shared->published;
	uint64_t seen = atomic_load(published);

	for (uint32_t tries = 0; tries < ATOMIC_TRIES && seen < tick; tries++)
		if (atomic_exchange_if(published, &seen, tick))
			return tick;
	return seen;
}

uint32_t clock_syn_tsval(struct clock *clock, uint64_t tick, const struct addr *server, const uint32_t *previous)
{
	/* Another worker may have sent SYNs of a later batch than ours already. */
	uint64_t published = atomic_load(&clock->shared->published);
	/* Older than the lead, the high mark has been overtaken by the clock. */
	uint64_t high = atomic_load(&clock->shared->high);
	uint64_t *slot = &clock->shared->server[clock_slot(clock, server)];
	uint64_t mark = atomic_load(slot);
	uint32_t ahead = 0, tsval;

	if (published > tick)
		tick = published;
	if (mark_is_fresh(high, tick, clock->max_lead_ms))
		ahead = ahead_ms(clock, tick, mark_floor(high, tick));
	if (mark_is_fresh(mark, tick, CLOCK_MARK_AGE_MS) && ahead_ms(clock, tick, mark_floor(mark, tick)) > ahead) {
		ahead = ahead_ms(clock, tick, mark_floor(mark, tick));
		/* This SYN is now the newest that the server knows: the mark must outlast it. */
		if (mark_age_ms(mark, tick) > CLOCK_MARK_REFRESH_MS)
			mark_raise(clock, slot, tick, CLOCK_MARK_AGE_MS, clock_tsval(clock, tick) + ahead);
	}
	if (previous && ahead_ms(clock, tick, *previous + 1) > ahead) {
		ahead = ahead_ms(clock, tick, *previous + 1);
		clock_raise(clock, tick, server, *previous + 1);
	}
	tsval = clock_tsval(clock, tick) + ahead;
	return tsval ? tsval : 1;
}

void clock_raise(struct clock *clock, uint64_t tick, const struct addr *server, uint32_t tsval)
{
	if (tsval - clock_tsval(clock, tick) <= clock->max_lead_ms)
		mark_raise(clock, &clock->shared->high, tick, clock->max_lead_ms, tsval);
	else
		clock_raise_server(clock, tick, server, tsval);
}

void clock_raise_server(struct clock *clock, uint64_t tick, const struct addr *server, uint32_t tsval)
{
	mark_raise(clock, &clock->shared->server[clock_slot(clock, server)], tick, CLOCK_MARK_AGE_MS, tsval);
}

uint32_t clock_furthest(const struct clock *clock, uint64_t tick, uint32_t tsval, uint32_t other)
{
	if (!tsval || !other)
		return tsval | other;
	return seq_furthest(clock_tsval(clock, tick), tsval, other);
}

uint64_t clock_mark_ahead(const struct clock *clock, uint64_t tick, uint32_t slot)
{
	uint64_t mark = atomic_load(&clock->shared->server[slot]);

	return mark_is_fresh(mark, tick, CLOCK_MARK_AGE_MS) && ahead_ms(clock, tick, mark_floor(mark, tick)) ? mark : 0;
}

static void forget_if_stale(uint64_t *mark, uint64_t tick)
{
	uint64_t seen = atomic_load(mark);

	if (seen && !mark_is_fresh(seen, tick, CLOCK_MARK_AGE_MS))
		atomic_exchange_if(mark, &seen, 0);
}

void clock_sweep(struct clock *clock, uint64_t tick, uint32_t count, uint32_t *hand)
{
	if (count)
		forget_if_stale(&clock->shared->high, tick);
	for (; count > 0; count--) {
		forget_if_stale(&clock->shared->server[*hand], tick);
		*hand = (*hand + 1) % CLOCK_SERVER_SLOTS;
	}
}

void clock_note_stamped(struct clock *clock, uint32_t seen_s, const struct addr *server)
{
	uint32_t *stamped_s = &clock->shared->stamped_s[clock_slot(clock, server)];
	uint32_t before_s = atomic_load(stamped_s);

	if (before_s == 0 || seq_after(seen_s, before_s))
		atomic_store(stamped_s, seen_s);
}

bool clock_is_stamped(const struct clock *clock, uint64_t tick, const struct addr *server)
{
	uint32_t stamped_s = atomic_load(&clock->shared->stamped_s[clock_slot(clock, server)]);

	/* Another worker's second may have begun before ours. */
	return stamped_s && (uint32_t)(tick / 1000) - stamped_s + 1 <= CLOCK_MARK_AGE_MS / 1000 + 1;
}

uint32_t clock_lead_ms(const struct clock *clock, uint64_t tick)
{
	uint64_t high = atomic_load(&clock->shared->high);

	return mark_is_fresh(high, tick, clock->max_lead_ms) ? ahead_ms(clock, tick, mark_tsval(high)) : 0;
}
