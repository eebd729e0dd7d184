/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the helper does for the fast path. See helper.c. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "confine.h"
#include "fastpath_kernel.h"
#include "helper_internal.h"
#include "log.h"

void helper_keep_slots(struct helper_server *server)
{
	struct slot_names *names = malloc(sizeof(*names));
	struct config_report errors, warnings;
	struct config *again;

	if (!names || !fastpath_kernel_names(server->next, names)) {
		free(names);
		return;
	}
	again = config_load(server->path, names, &errors, &warnings);
	if (again) {
		config_free(server->next);
		server->next = again;
		server->names = *names;
	}
	config_report_free(&errors);
	config_report_free(&warnings);
	free(names);
}

/* What others' rules do that no interface tells; "": nothing. */
static void find_hindrance(const struct helper_server *server, char ret[FASTPATH_WORDS])
{
	const char *rule = server->surroundings.found[HAZARD_MARKS], *table = server->surroundings.found[HAZARD_FLOWTABLE];

	ret[0] = '\0';
	if (*table)
		snprintf(ret, FASTPATH_WORDS, "a flow table takes packets past the rules, in hardware or not, and so past the queue: %s", table);
	else if (*rule)
		snprintf(ret, FASTPATH_WORDS, "a rule changes bits of marks that it uses ([fastpath] mark_bit): %s", rule);
}

bool helper_serve_fastpath_open(struct helper_server *server)
{
	const struct config *config = helper_config(server);
	struct fastpath_outcome outcome;
	char error[HELPER_ERROR_SIZE], hindrance[FASTPATH_WORDS];

	if (!config || server->fastpath)
		return false;
	if (fastpath_is_wanted(&config->rules.fastpath))
		surroundings_look(&config->rules, &server->surroundings);
	find_hindrance(server, hindrance);
	server->fastpath = fastpath_kernel_open(config, hindrance, &outcome);
	if (confine_helper_further(server->fastpath != NULL, error, sizeof(error)) < 0)
		log_warning("%s", error);
	return wire_put(server->out, &outcome, sizeof(outcome));
}

bool helper_serve_fastpath_hand_over(struct helper_server *server)
{
	const size_t bytes = sizeof(int) * FASTPATH_MAPS;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * FASTPATH_MAPS)] = {0};
	char byte = 0;
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	if (!server->fastpath)
		return false;
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(bytes);
	memcpy(CMSG_DATA(head), fastpath_kernel_fds(server->fastpath), bytes);
	return sendmsg(fileno(server->out), &message, MSG_NOSIGNAL) == 1;
}

bool helper_serve_fastpath_attach(struct helper_server *server)
{
	const struct config *config = helper_config(server);
	struct fastpath_attached attached;
	char hindrance[FASTPATH_WORDS];

	if (!config || !server->fastpath)
		return false;
	find_hindrance(server, hindrance);
	fastpath_kernel_attach(server->fastpath, config, hindrance, &attached);
	return wire_put(server->out, &attached, sizeof(attached));
}

/* As is done before programs stop. */
bool helper_serve_fastpath_hold(struct helper_server *server)
{
	const struct config *config = helper_config(server);

	if (!config)
		return false;
	if (config->rules.placement == PLACEMENT_POSTNAT)
		rules_hold_back(&config->rules);
	return helper_answer(server, 0, "");
}

bool helper_serve_fastpath_stop(struct helper_server *server)
{
	const struct config *config = helper_config(server);

	if (!config || !server->fastpath)
		return false;
	if (config->rules.placement == PLACEMENT_POSTNAT)
		rules_hold_back(&config->rules);
	fastpath_kernel_stop(server->fastpath);
	return helper_answer(server, 0, "");
}

bool helper_serve_fastpath_end(struct helper_server *server)
{
	fastpath_kernel_close(server->fastpath, true);
	server->fastpath = NULL;
	return helper_answer(server, 0, "");
}
