/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "queue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "queue_message.h"

#ifndef NETLINK_CAP_ACK
#define NETLINK_CAP_ACK 10
#endif

enum {
	BATCH_PACKETS_LEAST = 4,
	/* A packet of 65535 bytes and the attributes before it; the buffers begin in different lines of a
	 * cache, so that the headers of a batch do not displace each other. */
	BUFFER_BYTES = 65536 + 4096 + 5 * 64,
	HUGE_PAGE_BYTES = 2 << 20,
	/* A processor that was given away for longer than this has other work: for the next second none is given. */
	YIELD_MOST_US = 1000,
	YIELD_PAUSE_US = 1000000,
};

const char *const queue_role_names[QUEUE_ROLES] = {
	[QUEUE_HANDSHAKE] = "handshake",
	[QUEUE_ESTABLISHED] = "established",
};

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
};

static void count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

static size_t buffers_bytes(void)
{
	return ((size_t)QUEUE_BATCH_PACKETS * BUFFER_BYTES + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

static bool claim_buffers(struct queue_pair *pair)
{
	pair->buffers = mmap(NULL, buffers_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pair->buffers == MAP_FAILED)
		return false;
	/* Every byte of a long packet is copied in and out: fewer pages to look up, a 20th of the time. */
	madvise(pair->buffers, buffers_bytes(), MADV_HUGEPAGE);
	memset(pair->buffers, 0, buffers_bytes());
	for (size_t i = 0; i < QUEUE_BATCH_PACKETS; i++) {
		pair->receive_iov[i] = (struct iovec){pair->buffers + i * BUFFER_BYTES, BUFFER_BYTES};
		pair->messages[i].msg_hdr = (struct msghdr){.msg_iov = &pair->receive_iov[i], .msg_iovlen = 1};
	}
	return true;
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
static void explain_refusal(uint16_t number, int error, char *ret_error, size_t error_size)
{
	struct queue_kernel_stats stats;
	char path[64], process[64] = "";
	FILE *file;

	if (error == EPERM && queue_kernel_stats_read(number, &stats)) {
		snprintf(path, sizeof(path), "/proc/%u/comm", stats.portid);
		file = fopen(path, "re");
		if (file) {
			if (fscanf(file, "%63s", process) != 1)
				process[0] = '\0';
			fclose(file);
		}
		snprintf(ret_error, error_size,
			 "queue %u is taken: its owner's portid is %u%s%s; allowed: a free one, see [queue] first",
			 number, stats.portid, process[0] ? ", probably the process " : "", process);
	} else if (error == EPERM) {
		snprintf(ret_error, error_size, "queue %u: not permitted; needs CAP_NET_ADMIN (run as root)",
			 number);
	} else if (error == EINVAL || error == EOPNOTSUPP || error == EPROTONOSUPPORT) {
		snprintf(ret_error, error_size,
			 "queue %u: the kernel has no NFQUEUE: it needs CONFIG_NETFILTER_NETLINK_QUEUE (module "
			 "nfnetlink_queue)",
			 number);
	} else {
		snprintf(ret_error, error_size, "queue %u: %s", number, strerror(error));
	}
}

static bool set_up_socket(struct queue_pair *pair, const struct queue_options *options)
{
	int on = 1, bytes = (int)(options->buffer_bytes > INT32_MAX / 2 ? INT32_MAX / 2 : options->buffer_bytes);
	struct timeval wait = {options->wait_ms / 1000, options->wait_ms % 1000 * 1000};

	pair->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!pair->socket || mnl_socket_bind(pair->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return false;
	pair->fd = mnl_socket_get_fd(pair->socket);
	/* Losses show in the kernel's own counters; an error on the socket would only hide packets. */
	setsockopt(pair->fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on));
	setsockopt(pair->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	if (setsockopt(pair->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(pair->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (setsockopt(pair->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(pair->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return setsockopt(pair->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0;
}

void queue_close(struct queue_pair *pair)
{
	if (!pair)
		return;
	if (pair->socket)
		mnl_socket_close(pair->socket);
	if (pair->buffers && pair->buffers != MAP_FAILED)
		munmap(pair->buffers, buffers_bytes());
	free(pair);
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

/* Reads a packet's message into *ret. False when it is none of ours. */
static bool parse_packet(const struct queue_pair *pair, uint8_t *message, size_t len, struct queue_packet *ret)
{
	uint16_t number;

	if (!queue_message_parse(message, len, ret, &number))
		return false;
	ret->role = number == pair->numbers[QUEUE_ESTABLISHED] ? QUEUE_ESTABLISHED : QUEUE_HANDSHAKE;
	return number == pair->numbers[ret->role];
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
			if (error) /* else queue_wake() asked for it */
				count(&pair->stats.verdict_errors);
		} else if (is_whole && parse_packet(pair, message, len, &pair->packets[used])) {
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

/* ---- opening ---- */

/*
 * Packets up to `id` came before the pair was ready. They can only be let go: handshakes pass,
 * others are dropped, to be sent again.
 */
static void give_up_packets(struct queue_pair *pair, enum queue_role role, uint32_t id)
{
	uint8_t message[QUEUE_VERDICT_BYTES];

	queue_message_put_verdict(message, pair->numbers[role], NFQNL_MSG_VERDICT_BATCH,
				  role == QUEUE_HANDSHAKE ? NF_ACCEPT : NF_DROP, id, sizeof(message));
	if (send(pair->fd, message, sizeof(message), 0) < 0)
		count(&pair->stats.verdict_errors);
}

/* Waits for the answer to the configuration. Returns 0 or an errno. */
static int await_answer(struct queue_pair *pair)
{
	_Alignas(struct nlmsghdr) uint8_t buffer[8192];
	struct queue_packet packet;
	ssize_t len;
	int error;

	for (;;) {
		/* A long packet is cut off here, behind all that matters. */
		len = recv(pair->fd, buffer, sizeof(buffer), 0);
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return errno;
		if (len < (ssize_t)sizeof(struct nlmsghdr))
			return EPROTO;
		if (queue_message_is_answer(buffer, (size_t)len, &error))
			return error;
		if (parse_packet(pair, buffer, (size_t)len, &packet))
			give_up_packets(pair, packet.role, packet.id);
	}
}

/*
 * Everything in one message: between a bind and its parameters a queue would drop packets, with
 * bypass or without. Returns 0 or an errno.
 */
static int configure(struct queue_pair *pair, enum queue_role role, uint32_t max_packets)
{
	uint32_t flags = NFQA_CFG_F_GSO | (role == QUEUE_HANDSHAKE ? NFQA_CFG_F_FAIL_OPEN : 0);
	uint8_t buffer[1024];
	struct nlmsghdr *message = nfq_nlmsg_put((char *)buffer, NFQNL_MSG_CONFIG, pair->numbers[role]);

	message->nlmsg_flags |= NLM_F_ACK;
	nfq_nlmsg_cfg_put_cmd(message, AF_INET, NFQNL_CFG_CMD_BIND);
	nfq_nlmsg_cfg_put_params(message, NFQNL_COPY_PACKET, 0xffff);
	mnl_attr_put_u32(message, NFQA_CFG_FLAGS, htonl(flags));
	mnl_attr_put_u32(message, NFQA_CFG_MASK, htonl(flags));
	nfq_nlmsg_cfg_put_qmaxlen(message, max_packets);
	if (mnl_socket_sendto(pair->socket, message, message->nlmsg_len) < 0)
		return errno;
	return await_answer(pair);
}

struct queue_pair *queue_open(const struct queue_options *options, char *ret_error, size_t error_size)
{
	struct queue_pair *pair = calloc(1, sizeof(*pair));
	int role = 0, error = 0;

	if (!pair || !claim_buffers(pair)) {
		snprintf(ret_error, error_size, "out of memory");
		queue_close(pair);
		return NULL;
	}
	memcpy(pair->numbers, options->numbers, sizeof(pair->numbers));
	pair->batch_most = pair->batch_packets = options->batch_packets;
	pair->batch_bytes = options->batch_bytes;
	pair->spin_us = options->spin_us;
	if (!set_up_socket(pair, options))
		error = errno;
	for (; !error && role < QUEUE_ROLES; role++)
		error = configure(pair, (enum queue_role)role, options->max_packets);
	if (error) {
		explain_refusal(pair->numbers[role ? role - 1 : 0], error, ret_error, error_size);
		queue_close(pair);
		return NULL;
	}
	return pair;
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
