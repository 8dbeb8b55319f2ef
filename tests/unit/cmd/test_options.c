/* SPDX-License-Identifier: Apache-2.0 */
/* Every option of every program in its empty, doubled and odd forms: taken, or refused by its name;
 * and what was taken goes through the checks that come before a pool is opened. */
#include "base/mem.h"
#include "base/str.h"
#include "check.h"
#include "cmd/controller_run.h"
#include "cmd/serve.h"

#define OPTIONS_MAX 4096 /* more than any program's struct of options */

static const struct cmd *const programs[] = { &cmd_node, &cmd_controller, &cmd_driver,
					      &cmd_ctl,  &cmd_completion, &cmd_version };

/* A value that the option takes. */
static const char *good_value(const struct opt *o)
{
	static char choice[64];

	switch (o->type) {
	case OPT_BOOL:
		return "true";
	case OPT_UINT:
	case OPT_BYTES:
		return "7";
	case OPT_DURATION:
		return "7s";
	case OPT_CHOICE:
		(void)snprintf(choice, sizeof(choice), "%.*s", (int)strcspn(o->choices, "|"),
			       o->choices);
		return choice;
	default:
		return "/x";
	}
}

static bool takes_any_text(const struct opt *o)
{
	return o->type == OPT_STRING || o->type == OPT_LIST;
}

/* What the program's own check says of options that were parsed; must not crash, and names an
 * option. */
static void judge(const struct cmd *cmd, void *opts, const char *word)
{
	autoarena struct arena *a = arena_new();
	struct backend_config *configs;
	struct err err;
	size_t n;
	int r = 0;

	if (cmd == &cmd_node || cmd == &cmd_driver) {
		((struct serve_options *)opts)->is_node = cmd == &cmd_node;
		r = serve_check(opts, a, &configs, &n, &err);
	} else if (cmd == &cmd_controller) {
		r = controller_check(opts, &err);
	}
	if (r < 0 && (err.code != ERR_INVALID_ARGUMENT || !strstr(err.msg, "--")))
		fail_msg("%s %s: names no option: %s", cmd->name, word, err.msg);
}

static void try(const struct cmd *cmd, const struct opt *o, const char *first, const char *second,
		bool is_taken)
{
	static _Alignas(16) char opts[OPTIONS_MAX];
	autofree char *word = xstrdup(first);
	autofree char *next = xstrdup(second ? second : "");
	char name[] = "cleat";
	char *argv[] = { name, word, second ? next : NULL, NULL };
	struct err err;
	char **rest;
	int n, r = opt_parse(cmd->options, opts, second ? 3 : 2, argv, &rest, &n, &err);

	if (is_taken != (r == 0))
		fail_msg("%s %s %s: %s", cmd->name, first, second ? second : "",
			 r == 0 ? "was taken" : err.msg);
	if (r == 0) {
		judge(cmd, opts, first);
		opt_done(cmd->options, opts);
	} else if (err.code != ERR_INVALID_ARGUMENT || !strstr(err.msg, o->name)) {
		fail_msg("%s %s: does not name the option: %s", cmd->name, first, err.msg);
	}
}

static void try_forms(const struct cmd *cmd, const struct opt *o)
{
	const char *good = good_value(o);
	autofree char *plain = xasprintf("--%s=%s", o->name, good);
	autofree char *bare = xasprintf("--%s", o->name);
	autofree char *three = xasprintf("---%s", o->name);
	const struct {
		const char *tail;
		bool is_taken;
	} forms[] = {
		{ "=", takes_any_text(o) },
		{ "==", takes_any_text(o) },
		{ "= ", takes_any_text(o) },
		{ "=\n", takes_any_text(o) },
		{ "=\xff", takes_any_text(o) },
		{ "=-1", takes_any_text(o) },
		{ "=/x=", takes_any_text(o) },
		{ "==/x", takes_any_text(o) },
		{ "=a=", takes_any_text(o) },
		{ "=a=/x", takes_any_text(o) },
		{ "=99999999999999999999999", takes_any_text(o) },
	};

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		autofree char *word = xasprintf("--%s%s", o->name, forms[i].tail);

		try(cmd, o, word, NULL, forms[i].is_taken);
		try(cmd, o, word + 1, NULL, forms[i].is_taken);
	}
	try(cmd, o, plain, NULL, true);
	try(cmd, o, plain, plain, o->type == OPT_LIST);
	try(cmd, o, bare, good, true);
	try(cmd, o, bare, NULL, o->type == OPT_BOOL);
	try(cmd, o, bare, "--v=2", o->type == OPT_BOOL && strcmp(o->name, "v") != 0);
	try(cmd, o, three, NULL, false);
}

TEST(odd_forms_are_taken_or_refused_by_name)
{
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		for (const struct opt *o = programs[i]->options; o->type != OPT_END; o++) {
			if (o->type != OPT_GROUP)
				try_forms(programs[i], o);
		}
	}
}

TEST(a_pool_without_its_name_is_refused)
{
	static const struct {
		const char *value, *says;
	} cases[] = {
		{ "=/srv/pool", "the name before '=' is missing" },
		{ "=", "the name before '=' is missing" },
		{ "==/srv/pool", "the name before '=' is missing" },
		{ "", "''" },
		{ "fast=", "''" },
		{ "fast==/srv", "'=/srv'" },
		{ ".=/srv", "cannot be a pool's name" },
		{ "Fast=/srv", "cannot be a pool's name" },
		{ "-a=/srv", "cannot be a pool's name" },
		{ "a b=/srv", "cannot be a pool's name" },
		{ "/", "'/'" },
		{ "//", "'//'" },
		{ "/srv/", "'/srv/'" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autoarena struct arena *a = arena_new();
		const char *value[] = { cases[i].value };
		struct pools_options pool = { .pool = { value, 1 }, .backend = "pool" };
		struct pools_options image = { .image = { value, 1 }, .backend = "pool" };
		struct backend_config *c;
		struct err err;
		size_t n;

		ASSERT_ERR(pools_configure(a, &pool, "n1", &c, &n, &err), &err,
			   ERR_INVALID_ARGUMENT, cases[i].says);
		ASSERT_ERR(pools_configure(a, &image, "n1", &c, &n, &err), &err,
			   ERR_INVALID_ARGUMENT, "--pool-image=");
	}
}

TEST(an_http_endpoint_is_judged_by_its_words)
{
	static const struct {
		const char *endpoint, *path, *says; /* NULL: fine */
	} cases[] = {
		{ "", "/metrics", NULL },
		{ ":9808", "/metrics", NULL },
		{ "127.0.0.1:9808", "/metrics", NULL },
		{ "[::1]:9808", "/metrics", NULL },
		{ ":9808", "", "--metrics-path" },
		{ ":9808", "metrics", "--metrics-path" },
		{ "9808", "/metrics", "--http-endpoint" },
		{ "=", "/metrics", "--http-endpoint" },
		{ ":", "/metrics", "--http-endpoint" },
		{ ":http", "/metrics", "--http-endpoint" },
		{ ":99999", "/metrics", "--http-endpoint" },
		{ "::1:9808", "/metrics", "--http-endpoint" },
		{ "/run/x:1", "/metrics", "--http-endpoint" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err;

		if (!cases[i].says)
			ASSERT_OK(http_check(cases[i].endpoint, cases[i].path, &err), &err);
		else
			ASSERT_ERR(http_check(cases[i].endpoint, cases[i].path, &err), &err,
				   ERR_INVALID_ARGUMENT, cases[i].says);
	}
}

RUN_TESTS(UNIT(odd_forms_are_taken_or_refused_by_name), UNIT(a_pool_without_its_name_is_refused),
	  UNIT(an_http_endpoint_is_judged_by_its_words))
