/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_CLOCK_FILE_H
#define PAWSD_CLOCK_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"

/*
 * Two small files of text in state_dir that outlive a reboot.
 *
 * "epoch" says where the clock's TSvals begin: at a time and a random distance from it, so that
 * servers cannot tell the one from the other. It is made once; gateways that share a public
 * address get the same one:
 *
 *   pawsd-epoch 1
 *   epoch 1795564800000                            ms since 1970
 *   secret 00112233445566778899aabbccddeeff
 *
 * "clock" says how far the clock has come, and which servers know TSvals that are ahead of it. It
 * is written anew every few seconds, under another name that is then taken over; its last line is
 * a sum of all before, so that any part of it is known for what it is:
 *
 *   pawsd-clock 3
 *   tick 1795564801234                             the shared clock with its lead
 *   realtime 1795564801234                         the time of day then, ms since 1970
 *   boot 6c5b0d6e-...                              the kernel's boot_id, and
 *   boottime 5801234                               CLOCK_BOOTTIME then, ms
 *   last yes|no                                    written at a stop; otherwise the clock went on
 *   epoch, secret                                  as above
 *   mark SLOT TSVAL TICK                           of clock_shared.server[], any number
 *   sum 0123456789abcdef
 *
 * Version 2, which knows nothing of boots, is read as well.
 */
/* A time or tick beyond this, 140 000 years, was never reached: what says so is damaged. */
#define CLOCK_MS_MAX ((uint64_t)1 << 52)

struct epoch {
	uint64_t epoch_ms;
	uint8_t secret[16];
};

enum {
	BOOT_ID_SIZE = 39,
};

struct clock_reading {
	uint64_t tick, realtime_ms;
	uint64_t boottime_ms;
	char boot_id[BOOT_ID_SIZE]; /* padded with zeros; empty: not known */
	bool is_last;
	struct epoch epoch;
};

/* What a look at one of them finds; nothing is changed. FILE_NONE: there is none, or it cannot be read. */
enum file_look {
	FILE_NONE,
	FILE_GOOD,
	FILE_DAMAGED,
};

enum file_look epoch_look(const char *path, struct epoch *ret);
/* ret_marks[CLOCK_SERVER_SLOTS] as with clock_file_read(), where the file is good. */
enum file_look clock_file_look(const char *path, struct clock_reading *ret, uint64_t *ret_marks);

/* Moves a file that cannot be used out of the way, where it can be looked at, and says so. */
void file_set_aside(const char *path, const char *why);

/* The clock's TSval at tick 0, and what keys the places of servers in clock_shared. */
uint32_t epoch_tsval_base(const struct epoch *epoch);
uint64_t epoch_slot_secret(const struct epoch *epoch);

/*
 * Reads the epoch at `path`. Where there is none, or a damaged one, `known` (NULL: none) is written
 * there, or a new one. Returns 0, or -1 with one line in ret_error.
 */
int epoch_load(const char *path, const struct epoch *known, struct epoch *ret, char *ret_error, size_t error_size);

/*
 * Reads the clock at `path`; ret_marks[CLOCK_SERVER_SLOTS] gets its marks, 0 where there is none. False
 * when there is no such file, or a damaged one, which is set aside.
 */
bool clock_file_read(const char *path, struct clock_reading *ret, uint64_t *ret_marks);

/*
 * The text of it, to be freed, with the marks of `clock` that are ahead at tick `now`. NULL when memory is short.
 */
char *clock_file_text(const struct clock_reading *reading, const struct clock *clock, uint64_t now, size_t *ret_len);

/* Puts a text into the place of the file at `path`. Returns 0 or -1, errno set; then the old file is still there. */
int clock_file_store(const char *path, const char *text, size_t len);

#endif
