/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "exporter.h"

/*
 * The Prometheus text format. Counters of zero are exported as well: a counter that appears
 * with its first event hides that event from rate() and increase().
 *
 * Names of destinations, modes and roles need no quoting (snapshot_parse.c lets only letters,
 * digits, "_", "." and "-" through); other words go through print_label().
 */

static void print_head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_label(FILE *out, const char *label, const char *value)
{
	fprintf(out, "{%s=\"", label);
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			fputc('\\', out);
		if (*value == '\n')
			fputs("\\n", out);
		else
			fputc(*value, out);
	}
	fputs("\"} 1\n", out);
}

static const char *info_value(const struct snapshot *snapshot, const char *key)
{
	for (size_t i = 0; i < snapshot->info_count; i++) {
		if (strcmp(snapshot->infos[i].key, key) == 0)
			return snapshot->infos[i].value;
	}
	return "unknown";
}

static void print_packets(FILE *out, const struct snapshot *snapshot)
{
	print_head(out, "pawsd_packets_total", "counter", "Packets that pawsd gave a verdict, each under one reason.");
	for (size_t d = 0; d < snapshot->destination_count; d++) {
		const struct snapshot_destination *destination = &snapshot->destinations[d];

		for (int i = 0; i < REASON_COUNT; i++)
			fprintf(out, "pawsd_packets_total{destination=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
				destination->name, reason_table[i].name, destination->packets[i]);
	}
}

static void print_flows(FILE *out, const struct snapshot *snapshot)
{
	print_head(out, "pawsd_flows", "gauge", "Flows in the table, by the state of their TCP connection.");
	for (size_t d = 0; d < snapshot->destination_count; d++) {
		const struct snapshot_destination *destination = &snapshot->destinations[d];

		for (int i = FLOW_FREE + 1; i < FLOW_STATE_COUNT; i++)
			fprintf(out, "pawsd_flows{destination=\"%s\",state=\"%s\"} %" PRIu64 "\n", destination->name,
				flow_state_names[i], destination->flows[i]);
	}
}

static void print_destinations(FILE *out, const struct snapshot *snapshot)
{
	print_head(out, "pawsd_destination_info", "gauge", "Destinations of the configuration, always 1.");
	for (size_t d = 0; d < snapshot->destination_count; d++) {
		const struct snapshot_destination *destination = &snapshot->destinations[d];

		if (destination->mode[0])
			fprintf(out, "pawsd_destination_info{destination=\"%s\",mode=\"%s\",enabled=\"%s\"} 1\n",
				destination->name, destination->mode, destination->enabled ? "true" : "false");
	}
	print_head(out, "pawsd_destination_prefixes", "gauge", "Prefixes of each destination.");
	for (size_t d = 0; d < snapshot->destination_count; d++) {
		const struct snapshot_destination *destination = &snapshot->destinations[d];

		if (destination->mode[0])
			fprintf(out, "pawsd_destination_prefixes{destination=\"%s\"} %" PRIu64 "\n", destination->name,
				destination->prefixes);
	}
}

static void print_dropped(FILE *out, const struct snapshot_queue *queue, const char *cause, uint64_t count)
{
	fprintf(out, "pawsd_queue_dropped_packets_total{queue=\"%" PRIu32 "\",role=\"%s\",cause=\"%s\"} %" PRIu64 "\n",
		queue->number, queue->role, cause, count);
}

static void print_queues(FILE *out, const struct snapshot *snapshot)
{
	print_head(out, "pawsd_queue_packets_total", "counter", "Packets that the kernel has put into the queue.");
	for (size_t i = 0; i < snapshot->queue_count; i++)
		fprintf(out, "pawsd_queue_packets_total{queue=\"%" PRIu32 "\",role=\"%s\"} %" PRIu64 "\n",
			snapshot->queues[i].number, snapshot->queues[i].role, snapshot->queues[i].queued);
	print_head(out, "pawsd_queue_waiting_packets", "gauge", "Packets in the queue that have no verdict yet.");
	for (size_t i = 0; i < snapshot->queue_count; i++)
		fprintf(out, "pawsd_queue_waiting_packets{queue=\"%" PRIu32 "\",role=\"%s\"} %" PRIu64 "\n",
			snapshot->queues[i].number, snapshot->queues[i].role, snapshot->queues[i].waiting);
	print_head(out, "pawsd_queue_dropped_packets_total", "counter",
		   "Packets that the kernel could not put into the queue, or not hand to pawsd's socket.");
	for (size_t i = 0; i < snapshot->queue_count; i++) {
		print_dropped(out, &snapshot->queues[i], "queue_full", snapshot->queues[i].dropped_full);
		print_dropped(out, &snapshot->queues[i], "buffer_full", snapshot->queues[i].dropped_user);
	}
}

static void print_metrics(FILE *out, const struct snapshot *snapshot)
{
	for (int i = 0; i < METRIC_COUNT; i++) {
		const struct metric_info *metric = &metric_table[i];
		uint64_t value = snapshot->metrics[i];
		char name[128];

		snprintf(name, sizeof(name), "pawsd_%s", metric->name);
		print_head(out, name, metric->type == METRIC_TYPE_COUNTER ? "counter" : "gauge", metric->help);
		if (metric->unit == METRIC_UNIT_MILLISECONDS)
			fprintf(out, "%s %" PRIu64 ".%03" PRIu64 "\n", name, value / 1000, value % 1000);
		else
			fprintf(out, "%s %" PRIu64 "\n", name, value);
	}
}

void exporter_print(FILE *out, const struct snapshot *snapshot)
{
	print_head(out, "pawsd_up", "gauge", "1 if pawsd answered on its control socket.");
	fprintf(out, "pawsd_up %d\n", snapshot != NULL);
	print_head(out, "pawsd_exporter_build_info", "gauge", "Version of pawsd-exporter, always 1.");
	fprintf(out, "pawsd_exporter_build_info");
	print_label(out, "version", PAWSD_VERSION);
	if (!snapshot)
		return;
	print_head(out, "pawsd_build_info", "gauge", "Version of the running pawsd, always 1.");
	fprintf(out, "pawsd_build_info");
	print_label(out, "version", info_value(snapshot, "version"));
	print_packets(out, snapshot);
	print_flows(out, snapshot);
	print_destinations(out, snapshot);
	print_queues(out, snapshot);
	print_metrics(out, snapshot);
}
