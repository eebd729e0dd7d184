/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * filtered FILE COMMAND...: runs COMMAND with no system calls but those that FILE names, a line each; what else it tries fails with
 * EPERM. As systemd does it for SystemCallFilter= and SystemCallErrorNumber=EPERM. Names of other machines' calls are passed over.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	FILE *file = argc > 2 ? fopen(argv[1], "re") : NULL;
	char name[64];

	if (!filter || !file) {
		fprintf(stderr, "usage: filtered FILE COMMAND...\n");
		return 2;
	}
	/* What the kernel asks before it executes anything has been asked by then. */
	while (fscanf(file, "%63s", name) == 1) {
		int call = seccomp_syscall_resolve_name(name);

		if (call != __NR_SCMP_ERROR)
			seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
	}
	fclose(file);
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 1);
	if (seccomp_load(filter) < 0) {
		perror("filtered: the kernel needs CONFIG_SECCOMP_FILTER");
		return 1;
	}
	seccomp_release(filter);
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 1;
}
