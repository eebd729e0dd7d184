/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening a pair of queues: anew, or on the socket of an earlier process, whose queues have gone on gathering packets
 * meanwhile.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "queue_internal.h"

#ifndef NETLINK_CAP_ACK
#define NETLINK_CAP_ACK 10
#endif

enum {
	/* A packet of 65535 bytes and the attributes before it; the buffers begin in different lines of a
	 * cache, so that the headers of a batch do not displace each other. */
	BUFFER_BYTES = 65536 + 4096 + 5 * 64,
	HUGE_PAGE_BYTES = 2 << 20,
	LIST_BYTES_MAX = 32 << 10, /* 700 queues */
};

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

/* The kernel's list of queues as it is now. Opened once: later on no file can be (confine.h). */
static bool read_list(char *ret_text, size_t size)
{
	static int fd = -1;
	size_t used = 0;
	ssize_t len;

	if (fd < 0)
		fd = open("/proc/net/netfilter/nfnetlink_queue", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return false;
	while (used < size - 1 && (len = read(fd, ret_text + used, size - 1 - used)) > 0)
		used += (size_t)len;
	ret_text[used] = '\0';
	return true;
}

bool queue_kernel_stats_read(uint16_t number, struct queue_kernel_stats *ret)
{
	unsigned int queue, portid, waiting, mode, range, full, user, queued;
	char list[LIST_BYTES_MAX];

	if (!read_list(list, sizeof(list)))
		return false;
	for (const char *line = list; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (sscanf(line, "%u %u %u %u %u %u %u %u", &queue, &portid, &waiting, &mode, &range, &full, &user, &queued) == 8 &&
		    queue == number) {
			*ret = (struct queue_kernel_stats){portid, queued, waiting, full, user};
			return true;
		}
	}
	return false;
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

/* The port of a netfilter socket; 0: it is none. */
static uint32_t netfilter_portid(int fd)
{
	struct sockaddr_nl address = {0};
	int protocol = -1;
	socklen_t protocol_size = sizeof(protocol), address_size = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &address_size) < 0 || address.nl_family != AF_NETLINK ||
	    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &protocol_size) < 0 || protocol != NETLINK_NETFILTER)
		return 0;
	return address.nl_pid;
}

bool queue_fd_has(int fd, const uint16_t numbers[QUEUE_ROLES])
{
	const uint32_t portid = netfilter_portid(fd);
	struct queue_kernel_stats stats;
	bool has_all = portid != 0;

	for (int role = 0; has_all && role < QUEUE_ROLES; role++)
		has_all = queue_kernel_stats_read(numbers[role], &stats) && stats.portid == portid;
	return has_all;
}

void queue_fd_let_go(int fd)
{
	const uint32_t portid = netfilter_portid(fd);
	char list[LIST_BYTES_MAX];
	unsigned int number, owner;

	if (!portid || !read_list(list, sizeof(list)))
		return;
	for (const char *line = list; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		uint8_t buffer[1024] = {0};
		struct nlmsghdr *message;

		if (sscanf(line, "%u %u", &number, &owner) != 2 || owner != portid)
			continue;
		message = nfq_nlmsg_put((char *)buffer, NFQNL_MSG_CONFIG, number);
		nfq_nlmsg_cfg_put_cmd(message, AF_INET, NFQNL_CFG_CMD_UNBIND);
		/* It is done when this returns. */
		send(fd, message, message->nlmsg_len, 0);
	}
}

static bool set_up_socket(struct queue_pair *pair, const struct queue_options *options)
{
	int on = 1, bytes = (int)(options->buffer_bytes > INT32_MAX / 2 ? INT32_MAX / 2 : options->buffer_bytes);
	struct timeval wait = {options->wait_ms / 1000, options->wait_ms % 1000 * 1000};

	pair->is_adopted = options->kept_fd >= 0;
	pair->socket = pair->is_adopted ? mnl_socket_fdopen(options->kept_fd)
					: mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!pair->socket || (!pair->is_adopted && mnl_socket_bind(pair->socket, 0, MNL_SOCKET_AUTOPID) < 0))
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
		pair->stats.verdict_errors++;
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
		if (queue_parse_packet(pair, buffer, (size_t)len, &packet))
			give_up_packets(pair, packet.role, packet.id);
	}
}

/*
 * Everything in one message: between a bind and its parameters a queue would drop packets, with
 * bypass or without. Returns 0 or an errno. On an adopted socket packets lie in front of the answer, so that it is
 * not waited for.
 */
static int configure(struct queue_pair *pair, enum queue_role role, uint32_t max_packets)
{
	uint32_t flags = NFQA_CFG_F_GSO | (role == QUEUE_HANDSHAKE ? NFQA_CFG_F_FAIL_OPEN : 0);
	uint8_t buffer[1024] = {0};
	struct nlmsghdr *message = nfq_nlmsg_put((char *)buffer, NFQNL_MSG_CONFIG, pair->numbers[role]);

	if (!pair->is_adopted) {
		message->nlmsg_flags |= NLM_F_ACK;
		nfq_nlmsg_cfg_put_cmd(message, AF_INET, NFQNL_CFG_CMD_BIND);
	}
	pair->has_orphans[role] = pair->is_adopted;
	nfq_nlmsg_cfg_put_params(message, NFQNL_COPY_PACKET, 0xffff);
	mnl_attr_put_u32(message, NFQA_CFG_FLAGS, htonl(flags));
	mnl_attr_put_u32(message, NFQA_CFG_MASK, htonl(flags));
	nfq_nlmsg_cfg_put_qmaxlen(message, max_packets);
	if (mnl_socket_sendto(pair->socket, message, message->nlmsg_len) < 0)
		return errno;
	return pair->is_adopted ? 0 : await_answer(pair);
}

/*
 * Flags without a command change no queue, and there is none: where all else is as it should be the kernel says so. Before that
 * it looks at the flags.
 */
bool queue_could_open(uint16_t number, char *ret_error, size_t error_size)
{
	const uint32_t flags = htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN);
	const struct timeval wait = {.tv_sec = 5};
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	uint8_t buffer[1024] = {0};
	struct nlmsghdr *message = nfq_nlmsg_put((char *)buffer, NFQNL_MSG_CONFIG, number);
	int error = 0;
	ssize_t len;

	message->nlmsg_flags |= NLM_F_ACK;
	mnl_attr_put_u32(message, NFQA_CFG_FLAGS, flags);
	mnl_attr_put_u32(message, NFQA_CFG_MASK, flags);
	if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
	    mnl_socket_sendto(socket, message, message->nlmsg_len) < 0 ||
	    (len = mnl_socket_recvfrom(socket, buffer, sizeof(buffer))) < 0)
		error = errno;
	else if (!queue_message_is_answer(buffer, (size_t)len, &error))
		error = EPROTO;
	if (socket)
		mnl_socket_close(socket);
	if (error != ENODEV)
		explain_refusal(number, error, ret_error, error_size);
	return error == ENODEV;
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

