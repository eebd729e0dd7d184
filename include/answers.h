/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_ANSWERS_H
#define PAWSD_ANSWERS_H

#include <stdio.h>

#include "control.h"

/*
 * What is answered on the control socket (control_answer_fn; `context`: the struct daemon). The requests are a table in
 * answers.c; snapshot.h and records.h say how answers look.
 */
const char *answer_request(void *context, struct control_request *request, FILE *out);

#endif
