/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks are counted here, and told: as a table, and as TAP. */
#include "report.h"

#include <stdarg.h>

#include "diagnosis.h"

enum {
	COMPLAINTS_MAX = 4, /* of a rule */
};

static const struct {
	enum rule_kind kind;
	const char *text;
} rules[RULE_COUNT] = {
#define X(id, rule_kind, rule_text) [RULE_##id] = {RULE_##rule_kind, rule_text},
	RULE_TABLE(X)
#undef X
};

void check_rule(struct world *world, enum rule rule, bool good, const char *format, ...)
{
	va_list arguments;

	count_rule(world, rule, good);
	if (good || world->run != RUN_PAWSD || rules[rule].kind == RULE_APART)
		return;
	if (world->complaints[rule] >= COMPLAINTS_MAX)
		return;
	world->complaints[rule]++;
	printf("# seed %llu, packet %llu, %.6f s: %s: ", (unsigned long long)world->scenario->seed,
	       (unsigned long long)world->crossings, (double)world->now_us / 1e6, rules[rule].text);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

void report_add(struct tally *sum, const struct tally *tally)
{
	for (int i = 0; i < RULE_COUNT; i++) {
		sum->checks[i] += tally->checks[i];
		sum->violations[i] += tally->violations[i];
	}
	for (int i = 0; i < 8; i++) {
		sum->watch.found[i] += tally->watch.found[i];
		sum->watch.possible[i] += tally->watch.possible[i];
		sum->watch.wrong[i] += tally->watch.wrong[i];
		sum->watch.wrong_possible[i] += tally->watch.wrong_possible[i];
	}
	sum->watch.servers += tally->watch.servers;
	sum->watch.to_be_found += tally->watch.to_be_found;
	sum->watch.missed += tally->watch.missed;
	sum->packets += tally->packets;
	sum->connections += tally->connections;
	sum->virtual_us += tally->virtual_us;
	sum->seconds += tally->seconds;
}

uint64_t report_violations(const struct tally *tally)
{
	uint64_t sum = 0;

	for (int i = 0; i < RULE_COUNT; i++)
		if (rules[i].kind != RULE_APART)
			sum += tally->violations[i];
	return sum;
}

static void print_row(const struct tally tallies[RUN_COUNT], int rule)
{
	printf("  %-72s %9llu | %8llu %8llu %8llu\n", rules[rule].text,
	       (unsigned long long)tallies[RUN_PAWSD].checks[rule],
	       (unsigned long long)tallies[RUN_PLAIN].violations[rule],
	       (unsigned long long)tallies[RUN_TEXTBOOK].violations[rule],
	       (unsigned long long)tallies[RUN_PAWSD].violations[rule]);
}

void report_print(const struct tally tallies[RUN_COUNT])
{
	static const char *const titles[] = {
		[RULE_ENDS] = "Rules of servers and clients",
		[RULE_PROMISE] = "Promises, by the bytes before and behind",
		[RULE_APART] = "Not promised",
	};

	for (int kind = RULE_ENDS; kind <= RULE_APART; kind++) {
		printf("%-74s %9s | %8s %8s %8s\n", titles[kind], "checks", "plain", "textbook", "pawsd");
		for (int i = 0; i < RULE_COUNT; i++)
			if ((int)rules[i].kind == kind)
				print_row(tallies, i);
	}
	report_watch(&tallies[RUN_PLAIN].watch);
	for (int run = 0; run < RUN_COUNT; run++)
		printf("%s: %llu connections, %llu packets, %.1f h of virtual time, %.1f s (%.0f packets/s)\n",
		       run == RUN_PLAIN ? "plain" : run == RUN_TEXTBOOK ? "textbook" : "pawsd",
		       (unsigned long long)tallies[run].connections, (unsigned long long)tallies[run].packets,
		       (double)tallies[run].virtual_us / 3.6e9, tallies[run].seconds,
		       (double)tallies[run].packets / (tallies[run].seconds > 0 ? tallies[run].seconds : 1));
}

void report_watch(const struct watch_tally *watch)
{
	printf("diagnosis of %llu servers, by what the plain run sent them (likely or certain, of these wrong; possible, of these wrong):\n",
	       (unsigned long long)watch->servers);
	for (int i = 0; i < FINDING_COUNT; i++)
		printf("  %-24s %6llu %4llu %6llu %4llu\n", finding_table[i].name, (unsigned long long)watch->found[i],
		       (unsigned long long)watch->wrong[i], (unsigned long long)watch->possible[i],
		       (unsigned long long)watch->wrong_possible[i]);
	printf("  of %llu that were bound to be found to be tw_recycle %llu were missed\n", (unsigned long long)watch->to_be_found,
	       (unsigned long long)watch->missed);
}

static uint64_t sum_of(const uint64_t counts[FINDING_COUNT])
{
	uint64_t sum = 0;

	for (int i = 0; i < FINDING_COUNT; i++)
		sum += counts[i];
	return sum;
}

/* What is certain, or likely, is true; what is bound to be found is. */
static bool tell_watch(const struct watch_tally *watch, int *number, bool all)
{
	uint64_t found = sum_of(watch->found), wrong = sum_of(watch->wrong);
	bool is_true = found > 0 && wrong == 0, is_found = watch->to_be_found > 0 && watch->missed * 20 <= watch->to_be_found;

	*number += 2;
	if (all || !is_true)
		printf("%sok %d - diagnosis: nothing is found that is not so (%llu findings about %llu servers, %llu wrong)\n",
		       is_true ? "" : "not ", *number - 1, (unsigned long long)found, (unsigned long long)watch->servers,
		       (unsigned long long)wrong);
	if (all || !is_found)
		printf("%sok %d - diagnosis: of tw_recycle no more than one in 20 that show it is missed (%llu, of them %llu)\n",
		       is_found ? "" : "not ", *number, (unsigned long long)watch->to_be_found,
		       (unsigned long long)watch->missed);
	return is_true && is_found;
}

/* A check that cannot fail proves nothing: without pawsd each must have failed. */
bool report_tap(const struct tally tallies[RUN_COUNT], bool all)
{
	bool all_good = true;
	int number = 0;

	for (int i = 0; i < RULE_COUNT; i++) {
		uint64_t with = tallies[RUN_PAWSD].violations[i], checks = tallies[RUN_PAWSD].checks[i];
		uint64_t without = tallies[RUN_PLAIN].violations[i] + tallies[RUN_TEXTBOOK].violations[i];
		bool good = with == 0 && checks > 0 && without > 0;

		if (rules[i].kind == RULE_APART)
			continue;
		all_good &= good;
		++number;
		if (!all && good)
			continue;
		printf("%sok %d - %s (%llu checks; violated %llu times by plain NAT, %llu by the textbook, "
		       "%llu by pawsd)\n",
		       good ? "" : "not ", number, rules[i].text, (unsigned long long)checks,
		       (unsigned long long)tallies[RUN_PLAIN].violations[i],
		       (unsigned long long)tallies[RUN_TEXTBOOK].violations[i], (unsigned long long)with);
	}
	all_good &= tell_watch(&tallies[RUN_PLAIN].watch, &number, all);
	if (all)
		printf("1..%d\n", number);
	return all_good;
}
