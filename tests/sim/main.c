/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim: many clients, several public addresses, dozens of servers, and the real engine in between, all in
 * virtual time.
 *
 *   sim [--seed N] [--packets N]             sixteen worlds; the table of what was checked
 *   sim --tap [--seed N] [--packets N]       the same, one TAP line for each rule
 *   sim --long [--total N] [--packets N]     worlds until pawsd has seen N packets
 *   sim --world N [--packets N]              one world
 *
 * Seed 1 is worlds 1 to 16, seed 2 worlds 17 to 32, and so on: among sixteen there is one of each kind in both
 * placements. A world's number decides what it is (scenario.c): clients with clocks of 10 Hz to 1 MHz that drift, wrap and begin
 * anywhere, servers of each kind that DESIGN section 2 knows, legs that lose, repeat and reorder, and what
 * befalls the gateway: restarts, reloads, reboots, a second gateway, a table that is too small. That
 * world is run three times, with the same fate for the same packet (rng.h):
 *
 *   plain      NAT and nothing else
 *   textbook   a rewriter as one would write it at first sight (textbook.c)
 *   pawsd      the engine
 *
 * A world is a heap of events (events.c, world.c). Sockets of both ends (client.c, server.c, with tcp.c in
 * common) send segments, which are structs; a leg (net.c) delays or loses them; at the gateway (gateway.c)
 * NAT finds their other address (nat.c) and they become bytes (wire.c), which the engine changes in place
 * and which are then parsed by the simulator's own eyes. Behind the second leg they reach the other end.
 *
 * Two kinds of judge look on. At the ends, each rule of a server or client is one function
 * (server_rules.c, client_check.c, tcp.c) that does what that system would do, and counts. At the
 * gateway the oracle (oracle*.c) has the bytes before and behind, the reason and the tick, never
 * forgets anything, and asks after each promise. Both judge all three runs. So a rule that nothing ever
 * violates is seen for what it is: a check that proves nothing, and that is a failure too.
 *
 * What happens to an end is held against pawsd only if it was promised. So each TSval carries a note of
 * where it crossed the gateway (struct source), which no model looks at, but which tells for a refused
 * SYN whether the gateway could know what the server remembered. What is not promised is counted apart.
 */
#include "gateway.h"
#include "report.h"
#include "scenario.h"

#include <getopt.h>
#include <time.h>

enum {
	WORLDS_EACH = 16,
};

static struct {
	uint64_t seed, world, total;
	uint32_t packets, trace, trace_server;
	bool tap, is_long, quick;
} options = {.seed = 1, .trace = NONE, .trace_server = NONE, .total = 10000000};

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run_world(uint64_t number, uint32_t packets, struct tally sums[RUN_COUNT], bool only_pawsd)
{
	struct scenario scenario;

	scenario_make(&scenario, number, packets);
	for (int run = only_pawsd ? RUN_PAWSD : RUN_PLAIN; run < RUN_COUNT; run++) {
		static struct tally tally;
		struct world world = {.scenario = &scenario, .run = (enum run_kind)run, .tally = &tally,
				      .trace = options.trace, .trace_server = options.trace_server};
		double begin = now_s();

		memset(&tally, 0, sizeof(tally));
		world_run(&world);
		tally.seconds = now_s() - begin;
		report_add(&sums[run], &tally);
		if (run == RUN_PAWSD && report_violations(&tally))
			printf("# %llu violations; to see them again: make sim WORLD=%llu PACKETS=%u\n",
			       (unsigned long long)report_violations(&tally), (unsigned long long)number, packets);
	}
	scenario_free(&scenario);
}

static int run_one(void)
{
	static struct tally sums[RUN_COUNT];
	struct scenario scenario;

	scenario_make(&scenario, options.world, options.packets);
	scenario_print(&scenario, stdout);
	scenario_free(&scenario);
	run_world(options.world, options.packets, sums, options.quick);
	report_print(sums);
	return report_violations(&sums[RUN_PAWSD]) != 0;
}

static uint64_t first_world(void)
{
	return (options.seed - 1) * WORLDS_EACH + 1;
}

static int run_seed(void)
{
	static struct tally sums[RUN_COUNT];

	for (uint64_t number = first_world(); number < first_world() + WORLDS_EACH; number++)
		run_world(number, options.packets, sums, false);
	printf("# seed %llu: worlds %llu to %llu, %u packets each\n", (unsigned long long)options.seed,
	       (unsigned long long)first_world(), (unsigned long long)first_world() + WORLDS_EACH - 1, options.packets);
	if (!options.tap)
		report_print(sums);
	return !report_tap(sums, options.tap);
}

static int run_long(void)
{
	static struct tally sums[RUN_COUNT];
	uint64_t number = first_world();

	for (; sums[RUN_PAWSD].packets < options.total; number++) {
		run_world(number, options.packets, sums, false);
		printf("# world %llu done: %llu packets, %llu violations\n", (unsigned long long)number,
		       (unsigned long long)sums[RUN_PAWSD].packets,
		       (unsigned long long)report_violations(&sums[RUN_PAWSD]));
		fflush(stdout);
	}
	report_print(sums);
	return !report_tap(sums, false);
}

static int usage(void)
{
	fprintf(stderr, "usage: sim [--tap | --long | --world N] [--seed N] [--packets N] [--total N]\n"
			"           [--only-pawsd] [--trace CONNECTION] [--trace-server SERVER]\n"
			"           [--fastpath PROGRAMS [--side lan|wan]]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"seed", required_argument, NULL, 's'},	 {"packets", required_argument, NULL, 'p'},
		{"world", required_argument, NULL, 'w'}, {"total", required_argument, NULL, 't'},
		{"tap", no_argument, NULL, 'a'},	 {"long", no_argument, NULL, 'l'},
		{"only-pawsd", no_argument, NULL, 'q'},	 {"trace", required_argument, NULL, 'r'},
		{"trace-server", required_argument, NULL, 'v'},
		{"fastpath", required_argument, NULL, 'f'},
		{"side", required_argument, NULL, 'd'},
		{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'f':
			engine_room_programs = optarg;
			break;
		case 'd':
			if (!front_side_parse(optarg, &engine_room_side))
				return usage();
			break;
		case 's':
			options.seed = strtoull(optarg, NULL, 10);
			break;
		case 'p':
			options.packets = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'w':
			options.world = strtoull(optarg, NULL, 10);
			break;
		case 't':
			options.total = strtoull(optarg, NULL, 10);
			break;
		case 'a':
			options.tap = true;
			break;
		case 'l':
			options.is_long = true;
			break;
		case 'v':
			options.trace_server = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			options.trace = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 'q':
			options.quick = true;
			break;
		default:
			return usage();
		}
	}
	if (options.packets == 0)
		options.packets = options.is_long ? 400000 : 30000;
	if (options.seed == 0 || options.packets < 1000 || optind != argc)
		return usage();
	if (options.world)
		return run_one();
	return options.is_long ? run_long() : run_seed();
}
