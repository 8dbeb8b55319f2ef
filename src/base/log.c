/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line a record, in one write(2), built outside of any lock: lines of
 * threads cannot mix, and a worker that hangs on a full stderr holds nobody
 * else up. Two departures from klog, both so that a line stays a line: text
 * with newlines is quoted rather than set in a `key=<` block, and each record
 * carries its own level (there is no vmodule).
 *
 * In the JSON form there is no level key. As Kubernetes components have it,
 * error lines are those without "v"; debug lines carry v 4, the rest 0.
 *
 * The options are set once by cmd/, before there are threads.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define DEBUG_VERBOSITY 4

static struct {
	enum log_format format;
	int verbosity;
	char *debug;
} options = { .verbosity = 2 };

static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool has_sink;
static void (*sink_fn)(void *arg, const char *line); /* under sink_lock, as sink_arg */
static void *sink_arg;

void log_init(const struct log_options *opts)
{
	options.format = opts->format;
	options.verbosity = opts->verbosity;
	free(options.debug);
	options.debug = xstrdup(opts->debug);
}

/* word is room or one of those it lies in: "kube" names "kube.watch" too. */
static bool is_word_for(const char *word, size_t n, const char *room)
{
	return n > 0 && strncmp(word, room, n) == 0 && (room[n] == '\0' || room[n] == '.');
}

bool log_is_enabled(enum log_level level, const char *room)
{
	if (level == LOG_INFO)
		return options.verbosity > 0;
	if (level != LOG_DEBUG || options.verbosity >= DEBUG_VERBOSITY)
		return true;
	for (const char *word = options.debug; word;) {
		size_t n = strcspn(word, ",");

		if (is_word_for(word, n, room))
			return true;
		word = word[n] ? word + n + 1 : NULL;
	}
	return false;
}

/* As Go's strconv.Quote: printable text as it is, the rest escaped. */
static void append_quoted(struct str *out, const char *s)
{
	size_t n = strlen(s);

	str_append_char(out, '"');
	for (size_t at = 0; at < n;) {
		size_t len = str_utf8_len(s + at, n - at);
		unsigned char c = (unsigned char)s[at];

		if (c == '"' || c == '\\')
			str_appendf(out, "\\%c", c);
		else if (c == '\n' || c == '\t' || c == '\r')
			str_append(out, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r");
		else if (len == 0 || (len == 1 && str_is_control(c)))
			str_appendf(out, "\\x%02x", c);
		else if (str_is_control(str_utf8_point(s + at, len)))
			str_appendf(out, "\\u%04x", (unsigned)str_utf8_point(s + at, len));
		else
			str_append_n(out, s + at, len);
		at += len ? len : 1;
	}
	str_append_char(out, '"');
}

static void append_duration(struct str *out, int64_t ns)
{
	uint64_t us = (ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns) / 1000;

	str_appendf(out, "%s%" PRIu64 ".%06" PRIu64, ns < 0 ? "-" : "", us / 1000000, us % 1000000);
}

/* What is written between quotes, NULL for numbers and the like. */
static const char *get_field_text(const struct log_field *f)
{
	switch (f->type) {
	case LOG_F_STR:
		return f->v.str ? f->v.str : "";
	case LOG_F_ERR:
		return f->v.err->msg;
	case LOG_F_SECRET:
		return "***";
	case LOG_F_END:
	case LOG_F_U64:
	case LOG_F_I64:
	case LOG_F_BOOL:
	case LOG_F_DURATION:
		break;
	}
	return NULL;
}

static void append_number(struct str *out, const struct log_field *f)
{
	if (f->type == LOG_F_U64)
		str_appendf(out, "%" PRIu64, f->v.u64);
	else if (f->type == LOG_F_I64)
		str_appendf(out, "%" PRId64, f->v.i64);
	else if (f->type == LOG_F_BOOL)
		str_append(out, f->v.b ? "true" : "false");
	else
		append_duration(out, f->v.i64);
}

/* "room/file.c", and file.c alone in ret_base. */
static const char *strip_path(const char *file, const char **ret_base)
{
	const char *room = file;

	*ret_base = file;
	for (const char *p = file; *p; p++) {
		if (*p != '/')
			continue;
		room = *ret_base;
		*ret_base = p + 1;
	}
	return room;
}

static void write_text(struct str *out, enum log_level level, const char *file, int line,
		       const char *msg, const struct log_field *fields)
{
	static const char letters[] = { 'E', 'W', 'I', 'I' };
	int64_t now = clock_wall_ns();
	time_t seconds = now / NS_PER_S;
	struct tm tm;
	const char *base;

	(void)localtime_r(&seconds, &tm); /* fails only for years beyond int */
	(void)strip_path(file, &base);
	str_appendf(out, "%c%02d%02d %02d:%02d:%02d.%06d %7d %s:%d] ", letters[level],
		    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		    (int)(now % NS_PER_S / NS_PER_US), (int)getpid(), base, line);
	append_quoted(out, msg);
	for (const struct log_field *f = fields; f->type != LOG_F_END; f++) {
		const char *text = get_field_text(f);

		str_appendf(out, " %s=", f->key);
		if (text)
			append_quoted(out, text);
		else
			append_number(out, f);
	}
}

static void write_json(struct str *out, enum log_level level, const char *file, int line,
		       const char *msg, const struct log_field *fields)
{
	struct json_writer w = JSON_WRITER(out);
	int64_t now = clock_wall_ns();
	autostr struct str caller = STR_INIT;
	const char *base;

	str_appendf(&caller, "%s:%d", strip_path(file, &base), line);
	json_begin_object(&w);
	json_key(&w, "ts");
	str_appendf(out, "%" PRId64 ".%04d", now / NS_PER_MS, (int)(now % NS_PER_MS / 100));
	w.after_key = false;
	json_field_string(&w, "caller", caller.buf);
	json_field_string(&w, "msg", msg);
	if (level != LOG_ERROR)
		json_field_i64(&w, "v", level == LOG_DEBUG ? DEBUG_VERBOSITY : 0);
	for (const struct log_field *f = fields; f->type != LOG_F_END; f++) {
		const char *text = get_field_text(f);
		autostr struct str number = STR_INIT;

		json_key(&w, f->key);
		if (text) {
			json_put_string(&w, text);
			continue;
		}
		append_number(&number, f);
		json_put_raw(&w, number.buf);
	}
	json_end_object(&w);
}

void log_write(enum log_level level, const char *file, int line, const char *msg,
	       const struct log_field *fields)
{
	autostr struct str out = STR_INIT;

	if (options.format == LOG_JSON)
		write_json(&out, level, file, line, msg, fields);
	else
		write_text(&out, level, file, line, msg, fields);
	if (atomic_load(&has_sink)) {
		pthread_mutex_lock(&sink_lock);
		if (sink_fn)
			sink_fn(sink_arg, out.buf);
		pthread_mutex_unlock(&sink_lock);
		return;
	}
	str_append_char(&out, '\n');
	(void)fd_write_all(STDERR_FILENO, out.buf, out.len); /* nowhere left to tell */
}

void log_set_sink(void (*fn)(void *arg, const char *line), void *arg)
{
	pthread_mutex_lock(&sink_lock);
	sink_fn = fn;
	sink_arg = arg;
	atomic_store(&has_sink, fn != NULL);
	pthread_mutex_unlock(&sink_lock);
}
