/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What --doctor concludes of the fast path. */
#include "doctor_world.h"

/* ---- the fast path ---- */

static void set_fastpath(enum fastpath_wish wish, const char *interface)
{
	config.rules.fastpath = (struct fastpath_config){.wish = wish, .mark_bit = 16, .pins = "/sys/fs/bpf/pawsd"};
	if (*interface)
		strcpy(config.rules.fastpath.interfaces[config.rules.fastpath.interface_count++].name, interface);
}

static void test_fastpath_not_wanted(void **state)
{
	(void)state;
	set_fastpath(FASTPATH_AUTO, "");
	assert_says(LOOK(fastpath), "ok    fastpath: ", "not configured");
	set_fastpath(FASTPATH_NO, "nosuch0");
	assert_says(LOOK(fastpath), "ok    fastpath: ", "enabled = no");
	put("/sys/fs/bpf/pawsd/other", "");
	assert_says(LOOK(fastpath), "ok    fastpath: ", "enabled = no");
	put("/sys/fs/bpf/pawsd/fast_flows", "");
	assert_says(LOOK(fastpath), "warn  fastpath: ", "/sys/fs/bpf/pawsd has programs that an earlier pawsd has left");
	take_away("/sys/fs/bpf/pawsd/fast_flows");
}

static void test_fastpath_options(void **state)
{
	(void)state;
	if (fastpath_kernel_missing())
		skip();
	set_fastpath(FASTPATH_AUTO, "nosuch0");
	config.rules.workers = 2;
	assert_says(LOOK(fastpath), "warn  fastpath: ", "[queue] workers is 2; take 1");
	set_fastpath(FASTPATH_YES, "nosuch0");
	assert_says(LOOK(fastpath), "fail  fastpath: ", "[queue] workers is 2; take 1");
	set_fastpath(FASTPATH_AUTO, "nosuch0");
	config.rules.workers = 1;
	config.rules.backend = RULES_NONE;
	assert_says(LOOK(fastpath), "warn  fastpath: ", "take [rules] backend = iptables or nft");
	config.rules.backend = RULES_NFT;
	config.rules.labels = LABELS_OFF;
	doctor.is_admin = false; /* the kernel's part is no file */
	assert_says(LOOK(fastpath), "note  fastpath: ", "labels = off");
	config.rules.labels = LABELS_AUTO;
	set_policy("192.0.2.0/24", MODE_STRIP);
	assert_says(LOOK(fastpath), "note  fastpath: ", "no destination has mode = rewrite");
	set_policy("192.0.2.0/24", MODE_REWRITE);
	assert_null(strstr(LOOK(fastpath), "warn"));
}

static void test_fastpath_unit(void **state)
{
	(void)state;
	if (fastpath_kernel_missing())
		skip();
	doctor.is_admin = false;
	put("/run/systemd/system/x", "");
	assert_null(strstr(LOOK(fastpath), "pawsd.service"));
	put("/usr/lib/systemd/system/pawsd.service", "# CAP_BPF\nExecStart=/usr/sbin/pawsd\n");
	put("/etc/systemd/system/pawsd.service.d/other.conf", "[Service]\n#AmbientCapabilities=CAP_BPF\n");
	assert_says(LOOK(fastpath), "warn  fastpath: ", "ln -s /usr/share/pawsd/fastpath.conf /etc/systemd/system/pawsd.service.d;");
	put("/usr/local/share/pawsd/fastpath.conf", "");
	assert_says(LOOK(fastpath), "warn  fastpath: ", "ln -s /usr/local/share/pawsd/fastpath.conf ");
	put("/etc/systemd/system/pawsd.service.d/fastpath.conf", "[Service]\nAmbientCapabilities=CAP_BPF CAP_PERFMON\n");
	assert_null(strstr(LOOK(fastpath), "pawsd.service"));
	take_away("/usr/lib/systemd/system/pawsd.service");
	take_away("/run/systemd/system/x");
	rmdir_below("/run/systemd/system");
	doctor.is_admin = true;
	config.rules.workers = 2;
	config.rules.backend = RULES_IPTABLES;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fastpath_not_wanted),
		cmocka_unit_test(test_fastpath_options),
		cmocka_unit_test(test_fastpath_unit),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
