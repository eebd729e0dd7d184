/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "netload.h"

int netload_epoll;
uint8_t netload_buffer[NETLOAD_BUFFER_BYTES];

static size_t children;

uint64_t netload_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void netload_watch(int operation, int fd, uint32_t events, void *context)
{
	struct epoll_event event = {.events = events, .data.ptr = context};

	if (epoll_ctl(netload_epoll, operation, fd, &event) < 0)
		load_die("epoll_ctl");
}

void netload_switch_on(int fd, int level, int option)
{
	int on = 1;

	setsockopt(fd, level, option, &on, sizeof(on));
}

size_t netload_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		load_die("sched_getaffinity");
	return (size_t)CPU_COUNT(&set);
}

void netload_loops_start(size_t count, void (*run)(size_t loop, void *context), void *context)
{
	pid_t parent = getpid();

	for (size_t loop = 0; loop < count; loop++) {
		pid_t pid = fork();

		if (pid < 0)
			load_die("fork");
		if (pid > 0) {
			children++;
			continue;
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(2);
		netload_epoll = epoll_create1(EPOLL_CLOEXEC);
		if (netload_epoll < 0)
			load_die("epoll_create1");
		run(loop, context);
		_exit(0);
	}
}

bool netload_loops_wait(void)
{
	bool are_well = true;
	int status;

	for (; children > 0; children--)
		are_well &= wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	return are_well;
}
