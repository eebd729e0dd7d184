/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fastpath/front.h"
#include "replay/replay.h"

/*
 * replay [-4|-6] [-s lan|wan] [-f PROGRAMS] FILE...: runs scenario files through the engine in virtual time and prints one
 * TAP line for each file and IP version. Exit status 0 if all passed.
 *
 * A file is a list of lines; # begins a comment. IPv4 addresses in it become IPv6 ones in
 * the second run, so that each behaviour is held to over both.
 *
 *   only ipv4 | only ipv6           this file is about one of them
 *   clock 7100                      the shared clock at time 0 (default 1000000)
 *   tsval_base 0                    the clock's TSval at tick 0
 *   max_lead 1000                   ms
 *   quota 0                         flows that one client may have, and that share of the blocks; 0: no limit
 *   table 64                        capacity
 *   timeout SYN_SENT 30             seconds
 *   policy 203.0.113.0/24[,...] mode rewrite [ports 443,8000-8100] [sources 10.0.0.0/8]
 *          [synack_tsecr echo] [disabled] [name web]
 *   default mode off [synack_tsecr zero]
 *   client 10.0.0.5:40000  server 203.0.113.9:443        the four-tuple from here on
 *   wan known | wan unknown         whether the queue can tell the packets' direction
 *
 * A packet, with what is to come of it; times are seconds, +relative to the line before:
 *
 *   +.02 out S. 1:11(10) ack 7 win 100 <mss 1460,TS val 1 ecr 2> {gso, csum bad} => rewritten <TS val 7100 ecr 2>
 *
 * Flags are SFRP.UEWA ("-" for none; A is accurate ECN's AE). Options: mss, sackOK, wscale, nop, eol,
 * sack L:R, TS, md5, ao, FO [HEX] (fast open, with its cookie), mptcp HEX (subtype and all that follows),
 * raw HEX. Modifiers: csum bad, csum not ready, gso, truncated, wan out|in|unknown, doff,
 * ihl, iplen, proto, tos, cut BYTES (the buffer ends early), trailing BYTES, ipopt HEX, ext
 * hop|routing|destination|ah|fragment, frag OFFSET [more], poke AT HEX.
 *
 * The outcome is a total (rewritten, stripped, repaired, observed, passed) or the name of a
 * reason, or "any"; "for NAME" adds whose counter it is; then the option as it is afterwards, <no TS> if
 * it was stripped, nothing if the packet is unchanged. Values may be ranges: val 7100..7103.
 *
 * Every packet is looked at in more ways than the line says: see check.c.
 *
 *   reload                          followed by the new policy, as above
 *   restart                         another process finds the flows
 *   sweep                           the whole table once
 *   expect state SYN_SENT | none    of the flow of the four-tuple
 *   expect flows ESTABLISHED 1      gauge, all destinations
 *   expect used 3                   flows in the table; "pairs": blocks of SYN pairs; "scaled": scaled flows
 *   expect pushed 1                 flows whose place was given to another, so far
 *   expect lead 0..60000            of the shared clock, ms
 *   expect count table_full 2 [for web]     a reason's counter, or a total's
 */

struct file_lines {
	bool only_ipv4, only_ipv6;
	char *text;
};

static void statement_packet(struct world *world, struct text *text, bool outbound)
{
	struct segment segment = {.outbound = outbound};
	struct expectation expectation;

	if (!segment_parse(text, &segment))
		return;
	if (!text_word(text, "=>")) {
		text_problem(text, "=> and the outcome are missing at \"%.20s\"", text->at);
		return;
	}
	if (!expectation_parse(text, &expectation) || !world_start(world))
		return;
	if (expectation.destination[0] && world_slot(world, expectation.destination) < 0)
		text_problem(text, "no destination \"%s\"", expectation.destination);
	else if (world->client.port == 0 || world->server.port == 0)
		text_problem(text, "client and server are not set");
	else
		check_packet(world, &segment, &expectation);
}

static uint64_t count_of(const struct world *world, enum reason reason, enum reason_total total, int slot)
{
	uint64_t sum = 0;

	for (int s = 0; s < DESTINATION_SLOTS; s++)
		for (int i = 0; i < REASON_COUNT; i++)
			if ((slot < 0 || s == slot) &&
			    (reason != REASON_COUNT ? i == (int)reason : reason_table[i].total == total))
				sum += world->counters->reason[s][i];
	return sum;
}

static void expect_number(struct world *world, struct text *text, const char *what, uint64_t got)
{
	struct range range;
	bool fits;

	if (!text_range(text, &range))
		return;
	fits = got >= range.first && got <= range.last;
	if (!fits && range.first == range.last)
		world_problem(world, "expected %s %u, got %llu", what, range.first, (unsigned long long)got);
	else if (!fits)
		world_problem(world, "expected %s %u..%u, got %llu", what, range.first, range.last,
			      (unsigned long long)got);
}

static void expect_count(struct world *world, struct text *text)
{
	enum reason reason = REASON_COUNT;
	enum reason_total total = TOTAL_COUNT;
	uint32_t expected;
	char name[DESTINATION_NAME_MAX + 1];
	uint64_t got;
	int slot = -1;

	if (!reason_parse(text, &reason) && !total_parse(text, &total)) {
		text_problem(text, "neither a reason nor a total at \"%.20s\"", text->at);
		return;
	}
	if (!text_u32(text, UINT32_MAX, &expected))
		return;
	if (text_word(text, "for") && text_name(text, name, sizeof(name))) {
		slot = world_slot(world, name);
		if (slot < 0) {
			text_problem(text, "no destination \"%s\"", name);
			return;
		}
	}
	got = count_of(world, reason, total, slot);
	if (got != expected)
		world_problem(world, "expected a count of %u, got %llu", expected, (unsigned long long)got);
}

static void expect_state(struct world *world, struct text *text)
{
	enum flow_state state = FLOW_FREE, got = FLOW_FREE;
	const struct flow *flow;
	bool outbound;

	if (!text_word(text, "none") && !state_parse(text, &state))
		return;
	flow = flow_table_find(&world->engine.table, &world->client.addr, world->client.port, &world->server.addr,
			       world->server.port, &outbound);
	if (flow)
		got = (enum flow_state)flow->state;
	if (got != state)
		world_problem(world, "expected state %s, got %s", state == FLOW_FREE ? "none" : flow_state_names[state],
			      flow ? flow_state_names[got] : "none");
}

static void expect_flows(struct world *world, struct text *text)
{
	enum flow_state state = FLOW_FREE;
	uint64_t sum = 0;

	if (!state_parse(text, &state))
		return;
	for (int slot = 0; slot < DESTINATION_SLOTS; slot++)
		sum += world->counters->flows[slot][state];
	expect_number(world, text, flow_state_names[state], sum);
}

static void statement_expect(struct world *world, struct text *text)
{
	world_start(world);
	if (text_word(text, "state"))
		expect_state(world, text);
	else if (text_word(text, "flows"))
		expect_flows(world, text);
	else if (text_word(text, "pushed"))
		expect_number(world, text, "flows pushed out", world->counters->pushed_out);
	else if (text_word(text, "used"))
		expect_number(world, text, "used", flow_table_used(&world->engine.table));
	else if (text_word(text, "pairs"))
		expect_number(world, text, "pairs", world->engine.table.pairs_used);
	else if (text_word(text, "scaled"))
		expect_number(world, text, "scaled", world->engine.table.scaled_used);
	else if (text_word(text, "lead"))
		expect_number(world, text, "lead", clock_lead_ms(&world->engine.clock, world_tick(world)));
	else if (text_word(text, "count"))
		expect_count(world, text);
	else
		text_problem(text, "expect what? \"%.20s\"", text->at);
}

/* Lines that say how the world is before anything happens. Returns false where it is none. */
static bool statement_setting(struct world *world, struct text *text)
{
	enum flow_state state = FLOW_FREE;

	if (text_word(text, "clock"))
		text_u64(text, &world->clock);
	else if (text_word(text, "max_lead"))
		text_u32(text, UINT32_MAX, &world->engine.clock.max_lead_ms);
	else if (text_word(text, "tsval_base"))
		text_u32(text, UINT32_MAX, &world->engine.clock.base);
	else if (text_word(text, "quota"))
		text_u32(text, UINT32_MAX, &world->engine.client_most.flows);
	else if (text_word(text, "table"))
		text_u32(text, 65536, &world->capacity);
	else if (text_word(text, "timeout") && state_parse(text, &state))
		text_u32(text, UINT32_MAX, &world->engine.timeout_s[state]);
	else
		return false;
	if (world->running)
		text_problem(text, "this comes before the first packet");
	return true;
}

static bool statement_endpoints(struct world *world, struct text *text)
{
	bool client = text_word(text, "client"), server;

	if (client && !text_endpoint(text, &world->client))
		return true;
	server = text_word(text, "server");
	if (server)
		text_endpoint(text, &world->server);
	return client || server;
}

static void statement_run(struct world *world, struct text *text)
{
	if (text_word(text, "out"))
		statement_packet(world, text, true);
	else if (text_word(text, "in"))
		statement_packet(world, text, false);
	else if (text_word(text, "expect"))
		statement_expect(world, text);
	else if (text_word(text, "policy"))
		world_policy_line(world, text, false);
	else if (text_word(text, "default"))
		world_policy_line(world, text, true);
	else if (text_word(text, "reload"))
		world_clear_policy(world);
	else if (text_word(text, "restart"))
		world_restart(world);
	else if (text_word(text, "sweep"))
		world_sweep(world);
	else if (statement_endpoints(world, text))
		return;
	else if (text_word(text, "wan"))
		world->wan_unknown = text_word(text, "unknown") || !text_word(text, "known");
	else if (text_word(text, "only ipv4") || text_word(text, "only ipv6"))
		return; /* main() saw it */
	else if (!statement_setting(world, text))
		text_problem(text, "what is \"%.30s\"?", text->at);
}

static void line_run(struct world *world, const char *line)
{
	struct text text;
	bool relative;
	int64_t ms;

	text_init(&text, line);
	if (text_end(&text))
		return;
	if (text_time(&text, &ms, &relative)) {
		if (!relative && ms < world->now_ms)
			text_problem(&text, "time does not run backwards");
		world->now_ms = relative ? world->now_ms + ms : ms;
	}
	if (!text.problem[0])
		statement_run(world, &text);
	if (!text.problem[0] && !text_end(&text))
		text_problem(&text, "unexpected at the end: \"%.30s\"", text.at);
	if (text.problem[0])
		world_problem(world, "%s", text.problem);
	else if (world->running)
		check_world(world);
}

static struct front *front;

static bool file_run(const char *path, char *contents)
{
	static struct world world;
	int problems;

	world.front = front;

	world_init(&world, path);
	for (char *line = contents, *end; line && world.problems < 10; line = end) {
		end = strchr(line, '\n');
		if (end)
			*end++ = 0;
		world.line++;
		line_run(&world, line);
		if (end)
			end[-1] = '\n';
	}
	if (!world.running)
		world_problem(&world, "no packet in this file");
	problems = world.problems;
	world_free(&world);
	return problems == 0;
}

static char *file_read(const char *path)
{
	size_t size = 1 << 20, len;
	char *contents = malloc(size);
	FILE *file = fopen(path, "r");

	if (!contents || !file) {
		perror(path);
		exit(1);
	}
	len = fread(contents, 1, size - 1, file);
	contents[len] = 0;
	fclose(file);
	return contents;
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"ipv4", "ipv6"};
	enum front_side side = FRONT_LAN;
	bool wanted[2] = {true, true};
	int option, number = 0, failed = 0;

	while ((option = getopt(argc, argv, "46s:f:")) != -1) {
		if (option == '?' || (option == 's' && !front_side_parse(optarg, &side)))
			return 2;
		if (option == 's')
			continue;
		if (option == 'f') {
			char error[200];

			front = front_open(optarg, side, error, sizeof(error));
			if (!front) {
				fprintf(stderr, "%s\n", error);
				return 2;
			}
			continue;
		}
		wanted[option == '4' ? 1 : 0] = false;
	}
	for (int i = optind; i < argc; i++) {
		char *contents = file_read(argv[i]);

		for (int version = 0; version < 2; version++) {
			bool ok;

			if (!wanted[version] || strstr(contents, version ? "\nonly ipv4\n" : "\nonly ipv6\n"))
				continue;
			text_map_to_ipv6(version == 1);
			ok = file_run(argv[i], contents);
			failed += !ok;
			printf("%s %d - %s %s\n", ok ? "ok" : "not ok", ++number, argv[i], names[version]);
		}
		free(contents);
	}
	if (front) {
		const struct front_counts *counts = front_counts(front);

		printf("# fast path: %llu done, %llu left to the engine, %llu not shown, %llu dropped\n",
		       (unsigned long long)counts->done, (unsigned long long)counts->left, (unsigned long long)counts->queued,
		       (unsigned long long)counts->dropped);
	}
	printf("1..%d\n", number);
	return failed || number == 0;
}
