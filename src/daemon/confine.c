/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "confine.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- capabilities ---- */

static const unsigned int daemon_capabilities[] = {CAP_NET_ADMIN};
/* In the order in which they are given up, the last first. */
static const unsigned int helper_capabilities[] = {CAP_NET_ADMIN, CAP_NET_RAW, CAP_DAC_OVERRIDE, CAP_BPF, CAP_PERFMON, CAP_SETPCAP};

enum {
	HELPER_COMMANDS = 3, /* those that commands need */
	HELPER_PROGRAMS = 5, /* and programs of the kernel */
	HELPER_FIRST = 6,    /* and to give up others for good */
};

/* The sets that can be changed: the bounding set only with CAP_SETPCAP; without that it is the service manager's business. */
static capng_select_t sets(bool can_bound)
{
	return can_bound ? CAPNG_SELECT_ALL : CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT;
}

static int complain_of_capabilities(int error, char *ret_error, size_t error_size)
{
	snprintf(ret_error, error_size, "capabilities cannot be given up (capng %d): capset() is forbidden, and pawsd could not "
		 "execute itself instead; allowed: any user but root with CAP_NET_ADMIN as an ambient capability, or "
		 "SystemCallFilter=capset in the unit", error);
	return -1;
}

/* Whether the process has more than `list`, as far as can be known. libcap-ng's state is what it has, afterwards. */
static bool has_more_than(const unsigned int *list, size_t count)
{
	if (capng_get_caps_process() < 0)
		return true;
	for (unsigned int capability = 0; capability <= CAP_LAST_CAP; capability++) {
		bool is_listed = false;

		for (size_t i = 0; i < count; i++)
			is_listed = is_listed || list[i] == capability;
		if (!is_listed && capng_have_capability(CAPNG_PERMITTED, capability))
			return true;
	}
	return false;
}

static bool is_ambient(unsigned int capability)
{
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1;
}

bool confine_prepare_exec(void)
{
	if (geteuid() == 0 || !is_ambient(CAP_NET_ADMIN) || !has_more_than(daemon_capabilities, 1))
		return false;
	for (unsigned int capability = 0; capability <= CAP_LAST_CAP; capability++) {
		if (capability != CAP_NET_ADMIN)
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, capability, 0, 0);
	}
	return true;
}

/* Has no more than the first `count` of the helper's. */
static int confine_to(size_t count, char *ret_error, size_t error_size)
{
	bool has[sizeof(helper_capabilities) / sizeof(helper_capabilities[0])];
	bool is_done = !has_more_than(helper_capabilities, count);
	const bool can_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	int error;

	for (size_t i = 0; i < count; i++) {
		has[i] = capng_have_capability(CAPNG_PERMITTED, helper_capabilities[i]);
		is_done = is_done && (!has[i] || is_ambient(helper_capabilities[i]));
	}
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (is_done)
		return 0;
	capng_clear(CAPNG_SELECT_ALL);
	for (size_t i = 0; i < count; i++) {
		if (has[i])
			capng_update(CAPNG_ADD,
				     CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_INHERITABLE | CAPNG_BOUNDING_SET | CAPNG_AMBIENT,
				     helper_capabilities[i]);
	}
	error = capng_apply(sets(can_bound));
	return error ? complain_of_capabilities(error, ret_error, error_size) : 0;
}

int confine_helper(char *ret_error, size_t error_size)
{
	return confine_to(HELPER_FIRST, ret_error, error_size);
}

int confine_helper_further(bool has_programs, char *ret_error, size_t error_size)
{
	const int result = confine_to(has_programs ? HELPER_PROGRAMS : HELPER_COMMANDS, ret_error, error_size);

	for (size_t i = HELPER_COMMANDS; i < HELPER_PROGRAMS; i++)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, helper_capabilities[i], 0, 0);
	return result;
}

static int change_user(const char *user, char *ret_error, size_t error_size)
{
	const struct passwd *entry = getpwnam(user);
	int error;

	if (!entry) {
		snprintf(ret_error, error_size, "[daemon] user = %s: no such user; allowed: a user of this system", user);
		return -1;
	}
	if (entry->pw_uid == geteuid())
		return 1;
	error = capng_change_id((int)entry->pw_uid, (int)entry->pw_gid, CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING);
	if (error) {
		snprintf(ret_error, error_size, "[daemon] user = %s: cannot be taken on; allowed: where pawsd is started by root",
			 user);
		return -1;
	}
	return 0;
}

int confine_drop(const char *user, char *ret_error, size_t error_size)
{
	const bool has_more = has_more_than(daemon_capabilities, 1);
	const bool can_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	int error = 1;

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	capng_clear(CAPNG_SELECT_ALL);
	capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_NET_ADMIN);
	if (user[0])
		error = change_user(user, ret_error, error_size);
	if (error < 0)
		return -1;
	if (error > 0 && has_more) {
		error = capng_apply(sets(can_bound));
		if (error)
			return complain_of_capabilities(error, ret_error, error_size);
	}
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return 0;
}

/* ---- system calls ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

int confine_lock(char *ret_error, size_t error_size)
{
	snprintf(ret_error, error_size, "system calls are not filtered: built with a sanitizer, which needs more of them");
	return -1;
}

#else

/* Whatever their arguments are. */
static const int allowed[] = {
	/* packets, the control socket, the service manager, the helper */
	SCMP_SYS(recvmmsg), SCMP_SYS(recvmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendmmsg), SCMP_SYS(sendmsg), SCMP_SYS(sendto),
	SCMP_SYS(accept4), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(shutdown), SCMP_SYS(read), SCMP_SYS(readv),
	SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(close), SCMP_SYS(lseek), SCMP_SYS(fstat),
	/* memory, time, threads */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(futex), SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getrandom), SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq), SCMP_SYS(membarrier), SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
	/* signals */
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
};

/* With such an argument only: its number, how it is compared, and with what. */
static const struct {
	int call;
	struct scmp_arg_cmp argument;
} allowed_with[] = {
	{SCMP_SYS(socket), {0, SCMP_CMP_EQ, AF_UNIX, 0}},
	{SCMP_SYS(socket), {0, SCMP_CMP_EQ, AF_NETLINK, 0}},
	/* memory that is never code */
	{SCMP_SYS(mmap), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
	{SCMP_SYS(mprotect), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
	/* fstat() of glibc */
	{SCMP_SYS(newfstatat), {3, SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH}},
	/* a thread's own name */
	{SCMP_SYS(prctl), {0, SCMP_CMP_EQ, PR_SET_NAME, 0}},
};

static int add_rules(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp itself = {0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0};
	/* abort() */
	int error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &itself);

	for (size_t i = 0; !error && i < sizeof(allowed) / sizeof(allowed[0]); i++)
		error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, allowed[i], 0, NULL);
	for (size_t i = 0; !error && i < sizeof(allowed_with) / sizeof(allowed_with[0]); i++)
		error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, allowed_with[i].call, 1, &allowed_with[i].argument);
	return error;
}

static int load_filter(scmp_filter_ctx filter)
{
	const int error = add_rules(filter);

	if (error)
		return error;
	/* A tree instead of a list to look through, if the library can. */
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) < 0)
		return -EOPNOTSUPP;
	return seccomp_load(filter);
}

int confine_lock(char *ret_error, size_t error_size)
{
	/* EPERM, not death: who is in the path of a company's packets does not die of a library's new habit. */
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int error = -ENOMEM;

	if (filter) {
		error = load_filter(filter);
		seccomp_release(filter);
	}
	if (error == 0)
		return 0;
	snprintf(ret_error, error_size, "system calls cannot be filtered: %s; the kernel needs CONFIG_SECCOMP_FILTER, a unit "
		 "SystemCallFilter=seccomp", strerror(-error));
	return -1;
}

#endif
