/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat - one program, several roles
 *
 * The first argument names the role; the table below is the list that people and --help see. A word
 * that is no command ends with 2 and names the nearest one, since a typing error in a manifest
 * should be found at once and not look like a crashing container. Called by the name of one of
 * Kubernetes' own programs (a link, an image's entrypoint) it does what that one does.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/controllers.h"
#include "cmd/sidecar.h"
#include "host/freeze.h"

static int run_help(const struct cmd *cmd, int argc, char **argv);

static const struct cmd cmd_help = {
	.name = "help",
	.summary = "Show this list, or the help of one command.",
	.synopsis = "cleat help [COMMAND]",
	.run = run_help,
};

static const struct cmd *const commands[] = {
	&cmd_node,      &cmd_controller, &cmd_driver,  &cmd_ctl,  &cmd_livenessprobe,
	&cmd_registrar, &cmd_completion, &cmd_version, &cmd_help,
};

static const struct cmd *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

static const struct cmd *find_program(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (str_is_equal(commands[i]->program, name))
			return commands[i];
	}
	return NULL;
}

static void print_commands(FILE *to)
{
	fputs("cleat: Kubernetes storage for local disks, in one small program.\n\n"
	      "usage: cleat COMMAND [option...]\n\n",
	      to);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(to, "  %-22s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\n'cleat COMMAND --help' explains one of them.\n", to);
}

static int complain(const char *word)
{
	const char *names[ARRAY_LEN(commands)];
	const char *near;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		names[i] = commands[i]->name;
	near = opt_nearest(word, names, ARRAY_LEN(names));
	fprintf(stderr, "cleat: unknown command '%s'", word);
	if (near)
		fprintf(stderr, "; did you mean '%s'?", near);
	fputs("\nTry 'cleat help'.\n", stderr);
	return CMD_USAGE;
}

static int run_help(const struct cmd *cmd, int argc, char **argv)
{
	const struct cmd *about;
	char option[] = "--help";

	if (argc < 2) {
		print_commands(stdout);
		return CMD_OK;
	}
	about = find_command(argv[1]);
	if (!about)
		return complain(argv[1]);
	if (about == cmd) {
		print_commands(stdout);
		return CMD_OK;
	}
	return about->run(about, 2, (char *[]){ argv[1], option, NULL });
}

static int run_controller(const struct controller_row *row, int argc, char **argv)
{
	char **args = controller_args(row, (const char *const *)argv);
	int status = cmd_controller.run(&cmd_controller, argc + 1, args);

	controller_args_free(args);
	return status;
}

/* Not in the list: no person starts it. */
static int guard(void)
{
	if (host_freeze_guard() == 0)
		return CMD_OK;
	fputs("cleat: '" HOST_FREEZE_GUARD "' is started by cleat itself, when it freezes a "
	      "filesystem\n",
	      stderr);
	return CMD_USAGE;
}

int main(int argc, char **argv)
{
	const struct controller_row *row;
	const struct cmd *cmd;
	struct err err;
	int r;

	if (argc < 1)
		return CMD_USAGE;
	cmd = find_program(path_last(argv[0]));
	if (cmd)
		return cmd->run(cmd, argc, argv);
	r = controllers_find_program(controller_rows, n_controller_rows, argv[0], &row, &err);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", path_last(argv[0]), err.msg);
		return CMD_USAGE;
	}
	if (r > 0)
		return run_controller(row, argc, argv);
	if (argc < 2) {
		print_commands(stderr);
		return CMD_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_commands(stdout);
		return CMD_OK;
	}
	if (strcmp(argv[1], "--version") == 0)
		return cmd_version.run(&cmd_version, 1, (char *[]){ (char[]){ "version" }, NULL });
	if (argc == 2 && strcmp(argv[1], HOST_FREEZE_GUARD) == 0)
		return guard();
	cmd = find_command(argv[1]);
	return cmd ? cmd->run(cmd, argc - 1, argv + 1) : complain(argv[1]);
}
