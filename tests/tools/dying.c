/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dying: a process that takes packets from a pair of queues and dies before it has said what becomes of them; then
 * COMMAND is started, in the same process, with the queues' socket as the service manager would hand it over
 * (sd_listen_fds(3)).
 *
 *   dying --first QUEUE --packets N COMMAND...
 *
 * The queues are QUEUE and QUEUE + 1, as of one worker. N: packets to be taken, of both.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue.h"

static void hand_over(int fd, uint16_t first)
{
	char text[64];

	dup2(fd, 3);
	fcntl(3, F_SETFD, 0);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	setenv("LISTEN_FDS", "1", 1);
	snprintf(text, sizeof(text), "queues-%u-%u", first, first + 1);
	setenv("LISTEN_FDNAMES", text, 1);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"first", required_argument, NULL, 'f'}, {"packets", required_argument, NULL, 'n'}, {NULL, 0, NULL, 0}};
	struct queue_options queue = {.max_packets = 4096, .buffer_bytes = 16 << 20, .wait_ms = 1000, .batch_packets = 1,
				      .batch_bytes = 65536, .kept_fd = -1};
	const struct queue_packet *packets;
	unsigned long wanted = 1, taken = 0;
	struct queue_pair *pair;
	char error[512];

	for (int c; (c = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
		if (c == 'f')
			queue.numbers[QUEUE_HANDSHAKE] = (uint16_t)atoi(optarg);
		else if (c == 'n')
			wanted = strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	if (optind == argc) {
		fprintf(stderr, "usage: dying --first QUEUE --packets N COMMAND...\n");
		return 2;
	}
	queue.numbers[QUEUE_ESTABLISHED] = (uint16_t)(queue.numbers[QUEUE_HANDSHAKE] + 1);
	pair = queue_open(&queue, error, sizeof(error));
	if (!pair) {
		fprintf(stderr, "dying: %s\n", error);
		return 1;
	}
	for (int idle = 0; taken < wanted && idle < 10;) {
		uint32_t count = queue_receive(pair, true, &packets);

		taken += count;
		idle = count ? 0 : idle + 1;
	}
	if (taken < wanted) {
		fprintf(stderr, "dying: only %lu packets in 10 s\n", taken);
		return 1;
	}
	hand_over(queue_fd(pair), queue.numbers[QUEUE_HANDSHAKE]);
	execv(argv[optind], argv + optind);
	perror(argv[optind]);
	return 1;
}
