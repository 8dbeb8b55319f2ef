/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only file that knows yyjson. A struct json is a yyjson_val and a struct
 * json_doc a yyjson_doc under another name, so the door costs nothing.
 *
 * yyjson reads without recursion and has no limit of depth, but what walks the
 * values afterwards may well recurse; so brackets are counted before parsing,
 * one pass that knows strings from the rest. Only texts that are JSON need to
 * be counted right: the others are refused in any case.
 *
 * Writing is ours: a struct str, one bit a level that says whether a comma is
 * due. Strings are escaped as RFC 8259 §7 wants and no further.
 */
#include "base/json.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include <yyjson.h>

#define DEPTH_MAX 64

static yyjson_val *val(const struct json *v)
{
	union {
		const struct json *in;
		yyjson_val *out;
	} u = { .in = v };

	return u.out; /* yyjson reads immutable values through plain pointers */
}

static const struct json *from_val(const yyjson_val *v)
{
	return (const struct json *)v;
}

/* The text of a string value, NULL for anything that C cannot hold. */
static const char *get_text(yyjson_val *v)
{
	const char *s = yyjson_get_str(v);

	return s && strlen(s) == yyjson_get_len(v) ? s : NULL;
}

/* Where the 65th level opens; n if nowhere. */
static size_t find_too_deep(const char *text, size_t n)
{
	unsigned depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < n; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > DEPTH_MAX)
				return i;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return n;
}

int json_parse(const char *text, size_t n, struct json_doc **ret_doc, struct err *err)
{
	size_t deep = find_too_deep(text, n);
	yyjson_read_err why = { 0 };
	yyjson_doc *doc;

	if (n == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "not JSON: it is empty");
	if (deep < n)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "JSON nested deeper than %d levels at byte %zu", DEPTH_MAX, deep);
	/* Without YYJSON_READ_INSITU the text is copied, never written to. */
	doc = yyjson_read_opts((char *)(uintptr_t)text, n, YYJSON_READ_NOFLAG, NULL, &why);
	if (!doc && why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
		abort();
	if (!doc)
		return err_set(err, ERR_INVALID_ARGUMENT, "not JSON: %s at byte %zu", why.msg,
			       why.pos);
	*ret_doc = (struct json_doc *)doc;
	return 0;
}

void json_free(struct json_doc *doc)
{
	yyjson_doc *d = (yyjson_doc *)doc;

	/* The copy of the text that strings point into; it may be a Secret. */
	if (d && d->str_pool)
		explicit_bzero(d->str_pool, d->dat_read);
	yyjson_doc_free(d);
}

void json_freep(struct json_doc **doc)
{
	json_free(*doc);
}

const struct json *json_root(const struct json_doc *doc)
{
	return from_val(doc ? ((const yyjson_doc *)doc)->root : NULL);
}

const struct json *json_get(const struct json *v, const char *key)
{
	return from_val(yyjson_obj_get(val(v), key));
}

const struct json *json_path(const struct json *v, const char *dotted)
{
	for (;;) {
		size_t n = strcspn(dotted, ".");

		v = from_val(yyjson_obj_getn(val(v), dotted, n));
		if (dotted[n] == '\0')
			return v;
		dotted += n + 1;
	}
}

const char *json_string(const struct json *v)
{
	return get_text(val(v));
}

const char *json_get_string(const struct json *v, const char *key)
{
	return json_string(json_get(v, key));
}

const char *json_path_string(const struct json *v, const char *dotted)
{
	return json_string(json_path(v, dotted));
}

bool json_is_null(const struct json *v)
{
	return !v || yyjson_is_null(val(v));
}

bool json_is_object(const struct json *v)
{
	return yyjson_is_obj(val(v));
}

bool json_is_array(const struct json *v)
{
	return yyjson_is_arr(val(v));
}

bool json_bool(const struct json *v, bool fallback)
{
	return yyjson_is_bool(val(v)) ? yyjson_get_bool(val(v)) : fallback;
}

int json_int(const struct json *v, int64_t *ret_value)
{
	if (!yyjson_is_int(val(v)) ||
	    (yyjson_is_uint(val(v)) && yyjson_get_uint(val(v)) > INT64_MAX))
		return -EINVAL;
	*ret_value = yyjson_get_sint(val(v));
	return 0;
}

size_t json_count(const struct json *v)
{
	return json_is_object(v) ? yyjson_obj_size(val(v)) : yyjson_arr_size(val(v));
}

const struct json *json_at(const struct json *v, size_t i)
{
	return from_val(yyjson_arr_get(val(v), i));
}

union walk {
	struct json_it it;
	struct {
		bool is_object;
		union {
			yyjson_arr_iter array;
			yyjson_obj_iter object;
		} at;
	} state;
};
static_assert(sizeof(union walk) == sizeof(struct json_it), "json_it holds yyjson's iterators");

struct json_it json_each(const struct json *v)
{
	union walk w = { 0 };

	w.state.is_object = json_is_object(v);
	if (w.state.is_object)
		yyjson_obj_iter_init(val(v), &w.state.at.object);
	else
		yyjson_arr_iter_init(val(v), &w.state.at.array);
	return w.it;
}

static yyjson_val *next_member(yyjson_obj_iter *object, const char **ret_key)
{
	yyjson_val *key;

	while ((key = yyjson_obj_iter_next(object))) {
		*ret_key = get_text(key);
		if (*ret_key)
			return yyjson_obj_iter_get_val(key);
	}
	return NULL;
}

bool json_next(struct json_it *it, const char **ret_key, const struct json **ret_value)
{
	union walk w = { .it = *it };
	const char *key = NULL;
	yyjson_val *v;

	if (w.state.is_object)
		v = next_member(&w.state.at.object, &key);
	else
		v = yyjson_arr_iter_next(&w.state.at.array);
	*it = w.it;
	if (!v)
		return false;
	if (ret_key)
		*ret_key = key;
	if (ret_value)
		*ret_value = from_val(v);
	return true;
}

struct strmap json_strmap(struct arena *a, const struct json *v)
{
	autofree struct strpair *pairs = xcalloc(json_count(v), sizeof(*pairs));
	const struct json *value;
	const char *key;
	size_t n = 0;

	if (!json_is_object(v))
		return STRMAP_EMPTY;
	for (struct json_it it = json_each(v); json_next(&it, &key, &value);) {
		const char *text = json_string(value);

		if (text)
			pairs[n++] = (struct strpair){ key, text };
	}
	return strmap_from(a, pairs, n);
}

char *json_text(const struct json *v)
{
	char *text = v ? yyjson_val_write(val(v), YYJSON_WRITE_NOFLAG, NULL) : xstrdup("null");

	if (!text)
		abort();
	return text;
}

/* Before each value: the comma, if one is due on this level. */
static void begin_value(struct json_writer *w)
{
	uint64_t bit = UINT64_C(1) << w->depth;

	if (w->after_key)
		w->after_key = false;
	else if (w->has_item & bit)
		str_append_char(w->out, ',');
	w->has_item |= bit;
}

static void open_level(struct json_writer *w, char bracket)
{
	begin_value(w);
	str_append_char(w->out, bracket);
	w->depth++;
	assert(w->depth < DEPTH_MAX);
	w->has_item &= ~(UINT64_C(1) << w->depth);
}

static void close_level(struct json_writer *w, char bracket)
{
	assert(w->depth > 0 && !w->after_key);
	w->depth--;
	str_append_char(w->out, bracket);
}

void json_begin_object(struct json_writer *w)
{
	open_level(w, '{');
}

void json_end_object(struct json_writer *w)
{
	close_level(w, '}');
}

void json_begin_array(struct json_writer *w)
{
	open_level(w, '[');
}

void json_end_array(struct json_writer *w)
{
	close_level(w, ']');
}

static void append_escaped(struct str *out, const char *s)
{
	static const char short_form[] = "btn.fr"; /* U+0008 … U+000D, 11 has none */
	size_t n = strlen(s);

	for (size_t at = 0; at < n;) {
		size_t len = str_utf8_len(s + at, n - at);
		unsigned char c = (unsigned char)s[at];

		if (len == 0)
			str_append(out, "\xef\xbf\xbd");
		else if (c == '"' || c == '\\')
			str_appendf(out, "\\%c", c);
		else if (c >= 8 && c <= 13 && c != 11)
			str_appendf(out, "\\%c", short_form[c - 8]);
		else if (str_is_control(str_utf8_point(s + at, len)))
			str_appendf(out, "\\u%04x", (unsigned)str_utf8_point(s + at, len));
		else
			str_append_n(out, s + at, len);
		at += len ? len : 1;
	}
}

void json_put_string(struct json_writer *w, const char *s)
{
	if (!s) {
		json_put_null(w);
		return;
	}
	begin_value(w);
	str_append_char(w->out, '"');
	append_escaped(w->out, s);
	str_append_char(w->out, '"');
}

void json_key(struct json_writer *w, const char *key)
{
	assert(!w->after_key);
	json_put_string(w, key);
	str_append_char(w->out, ':');
	w->after_key = true;
}

void json_put_i64(struct json_writer *w, int64_t v)
{
	begin_value(w);
	str_appendf(w->out, "%" PRId64, v);
}

void json_put_u64(struct json_writer *w, uint64_t v)
{
	begin_value(w);
	str_appendf(w->out, "%" PRIu64, v);
}

void json_put_bool(struct json_writer *w, bool v)
{
	json_put_raw(w, v ? "true" : "false");
}

void json_put_null(struct json_writer *w)
{
	json_put_raw(w, "null");
}

void json_put_raw(struct json_writer *w, const char *json)
{
	begin_value(w);
	str_append(w->out, json);
}

void json_put_value(struct json_writer *w, const struct json *v)
{
	autofree char *text = json_text(v);

	json_put_raw(w, text);
}

void json_put_strmap(struct json_writer *w, const struct strmap *m)
{
	json_begin_object(w);
	for (size_t i = 0; i < m->n; i++)
		json_field_string(w, m->v[i].key, m->v[i].value);
	json_end_object(w);
}

void json_field_string(struct json_writer *w, const char *key, const char *s)
{
	json_key(w, key);
	json_put_string(w, s);
}

void json_field_i64(struct json_writer *w, const char *key, int64_t v)
{
	json_key(w, key);
	json_put_i64(w, v);
}

void json_field_u64(struct json_writer *w, const char *key, uint64_t v)
{
	json_key(w, key);
	json_put_u64(w, v);
}

void json_field_bool(struct json_writer *w, const char *key, bool v)
{
	json_key(w, key);
	json_put_bool(w, v);
}
