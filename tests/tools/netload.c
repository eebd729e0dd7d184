/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * netload: the benchmark's load, many connections driven by an event loop a CPU at either end, as lean as they can
 * be, so that what is measured is the path between them, and all of the machine's CPUs are at work.
 *
 *   netload serve [--background] [--loops N] ADDR:PORT[-PORT] ...
 *   netload rr|crr|mix|latency --to ADDR:PORT[-PORT] [--from ADDR[+N]] [--connections N] [--loops N]
 *           [--seconds S] [--warm-up S] [--rate N] [--seed N]
 *
 *   rr        every connection sends a request and waits for its answer, again and again: answers a second
 *   crr       connect, request, answer, close (the client first): connections a second
 *   mix       as crr, with one to eight requests a connection and answers of 200 bytes to 1 MB: requests a second
 *   latency   --rate requests a second in all, each at its time, on connections that stay: microseconds from the
 *             time at which a request was due until its answer is there, at the median, p99, p99.9 and at most
 *
 * Prints one line of JSON. Connections go round and round through all addresses of --from and endpoints of --to. A
 * loop is a process; an endpoint belongs to one of the server's loops, a connection to one of the
 * client's, and each of the client's loops talks to all of the server's. Exit status: 0, 1 when a connection
 * failed, 2 usage.
 */
#include <getopt.h>
#include <signal.h>
#include <sys/mman.h>

#include "netload/netload.h"

static const char *const mode_names[NETLOAD_MODES] = {"serve", "rr", "crr", "mix", "latency"};

static struct netload_config config = {.connections = 32, .seconds = 1, .warm_up = 0.2, .rate = 1000, .seed = 1};

/* ---- the client ---- */

struct measurement {
	uint64_t begin_ns, end_ns;
	struct netload_counts *counts; /* a loop each */
};

static void drive(size_t loop, void *context)
{
	const struct measurement *measurement = context;

	netload_drive(&config, loop, measurement->begin_ns, measurement->end_ns, &measurement->counts[loop]);
}

static struct netload_counts *add_up(struct netload_counts *counts, size_t count)
{
	for (size_t loop = 1; loop < count; loop++) {
		counts->answers += counts[loop].answers;
		counts->closed += counts[loop].closed;
		counts->failed += counts[loop].failed;
		counts->timed += counts[loop].timed;
		for (size_t us = 0; us < NETLOAD_HISTOGRAM_US; us++)
			counts->histogram[us] += counts[loop].histogram[us];
	}
	return counts;
}

static uint32_t percentile(const struct netload_counts *counts, double part)
{
	uint64_t wanted = (uint64_t)((double)counts->timed * part), seen;
	uint32_t us = 0;

	for (seen = counts->histogram[0]; seen <= wanted && seen < counts->timed; seen += counts->histogram[us])
		us++;
	return us;
}

static int measure(void)
{
	struct measurement measurement = {.begin_ns = netload_now_ns() + (uint64_t)(config.warm_up * 1e9)};
	const struct netload_counts *all;

	measurement.end_ns = measurement.begin_ns + (uint64_t)(config.seconds * 1e9);
	measurement.counts = mmap(NULL, config.loops * sizeof(*measurement.counts), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (measurement.counts == MAP_FAILED)
		load_die("mmap");
	netload_loops_start(config.loops, drive, &measurement);
	if (!netload_loops_wait())
		return 2;
	all = add_up(measurement.counts, config.loops);
	if (config.mode == NETLOAD_LATENCY)
		printf("{\"p50\": %u, \"p99\": %u, \"p999\": %u, \"max\": %u, \"unit\": \"us\", \"failed\": %lu}\n",
		       percentile(all, 0.5), percentile(all, 0.99), percentile(all, 0.999), percentile(all, 1),
		       (unsigned long)all->failed);
	else
		printf("{\"value\": %.1f, \"unit\": \"%s/s\", \"failed\": %lu}\n",
		       (double)(config.mode == NETLOAD_CRR ? all->closed : all->answers) / config.seconds,
		       config.mode == NETLOAD_CRR ? "connections" : "requests", (unsigned long)all->failed);
	return all->failed == 0 ? 0 : 1;
}

/* ---- the server ---- */

struct server {
	const int *listening;
	size_t count;
};

static void serve(size_t loop, void *context)
{
	const struct server *server = context;

	netload_serve(server->listening, server->count, loop, config.loops);
}

static int run_server(const struct load_addrs *at, bool is_background)
{
	struct server server = {netload_listen(at), at->count};

	if (is_background)
		load_go_background();
	netload_loops_start(config.loops, serve, &server);
	return netload_loops_wait() ? 0 : 2;
}

/* ---- usage ---- */

static int usage(void)
{
	fputs("usage: netload serve [--background] [--loops N] ADDR:PORT[-PORT] ...\n"
	      "       netload rr|crr|mix|latency --to ADDR:PORT[-PORT] [--from ADDR[+N]] [--connections N] [--loops N]\n"
	      "               [--seconds S] [--warm-up S] [--rate N] [--seed N]\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"background", no_argument, NULL, 'b'},	      {"loops", required_argument, NULL, 'l'},
		{"to", required_argument, NULL, 't'},	      {"from", required_argument, NULL, 'f'},
		{"connections", required_argument, NULL, 'c'}, {"seconds", required_argument, NULL, 's'},
		{"warm-up", required_argument, NULL, 'w'},     {"rate", required_argument, NULL, 'r'},
		{"seed", required_argument, NULL, 'e'},	      {NULL, 0, NULL, 0},
	};
	struct load_addrs at = {0};
	bool is_background = false;
	int option, mode = 0;

	while (mode < NETLOAD_MODES && (argc < 2 || strcmp(argv[1], mode_names[mode]) != 0))
		mode++;
	if (mode == NETLOAD_MODES)
		return usage();
	config.mode = (enum netload_mode)mode;
	config.loops = netload_cpus();
	while ((option = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1) {
		switch (option) {
		case 'b': is_background = true; break;
		case 'l': config.loops = strtoul(optarg, NULL, 10); break;
		case 't': load_parse_endpoints(optarg, &config.to); break;
		case 'f': load_parse_hosts(optarg, &config.from); break;
		case 'c': config.connections = strtoul(optarg, NULL, 10); break;
		case 's': config.seconds = strtod(optarg, NULL); break;
		case 'w': config.warm_up = strtod(optarg, NULL); break;
		case 'r': config.rate = strtod(optarg, NULL); break;
		case 'e': config.seed = strtoul(optarg, NULL, 10); break;
		default: return usage();
		}
	}
	signal(SIGPIPE, SIG_IGN);
	load_raise_files();
	if (config.mode == NETLOAD_SERVE) {
		for (int i = 1 + optind; i < argc; i++)
			load_parse_endpoints(argv[i], &at);
		return at.count == 0 || config.loops == 0 ? usage() : run_server(&at, is_background);
	}
	if (config.loops > config.connections)
		config.loops = config.connections;
	if (1 + optind < argc || config.to.count == 0 || config.loops == 0 || config.rate <= 0)
		return usage();
	return measure();
}
