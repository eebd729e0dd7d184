/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "findings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "policy_build.h"
#include "seq.h"

enum {
	ENDPOINT_SIZE = 72,
};

void format_endpoint(const struct addr *addr, uint16_t port, char *ret_text, size_t size)
{
	char text[64];

	addr_format(addr, text, sizeof(text));
	snprintf(ret_text, size, addr_family(addr) == FAMILY_IPV6 ? "[%s]:%u" : "%s:%u", text, port);
}

bool report_judge(struct server_report *report, const struct server_evidence *evidence)
{
	bool is_any = false;

	*report = (struct server_report){.evidence = evidence};
	for (enum finding finding = 0; finding < FINDING_COUNT; finding++) {
		struct found *found = &report->found[finding];

		found->confidence = diagnosis_judge(evidence, finding, &found->chance);
		is_any |= found->confidence != CONFIDENCE_NONE;
	}
	return is_any;
}

static bool has(const struct server_report *report, enum finding finding)
{
	return report->found[finding].confidence != CONFIDENCE_NONE;
}

static bool any_has(const struct server_report *reports, size_t count, enum finding finding)
{
	for (size_t i = 0; i < count; i++) {
		if (has(&reports[i], finding))
			return true;
	}
	return false;
}

bool reports_print_cure(FILE *out, const struct server_report *reports, size_t count, const char *indent)
{
	bool is_stripped = any_has(reports, count, FINDING_RECYCLE_BARE), is_foreign = any_has(reports, count, FINDING_FOREIGN_TSECR);
	char addr[64], name[64];

	if (!is_stripped && !is_foreign && !any_has(reports, count, FINDING_RECYCLE) && !any_has(reports, count, FINDING_TIME_WAIT))
		return false;
	addr_format(&reports->evidence->addr, addr, sizeof(addr));
	snprintf(name, sizeof(name), "%s", addr);
	for (char *at = name; *at; at++)
		*at = *at == ':' ? '-' : *at;
	fprintf(out, "%s[destination %s]\n%sprefixes = %s\n", indent, name, indent, addr);
	if (is_stripped)
		fprintf(out, "%s; of all its clients; it takes hold a minute after the last connection with timestamps has ended\n",
			indent);
	fprintf(out, "%smode = %s\n", indent, is_stripped ? "strip" : "rewrite");
	if (is_foreign)
		fprintf(out, "%ssynack_tsecr = echo\n", indent);
	return true;
}

static int compare_reports(const void *a, const void *b)
{
	const struct server_evidence *left = ((const struct server_report *)a)->evidence;
	const struct server_evidence *right = ((const struct server_report *)b)->evidence;
	int order = memcmp(&left->addr, &right->addr, sizeof(left->addr));

	return order ? order : (int)left->port - (int)right->port;
}

void reports_sort(struct server_report *reports, size_t count)
{
	qsort(reports, count, sizeof(*reports), compare_reports);
}

size_t reports_of_address(const struct server_report *reports, size_t count)
{
	size_t same = 1;

	while (same < count && addr_equal(&reports[same].evidence->addr, &reports->evidence->addr))
		same++;
	return same;
}

/* ---- words ---- */

static void print_sample(FILE *out, const struct server_evidence *server, enum syn_kind kind, const char *words, double chance)
{
	const uint32_t *these = server->syns[kind];
	const uint64_t others_dropped = diagnosis_newer(server, 0), others = others_dropped + diagnosis_newer(server, 1);

	fprintf(out, "    %u of %u connects %s had no answer, of those with a newer one %" PRIu64 " of %" PRIu64, these[0],
		these[0] + these[1], words, others_dropped, others);
	if (chance >= 1e-15)
		fprintf(out, "; by chance: once in %.3g times\n", 1 / chance);
	else
		fputs("; by chance: never\n", out);
}

static void print_figures(FILE *out, const struct server_report *report, enum finding finding)
{
	const struct server_evidence *server = report->evidence;
	const uint32_t *signs = server->signs;

	switch (finding) {
	case FINDING_RECYCLE:
		print_sample(out, server, SYN_OLDER, "with an older TSval", report->found[finding].chance);
		break;
	case FINDING_RECYCLE_BARE:
		print_sample(out, server, SYN_BARE, "without timestamps", report->found[finding].chance);
		break;
	case FINDING_TIME_WAIT:
		fprintf(out, "    %u SYNs were answered by a bare ACK that echoes a newer TSval than theirs\n",
			signs[SIGN_CHALLENGED_OLDER]);
		break;
	case FINDING_BUSY_TUPLE:
		fprintf(out, "    %u SYNs were answered by a bare ACK that echoes nothing newer than theirs\n",
			signs[SIGN_CHALLENGED_OTHER]);
		break;
	case FINDING_FOREIGN_TSECR:
		fprintf(out, "    %u SYN/ACKs; clients answered %u of them with RST, pawsd repaired %u\n", signs[SIGN_FOREIGN],
			signs[SIGN_FOREIGN_RESET], signs[SIGN_FOREIGN_REPAIRED]);
		break;
	case FINDING_COUNT:
		break;
	}
}

static void print_what_it_was(FILE *out, enum finding finding, const struct example *example)
{
	switch (finding) {
	case FINDING_RECYCLE:
		fprintf(out, "TSval %u, %u behind %u", example->tsval, example->other - example->tsval, example->other);
		break;
	case FINDING_RECYCLE_BARE:
		fputs("no timestamps", out);
		break;
	case FINDING_TIME_WAIT:
	case FINDING_BUSY_TUPLE:
	case FINDING_FOREIGN_TSECR:
		fprintf(out, "TSval %u, TSecr %u came", example->tsval, example->other);
		break;
	case FINDING_COUNT:
		break;
	}
}

static void print_example(FILE *out, enum finding finding, const struct example *example, enum example_style style,
			  uint64_t base_ms)
{
	char client[ENDPOINT_SIZE], server[ENDPOINT_SIZE];

	format_endpoint(&example->ends.src, example->ends.src_port, client, sizeof(client));
	format_endpoint(&example->ends.dst, example->ends.dst_port, server, sizeof(server));
	fputs("      ", out);
	if (style == EXAMPLE_BY_NUMBER && example->answer)
		fprintf(out, "packets %" PRIu64 ", %" PRIu64 ": ", example->syn, example->answer);
	else if (style == EXAMPLE_BY_NUMBER)
		fprintf(out, "packet %" PRIu64 ": ", example->syn);
	if (style == EXAMPLE_BY_NUMBER)
		fprintf(out, "%s > %s at %.3f s: ", client, server, (double)(example->tick - base_ms) / 1000);
	else
		fprintf(out, "%s > %s %.0f s ago: ", client, server, (double)example->tick / 1000);
	print_what_it_was(out, finding, example);
	fputc('\n', out);
}

static void print_found(FILE *out, const struct server_report *report, enum finding finding, enum example_style style,
			size_t most, uint64_t base_ms)
{
	const struct found *found = &report->found[finding];
	size_t first = found->example_count > most ? found->example_count - most : 0;

	fprintf(out, "  %s, %s: it %s\n", finding_table[finding].name, confidence_names[found->confidence],
		finding_table[finding].help);
	print_figures(out, report, finding);
	for (size_t i = first; i < found->example_count; i++)
		print_example(out, finding, &found->examples[i], style, base_ms);
	if (first)
		fprintf(out, "      and %zu before\n", first);
}

static void print_report(FILE *out, const struct server_report *report, enum example_style style, size_t most, uint64_t base_ms)
{
	char server[ENDPOINT_SIZE];

	format_endpoint(&report->evidence->addr, report->evidence->port, server, sizeof(server));
	fprintf(out, "%s\n", server);
	for (enum finding finding = 0; finding < FINDING_COUNT; finding++) {
		if (has(report, finding))
			print_found(out, report, finding, style, most, base_ms);
	}
}

void reports_print(FILE *out, struct server_report *reports, size_t count, enum example_style style, size_t most, uint64_t base_ms)
{
	reports_sort(reports, count);
	for (size_t i = 0, same; i < count; i += same) {
		same = reports_of_address(&reports[i], count - i);
		if (i)
			fputc('\n', out);
		for (size_t k = i; k < i + same; k++)
			print_report(out, &reports[k], style, most, base_ms);
		fputs("  cure:\n", out);
		if (!reports_print_cure(out, &reports[i], same, "    "))
			fputs("    no setting of pawsd\n", out);
	}
}

/* ---- JSON ---- */

/* Of jansson's "_new" calls one that fails frees what it was given: the whole is NULL then. */
static json_t *example_to_json(const struct example *example, enum example_style style, uint64_t base_ms)
{
	char client[ENDPOINT_SIZE], server[ENDPOINT_SIZE];
	json_t *object;

	format_endpoint(&example->ends.src, example->ends.src_port, client, sizeof(client));
	format_endpoint(&example->ends.dst, example->ends.dst_port, server, sizeof(server));
	object = json_pack("{s:s, s:s, s:f, s:I, s:I}", "client", client, "server", server,
			   style == EXAMPLE_BY_NUMBER ? "seconds" : "seconds_ago", (double)(example->tick - base_ms) / 1000, "tsval", (json_int_t)example->tsval, "other",
			   (json_int_t)example->other);
	if (object && style == EXAMPLE_BY_NUMBER) {
		json_object_set_new(object, "packet", json_integer((json_int_t)example->syn));
		json_object_set_new(object, "answer",
				    example->answer ? json_integer((json_int_t)example->answer) : json_null());
	}
	return object;
}

static json_t *found_to_json(const struct found *found, enum finding finding, enum example_style style, uint64_t base_ms)
{
	json_t *examples = json_array();

	for (size_t i = 0; i < found->example_count; i++)
		json_array_append_new(examples, example_to_json(&found->examples[i], style, base_ms));
	return json_pack("{s:s, s:s, s:f, s:s, s:o}", "finding", finding_table[finding].name, "confidence",
			 confidence_names[found->confidence], "chance", found->chance, "words", finding_table[finding].help,
			 "examples", examples);
}

static json_t *cure_to_json(const struct server_report *report)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	json_t *cure = NULL;
	bool is_any;

	if (!out)
		return NULL;
	is_any = reports_print_cure(out, report, 1, "");
	if (fclose(out) == 0)
		cure = is_any ? json_string(text) : json_null();
	free(text);
	return cure;
}

json_t *report_to_json(const struct server_report *report, enum example_style style, uint64_t base_ms)
{
	const struct server_evidence *server = report->evidence;
	json_t *syns = json_object(), *signs = json_object(), *findings = json_array();
	char addr[64];

	addr_format(&server->addr, addr, sizeof(addr));
	for (int kind = 0; kind < SYN_KIND_COUNT; kind++)
		json_object_set_new(syns, syn_kind_names[kind],
				    json_pack("{s:I, s:I}", "unanswered", (json_int_t)server->syns[kind][0], "answered",
					      (json_int_t)server->syns[kind][1]));
	for (int sign = 0; sign < SIGN_COUNT; sign++)
		json_object_set_new(signs, sign_table[sign].name, json_integer(server->signs[sign]));
	for (enum finding finding = 0; finding < FINDING_COUNT; finding++) {
		if (has(report, finding))
			json_array_append_new(findings, found_to_json(&report->found[finding], finding, style, base_ms));
	}
	return json_pack("{s:s, s:i, s:o, s:o, s:o, s:o}", "address", addr, "port", (int)server->port, "syns", syns, "signs", signs, "findings", findings,
			 "cure", cure_to_json(report));
}
