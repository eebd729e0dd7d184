/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "queue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "queue_message.h"

#ifndef NETLINK_CAP_ACK
#define NETLINK_CAP_ACK 10
#endif

enum {
	BATCH_PACKETS = 64,
	/* A packet of 65535 bytes and the attributes before it. */
	BUFFER_BYTES = 65536 + 4096,
	/* Up to here one sendmsg() copies into memory that the kernel finds without searching. */
	FLUSH_BYTES = 256 * 1024,
};

const char *const queue_role_names[QUEUE_ROLES] = {
	[QUEUE_HANDSHAKE] = "handshake",
	[QUEUE_ESTABLISHED] = "established",
};

/*
 * Invariants between two calls: `verdicts` messages of `bytes` in all lie in iov[], in the order
 * of their packets; `pending` says that the packets up to number `pending_id` that came after
 * them are to be accepted as they are, and no message says so yet.
 */
struct queue_batch {
	uint8_t *buffers;
	struct mmsghdr messages[BATCH_PACKETS];
	struct iovec receive_iov[BATCH_PACKETS];
	struct queue_packet packets[BATCH_PACKETS];

	struct iovec iov[2 * BATCH_PACKETS + 1];
	uint8_t accepts[BATCH_PACKETS + 1][QUEUE_VERDICT_BYTES];
	uint32_t verdicts, accept_count;
	size_t bytes;
	bool pending;
	uint32_t pending_id;
};

struct queue {
	struct mnl_socket *socket;
	uint16_t number;
	enum queue_role role;
	struct queue_stats stats;
};

static void count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

struct queue_batch *queue_batch_new(void)
{
	struct queue_batch *batch = calloc(1, sizeof(*batch));

	if (!batch)
		return NULL;
	batch->buffers = mmap(NULL, (size_t)BATCH_PACKETS * BUFFER_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (batch->buffers == MAP_FAILED) {
		free(batch);
		return NULL;
	}
	for (size_t i = 0; i < BATCH_PACKETS; i++) {
		batch->receive_iov[i] = (struct iovec){batch->buffers + i * BUFFER_BYTES, BUFFER_BYTES};
		batch->messages[i].msg_hdr =
			(struct msghdr){.msg_iov = &batch->receive_iov[i], .msg_iovlen = 1};
	}
	return batch;
}

void queue_batch_free(struct queue_batch *batch)
{
	if (!batch)
		return;
	munmap(batch->buffers, (size_t)BATCH_PACKETS * BUFFER_BYTES);
	free(batch);
}

bool queue_kernel_stats_read(uint16_t number, struct queue_kernel_stats *ret)
{
	FILE *file = fopen("/proc/net/netfilter/nfnetlink_queue", "re");
	unsigned int queue, portid, waiting, mode, range, full, user, queued;
	bool found = false;

	if (!file)
		return false;
	while (!found && fscanf(file, "%u %u %u %u %u %u %u %u %*u", &queue, &portid, &waiting, &mode, &range, &full,
				&user, &queued) == 8) {
		found = queue == number;
	}
	fclose(file);
	if (found)
		*ret = (struct queue_kernel_stats){portid, queued, waiting, full, user};
	return found;
}

/* Why the kernel refused the queue, in words. */
static void explain_refusal(const struct queue *queue, int error, char *ret_error, size_t error_size)
{
	struct queue_kernel_stats stats;
	char path[64], process[64] = "";
	FILE *file;

	if (error == EPERM && queue_kernel_stats_read(queue->number, &stats)) {
		snprintf(path, sizeof(path), "/proc/%u/comm", stats.portid);
		file = fopen(path, "re");
		if (file) {
			if (fscanf(file, "%63s", process) != 1)
				process[0] = '\0';
			fclose(file);
		}
		snprintf(ret_error, error_size,
			 "queue %u is taken: its owner's portid is %u%s%s; allowed: a free one, see [queue] first",
			 queue->number, stats.portid, process[0] ? ", probably the process " : "", process);
	} else if (error == EPERM) {
		snprintf(ret_error, error_size, "queue %u: not permitted; needs CAP_NET_ADMIN (run as root)",
			 queue->number);
	} else if (error == EINVAL || error == EOPNOTSUPP || error == EPROTONOSUPPORT) {
		snprintf(ret_error, error_size,
			 "queue %u: the kernel has no NFQUEUE: it needs CONFIG_NETFILTER_NETLINK_QUEUE (module "
			 "nfnetlink_queue)",
			 queue->number);
	} else {
		snprintf(ret_error, error_size, "queue %u: %s", queue->number, strerror(error));
	}
}

static bool set_up_socket(struct queue *queue, uint32_t buffer_bytes)
{
	int fd, on = 1, bytes = (int)(buffer_bytes > INT32_MAX / 2 ? INT32_MAX / 2 : buffer_bytes);

	queue->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!queue->socket || mnl_socket_bind(queue->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return false;
	fd = mnl_socket_get_fd(queue->socket);
	/* Losses show in the kernel's own counters; an error on the socket would only hide packets. */
	setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on));
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return true;
}

void queue_close(struct queue *queue)
{
	if (!queue)
		return;
	if (queue->socket)
		mnl_socket_close(queue->socket);
	free(queue);
}

int queue_fd(const struct queue *queue)
{
	return mnl_socket_get_fd(queue->socket);
}

uint16_t queue_number(const struct queue *queue)
{
	return queue->number;
}

enum queue_role queue_role(const struct queue *queue)
{
	return queue->role;
}

struct queue_stats queue_stats_read(const struct queue *queue)
{
	return (struct queue_stats){
		.verdict_errors = __atomic_load_n(&queue->stats.verdict_errors, __ATOMIC_RELAXED),
		.message_errors = __atomic_load_n(&queue->stats.message_errors, __ATOMIC_RELAXED),
		.batches = __atomic_load_n(&queue->stats.batches, __ATOMIC_RELAXED),
	};
}

uint32_t queue_receive(struct queue *queue, struct queue_batch *batch)
{
	uint32_t used = 0;
	int received = recvmmsg(queue_fd(queue), batch->messages, BATCH_PACKETS, MSG_DONTWAIT, NULL);

	for (int i = 0; i < received; i++) {
		uint8_t *message = batch->receive_iov[i].iov_base;
		size_t len = batch->messages[i].msg_len;
		bool is_whole = mnl_nlmsg_ok((const struct nlmsghdr *)(void *)message, (int)len);
		int error;

		if (is_whole && queue_message_is_answer(message, len, &error))
			count(&queue->stats.verdict_errors);
		else if (is_whole && queue_message_parse(message, len, &batch->packets[used]))
			used++;
		else
			count(&queue->stats.message_errors);
	}
	if (used)
		count(&queue->stats.batches);
	return used;
}

struct queue_packet *queue_batch_packet(struct queue_batch *batch, uint32_t i)
{
	return &batch->packets[i];
}

/*
 * Packets up to `id` came before the queue was ready. They can only be let go: handshakes pass,
 * others are dropped, to be sent again.
 */
static void give_up_packets(struct queue *queue, uint32_t id)
{
	uint8_t message[QUEUE_VERDICT_BYTES];

	queue_message_put_verdict(message, queue->number, NFQNL_MSG_VERDICT_BATCH,
				  queue->role == QUEUE_HANDSHAKE ? NF_ACCEPT : NF_DROP, id, sizeof(message));
	if (send(queue_fd(queue), message, sizeof(message), 0) < 0)
		count(&queue->stats.verdict_errors);
}

/* Waits for the answer to the configuration. Returns 0 or an errno. */
static int await_answer(struct queue *queue)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[8192];
	struct queue_packet packet;
	bool has_packets = false;
	uint32_t last_id = 0;
	ssize_t len;
	int error;

	for (;;) {
		/* A long packet is cut off here, behind all that matters. */
		len = recv(queue_fd(queue), buffer, sizeof(buffer), 0);
		if (len < 0)
			return errno;
		if (len < (ssize_t)sizeof(struct nlmsghdr))
			return EPROTO;
		if (queue_message_is_answer(buffer, (size_t)len, &error))
			break;
		if (queue_message_parse(buffer, (size_t)len, &packet)) {
			has_packets = true;
			last_id = packet.id;
		}
	}
	if (has_packets)
		give_up_packets(queue, last_id);
	return error;
}

/*
 * Everything in one message: between a bind and its parameters a queue would drop packets, with
 * bypass or without. Returns 0 or an errno.
 */
static int configure(struct queue *queue, uint32_t max_packets)
{
	uint32_t flags = NFQA_CFG_F_GSO | (queue->role == QUEUE_HANDSHAKE ? NFQA_CFG_F_FAIL_OPEN : 0);
	uint8_t buffer[1024];
	struct nlmsghdr *message = nfq_nlmsg_put((char *)buffer, NFQNL_MSG_CONFIG, queue->number);

	message->nlmsg_flags |= NLM_F_ACK;
	nfq_nlmsg_cfg_put_cmd(message, AF_INET, NFQNL_CFG_CMD_BIND);
	nfq_nlmsg_cfg_put_params(message, NFQNL_COPY_PACKET, 0xffff);
	mnl_attr_put_u32(message, NFQA_CFG_FLAGS, htonl(flags));
	mnl_attr_put_u32(message, NFQA_CFG_MASK, htonl(flags));
	nfq_nlmsg_cfg_put_qmaxlen(message, max_packets);
	if (mnl_socket_sendto(queue->socket, message, message->nlmsg_len) < 0)
		return errno;
	return await_answer(queue);
}

struct queue *queue_open(uint16_t number, enum queue_role role, uint32_t max_packets, uint32_t buffer_bytes,
			 char *ret_error, size_t error_size)
{
	struct queue *queue = calloc(1, sizeof(*queue));
	int error;

	if (!queue) {
		snprintf(ret_error, error_size, "out of memory");
		return NULL;
	}
	queue->number = number;
	queue->role = role;
	error = set_up_socket(queue, buffer_bytes) ? configure(queue, max_packets) : errno;
	if (error) {
		explain_refusal(queue, error, ret_error, error_size);
		queue_close(queue);
		return NULL;
	}
	return queue;
}

static void push(struct queue_batch *batch, void *base, size_t len)
{
	batch->iov[batch->verdicts++] = (struct iovec){base, len};
	batch->bytes += len;
}

/* Turns the accepted packets since the last message into one. */
static void push_pending(struct queue *queue, struct queue_batch *batch)
{
	uint8_t *at = batch->accepts[batch->accept_count];

	if (!batch->pending)
		return;
	batch->pending = false;
	batch->accept_count++;
	queue_message_put_verdict(at, queue->number, NFQNL_MSG_VERDICT_BATCH, NF_ACCEPT, batch->pending_id,
				  QUEUE_VERDICT_BYTES);
	push(batch, at, QUEUE_VERDICT_BYTES);
}

/*
 * The batch was refused as a whole: each verdict by itself, and where even that fails the packet
 * is dropped, for its host will send it again.
 */
static void send_one_by_one(struct queue *queue, struct queue_batch *batch)
{
	uint8_t drop[QUEUE_VERDICT_BYTES];

	for (uint32_t i = 0; i < batch->verdicts; i++) {
		if (send(queue_fd(queue), batch->iov[i].iov_base, batch->iov[i].iov_len, 0) >= 0)
			continue;
		count(&queue->stats.verdict_errors);
		queue_message_put_verdict(drop, queue->number, NFQNL_MSG_VERDICT, NF_DROP,
					  queue_message_verdict_id(batch->iov[i].iov_base), sizeof(drop));
		send(queue_fd(queue), drop, sizeof(drop), 0);
	}
}

static void send_verdicts(struct queue *queue, struct queue_batch *batch)
{
	struct msghdr message = {.msg_iov = batch->iov, .msg_iovlen = batch->verdicts};

	if (batch->verdicts && sendmsg(queue_fd(queue), &message, 0) < 0)
		send_one_by_one(queue, batch);
	batch->verdicts = 0;
	batch->accept_count = 0;
	batch->bytes = 0;
}

void queue_accept(struct queue *queue, struct queue_batch *batch, const struct queue_packet *packet)
{
	(void)queue;
	batch->pending = true;
	batch->pending_id = packet->id;
}

void queue_accept_modified(struct queue *queue, struct queue_batch *batch, const struct queue_packet *packet)
{
	uint8_t *start;
	size_t len;

	push_pending(queue, batch);
	start = queue_message_wrap(packet, queue->number, &len);
	push(batch, start, len);
	if (batch->bytes >= FLUSH_BYTES)
		send_verdicts(queue, batch);
}

void queue_flush(struct queue *queue, struct queue_batch *batch)
{
	push_pending(queue, batch);
	send_verdicts(queue, batch);
}
