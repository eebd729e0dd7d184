/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What --doctor concludes from what the kernel and the files say. */
#include "doctor_world.h"

static void say_odd(struct doctor *to)
{
	doctor_say(to, DOCTOR_WARN, "pawsd(8), DOCTOR", "a\tb\nc%s", "\033[2J");
	doctor_say(to, DOCTOR_OK, NULL, "fine");
}

static void test_lines(void **state)
{
	(void)state;
	assert_string_equal(look("wan", say_odd), "warn  wan: a b c [2J [pawsd(8), DOCTOR]\nok    wan: fine\n");
}

static void test_counts(void **state)
{
	const unsigned int before = doctor.count[DOCTOR_WARN];

	(void)state;
	look("wan", say_odd);
	assert_int_equal(doctor.count[DOCTOR_WARN], before + 1);
}

/* ---- connection tracking ---- */

static void fill_conntrack(const char *count)
{
	put("/proc/sys/net/netfilter/nf_conntrack_max", "1000\n");
	put("/proc/sys/net/netfilter/nf_conntrack_count", count);
}

static void test_conntrack(void **state)
{
	(void)state;
	assert_says(LOOK(conntrack), "warn  conntrack: ", "not tracked");
	fill_conntrack("749\n");
	assert_says(LOOK(conntrack), "ok    conntrack: ", "749 of 1000");
	fill_conntrack("750\n");
	assert_says(LOOK(conntrack), "warn  conntrack: ", "750 of 1000");
	fill_conntrack("900\n");
	assert_says(LOOK(conntrack), "fail  conntrack: ", "nf_conntrack_max=2000");
}

static void test_timeouts(void **state)
{
	static const char time_wait[] = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait";

	(void)state;
	put(time_wait, "120\n");
	assert_says(LOOK(timeouts), "ok    timeouts: ", "no shorter");
	put(time_wait, "121\n");
	assert_says(LOOK(timeouts), "note  timeouts: ", "nf_conntrack_tcp_timeout_time_wait 121 s (the file says 120)");
	assert_null(strstr(said, "ok "));
	put(time_wait, "59\n");
	assert_says(LOOK(timeouts), "note  timeouts: ", "time_wait is 59 s");
	put(time_wait, "60\n");
	assert_says(LOOK(timeouts), "ok    timeouts: ", "no shorter");
}

/* ---- forwarding ---- */

static void test_forwarding(void **state)
{
	(void)state;
	put("/proc/sys/net/ipv4/ip_forward", "0\n");
	put("/proc/sys/net/ipv6/conf/all/forwarding", "0\n");
	put("/proc/sys/net/ipv4/tcp_timestamps", "1\n");
	assert_says(LOOK(forwarding), "note  forwarding: ", "sysctl -w net.ipv4.ip_forward=1");
	assert_null(strstr(said, "ipv6"));
	set_policy("2001:db8::/32", MODE_OBSERVE);
	assert_says(LOOK(forwarding), "note  forwarding: ", "net.ipv6.conf.all.forwarding=1");
	assert_null(strstr(said, "ip_forward"));
	put("/proc/sys/net/ipv6/conf/all/forwarding", "1\n");
	assert_says(LOOK(forwarding), "ok    forwarding: ", "");
	put("/proc/sys/net/ipv4/tcp_timestamps", "0\n");
	assert_non_null(strstr(LOOK(forwarding), "\nnote  forwarding: net.ipv4.tcp_timestamps is 0"));
	set_policy("192.0.2.0/24", MODE_REWRITE);
}

/* ---- who runs ---- */

static void test_holder(void **state)
{
	char path[256], locks[256];
	struct stat status;

	(void)state;
	assert_int_equal(doctor_find_holder(&doctor, config.runtime_dir), 0);
	put("/run/lock", "4242\n");
	snprintf(path, sizeof(path), "%s/run/lock", directory);
	assert_int_equal(stat(path, &status), 0);
	put("/proc/locks", "1: POSIX  ADVISORY  WRITE 4242 00:1b:1 0 EOF\n");
	assert_int_equal(doctor_find_holder(&doctor, config.runtime_dir), 0);
	/* Under another device number than stat() has, as with overlayfs. */
	snprintf(locks, sizeof(locks), "1: FLOCK  ADVISORY  WRITE 77 ff:ff:1 0 EOF\n2: FLOCK  ADVISORY  WRITE 4242 fe:ff:%lu 0 EOF\n",
		 (unsigned long)status.st_ino);
	put("/proc/locks", locks);
	assert_int_equal(doctor_find_holder(&doctor, config.runtime_dir), 4242);
	/* Some other file of that number, on another device. */
	put("/run/lock", "4243\n");
	assert_int_equal(doctor_find_holder(&doctor, config.runtime_dir), 0);
	take_away("/run/lock");
}

/* The kernel's own list, of a lock that is held. */
static void test_holder_is_this(void **state)
{
	char path[256];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/lock", config.state_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	dprintf(fd, "%d\n", getpid());
	doctor.root = "";
	assert_int_equal(doctor_find_holder(&doctor, config.state_dir), getpid());
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(doctor_find_holder(&doctor, config.state_dir), 0);
	doctor.root = directory;
	close(fd);
	unlink(path);
}

/* ---- memory ---- */

static void test_memory(void **state)
{
	(void)state;
	assert_says(LOOK(memory), "note  memory: ", "cannot be read");
	put("/proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    1000000 kB\n");
	assert_says(LOOK(memory), "ok    memory: ", "262144 flows");
	put("/proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    60000 kB\n");
	assert_says(LOOK(memory), "warn  memory: ", "lower [flows] max");
	put("/proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    20000 kB\n");
	assert_says(LOOK(memory), "fail  memory: ", "lower [flows] max");
	doctor.running = 7;
	assert_says(LOOK(memory), "ok    memory: ", "process 7 has");
	doctor.running = 0;
	put("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
	assert_non_null(strstr(LOOK(memory), "\nnote  memory: no huge pages"));
}

/* ---- the clock's files ---- */

static uint64_t realtime_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000;
}

static void store_reading(uint64_t tick)
{
	static struct clock_shared shared;
	const struct clock clock = {.shared = &shared};
	struct clock_reading reading = {.tick = tick, .realtime_ms = realtime_ms(), .is_last = true};
	char path[256];
	size_t len;
	char *text = clock_file_text(&reading, &clock, tick, &len);

	assert_non_null(text);
	state_clock_path(&config, path, sizeof(path));
	assert_int_equal(clock_file_store(path, text, len), 0);
	free(text);
}

static bool is_there(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", directory, name);
	return access(path, F_OK) == 0;
}

static void test_clock(void **state)
{
	(void)state;
	assert_says(LOOK(clock), "ok    clock: ", "epoch is not there");
	put("/state/epoch", "pawsd-epoch 1\nepoch 1795564800000\nsecret 00112233445566778899aabbccddeeff\n");
	store_reading(realtime_ms());
	assert_says(LOOK(clock), "ok    clock: ", "epoch is good");
	assert_non_null(strstr(said, "clock is good"));
	store_reading(realtime_ms() + 3600000);
	assert_non_null(strstr(LOOK(clock), "s ahead of the time of day"));
	assert_non_null(strstr(said, "\nwarn  clock: "));
	put("/state/epoch", "pawsd-epoch 1\nepoch x\n");
	put("/state/clock", "pawsd-clock 3\n");
	assert_says(LOOK(clock), "warn  clock: ", "epoch is damaged");
	assert_non_null(strstr(said, "clock is damaged"));
	/* A look changes nothing. */
	assert_true(is_there("/state/epoch") && is_there("/state/clock"));
	assert_false(is_there("/state/epoch.aside") || is_there("/state/clock.aside"));
	put("/state/clock.aside", "");
	assert_non_null(strstr(LOOK(clock), "clock.aside"));
}

/* ---- directories, the socket ---- */

static void test_directories(void **state)
{
	char kept[CONFIG_PATH_SIZE];

	(void)state;
	strcpy(kept, config.state_dir);
	assert_says(LOOK(state_dir), "ok    state_dir: ", "writable");
	snprintf(config.state_dir, sizeof(config.state_dir), "%s/new", directory);
	assert_says(LOOK(state_dir), "ok    state_dir: ", "will be made");
	assert_false(is_there("/new"));
	snprintf(config.state_dir, sizeof(config.state_dir), "%s/not/there", directory);
	assert_says(LOOK(state_dir), "fail  state_dir: ", "mkdir -p");
	put("/file", "");
	snprintf(config.state_dir, sizeof(config.state_dir), "%s/file", directory);
	assert_says(LOOK(state_dir), "fail  state_dir: ", "Not a directory");
	doctor.is_root = false;
	assert_says(LOOK(state_dir), "note  state_dir: ", "look as root");
	doctor.is_root = true;
	strcpy(config.state_dir, kept);
}

static void test_control(void **state)
{
	char listed[256];

	(void)state;
	assert_says(LOOK(control), "ok    control: ", "can be made");
	snprintf(listed, sizeof(listed), "Num RefCount Protocol Flags Type St Inode Path\n"
		 "0000000000000000: 00000002 00000000 00010000 0001 01 18302 %s\n", config.control_socket);
	put("/proc/net/unix", listed);
	assert_says(LOOK(control), "fail  control: ", "another program listens");
	doctor.running = 9;
	assert_says(LOOK(control), "ok    control: ", "process 9 listens");
	take_away("/proc/net/unix");
	assert_says(LOOK(control), "warn  control: ", "does not listen");
	doctor.running = 0;
	put("/run/socket", "");
	assert_says(LOOK(control), "fail  control: ", "no socket");
	take_away("/run/socket");
}

/* ---- the service ---- */

static void test_service(void **state)
{
	(void)state;
	assert_says(LOOK(service), "note  service: ", "systemd does not run");
	put("/run/systemd/system/x", "");
	assert_says(LOOK(service), "warn  service: ", "not installed");
	put("/usr/local/lib/systemd/system/pawsd.service", "");
	assert_says(LOOK(service), "warn  service: ", "/usr/local/lib/systemd/system/pawsd.service is not enabled");
	put("/etc/systemd/system/multi-user.target.wants/pawsd.service", "");
	assert_says(LOOK(service), "ok    service: ", "enabled");
}

/* ---- what rules need ---- */

/* iptables as on a kernel without NFQUEUE and the match set: it says so, and succeeds. */
static void fake_commands(void)
{
	char path[256], command[320];

	put("/bin/iptables", "#!/bin/sh\n[ \"$2\" != nosuch ] || { echo 'Could not load match nosuch' >&2; exit 2; }\n"
			     "case $2 in NFQUEUE | set) echo \"Warning: Extension $2 revision 0 not supported, missing kernel module?\" >&2 ;; esac\n"
			     "echo \"$*\" >>\"$0.log\"\n");
	put("/bin/ipset", "#!/bin/sh\nexit 0\n");
	snprintf(command, sizeof(command), "chmod +x %s/bin/*", directory);
	assert_int_equal(system(command), 0);
	snprintf(path, sizeof(path), "%s/bin:/usr/bin:/bin", directory);
	setenv("PATH", path, 1);
}

static void test_rules_need(void **state)
{
	static const char good[] = "-A PAWSD -m comment --comment x -j PAWSD-OUT\n-A PAWSD -m comment -m connlabel --label 3 -j RETURN\n";
	const struct rules_config rules = {.backend = RULES_IPTABLES};
	char error[512] = "", log[256], line[64];
	FILE *file;

	(void)state;
	fake_commands();
	assert_int_equal(rules_try_chains(&rules, FAMILY_IPV4, good, error, sizeof(error)), 0);
	/* Each once, and no chain or verdict. */
	snprintf(log, sizeof(log), "%s/bin/iptables.log", directory);
	file = fopen(log, "r");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	assert_string_equal(line, "-m comment -h\n");
	assert_non_null(fgets(line, sizeof(line), file));
	assert_string_equal(line, "-m connlabel -h\n");
	assert_null(fgets(line, sizeof(line), file));
	fclose(file);
	assert_int_equal(rules_try_chains(&rules, FAMILY_IPV4, "-A PAWSD -m nosuch -j RETURN\n", error, sizeof(error)), -1);
	assert_non_null(strstr(error, "Could not load match nosuch"));
	assert_int_equal(rules_try_chains(&rules, FAMILY_IPV4, "-A PAWSD -j NFQUEUE --queue-num 7\n", error, sizeof(error)), -1);
	assert_non_null(strstr(error, "the kernel lacks CONFIG_NETFILTER_XT_TARGET_NFQUEUE"));
	assert_int_equal(rules_try_chains(&rules, FAMILY_IPV4, "-A PAWSD -m set --match-set x dst\n", error, sizeof(error)), -1);
	assert_non_null(strstr(error, "the kernel lacks CONFIG_NETFILTER_XT_SET"));
	assert_int_equal(rules_try_sets("", error, sizeof(error)), 0);
}

/* The kernel itself is asked. */
static void test_types_of_sets(void **state)
{
	char error[512] = "";

	(void)state;
	if (geteuid() != 0 || access("/sys/module/ip_set", F_OK) != 0)
		skip();
	assert_int_equal(rules_try_sets("create x hash:net family inet6 hashsize 64\nadd x ::1\n", error, sizeof(error)), 0);
	assert_int_equal(rules_try_sets("create x hash:nothing family inet\n", error, sizeof(error)), -1);
	assert_non_null(strstr(error, "set type not supported"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),	    cmocka_unit_test(test_counts),	 cmocka_unit_test(test_conntrack),
		cmocka_unit_test(test_timeouts),    cmocka_unit_test(test_forwarding),	 cmocka_unit_test(test_holder),
		cmocka_unit_test(test_holder_is_this), cmocka_unit_test(test_memory),	 cmocka_unit_test(test_clock),
		cmocka_unit_test(test_directories), cmocka_unit_test(test_control),	 cmocka_unit_test(test_service),
		cmocka_unit_test(test_rules_need),  cmocka_unit_test(test_types_of_sets),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
