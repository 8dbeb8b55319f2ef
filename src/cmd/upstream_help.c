/* SPDX-License-Identifier: Apache-2.0 */
/* What is printed for --help by upstream's names: the tables, and what becomes of each line here.
 */
#include "cmd/upstream.h"

#include "base/log.h"
#include "base/mem.h"

static const char *use_text(enum upstream_use use)
{
	switch (use) {
	case UPSTREAM_TAKEN:
		break;
	case UPSTREAM_IDLE:
		return "without effect";
	case UPSTREAM_MISSING:
		return "refused unless it is the default";
	case UPSTREAM_GONE:
		return "of earlier releases, without effect";
	}
	return "taken";
}

void upstream_help(const struct upstream_program *p, struct str *out)
{
	const struct upstream_flag *f;

	str_appendf(out,
		    "usage: %s [option...]\n\nWhat %s does, with its options; docs/flags.md "
		    "tells more.\n\n",
		    p->name, p->release);
	for (size_t i = 0; (f = upstream_flag_at(p, i)); i++)
		str_appendf(out, "  --%-34s %s%s%s\n", f->name, use_text(f->use),
			    f->note ? ": " : "", f->note ? f->note : "");
	if (!p->gates)
		return;
	str_append(out, "\nFeature gates of its own:\n");
	for (const struct upstream_gate *g = p->gates; g->name; g++)
		str_appendf(out, "  %-36s %s%s\n", g->name, g->is_on ? "on" : "off",
			    g->option ? "" : ", without effect");
}

/* The value that an option of the line has; NULL: none. */
static const char *arg_of(const struct upstream_line *line, const char *head)
{
	const char *found = NULL;

	for (size_t i = 1; line->args[i]; i++)
		if (str_has_prefix(line->args[i], head))
			found = line->args[i] + strlen(head);
	return found;
}

void upstream_remark(const struct upstream_line *line)
{
	autofree char *text = xstrdup(str_get(&line->remarks));

	log_init(&(struct log_options){
		.format = str_is_equal(arg_of(line, "--logging-format="), "json") ? LOG_JSON
										  : LOG_TEXT,
		.verbosity = 2,
	});
	for (char *at = text, *end; *at; at = end + 1) {
		end = at + strcspn(at, "\n");
		*end = '\0';
		log_warn("command line", log_str("remark", at));
	}
}
