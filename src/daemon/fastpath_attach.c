/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Puts programs where packets come in and leave: by tcx, or clsact before Linux 6.6. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/pkt_sched.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fastpath_internal.h"
#include "log.h"

enum {
	/* enum bpf_attach_type of Linux 6.6 */
	TCX_INGRESS = 46,
	TCX_EGRESS = 47,
	PROGRAMS_MAX = 64,
	MESSAGE_MAX = 32768,
	/* Our filter of clsact, "paws": behind those of others with lower numbers, whose packets reach it as they leave them. */
	FILTER_HANDLE = 0x70617773,
	FILTER_PRIORITY = 0x7061,
};

static const char *const way_names[FASTPATH_WAYS] = {"ingress", "egress"};

static enum bpf_attach_type tcx_type(enum fastpath_way way)
{
	return (enum bpf_attach_type)(way == FASTPATH_INGRESS ? TCX_INGRESS : TCX_EGRESS);
}

static void link_path(const struct fastpath_hook *hook, char ret[FASTPATH_PIN_PATH])
{
	snprintf(ret, FASTPATH_PIN_PATH, "%s/link_%s_%s", hook->pins, hook->interface, way_names[hook->way]);
	/* A file system of bpf's takes no dots in names. */
	for (char *at = ret + strlen(hook->pins); *at; at++)
		if (*at == '.')
			*at = ',';
}

/* The link kept by name, and what it is on; -1: there is none. */
static int open_link(const struct fastpath_hook *hook, uint32_t *ret_index, uint32_t *ret_program)
{
	struct {
		struct bpf_link_info info;
		uint32_t more[8]; /* what the header at hand may not know */
	} got = {0};
	uint32_t len = sizeof(got), tcx[2];
	char path[FASTPATH_PIN_PATH];
	int fd;

	link_path(hook, path);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -1;
	if (bpf_obj_get_info_by_fd(fd, &got, &len) < 0) {
		close(fd);
		return -1;
	}
	/* type, id, prog_id, then in Linux 6.6's tcx: ifindex, attach_type, aligned to 8 */
	memcpy(tcx, (const char *)&got + 16, sizeof(tcx));
	*ret_index = tcx[0];
	*ret_program = got.info.prog_id;
	return fd;
}

static void forget_link(const struct fastpath_hook *hook, int fd)
{
	char path[FASTPATH_PIN_PATH];

	link_path(hook, path);
	unlink(path);
	bpf_link_detach(fd);
	close(fd);
}

/* Somebody else has taken it away. */
static void say_it_was_gone(const struct fastpath_hook *hook)
{
	if (hook->was_there)
		log_warning("%s: the fast path's program on its %s was gone, and is there again", hook->interface, way_names[hook->way]);
}

/* Returns 1, or -1 with errno. */
static int attach_link(const struct fastpath_hook *hook, int program)
{
	uint32_t index, number;
	char path[FASTPATH_PIN_PATH];
	int fd = open_link(hook, &index, &number), error;

	if (fd >= 0 && index == hook->index && bpf_link_update(fd, program, NULL) == 0) {
		close(fd);
		return 1;
	}
	if (fd >= 0) /* of an interface that has gone, or taken away */
		forget_link(hook, fd);
	fd = bpf_link_create(program, (int)hook->index, tcx_type(hook->way), NULL);
	if (fd < 0)
		return -1;
	link_path(hook, path);
	if (bpf_obj_pin(fd, path) == 0) {
		say_it_was_gone(hook);
		close(fd);
		return 1;
	}
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static struct bpf_tc_hook filter_hook(const struct fastpath_hook *hook)
{
	return (struct bpf_tc_hook){.sz = sizeof(struct bpf_tc_hook), .ifindex = (int)hook->index,
				    .attach_point = hook->way == FASTPATH_INGRESS ? BPF_TC_INGRESS : BPF_TC_EGRESS};
}

/* Whether our filter is there, with this program. Another one, of before, will be replaced. */
static bool has_filter(const struct bpf_tc_hook *tc, int program, bool *ret_has_other)
{
	struct bpf_tc_opts found = {.sz = sizeof(found), .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY};
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	*ret_has_other = bpf_tc_query(tc, &found) == 0;
	return *ret_has_other && bpf_obj_get_info_by_fd(program, &info, &len) == 0 && found.prog_id == info.id;
}

/* What is there is left alone: who follows what is put on clsact would hear of it, as this process does. */
static int attach_filter(const struct fastpath_hook *hook, int program)
{
	struct bpf_tc_hook tc = filter_hook(hook);
	struct bpf_tc_opts options = {.sz = sizeof(options), .prog_fd = program, .flags = BPF_TC_F_REPLACE, .handle = FILTER_HANDLE,
				      .priority = FILTER_PRIORITY};
	bool has_other;
	int error;

	if (has_filter(&tc, program, &has_other))
		return 0;
	error = bpf_tc_hook_create(&tc);
	if (error == 0 || error == -EEXIST)
		error = bpf_tc_attach(&tc, &options);
	if (error < 0) {
		errno = -error;
		return -1;
	}
	if (!has_other)
		say_it_was_gone(hook);
	return 0;
}

int fastpath_hook_attach(const struct fastpath_hook *hook, int program, char *ret_words, size_t size)
{
	int result = attach_link(hook, program);

	/* Kernels before that of tcx do not know what is asked for. */
	if (result < 0 && errno == EINVAL)
		result = attach_filter(hook, program);
	if (result < 0)
		snprintf(ret_words, size, "%s: no program can be put on its %s: %s", hook->interface, way_names[hook->way],
			 strerror(errno));
	return result;
}

/* ---- what else there is ---- */

struct filters {
	uint32_t index;
	char found[64]; /* one that is not ours; "": there is none */
	bool has_ours, has_any;
};

struct filter_words {
	const char *kind, *name;
};

static int take_option(const struct nlattr *attribute, void *context)
{
	struct filter_words *words = context;

	if (mnl_attr_get_type(attribute) == TCA_BPF_NAME)
		words->name = mnl_attr_get_str(attribute);
	return MNL_CB_OK;
}

static int take_attribute(const struct nlattr *attribute, void *context)
{
	struct filter_words *words = context;

	if (mnl_attr_get_type(attribute) == TCA_KIND)
		words->kind = mnl_attr_get_str(attribute);
	if (mnl_attr_get_type(attribute) == TCA_OPTIONS && strcmp(words->kind, "bpf") == 0)
		mnl_attr_parse_nested(attribute, take_option, words);
	return MNL_CB_OK;
}

static int note_filter(const struct nlmsghdr *message, void *context)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(message);
	struct filters *filters = context;
	struct filter_words words = {"", ""};

	if (tc->tcm_ifindex != (int)filters->index || tc->tcm_handle == 0)
		return MNL_CB_OK;
	mnl_attr_parse(message, sizeof(*tc), take_attribute, &words);
	filters->has_any = true;
	if (tc->tcm_handle == FILTER_HANDLE && TC_H_MAJ(tc->tcm_info) >> 16 == FILTER_PRIORITY)
		filters->has_ours = true;
	else if (!filters->found[0])
		snprintf(filters->found, sizeof(filters->found), "%s%s%s", words.kind, *words.name ? " " : "", words.name);
	return MNL_CB_OK;
}

/* Filters of clsact. */
static struct filters look_at_filters(const struct fastpath_hook *hook)
{
	struct filters filters = {.index = hook->index};
	char buffer[MESSAGE_MAX];
	struct mnl_socket *socket = mnl_socket_open(NETLINK_ROUTE);
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct tcmsg *tc = mnl_nlmsg_put_extra_header(message, sizeof(*tc));
	const struct timeval patience = {.tv_sec = 2};
	ssize_t len;

	message->nlmsg_type = RTM_GETTFILTER;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message->nlmsg_seq = (uint32_t)time(NULL);
	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = (int)hook->index;
	tc->tcm_parent = TC_H_MAKE(TC_H_CLSACT, hook->way == FASTPATH_INGRESS ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
	if (!socket)
		return filters;
	setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 && mnl_socket_sendto(socket, message, message->nlmsg_len) >= 0)
		while ((len = mnl_socket_recvfrom(socket, buffer, sizeof(buffer))) > 0 &&
		       mnl_cb_run(buffer, (size_t)len, message->nlmsg_seq, mnl_socket_get_portid(socket), note_filter, &filters) > 0)
			;
	mnl_socket_close(socket);
	return filters;
}

/* A program by tcx that is not `own`; 0: there is none. */
static uint32_t find_other_program(const struct fastpath_hook *hook, uint32_t own)
{
	uint32_t programs[PROGRAMS_MAX], count = PROGRAMS_MAX, flags;

	if (bpf_prog_query((int)hook->index, tcx_type(hook->way), 0, &flags, programs, &count) < 0)
		return 0;
	for (uint32_t i = 0; i < count && i < PROGRAMS_MAX; i++)
		if (programs[i] != own)
			return programs[i];
	return 0;
}

/* Its name; "": it has none, or the kernel does not say. */
static void find_program_name(uint32_t number, char ret[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	const int fd = bpf_prog_get_fd_by_id(number);

	ret[0] = '\0';
	if (fd < 0)
		return;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) == 0)
		snprintf(ret, BPF_OBJ_NAME_LEN, "%s", info.name);
	close(fd);
}

bool fastpath_hook_is_shared(const struct fastpath_hook *hook, char *ret_words, size_t size)
{
	struct filters filters = look_at_filters(hook);
	uint32_t index = 0, own = 0, other;
	char name[BPF_OBJ_NAME_LEN];
	int fd = open_link(hook, &index, &own);

	if (fd >= 0)
		close(fd);
	other = find_other_program(hook, index == hook->index ? own : 0);
	if (!other && !filters.found[0])
		return false;
	if (other) {
		find_program_name(other, name);
		snprintf(ret_words, size, "%s has another program on its %s, number %u%s%s (bpftool net): what it does to packets is not known",
			 hook->interface, way_names[hook->way], other, name[0] ? ", " : "", name);
	} else {
		snprintf(ret_words, size, "%s has another filter on its %s, %s (tc filter show): what it does to packets is not known",
			 hook->interface, way_names[hook->way], filters.found);
	}
	return true;
}

void fastpath_hook_detach(const struct fastpath_hook *hook)
{
	struct bpf_tc_hook tc = filter_hook(hook);
	const struct bpf_tc_opts options = {.sz = sizeof(options), .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY};
	struct fastpath_hook other = *hook;
	uint32_t index, program;
	int fd = open_link(hook, &index, &program);

	if (fd >= 0)
		forget_link(hook, fd);
	if (!hook->index || !look_at_filters(hook).has_ours)
		return;
	bpf_tc_detach(&tc, &options);
	/* What others have put there stays, and then what it is on. */
	other.way = hook->way == FASTPATH_INGRESS ? FASTPATH_EGRESS : FASTPATH_INGRESS;
	if (look_at_filters(hook).has_any || look_at_filters(&other).has_any)
		return;
	tc.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	bpf_tc_hook_destroy(&tc);
}
