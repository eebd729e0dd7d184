/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "queue.h"

#include <linux/netfilter.h>
#include <sched.h>
#include <time.h>

#include "queue_internal.h"

enum {
	BATCH_PACKETS_LEAST = 4,
	/* A processor that was given away for longer than this has other work: for the next second none is given. */
	YIELD_MOST_US = 1000,
	YIELD_PAUSE_US = 1000000,
};

const char *const queue_role_names[QUEUE_ROLES] = {
	[QUEUE_HANDSHAKE] = "handshake",
	[QUEUE_ESTABLISHED] = "established",
};

static void count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

int queue_fd(const struct queue_pair *pair)
{
	return pair->fd;
}

bool queue_is_adopted(const struct queue_pair *pair)
{
	return pair->is_adopted;
}

uint16_t queue_number(const struct queue_pair *pair, enum queue_role role)
{
	return pair->numbers[role];
}

struct queue_stats queue_stats_read(const struct queue_pair *pair)
{
	return (struct queue_stats){
		.verdict_errors = __atomic_load_n(&pair->stats.verdict_errors, __ATOMIC_RELAXED),
		.message_errors = __atomic_load_n(&pair->stats.message_errors, __ATOMIC_RELAXED),
		.batches = __atomic_load_n(&pair->stats.batches, __ATOMIC_RELAXED),
	};
}

/* ---- receiving ---- */

bool queue_parse_packet(const struct queue_pair *pair, uint8_t *message, size_t len, struct queue_packet *ret)
{
	uint16_t number;

	if (!queue_message_parse(message, len, ret, &number))
		return false;
	ret->role = number == pair->numbers[QUEUE_ESTABLISHED] ? QUEUE_ESTABLISHED : QUEUE_HANDSHAKE;
	return number == pair->numbers[ret->role];
}

static bool is_about_orphans(const uint8_t *answer)
{
	return ((const struct nlmsghdr *)(const void *)answer)->nlmsg_seq == QUEUE_SEQ_ORPHANS;
}

/*
 * What an earlier process had taken from the queue, and not given a verdict when it died, waits there for ever. It is
 * older than the first packet that comes to this one; nobody has its bytes any more. Its host will send it again.
 */
static void drop_orphans(struct queue_pair *pair, const struct queue_packet *first)
{
	_Alignas(struct nlmsghdr) uint8_t message[QUEUE_VERDICT_BYTES];

	if (!pair->has_orphans[first->role])
		return;
	pair->has_orphans[first->role] = false;
	queue_message_put_verdict(message, pair->numbers[first->role], NFQNL_MSG_VERDICT_BATCH, NF_DROP, first->id - 1,
				  sizeof(message));
	((struct nlmsghdr *)(void *)message)->nlmsg_seq = QUEUE_SEQ_ORPHANS;
	if (send(pair->fd, message, sizeof(message), 0) < 0)
		count(&pair->stats.verdict_errors);
}

static uint32_t parse_messages(struct queue_pair *pair, uint32_t received, size_t *ret_bytes)
{
	uint32_t used = 0;

	*ret_bytes = 0;
	for (uint32_t i = 0; i < received; i++) {
		uint8_t *message = pair->receive_iov[i].iov_base;
		size_t len = pair->messages[i].msg_len;
		bool is_whole = mnl_nlmsg_ok((const struct nlmsghdr *)(void *)message, (int)len);
		int error;

		*ret_bytes += len;
		if (is_whole && queue_message_is_answer(message, len, &error)) {
			if (error && !is_about_orphans(message)) /* without error it is queue_wake()'s */
				count(&pair->stats.verdict_errors);
		} else if (is_whole && queue_parse_packet(pair, message, len, &pair->packets[used])) {
			drop_orphans(pair, &pair->packets[used]);
			used++;
		} else {
			count(&pair->stats.message_errors);
		}
	}
	return used;
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000;
}

/*
 * Lets packets gather, so that one system call and one waking pay for many: the processor is given to who may
 * have some (the hosts' own side of a packet's way, or the softirq's thread), and while the pace is high until spin_us
 * after the last batch. Where there is nobody, or nothing to come, it costs next to nothing.
 */
static void linger(struct queue_pair *pair)
{
	uint64_t now = now_us(), before;

	if (now < pair->no_yield_us)
		return;
	do {
		before = now;
		sched_yield();
		now = now_us();
	} while (pair->is_busy && now - before < YIELD_MOST_US && now - pair->received_us < pair->spin_us);
	if (now - before >= YIELD_MOST_US)
		pair->no_yield_us = now + YIELD_PAUSE_US;
}

static void note_received(struct queue_pair *pair, uint32_t received)
{
	uint64_t now;

	if (pair->spin_us == 0)
		return;
	now = now_us();
	pair->is_busy = (uint64_t)received * pair->spin_us >= now - pair->received_us;
	pair->received_us = now;
}

uint32_t queue_receive(struct queue_pair *pair, bool may_wait, const struct queue_packet **ret_packets)
{
	uint32_t used, fitting;
	int received;
	size_t bytes;

	*ret_packets = pair->packets;
	if (may_wait && pair->spin_us && pair->had_packets)
		linger(pair);
	received = recvmmsg(pair->fd, pair->messages, pair->batch_packets, may_wait ? MSG_WAITFORONE : MSG_DONTWAIT, NULL);
	pair->had_packets = received > 0;
	if (received <= 0)
		return 0;
	note_received(pair, (uint32_t)received);
	used = parse_messages(pair, (uint32_t)received, &bytes);
	fitting = (uint32_t)(pair->batch_bytes / (bytes / (uint32_t)received + 1));
	if (fitting < BATCH_PACKETS_LEAST)
		fitting = BATCH_PACKETS_LEAST;
	pair->batch_packets = fitting < pair->batch_most ? fitting : pair->batch_most;
	if (used)
		count(&pair->stats.batches);
	return used;
}

void queue_wake(const struct queue_pair *pair)
{
	/* Something that the kernel has to acknowledge and nothing else. */
	struct nlmsghdr message = {
		.nlmsg_len = sizeof(message), .nlmsg_type = NLMSG_NOOP, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};

	send(pair->fd, &message, sizeof(message), 0);
}

/* ---- verdicts ---- */

static void push(struct queue_pair *pair, void *base, size_t len)
{
	pair->iov[pair->verdicts++] = (struct iovec){base, len};
	pair->bytes += len;
}

/* Turns the accepted packets of a queue since its last message into one. */
static void push_pending(struct queue_pair *pair, enum queue_role role)
{
	uint8_t *at = pair->accepts[pair->accept_count];

	if (!pair->pending[role])
		return;
	pair->pending[role] = false;
	pair->accept_count++;
	queue_message_put_verdict(at, pair->numbers[role], NFQNL_MSG_VERDICT_BATCH, NF_ACCEPT, pair->pending_id[role],
				  QUEUE_VERDICT_BYTES);
	push(pair, at, QUEUE_VERDICT_BYTES);
}

/*
 * The batch was refused as a whole: each verdict by itself, and where even that fails the packet
 * is dropped, for its host will send it again.
 */
static void send_one_by_one(struct queue_pair *pair)
{
	uint8_t drop[QUEUE_VERDICT_BYTES];

	for (uint32_t i = 0; i < pair->verdicts; i++) {
		const uint8_t *verdict = pair->iov[i].iov_base;

		if (send(pair->fd, verdict, pair->iov[i].iov_len, 0) >= 0)
			continue;
		count(&pair->stats.verdict_errors);
		queue_message_put_verdict(drop, queue_message_verdict_queue(verdict), NFQNL_MSG_VERDICT, NF_DROP,
					  queue_message_verdict_id(verdict), sizeof(drop));
		send(pair->fd, drop, sizeof(drop), 0);
	}
}

static void send_verdicts(struct queue_pair *pair)
{
	struct msghdr message = {.msg_iov = pair->iov, .msg_iovlen = pair->verdicts};

	if (pair->verdicts && sendmsg(pair->fd, &message, 0) < 0)
		send_one_by_one(pair);
	pair->verdicts = 0;
	pair->accept_count = 0;
	pair->bytes = 0;
}

void queue_accept(struct queue_pair *pair, const struct queue_packet *packet)
{
	pair->pending[packet->role] = true;
	pair->pending_id[packet->role] = packet->id;
}

void queue_accept_modified(struct queue_pair *pair, const struct queue_packet *packet)
{
	uint8_t *start;
	size_t len;

	push_pending(pair, packet->role);
	start = queue_message_wrap(packet, pair->numbers[packet->role], &len);
	push(pair, start, len);
	if (pair->bytes >= pair->batch_bytes)
		send_verdicts(pair);
}

void queue_flush(struct queue_pair *pair)
{
	for (int role = 0; role < QUEUE_ROLES; role++)
		push_pending(pair, (enum queue_role)role);
	send_verdicts(pair);
}
