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
#include <unistd.h>

#include "backend/cephfs/serve.h"
#include "backend/rbd/serve.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/controller_run.h"
#include "cmd/controllers.h"
#include "cmd/sidecar.h"
#include "cmd/upstream.h"
#include "host/freeze.h"
#include "host/probe.h"

static int run_help(const struct cmd *cmd, int argc, char **argv);

static const struct cmd cmd_help = {
	.name = "help",
	.summary = "Show this list, or the help of one command.",
	.synopsis = "cleat help [COMMAND]",
	.run = run_help,
};

static const struct cmd *const commands[] = {
	&cmd_node,      &cmd_controller,        &cmd_driver,  &cmd_ctl,        &cmd_livenessprobe,
	&cmd_registrar, &cmd_snapshot_metadata, &cmd_cephcsi, &cmd_completion, &cmd_version,
	&cmd_help,
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
	int status = controller_as(row, argc + 1, args);

	controller_args_free(args);
	return status;
}

/* What the program of that name does: one of our commands, or a controller. */
static int run_program(const char *name, int argc, char **argv)
{
	const struct cmd *cmd = find_program(path_last(name));
	const struct controller_row *row;

	if (cmd)
		return cmd->run(cmd, argc, argv);
	row = controllers_find_program(controller_rows, n_controller_rows, name);
	return row ? run_controller(row, argc, argv) : -1;
}

static int run_upstream(const struct upstream_program *program, char **argv)
{
	struct upstream_line line;
	struct err err;
	int argc = 0;
	int status = upstream_parse(program, (const char *const *)argv, &line, &err);

	if (status) {
		fprintf(stderr, "%s: %s\nTry '%s --help'.\n", program->name, err.msg,
			program->name);
		return status;
	}
	if (line.is_help) {
		autostr struct str out = STR_INIT;

		upstream_help(program, &out);
		fputs(str_get(&out), stdout);
	} else {
		upstream_remark(&line);
		while (line.args[argc])
			argc++;
		status = run_program(argv[0], argc, line.args);
		/* Their words were good: what is wrong is between them, for which upstream ends so.
		 */
		if (status == CMD_USAGE)
			status = CMD_FAILED;
	}
	upstream_line_done(&line);
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

/* Nor does this one. The libraries that it loaded have threads that exit(3) would wait for, or
 * trip over. */
static int serve_image(void)
{
	if (rbd_serve(NULL) == 0)
		_exit(CMD_OK);
	fputs("cleat: '" RBD_SERVE "' is started by cleat itself, where the kernel has no client "
	      "for RBD\n",
	      stderr);
	return CMD_USAGE;
}

static int serve_volume(void)
{
	if (cephfs_serve() == 0)
		return CMD_OK;
	fputs("cleat: '" CEPHFS_SERVE
	      "' is started by cleat itself, where the kernel has no client "
	      "for CephFS\n",
	      stderr);
	return CMD_USAGE;
}

static int probe(const char *word, const char *path)
{
	if (host_probe_child(word, path) == 0)
		return CMD_OK;
	fprintf(stderr, "cleat: '%s' is started by cleat itself, to look at a mount\n", word);
	return CMD_USAGE;
}

int main(int argc, char **argv)
{
	const struct upstream_program *program;
	const struct cmd *cmd;
	int r;

	if (argc < 1)
		return CMD_USAGE;
	program = upstream_find(argv[0]);
	if (program)
		return run_upstream(program, argv);
	r = run_program(argv[0], argc, argv);
	if (r >= 0)
		return r;
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
	if (argc == 3 && strcmp(argv[1], RBD_SERVE) == 0)
		return serve_image();
	if (argc == 3 && strcmp(argv[1], CEPHFS_SERVE) == 0)
		return serve_volume();
	if (argc == 3 && host_probe_knows(argv[1]))
		return probe(argv[1], argv[2]);
	cmd = find_command(argv[1]);
	return cmd ? cmd->run(cmd, argc - 1, argv + 1) : complain(argv[1]);
}
