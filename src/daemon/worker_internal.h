/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_WORKER_INTERNAL_H
#define PAWSD_WORKER_INTERNAL_H

#include "worker.h"

/* worker_table.c: its table of `capacity` flows, and its counters. Returns 0, or -1 with one line in ret_error. */
int worker_open_table(struct worker *worker, const struct worker_setup *setup, uint32_t capacity, char *ret_error, size_t error_size);

#endif
