/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of 5,000 claims is 11 MB of JSON, of which we keep 2. Reading it as a
 * whole costs its size twice over in memory; so this scanner knows just enough
 * of JSON (strings, escapes, brackets, and the keys of the outermost object) to
 * cut it into its items, and each is parsed and dropped by itself. Measured on
 * that list, it adds less than half to the parser's own time and needs no more
 * memory than one item.
 *
 * Brackets are only counted. Within a part the parser will check them; outside
 * of parts a server that sends ']' for '}' fools nobody but itself.
 */
#include "kube/split.h"

#include <string.h>

#define PART_KEPT ((size_t)16 << 10)

void split_init(struct split *s, enum split_mode mode, split_fn fn, void *arg)
{
	*s = (struct split){ .mode = mode, .fn = fn, .arg = arg };
}

void split_done(struct split *s)
{
	str_done(&s->part);
}

bool split_is_complete(const struct split *s)
{
	return !s->in_part && s->depth == 0 && (s->mode == SPLIT_EVENTS || s->is_done);
}

static bool is_key(const struct split *s, const char *key)
{
	return s->after_colon && s->key_len == strlen(key) && memcmp(s->key, key, s->key_len) == 0;
}

/* Whether the brace that opens here opens a part. */
static bool opens_part(const struct split *s)
{
	if (s->mode == SPLIT_EVENTS)
		return s->depth == 0;
	return (s->depth == 1 && is_key(s, "metadata")) || (s->depth == 2 && s->in_items);
}

static int give_part(struct split *s, const char *text, size_t n, struct err *err)
{
	enum split_part part = s->depth == 1 ? SPLIT_META : SPLIT_ITEM;
	int r;

	if (s->part.len > 0) {
		str_append_n(&s->part, text, n);
		text = s->part.buf;
		n = s->part.len;
	}
	r = s->fn(s->arg, part, text, n, err);
	if (s->part.cap > PART_KEPT)
		str_done(&s->part);
	else
		str_reset(&s->part);
	return r;
}

/* Skips to the end of the string or of the input; keys of the outermost object are remembered. */
static size_t skip_string(struct split *s, const char *text, size_t at, size_t n)
{
	bool is_key_text = s->mode == SPLIT_LIST && s->depth == 1 && !s->after_colon;

	for (; at < n; at++) {
		char c = text[at];

		if (s->escaped) {
			s->escaped = false;
		} else if (c == '\\') {
			s->escaped = true;
		} else if (c == '"') {
			s->in_string = false;
			return at + 1;
		}
		if (is_key_text && s->key_len < sizeof(s->key))
			s->key[s->key_len++] = c;
	}
	return at;
}

static int open_bracket(struct split *s, char c, struct err *err)
{
	if (s->mode == SPLIT_LIST && s->depth == 0 && (s->is_done || c != '{'))
		return err_set(err, ERR_INTERNAL, "the reply is no list");
	if (!s->in_part && c == '{' && opens_part(s)) {
		s->in_part = true;
		s->part_depth = s->depth;
	} else if (c == '[' && s->depth == 1 && is_key(s, "items")) {
		s->in_items = true;
	}
	s->depth++;
	return 0;
}

/* Returns whether a part ends with this bracket. */
static int close_bracket(struct split *s, struct err *err)
{
	if (s->depth == 0)
		return err_set(err, ERR_INTERNAL, "the reply is no JSON: a bracket too many");
	s->depth--;
	if (s->in_part)
		return s->depth == s->part_depth;
	if (s->depth == 1)
		s->in_items = false;
	s->is_done = s->mode == SPLIT_LIST && s->depth == 0;
	return 0;
}

/* A byte outside of strings, brackets and parts. */
static int take_other(struct split *s, char c, struct err *err)
{
	if (s->depth == 0 && !memchr(" \t\r\n", c, 4))
		return err_set(err, ERR_INTERNAL, "the reply is no JSON object");
	if (s->mode != SPLIT_LIST || s->depth != 1)
		return 0;
	if (c == ':') {
		s->after_colon = true;
	} else if (c == ',') {
		s->after_colon = false;
		s->key_len = 0;
	}
	return 0;
}

static int keep_rest(struct split *s, const char *text, size_t n, struct err *err)
{
	if (s->part.len + n > SPLIT_PART_MAX)
		return err_set(err, ERR_INTERNAL, "an object of the reply is larger than %zu bytes",
			       SPLIT_PART_MAX);
	str_append_n(&s->part, text, n);
	return 0;
}

int split_feed(struct split *s, const void *bytes, size_t n, struct err *err)
{
	const char *text = bytes;
	size_t begin = 0; /* of the part being read, in this input */
	size_t at = 0;

	while (at < n) {
		bool was_in_part = s->in_part;
		char c;
		int r = 0;

		if (s->in_string) {
			at = skip_string(s, text, at, n);
			continue;
		}
		c = text[at++];
		if (c == '"' && s->depth > 0)
			s->in_string = true;
		else if (c == '{' || c == '[')
			r = open_bracket(s, c, err);
		else if (c == '}' || c == ']')
			r = close_bracket(s, err);
		else if (!s->in_part)
			r = take_other(s, c, err);
		if (r < 0)
			return -1;
		if (s->in_part && !was_in_part)
			begin = at - 1;
		if (r > 0) {
			s->in_part = false;
			if (give_part(s, text + begin, at - begin, err) < 0)
				return -1;
		}
	}
	return s->in_part ? keep_rest(s, text + begin, n - begin, err) : 0;
}
