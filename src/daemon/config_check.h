/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_CONFIG_CHECK_H
#define PAWSD_CONFIG_CHECK_H

#include "config.h"

/* Adds a line; printf-like. */
__attribute__((format(printf, 2, 3))) void config_report_add(struct config_report *report, const char *format, ...);

/* Checks what one option alone cannot show: contradictions and what is likely not meant. */
void config_check(const char *path, const struct config *config, const struct destination *destinations, size_t count,
		  struct config_report *errors, struct config_report *warnings);

#endif
