/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_SNAPSHOT_H
#define PAWSD_SNAPSHOT_H

#include <stdbool.h>

#include <stddef.h>
#include <stdint.h>

#include "flow.h"
#include "metrics.h"
#include "policy.h"
#include "reason.h"

/*
 * The control protocol, as a client sees it. The client sends one request line to the unix
 * stream socket; pawsd answers with lines of text and closes. The requests are "stats" and "status", and for those who may
 * change things "drain", "resume", "reload", "set" and "try", answered as "status" is; the others (answers.c) are
 * answered with records (records.h), "events" without an end. The answer:
 *
 *   pawsd-control 1                                  protocol version, always first
 *   error WORDS ...                                  instead of all between first and last
 *   info KEY WORDS ...                               version, pid, config, ... (status and stats)
 *   metric NAME VALUE                                one of metrics.h
 *   destination NAME MODE enabled|disabled PREFIXES
 *   override NAME MODE                               what the file says, if it is not the MODE in force
 *   draining NAME FLOWS SECONDS                      mode strip: flows with timestamps that go on,
 *                                                    and how long a server may remember one; else missing
 *   packets NAME REASON COUNT                        NAME "none": of no destination
 *   flows NAME STATE COUNT
 *   queue NUMBER ROLE WORKER QUEUED WAITING DROPPED_FULL DROPPED_USER
 *   end                                              always last: without it the answer is cut off
 *
 * Counts of zero may be left out. `status` brings info, metric, destination, draining and queue lines;
 * `stats` all of them. Unknown lines and names are to be passed over.
 */

enum {
	SNAPSHOT_VERSION = 1,
};

struct snapshot_destination {
	char name[DESTINATION_NAME_MAX + 1];
	char mode[16]; /* empty: no longer in the configuration, or "none" */
	char written_mode[16]; /* what the file says; empty: the same */
	bool enabled;
	uint64_t prefixes;
	bool draining;
	uint64_t draining_flows, draining_s;
	uint64_t packets[REASON_COUNT];
	uint64_t flows[FLOW_STATE_COUNT];
};

struct snapshot_queue {
	uint32_t number;
	char role[16]; /* "handshake" or "established" */
	uint32_t worker;
	uint64_t queued;       /* packets that the kernel has given a number */
	uint64_t waiting;      /* of these, without a verdict yet */
	uint64_t dropped_full; /* queue full */
	uint64_t dropped_user; /* socket buffer full */
};

struct snapshot_info {
	char key[32];
	char value[256];
};

struct snapshot {
	struct snapshot_info *infos;
	size_t info_count;
	uint64_t metrics[METRIC_COUNT];
	struct snapshot_destination *destinations;
	size_t destination_count;
	struct snapshot_queue *queues;
	size_t queue_count;
};

/*
 * Asks the pawsd behind the unix socket at `path`. Returns 0 and fills *ret (to be freed with
 * snapshot_free()), or -1 with one line of what went wrong in ret_error. Waits at most
 * `timeout_ms`.
 */
int snapshot_fetch(const char *path, const char *request, int timeout_ms, struct snapshot *ret, char *ret_error,
		   size_t error_size);

/* The same from text in memory: the parser alone, for tests. `text` need not end with 0. */
int snapshot_parse(const char *text, size_t len, struct snapshot *ret, char *ret_error, size_t error_size);

void snapshot_free(struct snapshot *snapshot);

#endif
