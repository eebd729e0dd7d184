/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's part in the fast path: the helper loads programs, the worker shares its flows with them, and all is said here. */
#include <string.h>

#include "daemon.h"
#include "fastpath.h"
#include "log.h"

/* The clock of flows that are in common with the programs is where they are. */
static void share_clock(struct daemon *daemon)
{
	struct fastpath_memory *memory = &daemon->fastpath.memory;

	state_move_clock(&daemon->state, &fastpath_shared_of(memory)->clock, memory->is_old);
}

/* Whether flows and programs of before mean by the number of a slot what this process means. */
static bool is_same_numbering(const struct slot_names *before, const struct slot_names *now)
{
	for (uint32_t i = 0; i < before->count && i < DESTINATION_SLOTS; i++)
		if (i >= now->count || strcmp(before->name[i], now->name[i]) != 0)
			return false;
	return true;
}

/* Likewise by a mark. */
static bool is_same_meaning(const struct daemon *daemon)
{
	const struct fastpath_memory *memory = &daemon->fastpath.memory;

	return is_same_numbering(&fastpath_owner_of(memory)->names, daemon->first_names) &&
	       fastpath_shared_of(memory)->mark_shift == daemon->config->rules.fastpath.mark_bit;
}

void fastpath_hold_back_rules(void *context)
{
	struct daemon *daemon = context;

	daemon->rules_held_back = true;
	helper_hold_back_rules(daemon->helper);
}

void fastpath_stop(void *context)
{
	struct daemon *daemon = context;

	helper_stop_fastpath(daemon->helper);
	daemon->fastpath.memory.is_live = false;
}

int fastpath_open(struct daemon *daemon, struct fastpath_memory *ret_left, char *ret_error, size_t error_size)
{
	struct fastpath *fastpath = &daemon->fastpath;
	struct fastpath_outcome outcome = {0};

	*ret_left = (struct fastpath_memory){0};
	if (!helper_open_fastpath(daemon->helper, &outcome, fastpath->memory.maps)) {
		snprintf(ret_error, error_size, "the process that loads programs is no more");
		return -1;
	}
	if (outcome.why_not[0] && daemon->config->rules.fastpath.wish == FASTPATH_YES) {
		snprintf(ret_error, error_size, "[fastpath] enabled = yes: %s", outcome.why_not);
		return -1;
	}
	if (outcome.why_not[0])
		log_warning("no fast path, all packets go through the queues: %s", outcome.why_not);
	if (outcome.why_not[0] && !outcome.has_memory) /* nobody is to look after programs of before, if there are */
		helper_end_fastpath(daemon->helper);
	memcpy(fastpath->why_not, outcome.why_not, sizeof(fastpath->why_not));
	fastpath->memory.sizes = outcome.sizes;
	fastpath->memory.is_old = outcome.is_old;
	fastpath->memory.is_carried = outcome.is_carried;
	if (outcome.has_memory && !outcome.is_to_go) {
		share_clock(daemon);
		fastpath->memory.is_live = outcome.is_old;
		if (outcome.is_old && !is_same_meaning(daemon))
			fastpath_stop(daemon);
	} else if (outcome.has_memory) {
		*ret_left = fastpath->memory;
		fastpath->memory = (struct fastpath_memory){0};
		state_take_clock(&daemon->state, &fastpath_shared_of(ret_left)->clock);
	}
	if ((outcome.has_memory || outcome.why_not[0]) && !fastpath->memory.is_live)
		++*daemon->state.generation;
	if (fastpath->memory.is_live) /* wherever they are to be, for all that is known */
		fastpath->attached.live = (UINT32_C(1) << daemon->config->rules.fastpath.interface_count) - 1;
	return 0;
}

static bool has_fastpath(const struct daemon *daemon)
{
	return daemon->fastpath.memory.maps[FASTPATH_MAP_SHARED] != NULL;
}

/* What is new since the last look. */
static void tell_news(struct daemon *daemon, const struct fastpath_attached *now)
{
	struct fastpath *fastpath = &daemon->fastpath;
	const struct fastpath_attached *before = &fastpath->attached;

	if (now->missing[0] && strcmp(now->missing, before->missing) != 0)
		log_warning("no fast path%s: %s", now->count ? " for one of its interfaces" : ", all packets go through the queues", now->missing);
	if (now->count && now->count != before->count && daemon->now) /* at the start that is said with all else */
		log_info("fast path: programs of the kernel at %u interfaces, by %s", now->count, now->is_tcx ? "tcx" : "clsact");
	fastpath->attached = *now;
	memcpy(fastpath_shared_of(&fastpath->memory)->covered, now->index, sizeof(now->index));
	__atomic_store_n(&fastpath_shared_of(&fastpath->memory)->covered_count, now->count, __ATOMIC_RELEASE);
}

_Static_assert((int)FASTPATH_WANS_MAX == (int)FASTPATH_INTERFACES_MAX, "as many as can be configured");

void fastpath_look(struct daemon *daemon)
{
	struct fastpath_attached now;
	bool has_lost;

	daemon->fastpath.has_to_look = false; /* what changes meanwhile is looked at once more */
	if (!has_fastpath(daemon) || !helper_is_there(daemon->helper))
		return;
	if (!helper_attach_fastpath(daemon->helper, &now))
		return;
	has_lost = daemon->fastpath.attached.live & ~now.live;
	tell_news(daemon, &now);
	if (has_lost && daemon->config->rules.placement == PLACEMENT_FORWARD) {
		++*daemon->state.generation;
		daemon->fastpath.has_old_rules = true;
	}
	if (daemon->fastpath.has_old_rules)
		daemon->fastpath.has_old_rules = !reload_renew_rules(daemon);
	/* What they had done with goes through the queues now, also what goes back. Behind the NAT rules let go what is for programs that are there, and nothing else. */
	if (daemon->config->rules.placement == PLACEMENT_POSTNAT && now.live != daemon->fastpath.let_go && reload_renew_rules(daemon))
		daemon->fastpath.let_go = now.live;
}

void fastpath_begin(struct daemon *daemon, const struct fastpath_memory *left)
{
	struct fastpath_memory *memory = &daemon->fastpath.memory, gone = *left;

	if (gone.maps[FASTPATH_MAP_SHARED]) {
		helper_end_fastpath(daemon->helper);
		fastpath_memory_unmap(&gone);
		log_info("the fast path has ended, its flows go on by the queues");
	}
	if (!has_fastpath(daemon))
		return;
	daemon->fastpath.tc = tc_watch_open();
	fastpath_owner_of(memory)->names = *daemon->first_names;
	watch_add_rings(&daemon->watch, memory->maps[FASTPATH_MAP_EVENTS], memory->sizes.cpus);
	fastpath_tell(memory, &daemon->workers[0].engine, &daemon->config->rules.fastpath, daemon->state.clock_offset_ms);
	fastpath_set_draining(daemon);
}

void fastpath_set_draining(struct daemon *daemon)
{
	fastpath_set_flags(&daemon->fastpath.memory, state_is_draining(&daemon->state) ? FASTPATH_DRAINING : 0);
}

void fastpath_set_clock(struct daemon *daemon)
{
	if (has_fastpath(daemon))
		__atomic_store_n(&fastpath_shared_of(&daemon->fastpath.memory)->clock_offset_ms, daemon->state.clock_offset_ms,
				 __ATOMIC_RELAXED);
}

void fastpath_end(struct daemon *daemon)
{
	if (has_fastpath(daemon))
		helper_end_fastpath(daemon->helper);
}
