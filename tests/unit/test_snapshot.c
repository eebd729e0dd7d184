/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "snapshot.h"

/* The parser of the control protocol, against answers that are whole, foreign, cut off and hostile. */

static const char whole[] = "pawsd-control 1\n"
			    "info version 0.1.0\n"
			    "info config /etc/pawsd/pawsd.conf\n"
			    "info last_reload  took effect, 3 destinations\n"
			    "info empty\n"
			    "metric flow_table_capacity 262144\n"
			    "metric flow_table_used 3\n"
			    "metric clock_lead_seconds 1500\n"
			    "destination default off enabled 0\n"
			    "destination shop rewrite enabled 2\n"
			    "destination old.shop-1_b strip disabled 100000\n"
			    "draining old.shop-1_b 3 61\n"
			    "packets none malformed_ip 2\n"
			    "packets shop syn_rewritten 1000\n"
			    "packets shop out_rewritten 9223372036854775807\n"
			    "packets default syn_policy_off 5\n"
			    "packets shop in_rewritten 7\n"
			    "flows shop ESTABLISHED 2\n"
			    "flows shop TIME_WAIT 1\n"
			    "queue 9470 handshake 0 1000 1 2 3\n"
			    "queue 9471 established 4294967295 5 0 0 0\n"
			    "end\n";

static char error[512];

static int parse(const char *text, struct snapshot *ret)
{
	error[0] = '\0';
	return snapshot_parse(text, strlen(text), ret, error, sizeof(error));
}

static void assert_refused(const char *text, const char *words)
{
	struct snapshot snapshot;

	assert_int_equal(parse(text, &snapshot), -1);
	if (!strstr(error, words))
		fail_msg("\"%s\" does not say \"%s\"", error, words);
	assert_null(snapshot.destinations);
	assert_null(snapshot.infos);
	assert_null(snapshot.queues);
}

/* A line among an otherwise sound answer. */
static void assert_line_refused(const char *line, const char *words)
{
	char text[1024];

	snprintf(text, sizeof(text), "pawsd-control 1\n%s\nend\n", line);
	assert_refused(text, words);
}

static struct snapshot *line_accepted(const char *line)
{
	static struct snapshot snapshot;
	char text[1024];

	snprintf(text, sizeof(text), "pawsd-control 1\n%s\nend\n", line);
	if (parse(text, &snapshot))
		fail_msg("\"%s\": %s", line, error);
	return &snapshot;
}

static const struct snapshot_destination *find(const struct snapshot *snapshot, const char *name)
{
	for (size_t i = 0; i < snapshot->destination_count; i++) {
		if (strcmp(snapshot->destinations[i].name, name) == 0)
			return &snapshot->destinations[i];
	}
	fail_msg("no destination %s", name);
	return NULL;
}

static void test_whole(void **state)
{
	struct snapshot snapshot;

	(void)state;
	assert_int_equal(parse(whole, &snapshot), 0);
	assert_int_equal(snapshot.info_count, 4);
	assert_string_equal(snapshot.infos[1].key, "config");
	assert_string_equal(snapshot.infos[1].value, "/etc/pawsd/pawsd.conf");
	assert_string_equal(snapshot.infos[2].value, "took effect, 3 destinations");
	assert_string_equal(snapshot.infos[3].value, "");
	assert_int_equal(snapshot.metrics[METRIC_FLOWS_CAPACITY], 262144);
	assert_int_equal(snapshot.metrics[METRIC_CLOCK_LEAD], 1500);
	assert_int_equal(snapshot.metrics[METRIC_BATCHES], 0);
	assert_int_equal(snapshot.destination_count, 4);
	assert_int_equal(snapshot.queue_count, 2);
	assert_int_equal(snapshot.queues[0].number, 9470);
	assert_string_equal(snapshot.queues[0].role, "handshake");
	assert_int_equal(snapshot.queues[0].queued, 1000);
	assert_int_equal(snapshot.queues[0].waiting, 1);
	assert_int_equal(snapshot.queues[0].dropped_full, 2);
	assert_int_equal(snapshot.queues[0].dropped_user, 3);
	assert_true(snapshot.queues[1].worker == UINT32_MAX);
	snapshot_free(&snapshot);
	snapshot_free(&snapshot); /* does no harm */
}

static void test_destinations(void **state)
{
	struct snapshot snapshot;
	const struct snapshot_destination *shop;

	(void)state;
	assert_int_equal(parse(whole, &snapshot), 0);
	shop = find(&snapshot, "shop");
	assert_string_equal(shop->mode, "rewrite");
	assert_true(shop->enabled);
	assert_int_equal(shop->prefixes, 2);
	assert_int_equal(shop->packets[REASON_SYN_REWRITTEN], 1000);
	assert_true(shop->packets[REASON_OUT_REWRITTEN] == INT64_MAX);
	assert_int_equal(shop->packets[REASON_IN_REWRITTEN], 7);
	assert_int_equal(shop->flows[FLOW_ESTABLISHED], 2);
	assert_int_equal(shop->flows[FLOW_TIME_WAIT], 1);
	assert_false(find(&snapshot, "old.shop-1_b")->enabled);
	assert_true(find(&snapshot, "old.shop-1_b")->draining);
	assert_int_equal(find(&snapshot, "old.shop-1_b")->draining_flows, 3);
	assert_int_equal(find(&snapshot, "old.shop-1_b")->draining_s, 61);
	assert_false(shop->draining);
	assert_string_equal(find(&snapshot, "none")->mode, "");
	assert_int_equal(find(&snapshot, "none")->packets[REASON_MALFORMED_IP], 2);
	assert_int_equal(find(&snapshot, "default")->packets[REASON_SYN_POLICY_OFF], 5);
	snapshot_free(&snapshot);
}

/* Each table entry finds its place: nothing is lost between the tables and the parser. */
static void test_every_name(void **state)
{
	char line[256];

	(void)state;
	for (int i = 0; i < REASON_COUNT; i++) {
		struct snapshot *snapshot;

		snprintf(line, sizeof(line), "packets x %s %d", reason_table[i].name, i + 1);
		snapshot = line_accepted(line);
		assert_int_equal(find(snapshot, "x")->packets[i], i + 1);
		snapshot_free(snapshot);
	}
	for (int i = 0; i < METRIC_COUNT; i++) {
		struct snapshot *snapshot;

		snprintf(line, sizeof(line), "metric %s %d", metric_table[i].name, i + 1);
		snapshot = line_accepted(line);
		assert_int_equal(snapshot->metrics[i], i + 1);
		snapshot_free(snapshot);
	}
	for (int i = FLOW_FREE + 1; i < FLOW_STATE_COUNT; i++) {
		struct snapshot *snapshot;

		snprintf(line, sizeof(line), "flows x %s %d", flow_state_names[i], i + 1);
		snapshot = line_accepted(line);
		assert_int_equal(find(snapshot, "x")->flows[i], i + 1);
		snapshot_free(snapshot);
	}
}

static void test_cut_off_anywhere(void **state)
{
	struct snapshot snapshot;

	(void)state;
	for (size_t len = 0; len < strlen(whole); len++) {
		/* An exact copy: a read beyond the end is a report of the sanitizer. */
		char *copy = malloc(len ? len : 1);

		assert_non_null(copy);
		memcpy(copy, whole, len);
		assert_int_equal(snapshot_parse(copy, len, &snapshot, error, sizeof(error)), -1);
		free(copy);
	}
	assert_refused("", "empty");
	assert_refused("pawsd-control 1\n", "cut off after line 1");
	assert_refused("pawsd-control 1\nmetric workers 1", "cut off after line 1");
	assert_refused("pawsd-control 1\nend", "cut off after line 1");
}

static void test_foreign(void **state)
{
	(void)state;
	assert_refused("HTTP/1.1 400 Bad Request\r\n\r\n", "not pawsd's control socket");
	assert_refused("\n", "not pawsd's control socket");
	assert_refused("end\n", "not pawsd's control socket");
	assert_refused("pawsd-control\nend\n", "not pawsd's control socket");
	assert_refused("pawsd-control one\nend\n", "not a number");
	assert_refused("pawsd-control 2\nend\n", "speaks version 2");
	assert_refused("pawsd-control 1\nerror unknown request\n", "pawsd says: unknown request");
	assert_refused("pawsd-control 1\nerror\n", "pawsd says: ");
	assert_refused("pawsd-control 1\nerror \033[2Jx\n", "pawsd says: ?[2Jx");
}

static void test_unknown_is_passed_over(void **state)
{
	struct snapshot snapshot;

	(void)state;
	assert_int_equal(parse("pawsd-control 1 with more words\n"
			       "\n"
			       "   \n"
			       "worker 1 2 3\n"
			       "metric of_tomorrow 17\n"
			       "packets shop of_tomorrow 17\n"
			       "flows shop DREAMING 17\n"
			       "flows shop FREE 17\n"
			       "metric workers 4 and more\n"
			       "destination shop rewrite enabled 1 and more\n"
			       "queue 1 handshake 0 1 2 3 4 5 6 7 8 9 10\n"
			       "end of it\n"
			       "metric workers 5\n",
			       &snapshot),
			 0);
	assert_int_equal(snapshot.metrics[METRIC_WORKERS], 4);
	assert_int_equal(snapshot.destination_count, 1);
	assert_int_equal(snapshot.destinations[0].flows[FLOW_FREE], 0);
	assert_int_equal(snapshot.queue_count, 1);
	snapshot_free(&snapshot);
}

static void test_numbers(void **state)
{
	(void)state;
	snapshot_free(line_accepted("metric workers 9223372036854775807"));
	assert_line_refused("metric workers 9223372036854775808", "line 2 of the answer: the number in field 3 is larger");
	assert_line_refused("metric workers 18446744073709551616", "larger than");
	assert_line_refused("metric workers 99999999999999999999999999999999999999", "larger than");
	assert_line_refused("metric workers -1", "not a number");
	assert_line_refused("metric workers +1", "not a number");
	assert_line_refused("metric workers 0x10", "not a number");
	assert_line_refused("metric workers 1.5", "not a number");
	assert_line_refused("metric workers 1\r", "not a number");
	assert_line_refused("metric of_tomorrow x", "not a number");
	assert_line_refused("packets shop syn_rewritten x", "not a number");
	assert_line_refused("flows shop ESTABLISHED x", "not a number");
	assert_line_refused("destination shop off enabled x", "not a number");
	snapshot_free(line_accepted("queue 65535 handshake 0 0 0 0 0"));
	assert_line_refused("queue 65536 handshake 0 0 0 0 0", "larger than 65535");
	assert_line_refused("queue 1 handshake 4294967296 0 0 0 0", "larger than 4294967295");
}

static void test_names(void **state)
{
	(void)state;
	snapshot_free(line_accepted("packets 123456789012345678901234567890123456789012345678 syn_rewritten 1"));
	assert_line_refused("packets 1234567890123456789012345678901234567890123456789 syn_rewritten 1", "longer than 48");
	assert_line_refused("packets a\"b syn_rewritten 1", "not a name");
	assert_line_refused("packets a\\b syn_rewritten 1", "not a name");
	assert_line_refused("packets a\tb syn_rewritten 1", "not a name");
	assert_line_refused("packets \033[31m syn_rewritten 1", "not a name");
	assert_line_refused("packets \303\244 syn_rewritten 1", "not a name");
	assert_line_refused("destination shop a_mode_longer_than_it enabled 1", "longer than 15");
	assert_line_refused("destination shop off perhaps 1", "neither");
	assert_line_refused("draining shop 1 soon", "not a number");
	assert_line_refused("draining shop", "");
	assert_line_refused("queue 1 hand{shake 0 0 0 0 0", "not a name");
	assert_line_refused("info ke:y words", "not a name");
}

static void test_short_lines(void **state)
{
	static const char *const lines[] = {
		"info",		       "metric",	"metric workers",  "destination",	       "destination shop off enabled",
		"packets",	       "packets shop",	"packets shop syn_rewritten", "flows shop ESTABLISHED", "queue",
		"queue 1 handshake 0 0 0 0",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_line_refused(lines[i], "fields instead of");
}

static void assert_info(const char *sent, const char *expected)
{
	char line[1024];
	struct snapshot *snapshot;

	snprintf(line, sizeof(line), "info key %s", sent);
	snapshot = line_accepted(line);
	assert_string_equal(snapshot->infos[0].value, expected);
	snapshot_free(snapshot);
}

/* Words reach terminals and JSON: no control characters, and UTF-8 or nothing. */
static void test_words(void **state)
{
	char sent[400], expected[256];

	(void)state;
	assert_info("/etc/p\303\244wsd.conf", "/etc/p\303\244wsd.conf");
	assert_info("\342\202\254 \360\237\230\200", "\342\202\254 \360\237\230\200");
	assert_info("a\033[2Jb\177c\td", "a?[2Jb?c?d");
	assert_info("\302\233x", "?x");				   /* C1: CSI in one character */
	assert_info("\377\300\200\355\240\200x", "??" "?" "???" "x"); /* never, overlong, surrogate */
	assert_info("\360\217\277\277", "????");		   /* overlong */
	assert_info("\364\220\200\200", "????");		   /* beyond U+10FFFF */
	assert_info("\303", "?");				   /* cut off */
	memset(sent, 'x', sizeof(sent) - 1);
	sent[sizeof(sent) - 1] = '\0';
	memset(expected, 'x', sizeof(expected) - 1);
	expected[sizeof(expected) - 1] = '\0';
	assert_info(sent, expected);
	/* Two bytes do not fit into the last place: the character goes whole. */
	sent[254] = '\303';
	sent[255] = '\244';
	expected[254] = '\0';
	assert_info(sent, expected);
}

static void assert_many(const char *format, int accepted, const char *words)
{
	size_t size = (size_t)(accepted + 2) * 64;
	char *text = malloc(size);
	struct snapshot snapshot;

	assert_non_null(text);
	for (int extra = 0; extra < 2; extra++) {
		size_t len = (size_t)snprintf(text, size, "pawsd-control 1\n");

		for (int i = 0; i < accepted + extra; i++)
			len += (size_t)snprintf(text + len, size - len, format, i);
		snprintf(text + len, size - len, "end\n");
		assert_int_equal(parse(text, &snapshot), extra ? -1 : 0);
		snapshot_free(&snapshot);
	}
	if (!strstr(error, words))
		fail_msg("\"%s\" does not say \"%s\"", error, words);
	free(text);
}

static void test_bounds(void **state)
{
	(void)state;
	assert_many("packets d%d syn_rewritten 1\n", DESTINATION_SLOTS, "more than 1024 destinations");
	assert_many("queue %d handshake 0 0 0 0 0\n", 4096, "more than 4096 queues");
	assert_many("info key%d words\n", 64, "more than 64 info lines");
}

static void test_bytes_of_all_kinds(void **state)
{
	static const char text[] = "pawsd-control 1\nworkers\0 1\nmetric workers\0 1\nend\n";
	static const char bad[] = "pawsd-control 1\nmetric workers 1\0002\nend\n";
	struct snapshot snapshot;

	(void)state;
	assert_int_equal(snapshot_parse(text, sizeof(text) - 1, &snapshot, error, sizeof(error)), 0);
	assert_int_equal(snapshot.metrics[METRIC_WORKERS], 0);
	snapshot_free(&snapshot);
	assert_int_equal(snapshot_parse(bad, sizeof(bad) - 1, &snapshot, error, sizeof(error)), -1);
}

static void test_small_error_buffer(void **state)
{
	struct snapshot snapshot;
	char small[8];

	(void)state;
	for (size_t size = 1; size <= sizeof(small); size++) {
		const char *text = "pawsd-control 1\nerror something long\n";

		memset(small, 'x', sizeof(small));
		assert_int_equal(snapshot_parse(text, strlen(text), &snapshot, small, size), -1);
		assert_non_null(memchr(small, '\0', size));
		assert_int_equal(snapshot_parse("x\n", 2, &snapshot, small, size), -1);
		assert_non_null(memchr(small, '\0', size));
	}
}

static uint32_t random_next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

/* Changes some bytes, drops or doubles a piece, cuts the end off. Returns the new length. */
static size_t mutate(char *text, size_t len, size_t size, uint64_t *seed)
{
	static const char spice[] = " \n\n 09-_endpackets\"\\\033\0\377";

	for (uint32_t i = random_next(seed) % 4; i > 0; i--)
		text[random_next(seed) % len] = random_next(seed) % 2 ? spice[random_next(seed) % sizeof(spice)]
								       : (char)random_next(seed);
	if (random_next(seed) % 4 == 0) {
		size_t from = random_next(seed) % len, to = random_next(seed) % len;
		size_t piece = random_next(seed) % 64;

		piece = piece > len - from ? len - from : piece;
		piece = piece > size - len ? size - len : piece;
		if (to <= len - piece) {
			memmove(text + to + piece, text + to, len - to);
			memmove(text + to, text + from, piece);
			len += piece;
		}
	}
	if (random_next(seed) % 8 == 0)
		len = 1 + random_next(seed) % len;
	return len;
}

static void test_mutations(void **state)
{
	const char *given = getenv("PAWSD_TEST_SEED");
	const int rounds = 100000;
	uint64_t seed = given ? strtoull(given, NULL, 10) : 20070131;
	int accepted = 0;

	(void)state;
	print_message("seed %llu (PAWSD_TEST_SEED chooses another)\n", (unsigned long long)seed);
	for (int i = 0; i < rounds; i++) {
		char text[sizeof(whole) + 64], *copy;
		struct snapshot snapshot;
		size_t len;

		memcpy(text, whole, sizeof(whole));
		len = mutate(text, sizeof(whole) - 1, sizeof(text), &seed);
		copy = malloc(len);
		assert_non_null(copy);
		memcpy(copy, text, len);
		if (snapshot_parse(copy, len, &snapshot, error, sizeof(error)) == 0)
			accepted++;
		snapshot_free(&snapshot);
		free(copy);
	}
	/* Some survive, some do not: otherwise this would not have tested the parser's inside. */
	assert_in_range(accepted, rounds / 100, rounds - rounds / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_destinations),
		cmocka_unit_test(test_every_name),
		cmocka_unit_test(test_cut_off_anywhere),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_unknown_is_passed_over),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_short_lines),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_bytes_of_all_kinds),
		cmocka_unit_test(test_small_error_buffer),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
