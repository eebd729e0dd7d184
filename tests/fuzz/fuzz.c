/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

uint8_t fuzz_take8(struct fuzz_input *input)
{
	struct fuzz_input piece = fuzz_take(input, 1);

	return piece.len ? piece.data[0] : 0;
}

uint16_t fuzz_take16(struct fuzz_input *input)
{
	uint8_t low = fuzz_take8(input);

	return (uint16_t)(low | fuzz_take8(input) << 8);
}

uint32_t fuzz_take32(struct fuzz_input *input)
{
	uint16_t low = fuzz_take16(input);

	return low | (uint32_t)fuzz_take16(input) << 16;
}

struct fuzz_input fuzz_take(struct fuzz_input *input, size_t len)
{
	struct fuzz_input piece = {input->data, len < input->len ? len : input->len};

	input->data += piece.len;
	input->len -= piece.len;
	return piece;
}

uint8_t *fuzz_copy(struct fuzz_input piece)
{
	uint8_t *copy = malloc(piece.len);

	if (!copy && piece.len == 0)
		copy = malloc(1);
	if (!copy)
		fuzz_fail("out of memory");
	if (piece.len)
		memcpy(copy, piece.data, piece.len);
	return copy;
}

void fuzz_fail(const char *format, ...)
{
	va_list args;

	fputs("FAILED: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

static char directory[64];

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status, (void)type, (void)ftw;
	return remove(path);
}

static void remove_directory(void)
{
	nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_directory(void)
{
	const char *parent = getenv("TMPDIR");

	if (directory[0])
		return directory;
	if (!parent)
		parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	if (snprintf(directory, sizeof(directory), "%s/fuzz-XXXXXX", parent) >= (int)sizeof(directory) ||
	    !mkdtemp(directory))
		fuzz_fail("%s: no directory can be made there", parent);
	atexit(remove_directory);
	return directory;
}

const char *fuzz_path(const char *name)
{
	static char path[96];

	snprintf(path, sizeof(path), "%s/%s", fuzz_directory(), name);
	return path;
}

void fuzz_write_file(const char *path, struct fuzz_input bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, bytes.data, bytes.len) != (ssize_t)bytes.len)
		fuzz_fail("%s: cannot be written", path);
	close(fd);
}

void fuzz_unmap_files(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	uintptr_t first, end;

	if (!maps)
		fuzz_fail("/proc/self/maps: cannot be read");
	while (fgets(line, sizeof(line), maps)) {
		if (strstr(line, fuzz_directory()) && sscanf(line, "%lx-%lx", &first, &end) == 2)
			munmap((void *)first, end - first); /* NOLINT(performance-no-int-to-ptr) */
	}
	fclose(maps);
}

int fuzz_free_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	close(fd);
	return fd;
}
