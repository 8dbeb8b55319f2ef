/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines of upstream's programs, by the rules of their libraries: one or two dashes, the
 * last of several counts, maps grow together, a word that is no option ends them. What is wrong
 * with a word ends with 2, as there; what is wrong between options, or with a gate, as the program
 * itself ends.
 *
 *   words ──► values, one a flag ──► checks ──► options of ours, by upstream's names
 *
 * The controller's row says which of our options those are (controller_args).
 */
#include "cmd/upstream.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/path.h"

#define BAD_WORD 2
#define BAD_LINE 1
#define THREADS_MAX 256
#define LEVEL_MAX 10
#define UID_DIGITS 32

struct parse {
	const struct upstream_program *p;
	struct upstream_line *line;
	size_t n;      /* flags */
	char **values; /* one a flag; NULL: not given */
	struct err *err;
};

static void remark(struct parse *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void remark(struct parse *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	str_vappendf(&s->line->remarks, fmt, ap);
	va_end(ap);
	str_append_char(&s->line->remarks, '\n');
}

static int refuse(struct parse *s, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int refuse(struct parse *s, int code, const char *fmt, ...)
{
	autostr struct str text = STR_INIT;
	va_list ap;

	va_start(ap, fmt);
	str_vappendf(&text, fmt, ap);
	va_end(ap);
	(void)err_set(s->err, ERR_INVALID_ARGUMENT, "%s", str_get(&text));
	return code;
}

static int find(const struct parse *s, const char *name, size_t n)
{
	for (size_t i = 0; i < s->n; i++) {
		const char *known = upstream_flag_at(s->p, i)->name;

		if (strlen(known) == n && strncmp(known, name, n) == 0)
			return (int)i;
	}
	return -1;
}

static const char *value_of(const struct parse *s, const char *name)
{
	int i = find(s, name, strlen(name));

	return i < 0 ? NULL : s->values[i];
}

/* ---- values ---- */

static bool is_bool(enum upstream_kind kind)
{
	return kind == UPSTREAM_BOOL || kind == UPSTREAM_OFF;
}

static int parse_bool(const char *text, bool *ret_value)
{
	static const char *const words[] = { "0", "f", "F", "false", "False", "FALSE",
					     "1", "t", "T", "true",  "True",  "TRUE" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_is_equal(text, words[i])) {
			*ret_value = i >= ARRAY_LEN(words) / 2;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_int(const char *text, int64_t *ret_value)
{
	return str_parse_i64(text + (*text == '+'), ret_value);
}

/* Digits with a point among them: how many were there. */
static size_t parse_decimal(const char **text, double *ret_value)
{
	double unit = 1;
	bool is_fraction = false;
	size_t n = 0;

	*ret_value = 0;
	for (;; (*text)++) {
		if (**text == '.' && !is_fraction) {
			is_fraction = true;
			continue;
		}
		if (!isdigit((unsigned char)**text))
			return n;
		n++;
		unit *= is_fraction ? 0.1 : 1;
		*ret_value = is_fraction ? *ret_value + (**text - '0') * unit
					 : *ret_value * 10 + (**text - '0');
	}
}

/* "-2.5", "1e3": as people write rates. */
static int parse_rate(const char *text, double *ret_value)
{
	bool is_negative = *text == '-';
	int64_t exponent = 0;

	text += is_negative || *text == '+';
	if (parse_decimal(&text, ret_value) == 0)
		return -EINVAL;
	if ((*text == 'e' || *text == 'E') && parse_int(text + 1, &exponent) < 0)
		return -EINVAL;
	if (*text && *text != 'e' && *text != 'E')
		return -EINVAL;
	*ret_value *= pow(10, (double)exponent);
	*ret_value = is_negative ? -*ret_value : *ret_value;
	return isfinite(*ret_value) ? 0 : -EINVAL;
}

/* A whole list "a=1,b=2": each word has the sign, and what is behind it is none or good. */
static bool is_list(const char *text, char sign, bool (*is_good)(const char *value))
{
	while (*text) {
		size_t n = strcspn(text, ",");
		autofree char *word = xstrndup(text, n);
		const char *at = strchr(word, sign);

		if (n > 0 && (!at || !is_good(at + 1)))
			return false;
		text += n + (text[n] == ',');
	}
	return true;
}

static bool is_truth(const char *text)
{
	bool value;

	return parse_bool(text, &value) == 0;
}

static bool is_level(const char *text)
{
	uint32_t level;

	return str_parse_u32(text, INT32_MAX, &level) == 0;
}

static bool is_label(const char *text)
{
	return !strchr(text, ':');
}

/* NULL: it is good; else what it should have been. */
static const char *judge(const struct upstream_flag *f, const char *text)
{
	bool truth;
	int64_t number;
	uint32_t count;
	uint64_t bytes;
	double rate;

	switch (f->kind) {
	case UPSTREAM_BOOL:
	case UPSTREAM_OFF:
		return parse_bool(text, &truth) < 0 ? "true or false" : NULL;
	case UPSTREAM_COUNT:
	case UPSTREAM_THREADS:
		return str_parse_u32(text, UINT32_MAX, &count) < 0 ? "a whole number" : NULL;
	case UPSTREAM_INT:
	case UPSTREAM_SIGNED:
	case UPSTREAM_CUT:
		return parse_int(text, &number) < 0 ? "a whole number" : NULL;
	case UPSTREAM_RATE:
		return parse_rate(text, &rate) < 0 ? "a number" : NULL;
	case UPSTREAM_TIME:
	case UPSTREAM_FLUSH:
		return opt_parse_duration(text, &number) < 0 ? "a time such as 10s or 1m30s" : NULL;
	case UPSTREAM_LEVEL:
		return is_level(text) ? NULL : "a whole number";
	case UPSTREAM_GATES:
		return is_list(text, '=', is_truth) ? NULL : "a list such as A=true,B=false";
	case UPSTREAM_LABELS:
		return *text && is_list(text, ':', is_label) ? NULL : "a list such as a:x,b:y";
	case UPSTREAM_MODULES:
		return is_list(text, '=', is_level) ? NULL : "a list such as file=2,other*=5";
	case UPSTREAM_NO_SIZE:
		return opt_parse_bytes(text, &bytes) < 0 ? "a size such as 0 or 4Ki" : NULL;
	case UPSTREAM_TEXT:
	case UPSTREAM_FORMAT:
		break;
	}
	return NULL;
}

static bool is_map(enum upstream_kind kind)
{
	return kind == UPSTREAM_GATES || kind == UPSTREAM_LABELS;
}

static int store(struct parse *s, size_t i, const char *text)
{
	const struct upstream_flag *f = upstream_flag_at(s->p, i);
	const char *wanted = judge(f, text);
	char *old = s->values[i];

	if (wanted)
		return refuse(s, BAD_WORD, "option '--%s': '%s' is not %s", f->name, text, wanted);
	s->values[i] = is_map(f->kind) && !str_is_empty(old) ? xasprintf("%s,%s", old, text)
							     : xstrdup(text);
	free(old);
	return 0;
}

/* ---- words ---- */

static int refuse_unknown(struct parse *s, const char *name, size_t n)
{
	autofree const char **names = xcalloc(s->n, sizeof(*names));
	autofree char *word = xstrndup(name, n);
	const char *near;

	for (size_t i = 0; i < s->n; i++)
		names[i] = upstream_flag_at(s->p, i)->name;
	near = opt_nearest(word, names, s->n);
	return refuse(s, BAD_WORD, "unknown option '--%s', which %s does not have either%s%s%s",
		      word, s->p->release, near ? "; did you mean '--" : "", near ? near : "",
		      near ? "'?" : "");
}

/* The option at argv[*at]; moves *at when the value is the next word. */
static int parse_option(struct parse *s, const char *const *argv, size_t *at)
{
	const char *name = argv[*at] + (argv[*at][1] == '-' ? 2 : 1);
	size_t n = strcspn(name, "=");
	const char *text = name[n] == '=' ? name + n + 1 : NULL;
	int i = find(s, name, n);

	if (str_is_equal(name, "help") || str_is_equal(name, "h")) {
		s->line->is_help = true;
		return 0;
	}
	if (i < 0)
		return refuse_unknown(s, name, n);
	if (!text && is_bool(upstream_flag_at(s->p, (size_t)i)->kind))
		text = "true";
	if (!text)
		text = argv[*at + 1] ? argv[++*at] : NULL;
	if (!text)
		return refuse(s, BAD_WORD, "option '--%.*s' needs a value", (int)n, name);
	return store(s, (size_t)i, text);
}

static int parse_words(struct parse *s, const char *const *argv)
{
	for (size_t i = 1; argv[i] && !s->line->is_help; i++) {
		bool is_option = argv[i][0] == '-' && argv[i][1];
		int r;

		if (str_is_equal(argv[i], "--"))
			break;
		if (!is_option) {
			remark(s, "'%s' is no option: %s, as %s does it", argv[i],
			       s->p->mixes_words ? "passed over"
						 : "it and all behind it are passed over",
			       s->p->release);
			if (s->p->mixes_words)
				continue;
			break;
		}
		r = parse_option(s, argv, &i);
		if (r)
			return r;
	}
	return 0;
}

/* ---- checks ---- */

static bool is_true(const char *text)
{
	bool value = false;

	return text && parse_bool(text, &value) == 0 && value;
}

static int check_value(struct parse *s, const struct upstream_flag *f, const char *text)
{
	int64_t number = 0;
	uint64_t bytes = 0;

	switch (f->kind) {
	case UPSTREAM_FORMAT:
		if (!str_is_equal(text, "text") && !str_is_equal(text, "json"))
			return refuse(s, BAD_LINE, "--%s=%s: text or json", f->name, text);
		break;
	case UPSTREAM_OFF:
		if (is_true(text))
			return refuse(s, BAD_LINE, "--%s: the gate LoggingAlphaOptions is shut",
				      f->name);
		break;
	case UPSTREAM_NO_SIZE:
		if (opt_parse_bytes(text, &bytes) == 0 && bytes > 0)
			return refuse(s, BAD_LINE, "--%s: the gate LoggingAlphaOptions is shut",
				      f->name);
		break;
	case UPSTREAM_FLUSH:
		if (opt_parse_duration(text, &number) == 0 && number == 0)
			return refuse(s, BAD_LINE, "--%s must be above 0", f->name);
		break;
	case UPSTREAM_CUT:
		(void)parse_int(text, &number);
		if (number != -1 && (number < 1 || number > UID_DIGITS))
			return refuse(s, BAD_LINE, "--%s=%s: -1, or from 1 to %d", f->name, text,
				      UID_DIGITS);
		break;
	default:
		break;
	}
	return 0;
}

static bool is_fallback(const struct upstream_flag *f, const char *text)
{
	return is_bool(f->kind) ? is_true(text) == is_true(f->fallback)
				: str_is_equal(text, f->fallback);
}

static int check_use(struct parse *s, const struct upstream_flag *f, const char *text)
{
	switch (f->use) {
	case UPSTREAM_TAKEN:
		break;
	case UPSTREAM_IDLE:
		remark(s, "--%s is without effect: %s", f->name, f->note);
		break;
	case UPSTREAM_MISSING:
		if (!is_fallback(f, text))
			return refuse(s, BAD_LINE, "--%s=%s: not done here: %s", f->name, text,
				      f->note);
		break;
	case UPSTREAM_GONE:
		remark(s, "--%s is an option of earlier releases than %s and without effect: %s",
		       f->name, s->p->release, f->note);
		break;
	}
	return 0;
}

static int check_gate(struct parse *s, const char *name, bool value)
{
	const struct upstream_gate *gate = upstream_gate_find(s->p, name);

	if (!gate)
		return refuse(s, s->p->bad_gate_exit, "--feature-gates: unknown gate '%s'", name);
	if (gate->is_locked && value != gate->is_on)
		return refuse(s, s->p->bad_gate_exit, "--feature-gates: %s is locked to %s", name,
			      gate->is_on ? "true" : "false");
	if (gate->stage == 'G')
		remark(s, "feature gate %s is GA and goes in a later release", name);
	else if (gate->stage == 'd')
		remark(s, "feature gate %s is deprecated and goes in a later release", name);
	else if (gate->stage == 'x')
		remark(s, "feature gate %s is of earlier releases than %s and always on", name,
		       s->p->release);
	if (!gate->option && value != gate->is_on)
		remark(s, "feature gate %s=%s is without effect", name, value ? "true" : "false");
	return 0;
}

/* The word "name=value" of a gate list, without spaces round either. */
static const char *split_gate(char *word, bool *ret_value)
{
	char *sign = strchr(word, '=');
	size_t n;

	*sign = '\0';
	*ret_value = is_true(sign + 1);
	word += strspn(word, " \t");
	n = strlen(word);
	while (n > 0 && isspace((unsigned char)word[n - 1]))
		word[--n] = '\0';
	return word;
}

static int check_gates(struct parse *s, const char *text)
{
	while (text && *text) {
		size_t n = strcspn(text, ",");
		autofree char *word = xstrndup(text, n);
		bool value = false;
		const char *name;
		int r;

		text += n + (text[n] == ',');
		if (n == 0)
			continue;
		name = split_gate(word, &value); /* the value with it */
		r = check_gate(s, name, value);
		if (r)
			return r;
	}
	return 0;
}

static int check_pair(struct parse *s, const char *a, const char *b)
{
	if (str_is_empty(value_of(s, a)) || str_is_empty(value_of(s, b)))
		return 0;
	return refuse(s, BAD_LINE, "--%s and --%s exclude each other", a, b);
}

static int check_line(struct parse *s)
{
	int r = 0;

	for (size_t i = 0; i < s->n && r == 0; i++) {
		const struct upstream_flag *f = upstream_flag_at(s->p, i);

		if (!s->values[i])
			continue;
		r = check_value(s, f, s->values[i]);
		if (r == 0)
			r = check_use(s, f, s->values[i]);
	}
	if (r)
		return r;
	if (!str_is_empty(value_of(s, "vmodule")) &&
	    str_is_equal(value_of(s, "logging-format"), "json"))
		return refuse(s, BAD_LINE, "--vmodule: only with --logging-format=text");
	r = check_gates(s, value_of(s, "feature-gates"));
	if (r == 0)
		r = check_pair(s, "http-endpoint", "metrics-address");
	if (r == 0 && !str_is_equal(value_of(s, "health-port"), "0"))
		r = check_pair(s, "http-endpoint", "health-port");
	return r;
}

/* ---- ours ---- */

/* The value as our options write it. */
static char *spell(const struct upstream_flag *f, const char *text)
{
	uint32_t count = 0;
	int64_t number = 0;
	double rate = 0;

	switch (f->kind) {
	case UPSTREAM_THREADS:
		(void)str_parse_u32(text, UINT32_MAX, &count);
		return xasprintf("%u", count > THREADS_MAX ? THREADS_MAX : count);
	case UPSTREAM_LEVEL:
		(void)str_parse_u32(text, UINT32_MAX, &count);
		return xasprintf("%u", count > LEVEL_MAX ? LEVEL_MAX : count);
	case UPSTREAM_SIGNED:
		(void)parse_int(text, &number);
		return xasprintf("%lld", (long long)number);
	case UPSTREAM_INT:
	case UPSTREAM_CUT:
		(void)parse_int(text, &number);
		return xasprintf("%lld", number < 0 ? 0LL : (long long)number);
	case UPSTREAM_RATE:
		(void)parse_rate(text, &rate);
		rate = rate <= 0 ? 0 : ceil(rate);
		return xasprintf("%.0f", rate > UINT32_MAX ? 0 : rate);
	default:
		return xstrdup(text);
	}
}

/* Of the resizer: where it is given it stands for the two that are more exact. */
static bool is_overridden(const struct parse *s, const struct upstream_flag *f)
{
	return value_of(s, "timeout") &&
	       (str_is_equal(f->name, "resize-timeout") || str_is_equal(f->name, "modify-timeout"));
}

static size_t write_gates(const struct parse *s, char **args)
{
	const char *text = value_of(s, "feature-gates");
	size_t n = 0;

	for (const struct upstream_gate *g = s->p->gates; text && g && g->name; g++) {
		bool value = g->is_on;

		if (!g->option)
			continue;
		for (const char *at = text; *at;) {
			size_t len = strcspn(at, ",");
			autofree char *word = xstrndup(at, len);
			bool found;

			at += len + (at[len] == ',');
			if (len > 0 && str_is_equal(split_gate(word, &found), g->name))
				value = found;
		}
		args[n++] = xasprintf("--%s=%s", g->option, value ? "true" : "false");
	}
	return n;
}

static char **write_args(const struct parse *s, const char *argv0)
{
	char **args = xcalloc(s->n * 2 + 2, sizeof(*args));
	size_t n = 0;

	args[n++] = xstrdup(argv0);
	for (size_t i = 0; i < s->n; i++) {
		const struct upstream_flag *f = upstream_flag_at(s->p, i);
		const char *text = s->values[i] ? s->values[i] : f->fallback;
		autofree char *value = NULL;

		if (f->use != UPSTREAM_TAKEN || f->kind == UPSTREAM_GATES || !text ||
		    is_overridden(s, f))
			continue;
		value = spell(f, text);
		args[n++] = xasprintf("--%s=%s", f->name, value);
	}
	(void)write_gates(s, args + n);
	return args;
}

/* ---- the door ---- */

int upstream_parse(const struct upstream_program *p, const char *const *argv,
		   struct upstream_line *ret_line, struct err *err)
{
	struct parse s = { .p = p, .line = ret_line, .err = err };
	int r;

	*ret_line = (struct upstream_line){ 0 };
	while (upstream_flag_at(p, s.n))
		s.n++;
	s.values = xcalloc(s.n, sizeof(*s.values));
	r = parse_words(&s, argv);
	if (r == 0 && !ret_line->is_help)
		r = check_line(&s);
	if (r == 0)
		ret_line->args = write_args(&s, argv[0]);
	for (size_t i = 0; i < s.n; i++)
		free(s.values[i]);
	free(s.values);
	if (r)
		upstream_line_done(ret_line);
	return r;
}

void upstream_line_done(struct upstream_line *line)
{
	for (size_t i = 0; line->args && line->args[i]; i++)
		free(line->args[i]);
	free(line->args);
	str_done(&line->remarks);
	*line = (struct upstream_line){ 0 };
}
