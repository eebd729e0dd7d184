/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client side of the control socket: the input is what a hostile server sends. First byte:
 * even, it is given to the parser; odd, it comes over a socket, in pieces. What is accepted
 * must be within its bounds and make a sound page of metrics.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../src/tools/exporter.h"
#include "fuzz.h"
#include "snapshot.h"

static bool is_word(const char *text, size_t size)
{
	static const char characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t len = strnlen(text, size);

	return len < size && strspn(text, characters) == len;
}

static bool is_printable(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	}
	return len < size;
}

static void check_numbers(const uint64_t *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(numbers[i] <= INT64_MAX);
}

static void check_snapshot(const struct snapshot *snapshot)
{
	check_numbers(snapshot->metrics, METRIC_COUNT);
	FUZZ_CHECK(snapshot->destination_count <= DESTINATION_SLOTS);
	for (size_t i = 0; i < snapshot->destination_count; i++) {
		const struct snapshot_destination *destination = &snapshot->destinations[i];

		FUZZ_CHECK(is_word(destination->name, sizeof(destination->name)) && destination->name[0]);
		FUZZ_CHECK(is_word(destination->mode, sizeof(destination->mode)));
		FUZZ_CHECK(destination->prefixes <= INT64_MAX);
		check_numbers(destination->packets, REASON_COUNT);
		check_numbers(destination->flows, FLOW_STATE_COUNT);
		for (size_t j = 0; j < i; j++)
			FUZZ_CHECK(strcmp(destination->name, snapshot->destinations[j].name) != 0);
	}
	for (size_t i = 0; i < snapshot->queue_count; i++) {
		FUZZ_CHECK(is_word(snapshot->queues[i].role, sizeof(snapshot->queues[i].role)));
		FUZZ_CHECK(snapshot->queues[i].number <= UINT16_MAX);
	}
	for (size_t i = 0; i < snapshot->info_count; i++) {
		FUZZ_CHECK(is_word(snapshot->infos[i].key, sizeof(snapshot->infos[i].key)));
		FUZZ_CHECK(is_printable(snapshot->infos[i].value, sizeof(snapshot->infos[i].value)));
	}
}

/* Comments, and lines "NAME{...} NUMBER" or "NAME NUMBER". */
static void check_page(const struct snapshot *snapshot)
{
	char *text = NULL, *line, *next;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		fuzz_fail("out of memory");
	exporter_print(out, snapshot);
	fclose(out);
	FUZZ_CHECK(len > 0 && text[len - 1] == '\n' && strlen(text) == len);
	for (line = text; *line; line = next) {
		char *value;

		next = strchr(line, '\n') + 1;
		next[-1] = '\0';
		if (line[0] == '#')
			continue;
		value = strrchr(line, ' ');
		FUZZ_CHECK(strncmp(line, "pawsd_", 6) == 0 && is_printable(line, len + 1));
		FUZZ_CHECK(value && value[1] && strspn(value + 1, "0123456789.") == strlen(value + 1));
	}
	free(text);
}

struct server {
	int listener;
	struct fuzz_input input;
};

/* Sends the input in pieces of a length that it says itself, and hangs up. */
static void *serve(void *context)
{
	struct server *server = context;
	struct fuzz_input rest = server->input;
	int fd = accept(server->listener, NULL, NULL);
	size_t piece = rest.len ? rest.data[0] + 1u : 1;

	while (fd >= 0 && rest.len) {
		struct fuzz_input bytes = fuzz_take(&rest, piece);

		if (send(fd, bytes.data, bytes.len, MSG_NOSIGNAL) < 0)
			break;
	}
	close(fd);
	return NULL;
}

static int fetch(struct fuzz_input input, struct snapshot *ret, char *ret_error, size_t error_size)
{
	static int listener = -1;
	static char path[96];
	struct server server;
	pthread_t thread;
	int result;

	if (listener < 0) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};

		snprintf(path, sizeof(path), "%s", fuzz_path("socket"));
		snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
		listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 1) < 0)
			fuzz_fail("%s: cannot listen", path);
	}
	server = (struct server){listener, input};
	if (pthread_create(&thread, NULL, serve, &server) != 0)
		fuzz_fail("no thread to be had");
	result = snapshot_fetch(path, "stats", 5000, ret, ret_error, error_size);
	pthread_join(thread, NULL);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	bool by_socket = fuzz_take8(&input) & 1;
	struct snapshot snapshot;
	char error[256] = "";
	uint8_t *exact = fuzz_copy(input);
	int result = by_socket ? fetch(input, &snapshot, error, sizeof(error))
			       : snapshot_parse((const char *)exact, input.len, &snapshot, error, sizeof(error));

	free(exact);
	if (result == 0) {
		check_snapshot(&snapshot);
		check_page(&snapshot);
	} else {
		FUZZ_CHECK(error[0] && is_printable(error, sizeof(error)));
		FUZZ_CHECK(!snapshot.infos && !snapshot.destinations && !snapshot.queues);
	}
	snapshot_free(&snapshot);
	return 0;
}
