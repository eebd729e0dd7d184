/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor_internal.h"

#include <cap-ng.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "flow_table.h"

enum {
	LINE_SIZE = 2048,
	PATH_SIZE = 512,
};

static const char *const level_names[DOCTOR_LEVELS] = {"ok", "note", "warn", "fail"};

void doctor_say(struct doctor *doctor, enum doctor_level level, const char *see, const char *format, ...)
{
	char text[LINE_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* Names in it are others'. */
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 127)
			*at = ' ';
	fprintf(doctor->out, "%-4s  %s: %s", level_names[level], doctor->subject, text);
	fprintf(doctor->out, see ? " [%s]\n" : "\n", see);
	fflush(doctor->out);
	doctor->count[level]++;
}

enum doctor_level doctor_level_if_root(const struct doctor *doctor)
{
	return doctor->is_root ? DOCTOR_FAIL : DOCTOR_NOTE;
}

bool doctor_lacks_rights(struct doctor *doctor)
{
	if (!doctor->is_admin)
		doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), DOCTOR",
			   "not looked at, which takes CAP_NET_ADMIN; run pawsd --doctor as root");
	return !doctor->is_admin;
}

bool doctor_read_line(const struct doctor *doctor, const char *path, char *ret_line, size_t size)
{
	char whole[PATH_SIZE];
	FILE *file;
	bool is_read;

	snprintf(whole, sizeof(whole), "%s%s", doctor->root, path);
	file = fopen(whole, "re");
	if (!file)
		return false;
	is_read = fgets(ret_line, (int)size, file) != NULL;
	fclose(file);
	if (is_read)
		ret_line[strcspn(ret_line, "\n")] = '\0';
	return is_read;
}

bool doctor_read_number(const struct doctor *doctor, const char *path, uint64_t *ret)
{
	char line[64];

	return doctor_read_line(doctor, path, line, sizeof(line)) && sscanf(line, "%" SCNu64, ret) == 1;
}

bool doctor_has_file(const struct doctor *doctor, const char *path)
{
	char whole[PATH_SIZE];
	struct stat status;

	snprintf(whole, sizeof(whole), "%s%s", doctor->root, path);
	return lstat(whole, &status) == 0;
}

const char *doctor_size(uint64_t bytes, char ret_text[DOCTOR_SIZE_TEXT])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	for (; value >= 1024 && unit < 3; unit++)
		value /= 1024;
	snprintf(ret_text, DOCTOR_SIZE_TEXT, "%.1f %s", value, units[unit]);
	return ret_text;
}

/*
 * Asking for the lock oneself could keep a pawsd that starts just now from it, so the kernel's list of locks is read. The
 * device of a file is not always the one that the list has (overlayfs, btrfs): the number in the file will do instead.
 */
unsigned int doctor_find_holder(const struct doctor *doctor, const char *directory)
{
	char path[PATH_SIZE], line[256];
	unsigned int pid, major_number, minor_number, written = 0, found = 0;
	unsigned long inode;
	struct stat status;
	FILE *file;

	snprintf(path, sizeof(path), "%s/lock", directory);
	if (stat(path, &status) < 0)
		return 0;
	file = fopen(path, "re");
	if (file) {
		if (fscanf(file, "%u", &written) != 1)
			written = 0;
		fclose(file);
	}
	snprintf(path, sizeof(path), "%s/proc/locks", doctor->root);
	file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*u: FLOCK %*s %*s %u %x:%x:%lu", &pid, &major_number, &minor_number, &inode) == 4 &&
		    inode == status.st_ino && (makedev(major_number, minor_number) == status.st_dev || pid == written))
			found = pid;
	}
	if (file)
		fclose(file);
	return found;
}

struct doctor_need doctor_flow_need(const struct config *config)
{
	const uint64_t workers = config->rules.workers;
	const uint32_t capacity = config->flows_max / config->rules.workers;
	const uint64_t file_bytes = workers * flow_table_kept_bytes(capacity);

	return (struct doctor_need){file_bytes, file_bytes + workers * flow_table_index_bytes(capacity)};
}

bool doctor_has_systemd(const struct doctor *doctor)
{
	return doctor_has_file(doctor, "/run/systemd/system");
}

/* ---- the configuration ---- */

static void say_what_it_holds(struct doctor *doctor)
{
	const struct policy *policy = doctor->config->policy;
	bool does_something = policy->destinations[0].mode != MODE_OFF;
	size_t prefixes = 0;

	for (size_t i = 1; i < policy->destination_count; i++) {
		const struct destination *destination = &policy->destinations[i];

		prefixes += destination->prefix_count;
		does_something |= destination->enabled && destination->mode != MODE_OFF;
	}
	if (does_something)
		doctor_say(doctor, DOCTOR_OK, NULL, "%s: %zu destinations, %zu prefixes", doctor->path,
			   policy->destination_count - 1, prefixes);
	else
		doctor_say(doctor, DOCTOR_WARN, "pawsd.conf(5), DESTINATIONS",
			   "%s: no destination is anything but off: pawsd has nothing to do; add a [destination NAME], or "
			   "[default] mode = observe",
			   doctor->path);
}

void doctor_look_at_configuration(struct doctor *doctor)
{
	for (size_t i = 0; i < doctor->errors->count; i++)
		doctor_say(doctor, DOCTOR_FAIL, "pawsd.conf(5)", "%s", doctor->errors->lines[i]);
	for (size_t i = 0; i < doctor->warnings->count; i++)
		doctor_say(doctor, DOCTOR_WARN, "pawsd.conf(5), CAVEATS", "%s", doctor->warnings->lines[i]);
	if (doctor->config)
		say_what_it_holds(doctor);
}

/* ---- the loop ---- */

static const struct check {
	const char *subject;
	void (*look)(struct doctor *doctor);
	bool needs_config;
} checks[] = {
#define X(subject, needs_config, help) {#subject, doctor_look_at_##subject, needs_config},
	DOCTOR_TABLE(X)
#undef X
};

static bool is_admin(void)
{
	return capng_get_caps_process() == 0 && capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN);
}

unsigned int doctor_run(FILE *out, const char *path)
{
	static struct slot_names names;
	struct config_report errors, warnings;
	struct config *config;
	struct doctor doctor = {.out = out, .root = "", .path = path, .errors = &errors, .warnings = &warnings};

	slot_names_init(&names);
	config = config_load(path, &names, &errors, &warnings);
	doctor.config = config;
	doctor.is_root = geteuid() == 0;
	doctor.is_admin = is_admin();
	if (config)
		doctor.running = doctor_find_holder(&doctor, config->runtime_dir);
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		doctor.subject = checks[i].subject;
		if (checks[i].needs_config && !config)
			doctor_say(&doctor, DOCTOR_NOTE, "pawsd(8), DOCTOR",
				   "not looked at, which takes a configuration without errors");
		else
			checks[i].look(&doctor);
	}
	config_report_free(&errors);
	config_report_free(&warnings);
	config_free(config);
	return doctor.count[DOCTOR_FAIL];
}
