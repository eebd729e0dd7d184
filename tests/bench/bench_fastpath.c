/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a packet costs in the fast path, by the number of flows there are:
 *
 *   bench_fastpath OBJECT [FLOWS...]
 *
 * For each number a table of that many established flows is made, in the memory that pawsd would have, and segments of
 * random ones are run through the kernel's programs (BPF_PROG_TEST_RUN), each once, so that caches are as cold as they would
 * be; the kernel tells how long. Prints for each "flows NUMBER out NS in NS": medians of all runs, in nanoseconds, the empty
 * program's and the clock's taken off; and "memory NUMBER BYTES": all maps together, a flow.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine.h"
#include "fastpath_memory.h"

enum {
	LINK_LEN = 14,
	FRAME = LINK_LEN + 20 + 32,
	RUNS = 20000,
	TICK = 1000000,
	SHIFT = 16,
};

struct bench {
	struct bpf_object *object;
	int programs[2];
	struct fastpath_memory memory;
	struct engine engine;
	struct policy *policy;
};

__attribute__((noreturn)) static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int keep_silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level;
	(void)format;
	(void)arguments;
	return 0;
}

static void map_all(struct bench *bench)
{
	for (enum fastpath_map map = 0; map < FASTPATH_MAPS; map++) {
		size_t bytes = fastpath_map_bytes(map, &bench->memory.sizes);
		int fd = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS;

		if (fastpath_map_is_shown[map]) {
			fd = bpf_object__find_map_fd_by_name(bench->object, fastpath_map_names[map]);
			flags = MAP_SHARED;
		}
		bench->memory.maps[map] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
		if (bench->memory.maps[map] == MAP_FAILED)
			die(fastpath_map_names[map]);
	}
}

static void load(struct bench *bench, const char *path, uint32_t flows)
{
	static const char *const names[2] = {"lan_ingress", "lan_egress"};

	bench->memory.sizes = fastpath_sizes_for(flows < 1024 ? 1024 : flows, (uint32_t)libbpf_num_possible_cpus());
	bench->object = bpf_object__open(path);
	if (!bench->object)
		die(path);
	for (enum fastpath_map map = 0; map < FASTPATH_MAPS; map++)
		if (fastpath_map_is_shown[map])
			bpf_map__set_max_entries(bpf_object__find_map_by_name(bench->object, fastpath_map_names[map]),
						 fastpath_map_entries(map, &bench->memory.sizes));
	if (bpf_object__load(bench->object) < 0)
		die(path);
	for (int i = 0; i < 2; i++)
		bench->programs[i] = bpf_program__fd(bpf_object__find_program_by_name(bench->object, names[i]));
	map_all(bench);
}

/* Flow i: from 10.x.y.z to 198.18.0.1, port 443. */
static void make_flows(struct bench *bench, uint32_t flows)
{
	static const uint64_t secret[2] = {0x9e3779b97f4a7c15u, 0xdeadbeefcafef00du};
	const struct flow_table_memory memory = fastpath_table_memory(&bench->memory);
	const struct fastpath_config config = {.mark_bit = SHIFT};
	struct flow_table *table = &bench->engine.table;
	const struct addr server = addr_from_ipv4((const uint8_t[]){198, 18, 0, 1});

	flow_table_open(table, &memory, bench->memory.sizes.capacity, secret);
	bench->engine.clock = (struct clock){.shared = &fastpath_shared_of(&bench->memory)->clock, .max_lead_ms = 1000};
	for (uint32_t i = 0; i < flows; i++) {
		const uint8_t address[] = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
		const struct addr client = addr_from_ipv4(address);
		struct flow *flow = flow_table_add(table, &client, 40000, &server, 443);

		if (!flow)
			die("a flow");
		flow->mode = MODE_REWRITE;
		flow->offset = 5000 + i;
		flow->tsval_high = flow->syn_tsval = TICK - 10;
		flow->flags = FLOW_HAS_LIVED;
		flow->state = FLOW_ESTABLISHED;
	}
	fastpath_tell(&bench->memory, &bench->engine, &config, 0);
	fastpath_shared_of(&bench->memory)->frozen_tick = TICK;
}

static void put32(uint8_t *at, uint32_t value)
{
	value = htonl(value);
	memcpy(at, &value, sizeof(value));
}

/* A segment of flow `i`, without its checksums, which nobody looks at. */
static void make_frame(uint8_t frame[FRAME], uint32_t i, bool outbound)
{
	static const uint8_t head[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0x45, 0, 0, 52, 0, 0, 0, 0, 64, 6};
	static const uint8_t options[] = {1, 1, 8, 10};
	const uint32_t client = 10u << 24 | (i & 0xffffff), server = 198u << 24 | 18u << 16 | 1, offset = 5000 + i;
	uint8_t *ip = frame + LINK_LEN, *tcp = ip + 20;

	memset(frame, 0, FRAME);
	memcpy(frame, head, sizeof(head));
	put32(ip + 12, outbound ? client : server);
	put32(ip + 16, outbound ? server : client);
	put32(tcp, outbound ? 40000u << 16 | 443 : 443u << 16 | 40000);
	tcp[12] = 8 << 4;
	tcp[13] = TCP_ACK;
	memcpy(tcp + 20, options, sizeof(options));
	put32(tcp + 24, outbound ? TICK - offset : 77);
	put32(tcp + 28, outbound ? 77 : TICK - 5);
}

static int compare(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Median of RUNS; `program` -1: of nothing but the measurement. */
static uint32_t measure(const struct bench *bench, int program, uint32_t flows, bool outbound)
{
	static uint32_t ns[RUNS];
	static uint8_t out[FRAME];
	uint8_t frame[FRAME];

	for (uint32_t run = 0; run < RUNS; run++) {
		struct __sk_buff before = {0}, after = {0};
		LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = FRAME, .data_out = out, .data_size_out = FRAME,
			    .ctx_in = &before, .ctx_size_in = sizeof(before), .ctx_out = &after, .ctx_size_out = sizeof(after),
			    .repeat = 1);

		make_frame(frame, (uint32_t)random() % flows, outbound);
		if (program < 0)
			before.mark = 5u << SHIFT; /* done: it is left at once */
		if (bpf_prog_test_run_opts(bench->programs[!outbound], &options) < 0)
			die("BPF_PROG_TEST_RUN");
		if (program >= 0 && !(after.mark >> SHIFT & (outbound ? FASTPATH_MARK_DONE_FIRST : FASTPATH_MARK_DONE_LAST))) {
			fprintf(stderr, "a segment was not rewritten\n");
			exit(1);
		}
		ns[run] = options.duration;
	}
	qsort(ns, RUNS, sizeof(*ns), compare);
	return ns[RUNS / 2];
}

static void run(const char *path, uint32_t flows)
{
	struct bench bench = {0};
	uint32_t ns[2];
	size_t bytes = 0;

	load(&bench, path, flows);
	make_flows(&bench, flows);
	for (int i = 0; i < 2; i++)
		ns[i] = measure(&bench, 0, flows, i == 0) - measure(&bench, -1, flows, i == 0);
	printf("flows %u out %u in %u\n", flows, ns[0], ns[1]);
	for (enum fastpath_map map = 0; map < FASTPATH_MAPS; map++)
		bytes += fastpath_map_bytes(map, &bench.memory.sizes);
	printf("memory %u %.1f\n", flows, (double)bytes / bench.memory.sizes.capacity);
	fastpath_memory_unmap(&bench.memory);
	bpf_object__close(bench.object);
}

int main(int argc, char **argv)
{
	static const uint32_t usual[] = {1000, 10000, 100000, 1000000};

	if (argc < 2) {
		fprintf(stderr, "usage: bench_fastpath OBJECT [FLOWS...]\n");
		return 2;
	}
	libbpf_set_print(keep_silent);
	for (int i = 2; i < argc; i++)
		run(argv[1], (uint32_t)strtoul(argv[i], NULL, 10));
	for (size_t i = 0; argc == 2 && i < sizeof(usual) / sizeof(usual[0]); i++)
		run(argv[1], usual[i]);
	return 0;
}
