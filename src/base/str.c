/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte strings that grow, and the few questions about C strings that are asked
 * all over the program. Numbers are parsed here by hand: strtoul and its kin
 * take blanks, signs and other bases, wrap negative numbers and report through
 * errno, none of which a size in a request may get away with.
 *
 * Growing doubles, so that appending byte by byte stays linear; the buffer is
 * NUL-terminated after each append, so str_get() never has to write.
 */
#include "base/str.h"

#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#define DISTANCE_MAX 64

/* Room for n more bytes and a NUL. */
static void reserve(struct str *s, size_t n)
{
	size_t need;
	size_t cap = s->cap ? s->cap : 32;

	if (__builtin_add_overflow(s->len, n, &need) || need > SIZE_MAX / 4)
		abort();
	if (need < s->cap)
		return;
	while (cap <= need)
		cap *= 2;
	s->buf = xrealloc(s->buf, cap);
	s->cap = cap;
}

void str_reserve(struct str *s, size_t n)
{
	if (n < s->cap)
		return;
	if (n > SIZE_MAX / 4)
		abort();
	s->buf = xrealloc(s->buf, n + 1);
	s->cap = n + 1;
}

void str_done(struct str *s)
{
	free(s->buf);
	*s = STR_INIT;
}

void str_reset(struct str *s)
{
	s->len = 0;
	if (s->buf)
		s->buf[0] = '\0';
}

void str_append(struct str *s, const char *text)
{
	str_append_n(s, text, strlen(text));
}

void str_append_n(struct str *s, const void *bytes, size_t n)
{
	reserve(s, n);
	if (n)
		memcpy(s->buf + s->len, bytes, n);
	s->len += n;
	s->buf[s->len] = '\0';
}

void str_append_wiping(struct str *s, const void *bytes, size_t n)
{
	struct str grown = STR_INIT;

	if (n < s->cap && s->len < s->cap - n) {
		str_append_n(s, bytes, n);
		return;
	}
	grown.cap = s->cap; /* so that it doubles */
	reserve(&grown, s->len + n);
	str_append_n(&grown, s->buf, s->len);
	str_append_n(&grown, bytes, n);
	str_wipe(s);
	*s = grown;
}

void str_wipe(struct str *s)
{
	if (s->buf)
		explicit_bzero(s->buf, s->cap);
	str_done(s);
}

void str_append_char(struct str *s, char c)
{
	str_append_n(s, &c, 1);
}

void str_appendf(struct str *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	str_vappendf(s, fmt, ap);
	va_end(ap);
}

void str_vappendf(struct str *s, const char *fmt, va_list ap)
{
	va_list again;
	size_t room;
	int n;

	reserve(s, 32);
	room = s->cap - s->len;
	va_copy(again, ap);
	n = vsnprintf(s->buf + s->len, room, fmt, ap);
	if (n < 0)
		abort();
	if ((size_t)n >= room) {
		reserve(s, (size_t)n);
		(void)vsnprintf(s->buf + s->len, (size_t)n + 1, fmt,
				again); /* as long as just said */
	}
	va_end(again);
	s->len += (size_t)n;
}

void str_append_double(struct str *s, double v)
{
	if (isnan(v) || isinf(v))
		str_append(s, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
	else if (fabs(v) < 0x1p53 && floor(v) == v)
		str_appendf(s, "%.0f", v);
	else
		str_appendf(s, "%.15g", v);
}

void str_consume(struct str *s, size_t n)
{
	if (n >= s->len) {
		str_reset(s);
		return;
	}
	s->len -= n;
	memmove(s->buf, s->buf + n, s->len + 1);
}

char *str_take(struct str *s)
{
	char *buf = s->buf ? s->buf : xstrdup("");

	*s = STR_INIT;
	return buf;
}

const char *str_get(const struct str *s)
{
	return s->buf ? s->buf : "";
}

bool str_is_equal(const char *a, const char *b)
{
	if (!a || !b)
		return a == b;
	return strcmp(a, b) == 0;
}

bool str_is_empty(const char *s)
{
	return !s || s[0] == '\0';
}

bool str_has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s);
	size_t n_suffix = strlen(suffix);

	return n >= n_suffix && memcmp(s + n - n_suffix, suffix, n_suffix) == 0;
}

const char *str_or(const char *s, const char *fallback)
{
	return str_is_empty(s) ? fallback : s;
}

size_t str_utf8_len(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	unsigned char low = 0x80;
	unsigned char high = 0xbf;
	size_t len;

	if (n == 0 || p[0] == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	/* RFC 3629 §4: the second byte is what tells overlong forms, surrogates and U+110000 on. */
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (n < len || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

uint32_t str_utf8_point(const char *s, size_t len)
{
	static const unsigned char first[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	uint32_t point = (unsigned char)s[0] & first[len];

	for (size_t i = 1; i < len; i++)
		point = point << 6 | ((unsigned char)s[i] & 0x3f);
	return point;
}

bool str_is_control(uint32_t point)
{
	return point < ' ' || (point >= 0x7f && point <= 0x9f) || point == 0x61c ||
	       point == 0x200e || point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
	       (point >= 0x2066 && point <= 0x2069);
}

/* Eight bytes of which none is NUL or beyond ASCII. */
static bool is_plain(const char *s)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
	uint64_t v;

	memcpy(&v, s, sizeof(v));
	return ((v | (v - ones)) & tops) == 0;
}

bool str_is_utf8(const char *s, size_t n)
{
	for (size_t at = 0; at < n;) {
		size_t len = n - at >= 8 && is_plain(s + at) ? 8 : str_utf8_len(s + at, n - at);

		if (len == 0)
			return false;
		at += len;
	}
	return true;
}

int str_parse_u64(const char *s, uint64_t *ret_value)
{
	uint64_t v = 0;
	bool overflow = false;

	if (str_is_empty(s))
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		overflow |= __builtin_mul_overflow(v, 10, &v);
		overflow |= __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v);
	}
	if (overflow)
		return -ERANGE;
	*ret_value = v;
	return 0;
}

int str_parse_u32(const char *s, uint32_t max, uint32_t *ret_value)
{
	uint64_t v;
	int r = str_parse_u64(s, &v);

	if (r < 0)
		return r;
	if (v > max)
		return -ERANGE;
	*ret_value = (uint32_t)v;
	return 0;
}

int str_parse_i64(const char *s, int64_t *ret_value)
{
	bool minus = s && s[0] == '-';
	uint64_t v;
	int r = str_parse_u64(minus ? s + 1 : s, &v);

	if (r < 0)
		return r;
	if (v > (uint64_t)INT64_MAX + minus)
		return -ERANGE;
	*ret_value = minus ? (int64_t)(0 - v) : (int64_t)v;
	return 0;
}

size_t str_distance(const char *a, const char *b)
{
	unsigned row[DISTANCE_MAX + 1];
	size_t n_a = strlen(a);
	size_t n_b = strlen(b);

	if (n_a > DISTANCE_MAX || n_b > DISTANCE_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= n_b; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= n_a; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= n_b; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[n_b];
}
