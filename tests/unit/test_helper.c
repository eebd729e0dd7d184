/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The helper: a configuration goes over the socket whole, and what is no proper request ends it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"
#include "helper_internal.h"
#include "policy_build.h"

enum {
	WAIT_MS = 20000,
	ROUNDS = 20000,
};

static char directory[] = "/tmp/pawsd-test-helper-XXXXXX";
static char config_path[sizeof(directory) + 16];
static char error[1024];
static struct slot_names names;

/* The same in each: no rules are made, whatever is asked. */
static const char good_config[] = "[gateway]\nwan = wan0\n[rules]\nbackend = none\n"
				  "[default]\nmode = observe\n"
				  "[destination a]\nprefixes = 192.0.2.0/24, 2001:db8::/32, 198.51.100.7\n"
				  "ports = 443, 8000-8100, 8050-8200\nsources = 10.0.0.0/8\nmode = rewrite\n"
				  "synack_tsecr = echo\n"
				  "[destination b]\nprefixes = 203.0.113.0/24\nmode = strip\nenabled = no\n";

static void write_config(const char *text)
{
	FILE *file = fopen(config_path, "w");

	assert_non_null(file);
	fprintf(file, "%s[daemon]\nstate_dir = %s\nruntime_dir = %s\n[control]\nsocket = %s/socket\n", text, directory,
		directory, directory);
	fclose(file);
}

static int set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(config_path, sizeof(config_path), "%s/pawsd.conf", directory);
	slot_names_init(&names);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

/* ---- proper requests ------------------------------------------------------------------- */

static void assert_same_prefixes(const struct prefix *a, const struct prefix *b, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		assert_memory_equal(&a[i].addr, &b[i].addr, sizeof(a[i].addr));
		assert_int_equal(a[i].family, b[i].family);
		assert_int_equal(a[i].len, b[i].len);
	}
}

static void assert_same_destination(const struct destination *a, const struct destination *b)
{
	assert_string_equal(a->name, b->name);
	assert_int_equal(a->slot, b->slot);
	assert_int_equal(a->enabled, b->enabled);
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->repair, b->repair);
	assert_int_equal(a->prefix_count, b->prefix_count);
	assert_same_prefixes(a->prefixes, b->prefixes, a->prefix_count);
	assert_int_equal(a->source_count, b->source_count);
	assert_same_prefixes(a->sources, b->sources, a->source_count);
	assert_int_equal(a->port_count, b->port_count);
	if (a->port_count)
		assert_memory_equal(a->ports, b->ports, a->port_count * sizeof(*a->ports));
}

static void test_configuration_is_the_file_s(void **state)
{
	struct config_report errors, warnings;
	struct config *here, *there;
	struct slot_names their_names;
	struct helper *helper;

	(void)state;
	write_config(good_config);
	helper = helper_start(config_path, &names, error, sizeof(error));
	assert_non_null(helper);
	assert_int_equal(helper_load(helper, &there, &their_names, error, sizeof(error)), 0);
	here = config_load(config_path, &names, &errors, &warnings);
	assert_non_null(here);
	assert_memory_equal(&names, &their_names, sizeof(names));
	assert_int_equal(here->policy->destination_count, there->policy->destination_count);
	for (size_t i = 0; i < here->policy->destination_count; i++)
		assert_same_destination(&here->policy->destinations[i], &there->policy->destinations[i]);
	assert_int_equal(rules_digest(&here->rules, here->policy), rules_digest(&there->rules, there->policy));
	assert_string_equal(here->state_dir, there->state_dir);
	config_free(here);
	config_free(there);
	config_report_free(&errors);
	config_report_free(&warnings);

	/* What is wrong comes in words, and what was there before can be asked for still. */
	write_config("[rules]\nnonsense = 1\n");
	assert_int_equal(helper_load(helper, &there, &their_names, error, sizeof(error)), -1);
	assert_null(there);
	assert_non_null(strstr(error, "nonsense"));
	write_config(good_config);
	assert_int_equal(helper_load(helper, &there, &their_names, error, sizeof(error)), 0);
	config_free(there);
	assert_true(helper_is_there(helper));
	helper_stop(helper);
}

static void test_static_options_stay(void **state)
{
	const struct helper_install request = {.is_new = true};
	struct rules_outcome outcome;
	struct slot_names their_names;
	struct config *config;
	struct helper *helper;

	(void)state;
	write_config(good_config);
	helper = helper_start(config_path, &names, error, sizeof(error));
	assert_int_equal(helper_load(helper, &config, &their_names, error, sizeof(error)), 0);
	config_free(config);
	assert_int_equal(helper_install(helper, &request, &outcome, error, sizeof(error)), 0);
	write_config("[queue]\nworkers = 7\n[rules]\nbackend = none\non_stop = keep\n"
		     "[destination c]\nprefixes = 192.0.2.0/24\nmode = strip\n");
	assert_int_equal(helper_load(helper, &config, &their_names, error, sizeof(error)), 0);
	assert_int_equal(config->rules.workers, 1);
	assert_int_equal(config->on_stop, ON_STOP_KEEP);
	assert_string_equal(config->policy->destinations[1].name, "c");
	assert_int_equal(config->policy->destinations[1].slot, SLOT_DEFAULT + 3);
	config_free(config);
	helper_stop(helper);
}

/* A helper whose configuration is in force. */
static struct helper *start_with(const char *text)
{
	struct helper_install install = {.is_new = true};
	struct rules_outcome outcome;
	struct config *config;
	struct helper *helper;

	write_config(text);
	helper = helper_start(config_path, &names, error, sizeof(error));
	assert_non_null(helper);
	assert_int_equal(helper_load(helper, &config, &names, error, sizeof(error)), 0);
	config_free(config);
	assert_int_equal(helper_install(helper, &install, &outcome, error, sizeof(error)), 0);
	return helper;
}

static void put_in_force(struct helper *helper)
{
	struct helper_install install = {.is_new = true};
	struct rules_outcome outcome;

	assert_int_equal(helper_install(helper, &install, &outcome, error, sizeof(error)), 0);
}

static void test_another_mode(void **state)
{
	struct helper *helper = start_with(good_config);
	struct destination *destination;
	struct config *config;
	uint16_t slot = 0;

	(void)state;
	assert_true(slot_names_find(&names, "a", &slot));
	assert_int_equal(helper_set_mode(helper, slot, MODE_STRIP, &config, &names, error, sizeof(error)), 0);
	destination = &config->policy->destinations[1];
	assert_string_equal(destination->name, "a");
	assert_int_equal(destination->mode, MODE_STRIP);
	assert_true(destination->is_overridden);
	assert_int_equal(destination_written_mode(destination), MODE_REWRITE);
	assert_int_equal(config->policy->destinations[0].mode, MODE_OBSERVE);
	config_free(config);
	/* It was not put in force, so the next one begins with what is. */
	assert_int_equal(helper_set_mode(helper, SLOT_DEFAULT, MODE_OFF, &config, &names, error, sizeof(error)), 0);
	assert_int_equal(config->policy->destinations[1].mode, MODE_REWRITE);
	assert_int_equal(config->policy->destinations[0].mode, MODE_OFF);
	config_free(config);
	put_in_force(helper);
	assert_int_equal(helper_set_mode(helper, slot, MODE_OFF, &config, &names, error, sizeof(error)), 0);
	assert_true(config->policy->destinations[0].is_overridden);
	config_free(config);
	put_in_force(helper);
	assert_int_equal(helper_set_mode(helper, slot, MODE_REWRITE, &config, &names, error, sizeof(error)), 0);
	assert_false(config->policy->destinations[1].is_overridden);
	config_free(config);
	/* One that a reload has taken away since it was asked for. */
	assert_int_equal(helper_set_mode(helper, SLOT_NONE, MODE_OFF, &config, &names, error, sizeof(error)), -1);
	assert_null(config);
	assert_non_null(strstr(error, "no such destination"));
	/* The file ends it. */
	assert_int_equal(helper_load(helper, &config, &names, error, sizeof(error)), 0);
	assert_false(config->policy->destinations[0].is_overridden);
	assert_int_equal(config->policy->destinations[0].mode, MODE_OBSERVE);
	config_free(config);
	helper_stop(helper);
}

static void test_mode_that_contradicts(void **state)
{
	struct helper *helper = start_with("[rules]\nbackend = none\n"
					   "[destination a]\nprefixes = 192.0.2.0/24\nmode = off\n"
					   "[destination b]\nprefixes = 192.0.2.0/24\nmode = off\n");
	struct config *config;
	uint16_t slot = 0;

	(void)state;
	assert_true(slot_names_find(&names, "a", &slot));
	assert_int_equal(helper_set_mode(helper, slot, MODE_REWRITE, &config, &names, error, sizeof(error)), -1);
	assert_null(config);
	assert_non_null(strstr(error, "[destination a] and [destination b] both claim 192.0.2.0/24"));
	assert_int_equal(helper_set_mode(helper, slot, MODE_OFF, &config, &names, error, sizeof(error)), 0);
	config_free(config);
	helper_stop(helper);
}

static const struct destination *match(const struct config *config, const char *server, uint16_t port)
{
	static const struct addr nobody;
	struct prefix prefix;

	assert_null(prefix_parse(server, &prefix));
	return policy_match(config->policy, &prefix.addr, port, &nobody);
}

static void test_trial(void **state)
{
	struct helper *helper = start_with("[rules]\nbackend = none\n"
					   "[destination a]\nprefixes = 192.0.2.7\nports = 80\nmode = strip\n"
					   "[destination b]\nprefixes = 192.0.2.7, 2001:db8::/32\nmode = observe\n");
	struct policy_trial trial = {.port = 80, .mode = MODE_REWRITE, .repair = REPAIR_ECHO};
	struct prefix prefix;
	struct config *config;

	(void)state;
	assert_null(prefix_parse("192.0.2.7", &prefix));
	trial.server = prefix.addr;
	assert_int_equal(helper_try(helper, &trial, &config, &names, error, sizeof(error)), 0);
	assert_int_equal(match(config, "192.0.2.7", 80)->mode, MODE_REWRITE);
	assert_int_equal(match(config, "192.0.2.7", 80)->repair, REPAIR_ECHO);
	assert_string_equal(match(config, "192.0.2.7", 80)->name, TRIAL_NAME);
	assert_string_equal(match(config, "192.0.2.7", 81)->name, "b");
	assert_string_equal(match(config, "192.0.2.8", 80)->name, "default");
	config_free(config);
	put_in_force(helper);
	/* Of all ports, before others that have the address, and ports. */
	trial.port = 0;
	assert_int_equal(helper_try(helper, &trial, &config, &names, error, sizeof(error)), 0);
	assert_string_equal(match(config, "192.0.2.7", 80)->name, TRIAL_NAME);
	assert_string_equal(match(config, "192.0.2.7", 81)->name, TRIAL_NAME);
	config_free(config);
	/* The next one takes its place. */
	assert_null(prefix_parse("2001:db8::7", &prefix));
	trial = (struct policy_trial){.server = prefix.addr, .mode = MODE_OFF};
	assert_int_equal(helper_try(helper, &trial, &config, &names, error, sizeof(error)), 0);
	assert_int_equal(config->policy->destination_count, 4);
	assert_string_equal(match(config, "192.0.2.7", 80)->name, "a");
	assert_string_equal(match(config, "2001:db8::7", 443)->name, TRIAL_NAME);
	assert_string_equal(match(config, "2001:db8::8", 443)->name, "b");
	config_free(config);
	put_in_force(helper);
	assert_int_equal(helper_try(helper, NULL, &config, &names, error, sizeof(error)), 0);
	assert_int_equal(config->policy->destination_count, 3);
	assert_string_equal(match(config, "2001:db8::7", 443)->name, "b");
	config_free(config);
	helper_stop(helper);
}

static void test_files(void **state)
{
	static const char text[] = "pawsd-clock, or so\n";
	struct slot_names their_names;
	struct config *config;
	struct helper *helper;
	char path[128], read_text[64] = "";
	FILE *file;

	(void)state;
	write_config(good_config);
	helper = helper_start(config_path, &names, error, sizeof(error));
	assert_int_equal(helper_load(helper, &config, &their_names, error, sizeof(error)), 0);
	config_free(config);
	assert_int_equal(helper_store_clock(helper, text, strlen(text)), 0);
	snprintf(path, sizeof(path), "%s/clock", directory);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(read_text, sizeof(read_text), file));
	fclose(file);
	assert_string_equal(read_text, text);

	/* What stands where the socket was, and is none, is not ours to take away. */
	snprintf(path, sizeof(path), "%s/socket", directory);
	file = fopen(path, "w");
	fclose(file);
	helper_remove_files(helper, true, true);
	assert_int_equal(access(path, F_OK), 0);
	helper_stop(helper);
}

static void test_helper_that_has_gone(void **state)
{
	struct rules_outcome outcome;
	const struct helper_install request = {.is_new = true};
	struct slot_names their_names;
	struct config *config;
	struct helper *helper;

	(void)state;
	write_config(good_config);
	helper = helper_start(config_path, &names, error, sizeof(error));
	/* Nothing has been loaded: not to be asked for, so that it ends. */
	assert_int_equal(helper_install(helper, &request, &outcome, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "start pawsd again"));
	assert_false(helper_is_there(helper));
	assert_int_equal(helper_load(helper, &config, &their_names, error, sizeof(error)), -1);
	assert_null(config);
	assert_int_equal(helper_remove(helper, error, sizeof(error)), -1);
	assert_int_equal(helper_look(helper).fingerprint, 0);
	assert_int_equal(helper_store_clock(helper, "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	helper_remove_files(helper, true, true);
	helper_stop(helper);
}

/* ---- others ------------------------------------------------------------------------------ */

/* Sends that to a helper that has loaded, or not, and expects it to end without a word more. */
static void expect_end(bool is_loaded, const void *bytes, size_t count)
{
	const struct helper_header load = {HELPER_LOAD, 0};
	struct pollfd ended;
	char answer[4096];
	int fds[2], status;
	ssize_t len;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		helper_serve(fds[1], config_path, &names);
		_exit(0);
	}
	close(fds[1]);
	ended = (struct pollfd){.fd = fds[0], .events = POLLIN};
	if (is_loaded) {
		assert_int_equal(write(fds[0], &load, sizeof(load)), sizeof(load));
		assert_int_equal(poll(&ended, 1, WAIT_MS), 1);
	}
	assert_int_equal(send(fds[0], bytes, count, MSG_NOSIGNAL), count);
	/* A request that is not whole ends with the one who asks. */
	shutdown(fds[0], SHUT_WR);
	do {
		assert_int_equal(poll(&ended, 1, WAIT_MS), 1);
		len = read(fds[0], answer, sizeof(answer));
	} while (len > 0);
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_improper_requests(void **state)
{
	static const struct {
		bool is_loaded;
		struct helper_header header;
		uint8_t body[64];
		size_t bytes;
	} improper[] = {
		{false, {HELPER_OPERATIONS, 0}, {0}, 0},
		{false, {UINT32_MAX, UINT32_MAX}, {0}, 0},
		{false, {HELPER_LOAD, 1}, {0}, 1},
		{false, {HELPER_REMOVE, 0}, {0}, 0},
		{false, {HELPER_READ_COUNTS, 0}, {0}, 0},
		{false, {HELPER_STORE_CLOCK, 4}, "text", 4},
		{false, {HELPER_REMOVE_FILES, 2}, {1, 1}, 2},
		{true, {HELPER_INSTALL, 0}, {0}, 0},
		{true, {HELPER_INSTALL, 1}, {1}, 1},
		{true, {HELPER_INSTALL, 2}, {0, 64}, 2},   /* what is in force: nothing is yet */
		{true, {HELPER_INSTALL, 2}, {1, 127}, 2},  /* a label, and no room for the second */
		{true, {HELPER_INSTALL, 3}, {1, 64, 0}, 3}, /* a part of a server */
		{true, {HELPER_INSTALL, UINT32_MAX}, {0}, 0},
		{true, {HELPER_STORE_CLOCK, 0}, {0}, 0},
		{true, {HELPER_STORE_CLOCK, HELPER_CLOCK_MAX + 1}, {0}, 0},
		{true, {HELPER_STORE_CLOCK, 64}, {0}, 10}, /* cut off */
		{true, {HELPER_REMOVE_FILES, 3}, {0}, 3},
		{true, {HELPER_LOOK, 8}, {0}, 8},
		{true, {HELPER_SET_MODE, 4}, {0}, 4}, /* of what is in force */
		{true, {HELPER_SET_MODE, 3}, {0}, 3},
		{true, {HELPER_TRY, 0}, {0}, 0}, /* the same */
		{true, {HELPER_TRY, 3}, {0}, 3},
	};

	(void)state;
	write_config(good_config);
	for (size_t i = 0; i < sizeof(improper) / sizeof(improper[0]); i++) {
		uint8_t bytes[sizeof(struct helper_header) + 64];

		memcpy(bytes, &improper[i].header, sizeof(improper[i].header));
		memcpy(bytes + sizeof(improper[i].header), improper[i].body, improper[i].bytes);
		expect_end(improper[i].is_loaded, bytes, sizeof(improper[i].header) + improper[i].bytes);
	}
}

/* One byte of a configuration changed: it is taken as another, or refused, and nothing worse. */
static void test_damaged_configuration(void **state)
{
	struct config_report errors, warnings;
	struct config *config;
	char *bytes = NULL;
	size_t count = 0, refused = 0;
	FILE *file;

	(void)state;
	write_config(good_config);
	config = config_load(config_path, &names, &errors, &warnings);
	file = open_memstream(&bytes, &count);
	assert_true(wire_put_config(file, config));
	fclose(file);
	config_free(config);
	config_report_free(&errors);
	config_report_free(&warnings);
	srandom(1);
	for (int i = 0; i < ROUNDS; i++) {
		/* Behind struct config, of which nothing points anywhere. */
		const size_t at = sizeof(struct config) + (size_t)random() % (count - sizeof(struct config));
		const char before = bytes[at];

		bytes[at] = (char)random();
		file = fmemopen(bytes, i % 4 ? count : at, "r");
		config = wire_get_config(file);
		refused += !config;
		config_free(config);
		fclose(file);
		bytes[at] = before;
	}
	assert_true(refused > ROUNDS / 4);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_configuration_is_the_file_s),
		cmocka_unit_test(test_static_options_stay),
		cmocka_unit_test(test_another_mode),
		cmocka_unit_test(test_mode_that_contradicts),
		cmocka_unit_test(test_trial),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_helper_that_has_gone),
		cmocka_unit_test(test_improper_requests),
		cmocka_unit_test(test_damaged_configuration),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
