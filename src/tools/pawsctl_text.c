/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "pawsctl.h"

/* The answers of pawsctl for people: tables whose first column is as wide as its longest name. */

/* The destinations' tables end with this line when they have several. */
static const char sum_name[] = "(all)";

static bool destination_is_configured(const struct snapshot_destination *destination)
{
	return destination->mode[0] != '\0';
}

static int width_of_names(const struct snapshot *snapshot)
{
	size_t width = strlen("destination");

	for (size_t i = 0; i < snapshot->destination_count; i++) {
		if (strlen(snapshot->destinations[i].name) > width)
			width = strlen(snapshot->destinations[i].name);
	}
	return (int)width;
}

static uint64_t sum(const uint64_t *counts, size_t count)
{
	uint64_t total = 0;

	for (size_t i = 0; i < count; i++)
		count_add(&total, counts[i]);
	return total;
}

static const char *mode_words(const struct snapshot_destination *destination)
{
	if (!destination_is_configured(destination))
		return "-";
	return destination->enabled ? destination->mode : "disabled";
}

/* What a table shows of a destination: its columns, and whether the row is worth a line. */
struct table {
	const char *title;
	const char *first_column; /* behind the name; NULL: none */
	const char *const *columns;
	size_t column_count;
	void (*row)(const struct totals *totals, uint64_t *ret_values);
	bool skip_zero; /* leave out even a configured destination that has nothing */
};

enum {
	COLUMNS_MAX = FLOW_STATE_COUNT > TOTAL_COUNT + 1 ? FLOW_STATE_COUNT : TOTAL_COUNT + 1,
};

static void table_print_row(FILE *out, const struct table *table, int width, const char *name, const char *mode,
			    const uint64_t *values)
{
	fprintf(out, "  %-*s", width, name);
	if (table->first_column)
		fprintf(out, "  %-8s", mode);
	for (size_t i = 0; i < table->column_count; i++)
		fprintf(out, " %11" PRIu64, values[i]);
	fputc('\n', out);
}

static void table_print_header(FILE *out, const struct table *table, int width)
{
	fprintf(out, "%s\n  %-*s", table->title, width, "destination");
	if (table->first_column)
		fprintf(out, "  %-8s", table->first_column);
	for (size_t i = 0; i < table->column_count; i++)
		fprintf(out, " %11s", table->columns[i]);
	fputc('\n', out);
}

static void table_print(FILE *out, const struct table *table, const struct snapshot *snapshot)
{
	int width = width_of_names(snapshot);
	struct totals all = {0};
	uint64_t values[COLUMNS_MAX];
	size_t rows = 0;

	for (size_t i = 0; i < snapshot->destination_count; i++) {
		const struct snapshot_destination *destination = &snapshot->destinations[i];
		struct totals totals = {0};

		totals_add(&totals, destination);
		totals_add(&all, destination);
		table->row(&totals, values);
		if (sum(values, table->column_count) == 0 &&
		    (table->skip_zero || !destination_is_configured(destination)))
			continue;
		if (rows++ == 0)
			table_print_header(out, table, width);
		table_print_row(out, table, width, destination->name, mode_words(destination), values);
	}
	if (rows > 1) {
		table->row(&all, values);
		table_print_row(out, table, width, sum_name, "", values);
	}
	if (rows == 0)
		fprintf(out, "%s\n  none\n", table->title);
	fputc('\n', out);
}

static const char *const syn_columns[] = {"SYNs", "rewritten", "stripped", "observed", "passed"};

static void syn_row(const struct totals *totals, uint64_t *ret_values)
{
	ret_values[0] = totals->syn_count;
	ret_values[1] = totals->syns[TOTAL_REWRITTEN];
	ret_values[2] = totals->syns[TOTAL_STRIPPED];
	ret_values[3] = totals->syns[TOTAL_OBSERVED];
	ret_values[4] = totals->syns[TOTAL_PASSED];
}

static void packet_row(const struct totals *totals, uint64_t *ret_values)
{
	memcpy(ret_values, totals->packets, sizeof(totals->packets));
}

static void flow_row(const struct totals *totals, uint64_t *ret_values)
{
	memcpy(ret_values, totals->flows + FLOW_FREE + 1, (FLOW_STATE_COUNT - 1) * sizeof(totals->flows[0]));
}

static void text_print_destinations(FILE *out, const struct snapshot *snapshot)
{
	const struct table syns = {"SYNs, by what became of them", "mode", syn_columns, 5, syn_row, false};
	const struct table packets = {"Packets, SYNs among them", NULL, reason_total_names, TOTAL_COUNT, packet_row, false};
	const struct table flows = {"Flows, by state", NULL, flow_state_names + FLOW_FREE + 1, FLOW_STATE_COUNT - 1,
				    flow_row, true};

	table_print(out, &syns, snapshot);
	table_print(out, &packets, snapshot);
	table_print(out, &flows, snapshot);
}

static void text_print_reasons(FILE *out, const struct snapshot *snapshot)
{
	bool any = false;

	fprintf(out, "Packets, by reason\n");
	for (int i = 0; i < REASON_COUNT; i++) {
		uint64_t count = 0;

		for (size_t d = 0; d < snapshot->destination_count; d++)
			count_add(&count, snapshot->destinations[d].packets[i]);
		if (count == 0)
			continue;
		fprintf(out, "  %11" PRIu64 "  %-23s  %s\n", count, reason_table[i].name, reason_table[i].help);
		any = true;
	}
	fprintf(out, "%s\n", any ? "" : "  none\n");
}

static void text_print_advice(FILE *out, const struct snapshot *snapshot)
{
	bool any = false;

	for (size_t i = 0; i < snapshot->destination_count; i++) {
		const struct snapshot_destination *destination = &snapshot->destinations[i];
		const char *advice = advice_strip(destination);

		if (!advice)
			continue;
		fprintf(out, "%s  destination %s: %s.\n", any ? "" : "Advice\n", destination->name, advice);
		any = true;
	}
	if (any)
		fputc('\n', out);
}

static void text_print_draining(FILE *out, const struct snapshot_destination *destination)
{
	if (!destination->draining)
		return;
	fprintf(out, "  draining:");
	if (destination->draining_flows)
		fprintf(out, " %" PRIu64 " connections with timestamps go on;", destination->draining_flows);
	fprintf(out, " servers may remember one for %" PRIu64 " s%s", destination->draining_s,
		destination->draining_flows ? " after the last" : "");
}

static void text_print_queues(FILE *out, const struct snapshot *snapshot)
{
	fprintf(out, "Queues (dropped by the kernel: queue full, or socket buffer full)\n");
	if (snapshot->queue_count == 0) {
		fprintf(out, "  none\n\n");
		return;
	}
	fprintf(out, "  %5s  %-11s %6s %11s %11s %11s %11s\n", "queue", "role", "worker", "queued", "waiting",
		"queue full", "buffer full");
	for (size_t i = 0; i < snapshot->queue_count; i++) {
		const struct snapshot_queue *queue = &snapshot->queues[i];

		fprintf(out, "  %5" PRIu32 "  %-11s %6" PRIu32 " %11" PRIu64 " %11" PRIu64 " %11" PRIu64 " %11" PRIu64 "\n",
			queue->number, queue->role, queue->worker, queue->queued, queue->waiting, queue->dropped_full,
			queue->dropped_user);
	}
	fputc('\n', out);
}

static void text_print_seconds(FILE *out, const char *label, uint64_t ms)
{
	fprintf(out, "%-14s %" PRIu64 ".%03" PRIu64 " s\n", label, ms / 1000, ms % 1000);
}

static void text_print_gauges(FILE *out, const struct snapshot *snapshot)
{
	uint64_t used = snapshot->metrics[METRIC_FLOWS_USED], capacity = snapshot->metrics[METRIC_FLOWS_CAPACITY];

	fprintf(out, "%-14s %" PRIu64 " of %" PRIu64 " flows (%.1f %%)\n", "flow table", used, capacity,
		capacity ? 100.0 * (double)used / (double)capacity : 0.0);
	text_print_seconds(out, "clock lead", snapshot->metrics[METRIC_CLOCK_LEAD]);
}

void text_print_stats(FILE *out, const struct snapshot *snapshot)
{
	text_print_destinations(out, snapshot);
	text_print_reasons(out, snapshot);
	text_print_advice(out, snapshot);
	text_print_queues(out, snapshot);
	text_print_gauges(out, snapshot);
}

static void text_print_infos(FILE *out, const struct snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->info_count; i++) {
		char label[sizeof(snapshot->infos[i].key)];

		strcpy(label, snapshot->infos[i].key);
		for (char *c = label; *c; c++)
			*c = *c == '_' ? ' ' : *c;
		fprintf(out, "%-14s %s\n", label, snapshot->infos[i].value);
	}
}

static void text_print_uptime(FILE *out, uint64_t ms)
{
	uint64_t s = ms / 1000;

	fprintf(out, "%-14s %" PRIu64 " d %" PRIu64 " h %" PRIu64 " min %" PRIu64 " s\n", "uptime", s / 86400,
		s / 3600 % 24, s / 60 % 60, s % 60);
}

static void text_print_reloads(FILE *out, const struct snapshot *snapshot)
{
	uint64_t done = snapshot->metrics[METRIC_RELOADS], refused = snapshot->metrics[METRIC_RELOADS_REFUSED];

	fprintf(out, "%-14s ", "reloads");
	if (done == 0 && refused == 0)
		fprintf(out, "none\n");
	else
		fprintf(out, "%" PRIu64 " took effect, %" PRIu64 " refused; the last one %s\n", done, refused,
			snapshot->metrics[METRIC_RELOAD_OK] ? "took effect" : "was refused: the policy before it stands");
}

static void text_print_queue_numbers(FILE *out, const struct snapshot *snapshot)
{
	fprintf(out, "%-14s", "queues");
	for (size_t i = 0; i < snapshot->queue_count; i++)
		fprintf(out, "%s %" PRIu32 " (%s)", i ? "," : "", snapshot->queues[i].number, snapshot->queues[i].role);
	fprintf(out, "%s\n", snapshot->queue_count ? "" : " none");
}

void text_print_status(FILE *out, const struct snapshot *snapshot)
{
	int width = width_of_names(snapshot);

	text_print_infos(out, snapshot);
	text_print_uptime(out, snapshot->metrics[METRIC_UPTIME]);
	text_print_reloads(out, snapshot);
	fprintf(out, "%-14s %s\n", "rules in place",
		snapshot->metrics[METRIC_RULES_INSTALLED] ? "yes" : "not by pawsd's own hand");
	fprintf(out, "%-14s %" PRIu64 "\n", "workers", snapshot->metrics[METRIC_WORKERS]);
	text_print_queue_numbers(out, snapshot);
	text_print_gauges(out, snapshot);
	if (snapshot->metrics[METRIC_DRAINING])
		fprintf(out, "%-14s no new connection is rewritten, %" PRIu64 " go on\n", "draining",
			snapshot->metrics[METRIC_DRAINING_FLOWS]);
	fprintf(out, "\n  %-*s  %-8s %s\n", width, "destination", "mode", "   prefixes");
	for (size_t i = 0; i < snapshot->destination_count; i++) {
		const struct snapshot_destination *destination = &snapshot->destinations[i];

		if (!destination_is_configured(destination))
			continue;
		fprintf(out, "  %-*s  %-8s %11" PRIu64 "%s", width, destination->name, destination->mode,
			destination->prefixes, destination->enabled ? "" : "  disabled");
		if (destination->written_mode[0])
			fprintf(out, "  until the next reload; the file says %s", destination->written_mode);
		text_print_draining(out, destination);
		fputc('\n', out);
	}
}
