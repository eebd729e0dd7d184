/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `pawsctl --completion SHELL`: what the shell completes, from the table of commands. */
#include <string.h>

#include "pawsctl.h"

static void print_options(FILE *out, const struct command *command)
{
	for (const struct command_option *option = command->options; option && option->name; option++)
		fprintf(out, "--%s ", option->name);
	fputs("--json --socket --help", out);
}

static void print_bash(FILE *out, const struct command *commands, size_t count)
{
	fputs("# bash completion for pawsctl, made by `pawsctl --completion bash`\n"
	      "_pawsctl() {\n"
	      "\tlocal word=${COMP_WORDS[COMP_CWORD]} command= i\n"
	      "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	      "\t\tcase ${COMP_WORDS[i]} in\n"
	      "\t\t-s | --socket) i=$((i + 1)) ;;\n"
	      "\t\t-*) ;;\n"
	      "\t\t*) command=${COMP_WORDS[i]} && break ;;\n"
	      "\t\tesac\n"
	      "\tdone\n"
	      "\tcase $command in\n",
	      out);
	for (size_t i = 0; i < count; i++) {
		fprintf(out, "\t%s) COMPREPLY=($(compgen -W \"", commands[i].name);
		print_options(out, &commands[i]);
		fputs("\" -- \"$word\")) ;;\n", out);
	}
	fputs("\t*) COMPREPLY=($(compgen -W \"", out);
	for (size_t i = 0; i < count; i++)
		fprintf(out, "%s ", commands[i].name);
	fputs("--socket --help --version\" -- \"$word\")) ;;\n"
	      "\tesac\n"
	      "}\n"
	      "complete -o default -F _pawsctl pawsctl\n",
	      out);
}

/* In single quotes, with what zsh takes for its own in front of a backslash. */
static void print_quoted(FILE *out, const char *words)
{
	for (const char *at = words; *at; at++) {
		if (*at == '\'')
			fputs("'\\''", out);
		else if (strchr("[]:", *at))
			fprintf(out, "\\%c", *at);
		else
			fputc(*at, out);
	}
}

static void print_zsh(FILE *out, const struct command *commands, size_t count)
{
	fputs("#compdef pawsctl\n"
	      "# zsh completion for pawsctl, made by `pawsctl --completion zsh`\n"
	      "local -a commands\n"
	      "commands=(\n",
	      out);
	for (size_t i = 0; i < count; i++) {
		fprintf(out, "\t'%s:", commands[i].name);
		print_quoted(out, commands[i].help);
		fputs("'\n", out);
	}
	fputs(")\n"
	      "_arguments -C '(-s --socket)'{-s,--socket}'[ask there]:socket:_files' '1: :->command' '*:: :->rest'\n"
	      "case $state in\n"
	      "command) _describe command commands ;;\n"
	      "rest)\n"
	      "\tcase $words[1] in\n",
	      out);
	for (size_t i = 0; i < count; i++) {
		fprintf(out, "\t%s) _arguments", commands[i].name);
		for (const struct command_option *option = commands[i].options; option && option->name; option++) {
			fprintf(out, " '--%s[", option->name);
			print_quoted(out, option->help);
			fprintf(out, option->argument ? "]:%s:_files'" : "]'", option->argument);
		}
		fputs(" '--json[print JSON]' '--help[print this]' '*::_files' ;;\n", out);
	}
	fputs("\tesac ;;\nesac\n", out);
}

bool print_completion(FILE *out, const char *shell, const struct command *commands, size_t count)
{
	if (strcmp(shell, "bash") == 0)
		print_bash(out, commands, count);
	else if (strcmp(shell, "zsh") == 0)
		print_zsh(out, commands, count);
	else
		return false;
	return true;
}
