/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleat version - which build this is
 *
 * Also names the version of the CSI specification that the wire messages follow, since that is what
 * a mismatch between a driver and a sidecar comes down to.
 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cmd/cmd.h"

struct options {
	struct cmd_common common;
	const char *output;
	const char *output_short;
};

/* clang-format off */
static const struct opt options[] = {
	{ .name = "output", .type = OPT_CHOICE, .offset = offsetof(struct options, output), .arg = "FORMAT",
	  .fallback = "text", .choices = "text|json", .help = "One line for people, or a JSON object." },
	{ .name = "o", .type = OPT_CHOICE, .offset = offsetof(struct options, output_short),
	  .arg = "FORMAT", .choices = "text|json", .help = "Short for --output." },
	CMD_COMMON_OPTIONS(struct options),
	{ .type = OPT_END },
};
/* clang-format on */

static int run(const struct cmd *cmd, int argc, char **argv)
{
	autostr struct str out = STR_INIT;
	struct json_writer w = JSON_WRITER(&out);
	struct options opts = { 0 };
	int status;

	if (!cmd_parse(cmd, &opts, argc, argv, NULL, NULL, &status))
		return status;
	if (strcmp(str_or(opts.output_short, opts.output), "json") != 0) {
		puts("cleat " CMD_VERSION_TEXT " (CSI 1.13)");
		return CMD_OK;
	}
	json_begin_object(&w);
	json_field_string(&w, "version", CMD_VERSION_TEXT);
	json_field_string(&w, "csi", "1.13.0");
	json_field_string(&w, "compiler", __VERSION__);
	json_end_object(&w);
	puts(str_get(&out));
	return CMD_OK;
}

const struct cmd cmd_version = {
	.name = "version",
	.summary = "Say which build this is.",
	.synopsis = "cleat version [-o json]",
	.options = options,
	.run = run,
};
