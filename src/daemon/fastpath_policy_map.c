/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <bpf/bpf.h>
#include <errno.h>
#include <unistd.h>

#include "fastpath_internal.h"
#include "fastpath_policy.h"

struct filling {
	int map;
	bool has_failed;
};

static void put_entry(void *context, const struct fastpath_policy_key *key, const struct fastpath_policy *value)
{
	struct filling *filling = context;

	filling->has_failed = filling->has_failed || bpf_map_update_elem(filling->map, key, value, BPF_ANY) < 0;
}

int fastpath_make_policy_map(const struct policy *policy)
{
	const struct bpf_map_create_opts options = {.sz = sizeof(options), .map_flags = BPF_F_NO_PREALLOC};
	struct filling filling = {.map = -1};
	size_t count;

	errno = ENOMEM;
	if (!fastpath_policy_count(policy, &count))
		return -1;
	filling.map = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "fast_policy", sizeof(struct fastpath_policy_key), sizeof(struct fastpath_policy),
				     (uint32_t)count + 1, &options);
	if (filling.map < 0 || (fastpath_policy_each(policy, put_entry, &filling) && !filling.has_failed))
		return filling.map;
	close(filling.map);
	errno = ENOMEM;
	return -1;
}
