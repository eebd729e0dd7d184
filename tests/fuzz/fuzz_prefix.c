/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The input is a file of prefixes. What is accepted must read back the same from its own text,
 * have no host bits, and match as the naive policy does; a refusal must name file and line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "config_options.h"
#include "fuzz.h"
#include "naive.h"
#include "policy_build.h"

static void check_prefix(const struct prefix *prefix)
{
	unsigned int bits = prefix->family == FAMILY_IPV4 ? 32 : 128, skip = 128 - bits;
	struct prefix again;
	char text[64];

	FUZZ_CHECK(prefix->family < FAMILY_COUNT && prefix->len <= bits);
	for (unsigned int i = skip + prefix->len; i < 128; i++)
		FUZZ_CHECK(!(prefix->addr.byte[i / 8] >> (7 - i % 8) & 1));
	if (prefix->family == FAMILY_IPV4)
		FUZZ_CHECK(addr_family(&prefix->addr) == FAMILY_IPV4);
	prefix_format(prefix, text, sizeof(text));
	FUZZ_CHECK(prefix_parse(text, &again) == NULL);
	FUZZ_CHECK(again.family == prefix->family && again.len == prefix->len &&
		   addr_equal(&again.addr, &prefix->addr));
}

/* The same prefixes twice, once for some ports only. Takes `destination` over. */
static void check_policy(struct destination *destination, const uint8_t *data, size_t size)
{
	struct destination *all = calloc(3, sizeof(*all));
	struct policy *policy;

	if (!all)
		fuzz_fail("out of memory");
	all[0] = (struct destination){.name = "default", .slot = SLOT_DEFAULT, .enabled = true};
	all[1] = *destination;
	all[2] = (struct destination){.name = "half", .slot = 3, .enabled = true, .mode = MODE_STRIP};
	all[2].prefix_count = destination->prefix_count / 2;
	all[2].prefixes = calloc(all[2].prefix_count + 1, sizeof(struct prefix));
	all[2].ports = calloc(1, sizeof(struct port_range));
	if (!all[2].prefixes || !all[2].ports)
		fuzz_fail("out of memory");
	if (all[2].prefix_count)
		memcpy(all[2].prefixes, destination->prefixes, all[2].prefix_count * sizeof(struct prefix));
	all[2].port_count = 1;
	all[2].ports[0] = (struct port_range){443, 445};
	policy = policy_build(all, 3);
	if (!policy)
		fuzz_fail("out of memory");
	naive_check_policy(policy, data, size);
	policy_free(policy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct option_info *option = option_find("destination", "prefixes_file");
	struct destination destination = {.name = "all", .slot = 2, .enabled = true, .mode = MODE_REWRITE};
	struct fuzz_input whole = {data, size};
	const char *path = fuzz_path("prefixes");
	char problem[1600] = "";
	bool good;

	fuzz_write_file(path, whole);
	good = option_set(option, &destination, "prefixes", fuzz_directory(), problem, sizeof(problem));
	if (!good && strncmp(problem, path, strlen(path)) != 0)
		fuzz_fail("a message does not name the file: %s", problem);
	for (size_t i = 0; i < destination.prefix_count; i++)
		check_prefix(&destination.prefixes[i]);
	if (good && destination.prefix_count <= 256)
		check_policy(&destination, data, size);
	else
		free(destination.prefixes);
	return 0;
}
