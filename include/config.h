/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_CONFIG_H
#define PAWSD_CONFIG_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "flow.h"
#include "log.h"
#include "policy.h"
#include "rules.h"

/* What rules do when pawsd stops. */
enum on_stop {
	ON_STOP_REMOVE,
	ON_STOP_KEEP,
};

/* What to do when somebody else has changed the rules. */
enum on_change {
	ON_CHANGE_RESTORE,
	ON_CHANGE_WARN,
};

enum {
	CONFIG_PATH_SIZE = 108, /* of a unix socket's address, the shortest limit among them */
	CONFIG_NAME_SIZE = 33, /* of a user or a group */
	WORKERS_MAX = 64,
};

/* A whole configuration, as one file gives it. */
struct config {
	struct rules_config rules;
	enum on_stop on_stop;
	enum on_change on_change;
	uint32_t queue_max_packets;
	uint32_t queue_buffer_kib;
	uint32_t queue_spin_us;
	uint32_t queue_batch_packets;
	uint32_t queue_batch_kib;
	cpu_set_t queue_cpus; /* empty: any */
	uint32_t flows_max;
	uint32_t client_share_percent;
	uint32_t timeout_s[FLOW_STATE_COUNT];
	uint32_t clock_max_lead_ms;
	char control_socket[CONFIG_PATH_SIZE];
	char control_group[CONFIG_NAME_SIZE], control_admin_group[CONFIG_NAME_SIZE];
	char runtime_dir[CONFIG_PATH_SIZE];
	char state_dir[CONFIG_PATH_SIZE];
	char user[CONFIG_NAME_SIZE];
	bool confine;
	enum log_level log_level;
	struct policy *policy;
};

/*
 * The counter slots of destination names. A name keeps its slot for as long as the process
 * lives, so that counters go on across reloads.
 */
struct slot_names {
	uint32_t count;
	char name[DESTINATION_SLOTS][DESTINATION_NAME_MAX + 1];
};

/* "none" and "default" are there from the beginning. */
void slot_names_init(struct slot_names *names);

/* The name's slot; one more is taken for a new name. False when there is none left. */
bool slot_names_find(struct slot_names *names, const char *name, uint16_t *ret);

/* Lines about a configuration, in the order they were found. */
struct config_report {
	char **lines;
	size_t count;
};

void config_report_free(struct config_report *report);

/*
 * Reads and checks the file at `path`: all errors in one go, each one line that names file,
 * line, section, key, value and what is allowed. Returns the configuration (to be freed with
 * config_free()) or NULL. `names` is brought up to date only on success.
 */
struct config *config_load(const char *path, struct slot_names *names, struct config_report *ret_errors,
			   struct config_report *ret_warnings);
void config_free(struct config *config);

/*
 * Names, blank separated, the options that differ between two configurations and take effect
 * only at a start. Empty when a reload does all.
 */
void config_list_static_changes(const struct config *a, const struct config *b, char *ret_text, size_t size);

/* The file with every option at its default, explained: what conf/pawsd.conf holds. */
void config_print_defaults(FILE *out);

#endif
