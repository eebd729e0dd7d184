/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket while an answer takes its time, and changes have to wait for one that is under way. */
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "control.h"

static char directory[] = "/tmp/pawsd-control-XXXXXX", path[64];
static struct control *control;
static uint64_t now_ms;
static bool is_busy;	 /* changes have to wait */
static uint64_t takes_ms; /* an answer to "stats" */
static char carried_out[256];
static uint64_t happened, happens_until; /* "follow" is told of, and until when */

static void serve(uint64_t as_of_ms)
{
	struct pollfd polls[CONTROL_POLLS];
	size_t count = control_fill_polls(control, polls);

	assert_true(poll(polls, (nfds_t)count, 0) >= 0);
	control_serve(control, polls, count, as_of_ms);
}

static const char *answer(void *context, struct control_request *control_request, FILE *out)
{
	size_t len = strlen(carried_out);
	const char *request = control_request->text;

	(void)context;
	if (strcmp(request, "follow") == 0) {
		for (; control_request->progress < happened; control_request->progress++)
			fprintf(out, "event number=%" PRIu64 "\n", control_request->progress);
		return control_request->progress < happens_until ? control_more : "that is all";
	}
	if (strcmp(request, "reload") == 0 && !control_request->progress++)
		return control_later;
	if (strcmp(request, "stats") == 0 && takes_ms) {
		now_ms += takes_ms;
		takes_ms = 0;
		for (int i = 0; i < 4; i++)
			serve(now_ms);
	} else if (strcmp(request, "stats") != 0 && strcmp(request, "reload") != 0 && is_busy) {
		return control_later;
	}
	snprintf(carried_out + len, sizeof(carried_out) - len, "%s ", request);
	fprintf(out, "info request %s\n", request);
	return NULL;
}

static int set_up(void **unused)
{
	char error[256];

	(void)unused;
	strcpy(directory, "/tmp/pawsd-control-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/socket", directory);
	control = control_open(path, "", "", answer, NULL, error, sizeof(error));
	now_ms = 1000000;
	is_busy = false;
	takes_ms = 0;
	happened = 0;
	happens_until = 1000000;
	carried_out[0] = '\0';
	return control ? 0 : -1;
}

static int tear_down(void **unused)
{
	(void)unused;
	control_close(control);
	unlink(path);
	return rmdir(directory);
}

/* Serves a few turns. */
static void turns(void)
{
	for (int i = 0; i < 4; i++)
		serve(now_ms);
}

static int ask(const char *text)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_return_code(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	return fd;
}

/* What it has been told, "": nothing yet. Whoever has been told is let go. */
static const char *told(int fd)
{
	static char text[512];
	ssize_t len;

	memset(text, 0, sizeof(text));
	len = recv(fd, text, sizeof(text) - 1, 0);
	assert_int_not_equal(len, 0);
	if (len > 0)
		close(fd);
	return text;
}

static void test_slow_answer_drops_nobody(void **unused)
{
	int slow = ask("sta"), other;

	(void)unused;
	turns();
	other = ask("sta");
	assert_int_equal(send(slow, "ts\n", 3, MSG_NOSIGNAL), 3);
	takes_ms = 500;
	turns();
	assert_int_equal(send(other, "tus\n", 4, MSG_NOSIGNAL), 4);
	turns();
	assert_non_null(strstr(told(slow), "info request stats"));
	assert_non_null(strstr(told(other), "info request status"));
}

static void test_silent_peer_is_dropped(void **unused)
{
	int silent = ask("sta");
	char byte;

	(void)unused;
	turns();
	now_ms += 5001;
	turns();
	assert_int_equal(recv(silent, &byte, 1, 0), 0);
	close(silent);
}

static void test_changes_come_in_their_order(void **unused)
{
	int first = ask("sta"), drain, resume;

	(void)unused;
	turns();
	is_busy = true;
	drain = ask("drain\n"); /* takes the second place */
	turns();
	close(first);
	turns();
	resume = ask("resume\n"); /* takes the first */
	turns();
	assert_string_equal(told(drain), "");
	assert_string_equal(told(resume), "");
	is_busy = false;
	turns();
	assert_non_null(strstr(told(drain), "info request drain"));
	assert_non_null(strstr(told(resume), "info request resume"));
	assert_non_null(strstr(carried_out, "drain resume "));
}

static void test_who_leaves_is_no_longer_meant(void **unused)
{
	int drain;

	(void)unused;
	is_busy = true;
	drain = ask("drain\n");
	turns();
	assert_int_equal(shutdown(drain, SHUT_WR), 0); /* still there */
	turns();
	close(drain);
	turns();
	is_busy = false;
	turns();
	assert_string_equal(carried_out, "");
	is_busy = true;
	drain = ask("drain\n");
	turns();
	assert_int_equal(shutdown(drain, SHUT_WR), 0);
	turns();
	is_busy = false;
	turns();
	assert_non_null(strstr(told(drain), "info request drain"));
}

static void test_those_who_wait_leave_places(void **unused)
{
	int waiting[CONTROL_CLIENTS], served;
	size_t busy = 0;

	(void)unused;
	is_busy = true;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		waiting[i] = ask("drain\n");
		turns();
	}
	served = ask("stats\n");
	turns();
	assert_non_null(strstr(told(served), "info request stats"));
	is_busy = false;
	turns();
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		busy += strstr(told(waiting[i]), "error busy") != NULL;
	assert_int_equal(busy, CONTROL_CLIENTS / 2);
}

static void test_what_is_begun_is_answered(void **unused)
{
	int waiting[CONTROL_CLIENTS / 2], reload;

	(void)unused;
	is_busy = true;
	for (size_t i = 0; i < CONTROL_CLIENTS / 2; i++) {
		waiting[i] = ask("drain\n");
		turns();
	}
	reload = ask("reload\n");
	turns();
	assert_non_null(strstr(told(reload), "info request reload"));
	is_busy = false;
	turns();
	for (size_t i = 0; i < CONTROL_CLIENTS / 2; i++)
		assert_non_null(strstr(told(waiting[i]), "info request drain"));
}

/* What has come of an answer without end. */
static const char *heard(int fd)
{
	static char text[512];
	ssize_t len;

	memset(text, 0, sizeof(text));
	len = recv(fd, text, sizeof(text) - 1, 0);
	return len < 0 ? "" : len == 0 ? "hung up" : text;
}

static void test_answer_without_end(void **unused)
{
	int follower = ask("follow\n");

	(void)unused;
	turns();
	assert_string_equal(heard(follower), "pawsd-control 1\n");
	now_ms += 3600000;
	turns();
	assert_string_equal(heard(follower), "");
	happened = 2;
	turns();
	assert_string_equal(heard(follower), "event number=0\nevent number=1\n");
	now_ms += 3600000;
	happened = 3;
	turns();
	assert_string_equal(heard(follower), "event number=2\n");
	happens_until = 3;
	turns();
	assert_string_equal(heard(follower), "error that is all\nend\n");
	assert_string_equal(heard(follower), "hung up");
	close(follower);
}

static void test_slow_follower_is_dropped(void **unused)
{
	int slow = ask("follow\n"), other;
	const char *text;

	(void)unused;
	turns();
	happened = 100000; /* more than a socket's buffer holds */
	turns();
	other = ask("stats\n");
	now_ms += 4999;
	turns();
	assert_non_null(strstr(told(other), "info request stats"));
	now_ms += 2;
	turns();
	do
		text = heard(slow);
	while (strcmp(text, "") != 0 && strcmp(text, "hung up") != 0);
	assert_string_equal(text, "hung up");
	close(slow);
}

static void test_followers_leave_places(void **unused)
{
	int followers[CONTROL_STREAMS + 1], waiting[CONTROL_CLIENTS / 2];

	(void)unused;
	for (size_t i = 0; i < CONTROL_STREAMS + 1; i++) {
		followers[i] = ask("follow\n");
		turns();
	}
	for (size_t i = 0; i < CONTROL_STREAMS; i++)
		assert_string_equal(heard(followers[i]), "pawsd-control 1\n");
	assert_non_null(strstr(heard(followers[CONTROL_STREAMS]), "error busy"));
	is_busy = true;
	for (size_t i = 0; i < CONTROL_CLIENTS / 2; i++) {
		waiting[i] = ask("drain\n");
		turns();
		assert_string_equal(told(waiting[i]), "");
	}
	is_busy = false;
	turns();
	for (size_t i = 0; i < CONTROL_CLIENTS / 2; i++)
		assert_non_null(strstr(told(waiting[i]), "info request drain"));
	for (size_t i = 0; i < CONTROL_STREAMS + 1; i++)
		close(followers[i]);
	turns();
	followers[0] = ask("follow\n");
	turns();
	assert_string_equal(heard(followers[0]), "pawsd-control 1\n");
	close(followers[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_slow_answer_drops_nobody),
		TEST(test_silent_peer_is_dropped),
		TEST(test_changes_come_in_their_order),
		TEST(test_who_leaves_is_no_longer_meant),
		TEST(test_those_who_wait_leave_places),
		TEST(test_what_is_begun_is_answered),
		TEST(test_answer_without_end),
		TEST(test_slow_follower_is_dropped),
		TEST(test_followers_leave_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
