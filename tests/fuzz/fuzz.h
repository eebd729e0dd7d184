/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_FUZZ_H
#define PAWSD_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What all fuzz targets share: the function that libFuzzer and replay_main.c call, the input
 * as a tape that is read from its beginning, a failure, and a private directory for files.
 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_input {
	const uint8_t *data;
	size_t len;
};

/* Numbers off the tape, little-endian; 0 where it has ended. */
uint8_t fuzz_take8(struct fuzz_input *input);
uint16_t fuzz_take16(struct fuzz_input *input);
uint32_t fuzz_take32(struct fuzz_input *input);

/* Out of a packet, network byte order. */
static inline uint32_t fuzz_load32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Up to `len` bytes off the tape, as many as there are: a view into it. */
struct fuzz_input fuzz_take(struct fuzz_input *input, size_t len);

/* The same as a copy in memory of exactly that size, to be freed: never NULL. */
uint8_t *fuzz_copy(struct fuzz_input piece);

/* Says what is wrong and aborts. */
__attribute__((noreturn, format(printf, 1, 2))) void fuzz_fail(const char *format, ...);

#define FUZZ_CHECK(condition) \
	do { \
		if (!(condition)) \
			fuzz_fail("%s:%d: %s", __FILE__, __LINE__, #condition); \
	} while (0)

/*
 * A directory of this process's own, made at the first call under $TMPDIR or in memory, removed
 * with all in it when the process ends.
 */
const char *fuzz_directory(void);

/* Path of a file in there; the text lives until the next call. */
const char *fuzz_path(const char *name);
void fuzz_write_file(const char *path, struct fuzz_input bytes);

/* Closes `memory` mappings of files in the directory, which pawsd leaves to the end of the process. */
void fuzz_unmap_files(void);

/* The lowest free descriptor: the same before and after, or one has leaked. */
int fuzz_free_fd(void);

#endif
