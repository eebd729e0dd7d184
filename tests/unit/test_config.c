/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration: what is refused and in which words, defaults, and what a reload keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "config_options.h"

static char directory[] = "/tmp/pawsd-test-config-XXXXXX";
static char path[sizeof(directory) + 16];
static struct slot_names names;
static struct config_report errors, warnings;

static void write_file(const char *name, const char *text)
{
	char full[128];
	FILE *file;

	snprintf(full, sizeof(full), "%s/%s", directory, name);
	file = fopen(full, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static struct config *load(const char *text)
{
	config_report_free(&errors);
	config_report_free(&warnings);
	write_file("test.conf", text);
	return config_load(path, &names, &errors, &warnings);
}

/* The text must be refused with exactly one error, which holds all of `words` (NULL at the end). */
static void check_refused(const char *text, const char *const *words)
{
	struct config *config = load(text);

	if (config || errors.count != 1)
		fail_msg("%zu errors for:\n%s%s", errors.count, text, errors.count > 1 ? errors.lines[1] : "");
	for (; *words; words++) {
		if (!strstr(errors.lines[0], *words))
			fail_msg("no \"%s\" in: %s", *words, errors.lines[0]);
	}
}

#define REFUSED(text, ...) check_refused(text, (const char *const[]){__VA_ARGS__, NULL})
#define GOOD "[destination a]\nprefixes = 192.0.2.0/24\nmode = rewrite\n"

static void test_each_error_says_where_and_what_is_allowed(void **state)
{
	(void)state;
	REFUSED("[gatewy]\nwan = eth0\n", "test.conf:1:", "[gatewy]", "unknown section", "[gateway]", "[destination NAME]");
	REFUSED("[gateway]\nwann = eth0\n", "test.conf:2:", "[gateway] wann = eth0", "unknown key", "wan, placement");
	REFUSED("[queue]\nworkers = 65\n", "test.conf:2:", "workers = 65", "from 1 to 64");
	REFUSED("[queue]\nworkers = 1x\n", "workers = 1x", "from 1 to 64");
	REFUSED("[queue]\nworkers = -1\n", "from 1 to 64");
	REFUSED("[queue]\nworkers =\n", "from 1 to 64");
	REFUSED("[queue]\nfirst = 65500\nworkers = 64\n", "first = 65500", "up to 65408");
	REFUSED("[rules]\nbackend = ipfw\n", "test.conf:2:", "backend = ipfw", "none, iptables, nft");
	REFUSED("[gateway]\nwan = eth0123456789012345\n", "interface", "15 characters");
	REFUSED("[gateway]\nwan = e*h0\n", "e*h0", "* at the end");
	REFUSED("[control]\nsocket = /a b\n", "socket", "no blanks");
	REFUSED("[destination a]\nprefixes = 192.0.2.0/24\n", "test.conf:1:", "mode is missing",
		"off, observe, strip, rewrite");
	REFUSED("[destination a]\nprefixes = 192.0.2.0/24\nmode = rewrit\n", "test.conf:3:", "mode = rewrit");
	REFUSED("[destination a]\nmode = rewrite\n", "[destination a]", "no prefixes", "prefixes_file");
	REFUSED("[destination a]\nprefixes = 192.0.2.1/24\nmode = off\n", "test.conf:2:", "192.0.2.1/24", "192.0.2.0/24");
	REFUSED("[destination a]\nprefixes = 192.0.2.0/33\nmode = off\n", "192.0.2.0/33");
	REFUSED("[destination a]\nprefixes = example.org\nmode = off\n", "example.org");
	REFUSED(GOOD "sources = 10.0.0.0/8, 10.0.0\n", "sources", "10.0.0");
	REFUSED(GOOD "ports = 0\n", "test.conf:4:", "ports = 0", "1 to 65535");
	REFUSED(GOOD "ports = 65536\n", "1 to 65535");
	REFUSED(GOOD "ports = 90-80\n", "90-80");
	REFUSED(GOOD "ports = 80-\n", "80-");
	REFUSED("[queue]\ncpus = 0, x\n", "test.conf:2:", "cpus = 0, x", "\"x\" is no processor", "0 to 1023");
	REFUSED("[queue]\ncpus = 4-2\n", "\"4-2\"", "ranges like 4-7");
	REFUSED("[queue]\ncpus = 1024\n", "\"1024\"");
	REFUSED(GOOD "synack_tsecr = yes\n", "off, echo, zero");
	REFUSED(GOOD "enabled = perhaps\n", "yes, no");
	REFUSED("[destination]\nprefixes = 192.0.2.0/24\nmode = off\n", "NAME");
	REFUSED("[destination default]\nprefixes = 192.0.2.0/24\nmode = off\n", "NAME", "default");
	REFUSED("[destination a/b]\nprefixes = 192.0.2.0/24\nmode = off\n", "NAME");
	REFUSED("[destinations]\nprefixes = 192.0.2.0/24\nmode = off\n", "unknown section");
	REFUSED(GOOD "[destination  a]\nprefixes = 192.0.3.0/24\nmode = off\n", "test.conf:4:", "already");
	REFUSED("[destination a]\nprefixes = ,\nmode = rewrite\n", "no prefixes");
	REFUSED("[control]\nsocket =\n", "socket", "/...");
	REFUSED("[daemon]\nruntime_dir = run/pawsd\n", "runtime_dir = run/pawsd", "/...");
	REFUSED("[default]\nprefixes = 192.0.2.0/24\n", "unknown key", "mode, synack_tsecr");
}

static void test_prefix_file(void **state)
{
	(void)state;
	REFUSED("[destination a]\nprefixes_file = nowhere\nmode = off\n", "test.conf:2:", "/nowhere", "No such file");
	write_file("list", "# comment\n192.0.2.0/24\n\n  2001:db8::/32 # six\n192.0.2.9/33\n");
	REFUSED("[destination a]\nprefixes_file = list\nmode = off\n", "/list:5:", "192.0.2.9/33");
	write_file("list", "# comment\n192.0.2.0/24\n\n  2001:db8::/32 # six\n");
	struct config *config = load("[destination a]\nprefixes_file = list\nprefixes = 198.51.100.1\nmode = off\n");
	assert_non_null(config);
	assert_int_equal(config->policy->destinations[1].prefix_count, 3);
	config_free(config);

	/* A comment may be long. */
	char text[1200];
	memset(text, ' ', sizeof(text));
	memcpy(text, "192.0.2.0/24 #", 14);
	strcpy(text + 600, "10.0.0.0/8\n");
	write_file("list", text);
	config = load("[destination a]\nprefixes_file = list\nmode = off\n");
	assert_non_null(config);
	assert_int_equal(config->policy->destinations[1].prefix_count, 1);
	config_free(config);
	write_file("list", "# nothing in here\n");
	REFUSED("[destination a]\nprefixes_file = list\nmode = off\n", "no prefixes");
}

static void test_contradictions(void **state)
{
	(void)state;
	REFUSED("[gateway]\nplacement = postnat\nwan = eth0\n[rules]\nbackend = iptables\n", "postnat", "nft or none");
	REFUSED("[gateway]\nplacement = postnat\n[rules]\nbackend = nft\n", "postnat", "wan");
	REFUSED(GOOD "[destination b]\nprefixes = 192.0.2.0/24\nmode = strip\n", "[destination a] and [destination b]",
		"192.0.2.0/24", "mode");
	REFUSED(GOOD "synack_tsecr = echo\n[destination b]\nprefixes = 192.0.2.0/24\nmode = rewrite\n", "synack_tsecr");
	REFUSED(GOOD "ports = 80-90\n[destination b]\nprefixes = 192.0.2.0/24\nmode = off\nports = 90, 95\n", "both claim");
	/* The first takes all clients, the second could never be reached. */
	REFUSED(GOOD "[destination b]\nprefixes = 192.0.2.0/24\nmode = off\nsources = 10.0.0.0/8\n", "both claim");
	REFUSED(GOOD "sources = 10.0.0.0/8\n[destination b]\nprefixes = 192.0.2.0/24\nmode = off\nsources = 10.1.0.0/16\n",
		"both claim");
}

static void test_fastpath_interfaces(void **state)
{
	char text[400] = "[fastpath]\ninterfaces =";
	struct config *config;

	(void)state;
	REFUSED("[fastpath]\ninterfaces = eth1\n", "test.conf:2:", "[fastpath] interfaces = eth1", "\"eth1\" does not say its side",
		"INTERFACE:lan, INTERFACE:wan");
	REFUSED("[fastpath]\ninterfaces = eth1:lan eth2:dmz\n", "\"eth2:dmz\" does not say its side");
	REFUSED("[fastpath]\ninterfaces = eth1:LAN\n", "does not say its side");
	REFUSED("[fastpath]\ninterfaces = :lan\n", "\":lan\" is no interface's name", "15 characters");
	REFUSED("[fastpath]\ninterfaces = eth0123456789012:lan\n", "is no interface's name");
	REFUSED("[fastpath]\ninterfaces = eth*:lan\n", "is no interface's name");
	REFUSED("[fastpath]\ninterfaces = eth1:1:lan\n", "is no interface's name");
	REFUSED("[fastpath]\ninterfaces = eth1:lan eth2:lan eth1:lan\n", "[fastpath] interfaces", "eth1 is there twice");
	REFUSED("[fastpath]\ninterfaces = eth1:wan\n", "eth1:wan", "placement = forward", "NAME:lan");
	REFUSED("[gateway]\nwan = eth0\n[fastpath]\ninterfaces = eth0:wan\n", "eth0:wan", "placement = forward");
	REFUSED("[gateway]\nwan = eth0 ppp*\n[fastpath]\ninterfaces = eth0:lan\n", "eth0:lan", "it is one of [gateway] wan",
		"interfaces to the clients");
	REFUSED("[gateway]\nwan = eth0 ppp*\n[fastpath]\ninterfaces = eth1:lan ppp3:lan\n", "ppp3:lan", "it is one");
	REFUSED("[gateway]\nplacement = postnat\nwan = eth0\n[rules]\nbackend = nft\n[fastpath]\ninterfaces = eth1:lan\n", "eth1:lan",
		"placement = postnat", "NAME:wan");
	REFUSED("[gateway]\nplacement = postnat\nwan = eth0\n[rules]\nbackend = nft\n[fastpath]\ninterfaces = eth1:wan\n", "eth1:wan",
		"it is none of [gateway] wan");
	for (int i = 0; i <= FASTPATH_INTERFACES_MAX; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " eth%d:lan", i);
	REFUSED(text, "at most 16 interfaces");
	*strrchr(text, ' ') = '\0';
	config = load(text);
	assert_non_null(config);
	assert_int_equal(config->rules.fastpath.interface_count, 16);
	config_free(config);
}

static void test_fastpath(void **state)
{
	struct config *config = load("[gateway]\nwan = eth0\n[rules]\nbackend = nft\n[fastpath]\nenabled = yes\n"
				     "interfaces = eth1:lan, eth2.7:lan  abcdefghijklmno:lan\nmark_bit = 29\npins = /sys/fs/bpf/x\n" GOOD);
	const struct fastpath_config *fastpath = &config->rules.fastpath;
	struct config *other;
	char text[256];

	(void)state;
	assert_non_null(config);
	assert_int_equal(warnings.count, 0);
	assert_int_equal(fastpath->wish, FASTPATH_YES);
	assert_int_equal(fastpath->interface_count, 3);
	assert_string_equal(fastpath->interfaces[0].name, "eth1");
	assert_string_equal(fastpath->interfaces[1].name, "eth2.7");
	assert_string_equal(fastpath->interfaces[2].name, "abcdefghijklmno");
	assert_false(fastpath->interfaces[0].is_wan);
	assert_int_equal(fastpath->mark_bit, 29);
	assert_string_equal(fastpath->pins, "/sys/fs/bpf/x");
	assert_true(fastpath_is_wanted(fastpath));
	other = load(GOOD);
	assert_non_null(other);
	assert_int_equal(warnings.count, 0);
	assert_int_equal(other->rules.fastpath.wish, FASTPATH_AUTO);
	assert_int_equal(other->rules.fastpath.mark_bit, 16);
	assert_false(fastpath_is_wanted(&other->rules.fastpath));
	config_list_static_changes(config, other, text, sizeof(text));
	assert_string_equal(text, "[gateway] wan, [rules] backend, [fastpath] enabled, [fastpath] interfaces, [fastpath] mark_bit, "
				  "[fastpath] pins");
	config_free(other);
	config_free(config);

	REFUSED("[fastpath]\nmark_bit = 30\n", "test.conf:2:", "mark_bit = 30", "from 0 to 29");
	REFUSED("[fastpath]\nmark_bit = -1\n", "from 0 to 29");
	REFUSED("[fastpath]\nmark_bit = 0x10\n", "from 0 to 29");
	REFUSED("[fastpath]\nenabled = on\n", "auto, yes, no");
	REFUSED("[fastpath]\npins = bpf\n", "pins = bpf", "/...");
	REFUSED("[rules]\nbackend = nft\n[fastpath]\nenabled = yes\n", "[fastpath] enabled = yes", "interfaces = NAME:lan");
	REFUSED("[rules]\nbackend = none\n[fastpath]\nenabled = yes\ninterfaces = eth1:lan\n", "[fastpath] enabled = yes",
		"backend = iptables or nft");
	REFUSED("[queue]\nworkers = 2\n[rules]\nbackend = nft\n[fastpath]\nenabled = yes\ninterfaces = eth1:lan\n", "workers = 2",
		"[fastpath] enabled = yes");
	/* Where it is only wished for, or not, it is done without. */
	config = load("[queue]\nworkers = 2\n[rules]\nbackend = none\n[fastpath]\ninterfaces = eth1:lan\n");
	assert_non_null(config);
	assert_int_equal(warnings.count, 0);
	config_free(config);
	config = load("[queue]\nworkers = 2\n[fastpath]\nenabled = no\ninterfaces = eth1:lan\n");
	assert_non_null(config);
	assert_false(fastpath_is_wanted(&config->rules.fastpath));
	config_free(config);
}

static void test_what_looks_like_a_contradiction(void **state)
{
	static const char *const texts[] = {
		GOOD "[destination b]\nprefixes = 192.0.2.0/24\nmode = rewrite\n",
		GOOD "[destination b]\nprefixes = 192.0.2.0/25\nmode = off\n",
		GOOD "[destination b]\nprefixes = 192.0.2.0/24\nmode = off\nports = 80\n",
		GOOD "ports = 80\n[destination b]\nprefixes = 192.0.2.0/24\nmode = off\nports = 81-90\n",
		GOOD "sources = 10.0.0.0/8\n[destination b]\nprefixes = 192.0.2.0/24\nmode = off\n",
		GOOD "sources = 10.0.0.0/9\n[destination b]\nprefixes = 192.0.2.0/24\nmode = off\nsources = 10.128.0.0/9\n",
		GOOD "[destination b]\nprefixes = 192.0.2.0/24\nmode = off\nenabled = no\n",
		GOOD "[destination b]\nprefixes = ::/0\nmode = off\n[destination c]\nprefixes = 0.0.0.0/0\nmode = strip\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct config *config = load(texts[i]);

		if (!config)
			fail_msg("%s\n%s", texts[i], errors.count ? errors.lines[0] : "?");
		config_free(config);
	}
}

static void test_all_errors_in_one_go(void **state)
{
	(void)state;
	assert_null(load("[queue]\nworkers = 0\nfrist = 1\n[destination a]\nmode = x\n[nonsense]\n"));
	assert_int_equal(errors.count, 5);
}

static void test_duplicates_are_refused(void **state)
{
	(void)state;
	REFUSED("[queue]\nfirst = 1\nfirst = 2\n", "test.conf:3:", "[queue] first", "line 2");
	REFUSED(GOOD "[destination A]\nports = 80\n", "test.conf:4:", "[destination a]", "line 1");
}

static void test_not_an_ini_file(void **state)
{
	(void)state;
	REFUSED("[queue]\nthis is no line\n", "(2)");
	config_report_free(&errors);
	assert_null(config_load("/nonexistent/pawsd.conf", &names, &errors, &warnings));
	assert_non_null(strstr(errors.lines[0], "/nonexistent/pawsd.conf: No such file"));
}

static void test_default_section_gives_synack_tsecr(void **state)
{
	struct config *config = load("[default]\nsynack_tsecr = echo\n" GOOD
				     "[destination b]\nprefixes = 192.0.3.0/24\nmode = rewrite\nsynack_tsecr = zero\n");

	(void)state;
	assert_non_null(config);
	assert_int_equal(config->policy->destinations[0].mode, MODE_OFF);
	assert_int_equal(config->policy->destinations[1].repair, REPAIR_ECHO);
	assert_int_equal(config->policy->destinations[2].repair, REPAIR_ZERO);
	config_free(config);
}

static void test_strip_is_honest(void **state)
{
	struct config *config = load("[destination a]\nprefixes = 192.0.2.0/24\nmode = strip\n");

	(void)state;
	assert_non_null(config);
	assert_int_equal(warnings.count, 1);
	assert_non_null(strstr(warnings.lines[0], "RHEL 7"));
	config_free(config);
}

/* conf/pawsd.conf is what the table says, and means what an empty file means. */
static void test_defaults(void **state)
{
	struct config *empty = load(""), *full;
	char text[1024];
	FILE *out = tmpfile();

	(void)state;
	assert_non_null(empty);
	config_print_defaults(out);
	rewind(out);
	text[fread(text, 1, sizeof(text) - 1, out)] = '\0';
	assert_non_null(strstr(text, "placement = forward"));
	fclose(out);
	config_report_free(&errors);
	full = config_load("conf/pawsd.conf", &names, &errors, &warnings);
	if (!full)
		fail_msg("%s", errors.lines[0]);
	config_list_static_changes(empty, full, text, sizeof(text));
	assert_string_equal(text, "");
	assert_memory_equal(&empty->rules, &full->rules, sizeof(full->rules));
	assert_memory_equal(empty->timeout_s, full->timeout_s, sizeof(full->timeout_s));
	config_free(empty);
	config_free(full);
}

/* The time-outs in the table of options are those in the table of states. */
static void test_timeouts_are_those_of_the_states(void **state)
{
	static const uint32_t seconds[FLOW_STATE_COUNT] = {
#define X(id, name, timeout_s, help) [FLOW_##id] = timeout_s,
		FLOW_STATE_TABLE(X)
#undef X
	};
	struct config *config = load("");

	(void)state;
	assert_memory_equal(config->timeout_s, seconds, sizeof(seconds));
	config_free(config);
}

static void test_names_keep_their_slots(void **state)
{
	struct config *config;
	uint16_t slot;

	(void)state;
	slot_names_init(&names);
	config = load(GOOD "[destination b]\nprefixes = 192.0.3.0/24\nmode = off\n");
	slot = config->policy->destinations[2].slot;
	assert_int_equal(config->policy->destinations[0].slot, SLOT_DEFAULT);
	assert_int_not_equal(slot, config->policy->destinations[1].slot);
	config_free(config);
	assert_null(load("[destination c]\nprefixes = 192.0.4.0/24\nmode = nonsense\n"));
	config = load("[destination b]\nprefixes = 192.0.3.0/24\nmode = off\n");
	assert_int_equal(config->policy->destinations[1].slot, slot);
	assert_int_equal(names.count, 4);
	config_free(config);
}

static void test_no_more_names_than_slots(void **state)
{
	size_t size = 1 << 20, used = 0;
	char *text = malloc(size);
	struct config *config;

	(void)state;
	slot_names_init(&names);
	for (int i = 0; i < DESTINATION_SLOTS - SLOT_DEFAULT - 1; i++)
		used += (size_t)snprintf(text + used, size - used,
					 "[destination n%d]\nprefixes = 10.%d.%d.0/24\nmode = off\n", i, i / 256, i % 256);
	config = load(text);
	assert_non_null(config);
	config_free(config);
	REFUSED(GOOD, "more than 1022 names", "restart");
	assert_int_equal(names.count, DESTINATION_SLOTS);
	free(text);
	slot_names_init(&names);
}

static void test_static_changes_are_named(void **state)
{
	struct config *a = load(""), *b = load("[queue]\nfirst = 7\n[flows]\nsyn_sent_s = 300\n[rules]\nflavour = nft\n");
	char text[256];

	(void)state;
	config_list_static_changes(a, b, text, sizeof(text));
	assert_string_equal(text, "[queue] first, [rules] flavour");
	config_free(a);
	config_free(b);
}

static void test_every_option_is_explained(void **state)
{
	const char *section = "";

	(void)state;
	for (size_t i = 0; i < option_count; i++) {
		const struct option_info *option = &option_table[i];

		/* Only the time-outs share one explanation, that of the first. */
		if (strcmp(option->section, "flows") != 0)
			assert_non_null(option->help);
		if (strcmp(section, option->section) != 0) {
			section = option->section;
			for (size_t j = 0; j < i; j++)
				assert_string_not_equal(option_table[j].section, section);
		}
	}
}

static int set_up(void **state)
{
	(void)state;
	slot_names_init(&names);
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/test.conf", directory);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	config_report_free(&errors);
	config_report_free(&warnings);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_error_says_where_and_what_is_allowed),
		cmocka_unit_test(test_prefix_file),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_fastpath_interfaces),
		cmocka_unit_test(test_fastpath),
		cmocka_unit_test(test_what_looks_like_a_contradiction),
		cmocka_unit_test(test_all_errors_in_one_go),
		cmocka_unit_test(test_duplicates_are_refused),
		cmocka_unit_test(test_not_an_ini_file),
		cmocka_unit_test(test_default_section_gives_synack_tsecr),
		cmocka_unit_test(test_strip_is_honest),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_timeouts_are_those_of_the_states),
		cmocka_unit_test(test_names_keep_their_slots),
		cmocka_unit_test(test_no_more_names_than_slots),
		cmocka_unit_test(test_static_changes_are_named),
		cmocka_unit_test(test_every_option_is_explained),
	};

	return cmocka_run_group_tests_name("config", tests, set_up, tear_down);
}
