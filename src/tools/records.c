/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "records.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot.h"

const char *record_text(const struct record *record, const char *key)
{
	for (size_t i = 0; i < record->count; i++) {
		if (strcmp(record->fields[i].key, key) == 0)
			return record->fields[i].value;
	}
	return NULL;
}

uint64_t record_number(const struct record *record, const char *key)
{
	const char *text = record_text(record, key);
	char *end;
	uint64_t number;

	if (!text || *text < '0' || *text > '9')
		return 0;
	number = strtoull(text, &end, 10);
	return *end ? 0 : number;
}

static bool parse_addr(const char *text, struct addr *ret)
{
	uint8_t bytes[16];

	if (inet_pton(AF_INET, text, bytes) == 1)
		*ret = addr_from_ipv4(bytes);
	else if (inet_pton(AF_INET6, text, bytes) == 1)
		*ret = addr_from_ipv6(bytes);
	else
		return false;
	return true;
}

bool record_addr(const struct record *record, const char *key, struct addr *ret)
{
	const char *text = record_text(record, key);

	return text && parse_addr(text, ret);
}

bool record_endpoint(const struct record *record, const char *key, struct addr *ret_addr, uint16_t *ret_port)
{
	const char *text = record_text(record, key), *colon = text ? strrchr(text, ':') : NULL;
	char addr[64];
	size_t len;
	unsigned long port;

	if (!colon)
		return false;
	if (*text == '[')
		text++;
	len = (size_t)(colon - text);
	if (len && text[len - 1] == ']')
		len--;
	if (len >= sizeof(addr))
		return false;
	memcpy(addr, text, len);
	addr[len] = '\0';
	port = strtoul(colon + 1, NULL, 10);
	*ret_port = (uint16_t)port;
	return port <= UINT16_MAX && parse_addr(addr, ret_addr);
}

/* A line's bytes as a record, cut up in place. */
static void split(char *line, struct record *ret)
{
	char *save = NULL, *word = strtok_r(line, " ", &save);

	ret->kind = word ? word : "";
	ret->count = 0;
	while (word && (word = strtok_r(NULL, " ", &save)) && ret->count < RECORD_FIELDS_MAX) {
		char *equals = strchr(word, '=');

		if (!equals)
			continue;
		*equals = '\0';
		ret->fields[ret->count].key = word;
		ret->fields[ret->count++].value = equals + 1;
	}
}

/* Nothing that a terminal would trip over. */
static void tame(char *line, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)line[i] < 0x20 || (unsigned char)line[i] >= 0x7f)
			line[i] = '?';
	}
}

/* One line, without its end, which is 0. */
static enum records_state take_line(enum records_state state, char *line, record_fn take, void *context, char *ret_error,
				    size_t error_size)
{
	char greeting[32];
	struct record record;

	snprintf(greeting, sizeof(greeting), "pawsd-control %d", SNAPSHOT_VERSION);
	if (state == RECORDS_BEGIN && strcmp(line, greeting) == 0)
		return RECORDS_GO_ON;
	if (state == RECORDS_BEGIN) {
		snprintf(ret_error, error_size, "this is not pawsd's control socket, or pawsd is of another release");
		return RECORDS_FAILED;
	}
	if (strcmp(line, "end") == 0)
		return RECORDS_ENDED;
	if (strncmp(line, "error ", strlen("error ")) == 0) {
		snprintf(ret_error, error_size, "pawsd says: %s", line + strlen("error "));
		return RECORDS_FAILED;
	}
	split(line, &record);
	take(context, &record);
	return RECORDS_GO_ON;
}

enum records_state records_take(enum records_state state, char *text, size_t len, size_t *ret_used, record_fn take, void *context,
				char *ret_error, size_t error_size)
{
	char *newline, *line = text;

	while (state < RECORDS_ENDED && len && (newline = memchr(line, '\n', len))) {
		tame(line, (size_t)(newline - line));
		*newline = '\0';
		state = take_line(state, line, take, context, ret_error, error_size);
		len -= (size_t)(newline + 1 - line);
		line = newline + 1;
	}
	*ret_used = (size_t)(line - text);
	return state;
}

int records_parse(char *text, size_t len, record_fn take, void *context, char *ret_error, size_t error_size)
{
	size_t used;
	enum records_state state = records_take(RECORDS_BEGIN, text, len, &used, take, context, ret_error, error_size);

	if (state < RECORDS_ENDED)
		snprintf(ret_error, error_size, state == RECORDS_BEGIN ? "the answer is empty" : "the answer is cut off");
	return state == RECORDS_ENDED ? 0 : -1;
}
