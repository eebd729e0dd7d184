/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * progcost: what programs of the kernel cost while something else is done.
 *
 *   progcost PREFIX SECONDS
 *
 * The kernel measures all programs for that long (BPF_ENABLE_STATS, which costs each run some 30 ns that are among those
 * measured). Prints a line "NAME RUNS NANOSECONDS-A-RUN" for each whose name begins with PREFIX and that has run.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void wait_seconds(double seconds)
{
	struct timespec left = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

int main(int argc, char **argv)
{
	uint32_t id = 0;
	int stats;

	if (argc != 3) {
		fputs("usage: progcost PREFIX SECONDS\n", stderr);
		return 2;
	}
	stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (stats < 0) {
		perror("BPF_ENABLE_STATS");
		return 1;
	}
	wait_seconds(strtod(argv[2], NULL));
	while (bpf_prog_get_next_id(id, &id) == 0) {
		struct bpf_prog_info info = {0};
		uint32_t len = sizeof(info);
		const int fd = bpf_prog_get_fd_by_id(id);

		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0 && info.run_cnt &&
		    strncmp(info.name, argv[1], strlen(argv[1])) == 0)
			printf("%s %llu %.1f\n", info.name, (unsigned long long)info.run_cnt,
			       (double)info.run_time_ns / (double)info.run_cnt);
		if (fd >= 0)
			close(fd);
	}
	close(stats);
	return 0;
}
