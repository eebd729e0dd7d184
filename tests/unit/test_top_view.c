/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `pawsctl top` makes of two looks: rates, their order, what there is room for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/tools/top_view.h"

static const char first[] = "pawsd-control 1\n"
			    "info version 0.1.0\ninfo rules nft\n"
			    "metric uptime_seconds 90061000\nmetric workers 2\nmetric helper_up 1\nmetric config_last_reload_successful 1\n"
			    "metric flow_table_capacity 1000\nmetric flow_table_used 250\nmetric receive_batches_total 100\n"
			    "destination default off enabled 0\ndestination a rewrite enabled 2\ndestination b observe enabled 1\n"
			    "destination c rewrite disabled 1\n"
			    "packets a syn_rewritten 100\npackets a out_rewritten 1000\npackets b syn_observed 50\n"
			    "queue 0 handshake 0 10 0 5 0\n"
			    "end\n";

static const char second[] = "pawsd-control 1\n"
			     "info version 0.1.0\ninfo rules nft\n"
			     "metric uptime_seconds 90063000\nmetric workers 2\nmetric helper_up 1\nmetric config_last_reload_successful 1\n"
			     "metric flow_table_capacity 1000\nmetric flow_table_used 950\nmetric receive_batches_total 1100\n"
			     "destination default off enabled 0\ndestination a rewrite enabled 2\ndestination b observe enabled 1\n"
			     "override b off\n"
			     "destination c rewrite disabled 1\n"
			     "packets a syn_rewritten 102\npackets a out_rewritten 25000\npackets a table_full 6\n"
			     "packets b syn_observed 450\npackets b synack_observed_foreign 3\n"
			     "packets gone syn_stripped 2\n"
			     "flows a ESTABLISHED 7\nflows a TIME_WAIT 9\nflows b SYN_SENT 70\n"
			     "queue 0 handshake 0 10 4 5 2\n"
			     "end\n";

static struct snapshot before, now;
static struct view view;

static int set_up(void **state)
{
	char error[256];

	(void)state;
	assert_int_equal(snapshot_parse(first, strlen(first), &before, error, sizeof(error)), 0);
	assert_int_equal(snapshot_parse(second, strlen(second), &now, error, sizeof(error)), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	snapshot_free(&before);
	snapshot_free(&now);
	return 0;
}

static struct view_data both(void) { return (struct view_data){.before = &before, .now = &now, .seconds = 2}; }

/* The line that begins so, its blanks made single; "": there is none. */
static const char *line(const char *begin)
{
	static char text[VIEW_WIDTH];
	size_t used = 0;

	for (size_t i = 0; i < view.count; i++) {
		if (strncmp(view.lines[i].text, begin, strlen(begin)) != 0)
			continue;
		for (const char *at = view.lines[i].text; *at; at++) {
			if (*at != ' ' || (used && text[used - 1] != ' '))
				text[used++] = *at;
		}
		break;
	}
	text[used] = '\0';
	return text;
}

static enum view_style style(const char *begin)
{
	for (size_t i = 0; i < view.count; i++) {
		if (strncmp(view.lines[i].text, begin, strlen(begin)) == 0)
			return view.lines[i].style;
	}
	fail();
	return VIEW_PLAIN;
}

static size_t row(const char *begin)
{
	for (size_t i = 0; i < view.count; i++) {
		if (strncmp(view.lines[i].text, begin, strlen(begin)) == 0)
			return i;
	}
	fail();
	return 0;
}

static void test_rates(void **state)
{
	struct view_data data = both();

	(void)state;
	view_make(&view, &data, VIEW_BY_PACKETS, VIEW_LINES);
	assert_string_equal(line("pawsd"), "pawsd 0.1.0 up 1 d 01:01:03 workers 2 rules by nft");
	assert_string_equal(line("flow table"), "flow table [############################..] 950 of 1000 (95.0 %)");
	assert_int_equal(style("flow table"), VIEW_ALARM);
	assert_string_equal(line("packets/s"), "packets/s 12.2 k rewritten 12.0 k, stripped 1.0, repaired 0, observed 202, passed 3.0");
	assert_string_equal(line("SYNs/s"), "SYNs/s 205 without a place in the table 3.0");
	assert_int_equal(style("SYNs/s"), VIEW_ALARM);
	assert_string_equal(line("queues"), "queues 4 waiting; dropped 1.0/s, 7 ever; 24.4 packets a batch");
	assert_string_equal(line("a "), "a rewrite 7 4.0 12.0 k 0 0 0 3.0 12.0 k");
	assert_string_equal(line("b "), "b observe* 70 200 0 0 0 202 0 202");
	assert_string_equal(line("gone"), "gone - 0 1.0 0 1.0 0 0 0 1.0");
	assert_string_equal(line("c "), "c disabled 0 0 0 0 0 0 0 0");
	assert_string_equal(line("(all)"), "(all) 77 205 12.0 k 1.0 0 202 3.0 12.2 k");
	assert_string_equal(line("suspect"), "");
}

static void test_order(void **state)
{
	struct view_data data = both();

	(void)state;
	view_make(&view, &data, VIEW_BY_PACKETS, VIEW_LINES);
	assert_true(row("a ") < row("b ") && row("b ") < row("gone"));
	view_make(&view, &data, VIEW_BY_SYNS, VIEW_LINES);
	assert_true(row("b ") < row("a "));
	view_make(&view, &data, VIEW_BY_FLOWS, VIEW_LINES);
	assert_true(row("b ") < row("a ") && row("a ") < row("c "));
	view_make(&view, &data, VIEW_BY_NAME, VIEW_LINES);
	assert_true(row("a ") < row("b ") && row("b ") < row("c ") && row("c ") < row("default") && row("default") < row("gone"));
}

static void test_one_look_has_no_rates(void **state)
{
	struct view_data data = {.now = &now};

	(void)state;
	view_make(&view, &data, VIEW_BY_PACKETS, VIEW_LINES);
	assert_string_equal(line("packets/s"), "packets/s 0 rewritten 0, stripped 0, repaired 0, observed 0, passed 0");
	assert_string_equal(line("queues"), "queues 4 waiting; dropped 0/s, 7 ever; 0.0 packets a batch");
	assert_string_equal(line("a "), "a rewrite 7 0 0 0 0 0 0 0");
}

/* A restart between the looks: what there is since then is what has been. */
static void test_counters_that_began_anew(void **state)
{
	struct view_data data = {.before = &now, .now = &before, .seconds = 2};

	(void)state;
	view_make(&view, &data, VIEW_BY_PACKETS, VIEW_LINES);
	assert_string_equal(line("a "), "a rewrite 0 50 550 0 0 0 0 550");
}

static void test_room(void **state)
{
	struct view_suspect suspects[8];
	struct view_data data = both();

	(void)state;
	for (size_t i = 0; i < 8; i++)
		suspects[i] = (struct view_suspect){"192.0.2.1:80", FINDING_RECYCLE, CONFIDENCE_CERTAIN};
	data.suspects = suspects;
	data.suspect_count = 8;
	for (size_t rows = 1; rows < 40; rows++) {
		view_make(&view, &data, VIEW_BY_PACKETS, rows);
		assert_true(view.count <= (rows < 12 ? 12 : rows));
	}
	view_make(&view, &data, VIEW_BY_PACKETS, 18);
	assert_string_equal(line("and "), "and 2 more");
	assert_string_equal(line("192.0.2.1"), "192.0.2.1:80 tw_recycle certain");
	assert_string_equal(line("(all)"), "");
	view_make(&view, &data, VIEW_BY_PACKETS, VIEW_LINES);
	assert_string_equal(line("and "), "");
	assert_true(row("suspect") > row("(all)"));
}

static void test_trouble_is_shown(void **state)
{
	struct view_data data = both();

	(void)state;
	now.metrics[METRIC_HELPER] = 0;
	now.metrics[METRIC_RELOAD_OK] = 0;
	now.metrics[METRIC_DRAINING] = 1;
	now.metrics[METRIC_HAZARD_BRIDGE] = 1;
	view_make(&view, &data, VIEW_BY_PACKETS, VIEW_LINES);
	assert_int_equal(style("the process that changes rules is no more"), VIEW_ALARM);
	assert_int_equal(style("the last reload was refused"), VIEW_ALARM);
	assert_int_equal(style("draining: no new connection is rewritten"), VIEW_ALARM);
	assert_int_equal(style("hazard_bridge: "), VIEW_ALARM);
}

static void test_json(void **state)
{
	struct view_data data = both();
	json_t *root = view_to_json(&data, VIEW_BY_PACKETS), *all, *a;

	(void)state;
	assert_non_null(root);
	all = json_object_get(root, "all");
	a = json_array_get(json_object_get(root, "destinations"), 0);
	assert_true(json_real_value(json_object_get(all, "syns_per_second")) == 205);
	assert_string_equal(json_string_value(json_object_get(a, "name")), "a");
	assert_int_equal(json_integer_value(json_object_get(a, "flows")), 7);
	assert_true(json_real_value(json_object_get(json_object_get(a, "packets_per_second_by_outcome"), "rewritten")) == 12001);
	json_decref(root);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_rates),
		TEST(test_order),
		TEST(test_one_look_has_no_rates),
		TEST(test_counters_that_began_anew),
		TEST(test_room),
		TEST(test_trouble_is_shown),
		TEST(test_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
