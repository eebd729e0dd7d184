/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "conntrack.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

/* States of flows are called as conntrack's are. */
void conntrack_timeout_name(enum flow_state state, char *ret_name, size_t size)
{
	snprintf(ret_name, size, "nf_conntrack_tcp_timeout_%s", flow_state_names[state]);
	for (char *at = ret_name; *at; at++)
		*at = (char)tolower((unsigned char)*at);
}

bool conntrack_timeout(const char *root, enum flow_state state, uint32_t *ret_s)
{
	char name[64], path[256];
	bool is_read;
	FILE *file;

	conntrack_timeout_name(state, name, sizeof(name));
	snprintf(path, sizeof(path), "%s/proc/sys/net/netfilter/%s", root, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	is_read = fscanf(file, "%" SCNu32, ret_s) == 1;
	fclose(file);
	return is_read;
}
