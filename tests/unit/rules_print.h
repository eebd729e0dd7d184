/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_RULES_PRINT_H
#define PAWSD_TESTS_RULES_PRINT_H

#include "../tools/policy_spec.h"
#include "rules.h"

/* What rules_print() writes, to be freed. */
static char *print_rules(const struct rules_config *config, const struct policy *policy,
			 const struct rules_drain *drain, size_t drain_count)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		spec_die("memory", "is short");
	rules_print(out, config, policy, drain, drain_count);
	fclose(out);
	return text;
}

#endif
