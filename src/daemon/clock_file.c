/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "clock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "hash.h"
#include "log.h"

enum {
	PATH_SIZE = 192,
	/* A clock file with a mark in every slot has less than half of it. */
	FILE_MAX_BYTES = 4 << 20,
};

void file_set_aside(const char *path, const char *why)
{
	char aside[PATH_SIZE];

	snprintf(aside, sizeof(aside), "%s.aside", path);
	if (rename(path, aside) < 0)
		log_warning("%s: %s; and cannot be set aside: %s", path, why, strerror(errno));
	else
		log_warning("%s: %s; set aside as %s, starting afresh", path, why, aside);
}

static uint64_t secret_half(const struct epoch *epoch, size_t which)
{
	uint64_t half = 0;

	for (size_t i = 0; i < 8; i++)
		half = half << 8 | epoch->secret[8 * which + i];
	return half;
}

uint32_t epoch_tsval_base(const struct epoch *epoch)
{
	return (uint32_t)(hash_mix(secret_half(epoch, 0)) - epoch->epoch_ms);
}

uint64_t epoch_slot_secret(const struct epoch *epoch)
{
	return hash_mix(secret_half(epoch, 1));
}

/* The whole file as a string, to be freed; NULL when it is not there, or too long to be ours. */
static char *read_text(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text;
	size_t len;

	if (!file)
		return NULL;
	text = malloc(FILE_MAX_BYTES);
	if (text) {
		len = fread(text, 1, FILE_MAX_BYTES - 1, file);
		text[len] = '\0';
		if (strlen(text) != len)
			text[0] = '\0';
	}
	fclose(file);
	return text;
}

/* Takes the next line off `*rest`: cut off at its end, which has to be there. NULL at the end. */
static char *next_line(char **rest)
{
	char *line = *rest, *end = strchr(line, '\n');

	if (!end)
		return NULL;
	*end = '\0';
	*rest = end + 1;
	return line;
}

static bool parse_number(const char *line, const char *key, uint64_t *ret)
{
	char format[32];
	int used = 0;

	snprintf(format, sizeof(format), "%s %%" SCNu64 "%%n", key);
	return sscanf(line, format, ret, &used) == 1 && line[used] == '\0' && *ret < CLOCK_MS_MAX;
}

static bool parse_secret(const char *line, uint8_t secret[16])
{
	static const char key[] = "secret ";
	unsigned int byte;

	if (strncmp(line, key, sizeof(key) - 1) != 0 || strlen(line) != sizeof(key) - 1 + 32 ||
	    strspn(line + sizeof(key) - 1, "0123456789abcdef") != 32)
		return false;
	for (size_t i = 0; i < 16; i++) {
		sscanf(line + sizeof(key) - 1 + 2 * i, "%2x", &byte);
		secret[i] = (uint8_t)byte;
	}
	return true;
}

/* The two lines of an epoch, in either file. */
static bool parse_epoch(char **rest, struct epoch *ret)
{
	const char *line = next_line(rest);

	if (!line || !parse_number(line, "epoch", &ret->epoch_ms))
		return false;
	line = next_line(rest);
	return line && parse_secret(line, ret->secret);
}

static void print_epoch(FILE *out, const struct epoch *epoch)
{
	fprintf(out, "epoch %" PRIu64 "\nsecret ", epoch->epoch_ms);
	for (size_t i = 0; i < 16; i++)
		fprintf(out, "%02x", epoch->secret[i]);
	fputc('\n', out);
}

/* At any time the one or the other is there, whole. */
int clock_file_store(const char *path, const char *text, size_t len)
{
	char next[PATH_SIZE];
	int fd, error = 0;

	snprintf(next, sizeof(next), "%s.new", path);
	fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	errno = ENOSPC; /* of a write that ends early */
	if (write(fd, text, len) != (ssize_t)len || fdatasync(fd) < 0 || rename(next, path) < 0)
		error = errno;
	close(fd);
	errno = error;
	return error ? -1 : 0;
}

static int write_epoch(const char *path, const struct epoch *epoch)
{
	char text[128];
	FILE *out = fmemopen(text, sizeof(text), "w");

	if (!out)
		return -1;
	fprintf(out, "pawsd-epoch 1\n");
	print_epoch(out, epoch);
	fclose(out);
	return clock_file_store(path, text, strlen(text));
}

enum file_look epoch_look(const char *path, struct epoch *ret)
{
	char *text = read_text(path), *rest = text;
	const char *line = text ? next_line(&rest) : NULL;
	bool good = line && strcmp(line, "pawsd-epoch 1") == 0 && parse_epoch(&rest, ret) && *rest == '\0';

	free(text);
	return good ? FILE_GOOD : text ? FILE_DAMAGED : FILE_NONE;
}

int epoch_load(const char *path, const struct epoch *known, struct epoch *ret, char *ret_error, size_t error_size)
{
	const enum file_look look = epoch_look(path, ret);

	if (look == FILE_GOOD)
		return 0;
	if (look == FILE_DAMAGED)
		file_set_aside(path, "not a line pawsd-epoch 1, a line epoch MILLISECONDS and a line secret with 32 "
				     "hexadecimal digits");
	if (known) {
		*ret = *known;
	} else {
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		ret->epoch_ms = (uint64_t)now.tv_sec * 1000;
		if (getrandom(ret->secret, sizeof(ret->secret), 0) != sizeof(ret->secret)) {
			snprintf(ret_error, error_size, "getrandom: %s", strerror(errno));
			return -1;
		}
	}
	if (write_epoch(path, ret) < 0) {
		snprintf(ret_error, error_size, "%s: cannot be written: %s", path, strerror(errno));
		return -1;
	}
	return 0;
}

/* Checks the last line and cuts it off. */
static bool check_sum(char *text)
{
	static const char key[] = "\nsum ";
	char *last = NULL, expected[32];

	for (char *at = strstr(text, key); at; at = strstr(at + 1, key))
		last = at + 1;
	if (!last)
		return false;
	snprintf(expected, sizeof(expected), "sum %016" PRIx64 "\n", hash_text(text, (size_t)(last - text)));
	if (strcmp(last, expected) != 0)
		return false;
	*last = '\0';
	return true;
}

static bool parse_mark(const char *line, uint64_t *marks)
{
	uint32_t slot, tsval, tick;
	int used = 0;

	if (sscanf(line, "mark %" SCNu32 " %" SCNu32 " %" SCNu32 "%n", &slot, &tsval, &tick, &used) != 3 ||
	    line[used] || slot >= CLOCK_SERVER_SLOTS)
		return false;
	marks[slot] = (uint64_t)tsval << 32 | tick;
	return true;
}

/* The two lines of a boot. */
static bool parse_boot(char **rest, struct clock_reading *ret)
{
	const char *line = next_line(rest);
	int used = 0;

	if (!line || sscanf(line, "boot %38s%n", ret->boot_id, &used) != 1 || line[used])
		return false;
	if (strcmp(ret->boot_id, "-") == 0)
		ret->boot_id[0] = '\0';
	line = next_line(rest);
	return line && parse_number(line, "boottime", &ret->boottime_ms);
}

static bool parse_clock(char *text, struct clock_reading *ret, uint64_t *marks)
{
	char *rest = text;
	const char *line;
	bool has_boot;

	memset(ret->boot_id, 0, sizeof(ret->boot_id));
	if (!check_sum(text))
		return false;
	line = next_line(&rest);
	has_boot = line && strcmp(line, "pawsd-clock 3") == 0;
	if (!line || (!has_boot && strcmp(line, "pawsd-clock 2") != 0))
		return false;
	line = next_line(&rest);
	if (!line || !parse_number(line, "tick", &ret->tick))
		return false;
	line = next_line(&rest);
	if (!line || !parse_number(line, "realtime", &ret->realtime_ms))
		return false;
	if (has_boot && !parse_boot(&rest, ret))
		return false;
	line = next_line(&rest);
	if (!line || (strcmp(line, "last yes") != 0 && strcmp(line, "last no") != 0))
		return false;
	ret->is_last = strcmp(line, "last yes") == 0;
	if (!parse_epoch(&rest, &ret->epoch))
		return false;
	while ((line = next_line(&rest))) {
		if (!parse_mark(line, marks))
			return false;
	}
	return true;
}

enum file_look clock_file_look(const char *path, struct clock_reading *ret, uint64_t *ret_marks)
{
	char *text = read_text(path);
	bool good = text && parse_clock(text, ret, ret_marks);

	free(text);
	return good ? FILE_GOOD : text ? FILE_DAMAGED : FILE_NONE;
}

bool clock_file_read(const char *path, struct clock_reading *ret, uint64_t *ret_marks)
{
	const enum file_look look = clock_file_look(path, ret, ret_marks);

	if (look == FILE_GOOD)
		return true;
	memset(ret_marks, 0, CLOCK_SERVER_SLOTS * sizeof(*ret_marks));
	if (look == FILE_DAMAGED)
		file_set_aside(path, "damaged");
	return false;
}

char *clock_file_text(const struct clock_reading *reading, const struct clock *clock, uint64_t now, size_t *ret_len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_len);
	uint64_t mark;

	if (!out)
		return NULL;
	fprintf(out, "pawsd-clock 3\ntick %" PRIu64 "\nrealtime %" PRIu64 "\nboot %s\nboottime %" PRIu64 "\nlast %s\n",
		reading->tick, reading->realtime_ms, reading->boot_id[0] ? reading->boot_id : "-", reading->boottime_ms,
		reading->is_last ? "yes" : "no");
	print_epoch(out, &reading->epoch);
	for (uint32_t slot = 0; slot < CLOCK_SERVER_SLOTS; slot++) {
		mark = clock_mark_ahead(clock, now, slot);
		if (mark)
			fprintf(out, "mark %" PRIu32 " %" PRIu32 " %" PRIu32 "\n", slot, (uint32_t)(mark >> 32),
				(uint32_t)mark);
	}
	fflush(out);
	fprintf(out, "sum %016" PRIx64 "\n", hash_text(text, *ret_len));
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}
