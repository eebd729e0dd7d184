/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What pawsd tells of itself: one line for each figure (snapshot.h). */
#include "metrics.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "answers_internal.h"
#include "daemon.h"
#include "policy_build.h"

enum {
	STAMP_LIFE_MS = 60000 + 1000, /* at the server, in whole seconds */
};

/*
 * A destination that is stripped drains for as long as a server may remember a TSval: until all known
 * flows with timestamps have ended, and the last of them, and all that are not known, 60 s ago.
 */
static bool is_draining(const struct daemon *daemon, const struct destination *destination, uint32_t *ret_flows,
			uint32_t *ret_seconds)
{
	uint64_t now = state_now(&daemon->state), last = daemon->stripped_since[destination->slot];
	struct drain_strip strip;

	*ret_flows = *ret_seconds = 0;
	if (!destination->enabled || destination->mode != MODE_STRIP || !daemon->drain.strips)
		return false;
	strip = daemon->drain.strips[destination->slot];
	if (strip.flows || (uint64_t)strip.last_seen_s * 1000 > last)
		last = strip.flows ? now : (uint64_t)strip.last_seen_s * 1000;
	if (now < last + STAMP_LIFE_MS)
		*ret_seconds = (uint32_t)((last + STAMP_LIFE_MS - now + 999) / 1000);
	*ret_flows = strip.flows;
	return *ret_seconds > 0;
}

static void write_draining(const struct daemon *daemon, FILE *out)
{
	const struct policy *policy = daemon->config->policy;
	uint32_t flows, seconds;

	for (size_t i = 0; i < policy->destination_count; i++) {
		if (is_draining(daemon, &policy->destinations[i], &flows, &seconds))
			fprintf(out, "draining %s %u %u\n", policy->destinations[i].name, flows, seconds);
	}
}

_Static_assert(METRIC_HAZARD_KERNEL - METRIC_HAZARD_FLOWTABLE + 1 == HAZARD_COUNT, "the same in both tables");

_Static_assert(METRIC_SUSPECTS_FOREIGN_TSECR - METRIC_SUSPECTS_RECYCLE + 1 == FINDING_COUNT, "the same in both tables");

static void collect(struct daemon *daemon, uint64_t values[METRIC_COUNT])
{
	const struct config *config = daemon->config;
	uint64_t tick = state_now(&daemon->state);

	memset(values, 0, METRIC_COUNT * sizeof(values[0]));
	for (uint32_t i = 0; i < config->rules.workers; i++) {
		const struct worker *worker = &daemon->workers[i];

		values[METRIC_FLOWS_CAPACITY] += worker->engine.table.capacity;
		values[METRIC_FLOWS_USED] += __atomic_load_n(&worker->flows_used, __ATOMIC_RELAXED);
		values[METRIC_PUSHED_OUT] += counter_read(&worker->counters->pushed_out);
		values[METRIC_SYN_PAIRS_USED] += __atomic_load_n(&worker->pairs_used, __ATOMIC_RELAXED);
		values[METRIC_SCALED_FLOWS] += __atomic_load_n(&worker->scaled_used, __ATOMIC_RELAXED);
		struct queue_stats stats = queue_stats_read(worker->queues);

		values[METRIC_BATCHES] += stats.batches;
		values[METRIC_VERDICT_ERRORS] += stats.verdict_errors;
		values[METRIC_QUEUE_MESSAGE_ERRORS] += stats.message_errors;
	}
	values[METRIC_UPTIME] = tick - daemon->started_tick;
	values[METRIC_WORKERS] = config->rules.workers;
	values[METRIC_CLOCK_LEAD] = clock_lead_ms(&daemon->workers[0].engine.clock, tick);
	for (int family = 0; family < FAMILY_COUNT; family++)
		values[METRIC_POLICY_RANGES] += config->policy->ranges[family].count;
	values[METRIC_RELOADS] = daemon->reloads;
	values[METRIC_RELOADS_REFUSED] = daemon->reloads_refused;
	values[METRIC_RELOAD_OK] = daemon->last_reload_ok;
	values[METRIC_TRIAL] = daemon->trial_until > tick ? daemon->trial_until - tick : 0;
	values[METRIC_RULES_INSTALLED] = daemon->rules_installed;
	values[METRIC_RULES_CHANGED] = daemon->rules_changed;
	values[METRIC_RULES_FAILED] = daemon->has_failed_rules;
	values[METRIC_HELPER] = helper_is_there(daemon->helper);
	values[METRIC_HELPER_BUSY] = daemon->asking_since && tick > daemon->asking_since ? tick - daemon->asking_since : 0;
	values[METRIC_CONFINED] = daemon->is_confined;
	for (int i = 0; i < HAZARD_COUNT; i++)
		values[METRIC_HAZARD_FLOWTABLE + i] = *daemon->surroundings.found[i] != '\0';
	watch_count(&daemon->watch, CONFIDENCE_LIKELY, &values[METRIC_SUSPECTS_RECYCLE]);
	values[METRIC_EVENTS] = daemon->watch.diagnosis->events;
	values[METRIC_EVENTS_LOST] = watch_lost(&daemon->watch);
	values[METRIC_LABELS] = daemon->rules_label;
	values[METRIC_STRIPS_IN_KERNEL] = daemon->strip_counts.in_kernel;
	values[METRIC_FASTPATH_INTERFACES] = daemon->fastpath.attached.count;
	values[METRIC_FASTPATH_MISSING] = daemon->fastpath.why_not[0] || daemon->fastpath.attached.missing[0];
	for (uint32_t slot = 0; slot < daemon->state.names->count; slot++)
		for (enum reason reason = 0; reason < REASON_COUNT; reason++)
			values[METRIC_FASTPATH_PACKETS] += fastpath_count(&daemon->fastpath.memory, slot, reason);
	values[METRIC_DRAINING] = state_is_draining(&daemon->state);
	values[METRIC_DRAINING_FLOWS] = state_is_draining(&daemon->state) ? daemon->draining_flows : 0;
	values[METRIC_DRAINING_SERVERS] = daemon->drain.count;
	for (size_t i = 0; i < config->policy->destination_count; i++) {
		uint32_t flows, seconds;

		values[METRIC_OVERRIDES] += config->policy->destinations[i].is_overridden;
		values[METRIC_DRAINING_DESTINATIONS] +=
			is_draining(daemon, &config->policy->destinations[i], &flows, &seconds);
	}
}

static void write_trial(const struct daemon *daemon, FILE *out)
{
	const struct policy_trial *trial = &daemon->trial;
	char addr[64];

	addr_format(&trial->server, addr, sizeof(addr));
	fprintf(out, "info trial %s", addr);
	if (trial->port)
		fprintf(out, " port %u", trial->port);
	fprintf(out, ", mode %s, for %" PRIu64 " s more\n", mode_names[trial->mode],
		(daemon->trial_until - state_now(&daemon->state) + 999) / 1000);
}

static void write_fastpath(const struct daemon *daemon, FILE *out)
{
	const struct fastpath *fastpath = &daemon->fastpath;
	const char *missing = fastpath_kernel_missing();

	if (!fastpath_is_wanted(&daemon->config->rules.fastpath))
		fprintf(out, "info fastpath not configured%s%s\n", missing ? "; " : "", missing ? missing : "");
	else if (fastpath->why_not[0])
		fprintf(out, "info fastpath none: %s\n", fastpath->why_not);
	else
		fprintf(out, "info fastpath %u interfaces, by %s%s%s\n", fastpath->attached.count,
			fastpath->attached.is_tcx ? "tcx" : "clsact", fastpath->attached.missing[0] ? "; " : "",
			fastpath->attached.missing);
}

static void write_infos(struct daemon *daemon, FILE *out)
{
	static const char *const backends[] = {
		[RULES_NONE] = "none", [RULES_IPTABLES] = "iptables", [RULES_NFT] = "nft"};

	fprintf(out, "info version %s\n", PAWSD_VERSION);
	fprintf(out, "info pid %d\n", getpid());
	fprintf(out, "info config %s\n", daemon->config_path);
	fprintf(out, "info rules %s\n", backends[daemon->config->rules.backend]);
	write_fastpath(daemon, out);
	fprintf(out, "info last_reload %s\n", daemon->last_reload);
	if (daemon->trial_until > state_now(&daemon->state))
		write_trial(daemon, out);
}

static void write_destinations(const struct policy *policy, FILE *out)
{
	for (size_t i = 0; i < policy->destination_count; i++) {
		const struct destination *destination = &policy->destinations[i];

		fprintf(out, "destination %s %s %s %zu\n", destination->name, mode_names[destination->mode],
			destination->enabled ? "enabled" : "disabled", destination->prefix_count);
		if (destination->is_overridden)
			fprintf(out, "override %s %s\n", destination->name, mode_names[destination->written]);
	}
}

static void write_queues(const struct daemon *daemon, FILE *out)
{
	for (uint32_t i = 0; i < daemon->config->rules.workers; i++) {
		for (int role = 0; role < QUEUE_ROLES; role++) {
			uint16_t number = queue_number(daemon->workers[i].queues, (enum queue_role)role);
			struct queue_kernel_stats stats = {0};

			queue_kernel_stats_read(number, &stats);
			fprintf(out, "queue %u %s %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", number,
				queue_role_names[role], i, stats.queued, stats.waiting, stats.dropped_full,
				stats.dropped_user);
		}
	}
}

uint64_t daemon_count_packets(const struct daemon *daemon, uint32_t slot, enum reason reason)
{
	uint64_t sum = strip_counts_get(&daemon->strip_counts, slot, reason) + fastpath_count(&daemon->fastpath.memory, slot, reason);

	for (uint32_t i = 0; i < daemon->config->rules.workers; i++)
		sum += counter_read(&daemon->workers[i].counters->reason[slot][reason]);
	return sum;
}

uint64_t daemon_count_flows(const struct daemon *daemon, uint32_t slot, enum flow_state state)
{
	uint64_t sum = fastpath_count_flows(&daemon->fastpath.memory, slot, state);

	for (uint32_t i = 0; i < daemon->config->rules.workers; i++)
		sum += counter_read(&daemon->workers[i].counters->flows[slot][state]);
	return sum;
}

static void write_slot(const struct daemon *daemon, uint32_t slot, FILE *out)
{
	const char *name = daemon->state.names->name[slot];

	for (enum reason reason = 0; reason < REASON_COUNT; reason++) {
		uint64_t sum = daemon_count_packets(daemon, slot, reason);

		if (sum)
			fprintf(out, "packets %s %s %" PRIu64 "\n", name, reason_table[reason].name, sum);
	}
	for (enum flow_state state = FLOW_FREE + 1; state < FLOW_STATE_COUNT; state++) {
		uint64_t sum = daemon_count_flows(daemon, slot, state);

		if (sum)
			fprintf(out, "flows %s %s %" PRIu64 "\n", name, flow_state_names[state], sum);
	}
}

void metrics_write(struct daemon *daemon, FILE *out, bool with_packets)
{
	uint64_t values[METRIC_COUNT];

	if (with_packets && !daemon->asking_since)
		strip_counts_read(&daemon->strip_counts, daemon->helper, daemon->config->policy,
				  state_now(&daemon->state), false);
	collect(daemon, values);
	write_infos(daemon, out);
	for (int i = 0; i < METRIC_COUNT; i++)
		fprintf(out, "metric %s %" PRIu64 "\n", metric_table[i].name, values[i]);
	write_destinations(daemon->config->policy, out);
	write_draining(daemon, out);
	for (uint32_t slot = 0; with_packets && slot < daemon->state.names->count; slot++)
		write_slot(daemon, slot, out);
	write_queues(daemon, out);
}
