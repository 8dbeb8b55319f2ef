/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry behind metrics.def. A metric is a short list of series, one for
 * each combination of label values that was used; looked up by walking it,
 * since there are a handful (methods × status codes that happen). One lock for
 * all: an update is a few dozen nanoseconds.
 *
 * Label values are meant to come from enums. Should one come from outside all
 * the same, the bound of 512 series keeps it from eating the memory of this
 * process and of the Prometheus that reads it.
 *
 * Format: Prometheus text exposition 0.0.4. A histogram stores what falls into
 * each bucket and sums up when rendered.
 */
#include "base/metric.h"

#include "base/mem.h"
#include "base/procstat.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>

#define SERIES_MAX 512
#define HOOKS_MAX 8

enum type { COUNTER, GAUGE, HISTOGRAM };

static const struct declaration {
	enum type type;
	const char *name;
	const char *help;
	const char *labels[METRIC_LABELS_MAX + 1]; /* NULL ends them */
} declarations[] = {
#define METRIC(id, type, name, help, ...) [METRIC_##id] = { type, name, help, { __VA_ARGS__ } },
#include "base/metrics.def"
#undef METRIC
};

static const double buckets[] = { 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
				  2.5,   5,     10,   15,    25,   50,  120,  300, 600 };

struct series {
	struct series *next;
	char *labels[METRIC_LABELS_MAX];
	double value;     /* the sum, of a histogram */
	uint64_t count;   /* of a histogram, as the next */
	uint64_t *filled; /* ARRAY_LEN(buckets) */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct series *all[METRIC_COUNT]; /* under lock, as all that follows */
static unsigned n_series[METRIC_COUNT];
static struct {
	void (*fn)(void *arg);
	void *arg;
} hooks[HOOKS_MAX];
static size_t n_hooks;

static bool is_series(const struct series *s, size_t n_labels, const char *const labels[])
{
	for (size_t i = 0; i < n_labels; i++) {
		if (strcmp(s->labels[i], labels[i]) != 0)
			return false;
	}
	return true;
}

static size_t count_labels(const struct declaration *d)
{
	size_t n = 0;

	while (d->labels[n])
		n++;
	return n;
}

/* Finds the series, or makes it at the end of the list, so that the output keeps its order. */
static struct series *get_series(enum metric_id id, enum type type, const char *const labels[])
{
	static const char *const other[METRIC_LABELS_MAX] = { "other", "other", "other", "other" };
	const struct declaration *d = &declarations[id];
	size_t n_labels = count_labels(d);
	struct series **at = &all[id];
	struct series *s;

	assert(d->type == type);
	for (; *at; at = &(*at)->next) {
		if (is_series(*at, n_labels, labels))
			return *at;
	}
	/* The last of the 512 is kept for "other". */
	if (n_series[id] >= SERIES_MAX - 1 && labels != other)
		for (labels = other, at = &all[id]; *at; at = &(*at)->next)
			if (is_series(*at, n_labels, labels))
				return *at;
	s = xcalloc(1, sizeof(*s));
	for (size_t i = 0; i < n_labels; i++)
		s->labels[i] = xstrdup(labels[i]);
	if (type == HISTOGRAM)
		s->filled = xcalloc(ARRAY_LEN(buckets), sizeof(*s->filled));
	*at = s;
	n_series[id]++;
	return s;
}

void metric_add(enum metric_id id, double by, const char *const labels[])
{
	pthread_mutex_lock(&lock);
	get_series(id, COUNTER, labels)->value += by;
	pthread_mutex_unlock(&lock);
}

void metric_expect(enum metric_id id, const char *const labels[])
{
	pthread_mutex_lock(&lock);
	(void)get_series(id, declarations[id].type, labels);
	pthread_mutex_unlock(&lock);
}

void metric_set(enum metric_id id, double value, const char *const labels[])
{
	pthread_mutex_lock(&lock);
	get_series(id, GAUGE, labels)->value = value;
	pthread_mutex_unlock(&lock);
}

void metric_observe(enum metric_id id, double seconds, const char *const labels[])
{
	struct series *s;

	pthread_mutex_lock(&lock);
	s = get_series(id, HISTOGRAM, labels);
	s->value += seconds;
	s->count++;
	for (size_t i = 0; i < ARRAY_LEN(buckets); i++) {
		if (seconds <= buckets[i]) {
			s->filled[i]++;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
}

void metric_on_render(void (*fn)(void *arg), void *arg)
{
	pthread_mutex_lock(&lock);
	assert(n_hooks < HOOKS_MAX);
	hooks[n_hooks].fn = fn;
	hooks[n_hooks].arg = arg;
	n_hooks++;
	pthread_mutex_unlock(&lock);
}

static void append_escaped(struct str *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			str_append(out, "\\n");
		else if (*text == '\\' || *text == '"')
			str_appendf(out, "\\%c", *text);
		else
			str_append_char(out, *text);
	}
}

/* name suffix {labels,le="…"} value; le may be NULL. */
static void render_sample(struct str *out, const struct declaration *d, const struct series *s,
			  const char *suffix, const char *le, double value)
{
	const char *separator = "{";

	str_appendf(out, "%s%s", d->name, suffix);
	for (size_t i = 0; d->labels[i]; i++, separator = ",") {
		str_appendf(out, "%s%s=\"", separator, d->labels[i]);
		append_escaped(out, s->labels[i]);
		str_append_char(out, '"');
	}
	if (le) {
		str_appendf(out, "%sle=\"%s\"", separator, le);
		separator = ",";
	}
	str_append(out, *separator == ',' ? "} " : " ");
	str_append_double(out, value);
	str_append_char(out, '\n');
}

static void render_histogram(struct str *out, const struct declaration *d, const struct series *s)
{
	uint64_t up_to = 0;

	for (size_t i = 0; i < ARRAY_LEN(buckets); i++) {
		autostr struct str le = STR_INIT;

		up_to += s->filled[i];
		str_append_double(&le, buckets[i]);
		render_sample(out, d, s, "_bucket", le.buf, (double)up_to);
	}
	render_sample(out, d, s, "_bucket", "+Inf", (double)s->count);
	render_sample(out, d, s, "_sum", NULL, s->value);
	render_sample(out, d, s, "_count", NULL, (double)s->count);
}

static void render_metric(struct str *out, enum metric_id id)
{
	static const char *const type_names[] = { "counter", "gauge", "histogram" };
	const struct declaration *d = &declarations[id];

	if (!all[id])
		return;
	str_appendf(out, "# HELP %s %s\n# TYPE %s %s\n", d->name, d->help, d->name,
		    type_names[d->type]);
	for (const struct series *s = all[id]; s; s = s->next) {
		if (d->type == HISTOGRAM)
			render_histogram(out, d, s);
		else
			render_sample(out, d, s, "", NULL, s->value);
	}
}

/* Hooks set gauges, which takes the lock: they run before it is held. */
static void run_hooks(void)
{
	for (size_t i = 0; i < HOOKS_MAX; i++) {
		void (*fn)(void *arg) = NULL;
		void *arg = NULL;

		pthread_mutex_lock(&lock);
		if (i < n_hooks) {
			fn = hooks[i].fn;
			arg = hooks[i].arg;
		}
		pthread_mutex_unlock(&lock);
		if (fn)
			fn(arg);
	}
}

void metric_render(struct str *out)
{
	run_hooks();
	pthread_mutex_lock(&lock);
	for (unsigned id = 0; id < METRIC_COUNT; id++)
		render_metric(out, id);
	pthread_mutex_unlock(&lock);
	procstat_render(out);
}
