/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What programs cost that do nothing:
 *
 *   hooks INTERFACE
 *
 * Puts one that returns at once where packets come in and one where they leave, as pawsd would: by tcx, or clsact before
 * Linux 6.6. Says "ready" then, and takes them away when it is told to end.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* enum bpf_attach_type of Linux 6.6 */
enum {
	TCX_INGRESS = 46,
	TCX_EGRESS = 47,
};

__attribute__((noreturn)) static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int load(void)
{
	const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1}, /* TC_ACT_UNSPEC: the next one */
		{.code = BPF_JMP | BPF_EXIT},
	};
	int program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "nothing", "GPL", nothing, sizeof(nothing) / sizeof(*nothing), NULL);

	if (program < 0)
		die("bpf_prog_load");
	return program;
}

static void attach_filter(struct bpf_tc_hook hook, int program, enum bpf_tc_attach_point way)
{
	struct bpf_tc_opts opts = {.sz = sizeof(opts), .prog_fd = program, .handle = 1, .priority = 1};

	hook.attach_point = way;
	if (bpf_tc_attach(&hook, &opts) < 0)
		die("bpf_tc_attach");
}

int main(int argc, char **argv)
{
	struct bpf_tc_hook hook = {.sz = sizeof(hook), .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS};
	sigset_t ends;
	bool is_tcx;
	int program, got;

	if (argc != 2 || (hook.ifindex = (int)if_nametoindex(argv[1])) == 0) {
		fputs("usage: hooks INTERFACE\n", stderr);
		return 2;
	}
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	program = load();
	/* The links end with this process. */
	is_tcx = bpf_link_create(program, hook.ifindex, (enum bpf_attach_type)TCX_INGRESS, NULL) >= 0 &&
		 bpf_link_create(program, hook.ifindex, (enum bpf_attach_type)TCX_EGRESS, NULL) >= 0;
	if (!is_tcx) {
		if (bpf_tc_hook_create(&hook) < 0)
			die("bpf_tc_hook_create");
		attach_filter(hook, program, BPF_TC_INGRESS);
		attach_filter(hook, program, BPF_TC_EGRESS);
	}
	puts("ready");
	fflush(stdout);
	sigwait(&ends, &got);
	if (!is_tcx)
		bpf_tc_hook_destroy(&hook);
	return 0;
}
