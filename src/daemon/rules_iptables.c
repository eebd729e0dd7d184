/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Our part of a family's table mangle: reading what there is, and putting something else in its place. */
#include <stdlib.h>
#include <string.h>

#include "rules_internal.h"

bool rules_text_begin(struct text *text)
{
	*text = (struct text){0};
	text->file = open_memstream(&text->bytes, &text->len);
	return text->file != NULL;
}

bool rules_text_end(struct text *text)
{
	FILE *file = text->file;

	text->file = NULL;
	if (!file)
		return false;
	const bool is_sound = ferror(file) == 0;

	return fclose(file) == 0 && is_sound;
}

void rules_text_free(struct text *text)
{
	if (text->file)
		fclose(text->file);
	free(text->bytes);
	*text = (struct text){0};
}

int rules_complain_of_memory(char *ret_error, size_t error_size)
{
	snprintf(ret_error, error_size, "rules: memory is short");
	return -1;
}

/* ---- what there is ---- */

static bool is_our_chain(const char *name, size_t len)
{
	const size_t own = strlen(RULES_CHAIN);

	return len >= own && memcmp(name, RULES_CHAIN, own) == 0 && (len == own || name[own] == '-');
}

/* The next word of a rule, quoted ones whole. Returns its length, 0 at the end of the line. */
static size_t next_word(const char **at)
{
	const char *word = *at + strspn(*at, " ");
	bool is_quoted = false;
	size_t len = 0;

	*at = word;
	for (; word[len] && word[len] != '\n' && (is_quoted || word[len] != ' '); len++) {
		if (word[len] == '"')
			is_quoted = !is_quoted;
		else if (word[len] == '\\' && word[len + 1] && word[len + 1] != '\n')
			len++;
	}
	return len;
}

/* Whether the rule (behind its "-A CHAIN") jumps to a chain of ours. */
static bool is_jump_to_us(const char *rule)
{
	bool is_target = false;

	for (size_t len; (len = next_word(&rule)) > 0; rule += len) {
		if (is_target && is_our_chain(rule, len))
			return true;
		is_target = len == 2 && (memcmp(rule, "-j", 2) == 0 || memcmp(rule, "-g", 2) == 0);
	}
	return false;
}

static void read_line(struct present *present, const char *line, size_t line_len)
{
	const char *name = line[0] == ':' ? line + 1 : line + 3;
	const int name_len = (int)strcspn(name, " \n");

	if (line[0] == ':' && is_our_chain(name, (size_t)name_len)) {
		fprintf(present->flush.file, ":%.*s - [0:0]\n", name_len, name);
		fprintf(present->remove.file, "-X %.*s\n", name_len, name);
		present->is_there = true;
	} else if (strncmp(line, "-A ", 3) == 0 && is_our_chain(name, (size_t)name_len)) {
		fprintf(present->rules.file, "%.*s\n", (int)line_len, line);
	} else if (strncmp(line, "-A ", 3) == 0 && is_jump_to_us(name + name_len)) {
		fprintf(present->jumps.file, "%.*s\n", (int)line_len, line);
		present->is_there = true;
	}
}

static bool read_saved(struct present *present, const char *saved)
{
	struct text *texts[] = {&present->flush, &present->remove, &present->rules, &present->jumps};
	bool is_sound = true;

	for (size_t i = 0; i < 4; i++)
		is_sound &= rules_text_begin(texts[i]);
	for (const char *line = saved; is_sound && *line;) {
		const size_t len = strcspn(line, "\n");

		read_line(present, line, len);
		line += len + (line[len] == '\n');
	}
	for (size_t i = 0; i < 4; i++)
		is_sound &= rules_text_end(texts[i]);
	return is_sound;
}

void rules_present_free(struct present *present)
{
	rules_text_free(&present->flush);
	rules_text_free(&present->remove);
	rules_text_free(&present->rules);
	rules_text_free(&present->jumps);
}

int rules_read_present(const struct rules_config *config, enum family family, bool is_needed,
			struct present *ret, char *ret_error, size_t error_size)
{
	const char *argv[] = {rules_iptables_command(config, family, true), "-t", "mangle", NULL};
	char *saved = NULL;
	const enum run_result result = rules_run(argv, NULL, 0, &saved, ret_error, error_size);
	int error = 0;

	*ret = (struct present){0};
	if (result == RUN_OK) {
		if (!read_saved(ret, saved ? saved : ""))
			error = rules_complain_of_memory(ret_error, error_size);
	} else {
		error = is_needed || (result == RUN_FAILED && family == FAMILY_IPV4) ? -1 : 0;
	}
	free(saved);
	return error;
}

/* ---- one family's transaction ---- */

/* "-A FORWARD ..." lines as "-D FORWARD ..." ones. */
static void write_jump_removals(FILE *out, const char *jumps)
{
	for (const char *line = jumps; *line;) {
		const size_t len = strcspn(line, "\n") + 1;

		fprintf(out, "-D%.*s", (int)len - 2, line + 2);
		line += len;
	}
}

/* The -X lines of chains that `wanted` does not make anew. */
static void write_chain_removals(FILE *out, const char *removals, const char *wanted)
{
	char made[48];

	for (const char *line = removals; *line;) {
		const int len = (int)strcspn(line, "\n");

		snprintf(made, sizeof(made), ":%.*s ", len - 3, line + 3);
		if (!strstr(wanted, made))
			fprintf(out, "%.*s\n", len, line);
		line += len + 1;
	}
}

int rules_replace(const struct rules_config *config, enum family family, const struct present *present,
		   const char *wanted, char *ret_error, size_t error_size)
{
	const char *argv[] = {rules_iptables_command(config, family, false), "--noflush", "-w", "10", NULL};
	struct text input;
	int error = 0;

	if (!present->is_there && wanted[0] == '\0')
		return 0;
	if (!rules_text_begin(&input))
		return rules_complain_of_memory(ret_error, error_size);
	fputs("*mangle\n", input.file);
	if (present->is_there) {
		fputs(present->flush.bytes, input.file);
		write_jump_removals(input.file, present->jumps.bytes);
	}
	fputs(wanted, input.file);
	if (present->is_there)
		write_chain_removals(input.file, present->remove.bytes, wanted);
	fputs("COMMIT\n", input.file);
	if (!rules_text_end(&input))
		error = rules_complain_of_memory(ret_error, error_size);
	else if (rules_run(argv, input.bytes, input.len, NULL, ret_error, error_size) != RUN_OK)
		error = -1;
	rules_text_free(&input);
	return error;
}

void rules_put_back(const struct rules_config *config, enum family family, const struct present *before)
{
	struct present now;
	struct text wanted;
	char error[200];

	if (rules_read_present(config, family, true, &now, error, sizeof(error)) == 0 && rules_text_begin(&wanted)) {
		if (before->is_there)
			fprintf(wanted.file, "%s%s%s", before->flush.bytes, before->rules.bytes, before->jumps.bytes);
		if (rules_text_end(&wanted))
			rules_replace(config, family, &now, wanted.bytes, error, sizeof(error));
		rules_text_free(&wanted);
	}
	rules_present_free(&now);
}
