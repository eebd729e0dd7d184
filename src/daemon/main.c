/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "confine.h"
#include "daemon.h"
#include "doctor.h"
#include "fastpath_kernel.h"
#include "fdstore.h"
#include "log.h"

enum {
	EXIT_FAILED = 1,
	EXIT_CONFIGURATION = 2,
};

static const char default_path[] = "/etc/pawsd/pawsd.conf";

enum action {
	ACTION_RUN,
	ACTION_CHECK,
	ACTION_PRINT_RULES,
	ACTION_PRINT_DEFAULTS,
	ACTION_DOCTOR,
	ACTION_HELP,
	ACTION_VERSION,
	ACTION_USAGE_ERROR,
};

static void print_help(FILE *out)
{
	fprintf(out,
		"usage: pawsd [-c FILE]                  run, in the foreground\n"
		"       pawsd --check [FILE]             check a configuration, touch nothing\n"
		"       pawsd [-c FILE] --print-rules    print the netfilter rules it needs\n"
		"       pawsd [-c FILE] --doctor         look at what it needs here, say what to change, change nothing\n"
		"       pawsd --print-defaults           print a configuration with every option, explained\n"
		"       pawsd --version | --help\n"
		"\n"
		"FILE is %s unless said otherwise (-c, --config). SIGHUP reloads it, SIGTERM stops.\n"
		"Exit status: 0, 2 for an error in the configuration or the usage, 1 for any other.\n"
		"Of --doctor: 1 if a line begins with \"fail\", else 0.\n",
		default_path);
}

static enum action parse_arguments(int argc, char **argv, const char **ret_path)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},  {"check", optional_argument, NULL, 'k'},
		{"print-rules", no_argument, NULL, 'r'},   {"print-defaults", no_argument, NULL, 'd'},
		{"doctor", no_argument, NULL, 'D'},
		{"help", no_argument, NULL, 'h'},	   {"version", no_argument, NULL, 'v'},
		{0},
	};
	enum action action = ACTION_RUN;
	int option;

	*ret_path = default_path;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			*ret_path = optarg;
			break;
		case 'k':
			action = ACTION_CHECK;
			if (optarg)
				*ret_path = optarg;
			break;
		case 'r':
			action = ACTION_PRINT_RULES;
			break;
		case 'd':
			action = ACTION_PRINT_DEFAULTS;
			break;
		case 'D':
			action = ACTION_DOCTOR;
			break;
		case 'h':
			return ACTION_HELP;
		case 'v':
			return ACTION_VERSION;
		default:
			return ACTION_USAGE_ERROR;
		}
	}
	if (optind < argc && action != ACTION_CHECK) {
		fprintf(stderr, "pawsd: %s: unexpected argument\n", argv[optind]);
		return ACTION_USAGE_ERROR;
	}
	if (optind < argc)
		*ret_path = argv[optind];
	return action;
}

/* Loads and says all that is to be said. NULL when there were errors. */
static struct config *load(const char *path, struct slot_names *names)
{
	struct config_report errors, warnings;
	struct config *config = config_load(path, names, &errors, &warnings);

	for (size_t i = 0; i < warnings.count; i++)
		log_warning("%s", warnings.lines[i]);
	for (size_t i = 0; i < errors.count; i++)
		log_error("%s", errors.lines[i]);
	config_report_free(&errors);
	config_report_free(&warnings);
	return config;
}

static int check(const char *path, struct slot_names *names)
{
	struct config *config = load(path, names);
	size_t prefixes = 0;

	if (!config)
		return EXIT_CONFIGURATION;
	for (size_t i = 0; i < config->policy->destination_count; i++)
		prefixes += config->policy->destinations[i].prefix_count;
	printf("%s: good: %zu destinations, %zu prefixes\n", path, config->policy->destination_count - 1, prefixes);
	config_free(config);
	return EXIT_SUCCESS;
}

static int print_rules(const char *path, struct slot_names *names)
{
	struct config *config = load(path, names);

	if (!config)
		return EXIT_CONFIGURATION;
	rules_print(stdout, &config->rules, config->policy, NULL, 0);
	config_free(config);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILED;
}

/*
 * The helper's process. Who is not root, as under systemd, then executes this program once more, which leaves it the one
 * capability that it needs (confine.h).
 */
static struct helper *get_helper(const char *path, const struct slot_names *names, char **argv)
{
	struct helper *helper = helper_adopt();
	char error[1024];

	if (helper) {
		prctl(PR_SET_NAME, "pawsd"); /* not after /proc/self/exe */
		return helper;
	}
	helper = helper_start(path, names, error, sizeof(error));
	if (!helper)
		log_error("%s", error);
	else if (confine_prepare_exec())
		helper_exec(helper, argv);
	return helper;
}

static int run(const char *path, struct slot_names *names, char **argv)
{
	struct daemon daemon = {.config_path = path, .first_names = names, .state = {.runtime_lock = -1, .state_lock = -1}};
	char error[1024];
	int status = EXIT_FAILED;

	daemon.helper = get_helper(path, names, argv);
	if (!daemon.helper)
		return EXIT_FAILED;
	fdstore_begin();
	if (helper_load(daemon.helper, &daemon.config, names, error, sizeof(error)) < 0) {
		helper_stop(daemon.helper);
		return EXIT_CONFIGURATION;
	}
	log_set_level(daemon.config->log_level);
	if (state_open(daemon.config, &daemon.state, error, sizeof(error)) < 0) {
		log_error("%s", error);
	} else if (daemon_start(&daemon) == 0) {
		daemon_run(&daemon);
		status = EXIT_SUCCESS;
	}
	daemon_stop(&daemon);
	return status;
}

int main(int argc, char **argv)
{
	static struct slot_names names;
	const char *path, *missing;

	slot_names_init(&names);
	switch (parse_arguments(argc, argv, &path)) {
	case ACTION_RUN:
		return run(path, &names, argv);
	case ACTION_CHECK:
		return check(path, &names);
	case ACTION_PRINT_RULES:
		return print_rules(path, &names);
	case ACTION_PRINT_DEFAULTS:
		config_print_defaults(stdout);
		return EXIT_SUCCESS;
	case ACTION_DOCTOR:
		return doctor_run(stdout, path) ? EXIT_FAILED : EXIT_SUCCESS;
	case ACTION_HELP:
		print_help(stdout);
		return EXIT_SUCCESS;
	case ACTION_VERSION:
		missing = fastpath_kernel_missing();
		printf("pawsd %s\nfast path: %s%s\n", PAWSD_VERSION, missing ? "none, for " : "built in", missing ? missing : "");
		return EXIT_SUCCESS;
	case ACTION_USAGE_ERROR:
		break;
	}
	print_help(stderr);
	return EXIT_CONFIGURATION;
}
