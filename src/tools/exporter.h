/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_EXPORTER_H
#define PAWSD_EXPORTER_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>

#include "snapshot.h"

enum {
	EXIT_USAGE = 2,
};

struct exporter {
	const char *socket_path;
	enum { PAWSD_UNKNOWN, PAWSD_UP, PAWSD_DOWN } last; /* what was said of it */
};

/*
 * Asks pawsd. Returns the text of /metrics, which says so if pawsd does not answer, to be freed, its length
 * in *ret_len; NULL when memory is short.
 */
char *exporter_scrape(struct exporter *exporter, size_t *ret_len);

/* Blocks the signals that end the program, and returns them, to be waited for. */
sigset_t exporter_block_stop(void);

/*
 * Writes that text to the file at `path`, as a whole or not at all: once if `interval_s` is 0, else again and
 * again until a signal to stop comes; then the file is removed. Returns the exit status.
 */
int textfile_run(struct exporter *exporter, const char *path, uint32_t interval_s);

/*
 * Writes everything in the Prometheus text format, version 0.0.4. NULL: pawsd does not answer;
 * then pawsd_up is 0 and nothing is said about it.
 */
void exporter_print(FILE *out, const struct snapshot *snapshot);

#endif
