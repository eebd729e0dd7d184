/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_QUEUE_H
#define PAWSD_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One NFQUEUE queue: a netlink socket, batches of packets in, batches of verdicts out. See
 * nfnetlink_queue.c in the kernel for what it answers to.
 *
 * A batch is received with one recvmmsg() into fixed buffers. The caller gives each packet its
 * verdict in the order received: queue_accept() for one that stays as it is,
 * queue_accept_modified() for one whose bytes in the buffer have changed; queue_flush() sends
 * what is left. Unmodified packets in a row become one VERDICT_BATCH; a modified one is sent
 * from the buffer it came in, its netlink header written in front of it over the attributes
 * that have been read. Order is kept: a VERDICT_BATCH takes every number up to its own, and
 * what came before it has been sent before it.
 */

enum queue_role {
	QUEUE_HANDSHAKE,   /* SYN and SYN/ACK; fails open when full */
	QUEUE_ESTABLISHED, /* all other packets of rewritten flows; fails closed */
	QUEUE_ROLES,
};

/* "handshake" and "established". */
extern const char *const queue_role_names[QUEUE_ROLES];

struct queue_packet {
	uint32_t id;
	uint8_t *data; /* in the batch's buffer; QUEUE_HEADROOM bytes (queue_message.h) before it may be overwritten */
	uint32_t len;
	uint32_t skb_info; /* NFQA_SKB_* of linux/netfilter/nfnetlink_queue.h */
	uint32_t indev, outdev; /* interface numbers, 0 for none */
	bool truncated;
};

struct queue_batch; /* buffers, shared by the queues of one worker */
struct queue;

struct queue_stats {
	uint64_t verdict_errors;
	uint64_t message_errors;
	uint64_t batches;
};

struct queue_batch *queue_batch_new(void);
void queue_batch_free(struct queue_batch *batch);

/*
 * Opens queue `number`. On failure NULL and one line in ret_error: who has the queue, or what
 * is missing. `max_packets` and `buffer_bytes` bound what waits in the kernel.
 */
struct queue *queue_open(uint16_t number, enum queue_role role, uint32_t max_packets, uint32_t buffer_bytes,
			 char *ret_error, size_t error_size);

/* Packets still in the queue are dropped by the kernel. NULL is no error. */
void queue_close(struct queue *queue);

int queue_fd(const struct queue *queue);
uint16_t queue_number(const struct queue *queue);
enum queue_role queue_role(const struct queue *queue);
/* Read by any thread. */
struct queue_stats queue_stats_read(const struct queue *queue);

/* Takes what waits, without blocking. Returns the number of packets in the batch, 0 for none. */
uint32_t queue_receive(struct queue *queue, struct queue_batch *batch);
/* Packet `i` of the batch. */
struct queue_packet *queue_batch_packet(struct queue_batch *batch, uint32_t i);

void queue_accept(struct queue *queue, struct queue_batch *batch, const struct queue_packet *packet);
void queue_accept_modified(struct queue *queue, struct queue_batch *batch, const struct queue_packet *packet);
void queue_flush(struct queue *queue, struct queue_batch *batch);

/* A line of /proc/net/netfilter/nfnetlink_queue. */
struct queue_kernel_stats {
	uint32_t portid;
	uint64_t queued, waiting, dropped_full, dropped_user;
};

/* False when there is no such queue in this network namespace, or no right to look. */
bool queue_kernel_stats_read(uint16_t number, struct queue_kernel_stats *ret);

#endif
