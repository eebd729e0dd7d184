/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The helper's side: one request after the other, until the daemon is no more. It holds the configuration as it has
 * read it, so that nobody can have it make rules for anything but the destinations of the file, and knows what it is asked
 * for by number.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock_file.h"
#include "config_check.h"
#include "confine.h"
#include "conntrack.h"
#include "helper.h"
#include "helper_internal.h"
#include "log.h"
#include "policy_build.h"
#include "state.h"

enum {
	LABEL_MAX = RULES_LABEL_MAX,
};


/* ---- the configuration ---- */

/* No time-out shorter than the one after which conntrack forgets the connection's NAT. */
static void raise_timeouts(uint32_t timeout_s[FLOW_STATE_COUNT])
{
	uint32_t seconds;

	for (enum flow_state state = FLOW_FREE + 1; state < FLOW_STATE_COUNT; state++) {
		if (conntrack_timeout("", state, &seconds) && seconds > timeout_s[state]) {
			log_info("flows in %s are kept %u s, as conntrack does", flow_state_names[state], seconds);
			timeout_s[state] = seconds;
		}
	}
}

/* Options that need a start keep their old values, and that is said. */
static void keep_static_options(const struct helper_server *server, struct config *next)
{
	const struct config changed = *next;
	char list[512];

	config_list_static_changes(server->current, next, list, sizeof(list));
	if (list[0])
		log_warning("%s: changed, takes effect at the next start: %s", server->path, list);
	*next = *server->current;
	next->policy = changed.policy;
	memcpy(next->timeout_s, changed.timeout_s, sizeof(next->timeout_s));
	next->on_stop = changed.on_stop;
	next->on_change = changed.on_change;
	next->log_level = changed.log_level;
}

static bool refuse(struct helper_server *server, const char *words)
{
	const uint8_t good = false;

	return wire_put(server->out, &good, sizeof(good)) && wire_put_text(server->out, words);
}

static bool answer_refused(struct helper_server *server, const struct config_report *errors)
{
	char words[HELPER_ERROR_SIZE];

	snprintf(words, sizeof(words), "%s", errors->count ? errors->lines[0] : "out of memory");
	if (errors->count > 1)
		snprintf(words + strnlen(words, sizeof(words) - 40), 40, " (and %zu more)", errors->count - 1);
	return refuse(server, words);
}

/* What has become `next`, or why nothing has. Frees the reports. */
static bool answer_next(struct helper_server *server, struct config_report *errors, struct config_report *warnings)
{
	const uint8_t good = true;
	bool is_sent;

	for (size_t i = 0; i < warnings->count; i++)
		log_warning("%s", warnings->lines[i]);
	for (size_t i = 0; i < errors->count; i++)
		log_error("%s", errors->lines[i]);
	if (server->next)
		is_sent = wire_put(server->out, &good, sizeof(good)) && wire_put_config(server->out, server->next) &&
			  wire_put(server->out, &server->names, sizeof(server->names));
	else
		is_sent = answer_refused(server, errors);
	config_report_free(errors);
	config_report_free(warnings);
	return is_sent;
}

static bool load(struct helper_server *server)
{
	struct config_report errors, warnings;

	config_free(server->next);
	server->next = config_load(server->path, &server->names, &errors, &warnings);
	if (server->next && !server->current)
		helper_keep_slots(server);
	if (server->next) {
		if (server->current)
			keep_static_options(server, server->next);
		log_set_level(server->next->log_level);
		raise_timeouts(server->next->timeout_s);
	}
	return answer_next(server, &errors, &warnings);
}

static bool try_one(struct helper_server *server)
{
	struct config_report none = {0};
	struct policy_trial wanted = {0};
	const struct policy_trial *trial = server->bytes ? &wanted : NULL;
	uint16_t slot = SLOT_NONE;

	if (server->bytes != 0 && server->bytes != sizeof(wanted))
		return false;
	if (trial)
		memcpy(&wanted, server->body, sizeof(wanted));
	if (!server->current || (trial && (trial->mode > MODE_MAX || trial->repair > REPAIR_MAX)))
		return false;
	if (trial && !slot_names_find(&server->names, TRIAL_NAME, &slot))
		return refuse(server, "there have been too many names of destinations since pawsd started");
	config_free(server->next);
	server->next = wire_copy_config(server->current);
	if (server->next) {
		server->next->policy = policy_change_trial(server->next->policy, trial, slot);
		if (!server->next->policy) {
			free(server->next);
			server->next = NULL;
		}
	}
	return answer_next(server, &none, &none);
}

/* False: there is no such destination. */
static bool override_mode(struct policy *policy, uint16_t slot, enum mode mode)
{
	for (size_t i = 0; i < policy->destination_count; i++) {
		struct destination *destination = &policy->destinations[i];

		if (destination->slot != slot)
			continue;
		destination->written = destination_written_mode(destination);
		destination->mode = mode;
		destination->is_overridden = destination->written != mode;
		return true;
	}
	return false;
}

/* What has been said of the file is not said again. */
static void forget_known(struct config_report *report, const struct config_report *known)
{
	size_t kept = 0;

	for (size_t i = 0; i < report->count; i++) {
		bool is_known = false;

		for (size_t k = 0; k < known->count && !is_known; k++)
			is_known = strcmp(report->lines[i], known->lines[k]) == 0;
		if (is_known)
			free(report->lines[i]);
		else
			report->lines[kept++] = report->lines[i];
	}
	report->count = kept;
}

static bool set_mode(struct helper_server *server)
{
	struct config_report errors = {0}, warnings = {0}, known = {0}, ignored = {0};
	struct helper_set_mode_body body;
	struct policy *policy;

	memcpy(&body, server->body, sizeof(body));
	if (!server->current || body.mode > MODE_MAX)
		return false;
	config_free(server->next);
	server->next = wire_copy_config(server->current);
	if (server->next) {
		policy = server->next->policy;
		if (!override_mode(policy, body.slot, (enum mode)body.mode))
			config_report_add(&errors, "no such destination: a reload has taken it away");
		config_check(server->path, server->next, policy->destinations, policy->destination_count, &errors, &warnings);
		policy = server->current->policy;
		config_check(server->path, server->current, policy->destinations, policy->destination_count, &ignored, &known);
		forget_known(&warnings, &known);
		config_report_free(&ignored);
		config_report_free(&known);
	}
	if (errors.count) {
		config_free(server->next);
		server->next = NULL;
	}
	return answer_next(server, &errors, &warnings);
}

/* ---- the rules ---- */

static void use_next(struct helper_server *server)
{
	if (!server->next)
		return;
	config_free(server->current);
	server->current = server->next;
	server->next = NULL;
}

static bool answer_install(struct helper_server *server, int result, const struct rules_outcome *outcome, const char *error)
{
	const uint8_t good = result == 0;

	if (!wire_put(server->out, &good, sizeof(good)))
		return false;
	return good ? wire_put_text(server->out, outcome->strip_error) &&
			      wire_put_text(server->out, outcome->label_error)
		    : wire_put_text(server->out, error);
}

static bool install(struct helper_server *server)
{
	struct rules_outcome outcome = {0};
	struct helper_install_head head;
	const struct config *config;
	struct rules_config rules;
	struct rules_drain *drain;
	char error[HELPER_ERROR_SIZE] = "";
	const size_t bytes = server->bytes - sizeof(head);
	int result = -1;
	bool is_sent;

	memcpy(&head, server->body, sizeof(head));
	config = head.is_new ? server->next : server->current;
	if (!config || bytes % sizeof(*drain) != 0 || head.label > LABEL_MAX)
		return false;
	drain = malloc(bytes + 1);
	if (drain)
		memcpy(drain, server->body + sizeof(head), bytes);
	rules = config->rules;
	rules.label = head.label;
	rules.generation = head.generation;
	rules.fastpath.missing = ~fastpath_kernel_live(server->fastpath);
	if (!drain)
		snprintf(error, sizeof(error), "out of memory");
	else if (!server->fastpath || fastpath_kernel_make_policy(server->fastpath, config->policy, error, sizeof(error)) == 0)
		result = rules_install(&rules, config->policy, drain, bytes / sizeof(*drain), &outcome, error, sizeof(error));
	if (server->fastpath)
		fastpath_kernel_use_policy(server->fastpath, result == 0);
	if (result == 0) {
		server->size = outcome.size;
		if (head.is_new)
			use_next(server);
	}
	is_sent = answer_install(server, result, &outcome, error);
	free(drain);
	return is_sent;
}

static bool remove_rules(struct helper_server *server)
{
	const struct config *config = helper_config(server);
	char error[HELPER_ERROR_SIZE] = "";

	server->size = (struct rules_size){0};
	return config && helper_answer(server, rules_remove(&config->rules, error, sizeof(error)), error);
}

static bool tell_look(struct helper_server *server)
{
	struct rules_look look = {0};
	uint8_t is_less;

	if (server->current)
		look = rules_look(&server->current->rules, &server->size);
	is_less = look.is_less;
	return wire_put(server->out, &look.fingerprint, sizeof(look.fingerprint)) &&
	       wire_put(server->out, &is_less, sizeof(is_less));
}

static bool read_counts(struct helper_server *server)
{
	const struct config *config = server->current;
	uint64_t(*counts)[RULES_STRIP_REASONS];
	char error[HELPER_ERROR_SIZE] = "out of memory";
	size_t count;
	int result = -1;
	bool is_sent;

	if (!config)
		return false;
	count = config->policy->destination_count;
	counts = calloc(count, sizeof(*counts));
	if (counts)
		result = rules_read_counts(&config->rules, counts, count, error, sizeof(error));
	is_sent = helper_answer(server, result, error);
	if (is_sent && result == 0)
		is_sent = wire_put(server->out, &count, sizeof(count)) &&
			  wire_put(server->out, counts, count * sizeof(*counts));
	free(counts);
	return is_sent;
}

static bool look_around(struct helper_server *server)
{
	if (!server->current)
		return false;
	surroundings_look(&server->current->rules, &server->surroundings);
	return wire_put(server->out, &server->surroundings, sizeof(server->surroundings));
}

/* ---- files ---- */

static bool store_clock(struct helper_server *server)
{
	const struct config *config = helper_config(server);
	char path[CONFIG_PATH_SIZE + 16];
	int32_t error = 0;

	if (!config)
		return false;
	state_clock_path(config, path, sizeof(path));
	if (clock_file_store(path, (const char *)server->body, server->bytes) < 0)
		error = errno;
	return wire_put(server->out, &error, sizeof(error));
}

static bool remove_files(struct helper_server *server)
{
	const struct config *config = helper_config(server);
	struct helper_remove_files_body wanted;
	struct stat status;

	if (!config)
		return false;
	memcpy(&wanted, server->body, sizeof(wanted));
	if (wanted.socket && lstat(config->control_socket, &status) == 0 && S_ISSOCK(status.st_mode))
		unlink(config->control_socket);
	if (wanted.flows)
		state_forget_flows(config);
	return helper_answer(server, 0, "");
}

/* ---- the loop ---- */

static const struct operation {
	size_t least, most; /* bytes of the request's body */
	bool (*serve)(struct helper_server *server);
} operations[HELPER_OPERATIONS] = {
	[HELPER_LOAD] = {0, 0, load},
	[HELPER_TRY] = {0, sizeof(struct policy_trial), try_one},
	[HELPER_SET_MODE] = {sizeof(struct helper_set_mode_body), sizeof(struct helper_set_mode_body), set_mode},
	[HELPER_INSTALL] = {sizeof(struct helper_install_head),
			    sizeof(struct helper_install_head) + DRAIN_MAX * sizeof(struct rules_drain), install},
	[HELPER_REMOVE] = {0, 0, remove_rules},
	[HELPER_LOOK] = {0, 0, tell_look},
	[HELPER_LOOK_AROUND] = {0, 0, look_around},
	[HELPER_READ_COUNTS] = {0, 0, read_counts},
	[HELPER_STORE_CLOCK] = {1, HELPER_CLOCK_MAX, store_clock},
	[HELPER_FASTPATH_OPEN] = {0, 0, helper_serve_fastpath_open},
	[HELPER_FASTPATH_HAND_OVER] = {0, 0, helper_serve_fastpath_hand_over},
	[HELPER_FASTPATH_ATTACH] = {0, 0, helper_serve_fastpath_attach},
	[HELPER_FASTPATH_HOLD] = {0, 0, helper_serve_fastpath_hold},
	[HELPER_FASTPATH_STOP] = {0, 0, helper_serve_fastpath_stop},
	[HELPER_FASTPATH_END] = {0, 0, helper_serve_fastpath_end},
	[HELPER_REMOVE_FILES] = {sizeof(struct helper_remove_files_body), sizeof(struct helper_remove_files_body),
				 remove_files},
};

/* False at the end of all requests, or where one is not as it should be. */
static bool serve_one(struct helper_server *server)
{
	const struct operation *operation;
	struct helper_header header;
	bool good;

	if (!wire_get(server->in, &header, sizeof(header)))
		return false;
	operation = header.operation < HELPER_OPERATIONS ? &operations[header.operation] : NULL;
	if (!operation || header.bytes < operation->least || header.bytes > operation->most) {
		log_error("the process that changes rules was asked for what it does not do, and ends");
		return false;
	}
	server->bytes = header.bytes;
	server->body = malloc(server->bytes + 1);
	good = server->body && wire_get(server->in, server->body, server->bytes) && operation->serve(server) &&
	       fflush(server->out) == 0;
	free(server->body);
	return good;
}

void helper_serve(int fd, const char *config_path, const struct slot_names *names)
{
	struct helper_server server = {.path = config_path, .names = *names};
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	server.in = fdopen(fd, "r");
	server.out = copy >= 0 ? fdopen(copy, "w") : NULL;
	if (server.in && server.out) {
		while (serve_one(&server))
			;
		/* From here on it ends by itself, whether the daemon waits for it or not. */
		prctl(PR_SET_PDEATHSIG, 0);
	}
	if (server.in)
		fclose(server.in);
	if (server.out)
		fclose(server.out);
	config_free(server.current);
	config_free(server.next);
}
