/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "top_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "totals.h"

const char *const view_order_names[VIEW_ORDERS] = {
	[VIEW_BY_PACKETS] = "packets", [VIEW_BY_SYNS] = "SYNs", [VIEW_BY_FLOWS] = "flows", [VIEW_BY_NAME] = "name"};

enum {
	METER_WIDTH = 30,
	NAME_WIDTH = 24,
	ALARM_PERCENT = 90, /* of the flow table */
};

/* Of a destination, or of all: a second each, but for the flows. */
struct rates {
	const struct snapshot_destination *destination; /* NULL: of all */
	double packets[TOTAL_COUNT], packets_all;
	double syns, full, foreign;
	uint64_t flows; /* that have not ended */
};

/* ---- figures ---- */

/* A counter that is less than before began anew. */
static double rate(uint64_t before, uint64_t now, double seconds)
{
	uint64_t more = now >= before ? now - before : now;

	return seconds > 0 ? (double)more / seconds : 0;
}

static const struct snapshot_destination *find_destination(const struct snapshot *snapshot, const char *name)
{
	for (size_t i = 0; snapshot && i < snapshot->destination_count; i++) {
		if (strcmp(snapshot->destinations[i].name, name) == 0)
			return &snapshot->destinations[i];
	}
	return NULL;
}

static uint64_t live_flows(const struct snapshot_destination *destination)
{
	uint64_t sum = 0;

	for (int state = FLOW_FREE + 1; state < FLOW_STATE_COUNT; state++) {
		if (state != FLOW_TIME_WAIT && state != FLOW_CLOSE)
			count_add(&sum, destination->flows[state]);
	}
	return sum;
}

static uint64_t sum_of(const struct snapshot_destination *destination, const enum reason *reasons, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		count_add(&sum, destination->packets[reasons[i]]);
	return sum;
}

static struct rates rates_of(const struct snapshot_destination *destination, const struct view_data *data)
{
	static const struct snapshot_destination nothing;
	static const enum reason full[] = {REASON_TABLE_FULL, REASON_CLIENT_QUOTA};
	static const enum reason foreign[] = {REASON_SYNACK_FOREIGN_TSECR, REASON_SYNACK_OBSERVED_FOREIGN};
	const struct snapshot_destination *old = find_destination(data->before, destination->name);
	struct rates rates = {.destination = destination, .flows = live_flows(destination)};
	const double seconds = data->before ? data->seconds : 0;
	struct totals before = {0}, now = {0};

	if (!old)
		old = &nothing;
	totals_add(&before, old);
	totals_add(&now, destination);
	for (int i = 0; i < TOTAL_COUNT; i++) {
		rates.packets[i] = rate(before.packets[i], now.packets[i], seconds);
		rates.packets_all += rates.packets[i];
	}
	rates.syns = rate(before.syn_count, now.syn_count, seconds);
	rates.full = rate(sum_of(old, full, 2), sum_of(destination, full, 2), seconds);
	rates.foreign = rate(sum_of(old, foreign, 2), sum_of(destination, foreign, 2), seconds);
	return rates;
}

static void add_rates(struct rates *sum, const struct rates *rates)
{
	for (int i = 0; i < TOTAL_COUNT; i++)
		sum->packets[i] += rates->packets[i];
	sum->packets_all += rates->packets_all;
	sum->syns += rates->syns;
	sum->full += rates->full;
	sum->foreign += rates->foreign;
	count_add(&sum->flows, rates->flows);
}

static int compare_numbers(double a, double b)
{
	return (a < b) - (a > b);
}

/* qsort() has no context. */
static enum view_order order_in_use;

static int compare_rates(const void *a, const void *b)
{
	const struct rates *left = a, *right = b;
	int order = 0;

	if (order_in_use == VIEW_BY_PACKETS)
		order = compare_numbers(left->packets_all, right->packets_all);
	else if (order_in_use == VIEW_BY_SYNS)
		order = compare_numbers(left->syns, right->syns);
	else if (order_in_use == VIEW_BY_FLOWS)
		order = compare_numbers((double)left->flows, (double)right->flows);
	return order ? order : strcmp(left->destination->name, right->destination->name);
}

/* Of all destinations that are configured or have something; *ret_sum of all of them. NULL where memory is short. */
static struct rates *all_rates(const struct view_data *data, enum view_order order, size_t *ret_count, struct rates *ret_sum)
{
	struct rates *all = calloc(data->now->destination_count + 1, sizeof(*all));

	*ret_count = 0;
	*ret_sum = (struct rates){0};
	for (size_t i = 0; all && i < data->now->destination_count; i++) {
		struct rates rates = rates_of(&data->now->destinations[i], data);

		add_rates(ret_sum, &rates);
		if (data->now->destinations[i].mode[0] || rates.flows || rates.packets_all > 0)
			all[(*ret_count)++] = rates;
	}
	order_in_use = order;
	if (all)
		qsort(all, *ret_count, sizeof(*all), compare_rates);
	return all;
}

static double metric_rate(const struct view_data *data, enum metric metric)
{
	return data->before ? rate(data->before->metrics[metric], data->now->metrics[metric], data->seconds) : 0;
}

struct queue_sums {
	uint64_t waiting, dropped;
	double dropped_rate;
};

static struct queue_sums queue_sums_of(const struct view_data *data)
{
	struct queue_sums sums = {0};
	uint64_t before = 0;

	for (size_t i = 0; i < data->now->queue_count; i++) {
		count_add(&sums.waiting, data->now->queues[i].waiting);
		count_add(&sums.dropped, data->now->queues[i].dropped_full);
		count_add(&sums.dropped, data->now->queues[i].dropped_user);
	}
	for (size_t i = 0; data->before && i < data->before->queue_count; i++) {
		count_add(&before, data->before->queues[i].dropped_full);
		count_add(&before, data->before->queues[i].dropped_user);
	}
	if (data->before)
		sums.dropped_rate = rate(before, sums.dropped, data->seconds);
	return sums;
}

/* ---- lines ---- */

__attribute__((format(printf, 3, 4))) static void add_line(struct view *view, enum view_style style, const char *format, ...)
{
	va_list args;

	if (view->count == VIEW_LINES)
		return;
	va_start(args, format);
	vsnprintf(view->lines[view->count].text, VIEW_WIDTH, format, args);
	va_end(args);
	view->lines[view->count++].style = style;
}

/* "950", "12.3 k", "4.56 M": at most six characters. */
static const char *format_rate(double value, char ret_text[16])
{
	if (value >= 999950)
		snprintf(ret_text, 16, "%.2f M", value / 1e6);
	else if (value >= 9999.5)
		snprintf(ret_text, 16, "%.1f k", value / 1e3);
	else if (value >= 9.95 || value == 0)
		snprintf(ret_text, 16, "%.0f", value);
	else
		snprintf(ret_text, 16, "%.1f", value);
	return ret_text;
}

static const char *info_of(const struct snapshot *snapshot, const char *key)
{
	for (size_t i = 0; i < snapshot->info_count; i++) {
		if (strcmp(snapshot->infos[i].key, key) == 0)
			return snapshot->infos[i].value;
	}
	return NULL;
}

static void add_head(struct view *view, const struct snapshot *now)
{
	const uint64_t up = now->metrics[METRIC_UPTIME] / 1000;
	const char *version = info_of(now, "version"), *rules = info_of(now, "rules"), *trial = info_of(now, "trial");

	add_line(view, VIEW_PLAIN, "pawsd %s   up %" PRIu64 " d %02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 "   workers %" PRIu64 "   rules by %s",
		 version ? version : "?", up / 86400, up / 3600 % 24, up / 60 % 60, up % 60, now->metrics[METRIC_WORKERS],
		 rules ? rules : "?");
	if (!now->metrics[METRIC_RELOAD_OK])
		add_line(view, VIEW_ALARM, "the last reload was refused: %s", info_of(now, "last_reload") ? info_of(now, "last_reload") : "");
	if (now->metrics[METRIC_DRAINING])
		add_line(view, VIEW_ALARM, "draining: no new connection is rewritten, %" PRIu64 " go on", now->metrics[METRIC_DRAINING_FLOWS]);
	if (trial)
		add_line(view, VIEW_ALARM, "trial: %s", trial);
	if (!now->metrics[METRIC_HELPER])
		add_line(view, VIEW_ALARM, "the process that changes rules is no more: start pawsd again");
	for (int i = METRIC_HAZARD_FLOWTABLE; i <= METRIC_HAZARD_KERNEL; i++) {
		if (now->metrics[i])
			add_line(view, VIEW_ALARM, "%s: %s", metric_table[i].name, metric_table[i].help);
	}
}

static void add_meter(struct view *view, const struct snapshot *now)
{
	const uint64_t used = now->metrics[METRIC_FLOWS_USED], capacity = now->metrics[METRIC_FLOWS_CAPACITY];
	const double part = capacity ? (double)used / (double)capacity : 0;
	char meter[METER_WIDTH + 1];

	for (int i = 0; i < METER_WIDTH; i++)
		meter[i] = (double)i + 0.5 < part * METER_WIDTH ? '#' : '.';
	meter[METER_WIDTH] = '\0';
	add_line(view, part * 100 >= ALARM_PERCENT ? VIEW_ALARM : VIEW_PLAIN, "flow table  [%s] %" PRIu64 " of %" PRIu64 " (%.1f %%)", meter,
		 used, capacity, part * 100);
}

static void add_sums(struct view *view, const struct view_data *data, const struct rates *sum)
{
	const struct queue_sums queues = queue_sums_of(data);
	const double batches = metric_rate(data, METRIC_BATCHES);
	char a[16], b[16], c[16], d[16], e[16], f[16];

	add_line(view, VIEW_PLAIN, "packets/s   %6s   rewritten %s, stripped %s, repaired %s, observed %s, passed %s",
		 format_rate(sum->packets_all, a), format_rate(sum->packets[TOTAL_REWRITTEN], b),
		 format_rate(sum->packets[TOTAL_STRIPPED], c), format_rate(sum->packets[TOTAL_REPAIRED], d),
		 format_rate(sum->packets[TOTAL_OBSERVED], e), format_rate(sum->packets[TOTAL_PASSED], f));
	add_line(view, sum->full > 0 ? VIEW_ALARM : VIEW_PLAIN, "SYNs/s      %6s   without a place in the table %s",
		 format_rate(sum->syns, a), format_rate(sum->full, b));
	add_line(view, queues.dropped_rate > 0 ? VIEW_ALARM : VIEW_PLAIN,
		 "queues      %6" PRIu64 "   waiting; dropped %s/s, %" PRIu64 " ever; %.1f packets a batch", queues.waiting,
		 format_rate(queues.dropped_rate, a), queues.dropped, batches > 0 ? sum->packets_all / batches : 0.0);
	add_line(view, VIEW_PLAIN, "clock       %6.1f   seconds ahead, pushed by fast clients", (double)data->now->metrics[METRIC_CLOCK_LEAD] / 1000);
}

static void add_destination(struct view *view, const struct rates *rates, const char *name, const char *mode)
{
	char a[16], b[16], c[16], d[16], e[16], f[16], g[16];

	add_line(view, VIEW_PLAIN, "%-*.*s %-9s %9" PRIu64 " %8s %9s %9s %9s %9s %9s %9s", NAME_WIDTH, NAME_WIDTH, name, mode, rates->flows,
		 format_rate(rates->syns, a), format_rate(rates->packets[TOTAL_REWRITTEN], b), format_rate(rates->packets[TOTAL_STRIPPED], c),
		 format_rate(rates->packets[TOTAL_REPAIRED], d), format_rate(rates->packets[TOTAL_OBSERVED], e),
		 format_rate(rates->packets[TOTAL_PASSED], f), format_rate(rates->packets_all, g));
}

static void add_destinations(struct view *view, const struct view_data *data, enum view_order order, size_t rows)
{
	struct rates sum, *all;
	size_t count, shown;
	char mode[24];

	all = all_rates(data, order, &count, &sum);
	if (!all)
		return;
	add_sums(view, data, &sum);
	add_line(view, VIEW_PLAIN, "%s", "");
	add_line(view, VIEW_TITLE, "%-*s %-9s %9s %8s %9s %9s %9s %9s %9s %9s", NAME_WIDTH, "destination", "mode", "flows", "SYNs/s",
		 "rewritten", "stripped", "repaired", "observed", "passed", "packets/s");
	shown = rows > view->count + 1 ? rows - view->count - 1 : 0;
	for (size_t i = 0; i < count && i < shown; i++) {
		const struct snapshot_destination *destination = all[i].destination;

		snprintf(mode, sizeof(mode), "%s%s", !destination->mode[0]	? "-"
						     : destination->enabled ? destination->mode
									    : "disabled",
			 destination->written_mode[0] ? "*" : "");
		add_destination(view, &all[i], destination->name, mode);
	}
	if (count > shown)
		add_line(view, VIEW_PLAIN, "and %zu more", count - shown);
	else if (count > 1)
		add_destination(view, &sum, "(all)", "");
	free(all);
}

static void add_suspects(struct view *view, const struct view_data *data, size_t rows)
{
	size_t shown = rows > view->count + 2 ? rows - view->count - 2 : 0;

	if (!data->suspect_count || !shown)
		return;
	add_line(view, VIEW_PLAIN, "%s", "");
	add_line(view, VIEW_TITLE, "%-44s %-18s %s", "suspect (pawsctl suspects)", "finding", "confidence");
	for (size_t i = 0; i < data->suspect_count && i < shown; i++)
		add_line(view, VIEW_PLAIN, "%-44s %-18s %s", data->suspects[i].server, finding_table[data->suspects[i].finding].name,
			 confidence_names[data->suspects[i].confidence]);
}

void view_make(struct view *view, const struct view_data *data, enum view_order order, size_t rows)
{
	/* A third is for the suspects, if there are as many. */
	size_t below = data->suspect_count ? data->suspect_count + 2 : 0;

	view->count = 0;
	if (rows > VIEW_LINES)
		rows = VIEW_LINES;
	if (below > rows / 3)
		below = rows / 3;
	add_head(view, data->now);
	add_meter(view, data->now);
	add_destinations(view, data, order, rows - below);
	add_suspects(view, data, rows);
}

/* ---- JSON ---- */

static json_t *rates_to_json(const struct rates *rates)
{
	json_t *packets = json_object();

	for (int i = 0; i < TOTAL_COUNT; i++)
		json_object_set_new(packets, reason_total_names[i], json_real(rates->packets[i]));
	return json_pack("{s:I, s:f, s:f, s:o, s:f, s:f}", "flows", (json_int_t)rates->flows, "syns_per_second", rates->syns,
			 "packets_per_second", rates->packets_all, "packets_per_second_by_outcome", packets,
			 "syns_without_place_per_second", rates->full, "foreign_tsecr_per_second", rates->foreign);
}

json_t *view_to_json(const struct view_data *data, enum view_order order)
{
	const struct queue_sums queues = queue_sums_of(data);
	json_t *destinations = json_array(), *suspects = json_array(), *object;
	struct rates sum, *all;
	size_t count;

	all = all_rates(data, order, &count, &sum);
	for (size_t i = 0; all && i < count; i++) {
		object = rates_to_json(&all[i]);
		json_object_set_new(object, "name", json_string(all[i].destination->name));
		json_object_set_new(object, "mode", all[i].destination->mode[0] ? json_string(all[i].destination->mode) : json_null());
		json_array_append_new(destinations, object);
	}
	free(all);
	for (size_t i = 0; i < data->suspect_count; i++)
		json_array_append_new(suspects, json_pack("{s:s, s:s, s:s}", "server", data->suspects[i].server, "finding",
							  finding_table[data->suspects[i].finding].name, "confidence",
							  confidence_names[data->suspects[i].confidence]));
	return json_pack("{s:f, s:o, s:o, s:o, s:I, s:f, s:I, s:I}", "seconds", data->seconds, "all", rates_to_json(&sum), "destinations",
			 destinations, "suspects", suspects, "queued_packets_waiting", (json_int_t)queues.waiting,
			 "queue_drops_per_second", queues.dropped_rate, "flow_table_used", (json_int_t)data->now->metrics[METRIC_FLOWS_USED],
			 "flow_table_capacity", (json_int_t)data->now->metrics[METRIC_FLOWS_CAPACITY]);
}
