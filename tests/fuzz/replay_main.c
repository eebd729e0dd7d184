/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a fuzz target over the files named, without libFuzzer: any compiler, with or without
 * sanitizers. Prints how many there were; a failure ends the program.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned int inputs;

static void run_file(const char *path)
{
	FILE *file = fopen(path, "re");
	struct stat status;
	uint8_t *data;

	if (!file || fstat(fileno(file), &status) < 0)
		fuzz_fail("%s: cannot be read", path);
	data = malloc((size_t)status.st_size + 1);
	if (!data || fread(data, 1, (size_t)status.st_size, file) != (size_t)status.st_size)
		fuzz_fail("%s: cannot be read", path);
	fclose(file);
	fprintf(stderr, "%s\n", path); /* the last of these lines is the one that failed */
	/* Of exactly its size, so that a sanitizer sees a byte read behind it. */
	struct fuzz_input piece = {data, (size_t)status.st_size};
	uint8_t *exact = fuzz_copy(piece);

	LLVMFuzzerTestOneInput(exact, piece.len);
	free(exact);
	free(data);
	inputs++;
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void run_directory(const char *path)
{
	struct dirent **entries;
	char name[4096];
	int count = scandir(path, &entries, NULL, compare_names);

	if (count < 0)
		fuzz_fail("%s: cannot be read", path);
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.') {
			snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
			run_file(name);
		}
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	struct stat status;

	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode))
			run_directory(argv[i]);
		else
			run_file(argv[i]);
	}
	printf("%u inputs\n", inputs);
	return inputs == 0;
}
