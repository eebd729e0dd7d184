/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_DOCTOR_INTERNAL_H
#define PAWSD_DOCTOR_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "doctor.h"

/*
 * The parts of doctor.h among themselves.
 *
 *   doctor.c         the loop, how a finding is said, what else all share
 *   doctor_process.c what a process is given: kernel, rights, memory, buffers, processors, users
 *   doctor_files.c   directories, the clock's files, the control socket
 *   doctor_queues.c  NFQUEUE, and who holds a queue
 *   doctor_rules.c   commands, rules
 *   doctor_network.c connection tracking, forwarding, interfaces, surroundings
 *   doctor_fastpath.c the fast path
 *   doctor_service.c the unit
 */

enum doctor_level {
	DOCTOR_OK,
	DOCTOR_NOTE,
	DOCTOR_WARN,
	DOCTOR_FAIL,
	DOCTOR_LEVELS,
};

struct doctor {
	FILE *out;
	const char *root;	     /* stands before every path of /proc, /sys, /etc, /run, /usr; "" but in tests */
	const char *path;	     /* of the configuration */
	const struct config *config; /* NULL: it has errors */
	const struct config_report *errors, *warnings;
	const char *subject;	     /* that is looked at */
	bool is_root;
	bool is_admin;		     /* may ask for rules and queues */
	unsigned int running;	     /* process that holds runtime_dir, 0: none */
	unsigned int count[DOCTOR_LEVELS];
};

/* `see`: the place in the manual; NULL: none, as with DOCTOR_OK. */
__attribute__((format(printf, 4, 5))) void doctor_say(struct doctor *doctor, enum doctor_level level, const char *see,
						       const char *format, ...);

/* DOCTOR_FAIL for root; for others, who cannot know what root could do, DOCTOR_NOTE. */
enum doctor_level doctor_level_if_root(const struct doctor *doctor);

/* Says that only root can look there. True where it had to be said. */
bool doctor_lacks_rights(struct doctor *doctor);

/* The first line of `path` below root, without its end. False where there is none. */
bool doctor_read_line(const struct doctor *doctor, const char *path, char *ret_line, size_t size);
bool doctor_read_number(const struct doctor *doctor, const char *path, uint64_t *ret);
bool doctor_has_file(const struct doctor *doctor, const char *path);

/* As in "1.5 MiB". Returns ret_text. */
enum {
	DOCTOR_SIZE_TEXT = 32,
};
const char *doctor_size(uint64_t bytes, char ret_text[DOCTOR_SIZE_TEXT]);

/* The process that holds the lock of a directory of pawsd; 0: none. */
unsigned int doctor_find_holder(const struct doctor *doctor, const char *directory);

/* What the workers' flow tables take: in files of runtime_dir, and in all. */
struct doctor_need {
	uint64_t file_bytes, memory_bytes;
};
struct doctor_need doctor_flow_need(const struct config *config);

/* Whether `systemd` is what has started this machine. */
bool doctor_has_systemd(const struct doctor *doctor);

#define X(subject, needs_config, help) void doctor_look_at_##subject(struct doctor *doctor);
DOCTOR_TABLE(X)
#undef X

#endif
