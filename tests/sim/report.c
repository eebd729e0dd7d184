/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks are counted here, and told: as a table, and as TAP. */
#include "report.h"

#include <stdarg.h>

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
	for (int run = 0; run < RUN_COUNT; run++)
		printf("%s: %llu connections, %llu packets, %.1f h of virtual time, %.1f s (%.0f packets/s)\n",
		       run == RUN_PLAIN ? "plain" : run == RUN_TEXTBOOK ? "textbook" : "pawsd",
		       (unsigned long long)tallies[run].connections, (unsigned long long)tallies[run].packets,
		       (double)tallies[run].virtual_us / 3.6e9, tallies[run].seconds,
		       (double)tallies[run].packets / (tallies[run].seconds > 0 ? tallies[run].seconds : 1));
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
	if (all)
		printf("1..%d\n", number);
	return all_good;
}
