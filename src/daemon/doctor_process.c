/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a process is given here: by the kernel, by who has started it, and by the machine. */
#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/netlink.h>

#include "doctor_internal.h"
#include "queue.h"
#include "surroundings.h"

enum {
	/* A worker's, for packets: queue_open.c. */
	WORKER_BUFFER_BYTES = QUEUE_BATCH_PACKETS * (70 << 10),
};

void doctor_look_at_kernel(struct doctor *doctor)
{
	char uid_map[80], found[128] = "";
	struct utsname name;

	if (uname(&name) < 0)
		return;
	if (doctor_read_line(doctor, "/proc/self/uid_map", uid_map, sizeof(uid_map)))
		surroundings_judge_kernel(name.release, uid_map, found);
	if (*found)
		doctor_say(doctor, DOCTOR_FAIL, "pawsd(8), SURROUNDINGS",
			   "%s refuses changed packets in the network namespace of a user namespace: nothing can be rewritten; "
			   "run pawsd in the machine's own user namespace",
			   found);
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "Linux %s", name.release);
}

void doctor_look_at_capabilities(struct doctor *doctor)
{
	const bool needs_raw = doctor->config && doctor->config->rules.backend == RULES_IPTABLES;

	if (!doctor->is_admin)
		doctor_say(doctor, doctor_level_if_root(doctor), "pawsd(8), DOCTOR",
			   "no CAP_NET_ADMIN, without which there are no queues and no rules; run pawsd (and --doctor) as "
			   "root, or as the unit does (AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW); a container needs "
			   "--cap-add=NET_ADMIN");
	else if (needs_raw && !capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_RAW))
		doctor_say(doctor, DOCTOR_WARN, "pawsd(8), Two processes",
			   "no CAP_NET_RAW, without which iptables-legacy and matches of iptables cannot ask the kernel; add "
			   "it, or take [rules] backend = nft");
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "CAP_NET_ADMIN%s", needs_raw ? ", CAP_NET_RAW" : "");
	if (!doctor->config || !doctor->config->confine)
		return;
	if (doctor_has_file(doctor, "/proc/sys/kernel/seccomp/actions_avail"))
		doctor_say(doctor, DOCTOR_OK, NULL, "system calls can be filtered");
	else
		doctor_say(doctor, DOCTOR_WARN, "pawsd(8), Two processes",
			   "the kernel lacks CONFIG_SECCOMP_FILTER: the process in the path of packets cannot forbid itself "
			   "what it does not need; it runs all the same, with a warning, and without one with [daemon] confine "
			   "= no");
}

/* ---- users ---- */

static bool look_at_group(struct doctor *doctor, const char *option, const char *name)
{
	if (!*name || getgrnam(name))
		return true;
	doctor_say(doctor, DOCTOR_FAIL, "pawsd.conf(5), CONTROL",
		   "[control] %s = %s: there is no such group, and pawsd will not start; groupadd --system %s, or name another",
		   option, name, name);
	return false;
}

void doctor_look_at_users(struct doctor *doctor)
{
	const struct config *config = doctor->config;
	bool is_good = look_at_group(doctor, "group", config->control_group);

	is_good &= look_at_group(doctor, "admin_group", config->control_admin_group);
	if (*config->user && !getpwnam(config->user)) {
		doctor_say(doctor, DOCTOR_FAIL, "pawsd.conf(5), DAEMON",
			   "[daemon] user = %s: there is no such user, and pawsd will not start; useradd --system %s, or name "
			   "another",
			   config->user, config->user);
		is_good = false;
	}
	if (is_good)
		doctor_say(doctor, DOCTOR_OK, NULL, "user %s, may ask: group %s, may change: root%s%s",
			   *config->user ? config->user : "whoever starts pawsd",
			   *config->control_group ? config->control_group : "of whoever starts pawsd",
			   *config->control_admin_group ? " and group " : "", config->control_admin_group);
}

/* ---- memory ---- */

static bool read_available(const struct doctor *doctor, uint64_t *ret_bytes)
{
	char path[512], line[128];
	uint64_t kib;
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "%s/proc/meminfo", doctor->root);
	file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof(line), file)) {
		found = sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1;
		if (found)
			*ret_bytes = kib << 10;
	}
	if (file)
		fclose(file);
	return found;
}

static void look_at_huge_pages(struct doctor *doctor)
{
	char line[80];

	if (doctor_read_line(doctor, "/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof(line)) && strstr(line, "[never"
															"]"))
		doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), PERFORMANCE",
			   "no huge pages, which save 5 to 9 %% of the time for long packets; echo madvise "
			   ">/sys/kernel/mm/transparent_hugepage/enabled");
}

void doctor_look_at_memory(struct doctor *doctor)
{
	const struct config *config = doctor->config;
	const uint64_t need = doctor_flow_need(config).memory_bytes + (uint64_t)config->rules.workers * WORKER_BUFFER_BYTES;
	/* Of the kernel, when packets wait. */
	const uint64_t sockets = (uint64_t)config->rules.workers * config->queue_buffer_kib * 1024;
	char need_text[DOCTOR_SIZE_TEXT], sockets_text[DOCTOR_SIZE_TEXT], available_text[DOCTOR_SIZE_TEXT];
	uint64_t available;

	doctor_size(need, need_text);
	doctor_size(sockets, sockets_text);
	if (!read_available(doctor, &available))
		doctor_say(doctor, DOCTOR_NOTE, "pawsd.conf(5), FLOWS",
			   "%s are claimed at the start; how much there is cannot be read", need_text);
	else if (doctor->running)
		doctor_say(doctor, DOCTOR_OK, NULL, "%s for %" PRIu32 " flows, which process %u has", need_text,
			   config->flows_max, doctor->running);
	else if (need + sockets <= available / 4 * 3)
		doctor_say(doctor, DOCTOR_OK, NULL,
			   "%s for %" PRIu32 " flows, up to %s for packets that wait; %s are available", need_text,
			   config->flows_max, sockets_text, doctor_size(available, available_text));
	else
		doctor_say(doctor, need > available ? DOCTOR_FAIL : DOCTOR_WARN, "pawsd(8), OVERLOAD",
			   "%s for %" PRIu32 " flows are claimed at the start, up to %s more are for packets that wait, of %s "
					     "that are available; lower [flows] max or [queue] buffer_kib",
			   need_text, config->flows_max, sockets_text, doctor_size(available, available_text));
	look_at_huge_pages(doctor);
}

/* ---- buffers ---- */

/* What a socket gets when it asks for that much, as queue_open() does. */
static int try_buffer(int bytes)
{
	const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	int got = 0;
	socklen_t size = sizeof(got);

	if (fd < 0)
		return 0;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &size);
	close(fd);
	return got / 2; /* the kernel doubles it for its own needs */
}

void doctor_look_at_buffers(struct doctor *doctor)
{
	const uint64_t wanted = (uint64_t)doctor->config->queue_buffer_kib * 1024;
	const int bytes = wanted > INT32_MAX / 2 ? INT32_MAX / 2 : (int)wanted, got = try_buffer(bytes);

	if (got >= bytes)
		doctor_say(doctor, DOCTOR_OK, NULL, "a socket gets the %" PRIu32 " KiB of [queue] buffer_kib",
			   doctor->config->queue_buffer_kib);
	else
		doctor_say(doctor, doctor->is_admin ? DOCTOR_WARN : DOCTOR_NOTE, "pawsd(8), OVERLOAD",
			   "a socket gets %d KiB of the %" PRIu32 " of [queue] buffer_kib: more is for who has CAP_NET_ADMIN "
								  "in the machine's own user namespace; else packets are "
								  "dropped sooner when pawsd is late; sysctl -w "
								  "net.core.rmem_max=%d",
			   got / 1024, doctor->config->queue_buffer_kib, bytes);
}

/* ---- processors ---- */

void doctor_look_at_processors(struct doctor *doctor)
{
	const struct config *config = doctor->config;
	const int wanted = CPU_COUNT(&config->queue_cpus);
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return;
	for (size_t i = 0; i < CPU_SETSIZE; i++) {
		if (CPU_ISSET(i, &config->queue_cpus) && !CPU_ISSET(i, &allowed)) {
			doctor_say(doctor, DOCTOR_FAIL, "pawsd.conf(5), QUEUES",
				   "[queue] cpus names %zu, which is not there, or not for this process; take some of "
				   "/sys/devices/system/cpu/online",
				   i);
			return;
		}
	}
	if (config->rules.workers > CPU_COUNT(&allowed))
		doctor_say(doctor, DOCTOR_NOTE, "pawsd(8), PERFORMANCE",
			   "%u workers on %d processors are no faster than as many as there are; [queue] workers = %d",
			   config->rules.workers, CPU_COUNT(&allowed), CPU_COUNT(&allowed));
	else
		doctor_say(doctor, DOCTOR_OK, NULL, "workers: %u, processors: %d", config->rules.workers, CPU_COUNT(&allowed));
	if (wanted && doctor_has_systemd(doctor))
		doctor_say(doctor, DOCTOR_NOTE, "pawsd.conf(5), QUEUES",
			   "[queue] cpus needs, under systemd, a drop-in: systemctl edit pawsd, [Service] "
			   "SystemCallFilter=sched_setaffinity");
}
