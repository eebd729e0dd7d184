/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pawsctl reload`, `pawsctl set`: what changes what is in force. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pawsctl.h"

static void print_reloaded(FILE *out, const struct snapshot *snapshot)
{
	size_t count = 0;

	for (size_t i = 0; i < snapshot->destination_count; i++)
		count += snapshot->destinations[i].mode[0] != '\0';
	fprintf(out, "reloaded: %zu destinations are in force\n", count ? count - 1 : 0);
}

int reload(const struct call *call)
{
	return snapshot_command(call, "reload", CHANGE_TIMEOUT_MS, print_reloaded, json_print_status);
}

static void print_overrides(FILE *out, const struct snapshot *snapshot)
{
	size_t count = 0;

	for (size_t i = 0; i < snapshot->destination_count; i++) {
		const struct snapshot_destination *destination = &snapshot->destinations[i];

		if (!destination->written_mode[0])
			continue;
		fprintf(out, "%s: mode %s until the next reload or start; the file says %s\n", destination->name, destination->mode,
			destination->written_mode);
		count++;
	}
	if (!count)
		fprintf(out, "all destinations have the mode that the file says\n");
}

int set(const struct call *call)
{
	char request[160];

	if (call->operand_count != 3 || strcmp(call->operands[1], "mode") != 0 ||
	    snprintf(request, sizeof(request), "set %s mode %s", call->operands[0], call->operands[2]) >= (int)sizeof(request) ||
	    strchr(request, '\n'))
		return usage_error(call->command);
	return snapshot_command(call, request, CHANGE_TIMEOUT_MS, print_overrides, json_print_status);
}
