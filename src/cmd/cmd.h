/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include "base/err.h"
#include "base/opt.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * What all programs of cleat share: exit codes, the options every one has, help, and how an error
 * ends a program.
 */
enum cmd_exit {
	CMD_OK = 0,
	CMD_FAILED = 1, /* the thing was tried and did not work; stderr says why */
	CMD_USAGE = 2,  /* the command line is wrong; nothing was tried */
};

struct cmd {
	const char *name;
	const char *program;  /* upstream's, by whose name it may be called; NULL: none */
	const char *summary;  /* one line, for the list of commands */
	const char *synopsis; /* "cleat driver --node-id=ID --pool=DIR [option...]" */
	const char *about;    /* paragraphs and examples around the table of options; may be NULL */
	const struct opt *options;
	int (*run)(const struct cmd *cmd, int argc,
		   char **argv); /* argv[0] is the command; gives an exit code */
};

/* First member of every program's options; the rows below fill it. */
struct cmd_common {
	bool help;
	bool version;
	unsigned verbosity;
	const char *logging_format;
	const char *debug;
};

/* clang-format off */
#define CMD_COMMON_OPTIONS(T)                                                                              \
	{ .name = "Logging and help", .type = OPT_GROUP },                                                    \
	{ .name = "v", .type = OPT_UINT, .offset = offsetof(T, common.verbosity), .arg = "LEVEL",          \
	  .fallback = "2", .help = "How much is logged, 0 to 10: 2 is for production, 4 for debugging, "      \
				   "5 adds every CSI call." },                                                \
	{ .name = "logging-format", .type = OPT_CHOICE, .offset = offsetof(T, common.logging_format),      \
	  .arg = "FORMAT", .fallback = "text", .choices = "text|json",                                        \
	  .help = "Lines as klog writes them, or one JSON object a line." },                                  \
	{ .name = "debug", .type = OPT_STRING, .offset = offsetof(T, common.debug), .arg = "ROOM,...",     \
	  .help = "Debug lines of these parts alone, such as backend or kube.watch." },                       \
	{ .name = "version", .type = OPT_BOOL, .offset = offsetof(T, common.version),                      \
	  .help = "Print the version and end." },                                                             \
	{ .name = "help", .type = OPT_BOOL, .offset = offsetof(T, common.help), .help = "Print this." }
/* clang-format on */

/*
 * Parses argv into opts (which begins with struct cmd_common) and starts the log. True: go on.
 * False: end with *ret_exit (help or version was printed, or the usage error was). ret_rest may be
 * NULL where no arguments are taken.
 */
bool cmd_parse(const struct cmd *cmd, void *opts, int argc, char **argv, char ***ret_rest,
	       int *ret_n_rest, int *ret_exit);

/* "cleat driver: --node-id is missing" and where help is, on stderr. Returns CMD_USAGE. */
int cmd_usage(const struct cmd *cmd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for what was tried and failed: the words of err on stderr. Returns CMD_FAILED. */
int cmd_failed(const struct cmd *cmd, const struct err *err);

/* What others wrote (API objects, Events, ids), for a terminal: its control characters but line
 * feed and tab are '?'. malloc'ed. */
char *cmd_printable(const char *text);

/* "1.0 GiB", for people. */
#define CMD_BYTES_MAX 32
void cmd_format_bytes(uint64_t bytes, char ret_text[CMD_BYTES_MAX]);

extern const struct cmd cmd_node;
extern const struct cmd cmd_controller;
extern const struct cmd cmd_driver;
extern const struct cmd cmd_ctl;
extern const struct cmd cmd_completion;
extern const struct cmd cmd_version;

#define CMD_VERSION_TEXT CLEAT_VERSION

#endif
