/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pawsctl destinations`: what the policy says of each. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pawsctl_records.h"

enum {
	TIMEOUT_MS = 5000,
	LIST_SIZE = 200,
};

/* "443,8000-8100 and 3 more"; `none` where there is none. */
static void format_list(const struct record *record, const char *key, const char *none, char ret_text[LIST_SIZE])
{
	const uint64_t count = record_number(record, key);
	char shown_key[32];
	const char *shown;
	uint64_t shown_count;

	snprintf(shown_key, sizeof(shown_key), "shown_%s", key);
	shown = record_text(record, shown_key);
	if (!count || !shown) {
		snprintf(ret_text, LIST_SIZE, "%s", none);
		return;
	}
	shown_count = 1;
	for (const char *at = shown; *at; at++)
		shown_count += *at == ',';
	if (count > shown_count)
		snprintf(ret_text, LIST_SIZE, "%s and %" PRIu64 " more", shown, count - shown_count);
	else
		snprintf(ret_text, LIST_SIZE, "%s", shown);
}

static void print_destination(const struct record *record)
{
	char prefixes[LIST_SIZE], ports[LIST_SIZE], sources[LIST_SIZE];
	const char *mode = text_of(record, "mode"), *written = text_of(record, "written_mode");

	format_list(record, "prefixes", "all that no other has", prefixes);
	format_list(record, "ports", "", ports);
	format_list(record, "sources", "", sources);
	printf("%s\n  mode           %s", text_of(record, "name"), mode);
	if (strcmp(mode, written) != 0)
		printf(" until the next reload or start; the file says %s", written);
	if (strcmp(text_of(record, "enabled"), "no") == 0)
		printf(", but disabled");
	printf("\n  synack_tsecr   %s\n", text_of(record, "synack_tsecr"));
	printf("  connections    %" PRIu64 "\n", record_number(record, "flows"));
	printf("  servers        %s\n", prefixes);
	if (*ports)
		printf("  ports          %s\n", ports);
	if (*sources)
		printf("  clients        %s\n", sources);
}

static json_t *list_to_json(const struct record *record, const char *shown_key)
{
	json_t *list = json_array();
	const char *text = record_text(record, shown_key);

	while (text && *text) {
		size_t len = strcspn(text, ",");

		json_array_append_new(list, json_stringn(text, len));
		text += len + (text[len] == ',');
	}
	return list;
}

static void take(void *context, const struct record *record)
{
	static const char *const lists[] = {"shown_prefixes", "shown_ports", "shown_sources"};
	json_t *array = context, *object;

	if (strcmp(record->kind, "destination") != 0)
		return;
	if (!array) {
		print_destination(record);
		return;
	}
	object = record_to_json(record);
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		json_object_set_new(object, lists[i], list_to_json(record, lists[i]));
	json_array_append_new(array, object);
}

int destinations(const struct call *call)
{
	json_t *array = call->json ? json_array() : NULL;
	int status = ask_records(call, "destinations", TIMEOUT_MS, take, array);

	if (!status)
		return call->json ? print_json(json_pack("{s:o}", "destinations", array)) : finish_output();
	json_decref(array);
	return status;
}
