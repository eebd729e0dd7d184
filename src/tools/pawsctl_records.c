/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What commands have in common whose answers are records. */
#include "pawsctl_records.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum {
	ERROR_SIZE = 1024,
};

/* Numbers, yes and no as such; but a destination's name may look like one. */
static json_t *value_to_json(const char *key, const char *value)
{
	char *end;
	unsigned long long number = strtoull(value, &end, 10);

	if (strcmp(key, "name") == 0 || strcmp(key, "destination") == 0)
		return json_string(value);
	if (*value >= '0' && *value <= '9' && !*end && number <= INT64_MAX)
		return json_integer((json_int_t)number);
	if (strcmp(value, "yes") == 0 || strcmp(value, "no") == 0)
		return json_boolean(*value == 'y');
	return json_string(value);
}

json_t *record_to_json(const struct record *record)
{
	json_t *object = json_object();

	for (size_t i = 0; i < record->count; i++)
		json_object_set_new(object, record->fields[i].key, value_to_json(record->fields[i].key, record->fields[i].value));
	return object;
}

const char *text_of(const struct record *record, const char *key)
{
	const char *text = record_text(record, key);

	return text ? text : "?";
}

static bool is_one_of(const char *const *names, const char *name)
{
	for (; *names; names++) {
		if (strcmp(*names, name) == 0)
			return true;
	}
	return false;
}

bool is_addr(const char *text)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

bool read_server(const char *text, struct question *ret)
{
	const char *colon = strrchr(text, ':');
	size_t len = strlen(text);

	strcpy(ret->port, "-");
	if (len >= ADDR_SIZE)
		return false;
	if (!is_addr(text) && colon && text[len - 1] != ']') {
		if (strlen(colon + 1) >= sizeof(ret->port) || !colon[1])
			return false;
		strcpy(ret->port, colon + 1);
		len = (size_t)(colon - text);
	}
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	memcpy(ret->server, text, len);
	ret->server[len] = '\0';
	return is_addr(ret->server);
}

bool options_to_request(const struct call *call, const char *const *ours, char ret_request[REQUEST_SIZE])
{
	size_t used = (size_t)snprintf(ret_request, REQUEST_SIZE, "%s", call->command->name);

	for (const struct command_option *option = call->command->options; option->name; option++) {
		const char *value = call_option(call, option->name);

		if (!value || is_one_of(ours, option->name))
			continue;
		if (strchr(value, ' ') || strchr(value, '\n'))
			return false;
		used += (size_t)snprintf(ret_request + used, REQUEST_SIZE - used, option->argument ? " %s=%s" : " %s", option->name, value);
		if (used >= REQUEST_SIZE)
			return false;
	}
	return true;
}

int print_json(json_t *root)
{
	bool failed = !root || json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) != 0;

	if (!failed)
		putchar('\n');
	json_decref(root);
	return failed ? EXIT_FAILURE : finish_output();
}

int ask_records(const struct call *call, const char *request, int timeout_ms, record_fn take, void *context)
{
	char error[ERROR_SIZE];

	if (answer_fetch(call->socket_path, request, timeout_ms, take, context, error, sizeof(error)) == 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "pawsctl: %s\n", error);
	return EXIT_NO_ANSWER;
}

