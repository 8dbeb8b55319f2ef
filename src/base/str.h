/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing byte string. buf is always NUL-terminated once anything was appended; NULL before. */
struct str {
	char *buf;
	size_t len;
	size_t cap;
};
#define STR_INIT ((struct str){ 0 })
#define autostr __attribute__((cleanup(str_done)))

void str_done(struct str *s);
void str_reset(struct str *s); /* length 0, memory kept */
/* Room for n bytes in all and no more, so that a string whose length is known grows once. */
void str_reserve(struct str *s, size_t n);
void str_append(struct str *s, const char *text);
void str_append_n(struct str *s, const void *bytes, size_t n);
void str_append_char(struct str *s, char c);
void str_appendf(struct str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void str_vappendf(struct str *s, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* For what may hold secrets: as str_append_n and str_done, and the memory that is given back is
 * zeroed first, also the smaller one that a string grows out of. */
void str_append_wiping(struct str *s, const void *bytes, size_t n);
void str_wipe(struct str *s);
#define autowipe __attribute__((cleanup(str_wipe)))
/* Decimal text: whole numbers below 2^53 exactly, 15 digits of others; "NaN", "+Inf", "-Inf". */
void str_append_double(struct str *s, double v);
/* Drops n bytes from the front. */
void str_consume(struct str *s, size_t n);
/* Hands the buffer over (to free()), "" if empty; s is empty afterwards. */
char *str_take(struct str *s);
/* Never NULL. */
const char *str_get(const struct str *s);

bool str_is_equal(const char *a, const char *b); /* NULL equals only NULL */
bool str_is_empty(const char *s);                /* NULL or "" */
bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);
const char *str_or(const char *s, const char *fallback); /* fallback if NULL or "" */

/* Strict UTF-8 (RFC 3629: no surrogates, no overlong forms); NUL bytes are not accepted. */
bool str_is_utf8(const char *s, size_t n);
/* Length of the valid UTF-8 sequence that the n bytes at s begin with (1..4), 0 if they begin with
 * none. */
size_t str_utf8_len(const char *s, size_t n);
/* The code point of the sequence of len bytes (1..4, from str_utf8_len) at s. */
uint32_t str_utf8_point(const char *s, size_t len);
/* Whether it would act on a terminal or on the reading order instead of being seen: controls (C0,
 * DEL, C1), line separators, marks that turn the direction of text. */
bool str_is_control(uint32_t point);

/* Decimal digits only, whole string, no sign, no blanks. 0, or -EINVAL, or -ERANGE. */
int str_parse_u64(const char *s, uint64_t *ret_value);
int str_parse_u32(const char *s, uint32_t max, uint32_t *ret_value); /* -ERANGE beyond max */
int str_parse_i64(const char *s, int64_t *ret_value);                /* an optional '-' */

/* Edit distance, for "did you mean"; strings over 64 bytes give SIZE_MAX. */
size_t str_distance(const char *a, const char *b);

#endif
