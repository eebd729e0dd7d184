/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_TESTS_DOCTOR_WORLD_H
#define PAWSD_TESTS_DOCTOR_WORLD_H

/* A machine that is made up of files below a directory, for --doctor to look at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock_file.h"
#include "doctor_internal.h"
#include "fastpath_kernel.h"
#include "policy_build.h"
#include "rules_internal.h"
#include "state.h"

static char directory[] = "/tmp/pawsd-test-doctor-XXXXXX";
static struct config config;
static struct doctor doctor;
static struct config_report no_lines;
static char *said;
static size_t said_len;

static inline void make_directories(char *path)
{
	for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
		*at = '/';
	}
}

/* A file below the directory that stands for the machine. */
static inline void put(const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s%s", directory, name);
	make_directories(path);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static inline void take_away(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", directory, name);
	unlink(path);
}

static inline void rmdir_below(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", directory, name);
	assert_int_equal(rmdir(path), 0);
}

/* Has a subject looked at: what is said is in `said`. */
static inline const char *look(const char *subject, void (*look_at)(struct doctor *doctor))
{
	free(said);
	said = NULL;
	doctor.out = open_memstream(&said, &said_len);
	assert_non_null(doctor.out);
	doctor.subject = subject;
	look_at(&doctor);
	fclose(doctor.out);
	return said;
}

#define LOOK(subject) look(#subject, doctor_look_at_##subject)

static inline void assert_says(const char *text, const char *level, const char *words)
{
	if (strncmp(text, level, strlen(level)) != 0 || !strstr(text, words))
		fail_msg("wanted \"%s\" and \"%s\" in: %s", level, words, text);
}

static inline void set_policy(const char *prefix, enum mode mode)
{
	struct destination *destinations = calloc(2, sizeof(*destinations));

	policy_free(config.policy);
	destinations[0] = (struct destination){.name = "default", .slot = SLOT_DEFAULT, .enabled = true};
	destinations[1] = (struct destination){.name = "a", .slot = SLOT_DEFAULT + 1, .enabled = true, .mode = mode};
	destinations[1].prefixes = calloc(1, sizeof(struct prefix));
	destinations[1].prefix_count = 1;
	assert_null(prefix_parse(prefix, destinations[1].prefixes));
	config.policy = policy_build(destinations, 2);
	assert_non_null(config.policy);
}

static inline int set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	config = (struct config){.flows_max = 262144, .queue_buffer_kib = 16384, .clock_max_lead_ms = 1000};
	config.rules.workers = 2;
	config.rules.backend = RULES_IPTABLES;
	for (int i = 0; i < FLOW_STATE_COUNT; i++)
		config.timeout_s[i] = 120;
	snprintf(config.runtime_dir, sizeof(config.runtime_dir), "%s/run", directory);
	snprintf(config.state_dir, sizeof(config.state_dir), "%s/state", directory);
	snprintf(config.control_socket, sizeof(config.control_socket), "%s/run/socket", directory);
	mkdir(config.runtime_dir, 0755);
	mkdir(config.state_dir, 0755);
	set_policy("192.0.2.0/24", MODE_REWRITE);
	doctor = (struct doctor){.root = directory, .path = "pawsd.conf", .config = &config, .errors = &no_lines, .warnings = &no_lines,
				 .is_root = true, .is_admin = true};
	return 0;
}

static inline int tear_down(void **state)
{
	char command[128];

	(void)state;
	policy_free(config.policy);
	free(said);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

/* ---- lines ---- */

#endif
