/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors in the keeping of the service manager: what is said to it, and what is found again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fdstore.h"

static char manager_path[] = "/tmp/pawsd-manager-XXXXXX";
static int manager;

static bool is_wanted(void *wanted, const char *name)
{
	return wanted && strcmp(name, wanted) == 0;
}

static void let_go_of_the_rest(void)
{
	char name[FDSTORE_NAME_SIZE];
	int fd;

	while ((fd = fdstore_take_other(is_wanted, NULL, name)) >= 0) {
		close(fd);
		fdstore_drop(name);
	}
}

static int open_manager(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	(void)state;

	close(mkstemp(manager_path));
	unlink(manager_path);
	strcpy(address.sun_path, manager_path);
	manager = fcntl(socket(AF_UNIX, SOCK_DGRAM, 0), F_DUPFD, 100); /* out of the way of what is handed over */
	assert_true(manager >= 0);
	assert_int_equal(bind(manager, (struct sockaddr *)&address, sizeof(address)), 0);
	return setenv("NOTIFY_SOCKET", manager_path, 1);
}

static int close_manager(void **state)
{
	(void)state;
	close(manager);
	return unlink(manager_path);
}

/* The next message; *ret_fd: what came with it, or -1. Empty where there is none. */
static const char *receive(int *ret_fd)
{
	static char text[512];
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {text, sizeof(text) - 1};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t len = recvmsg(manager, &message, MSG_DONTWAIT);

	*ret_fd = -1;
	text[len > 0 ? len : 0] = '\0';
	if (len > 0 && CMSG_FIRSTHDR(&message))
		memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(*ret_fd));
	return text;
}

static bool is_same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0 || errno != EBADF;
}

static void test_keep_and_drop(void **state)
{
	int pair[2], passed;
	(void)state;

	assert_int_equal(pipe(pair), 0);
	assert_true(fdstore_keep("queues-1-2", pair[0]));
	assert_string_equal(receive(&passed), "FDSTORE=1\nFDNAME=queues-1-2\nFDPOLL=0");
	assert_true(is_same_file(passed, pair[0]));
	close(passed);
	fdstore_drop("queues-1-2");
	assert_string_equal(receive(&passed), "FDSTOREREMOVE=1\nFDNAME=queues-1-2");
	assert_int_equal(passed, -1);
	close(pair[0]);
	close(pair[1]);
}

static void test_without_a_manager(void **state)
{
	static const char *const places[] = {NULL, "", "/", "relative", "/tmp/pawsd-nobody-is-there"};
	(void)state;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (places[i])
			setenv("NOTIFY_SOCKET", places[i], 1);
		else
			unsetenv("NOTIFY_SOCKET");
		assert_false(fdstore_keep("name", 0));
		fdstore_drop("name");
	}
	setenv("NOTIFY_SOCKET", manager_path, 1);
}

/* Descriptors 3 to 5, as the service manager hands them over; `by_fd`: their files. */
static void hand_over(const char *pid, const char *count, const char *names, int by_fd[6])
{
	for (int fd = 3; fd < 6; fd++) {
		by_fd[fd] = fcntl(fileno(tmpfile()), F_DUPFD, 100);
		assert_true(by_fd[fd] >= 0);
	}
	for (int fd = 3; fd < 6; fd++)
		assert_int_equal(dup2(by_fd[fd], fd), fd);
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", count, 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
	else
		unsetenv("LISTEN_FDNAMES");
}

static void take_back(const int by_fd[6])
{
	for (int fd = 3; fd < 6; fd++) {
		close(fd);
		close(by_fd[fd]);
	}
}

static void test_found_again(void **state)
{
	char pid[16];
	char name[FDSTORE_NAME_SIZE];
	int by_fd[6], passed, fd;
	(void)state;

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	hand_over(pid, "3", "first:other:third", by_fd);
	fdstore_begin();
	assert_null(getenv("LISTEN_PID"));
	assert_null(getenv("LISTEN_FDS"));
	assert_null(getenv("LISTEN_FDNAMES"));
	assert_int_equal(fdstore_take("second"), -1);
	for (int i = 0; i < 2; i++) /* what is wanted stays */
		assert_int_equal(fdstore_take_other(is_wanted, "first", name), i == 0 ? 4 : 5);
	assert_int_equal(fdstore_take_other(is_wanted, "first", name), -1);
	assert_string_equal(name, "third");
	assert_int_equal(fdstore_take("first"), 3);
	take_back(by_fd);
	hand_over(pid, "3", "first:other:third", by_fd);
	fdstore_begin();
	fd = fdstore_take("third");
	assert_int_equal(fd, 5);
	assert_true(is_same_file(fd, by_fd[5]));
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fdstore_take("third"), -1);
	assert_int_equal(fdstore_take("first"), 3);
	/* What nobody has taken is nobody's. */
	let_go_of_the_rest();
	assert_false(is_open(4));
	assert_true(is_open(3));
	assert_string_equal(receive(&passed), "FDSTOREREMOVE=1\nFDNAME=other");
	assert_string_equal(receive(&passed), "");
	assert_int_equal(fdstore_take("other"), -1);
	take_back(by_fd);
}

static void test_for_another_process(void **state)
{
	int by_fd[6], passed;
	(void)state;

	hand_over("1", "3", "first:other:third", by_fd);
	fdstore_begin();
	assert_int_equal(fdstore_take("first"), -1);
	let_go_of_the_rest();
	assert_true(is_open(3) && is_open(4) && is_open(5));
	assert_string_equal(receive(&passed), "");
	assert_null(getenv("LISTEN_FDS"));
	take_back(by_fd);
}

static void test_odd_variables(void **state)
{
	static const char *const names[] = {NULL, "", ":", "first", "first:", "a-name-that-is-longer-than-any-that-there-is-room-for-"
									      "and-then-some-more:other:third"};
	char pid[16];
	int by_fd[6];
	(void)state;

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		hand_over(pid, "3", names[i], by_fd);
		fdstore_begin();
		assert_int_equal(fdstore_take("first"), names[i] && strncmp(names[i], "first", 5) == 0 ? 3 : -1);
		assert_int_equal(fdstore_take("third"), i == 5 ? 5 : -1);
		let_go_of_the_rest();
		take_back(by_fd);
	}
	hand_over(pid, "none", NULL, by_fd);
	fdstore_begin();
	assert_int_equal(fdstore_take(""), -1);
	take_back(by_fd);
	hand_over(pid, "-1", NULL, by_fd);
	fdstore_begin();
	assert_int_equal(fdstore_take(""), -1);
	take_back(by_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keep_and_drop),	    cmocka_unit_test(test_without_a_manager),
		cmocka_unit_test(test_found_again),	    cmocka_unit_test(test_for_another_process),
		cmocka_unit_test(test_odd_variables),
	};

	return cmocka_run_group_tests(tests, open_manager, close_manager);
}
