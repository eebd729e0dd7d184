/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_EXPORTER_H
#define PAWSD_EXPORTER_H

#include <stdio.h>

#include "snapshot.h"

/*
 * Writes everything in the Prometheus text format, version 0.0.4. NULL: pawsd does not answer;
 * then pawsd_up is 0 and nothing is said about it.
 */
void exporter_print(FILE *out, const struct snapshot *snapshot);

#endif
