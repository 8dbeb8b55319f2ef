/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/err.h"
#include "base/str.h"
#include "base/strmap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * JSON (RFC 8259). Reading is yyjson behind this door: the document owns all values, a value is a
 * borrowed pointer, and every getter takes NULL (absent) and answers "nothing", so that paths need
 * no checks in between. A string with a NUL character in it is no C string: getters treat it as
 * absent, json_next leaves out a member whose key is such. Writing appends to a struct str and puts
 * commas by itself.
 */
struct json_doc;
struct json; /* a value inside a document */

/* Depth over 64 and anything after the value are errors (INVALID_ARGUMENT, with byte offset). */
int json_parse(const char *text, size_t n, struct json_doc **ret_doc, struct err *err);
void json_free(struct json_doc *doc); /* NULL is fine */
void json_freep(struct json_doc **doc);
#define autojson __attribute__((cleanup(json_freep)))
const struct json *json_root(const struct json_doc *doc);

const struct json *json_get(const struct json *v,
			    const char *key); /* NULL if absent or not an object */
const struct json *json_path(const struct json *v,
			     const char *dotted); /* "spec.resources.requests.storage" */
const char *json_string(const struct json *v);    /* NULL if not a string */
const char *json_get_string(const struct json *v, const char *key); /* NULL if absent */
const char *json_path_string(const struct json *v, const char *dotted);
bool json_is_null(const struct json *v); /* absent counts as null */
bool json_is_object(const struct json *v);
bool json_is_array(const struct json *v);
bool json_bool(const struct json *v, bool fallback);
int json_int(const struct json *v, int64_t *ret_value); /* 0 or -EINVAL */
size_t json_count(const struct json *v);                /* elements or members, 0 for the rest */
const struct json *json_at(const struct json *v, size_t i); /* array element; O(i) */

/* Walks an array (ret_key gets NULL) or object. for (struct json_it it = json_each(v);
 * json_next(&it, &k, &e);) */
struct json_it {
	const void *p[6];
};
struct json_it json_each(const struct json *v);
bool json_next(struct json_it *it, const char **ret_key, const struct json **ret_value);

/* {"a":"b"} as strmap; members that are not strings are left out. */
struct strmap json_strmap(struct arena *a, const struct json *v);
/* The value's own text again (compact), malloc'ed. */
char *json_text(const struct json *v);

struct json_writer {
	struct str *out;
	unsigned depth;
	uint64_t has_item; /* one bit a level: a comma is due */
	bool after_key;
};
#define JSON_WRITER(s) ((struct json_writer){ .out = (s) })

void json_begin_object(struct json_writer *w);
void json_end_object(struct json_writer *w);
void json_begin_array(struct json_writer *w);
void json_end_array(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_put_string(struct json_writer *w,
		     const char *s); /* NULL writes null; invalid UTF-8 becomes U+FFFD */
void json_put_i64(struct json_writer *w, int64_t v);
void json_put_u64(struct json_writer *w, uint64_t v);
void json_put_bool(struct json_writer *w, bool v);
void json_put_null(struct json_writer *w);
void json_put_raw(struct json_writer *w, const char *json); /* text that is JSON already */
void json_put_value(struct json_writer *w, const struct json *v);
void json_put_strmap(struct json_writer *w, const struct strmap *m);
/* key + value in one */
void json_field_string(struct json_writer *w, const char *key, const char *s);
void json_field_i64(struct json_writer *w, const char *key, int64_t v);
void json_field_u64(struct json_writer *w, const char *key, uint64_t v);
void json_field_bool(struct json_writer *w, const char *key, bool v);

#endif
