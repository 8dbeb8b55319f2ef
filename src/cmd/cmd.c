/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd - the ways in which every program of cleat behaves alike
 *
 * A wrong command line says which option and the way to the help, on stderr, and ends with 2; what
 * was tried and failed ends with 1. Help goes to stdout, since it was asked for, and is made from
 * the same table that parses, so the two cannot differ.
 */
#include "cmd/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"

static void print_help(const struct cmd *cmd)
{
	autostr struct str out = STR_INIT;

	str_appendf(&out, "usage: %s\n\n%s\n", cmd->synopsis, cmd->summary);
	if (cmd->about)
		str_appendf(&out, "\n%s", cmd->about);
	if (cmd->options) {
		str_append(&out, "\n");
		opt_help(cmd->options, &out);
	}
	str_append(&out, "\nExit status: 0 done, 1 it failed (stderr says why), 2 the command line "
			 "is wrong.\n");
	fputs(str_get(&out), stdout);
}

/* What may end a program before it begins: false with *ret_exit, after the options were parsed. */
static bool check_common(const struct cmd *cmd, const struct cmd_common *common,
			 const char *unexpected, int *ret_exit)
{
	if (common->help) {
		print_help(cmd);
		*ret_exit = CMD_OK;
	} else if (common->version) {
		puts("cleat " CMD_VERSION_TEXT);
		*ret_exit = CMD_OK;
	} else if (unexpected) {
		*ret_exit = cmd_usage(cmd, "unexpected argument '%s'", unexpected);
	} else if (common->verbosity > 10) {
		*ret_exit = cmd_usage(cmd, "--v=%u: from 0 to 10", common->verbosity);
	} else {
		return true;
	}
	return false;
}

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
			return true;
	}
	return false;
}

bool cmd_parse(const struct cmd *cmd, void *opts, int argc, char **argv, char ***ret_rest,
	       int *ret_n_rest, int *ret_exit)
{
	struct cmd_common *common = opts;
	struct err err;
	char **rest = NULL;
	int n_rest = 0;

	/* Before the rest is judged: who asks for help has got something wrong already. */
	if (asks_for_help(argc, argv)) {
		print_help(cmd);
		*ret_exit = CMD_OK;
		return false;
	}
	if (opt_parse(cmd->options, opts, argc, argv, &rest, &n_rest, &err) < 0) {
		*ret_exit = cmd_usage(cmd, "%s", err.msg);
		return false;
	}
	if (!check_common(cmd, common, !ret_rest && n_rest > 0 ? rest[0] : NULL, ret_exit)) {
		opt_done(cmd->options, opts);
		return false;
	}
	log_init(&(struct log_options){
		.format = strcmp(common->logging_format, "json") == 0 ? LOG_JSON : LOG_TEXT,
		.verbosity = (int)common->verbosity,
		.debug = common->debug,
	});
	if (ret_rest) {
		*ret_rest = rest;
		*ret_n_rest = n_rest;
	}
	return true;
}

int cmd_usage(const struct cmd *cmd, const char *fmt, ...)
{
	autostr struct str text = STR_INIT;
	va_list ap;

	va_start(ap, fmt);
	str_vappendf(&text, fmt, ap);
	va_end(ap);
	fprintf(stderr, "cleat %s: %s\nTry 'cleat %s --help'.\n", cmd->name, str_get(&text),
		cmd->name);
	return CMD_USAGE;
}

/* C0, DEL, and C1 in UTF-8, which a terminal takes for ESC and a letter: how many bytes it has. */
static size_t control_length(const char *s)
{
	unsigned char c = (unsigned char)s[0], next = c ? (unsigned char)s[1] : 0;

	if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
		return 1;
	return c == 0xc2 && next >= 0x80 && next < 0xa0 ? 2 : 0;
}

char *cmd_printable(const char *text)
{
	struct str out = STR_INIT;

	while (*text) {
		size_t n = control_length(text);

		str_append_char(&out, n ? '?' : *text);
		text += n ? n : 1;
	}
	return str_take(&out);
}

int cmd_failed(const struct cmd *cmd, const struct err *err)
{
	autofree char *text = cmd_printable(err->msg);

	fprintf(stderr, "cleat %s: %s\n", cmd->name, text);
	return CMD_FAILED;
}

void cmd_format_bytes(uint64_t bytes, char ret_text[CMD_BYTES_MAX])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned unit = 0;
	uint64_t div = 1;

	while (unit + 1 < sizeof(units) / sizeof(units[0]) && bytes / div >= 1024) {
		div *= 1024;
		unit++;
	}
	if (unit == 0)
		snprintf(ret_text, CMD_BYTES_MAX, "%llu B", (unsigned long long)bytes);
	else
		snprintf(ret_text, CMD_BYTES_MAX, "%.1f %s", (double)bytes / (double)div,
			 units[unit]);
}
