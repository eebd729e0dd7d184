/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running a command. Its input lies in a memory file, so that nothing has to be written while
 * it runs (and no SIGPIPE can come), and so that nft may open /dev/stdin anew, which it does.
 * Its words come by pipes; more than is kept is read and dropped, so that it cannot get stuck.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rules_internal.h"

enum {
	RUN_TIMEOUT_MS = 30000,
	OUTPUT_BYTES_MAX = 256 << 20,
	WORDS_BYTES_MAX = 8192,
};

/* What comes through a pipe. */
struct stream {
	int fd;
	char *text; /* always ends with 0 */
	size_t used, capacity, max;
	bool has_lost; /* not all of it could be kept */
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int make_input(const char *input, size_t bytes)
{
	int fd;

	if (!input)
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	fd = memfd_create("pawsd-rules", MFD_CLOEXEC);
	if (fd < 0)
		return -1;
	for (size_t done = 0; done < bytes;) {
		const ssize_t n = write(fd, input + done, bytes - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			close(fd);
			return -1;
		}
		done += (size_t)n;
	}
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void stream_keep(struct stream *stream, const char *bytes, size_t count)
{
	if (count > stream->max - stream->used) {
		count = stream->max - stream->used;
		stream->has_lost = true;
	}
	if (stream->used + count + 1 > stream->capacity) {
		const size_t capacity = (stream->used + count + 1) * 2;
		char *larger = realloc(stream->text, capacity);

		if (!larger) {
			stream->has_lost = true;
			return;
		}
		stream->text = larger;
		stream->capacity = capacity;
	}
	memcpy(stream->text + stream->used, bytes, count);
	stream->used += count;
	stream->text[stream->used] = '\0';
}

/* Reads what is there, though not for ever, and closes it at its end. */
static void stream_read(struct stream *stream)
{
	char bytes[16384];

	for (int i = 0; i < 64 && stream->fd >= 0; i++) {
		const ssize_t n = read(stream->fd, bytes, sizeof(bytes));

		if (n > 0) {
			stream_keep(stream, bytes, (size_t)n);
		} else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
			close(stream->fd);
			stream->fd = -1;
		} else if (errno == EAGAIN) {
			return;
		}
	}
}

/*
 * Reads until the process ends; kills it when its time is up. Returns its wait status. The
 * pipes may stay open longer than it lives (a child of its own), or be closed earlier.
 */
static int await(pid_t pid, struct stream *output, struct stream *words, bool *ret_timed_out)
{
	const int64_t deadline = now_ms() + RUN_TIMEOUT_MS;
	int status = 0;

	*ret_timed_out = false;
	for (;;) {
		struct pollfd fds[2] = {{.fd = output->fd, .events = POLLIN}, {.fd = words->fd, .events = POLLIN}};
		const bool is_silent = output->fd < 0 && words->fd < 0;
		const pid_t ended = waitpid(pid, &status, WNOHANG);

		if (ended == pid || (ended < 0 && errno != EINTR))
			break;
		if (now_ms() >= deadline && !*ret_timed_out) {
			*ret_timed_out = true;
			kill(pid, SIGKILL);
		}
		poll(fds, 2, is_silent ? 1 : 20);
		stream_read(output);
		stream_read(words);
	}
	stream_read(output);
	stream_read(words);
	return status;
}

/* The signals that pawsd blocks or ignores are none of the command's business. */
static int spawn(const char *const *argv, int input, int output, int words, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, defaults;

	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &defaults);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, words, STDERR_FILENO);
	/* Unlike execvp(), posix_spawnp() is not declared to leave the words alone; it does. */
	const int error = posix_spawnp(ret_pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv,
				       environ);

	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return error;
}

static enum run_result judge(const char *const *argv, int status, bool timed_out, const char *words,
			     const char *input, char *ret_error, size_t error_size)
{
	if (timed_out) {
		snprintf(ret_error, error_size, "%s: not done after %d s, killed", argv[0], RUN_TIMEOUT_MS / 1000);
		return RUN_FAILED;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return RUN_OK;
	/* What posix_spawnp() cannot tell by its result (under valgrind, for one), it tells so. */
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127 && !words) {
		rules_explain_missing(argv[0], ret_error, error_size);
		return RUN_MISSING;
	}
	if (WIFSIGNALED(status))
		snprintf(ret_error, error_size, "%s: ended by signal %d", argv[0], WTERMSIG(status));
	else
		rules_explain(argv, words ? words : "", input, ret_error, error_size);
	return RUN_FAILED;
}

static void close_pair(const int fds[2])
{
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* *ret_output and *ret_words, where wanted: what it printed, and what it said to standard error. */
static enum run_result run(const char *const *argv, const char *input, size_t input_bytes, char **ret_output,
			   char **ret_words, char *ret_error, size_t error_size)
{
	struct stream output = {.fd = -1, .max = ret_output ? OUTPUT_BYTES_MAX : 0};
	struct stream words = {.fd = -1, .max = WORDS_BYTES_MAX};
	int output_fds[2] = {-1, -1}, words_fds[2] = {-1, -1};
	const int input_fd = make_input(input, input_bytes);
	enum run_result result = RUN_FAILED;
	bool timed_out;
	pid_t pid;
	int error;

	if (ret_words)
		*ret_words = NULL;
	if (input_fd < 0 || pipe2(output_fds, O_CLOEXEC) != 0 || pipe2(words_fds, O_CLOEXEC) != 0) {
		snprintf(ret_error, error_size, "%s: cannot be started: %s", argv[0], strerror(errno));
		close_pair(output_fds);
		close_pair(words_fds);
		if (input_fd >= 0)
			close(input_fd);
		return RUN_FAILED;
	}
	error = spawn(argv, input_fd, output_fds[1], words_fds[1], &pid);
	close(input_fd);
	close(output_fds[1]);
	close(words_fds[1]);
	output.fd = output_fds[0];
	words.fd = words_fds[0];
	fcntl(output.fd, F_SETFL, O_NONBLOCK);
	fcntl(words.fd, F_SETFL, O_NONBLOCK);
	if (error == ENOENT) {
		rules_explain_missing(argv[0], ret_error, error_size);
		result = RUN_MISSING;
	} else if (error) {
		snprintf(ret_error, error_size, "%s: cannot be started: %s", argv[0], strerror(error));
	} else {
		const int status = await(pid, &output, &words, &timed_out);

		result = judge(argv, status, timed_out, words.text, input, ret_error, error_size);
		if (result == RUN_OK && ret_output && output.has_lost) {
			snprintf(ret_error, error_size, "%s: printed more than there is memory for", argv[0]);
			result = RUN_FAILED;
		}
	}
	if (output.fd >= 0)
		close(output.fd);
	if (words.fd >= 0)
		close(words.fd);
	if (ret_words)
		*ret_words = words.text;
	else
		free(words.text);
	if (ret_output)
		*ret_output = output.text;
	else
		free(output.text);
	return result;
}

enum run_result rules_run(const char *const *argv, const char *input, size_t input_bytes, char **ret_output,
			  char *ret_error, size_t error_size)
{
	return run(argv, input, input_bytes, ret_output, NULL, ret_error, error_size);
}

enum run_result rules_run_for_words(const char *const *argv, char **ret_words, char *ret_error, size_t error_size)
{
	return run(argv, NULL, 0, NULL, ret_words, ret_error, error_size);
}
