/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_PLOT_H
#define PAWSD_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

/* A picture, by gnuplot, of each client's TSvals over time: a line for a connection, from SYN to FIN, and a cross for each SYN without an answer. */
struct plot;

struct plot *plot_open(void);
void plot_close(struct plot *plot);

/* False when memory is short. */
bool plot_add(struct plot *plot, const struct event *event);

/* The SYN with that serial had no answer. */
void plot_mark(struct plot *plot, uint64_t serial);

/* Draws to `path`, a PNG or, by its name, an SVG. False with one line in ret_error. */
bool plot_draw(struct plot *plot, const char *path, uint64_t base_ms, char *ret_error, size_t error_size);

#endif
