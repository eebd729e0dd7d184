/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_WORKER_H
#define PAWSD_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "drain.h"
#include "engine.h"
#include "fastpath_memory.h"
#include "flow_list.h"
#include "queue.h"
#include "state.h"
#include "wan.h"

/*
 * A worker: one thread with its pair of queues, its engine and its part of the flow table. It
 * shares with others the clock's marks, the names of interfaces and the pointer to the policy.
 *
 * The main thread owns everything marked "main"; it hands a new order over by writing it,
 * then worker->order_wanted, then waking the worker, who does it between two batches and says
 * so in worker->order_done and on the eventfd it was given.
 */
struct worker_order {
	const struct policy *policy;
	bool rules_lag, is_draining; /* engine.h */
	const struct policy *rules_policy;
	uint32_t timeout_s[FLOW_STATE_COUNT];
	struct drain_set *drain; /* to be filled with what known flows need, or NULL */
};

struct worker {
	uint32_t index;
	pthread_t thread;
	bool running; /* main: the thread is to be joined */
	int done_fd;  /* eventfd of the main thread */
	const struct state *state;
	struct wan *wan;
	struct wan_cache wan_cache;
	bool is_postnat; /* packets may be for the gateway itself */
	struct engine engine;
	struct counters *counters;
	struct fastpath_shared *fastpath; /* NULL: all packets come by the queues */
	struct flow_limbo *limbo;	  /* flow_table_share() */
	uint32_t grace; /* for flow_table_grace(), plus one; 0: nothing new. Of the main thread's, taken by the worker */
	struct queue_pair *queues;

	struct worker_order order; /* main, until order_wanted is raised */
	uint32_t order_wanted;
	uint32_t order_done;
	struct flow_list *list; /* of its flows, to be made; NULL: none is. The worker lets go of it when it is done */
	uint32_t scan_at;    /* next flow to look at for order.drain */
	uint64_t swept_tick; /* when a part of the table was last swept */
	uint32_t heartbeat;  /* grows with every turn */
	uint32_t flows_used, pairs_used, scaled_used; /* copies for other threads */
	bool stop;
};

/*
 * Of the sockets that the service manager has kept, lets go of those that are not of this configuration's queues, so that
 * their queues can be had anew. Before any worker is opened.
 */
void worker_let_go_of_others(struct config *config);

/* What all workers begin with. */
struct worker_setup {
	const struct config *config;
	struct state *state;
	struct wan *wan;
	int done_fd;
	const uint16_t *slots;		   /* engine_adopt() */
	struct fastpath_memory *fastpath;  /* where the flows are; NULL: in a file */
	const struct fastpath_memory *left; /* where they are to be taken from, and be in a file from now on; or NULL */
	void (*hold_back_rules)(void *context); /* what they let go to programs, which are about to open no flows */
	void (*stop_programs)(void *context); /* those of the fast path */
	void *context;
};

/* Everything but the thread. Returns 0, or -1 with one line in ret_error. */
int worker_open(struct worker *worker, uint32_t index, const struct worker_setup *setup, char *ret_error, size_t error_size);

/* Starts the thread, on its processor of `cpus` if there are any. Returns 0 or an errno: EINVAL, the processor is not there. */
int worker_start(struct worker *worker, const cpu_set_t *cpus);

/* The main thread, time and again: so that places of flows that have gone can be used again. */
void worker_wait_for_programs(struct worker *worker);
/* Whether that is urgent. */
bool worker_rests_many(const struct worker *worker);

/* Hands over an order; worker_has_done() tells when it is carried out. */
void worker_give_order(struct worker *worker, const struct worker_order *order);
bool worker_has_done(const struct worker *worker);

/* Has it list its flows: list->is_done tells when that is done. One at a time; until then the list is the worker's. */
void worker_list_flows(struct worker *worker, struct flow_list *list);

/* Has the service manager close the queues' socket, too: nothing is to come any more. */
void worker_forget_queues(const struct worker *worker);

/* Ends the thread and closes the queues. */
void worker_stop(struct worker *worker);

#endif
