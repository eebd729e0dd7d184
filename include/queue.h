/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_QUEUE_H
#define PAWSD_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A pair of NFQUEUE queues on one netlink socket: batches of packets in, batches of verdicts
 * out. See nfnetlink_queue.c in the kernel for what it answers to. Both on one socket, so that
 * packets of both come in the order in which they came to the gateway, and one system call takes
 * them all.
 *
 * A batch is received with one recvmmsg() into fixed buffers. The caller gives each packet its
 * verdict in the order received: queue_accept() for one that stays as it is,
 * queue_accept_modified() for one whose bytes in the buffer have changed; queue_flush() sends
 * what is left. Unmodified packets in a row become one VERDICT_BATCH; a modified one is sent
 * from the buffer it came in, its netlink header written in front of it over the attributes
 * that have been read. Order is kept within a queue: a VERDICT_BATCH takes every number up to
 * its own, and what came before it has been sent before it.
 */

enum queue_role {
	QUEUE_HANDSHAKE,   /* SYN and SYN/ACK; fails open when full */
	QUEUE_ESTABLISHED, /* all other packets of rewritten flows; fails closed */
	QUEUE_ROLES,
};

/* "handshake" and "established". */
extern const char *const queue_role_names[QUEUE_ROLES];

enum {
	QUEUE_BATCH_PACKETS = 64, /* at most */
};

struct queue_packet {
	uint32_t id;
	enum queue_role role;
	uint8_t *data; /* in the pair's buffers; QUEUE_HEADROOM bytes (queue_message.h) before it may be overwritten */
	uint32_t len;
	uint32_t skb_info; /* NFQA_SKB_* of linux/netfilter/nfnetlink_queue.h */
	uint32_t indev, outdev; /* interface numbers, 0 for none */
	uint32_t mark;		/* of the packet, as the rules may have changed it */
	bool truncated;
};

struct queue_pair;

struct queue_options {
	uint16_t numbers[QUEUE_ROLES];
	uint32_t max_packets;  /* that may wait in each of the two */
	uint32_t buffer_bytes; /* that may wait on the socket */
	uint32_t wait_ms;      /* how long queue_receive() waits */
	uint32_t batch_packets; /* at a time: 1 to QUEUE_BATCH_PACKETS */
	uint32_t batch_bytes;	/* likewise, about */
	uint32_t spin_us;      /* how long it lets packets gather while many come; 0: not */
	int kept_fd;	       /* to go on with, see queue_fd_has(); the pair's from now on. -1: none */
};

struct queue_stats {
	uint64_t verdict_errors;
	uint64_t message_errors;
	uint64_t batches;
};

/*
 * Opens both queues and claims the buffers. On failure NULL and one line in ret_error: who has
 * a queue, or what is missing.
 */
struct queue_pair *queue_open(const struct queue_options *options, char *ret_error, size_t error_size);

/*
 * Whether the kernel has NFQUEUE, with all that queue_open() asks of it, and the queue is free; where not, one line of why.
 * Opens none.
 */
bool queue_could_open(uint16_t number, char *ret_error, size_t error_size);

/* Packets still in the queues are dropped by the kernel. NULL is no error. */
void queue_close(struct queue_pair *pair);

/*
 * The socket, to be kept for the next process: as long as somebody has it open, the queues are there and packets wait in
 * them.
 */
int queue_fd(const struct queue_pair *pair);
/* True for the queue_fd() of an earlier process whose pair had these numbers, in this network namespace. */
bool queue_fd_has(int fd, const uint16_t numbers[QUEUE_ROLES]);

/* Lets go of all queues that this socket has, whoever else holds it; what waits in them is dropped. */
void queue_fd_let_go(int fd);
/* True when the pair goes on with such a one. */
bool queue_is_adopted(const struct queue_pair *pair);

uint16_t queue_number(const struct queue_pair *pair, enum queue_role role);
/* Read by any thread. */
struct queue_stats queue_stats_read(const struct queue_pair *pair);

/*
 * Takes what waits into *ret_packets, which is good until the next call; if nothing does and
 * `may_wait`, waits for it. Returns the number of packets; 0 when the time was over or
 * queue_wake() was called.
 */
uint32_t queue_receive(struct queue_pair *pair, bool may_wait, const struct queue_packet **ret_packets);

/* Makes a queue_receive() that waits return. From any thread. */
void queue_wake(const struct queue_pair *pair);

void queue_accept(struct queue_pair *pair, const struct queue_packet *packet);
void queue_accept_modified(struct queue_pair *pair, const struct queue_packet *packet);
void queue_flush(struct queue_pair *pair);

/* A line of /proc/net/netfilter/nfnetlink_queue. */
struct queue_kernel_stats {
	uint32_t portid;
	uint64_t queued, waiting, dropped_full, dropped_user;
};

/* False when there is no such queue in this network namespace, or no right to look. */
bool queue_kernel_stats_read(uint16_t number, struct queue_kernel_stats *ret);

#endif
