/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes a running process do what an intruder in it would try, by ptrace: one thread of it is stopped behind a system
 * call, made to try others, and let go as if nothing had been.
 *
 *   intrude PID|TID ATTEMPT...
 *
 * One line for each attempt, "ATTEMPT allowed" or "ATTEMPT ERRNO-NAME". Exit status 0, whatever came of them, 1 if the thread
 * could not be made to try, 77 where this machine's processor is another than x86-64. Not for one's own parent, who waits.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	SCRATCH = 4096, /* below the stack's red zone: a path lies there */
	PATH_BYTES = 16,
};

#define PATH_HERE (-1) /* an argument that is the path's address */

/* What execve() and clone() would do to a process that may: never to be tried where it is not confined. */
static const struct attempt {
	const char *name;
	const char *path;
	long number, arguments[6];
} attempts[] = {
	{"open", "/etc/passwd", SYS_open, {PATH_HERE, O_RDONLY}},
	{"openat", "/etc/passwd", SYS_openat, {AT_FDCWD, PATH_HERE, O_RDONLY}},
	{"openat2", "/etc/passwd", SYS_openat2, {AT_FDCWD, PATH_HERE, PATH_HERE, 24}},
	{"creat", "/tmp/intruded", SYS_creat, {PATH_HERE, 0600}},
	{"unlink", "/tmp/intruded", SYS_unlink, {PATH_HERE}},
	{"memfd", "", SYS_memfd_create, {PATH_HERE, 0}},
	{"execve", "/bin/true", SYS_execve, {PATH_HERE, 0, 0}},
	{"execveat", "/bin/true", SYS_execveat, {AT_FDCWD, PATH_HERE, 0, 0, 0}},
	{"fork", "", SYS_fork, {0}},
	{"clone", "", SYS_clone, {SIGCHLD}},
	{"clone3", "", SYS_clone3, {PATH_HERE, sizeof(struct clone_args)}},
	{"kill", "", SYS_kill, {1, 0}},
	{"ptrace", "", SYS_ptrace, {PTRACE_ATTACH, 1}},
	{"inet", "", SYS_socket, {AF_INET, SOCK_STREAM, 0}},
	{"inet6", "", SYS_socket, {AF_INET6, SOCK_DGRAM, 0}},
	{"packet", "", SYS_socket, {AF_PACKET, SOCK_RAW, 0}},
	{"vsock", "", SYS_socket, {AF_VSOCK, SOCK_STREAM, 0}},
	{"socketpair", "", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, PATH_HERE}},
	{"connect", "", SYS_connect, {0, PATH_HERE, 16}},
	{"unix", "", SYS_socket, {AF_UNIX, SOCK_STREAM, 0}},
	{"netlink", "", SYS_socket, {AF_NETLINK, SOCK_RAW, 12}},
	{"code", "", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
	{"memory", "", SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0}},
	{"io_uring", "", SYS_io_uring_setup, {1, PATH_HERE}},
	{"bpf", "", SYS_bpf, {0, PATH_HERE, 16}},
	{"mount", "/tmp", SYS_mount, {PATH_HERE, PATH_HERE, 0, 0, 0}},
	{"setuid", "", SYS_setuid, {0}},
	{"unshare", "", SYS_unshare, {0}},
};

static const struct attempt *find_attempt(const char *name)
{
	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		if (strcmp(attempts[i].name, name) == 0)
			return &attempts[i];
	}
	fprintf(stderr, "intrude: no attempt %s\n", name);
	exit(2);
}

static void give_up(const char *what)
{
	fprintf(stderr, "intrude: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* On to the next stop; only those of tracing are looked at. */
static void go_on(pid_t thread, enum __ptrace_request how)
{
	int status;

	if (ptrace(how, thread, 0, 0) < 0)
		give_up("ptrace");
	if (waitpid(thread, &status, __WALL) < 0 || !WIFSTOPPED(status))
		give_up("the thread has ended");
}

static void put_path(pid_t thread, uint64_t at, const char *path)
{
	char bytes[PATH_BYTES] = "";

	snprintf(bytes, sizeof(bytes), "%s", path);
	for (size_t i = 0; i < sizeof(bytes); i += sizeof(long)) {
		long word;

		memcpy(&word, bytes + i, sizeof(word));
		if (ptrace(PTRACE_POKEDATA, thread, (void *)(uintptr_t)(at + i), (void *)word) < 0)
			give_up("its stack");
	}
}

/* `before`: its registers behind a system call, two bytes long. Returns what the call does. */
static long try(pid_t thread, const struct user_regs_struct *before, const struct attempt *attempt)
{
	struct user_regs_struct registers = *before;
	const uint64_t path = before->rsp - SCRATCH;
	uint64_t arguments[6];

	for (int i = 0; i < 6; i++)
		arguments[i] = attempt->arguments[i] == PATH_HERE && attempt->number != SYS_mmap
				       ? path
				       : (uint64_t)attempt->arguments[i];
	put_path(thread, path, attempt->path);
	registers.orig_rax = UINT64_MAX; /* nothing to be begun again */
	registers.rax = (uint64_t)attempt->number;
	registers.rip -= 2;
	registers.rdi = arguments[0];
	registers.rsi = arguments[1];
	registers.rdx = arguments[2];
	registers.r10 = arguments[3];
	registers.r8 = arguments[4];
	registers.r9 = arguments[5];
	if (ptrace(PTRACE_SETREGS, thread, 0, &registers) < 0)
		give_up("its registers");
	go_on(thread, PTRACE_SINGLESTEP);
	if (ptrace(PTRACE_GETREGS, thread, 0, &registers) < 0)
		give_up("its registers");
	return (long)registers.rax;
}

int main(int argc, char **argv)
{
	const pid_t thread = argc > 2 ? (pid_t)atoi(argv[1]) : 0;
	struct user_regs_struct before;
	int status;

	if (thread <= 0) {
		fprintf(stderr, "usage: intrude PID|TID ATTEMPT...\n");
		return 2;
	}
	alarm(20);
	if (ptrace(PTRACE_ATTACH, thread, 0, 0) < 0 || waitpid(thread, &status, __WALL) < 0)
		give_up("cannot be traced");
	/* To where a call begins, and to its end. */
	go_on(thread, PTRACE_SYSCALL);
	go_on(thread, PTRACE_SYSCALL);
	if (ptrace(PTRACE_GETREGS, thread, 0, &before) < 0)
		give_up("its registers");
	for (int i = 2; i < argc; i++) {
		const struct attempt *attempt = find_attempt(argv[i]);
		const long result = try(thread, &before, attempt);

		printf("%s %s\n", attempt->name, result < 0 ? strerrorname_np((int)-result) : "allowed");
	}
	if (ptrace(PTRACE_SETREGS, thread, 0, &before) < 0)
		give_up("its registers");
	ptrace(PTRACE_DETACH, thread, 0, 0);
	return 0;
}

#else

int main(void)
{
	fprintf(stderr, "intrude: for x86-64 only\n");
	return 77;
}

#endif
