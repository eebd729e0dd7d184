/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_QUEUE_INTERNAL_H
#define PAWSD_QUEUE_INTERNAL_H

#include <libmnl/libmnl.h>
#include <sys/socket.h>

#include "queue.h"
#include "queue_message.h"

/* Shared by queue.c, which moves packets, and queue_open.c, which opens and closes. */

/*
 * Invariants between two calls: `verdicts` messages of `bytes` in all lie in iov[], in the order
 * of their packets; `pending` says that the packets of a queue up to number `pending_id` that
 * came after them are to be accepted as they are, and no message says so yet.
 */
struct queue_pair {
	struct mnl_socket *socket;
	int fd;
	uint16_t numbers[QUEUE_ROLES];
	uint32_t batch_most;	/* packets */
	/* What lies in the caches when its verdict is made, and what one sendmsg() copies into memory that the kernel
	 * finds without searching. */
	uint32_t batch_bytes;
	uint32_t spin_us;
	uint64_t received_us;  /* when packets were received last */
	uint64_t no_yield_us;  /* until then the processor is not given away */
	bool had_packets;      /* at the last call */
	bool is_busy;	       /* at the pace of the last batch another packet comes within spin_us */
	struct queue_stats stats;

	uint8_t *buffers;
	uint32_t batch_packets; /* to be received next: as many as come to about batch_bytes */
	struct mmsghdr messages[QUEUE_BATCH_PACKETS];
	struct iovec receive_iov[QUEUE_BATCH_PACKETS];
	struct queue_packet packets[QUEUE_BATCH_PACKETS];

	struct iovec iov[2 * QUEUE_BATCH_PACKETS + QUEUE_ROLES];
	uint8_t accepts[QUEUE_BATCH_PACKETS + QUEUE_ROLES][QUEUE_VERDICT_BYTES];
	uint32_t verdicts, accept_count;
	size_t bytes;
	bool pending[QUEUE_ROLES];
	uint32_t pending_id[QUEUE_ROLES];

	bool is_adopted;
	/* An earlier process may have died with packets of this queue in its hands. */
	bool has_orphans[QUEUE_ROLES];
};

enum {
	/* nlmsg_seq of a request that is in order even where the kernel says that there was nothing to do. */
	QUEUE_SEQ_ORPHANS = 1,
};


/* Reads a packet's message into *ret. False when it is none of the pair's. */
bool queue_parse_packet(const struct queue_pair *pair, uint8_t *message, size_t len, struct queue_packet *ret);

#endif
