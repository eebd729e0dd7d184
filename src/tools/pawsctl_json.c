/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <jansson.h>

#include "pawsctl.h"

/*
 * The answers of pawsctl for programs. Every reason, state and metric is always there, so that
 * a reader need not know that zeros may be left out. jansson's "_new" calls take over what they
 * are given, and fail on NULL: one look at the end finds any shortage of memory on the way.
 */

struct builder {
	bool failed;
};

static void put(struct builder *builder, json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value))
		builder->failed = true;
}

static void put_count(struct builder *builder, json_t *object, const char *key, uint64_t count)
{
	put(builder, object, key, json_integer(count > INT64_MAX ? INT64_MAX : (json_int_t)count));
}

static void append(struct builder *builder, json_t *array, json_t *value)
{
	if (json_array_append_new(array, value))
		builder->failed = true;
}

static json_t *json_of_totals(struct builder *builder, const uint64_t *totals)
{
	json_t *object = json_object();

	for (int i = 0; i < TOTAL_COUNT; i++)
		put_count(builder, object, reason_total_names[i], totals[i]);
	return object;
}

static json_t *json_of_packets(struct builder *builder, const uint64_t *packets)
{
	json_t *object = json_object();

	for (int i = 0; i < REASON_COUNT; i++)
		put_count(builder, object, reason_table[i].name, packets[i]);
	return object;
}

static json_t *json_of_flows(struct builder *builder, const uint64_t *flows)
{
	json_t *object = json_object();

	for (int i = FLOW_FREE + 1; i < FLOW_STATE_COUNT; i++)
		put_count(builder, object, flow_state_names[i], flows[i]);
	return object;
}

static json_t *json_of_destination(struct builder *builder, const struct snapshot_destination *destination,
				   bool with_counts)
{
	json_t *object = json_object();
	struct totals totals = {0};

	put(builder, object, "name", json_string(destination->name));
	put(builder, object, "mode", destination->mode[0] ? json_string(destination->mode) : json_null());
	put(builder, object, "written_mode",
	    destination->mode[0] ? json_string(destination->written_mode[0] ? destination->written_mode : destination->mode) : json_null());
	put(builder, object, "enabled", json_boolean(destination->enabled));
	put_count(builder, object, "prefixes", destination->prefixes);
	put(builder, object, "draining", json_boolean(destination->draining));
	put_count(builder, object, "draining_flows", destination->draining_flows);
	put_count(builder, object, "draining_seconds", destination->draining_s);
	if (!with_counts)
		return object;
	totals_add(&totals, destination);
	put(builder, object, "totals", json_of_totals(builder, totals.packets));
	put(builder, object, "syns", json_of_totals(builder, totals.syns));
	put(builder, object, "packets", json_of_packets(builder, destination->packets));
	put(builder, object, "advice", advice_strip(destination) ? json_string(advice_strip(destination)) : json_null());
	put(builder, object, "flows", json_of_flows(builder, destination->flows));
	return object;
}

static json_t *json_of_destinations(struct builder *builder, const struct snapshot *snapshot, bool with_counts)
{
	json_t *array = json_array();

	for (size_t i = 0; i < snapshot->destination_count; i++) {
		const struct snapshot_destination *destination = &snapshot->destinations[i];

		if (with_counts || destination->mode[0])
			append(builder, array, json_of_destination(builder, destination, with_counts));
	}
	return array;
}

static json_t *json_of_metrics(struct builder *builder, const struct snapshot *snapshot)
{
	json_t *object = json_object();

	for (int i = 0; i < METRIC_COUNT; i++) {
		if (metric_table[i].unit == METRIC_UNIT_MILLISECONDS)
			put(builder, object, metric_table[i].name, json_real((double)snapshot->metrics[i] / 1000.0));
		else
			put_count(builder, object, metric_table[i].name, snapshot->metrics[i]);
	}
	return object;
}

static json_t *json_of_queues(struct builder *builder, const struct snapshot *snapshot)
{
	json_t *array = json_array();

	for (size_t i = 0; i < snapshot->queue_count; i++) {
		const struct snapshot_queue *queue = &snapshot->queues[i];
		json_t *object = json_object();

		put_count(builder, object, "queue", queue->number);
		put(builder, object, "role", json_string(queue->role));
		put_count(builder, object, "worker", queue->worker);
		put_count(builder, object, "queued", queue->queued);
		put_count(builder, object, "waiting", queue->waiting);
		put_count(builder, object, "dropped_queue_full", queue->dropped_full);
		put_count(builder, object, "dropped_buffer_full", queue->dropped_user);
		append(builder, array, object);
	}
	return array;
}

static json_t *json_of_infos(struct builder *builder, const struct snapshot *snapshot)
{
	json_t *object = json_object();

	for (size_t i = 0; i < snapshot->info_count; i++)
		put(builder, object, snapshot->infos[i].key, json_string(snapshot->infos[i].value));
	return object;
}

static json_t *json_of_packet_sums(struct builder *builder, const struct snapshot *snapshot)
{
	uint64_t packets[REASON_COUNT] = {0};

	for (size_t d = 0; d < snapshot->destination_count; d++) {
		for (int i = 0; i < REASON_COUNT; i++)
			count_add(&packets[i], snapshot->destinations[d].packets[i]);
	}
	return json_of_packets(builder, packets);
}

static int json_print(FILE *out, const struct snapshot *snapshot, bool with_counts)
{
	struct builder builder = {0};
	json_t *root = json_object();

	put(&builder, root, "destinations", json_of_destinations(&builder, snapshot, with_counts));
	if (with_counts)
		put(&builder, root, "packets", json_of_packet_sums(&builder, snapshot));
	put(&builder, root, "metrics", json_of_metrics(&builder, snapshot));
	put(&builder, root, "queues", json_of_queues(&builder, snapshot));
	put(&builder, root, "info", json_of_infos(&builder, snapshot));
	/* Its only other failure is a write error, which the caller sees in `out`. */
	if (!builder.failed && json_dumpf(root, out, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) == 0)
		fputc('\n', out);
	json_decref(root);
	return builder.failed ? -1 : 0;
}

int json_print_stats(FILE *out, const struct snapshot *snapshot)
{
	return json_print(out, snapshot, true);
}

int json_print_status(FILE *out, const struct snapshot *snapshot)
{
	return json_print(out, snapshot, false);
}
