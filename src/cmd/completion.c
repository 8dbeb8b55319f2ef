/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat completion - a script for the shell that completes what is typed
 *
 * The script is made of the option tables and the verbs of ctl, so it cannot know less than the
 * program. bash and zsh share one function: zsh has bash's way of completing built in.
 */
#include "cmd/completion.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/ctl.h"
#include "cmd/sidecar.h"

struct options {
	struct cmd_common common;
};

static const struct opt options[] = {
	CMD_COMMON_OPTIONS(struct options),
	{ .type = OPT_END },
};

static const struct cmd *const programs[] = {
	&cmd_node,      &cmd_controller,        &cmd_driver,  &cmd_ctl,        &cmd_livenessprobe,
	&cmd_registrar, &cmd_snapshot_metadata, &cmd_cephcsi, &cmd_completion, &cmd_version
};
static const char *const shells[] = { "bash", "zsh", "fish" };

static const char *dashes(const struct opt *o)
{
	return o->name[1] ? "--" : "-";
}

/* "--endpoint= --insecure -o": with '=' where a value belongs. */
static void append_options(const struct cmd *cmd, struct str *out)
{
	for (const struct opt *o = cmd->options; o->type != OPT_END; o++) {
		if (o->type == OPT_GROUP)
			continue;
		str_appendf(out, "%s%s%s ", dashes(o), o->name,
			    o->type == OPT_BOOL || !o->name[1] ? "" : "=");
	}
}

/* The verbs of each group of ctl, and the groups. */
static void append_verbs(struct str *out)
{
	for (size_t i = 0; i < CTL_N_GROUPS; i++) {
		str_appendf(out, "\t\tctl/%s) words=\"$words ", ctl_groups[i].name);
		for (const struct ctl_verb *v = ctl_groups[i].verbs; v->name; v++)
			str_appendf(out, "%s ", v->name);
		str_append(out, "\" ;;\n");
	}
	str_append(out, "\t\tctl/*) words=\"$words ");
	for (size_t i = 0; i < CTL_N_GROUPS; i++)
		str_appendf(out, "%s ", ctl_groups[i].name);
	for (const struct ctl_verb *v = ctl_lone_verbs; v->name; v++)
		str_appendf(out, "%s ", v->name);
	str_append(out, "\" ;;\n");
}

static void append_choices(const struct cmd *cmd, struct str *out)
{
	for (const struct opt *o = cmd->options; o->type != OPT_END; o++) {
		autofree char *words = NULL;

		if (o->type != OPT_CHOICE || !o->name[1])
			continue;
		words = xstrdup(o->choices);
		for (char *p = words; *p; p++)
			*p = *p == '|' ? ' ' : *p;
		str_appendf(out, "\t--%s) words='%s' ;;\n", o->name, words);
	}
}

/* bash splits "--name=value" into three words, of which '=' is one. */
static void write_bash(struct str *out)
{
	str_append(out, "_cleat() {\n"
			"\tlocal words='' cur=${COMP_WORDS[COMP_CWORD]}\n"
			"\tlocal prev=${COMP_WORDS[COMP_CWORD-1]}\n"
			"\t[ \"$cur\" != '=' ] || { prev='='; cur=''; }\n"
			"\tif [ \"$prev\" = '=' ]; then\n"
			"\t\tlocal at=$((COMP_CWORD - 2))\n"
			"\t\t[ -n \"$cur\" ] || [ \"${COMP_WORDS[COMP_CWORD]}\" != '=' ] || "
			"at=$((COMP_CWORD - 1))\n"
			"\t\tcase ${COMP_WORDS[1]}${COMP_WORDS[at]} in\n");
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		autostr struct str choices = STR_INIT;

		append_choices(programs[i], &choices);
		for (char *line = choices.buf; line && *line; line = strchr(line, '\n') + 1)
			str_appendf(out, "\t\t%s%.*s\n", programs[i]->name,
				    (int)strcspn(line + 1, "\n"), line + 1);
	}
	str_append(out, "\t\tesac\n"
			"\telif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\twords='help ");
	for (size_t i = 0; i < ARRAY_LEN(programs); i++)
		str_appendf(out, "%s ", programs[i]->name);
	str_append(out, "'\n\telse\n\t\tcase ${COMP_WORDS[1]} in\n");
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		str_appendf(out, "\t\t%s) words='", programs[i]->name);
		append_options(programs[i], out);
		str_append(out, "' ;;\n");
	}
	str_append(out, "\t\tesac\n\t\tcase ${COMP_WORDS[1]}/${COMP_WORDS[2]} in\n");
	append_verbs(out);
	str_append(out, "\t\tcompletion/*) words=\"$words bash zsh fish\" ;;\n\t\tesac\n\tfi\n"
			"\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
			"\tcase ${COMPREPLY[0]:-} in *=) compopt -o nospace 2>/dev/null ;; esac\n"
			"}\n"
			"complete -o default -F _cleat cleat\n");
}

/* A text in single quotes, up to the end of its first sentence. */
static void append_quoted(const char *text, struct str *out)
{
	const char *end = strstr(text, ". ");
	size_t n = end ? (size_t)(end - text) : strlen(text);

	str_append_char(out, '\'');
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '\'' || text[i] == '\\')
			str_append_char(out, '\\');
		str_append_char(out, text[i]);
	}
	str_append_char(out, '\'');
}

static void write_fish_options(const struct cmd *cmd, struct str *out)
{
	for (const struct opt *o = cmd->options; o->type != OPT_END; o++) {
		if (o->type == OPT_GROUP)
			continue;
		str_appendf(out, "complete -c cleat -n '__fish_seen_subcommand_from %s' -%c %s%s",
			    cmd->name, o->name[1] ? 'l' : 's', o->name,
			    o->type == OPT_BOOL ? "" : " -r");
		if (o->type == OPT_CHOICE) {
			autofree char *words = xstrdup(o->choices);

			for (char *p = words; *p; p++)
				*p = *p == '|' ? ' ' : *p;
			str_appendf(out, " -f -a '%s'", words);
		}
		str_append(out, " -d ");
		append_quoted(str_or(o->help, ""), out);
		str_append_char(out, '\n');
	}
}

static void write_fish_verb(const char *after, const struct ctl_verb *v, struct str *out)
{
	str_appendf(out, "complete -c cleat -f -n '__fish_seen_subcommand_from %s' -a %s -d ",
		    after, v->name);
	append_quoted(v->summary, out);
	str_append_char(out, '\n');
}

static void write_fish_group(const struct ctl_group *group, struct str *out)
{
	str_appendf(out, "complete -c cleat -f -n '__fish_seen_subcommand_from ctl' -a %s\n",
		    group->name);
	for (const struct ctl_verb *v = group->verbs; v->name; v++)
		write_fish_verb(group->name, v, out);
}

static void write_fish(struct str *out)
{
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		str_appendf(out, "complete -c cleat -f -n __fish_use_subcommand -a %s -d ",
			    programs[i]->name);
		append_quoted(programs[i]->summary, out);
		str_append_char(out, '\n');
		write_fish_options(programs[i], out);
	}
	for (size_t i = 0; i < CTL_N_GROUPS; i++)
		write_fish_group(&ctl_groups[i], out);
	for (const struct ctl_verb *v = ctl_lone_verbs; v->name; v++)
		write_fish_verb("ctl", v, out);
	str_append(out, "complete -c cleat -f -n '__fish_seen_subcommand_from completion' -a "
			"'bash zsh fish'\n");
}

void completion_write(const char *shell, struct str *out)
{
	if (str_is_equal(shell, "fish")) {
		write_fish(out);
		return;
	}
	if (str_is_equal(shell, "zsh"))
		str_append(out,
			   "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n");
	write_bash(out);
}

static int run(const struct cmd *cmd, int argc, char **argv)
{
	autostr struct str out = STR_INIT;
	struct options opts = { 0 };
	char **rest;
	int n_rest;
	int status;

	if (!cmd_parse(cmd, &opts, argc, argv, &rest, &n_rest, &status))
		return status;
	for (size_t i = 0; n_rest == 1 && i < ARRAY_LEN(shells); i++) {
		if (!str_is_equal(rest[0], shells[i]))
			continue;
		completion_write(shells[i], &out);
		fputs(str_get(&out), stdout);
		return CMD_OK;
	}
	if (n_rest != 1)
		return cmd_usage(cmd, "which shell? bash, zsh or fish");
	return cmd_usage(cmd, "no script for '%s'; there is one for bash, zsh and fish", rest[0]);
}

const struct cmd cmd_completion = {
	.name = "completion",
	.summary = "Write a script that completes command lines in bash, zsh or fish.",
	.synopsis = "cleat completion bash|zsh|fish",
	.about = "For this shell: . <(cleat completion bash)\n"
		 "For all of them: cleat completion bash > /etc/bash_completion.d/cleat\n",
	.options = options,
	.run = run,
};
