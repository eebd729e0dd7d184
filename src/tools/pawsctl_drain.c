/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "pawsctl.h"

static bool ask(const char *socket_path, const char *request, int timeout_ms, struct snapshot *ret)
{
	char error[1024];

	if (snapshot_fetch(socket_path, request, timeout_ms, ret, error, sizeof(error)) == 0)
		return true;
	fprintf(stderr, "pawsctl: %s\n", error);
	return false;
}

int drain(const struct call *call)
{
	const bool wait = !call_option(call, "no-wait");
	const struct timespec second = {.tv_sec = 1};
	uint64_t left, shown = UINT64_MAX;
	const char *request = "drain";
	struct snapshot snapshot;
	bool is_draining;

	if (call->json)
		return usage_error(call->command);
	for (;;) {
		if (!ask(call->socket_path, request, CHANGE_TIMEOUT_MS, &snapshot))
			return EXIT_FAILURE;
		is_draining = snapshot.metrics[METRIC_DRAINING] != 0;
		left = snapshot.metrics[METRIC_DRAINING_FLOWS];
		snapshot_free(&snapshot);
		if (!is_draining) {
			fprintf(stderr, "pawsctl: pawsd does not drain any more: somebody has resumed or restarted it\n");
			return EXIT_FAILURE;
		}
		if (left != shown)
			printf("%" PRIu64 " rewritten connections go on\n", left);
		shown = left;
		if (left == 0)
			printf("drained: pawsd can be stopped\n");
		if (fflush(stdout) || left == 0 || !wait)
			return EXIT_SUCCESS;
		request = "status";
		nanosleep(&second, NULL);
	}
}
