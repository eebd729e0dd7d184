/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * statetamper: writes random bytes into a file that pawsd has left, and tells whom they hit. pawsd must not run.
 *
 *   statetamper --seed N [--bytes N] [--spare ADDR]... flows FILE
 *   statetamper --seed N [--bytes N] [--most OFFSET] any FILE
 *
 * flows: a worker's part of the flow table, behind its header: most bytes go to entries in use and to what belongs to them
 * (their SYN, blocks of SYN pairs, of fast clocks), some anywhere. Prints "hit CLIENT SERVER", as they are inside, for each
 * flow that has been hit: a byte of its entry, SYN or blocks is another, or it has its place or four-tuple in common with
 * one that has, as they are now. Flows of the servers that --spare names are not hit. any: no matter where, or before
 * --most. Prints "at OFFSET" for each byte.
 */
#include "flow_table.h"
#include "load.h"

#include <fcntl.h>
#include <getopt.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum {
	HEADER_BYTES = 64,	 /* of state.c, as are the places in it */
	HEADER_CAPACITY_AT = 20,
	TRIES = 1000,
};

static struct {
	struct load_addrs spared;
	uint64_t seed, random_count;
	unsigned long bytes, most;
} config = {.bytes = 8};

static struct flow_table table;
static uint8_t *file, *before;
static size_t file_bytes;

static uint64_t draw(uint64_t below)
{
	return load_word(config.seed, config.random_count++) % below;
}

static void map_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0 || status.st_size == 0)
		load_die(path);
	file_bytes = (size_t)status.st_size;
	file = mmap(NULL, file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	before = malloc(file_bytes);
	if (file == MAP_FAILED || !before)
		load_die(path);
	memcpy(before, file, file_bytes);
	close(fd);
}

/* The table as it lies in `bytes`; its parts alone, not the index. */
static struct flow_table view(uint8_t *bytes)
{
	uint32_t capacity;
	struct flow_table result = {.flows = (struct flow *)(void *)(bytes + HEADER_BYTES)};

	memcpy(&capacity, before + HEADER_CAPACITY_AT, sizeof(capacity));
	if (HEADER_BYTES + flow_table_kept_bytes(capacity) != file_bytes) {
		fprintf(stderr, "statetamper: not a flow table of this version\n");
		exit(2);
	}
	result.capacity = capacity;
	result.pair_capacity = flow_table_pair_capacity(capacity);
	result.scaled_capacity = flow_table_scaled_capacity(capacity);
	result.syns = (struct flow_syn *)(result.flows + capacity);
	result.pairs = (struct syn_pairs *)(result.syns + capacity);
	result.scaled = (struct scaled *)(result.pairs + result.pair_capacity);
	return result;
}

static bool is_changed(const void *part, size_t size)
{
	size_t at = (size_t)((const uint8_t *)part - file);

	return memcmp(part, before + at, size) != 0;
}

static bool has_block_changed(const struct flow_table *t, const struct flow *flow)
{
	uint32_t pairs = flow->block;

	if (flow->flags & FLOW_SCALED) {
		if (flow->block == 0 || flow->block > t->scaled_capacity)
			return false;
		if (is_changed(&table.scaled[flow->block - 1], sizeof(*table.scaled)))
			return true;
		pairs = t->scaled[flow->block - 1].pairs;
	}
	return pairs > 0 && pairs <= t->pair_capacity && is_changed(&table.pairs[pairs - 1], sizeof(*table.pairs));
}

static bool is_same_tuple(const struct flow *a, const struct flow *b)
{
	return a->client_port == b->client_port && a->server_port == b->server_port &&
	       addr_equal(&a->client, &b->client) && addr_equal(&a->server, &b->server);
}

/* Whether `flow`, as it was, has lost something to entry `changed`, as that is now. */
static bool is_robbed(const struct flow *flow, const struct flow *changed)
{
	return is_same_tuple(flow, changed) ||
	       (flow->block == changed->block && (flow->flags & FLOW_SCALED) == (changed->flags & FLOW_SCALED) && flow->block);
}

/* Marks all that is hit by what is changed now. */
static void find_hits(struct flow_table *was, bool *ret_hits)
{
	for (uint32_t i = 0; i < table.capacity; i++) {
		bool is_entry_changed = is_changed(&table.flows[i], sizeof(struct flow));

		if (is_entry_changed || is_changed(&table.syns[i], sizeof(struct flow_syn)) ||
		    has_block_changed(was, &was->flows[i]) || has_block_changed(&table, &table.flows[i]))
			ret_hits[i] = true;
		for (uint32_t j = 0; is_entry_changed && j < table.capacity; j++)
			ret_hits[j] |= is_robbed(&was->flows[j], &table.flows[i]);
	}
}

static bool is_spared(const struct addr *server)
{
	for (size_t i = 0; i < config.spared.count; i++) {
		const struct sockaddr_storage *spared = &config.spared.addr[i].ss;
		const struct sockaddr_in *in = (const struct sockaddr_in *)spared;
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)spared;

		if (spared->ss_family == AF_INET ? addr_family(server) == FAMILY_IPV4 &&
							   memcmp(server->byte + 12, &in->sin_addr, 4) == 0
						 : memcmp(server->byte, &in6->sin6_addr, 16) == 0)
			return true;
	}
	return false;
}

static uint8_t *choose_place(void)
{
	uint32_t which = (uint32_t)draw(100), i = 0;

	for (int tries = 0; tries < TRIES; tries++) {
		i = (uint32_t)draw(table.capacity);
		if (table.flows[i].state != FLOW_FREE)
			break;
	}
	if (which < 70)
		return (uint8_t *)&table.flows[i] + draw(sizeof(struct flow));
	if (which < 80)
		return (uint8_t *)&table.syns[i] + draw(sizeof(struct flow_syn));
	if (which < 90)
		return (uint8_t *)&table.pairs[draw(table.pair_capacity)] + draw(sizeof(struct syn_pairs));
	return file + HEADER_BYTES + draw(file_bytes - HEADER_BYTES);
}

static void print_hit(const struct flow *flow)
{
	char client[INET6_ADDRSTRLEN], server[INET6_ADDRSTRLEN];
	bool is_4 = addr_family(&flow->server) == FAMILY_IPV4;
	int family = is_4 ? AF_INET : AF_INET6, skip = is_4 ? 12 : 0;

	inet_ntop(family, flow->client.byte + skip, client, sizeof(client));
	inet_ntop(family, flow->server.byte + skip, server, sizeof(server));
	printf(is_4 ? "hit %s:%u %s:%u\n" : "hit [%s]:%u [%s]:%u\n", client, flow->client_port, server, flow->server_port);
}

/* One byte; it is put back where a spared server's flow would be hit. */
static void tamper_flows(struct flow_table *was, bool *hits, bool *total)
{
	uint8_t *place = choose_place(), old = *place;
	bool is_spare = false;

	*place = (uint8_t)(old ^ (1 + draw(255)));
	memset(hits, 0, table.capacity);
	find_hits(was, hits);
	for (uint32_t i = 0; i < table.capacity; i++)
		is_spare |= hits[i] && (is_spared(&was->flows[i].server) || is_spared(&table.flows[i].server));
	if (is_spare)
		*place = old;
	else
		memcpy(total, hits, table.capacity);
}

static void print_hits(struct flow_table *was, const bool *hits)
{
	for (uint32_t i = 0; i < table.capacity; i++) {
		if (!hits[i])
			continue;
		if (was->flows[i].state != FLOW_FREE)
			print_hit(&was->flows[i]);
		if (table.flows[i].state != FLOW_FREE && !is_same_tuple(&was->flows[i], &table.flows[i]))
			print_hit(&table.flows[i]);
	}
}

static void tamper_anywhere(void)
{
	size_t most = config.most && config.most < file_bytes ? config.most : file_bytes;

	for (unsigned long i = 0; i < config.bytes; i++) {
		size_t at = draw(most);

		file[at] = (uint8_t)(file[at] ^ (1 + draw(255)));
		printf("at %zu\n", at);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},	 {"bytes", required_argument, NULL, 'b'},
		{"spare", required_argument, NULL, 'p'}, {"most", required_argument, NULL, 'm'},
		{NULL, 0, NULL, 0},
	};
	struct flow_table was;
	bool *hits, *total;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 's': config.seed = strtoull(optarg, NULL, 10); break;
		case 'b': config.bytes = strtoul(optarg, NULL, 10); break;
		case 'p': load_parse_hosts(optarg, &config.spared); break;
		case 'm': config.most = strtoul(optarg, NULL, 10); break;
		default: return 2;
		}
	}
	if (optind + 2 != argc) {
		fprintf(stderr, "usage: statetamper --seed N flows|any FILE (see the head of statetamper.c)\n");
		return 2;
	}
	map_file(argv[optind + 1]);
	if (strcmp(argv[optind], "any") == 0) {
		tamper_anywhere();
		return 0;
	}
	was = view(before);
	table = view(file);
	hits = calloc(table.capacity, sizeof(*hits));
	total = calloc(table.capacity, sizeof(*total));
	if (!hits || !total)
		load_die("calloc");
	for (unsigned long i = 0; i < config.bytes; i++)
		tamper_flows(&was, hits, total);
	print_hits(&was, total);
	return 0;
}
