/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rudecontrol: a hundred peers of the control socket that do not behave: silent ones, garbage with and without line ends,
 * requests a byte at a time, answers that nobody reads, and some that hang up half-way.
 *
 *   rudecontrol --seed N [--peers N] [--ms N] SOCKET
 *
 * Each time a peer has been thrown out another one takes its place, until --ms (2000) are over. Prints peers=N refused=N:
 * how many there were, and how many could not connect.
 */
#include "load.h"

#include <fcntl.h>
#include <getopt.h>
#include <sys/un.h>

enum {
	PEERS_MAX = 1000,
	TURN_US = 10000,
	MANNERS = 6,
};

static struct {
	unsigned long peers, ms;
	uint64_t seed;
} config = {.peers = 100, .ms = 2000};

static struct {
	int fd;
	unsigned int manners;
	uint64_t turn;
} peers[PEERS_MAX];

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static unsigned long count, refused;
static uint64_t drawn;

static uint64_t draw(uint64_t below)
{
	return load_word(config.seed, drawn++) % below;
}

static void peer_connect(size_t i)
{
	peers[i].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	peers[i].manners = (unsigned int)draw(MANNERS);
	peers[i].turn = 0;
	if (peers[i].fd < 0)
		load_die("socket");
	if (connect(peers[i].fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
		count++;
		return;
	}
	refused++;
	close(peers[i].fd);
	peers[i].fd = -1;
}

/* False: it has been thrown out, or has had enough. */
static bool peer_behave(size_t i)
{
	static const char request[] = "status\n";
	uint8_t garbage[512];
	uint64_t turn = peers[i].turn++;
	int fd = peers[i].fd;

	switch (peers[i].manners) {
	case 0: /* silent */
		return recv(fd, garbage, sizeof(garbage), MSG_PEEK) != 0;
	case 1: /* garbage, no line in it */
		load_fill(draw(UINT64_MAX), 0, garbage, sizeof(garbage));
		for (size_t at = 0; at < sizeof(garbage); at++)
			garbage[at] = garbage[at] == '\n' ? 'x' : garbage[at];
		return send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL) >= 0 || errno == EAGAIN;
	case 2: /* lines of garbage, NULs in them */
		load_fill(draw(UINT64_MAX), 0, garbage, 64);
		garbage[63] = '\n';
		return send(fd, garbage, 64, MSG_NOSIGNAL) >= 0 || errno == EAGAIN;
	case 3: /* slowly */
		return turn >= sizeof(request) - 1 || send(fd, request + turn, 1, MSG_NOSIGNAL) >= 0;
	case 4: /* never reads the answer */
		return turn > 0 || send(fd, "stats\n", 6, MSG_NOSIGNAL) >= 0;
	default: /* hangs up half-way */
		return turn == 0 && send(fd, "sta", 3, MSG_NOSIGNAL) >= 0;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},
		{"peers", required_argument, NULL, 'p'},
		{"ms", required_argument, NULL, 'm'},
		{NULL, 0, NULL, 0},
	};
	double end_ms;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 's': config.seed = strtoull(optarg, NULL, 10); break;
		case 'p': config.peers = strtoul(optarg, NULL, 10); break;
		case 'm': config.ms = strtoul(optarg, NULL, 10); break;
		default: return 2;
		}
	}
	if (optind + 1 != argc || config.peers > PEERS_MAX || strlen(argv[optind]) >= sizeof(address.sun_path)) {
		fprintf(stderr, "usage: rudecontrol --seed N SOCKET (see the head of rudecontrol.c)\n");
		return 2;
	}
	strcpy(address.sun_path, argv[optind]);
	for (size_t i = 0; i < config.peers; i++)
		peers[i].fd = -1;
	end_ms = load_now_ms() + (double)config.ms;
	while (load_now_ms() < end_ms) {
		for (size_t i = 0; i < config.peers; i++) {
			if (peers[i].fd < 0)
				peer_connect(i);
			if (peers[i].fd >= 0 && !peer_behave(i)) {
				close(peers[i].fd);
				peers[i].fd = -1;
			}
		}
		usleep(TURN_US);
	}
	printf("peers=%lu refused=%lu\n", count, refused);
	return count > 0 ? 0 : 1;
}
