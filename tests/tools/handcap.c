/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handcap/handcap.h"

/*
 * handcap [-46w] [-s NUMBER] [-f WORDS] FILE OUT: makes the capture that the file describes (tests/captures/hand) and
 * prints what `pawsctl analyze` is to find in it: a line "FINDING ADDRESS PORT" for each finding, sorted; none for nothing.
 * -6: IPv4 addresses become IPv6 ones, as in the replay tool. -w: a crowd of which the file does not say where it is
 * seen is seen on the WAN side, not on the LAN side. -s: is added to the crowd's seed. -f: in place of what follows `file`.
 *
 * A file is a list of lines; # begins a comment. What is to be found:
 *
 *   expect nothing | expect tw_recycle 192.0.2.80:443
 *   fools older_unanswered          a simple rule that is wrong here (tests/unit/test_captures.sh has them)
 *   only ipv4 | only ipv6
 *
 * The file itself:
 *
 *   file pcap|pcap_swapped|pcap_nanoseconds|pcapng [link ethernet|vlan|qinq|sll|sll2|raw|loopback] [snap 96]
 *        [begin SECONDS]
 *
 * Packets by hand, in the language of the replay tool (../replay.c), without an outcome, and more:
 *
 *   client 192.0.2.7:40000 server 192.0.2.80:443
 *   1.02 out S 1:1(0) <mss 1460,sackOK,TS val 100 ecr 0> {cut 30}
 *   1.02 served 192.0.2.7:40000 192.0.2.80:443 TS 100        all of a short connection; [client first] [isn N]
 *   1.02 unserved 192.0.2.7:40000 192.0.2.80:443 syns 3      its SYNs; without TS: without timestamps
 *   1.02 ip 4500...                                          an IP packet, byte by byte
 *   1.02 frame ffffffffffff...                               with the link's header
 *
 * A crowd: connections that begin at random, each with a request and an answer, over a network of which it is said what it
 * does. Chances are percent, times milliseconds unless a word ends in _s or is about when: seconds.
 *
 *   crowd 4000 connections in 600 s seed 7 [rush 200..240 of 50%]      half of them begin within that time
 *   network [loss 10%] [reorder 2%] [duplicate 1%] [delay 5..40] [bursts 2000..5000 every 20]     beyond the capture
 *   nat [ports 2000..61999] [addresses 1] [from 203.0.113.1]
 *   seen wan|lan|any [out only] [in only] [missed 2%] [twice 100%]      where it is captured, and what of it
 *   seen from second 100
 *   clients 30 from 10.0.0.5 [weight 30] [uptime DAYS | offset connection | offset common [tsval N]] [hz 1000]
 *           [bare] [zero_syn] [fast_open] [patience 3] [jump 20] its clock is set  [loss 40%] before the capture
 *           [far_loss 40%] behind it  [active 0..300] [cut 200..400] [blocked] [to HOST-NUMBER]
 *           [once] one SYN and no more  [probe] never goes on  [vanish] leaves without a word
 *   host 192.0.2.80:443[..8443] [weight 1] [first 90%] it closes first  [recycle old|new] [closed|silent|unreachable]
 *           [drops 40%] of SYNs  [backlog 8 [backlog_s 1]] [cookies] [bare] [zero] [scrubbed] [slow 2000..9000] [mtu 600]
 *           [half_dead 50%] by connection  [half_dead_sources 50%] by client  [bare_dropped]
 *           [down 100..160] [restart 100..110] it has forgotten all connections
 */

enum {
	EXPECTED_MAX = 16,
	LINE_SIZE = 160,
	FRAME_MAX = 512,
};

struct description {
	const char *path;
	int line;
	struct file file;
	struct crowd crowd;
	struct endpoint client, server;
	uint64_t now_ms;
	char expected[EXPECTED_MAX][LINE_SIZE];
	uint32_t expected_count;
	bool is_expectation_there, is_file_given;
};

static void expect_line(struct description *description, struct text *text)
{
	char name[64], address[64];
	struct endpoint endpoint;

	description->is_expectation_there = true;
	if (text_word(text, "nothing"))
		return;
	if (description->expected_count == EXPECTED_MAX || !text_name(text, name, sizeof(name)) ||
	    !text_endpoint(text, &endpoint)) {
		text_problem(text, "expect nothing, or FINDING ADDRESS:PORT");
		return;
	}
	addr_format(&endpoint.addr, address, sizeof(address));
	snprintf(description->expected[description->expected_count++], LINE_SIZE, "%s %s %u", name, address, endpoint.port);
}

static int choose(struct text *text, const char *const *names, int count)
{
	for (int i = 0; i < count; i++) {
		if (text_word(text, names[i]))
			return i;
	}
	text_problem(text, "unknown word at \"%.20s\"", text->at);
	return 0;
}

static void file_line(struct text *text, struct file *file)
{
	uint32_t begin_s;

	file->format = (enum format)choose(text, format_names, FORMAT_COUNT);
	while (!text_end(text) && !text->problem[0]) {
		if (text_word(text, "link"))
			file->link = (enum link)choose(text, link_names, LINK_COUNT);
		else if (text_word(text, "snap"))
			text_u32(text, UINT32_MAX, &file->snap_bytes);
		else if (text_word(text, "begin") && text_u32(text, UINT32_MAX, &begin_s))
			file->begin_us = SECONDS(begin_s);
		else
			text_problem(text, "unknown word at \"%.20s\"", text->at);
	}
}

static void bytes_line(struct file *file, struct text *text, uint64_t time_us, bool is_frame)
{
	uint8_t *bytes = malloc(FRAME_MAX);
	uint32_t len = 0;

	if (!bytes)
		abort();
	if (text_hex(text, bytes, FRAME_MAX, &len))
		file_add(file, time_us, bytes, len, is_frame);
	else
		free(bytes);
}

static void packet_line(struct description *description, struct text *text, bool is_outbound)
{
	struct segment segment = {.outbound = is_outbound};

	if (description->client.port == 0 || description->server.port == 0)
		text_problem(text, "client and server are not set");
	else if (segment_parse(text, &segment))
		file_add_segment(&description->file, MS(description->now_ms), &segment, &description->client, &description->server);
}

static bool endpoints_line(struct description *description, struct text *text)
{
	bool is_client = text_word(text, "client"), is_server;

	if (is_client && !text_endpoint(text, &description->client))
		return true;
	is_server = text_word(text, "server");
	if (is_server)
		text_endpoint(text, &description->server);
	return is_client || is_server;
}

static void statement(struct description *description, struct text *text)
{
	uint64_t time_us = MS(description->now_ms);
	struct file ignored;
	char name[64];

	if (text_word(text, "out"))
		packet_line(description, text, true);
	else if (text_word(text, "in"))
		packet_line(description, text, false);
	else if (text_word(text, "served"))
		talk_line(&description->file, text, time_us, true);
	else if (text_word(text, "unserved"))
		talk_line(&description->file, text, time_us, false);
	else if (text_word(text, "ip"))
		bytes_line(&description->file, text, time_us, false);
	else if (text_word(text, "frame"))
		bytes_line(&description->file, text, time_us, true);
	else if (text_word(text, "expect"))
		expect_line(description, text);
	else if (text_word(text, "fools"))
		text_name(text, name, sizeof(name)); /* for test_captures.sh */
	else if (text_word(text, "only ipv4") || text_word(text, "only ipv6"))
		return; /* likewise */
	else if (text_word(text, "file"))
		file_line(text, description->is_file_given ? &ignored : &description->file);
	else if (!crowd_line(&description->crowd, text) && !endpoints_line(description, text))
		text_problem(text, "what is \"%.30s\"?", text->at);
}

/* False after a message. */
static bool line_read(struct description *description, const char *line)
{
	struct text text;
	bool is_relative;
	int64_t ms;

	text_init(&text, line);
	if (text_end(&text))
		return true;
	if (text_time(&text, &ms, &is_relative))
		description->now_ms = (is_relative ? description->now_ms : 0) + (uint64_t)ms;
	if (!text.problem[0])
		statement(description, &text);
	if (!text.problem[0] && !text_end(&text))
		text_problem(&text, "unexpected at the end: \"%.30s\"", text.at);
	if (text.problem[0])
		fprintf(stderr, "%s:%d: %s\n", description->path, description->line, text.problem);
	return !text.problem[0];
}

static bool read_all(struct description *description)
{
	FILE *in = fopen(description->path, "r");
	char *line = NULL;
	size_t size = 0;
	bool is_good = true;

	if (!in) {
		perror(description->path);
		return false;
	}
	while (is_good && getline(&line, &size, in) > 0) {
		line[strcspn(line, "\n")] = 0;
		description->line++;
		is_good = line_read(description, line);
	}
	if (is_good && !description->is_expectation_there) {
		fprintf(stderr, "%s: nothing is expected, not even \"nothing\"\n", description->path);
		is_good = false;
	}
	free(line);
	fclose(in);
	return is_good;
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(a, b);
}

int main(int argc, char **argv)
{
	static struct description description = {
		.file = {.snap_bytes = 262144, .begin_us = SECONDS(1700000000)},
	};
	uint32_t seed = 0;
	bool is_good, is_wan = false;
	struct text words;
	int option;

	while ((option = getopt(argc, argv, "46ws:f:")) != -1) {
		if (option == 'f') {
			text_init(&words, optarg);
			file_line(&words, &description.file);
			description.is_file_given = true;
			if (words.problem[0])
				return 2;
		} else if (option == '6')
			text_map_to_ipv6(true);
		else if (option == 'w')
			is_wan = true;
		else if (option == 's')
			seed = (uint32_t)strtoul(optarg, NULL, 10);
		else if (option != '4')
			return 2;
	}
	if (optind + 2 != argc)
		return 2;
	description.path = argv[optind];
	crowd_init(&description.crowd, &description.file);
	description.crowd.seed = seed;
	description.crowd.is_wan = is_wan;
	is_good = read_all(&description);
	if (is_good && description.crowd.connection_count)
		crowd_run(&description.crowd);
	is_good = is_good && file_write(&description.file, argv[optind + 1]);
	qsort(description.expected, description.expected_count, sizeof(description.expected[0]), compare_lines);
	for (uint32_t i = 0; is_good && i < description.expected_count; i++)
		puts(description.expected[i]);
	crowd_free(&description.crowd);
	file_free(&description.file);
	return is_good ? 0 : 1;
}
