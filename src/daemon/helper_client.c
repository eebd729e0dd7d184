/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's side of the helper: makes the process, and asks it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "confine.h"
#include "helper.h"
#include "helper_internal.h"
#include "log.h"

enum {
	HELPER_FD = STDERR_FILENO + 1,
	END_WAIT_MS = 5000,
	HELPER_NICENESS = 10,
};

struct helper {
	int fd;
	FILE *in, *out;
	bool has_gone;
	helper_wait_fn wait; /* NULL: nothing is done meanwhile */
	void *context;
};

void helper_set_wait(struct helper *helper, helper_wait_fn wait, void *context)
{
	helper->wait = wait;
	helper->context = context;
}

bool helper_is_there(const struct helper *helper)
{
	return !helper->has_gone;
}

/* The helper's process from its first moment on. Frees `helper`, which is the daemon's. */
__attribute__((noreturn)) static void run(struct helper *helper, int fd, pid_t daemon, const char *config_path,
					  const struct slot_names *names)
{
	char error[HELPER_ERROR_SIZE];
	sigset_t all;

	free(helper);
	/* A service manager, or a terminal, may mean all processes of a group. This one ends with the daemon. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (fd != HELPER_FD && dup3(fd, HELPER_FD, O_CLOEXEC) < 0)
		_exit(1);
	close_range(HELPER_FD + 1, ~0U, 0);
	prctl(PR_SET_NAME, "pawsd-helper");
	/* What it does, and the commands that it runs, give way to packets. */
	setpriority(PRIO_PROCESS, 0, HELPER_NICENESS);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("LISTEN_FDS");
	if (confine_helper(error, sizeof(error)) < 0)
		log_warning("%s", error);
	/* In the midst of a change too: what the next one finds then it can deal with, not two at a time. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == daemon)
		helper_serve(HELPER_FD, config_path, names);
	exit(0);
}

/* Takes `fd`. NULL, errno set, where that cannot be used. */
static struct helper *open_streams(struct helper *helper, int fd)
{
	const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	helper->fd = fd;
	helper->in = fdopen(fd, "r");
	helper->out = copy >= 0 ? fdopen(copy, "w") : NULL;
	return helper->in && helper->out ? helper : NULL;
}

struct helper *helper_start(const char *config_path, const struct slot_names *names, char *ret_error, size_t error_size)
{
	struct helper *helper = calloc(1, sizeof(*helper));
	const pid_t daemon = getpid();
	int fds[2] = {-1, -1};
	pid_t pid = -1;

	signal(SIGPIPE, SIG_IGN);
	if (helper && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0)
		pid = fork();
	if (pid == 0) {
		close(fds[0]);
		run(helper, fds[1], daemon, config_path, names);
	}
	if (fds[1] >= 0)
		close(fds[1]);
	if (pid > 0 && open_streams(helper, fds[0]))
		return helper;
	snprintf(ret_error, error_size, "the process that changes rules cannot be started: %s", strerror(errno));
	if (fds[0] >= 0)
		close(fds[0]);
	free(helper);
	return NULL;
}

/* Where the program that is executed in this one's place finds the helper: a descriptor's number. */
static const char fd_variable[] = "PAWSD_HELPER_FD";

void helper_exec(struct helper *helper, char **argv)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", helper->fd);
	setenv(fd_variable, number, 1);
	fcntl(helper->fd, F_SETFD, 0);
	execv("/proc/self/exe", argv);
	log_warning("/proc/self/exe cannot be executed: %s", strerror(errno));
	fcntl(helper->fd, F_SETFD, FD_CLOEXEC);
	unsetenv(fd_variable);
}

struct helper *helper_adopt(void)
{
	const char *number = secure_getenv(fd_variable);
	const int fd = number ? atoi(number) : -1;
	struct helper *helper;

	unsetenv(fd_variable);
	if (fd <= STDERR_FILENO || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return NULL;
	helper = calloc(1, sizeof(*helper));
	if (helper && open_streams(helper, fd))
		return helper;
	free(helper);
	return NULL;
}

void helper_stop(struct helper *helper)
{
	struct pollfd ended;
	char byte;

	if (!helper)
		return;
	ended = (struct pollfd){.fd = helper->fd, .events = POLLIN};
	shutdown(helper->fd, SHUT_WR);
	while (poll(&ended, 1, END_WAIT_MS) > 0 && read(helper->fd, &byte, 1) > 0)
		;
	fclose(helper->in);
	fclose(helper->out);
	free(helper);
}

static int complain(struct helper *helper, char *ret_error, size_t error_size)
{
	if (!helper->has_gone)
		log_error("the process that changes rules is no more: packets go on being rewritten, but nothing can be changed, "
			  "and the clock is not saved, until pawsd is started again");
	helper->has_gone = true;
	snprintf(ret_error, error_size, "the process that changes rules is no more; start pawsd again");
	return -1;
}

/* False where nobody is there to answer. */
static bool ask_with(struct helper *helper, enum helper_operation operation, const void *head, size_t head_bytes,
		     const void *rest, size_t rest_bytes)
{
	const struct helper_header header = {operation, (uint32_t)(head_bytes + rest_bytes)};

	return !helper->has_gone && wire_put(helper->out, &header, sizeof(header)) &&
	       wire_put(helper->out, head, head_bytes) && wire_put(helper->out, rest, rest_bytes) &&
	       fflush(helper->out) == 0;
}

static bool ask(struct helper *helper, enum helper_operation operation)
{
	return ask_with(helper, operation, "", 0, "", 0);
}

/* The first bytes of an answer, for which the helper takes its time. */
static bool get_first(struct helper *helper, void *bytes, size_t count)
{
	if (helper->wait)
		helper->wait(helper->context, helper->fd);
	return wire_get(helper->in, bytes, count);
}

/* Whether it has gone well; if not, with its reason. */
static int get_result(struct helper *helper, char *ret_error, size_t error_size)
{
	uint8_t good;

	if (!get_first(helper, &good, sizeof(good)))
		return complain(helper, ret_error, error_size);
	if (good)
		return 0;
	if (!wire_get_text(helper->in, ret_error, error_size))
		return complain(helper, ret_error, error_size);
	return -1;
}

static int get_config(struct helper *helper, struct config **ret, struct slot_names *names, char *ret_error, size_t error_size)
{
	*ret = NULL;
	if (get_result(helper, ret_error, error_size) < 0)
		return -1;
	*ret = wire_get_config(helper->in);
	if (*ret && wire_get(helper->in, names, sizeof(*names)))
		return 0;
	config_free(*ret);
	*ret = NULL;
	/* What is left of the answer nobody can make sense of any more. */
	return complain(helper, ret_error, error_size);
}

int helper_load(struct helper *helper, struct config **ret, struct slot_names *names, char *ret_error, size_t error_size)
{
	*ret = NULL;
	if (!ask(helper, HELPER_LOAD))
		return complain(helper, ret_error, error_size);
	return get_config(helper, ret, names, ret_error, error_size);
}

int helper_set_mode(struct helper *helper, uint16_t slot, enum mode mode, struct config **ret, struct slot_names *names,
		    char *ret_error, size_t error_size)
{
	struct helper_set_mode_body body;

	memset(&body, 0, sizeof(body)); /* its padding goes out with it */
	body.slot = slot;
	body.mode = (uint8_t)mode;
	*ret = NULL;
	if (!ask_with(helper, HELPER_SET_MODE, &body, sizeof(body), "", 0))
		return complain(helper, ret_error, error_size);
	return get_config(helper, ret, names, ret_error, error_size);
}

int helper_try(struct helper *helper, const struct policy_trial *trial, struct config **ret, struct slot_names *names,
	       char *ret_error, size_t error_size)
{
	struct policy_trial body;

	memset(&body, 0, sizeof(body)); /* its padding goes out with it */
	*ret = NULL;
	if (trial) {
		body.server = trial->server;
		body.port = trial->port;
		body.mode = trial->mode;
		body.repair = trial->repair;
	}
	if (!ask_with(helper, HELPER_TRY, &body, trial ? sizeof(body) : 0, "", 0))
		return complain(helper, ret_error, error_size);
	return get_config(helper, ret, names, ret_error, error_size);
}

int helper_install(struct helper *helper, const struct helper_install *request, struct rules_outcome *ret, char *ret_error,
		   size_t error_size)
{
	const struct helper_install_head head = {request->is_new, request->label, request->generation};

	*ret = (struct rules_outcome){0};
	if (!ask_with(helper, HELPER_INSTALL, &head, sizeof(head), request->drain,
		      request->drain_count * sizeof(*request->drain)))
		return complain(helper, ret_error, error_size);
	if (get_result(helper, ret_error, error_size) < 0)
		return -1;
	if (wire_get_text(helper->in, ret->strip_error, sizeof(ret->strip_error)) &&
	    wire_get_text(helper->in, ret->label_error, sizeof(ret->label_error)))
		return 0;
	return complain(helper, ret_error, error_size);
}

int helper_remove(struct helper *helper, char *ret_error, size_t error_size)
{
	if (!ask(helper, HELPER_REMOVE))
		return complain(helper, ret_error, error_size);
	return get_result(helper, ret_error, error_size);
}

struct rules_look helper_look(struct helper *helper)
{
	struct rules_look look = {0};
	char error[HELPER_ERROR_SIZE];
	uint8_t is_less;

	if (ask(helper, HELPER_LOOK) && get_first(helper, &look.fingerprint, sizeof(look.fingerprint)) &&
	    wire_get(helper->in, &is_less, sizeof(is_less)) && is_less <= 1) {
		look.is_less = is_less;
		return look;
	}
	complain(helper, error, sizeof(error));
	return (struct rules_look){0};
}

int helper_read_counts(struct helper *helper, uint64_t (*ret_counts)[RULES_STRIP_REASONS], size_t destination_count,
		       char *ret_error, size_t error_size)
{
	size_t count;

	if (!ask(helper, HELPER_READ_COUNTS))
		return complain(helper, ret_error, error_size);
	if (get_result(helper, ret_error, error_size) < 0)
		return -1;
	if (wire_get(helper->in, &count, sizeof(count)) && count == destination_count &&
	    wire_get(helper->in, ret_counts, count * sizeof(*ret_counts)))
		return 0;
	return complain(helper, ret_error, error_size);
}

bool helper_look_around(struct helper *helper, struct surroundings *ret)
{
	char error[HELPER_ERROR_SIZE];

	if (ask(helper, HELPER_LOOK_AROUND) && get_first(helper, ret, sizeof(*ret)))
		return true;
	complain(helper, error, sizeof(error));
	return false;
}

/* Maps what the descriptors stand for, all or nothing, and closes them. */
static bool map_all(const int fds[FASTPATH_MAPS], const struct fastpath_sizes *sizes, void *ret_maps[FASTPATH_MAPS])
{
	int error = 0;

	for (enum fastpath_map map = 0; map < FASTPATH_MAPS; map++) {
		void *mapped = mmap(NULL, fastpath_map_bytes(map, sizes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fds[map], 0);

		if (mapped == MAP_FAILED)
			error = errno;
		ret_maps[map] = mapped == MAP_FAILED ? NULL : mapped;
		close(fds[map]);
	}
	for (enum fastpath_map map = 0; error && map < FASTPATH_MAPS; map++) {
		if (ret_maps[map])
			munmap(ret_maps[map], fastpath_map_bytes(map, sizes));
		ret_maps[map] = NULL;
	}
	errno = error;
	return !error;
}

/* All that has been said before has been read: what comes now is the one byte, and what comes with it. */
static bool get_descriptors(struct helper *helper, int ret_fds[FASTPATH_MAPS])
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * FASTPATH_MAPS)];
	char byte;
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	const struct cmsghdr *head;

	if (recvmsg(helper->fd, &message, MSG_CMSG_CLOEXEC) != 1)
		return false;
	head = CMSG_FIRSTHDR(&message);
	if (!head || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(sizeof(int) * FASTPATH_MAPS))
		return false;
	memcpy(ret_fds, CMSG_DATA(head), sizeof(int) * FASTPATH_MAPS);
	return true;
}

bool helper_open_fastpath(struct helper *helper, struct fastpath_outcome *ret, void *ret_maps[FASTPATH_MAPS])
{
	char error[HELPER_ERROR_SIZE];
	int fds[FASTPATH_MAPS];

	if (!ask(helper, HELPER_FASTPATH_OPEN) || !get_first(helper, ret, sizeof(*ret)) ||
	    (ret->has_memory && (!ask(helper, HELPER_FASTPATH_HAND_OVER) || !get_descriptors(helper, fds)))) {
		complain(helper, error, sizeof(error));
		return false;
	}
	if (ret->has_memory && !map_all(fds, &ret->sizes, ret_maps)) {
		snprintf(ret->why_not, sizeof(ret->why_not), "its memory cannot be mapped: %s", strerror(errno));
		ret->has_memory = false;
	}
	return true;
}

bool helper_attach_fastpath(struct helper *helper, struct fastpath_attached *ret)
{
	char error[HELPER_ERROR_SIZE];

	if (ask(helper, HELPER_FASTPATH_ATTACH) && get_first(helper, ret, sizeof(*ret)))
		return true;
	complain(helper, error, sizeof(error));
	return false;
}

static void tell(struct helper *helper, enum helper_operation operation)
{
	char error[HELPER_ERROR_SIZE];

	if (!ask(helper, operation) || get_result(helper, error, sizeof(error)) < 0)
		complain(helper, error, sizeof(error));
}

void helper_hold_back_rules(struct helper *helper)
{
	tell(helper, HELPER_FASTPATH_HOLD);
}

void helper_stop_fastpath(struct helper *helper)
{
	tell(helper, HELPER_FASTPATH_STOP);
}

void helper_end_fastpath(struct helper *helper)
{
	tell(helper, HELPER_FASTPATH_END);
}

int helper_store_clock(void *context, const char *text, size_t len)
{
	struct helper *helper = context;
	char error[HELPER_ERROR_SIZE];
	int32_t answer;

	if (ask_with(helper, HELPER_STORE_CLOCK, text, len, "", 0) && get_first(helper, &answer, sizeof(answer))) {
		errno = answer;
		return answer ? -1 : 0;
	}
	complain(helper, error, sizeof(error));
	errno = EPIPE;
	return -1;
}

void helper_remove_files(struct helper *helper, bool socket, bool flows)
{
	const struct helper_remove_files_body body = {socket, flows};
	char error[HELPER_ERROR_SIZE];

	if (!ask_with(helper, HELPER_REMOVE_FILES, &body, sizeof(body), "", 0) || get_result(helper, error, sizeof(error)) < 0)
		complain(helper, error, sizeof(error));
}
