/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NFQUEUE, and who holds a queue that is taken. */
#include <ctype.h>
#include <dirent.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor_internal.h"
#include "queue.h"

/* A netlink socket's inode, by the number that the kernel knows it by: its "portid". 0: not found. */
static unsigned long find_inode(const struct doctor *doctor, uint32_t portid)
{
	char path[512], line[256];
	unsigned int protocol, port;
	unsigned long inode, found = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/proc/net/netlink", doctor->root);
	file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*x %u %u %*x %*d %*d %*d %*u %*u %lu", &protocol, &port, &inode) == 3 &&
		    protocol == NETLINK_NETFILTER && port == portid)
			found = inode;
	}
	if (file)
		fclose(file);
	return found;
}

static bool has_socket(const char *process_directory, unsigned long inode)
{
	char path[320], target[64], wanted[64];
	DIR *directory;
	bool found = false;

	snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
	snprintf(path, sizeof(path), "%s/fd", process_directory);
	directory = opendir(path);
	for (const struct dirent *entry; directory && !found && (entry = readdir(directory));) {
		snprintf(path, sizeof(path), "%s/fd/%.20s", process_directory, entry->d_name);
		const ssize_t len = readlink(path, target, sizeof(target) - 1);

		target[len > 0 ? len : 0] = '\0';
		found = strcmp(target, wanted) == 0;
	}
	if (directory)
		closedir(directory);
	return found;
}

/* The process with the highest number that has it open: process 1, which may keep it, only where nobody else does. 0: none. */
static unsigned int find_process(const struct doctor *doctor, unsigned long inode)
{
	char path[256];
	unsigned int found = 0;
	DIR *directory;

	snprintf(path, sizeof(path), "%s/proc", doctor->root);
	directory = opendir(path);
	for (const struct dirent *entry; inode && directory && (entry = readdir(directory));) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "%s/proc/%.20s", doctor->root, entry->d_name);
		if (has_socket(path, inode))
			found = (unsigned int)strtoul(entry->d_name, NULL, 10);
	}
	if (directory)
		closedir(directory);
	return found;
}

static void say_who_holds(struct doctor *doctor, uint16_t number, const struct queue_kernel_stats *stats)
{
	const unsigned long inode = find_inode(doctor, stats->portid);
	const unsigned int process = find_process(doctor, inode);
	const uint32_t shown = process ? process : stats->portid;
	char path[64], name[64] = "";

	snprintf(path, sizeof(path), "/proc/%u/comm", shown);
	if (!doctor_read_line(doctor, path, name, sizeof(name)))
		name[0] = '\0';
	if (process == 1)
		doctor_say(doctor, DOCTOR_OK, NULL, "queue %u is kept open by process 1 (%s) until pawsd is there again",
			   number, name);
	else
		doctor_say(doctor, DOCTOR_FAIL, "pawsd.conf(5), QUEUES",
			   "queue %u is taken, by %s %u%s%s%s: pawsd will not start; stop that, or take other numbers with "
			   "[queue] first",
			   number, process || name[0] ? "process" : "netlink port", shown, name[0] ? " (" : "", name,
			   name[0] ? ")" : "");
}

void doctor_look_at_nfqueue(struct doctor *doctor)
{
	const struct rules_config *rules = &doctor->config->rules;
	const unsigned int first = rules->queue_first, last = first + 2u * rules->workers - 1;
	unsigned int foreign = 0, ours = 0;
	char error[1024];

	if (doctor_lacks_rights(doctor))
		return;
	for (unsigned int number = first; number <= last; number++) {
		struct queue_kernel_stats stats;

		if (queue_kernel_stats_read((uint16_t)number, &stats)) {
			/* A socket of one process may have another number than its pid: who holds runtime_dir holds the queues,
			 * too. */
			if (doctor->running && (stats.portid == doctor->running ||
						find_process(doctor, find_inode(doctor, stats.portid)) == doctor->running)) {
				ours++;
				continue;
			}
			say_who_holds(doctor, (uint16_t)number, &stats);
			foreign++;
		} else if (!queue_could_open((uint16_t)number, error, sizeof(error))) {
			doctor_say(doctor, DOCTOR_FAIL, "pawsd(8), Queues and rules",
				   "%s; modprobe nfnetlink_queue, or another kernel", error);
			return;
		}
	}
	if (ours)
		doctor_say(doctor, DOCTOR_OK, NULL, "queues %u to %u: process %u holds %u of %u", first, last, doctor->running,
			   ours, last - first + 1);
	else if (!foreign)
		doctor_say(doctor, DOCTOR_OK, NULL, "queues %u to %u are free; the kernel has NFQUEUE with GSO and fail-open",
			   first, last);
}
