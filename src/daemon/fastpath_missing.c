/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In place of fastpath_kernel.c where pawsd is built without programs for the kernel. */
#include "fastpath_kernel.h"

#include <stdio.h>

const char *fastpath_kernel_missing(void)
{
	return "clang or libbpf was missing when pawsd was built";
}

struct fastpath_kernel *fastpath_kernel_open(const struct config *config, const char *hindrance, struct fastpath_outcome *ret)
{
	(void)hindrance;
	*ret = (struct fastpath_outcome){0};
	if (fastpath_is_wanted(&config->rules.fastpath))
		snprintf(ret->why_not, sizeof(ret->why_not), "%s", fastpath_kernel_missing());
	return NULL;
}

bool fastpath_kernel_names(const struct config *config, struct slot_names *ret)
{
	(void)config;
	(void)ret;
	return false;
}

const int *fastpath_kernel_fds(const struct fastpath_kernel *kernel)
{
	(void)kernel;
	return NULL;
}

void fastpath_kernel_attach(struct fastpath_kernel *kernel, const struct config *config, const char *hindrance,
			    struct fastpath_attached *ret)
{
	(void)hindrance;
	(void)kernel;
	(void)config;
	*ret = (struct fastpath_attached){0};
}

uint32_t fastpath_kernel_live(const struct fastpath_kernel *kernel)
{
	(void)kernel;
	return 0;
}

void fastpath_kernel_stop(struct fastpath_kernel *kernel)
{
	(void)kernel;
}

int fastpath_kernel_make_policy(struct fastpath_kernel *kernel, const struct policy *policy, char *ret_error, size_t error_size)
{
	(void)kernel;
	(void)policy;
	snprintf(ret_error, error_size, "%s", fastpath_kernel_missing());
	return -1;
}

void fastpath_kernel_use_policy(struct fastpath_kernel *kernel, bool is_good)
{
	(void)kernel;
	(void)is_good;
}

bool fastpath_kernel_try(char *ret_words, size_t size)
{
	snprintf(ret_words, size, "%s", fastpath_kernel_missing());
	return false;
}

bool fastpath_kernel_is_hindered(const struct fastpath_config *config, size_t interface, char *ret_words, size_t size)
{
	(void)config;
	(void)interface;
	(void)ret_words;
	(void)size;
	return false;
}

void fastpath_kernel_close(struct fastpath_kernel *kernel, bool is_end)
{
	(void)kernel;
	(void)is_end;
}
