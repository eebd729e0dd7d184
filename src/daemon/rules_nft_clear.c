/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How nft's rules make room for others without a packet lost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules_internal.h"

static bool is_base_chain_of(const char *name, enum placement placement)
{
	if (placement == PLACEMENT_FORWARD)
		return strcmp(name, "forward") == 0;
	return strcmp(name, "postrouting") == 0 || strcmp(name, "prerouting") == 0;
}

/*
 * Deleting a table takes its base chains off their hooks, and then the kernel drops every packet
 * that waits in a queue, or sends it on into the chain that took the old one's place, to be queued
 * and rewritten once more. So base chains stay, and only what is in them and behind them goes.
 */
char *rules_nft_clearing(char *listing, enum placement placement)
{
	char *text = NULL, *save = NULL, kind[16], name[80], chain[80] = "";
	bool has_base = false, fits = true;
	FILE *chains, *out;
	char *chain_text = NULL;
	size_t size, chain_size;

	out = open_memstream(&text, &size);
	chains = open_memstream(&chain_text, &chain_size);
	if (!out || !chains)
		return NULL;
	fputs("flush table inet pawsd\n", out);
	for (char *line = strtok_r(listing, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		bool is_hook = chain[0] && strstr(line, "type filter hook");

		if (is_hook) {
			has_base = true;
			fits &= is_base_chain_of(chain, placement);
		} else if (chain[0]) {
			fprintf(chains, "delete chain inet pawsd %s\n", chain);
		}
		chain[0] = '\0';
		if (sscanf(line, " %15s %79s {", kind, name) != 2)
			continue;
		if (strcmp(kind, "map") == 0 || strcmp(kind, "set") == 0 || strcmp(kind, "counter") == 0)
			fprintf(out, "delete %s inet pawsd %s\n", kind, name);
		if (strcmp(kind, "chain") == 0)
			snprintf(chain, sizeof(chain), "%s", name);
	}
	fclose(chains);
	fputs(chain_text, out);
	free(chain_text);
	fclose(out);
	if (has_base && fits)
		return text;
	free(text);
	return NULL;
}
