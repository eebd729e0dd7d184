/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PAWSD_QUEUE_MESSAGE_H
#define PAWSD_QUEUE_MESSAGE_H

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue.h"

/*
 * What is said on a queue's netlink socket, in bytes: pure, no socket here. Messages lie in
 * buffers that are aligned for a struct nlmsghdr; `len` is how many bytes have been received, of
 * a message that may say it is longer.
 */

enum {
	/* nlmsghdr, nfgenmsg, verdict attribute; with a payload its attribute's header too. */
	QUEUE_VERDICT_BYTES = sizeof(struct nlmsghdr) + sizeof(struct nfgenmsg) + sizeof(struct nlattr) +
			      sizeof(struct nfqnl_msg_verdict_hdr),
	QUEUE_HEADROOM = QUEUE_VERDICT_BYTES + sizeof(struct nlattr),
};

/*
 * Reads a packet's message, all but its role, and the number of its queue. False when it is none, does not say which packet, or has the payload
 * so far in front that a verdict would not fit before it. ret->data, if not NULL, has
 * QUEUE_HEADROOM bytes of the message before it and ret->len in it.
 */
bool queue_message_parse(uint8_t *message, size_t len, struct queue_packet *ret, uint16_t *ret_queue);

/* True when the message is an answer to a request; *ret_error is its errno, 0 for none. */
bool queue_message_is_answer(const uint8_t *message, size_t len, int *ret_error);

/*
 * Writes a verdict, QUEUE_VERDICT_BYTES at `at`. `type`: NFQNL_MSG_VERDICT or
 * NFQNL_MSG_VERDICT_BATCH; `total_bytes`: with what follows.
 */
void queue_message_put_verdict(uint8_t *at, uint16_t queue, uint16_t type, uint32_t verdict, uint32_t id,
			       uint32_t total_bytes);

/* The number of the queue, and of the packet, that such a verdict is about. */
uint16_t queue_message_verdict_queue(const uint8_t *at);
uint32_t queue_message_verdict_id(const uint8_t *at);

/*
 * Wraps the packet's bytes, where they lie, into a verdict that accepts it as it is now. Returns
 * where the message begins, and its length in *ret_len, up to three bytes more than the packet's.
 */
uint8_t *queue_message_wrap(const struct queue_packet *packet, uint16_t queue, size_t *ret_len);

#endif
