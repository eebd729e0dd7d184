/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_ANALYSIS_H
#define PAWSD_ANALYSIS_H

#include "capture.h"
#include "config.h"
#include "diagnosis.h"
#include "engine.h"

/* The engine and the diagnosis over a capture, in the time of its packets. */
struct analysis {
	struct engine engine;
	struct diagnosis *diagnosis;
	void *kept, *index;
	struct policy *own_policy;
	uint64_t packets, tcp_packets, first_ms, last_ms;
	/* Told of each event, before the diagnosis is; NULL: nobody. */
	void (*on_event)(void *context, const struct event *event);
	void *context;
};

/* `config` NULL: all is only observed. NULL when memory is short; to be closed with analysis_close(). */
struct analysis *analysis_open(const struct config *config);
void analysis_close(struct analysis *analysis);

/* Has the engine handle the packet, which it may change, and the diagnosis hear of it. */
enum reason analysis_take(struct analysis *analysis, const struct capture_packet *packet);

/*
 * The same with a configuration, for what pawsd would have sent. What servers have answered to other TSvals than these is
 * turned into what they would have answered before the engine sees it.
 */
struct applied {
	struct analysis *analysis;
	uint64_t changed;
};

/* False when memory is short. */
bool applied_open(struct applied *applied, const struct config *config);
void applied_close(struct applied *applied);
void applied_take(struct applied *applied, const struct capture_packet *packet);

/* Tries with a TSval that is older than what their server may remember. */
uint64_t analysis_count_older(const struct analysis *analysis);

#endif
