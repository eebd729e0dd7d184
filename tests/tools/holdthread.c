/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * holdthread: one thread of a process stands still, as if it hung; the others go on. (SIGSTOP stops them all.)
 *
 *   holdthread TID
 *
 * Holds it until it or holdthread is no more. Exit status 0 once the thread has ended, 2 if it cannot be held.
 */
#include "load.h"

#include <sys/ptrace.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
	pid_t thread = argc == 2 ? (pid_t)strtol(argv[1], NULL, 10) : 0;
	int status = 0;

	if (thread <= 0) {
		fprintf(stderr, "usage: holdthread TID\n");
		return 2;
	}
	if (ptrace(PTRACE_SEIZE, thread, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) < 0)
		load_die("ptrace");
	while (waitpid(thread, &status, __WALL) == thread && !WIFEXITED(status) && !WIFSIGNALED(status))
		continue;
	return 0;
}
