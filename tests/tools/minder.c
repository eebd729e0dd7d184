/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * minder: a small stand-in for the service manager, for tests of what outlives a process.
 *
 *   minder SOCKET READY LOG COMMAND...
 *
 * Prints its pid, goes on in the background and runs COMMAND, its standard error appended to LOG, with SOCKET as
 * $NOTIFY_SOCKET. As systemd does with FileDescriptorStoreMax= it keeps descriptors that come with FDSTORE=1, lets go of
 * them at FDSTOREREMOVE=1, and hands them to the next process (sd_listen_fds(3)). File READY holds the process's pid from
 * its READY=1 to its end. When it ends, however it does, it is started again RESTART_MS later. SIGTERM: ends it with
 * SIGTERM, and itself with its exit status.
 */
#include "load.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
	RESTART_MS = 200, /* RestartSec= of pawsd.service */
	KEPT_MOST = 64,
	FIRST_FD = 3,
	HIGH_FD = 200, /* above all that a child is handed */
};

static struct {
	int fd;
	char name[64];
} kept[KEPT_MOST];
static size_t kept_count;

static const char *socket_path, *ready_path, *log_path;

/* The value of `key` in a message of lines, copied to `ret`; false if it has none. */
static bool find_value(const char *message, const char *key, char *ret, size_t size)
{
	size_t len = strlen(key);

	for (const char *line = message; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		if (strncmp(line, key, len) == 0 && line[len] == '=') {
			snprintf(ret, size, "%.*s", (int)strcspn(line + len + 1, "\n"), line + len + 1);
			return true;
		}
	}
	return false;
}

static void keep(const char *name, int fd)
{
	if (kept_count == KEPT_MOST) {
		fprintf(stderr, "minder: more than %d descriptors\n", KEPT_MOST);
		close(fd);
		return;
	}
	kept[kept_count].fd = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
	snprintf(kept[kept_count].name, sizeof(kept[0].name), "%s", name);
	kept_count++;
	close(fd);
}

static void let_go(const char *name)
{
	size_t left = 0;

	for (size_t i = 0; i < kept_count; i++) {
		if (strcmp(kept[i].name, name) == 0)
			close(kept[i].fd);
		else
			kept[left++] = kept[i];
	}
	kept_count = left;
}

static void note_ready(pid_t pid)
{
	char next[256];
	FILE *file;

	snprintf(next, sizeof(next), "%s.new", ready_path);
	file = fopen(next, "w");
	if (!file)
		load_die(next);
	fprintf(file, "%d\n", (int)pid);
	fclose(file);
	rename(next, ready_path);
}

static void receive(int fd, pid_t pid)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char message[4096], value[64], name[64] = "stored";
	struct iovec text = {message, sizeof(message) - 1};
	struct msghdr header = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t len = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
	struct cmsghdr *rights = len >= 0 ? CMSG_FIRSTHDR(&header) : NULL;
	int passed = -1;

	if (len < 0)
		return;
	message[len] = '\0';
	if (rights && rights->cmsg_type == SCM_RIGHTS)
		memcpy(&passed, CMSG_DATA(rights), sizeof(passed));
	find_value(message, "FDNAME", name, sizeof(name));
	if (find_value(message, "FDSTORE", value, sizeof(value)) && passed >= 0)
		keep(name, passed);
	else if (passed >= 0)
		close(passed);
	if (find_value(message, "FDSTOREREMOVE", value, sizeof(value)))
		let_go(name);
	if (find_value(message, "READY", value, sizeof(value)) && pid > 0)
		note_ready(pid);
}

/* In the child: what sd_listen_fds(3) and sd_notify(3) need. */
static void become(char **argv)
{
	char text[32], names[KEPT_MOST * 65] = "";
	int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (log >= 0) {
		dup2(log, STDERR_FILENO);
		if (log > STDERR_FILENO)
			close(log);
	}
	for (size_t i = 0; i < kept_count; i++) {
		dup2(kept[i].fd, FIRST_FD + (int)i);
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? ":" : "", kept[i].name);
	}
	setenv("NOTIFY_SOCKET", socket_path, 1);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof(text), "%zu", kept_count);
	setenv("LISTEN_FDS", text, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	execv(argv[0], argv);
	_exit(127);
}

static pid_t run(char **argv)
{
	pid_t pid = fork();

	if (pid == 0)
		become(argv);
	if (pid < 0)
		load_die("fork");
	return pid;
}

static int open_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), high;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	unlink(socket_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		load_die(socket_path);
	high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
	close(fd);
	return high;
}

static int open_signals(void)
{
	sigset_t set;
	int fd, high;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
	close(fd);
	return high;
}

int main(int argc, char **argv)
{
	struct signalfd_siginfo info;
	struct pollfd polls[2];
	bool is_stopping = false;
	int status = 0, wait_ms = -1;
	pid_t pid;

	if (argc < 5) {
		fprintf(stderr, "usage: minder SOCKET READY LOG COMMAND...\n");
		return 2;
	}
	socket_path = argv[1];
	ready_path = argv[2];
	log_path = argv[3];
	polls[0] = (struct pollfd){.fd = open_socket(), .events = POLLIN};
	load_go_background();
	polls[1] = (struct pollfd){.fd = open_signals(), .events = POLLIN};
	pid = run(argv + 4);
	while (pid > 0 || !is_stopping) {
		if (poll(polls, 2, wait_ms) == 0 && pid == 0) {
			pid = run(argv + 4);
			wait_ms = -1;
		}
		if (polls[0].revents)
			receive(polls[0].fd, pid);
		while (read(polls[1].fd, &info, sizeof(info)) == sizeof(info)) {
			is_stopping |= info.ssi_signo == SIGTERM;
			if (info.ssi_signo == SIGTERM && pid > 0)
				kill(pid, SIGTERM);
		}
		if (pid > 0 && waitpid(pid, &status, WNOHANG) == pid) {
			unlink(ready_path);
			pid = 0;
			wait_ms = RESTART_MS;
		}
	}
	unlink(socket_path);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
