/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fast path: what it takes, and what is in its way. What the other subjects look at is not looked at here. */
#include <cap-ng.h>
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <linux/magic.h>
#include <net/if.h>
#include <string.h>
#include <sys/vfs.h>

#include "doctor_internal.h"
#include "fastpath_kernel.h"

enum {
	PATH_SIZE = 512,
	NAMES_SIZE = 256,
};

static const char place[] = "pawsd(8), FAST PATH", place_of_options[] = "pawsd.conf(5), FASTPATH";

/* Without it pawsd does not start, or it goes on by the queues. */
static enum doctor_level level_of(const struct doctor *doctor)
{
	return doctor->config->rules.fastpath.wish == FASTPATH_YES ? DOCTOR_FAIL : DOCTOR_WARN;
}

/* ---- where it is not wanted ---- */

/* Names in the directory that it keeps: of programs, flows. Who is not root may not know. */
static bool is_left_over(const struct doctor *doctor)
{
	char path[PATH_SIZE];
	DIR *directory;
	bool found = false;

	snprintf(path, sizeof(path), "%s%s", doctor->root, doctor->config->rules.fastpath.pins);
	directory = opendir(path);
	for (const struct dirent *entry; directory && !found && (entry = readdir(directory));)
		found = strncmp(entry->d_name, "fast_", strlen("fast_")) == 0;
	if (directory)
		closedir(directory);
	return found;
}

static void say_not_wanted(struct doctor *doctor)
{
	const struct fastpath_config *fastpath = &doctor->config->rules.fastpath;
	const char *missing = fastpath_kernel_missing();

	if (is_left_over(doctor))
		doctor_say(doctor, DOCTOR_WARN, place,
			   "not configured, but %s has programs that an earlier pawsd has left, and which go on; systemctl restart "
			   "pawsd takes them away, if it may see that directory (under systemd: with fastpath.conf, which is to "
			   "be taken away after that)",
			   fastpath->pins);
	else if (fastpath->wish == FASTPATH_NO)
		doctor_say(doctor, DOCTOR_OK, NULL, "switched off, by [fastpath] enabled = no");
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "not configured, [fastpath] interfaces would%s%s", missing ? "; not built in: " : "",
			   missing ? missing : "");
}

/* ---- what is configured ---- */

static bool has_rewriting(const struct policy *policy)
{
	bool found = policy->destinations[0].mode == MODE_REWRITE;

	for (size_t i = 1; i < policy->destination_count; i++)
		found |= policy->destinations[i].enabled && policy->destinations[i].mode == MODE_REWRITE;
	return found;
}

static bool look_at_options(struct doctor *doctor)
{
	const struct rules_config *rules = &doctor->config->rules;
	const char *missing = fastpath_kernel_missing();
	const unsigned int before = doctor->count[DOCTOR_WARN] + doctor->count[DOCTOR_FAIL];

	if (missing)
		doctor_say(doctor, level_of(doctor), place,
			   "none, for %s; have both (clang, libbpf-dev), and build it again", missing);
	if (rules->backend == RULES_NONE)
		doctor_say(doctor, level_of(doctor), place_of_options,
			   "none, for it needs rules of pawsd's own; take [rules] backend = iptables or nft");
	if (rules->workers > 1)
		doctor_say(doctor, level_of(doctor), place_of_options,
			   "none, for it has one flow table, and [queue] workers is %u; take 1", rules->workers);
	if (rules->labels == LABELS_OFF)
		doctor_say(doctor, DOCTOR_NOTE, place,
			   "with [rules] labels = off all packets to %s are queued, and only those to %s are not; take labels = auto",
			   rules->placement == PLACEMENT_POSTNAT ? "servers" : "clients",
			   rules->placement == PLACEMENT_POSTNAT ? "clients" : "servers");
	if (!has_rewriting(doctor->config->policy))
		doctor_say(doctor, DOCTOR_NOTE, place, "no destination has mode = rewrite, and of others it does nothing");
	return doctor->count[DOCTOR_WARN] + doctor->count[DOCTOR_FAIL] == before;
}

/* ---- what the service may do ---- */

static bool does_file_say(const struct doctor *doctor, const char *path, const char *word)
{
	char whole[PATH_SIZE], line[512];
	FILE *file;
	bool found = false;

	snprintf(whole, sizeof(whole), "%s%s", doctor->root, path);
	file = fopen(whole, "re");
	while (file && !found && fgets(line, sizeof(line), file))
		found = line[0] != '#' && strstr(line, word);
	if (file)
		fclose(file);
	return found;
}

/* In the unit, or a file beside it that adds to it. */
static bool does_unit_say(const struct doctor *doctor, const char *word)
{
	static const char *const folders[] = {"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
					      "/usr/lib/systemd/system", "/lib/systemd/system"};
	char path[PATH_SIZE];
	bool found = false;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]) && !found; i++) {
		DIR *directory;

		snprintf(path, sizeof(path), "%s/pawsd.service", folders[i]);
		found = does_file_say(doctor, path, word);
		snprintf(path, sizeof(path), "%s%s/pawsd.service.d", doctor->root, folders[i]);
		directory = opendir(path);
		for (const struct dirent *entry; directory && !found && (entry = readdir(directory));) {
			snprintf(path, sizeof(path), "%s/pawsd.service.d/%s", folders[i], entry->d_name);
			found = does_file_say(doctor, path, word);
		}
		if (directory)
			closedir(directory);
	}
	return found;
}

static void look_at_unit(struct doctor *doctor)
{
	static const char *const shipped[] = {"/usr/local/share/pawsd/fastpath.conf", "/usr/share/pawsd/fastpath.conf"};

	if (!doctor_has_systemd(doctor) || !does_unit_say(doctor, "ExecStart=") || does_unit_say(doctor, "CAP_BPF"))
		return;
	doctor_say(doctor, level_of(doctor), place,
		   "pawsd.service may load no programs; mkdir -p /etc/systemd/system/pawsd.service.d; ln -s %s "
		   "/etc/systemd/system/pawsd.service.d; systemctl daemon-reload; systemctl restart pawsd",
		   shipped[doctor_has_file(doctor, shipped[0]) ? 0 : 1]);
}

/* ---- what the kernel takes ---- */

static void look_at_kernel(struct doctor *doctor)
{
	char words[FASTPATH_WORDS] = "";

	if (capng_get_caps_process() < 0 || !capng_have_capability(CAPNG_EFFECTIVE, CAP_BPF) ||
	    !capng_have_capability(CAPNG_EFFECTIVE, CAP_PERFMON))
		doctor_say(doctor, doctor->is_root ? level_of(doctor) : DOCTOR_NOTE, place,
			   "no CAP_BPF and CAP_PERFMON, without which no programs can be loaded; run pawsd (and --doctor) with "
			   "them; a container needs --cap-add=BPF --cap-add=PERFMON");
	else if (fastpath_kernel_try(words, sizeof(words)))
		doctor_say(doctor, DOCTOR_OK, NULL, "the kernel takes the programs");
	else
		doctor_say(doctor, level_of(doctor), place,
			   "the kernel does not take the programs: %s; take Linux 6.1 or later, with CONFIG_BPF_SYSCALL, and allow "
			   "the system call bpf",
			   words);
}

static bool is_of_bpf(const char *path)
{
	struct statfs status;

	return statfs(path, &status) == 0 && (unsigned long)status.f_type == BPF_FS_MAGIC;
}

/* The directory, or the one that it will be made in. */
static void look_at_pins(struct doctor *doctor)
{
	const char *pins = doctor->config->rules.fastpath.pins;
	char copy[FASTPATH_PATH_SIZE], *parent;

	snprintf(copy, sizeof(copy), "%s", pins);
	parent = dirname(copy);
	if (is_of_bpf(pins) || is_of_bpf(parent))
		doctor_say(doctor, DOCTOR_OK, NULL, "%s lies in a file system of type bpf", pins);
	else if (errno == EACCES)
		doctor_say(doctor, doctor_level_if_root(doctor), place_of_options,
			   "[fastpath] pins = %s cannot be looked at: %s; look as root", pins, strerror(errno));
	else
		doctor_say(doctor, level_of(doctor), place_of_options,
			   "[fastpath] pins = %s lies in no file system of type bpf; mount -t bpf bpf %s", pins, parent);
}

/* ---- interfaces ---- */

static void look_at_interfaces(struct doctor *doctor)
{
	const struct fastpath_config *fastpath = &doctor->config->rules.fastpath;
	char words[FASTPATH_WORDS], names[NAMES_SIZE] = "";

	for (size_t i = 0; i < fastpath->interface_count; i++) {
		const char *name = fastpath->interfaces[i].name;

		if (!if_nametoindex(name))
			doctor_say(doctor, DOCTOR_WARN, place_of_options,
				   "%s: there is no such interface: connections over it go through the queues until it is there; ip link "
				   "shows what there is, [fastpath] interfaces is what to change",
				   name);
		else if (fastpath_kernel_is_hindered(fastpath, i, words, sizeof(words)))
			doctor_say(doctor, level_of(doctor), place, "none, for %s", words);
		else
			snprintf(names + strlen(names), sizeof(names) - strlen(names), " %s", name);
	}
	if (*names)
		doctor_say(doctor, DOCTOR_OK, NULL, "nothing is in its way at%s", names);
}

void doctor_look_at_fastpath(struct doctor *doctor)
{
	if (!fastpath_is_wanted(&doctor->config->rules.fastpath)) {
		say_not_wanted(doctor);
		return;
	}
	if (!look_at_options(doctor))
		return;
	look_at_unit(doctor);
	if (doctor_lacks_rights(doctor))
		return;
	look_at_kernel(doctor);
	look_at_pins(doctor);
	look_at_interfaces(doctor);
}
