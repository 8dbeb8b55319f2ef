/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options as data. The syntax is that of Go's flag package, because the
 * manifests in which cleat replaces a program were written for it; two things
 * are stricter on purpose: an option given twice is an error unless it is a
 * list, and words that are no options may stand anywhere.
 *
 * A value is checked the same way wherever it comes from: the command line,
 * the environment or the table's own default (which is a bug if it fails).
 */
#include "base/opt.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>

#define HELP_WIDTH 100
#define HELP_COLUMN 34

/* What one option may be set to, for messages. */
static const char *describe_values(const struct opt *o)
{
	switch (o->type) {
	case OPT_BOOL:
		return "true or false";
	case OPT_UINT:
		return "a whole number up to 4294967295";
	case OPT_BYTES:
		return "a size such as 4096, 500M or 8Gi";
	case OPT_DURATION:
		return "a duration such as 250ms, 10s or 1m30s";
	case OPT_CHOICE:
		return o->choices;
	case OPT_END:
	case OPT_STRING:
	case OPT_LIST:
	case OPT_GROUP:
		break;
	}
	return "a text";
}

static int parse_bool(const char *text, bool *ret_value)
{
	static const char *const words[] = { "false", "0", "f", "F", "False", "FALSE",
					     "true",  "1", "t", "T", "True",  "TRUE" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_is_equal(text, words[i])) {
			*ret_value = i >= ARRAY_LEN(words) / 2;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_choice(const char *choices, const char *text, const char **ret_value)
{
	size_t n = strlen(text);

	for (const char *c = choices;; c++) {
		size_t n_choice = strcspn(c, "|");

		if (n > 0 && n == n_choice && strncmp(c, text, n) == 0)
			break;
		c += n_choice;
		if (*c == '\0')
			return -EINVAL;
	}
	*ret_value = text;
	return 0;
}

static int push(struct opt_list *list, const char *text)
{
	list->v = xrealloc(list->v, (list->n + 1) * sizeof(*list->v));
	list->v[list->n++] = text;
	return 0;
}

/* Stores a value that is good; a bad one leaves the target as it is. */
static int store(const struct opt *o, void *opts, const char *text)
{
	void *target = (char *)opts + o->offset;

	switch (o->type) {
	case OPT_BOOL:
		return parse_bool(text, target);
	case OPT_STRING:
		*(const char **)target = text;
		return 0;
	case OPT_LIST:
		return push(target, text);
	case OPT_UINT:
		return str_parse_u32(text, UINT32_MAX, target);
	case OPT_BYTES:
		return opt_parse_bytes(text, target);
	case OPT_DURATION:
		return opt_parse_duration(text, target);
	case OPT_CHOICE:
		return parse_choice(o->choices, text, target);
	case OPT_END:
	case OPT_GROUP:
		break;
	}
	return 0;
}

static void clear(const struct opt *o, void *opts)
{
	static const size_t sizes[] = {
		[OPT_BOOL] = sizeof(bool),
		[OPT_STRING] = sizeof(char *),
		[OPT_LIST] = sizeof(struct opt_list),
		[OPT_UINT] = sizeof(unsigned),
		[OPT_BYTES] = sizeof(uint64_t),
		[OPT_DURATION] = sizeof(int64_t),
		[OPT_CHOICE] = sizeof(char *),
		[OPT_GROUP] = 0,
	};

	memset((char *)opts + o->offset, 0, sizes[o->type]);
}

static const struct opt *find_option(const struct opt *table, const char *name, size_t n)
{
	for (const struct opt *o = table; o->type != OPT_END; o++) {
		if (o->type != OPT_GROUP && strlen(o->name) == n && strncmp(o->name, name, n) == 0)
			return o;
	}
	return NULL;
}

static size_t count_options(const struct opt *table)
{
	size_t n = 0;

	while (table[n].type != OPT_END)
		n++;
	return n;
}

static int refuse_unknown(const struct opt *table, const char *name, size_t n, struct err *err)
{
	autofree const char **names = xcalloc(count_options(table), sizeof(*names));
	autofree char *word = xstrndup(name, n);
	const char *nearest;
	size_t n_names = 0;

	for (const struct opt *o = table; o->type != OPT_END; o++) {
		if (o->type != OPT_GROUP)
			names[n_names++] = o->name;
	}
	nearest = opt_nearest(word, names, n_names);
	if (!nearest)
		return err_set(err, ERR_INVALID_ARGUMENT, "unknown option '--%s'", word);
	return err_set(err, ERR_INVALID_ARGUMENT, "unknown option '--%s'; did you mean '--%s'?",
		       word, nearest);
}

static int refuse_value(const struct opt *o, const char *text, const char *from, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "option '--%s': '%s'%s%s is not %s%s", o->name,
		       text, from ? " from the environment variable " : "", from ? from : "",
		       o->type == OPT_CHOICE ? "one of " : "", describe_values(o));
}

/* Whether word is one of the table's options, so that it cannot have been meant as a value. */
static bool is_known_option(const struct opt *table, const char *word)
{
	const char *name = word + 2;

	return str_has_prefix(word, "--") && find_option(table, name, strcspn(name, "="));
}

/* Handles the option at argv[*at]; moves *at when the value is the next word. */
static int parse_option(const struct opt *table, void *opts, int argc, char **argv, int *at,
			bool *seen, struct err *err)
{
	const char *name = argv[*at] + (argv[*at][1] == '-' ? 2 : 1);
	size_t n = strcspn(name, "=");
	const char *text = name[n] == '=' ? name + n + 1 : NULL;
	const struct opt *o = find_option(table, name, n);

	if (!o && argv[*at][1] != '-') {
		/* "-ojson", as people know it of options of one letter */
		o = find_option(table, name, 1);
		text = name + 1;
	}
	if (!o)
		return refuse_unknown(table, name, n, err);
	if (seen[o - table] && o->type != OPT_LIST)
		return err_set(err, ERR_INVALID_ARGUMENT, "option '--%s' is given twice", o->name);
	seen[o - table] = true;
	if (!text && o->type == OPT_BOOL)
		text = "true";
	if (!text && *at + 1 < argc && !is_known_option(table, argv[*at + 1]))
		text = argv[++*at];
	if (!text)
		return err_set(err, ERR_INVALID_ARGUMENT, "option '--%s' needs %s%s", o->name,
			       o->type == OPT_CHOICE ? "one of " : "", describe_values(o));
	if (store(o, opts, text) < 0)
		return refuse_value(o, text, NULL, err);
	return 0;
}

/* An option is a dash and more; a lone dash is a word. */
static bool is_option(const char *word)
{
	return word[0] == '-' && word[1] != '\0';
}

static int parse_argv(const struct opt *table, void *opts, int argc, char **argv, int *ret_n_rest,
		      bool *seen, struct err *err)
{
	int n_rest = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			while (++i < argc)
				argv[1 + n_rest++] = argv[i];
		} else if (!is_option(argv[i])) {
			argv[1 + n_rest++] = argv[i];
		} else if (parse_option(table, opts, argc, argv, &i, seen, err) < 0) {
			return -1;
		}
	}
	*ret_n_rest = n_rest;
	return 0;
}

static int apply_fallbacks(const struct opt *table, void *opts, const bool *seen, struct err *err)
{
	for (const struct opt *o = table; o->type != OPT_END; o++) {
		const char *env = o->env && !seen[o - table] ? getenv(o->env) : NULL;

		if (seen[o - table])
			continue;
		if (!str_is_empty(env) && store(o, opts, env) < 0)
			return refuse_value(o, env, o->env, err);
		if (str_is_empty(env) && o->fallback) {
			int r = store(o, opts, o->fallback);

			assert(r == 0);
			(void)r;
		}
	}
	return 0;
}

int opt_parse(const struct opt *table, void *opts, int argc, char **argv, char ***ret_rest,
	      int *ret_n_rest, struct err *err)
{
	autofree bool *seen = xcalloc(count_options(table), sizeof(*seen));
	int n_rest = 0;

	for (const struct opt *o = table; o->type != OPT_END; o++)
		clear(o, opts);
	if ((argc > 0 && parse_argv(table, opts, argc, argv, &n_rest, seen, err) < 0) ||
	    apply_fallbacks(table, opts, seen, err) < 0) {
		opt_done(table, opts);
		return -1;
	}
	*ret_rest = argv + (argc > 0);
	*ret_n_rest = n_rest;
	return 0;
}

void opt_done(const struct opt *table, void *opts)
{
	for (const struct opt *o = table; o->type != OPT_END; o++) {
		struct opt_list *list = (void *)((char *)opts + o->offset);

		if (o->type != OPT_LIST)
			continue;
		free(list->v);
		*list = (struct opt_list){ 0 };
	}
}

/* Words of text from column at on, new lines indented to HELP_COLUMN. */
static void wrap(struct str *out, const char *text)
{
	size_t at = HELP_COLUMN;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (at > HELP_COLUMN && at + 1 + n > HELP_WIDTH) {
			str_appendf(out, "\n%*s", HELP_COLUMN, "");
			at = HELP_COLUMN;
		} else if (at > HELP_COLUMN) {
			str_append_char(out, ' ');
			at++;
		}
		str_append_n(out, text, n);
		at += n;
		text += n;
		text += strspn(text, " ");
	}
	str_append_char(out, '\n');
}

static void print_option(const struct opt *o, struct str *out)
{
	autostr struct str head = STR_INIT;
	autostr struct str text = STR_INIT;
	const char *arg = o->type == OPT_CHOICE && !o->arg ? o->choices : str_or(o->arg, "VALUE");

	str_appendf(&head, "  %s%s", o->name[1] ? "--" : "-", o->name);
	if (o->type != OPT_BOOL)
		str_appendf(&head, "=%s", arg);
	if (head.len + 2 > HELP_COLUMN)
		str_appendf(out, "%s\n%*s", head.buf, HELP_COLUMN, "");
	else
		str_appendf(out, "%-*s", HELP_COLUMN, head.buf);
	str_append(&text, str_or(o->help, ""));
	if (o->type == OPT_LIST)
		str_append(&text, " May be given more than once.");
	if (o->type == OPT_CHOICE && o->arg)
		str_appendf(&text, " One of %s.", o->choices);
	if (!str_is_empty(o->fallback) && o->type != OPT_BOOL)
		str_appendf(&text, " Default: %s.", o->fallback);
	if (o->env)
		str_appendf(&text, " Environment: %s.", o->env);
	wrap(out, text.buf);
}

void opt_help(const struct opt *table, struct str *out)
{
	for (const struct opt *o = table; o->type != OPT_END; o++) {
		if (o->type == OPT_GROUP)
			str_appendf(out, "%s%s:\n", o == table ? "" : "\n", o->name);
		else
			print_option(o, out);
	}
}

/* The unit that *text begins with, in ns, and moves behind it; 0 if none. */
static int64_t parse_unit(const char **text)
{
	static const struct {
		const char *name;
		int64_t ns;
	} units[] = {
		{ "ns", 1 },
		{ "us", NS_PER_US },
		{ "\xc2\xb5s", NS_PER_US }, /* micro sign */
		{ "\xce\xbcs", NS_PER_US }, /* Greek mu */
		{ "ms", NS_PER_MS },
		{ "s", NS_PER_S },
		{ "m", 60 * NS_PER_S },
		{ "h", 3600 * NS_PER_S },
	};

	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (str_has_prefix(*text, units[i].name)) {
			*text += strlen(units[i].name);
			return units[i].ns;
		}
	}
	return 0;
}

/* Digits at *text as whole · scale, moving behind them; false on overflow. */
static bool parse_digits(const char **text, uint64_t *ret_value, double *ret_scale)
{
	*ret_value = 0;
	*ret_scale = 1;
	for (; **text >= '0' && **text <= '9'; (*text)++) {
		if (__builtin_mul_overflow(*ret_value, 10, ret_value) ||
		    __builtin_add_overflow(*ret_value, (uint64_t)(**text - '0'), ret_value))
			return false;
		*ret_scale *= 10;
	}
	return true;
}

int opt_parse_duration(const char *text, int64_t *ret_ns)
{
	int64_t sum = 0;

	if (str_is_equal(text, "0")) {
		*ret_ns = 0;
		return 0;
	}
	if (str_is_empty(text))
		return -EINVAL;
	while (*text) {
		const char *start = text;
		uint64_t whole;
		uint64_t fraction = 0;
		double scale = 1;
		size_t n_digits;
		int64_t unit;
		int64_t part;

		if (!parse_digits(&text, &whole, &scale))
			return -EINVAL;
		n_digits = (size_t)(text - start);
		if (*text == '.') {
			start = ++text;
			if (!parse_digits(&text, &fraction, &scale))
				return -EINVAL;
			n_digits += (size_t)(text - start);
		} else {
			scale = 1;
		}
		unit = parse_unit(&text);
		if (n_digits == 0 || unit == 0 ||
		    __builtin_mul_overflow(whole, (uint64_t)unit, &part) ||
		    __builtin_add_overflow(sum, part, &sum) ||
		    __builtin_add_overflow(sum, (int64_t)((double)fraction / scale * (double)unit),
					   &sum))
			return -EINVAL;
	}
	*ret_ns = sum;
	return 0;
}

int opt_parse_bytes(const char *text, uint64_t *ret_bytes)
{
	static const char letters[] = "kMGTPE";
	const char *letter;
	size_t n = strspn(text, "0123456789");
	autofree char *digits = xstrndup(text, n);
	uint64_t v;
	uint64_t step = 1000;
	int r = str_parse_u64(digits, &v);

	if (r < 0)
		return r;
	text += n;
	letter = *text ? strchr(letters, *text == 'K' ? 'k' : *text) : NULL;
	if (*text &&
	    (!letter || (text[1] && (text[1] != 'i' || text[2])) || *text == (text[1] ? 'k' : 'K')))
		return -EINVAL;
	if (letter && text[1] == 'i')
		step = 1024;
	for (ptrdiff_t i = letter ? letter - letters + 1 : 0; i > 0; i--) {
		if (__builtin_mul_overflow(v, step, &v))
			return -ERANGE;
	}
	*ret_bytes = v;
	return 0;
}

const char *opt_nearest(const char *word, const char *const *known, size_t n)
{
	size_t best = strlen(word) / 3 + 1;
	const char *nearest = NULL;

	for (size_t i = 0; i < n; i++) {
		size_t distance = str_distance(word, known[i]);

		if (distance < best) {
			best = distance;
			nearest = known[i];
		}
	}
	return nearest;
}
