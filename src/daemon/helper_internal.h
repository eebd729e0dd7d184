/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_HELPER_INTERNAL_H
#define PAWSD_HELPER_INTERNAL_H

#include "config.h"
#include "helper_wire.h"

/* Serves requests from the socket `fd`, which it closes, until the other side is no more. */
void helper_serve(int fd, const char *config_path, const struct slot_names *names);

#endif
