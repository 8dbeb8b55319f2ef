/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte says how: list or watch, and the size of the pieces. Whatever
 * is fed, the parts must be the same in pieces as at once; and of a list that
 * is good JSON every item that is an object must come out.
 */
#include "base/json.h"
#include "kube/split.h"

#include <assert.h>
#include <string.h>

struct parts {
	struct str text;
	size_t n_items;
};

static int gather(void *arg, enum split_part part, const char *text, size_t n, struct err *err)
{
	struct parts *p = arg;

	assert(n >= 2 && text[0] == '{' && n <= SPLIT_PART_MAX + (1u << 20));
	p->n_items += part == SPLIT_ITEM;
	str_append_n(&p->text, text, n);
	str_append_char(&p->text, '\n');
	return 0;
}

static int run(enum split_mode mode, const char *text, size_t n, size_t piece, struct parts *parts,
	       bool *ret_complete)
{
	struct split s;
	struct err err;
	int r = 0;

	split_init(&s, mode, gather, parts);
	for (size_t at = 0; at < n && r == 0; at += piece)
		r = split_feed(&s, text + at, piece < n - at ? piece : n - at, &err);
	assert(r == 0 || (err.code == ERR_INTERNAL && err.msg[0]));
	*ret_complete = r == 0 && split_is_complete(&s);
	split_done(&s);
	return r;
}

/* Items of a document that has "items" once; SIZE_MAX if nothing can be said. */
static size_t count_items(const struct json *root)
{
	const struct json *items = NULL;
	const struct json *value;
	const char *key;
	size_t n = 0;

	for (struct json_it it = json_each(root); json_next(&it, &key, &value);) {
		if (!key || strcmp(key, "items") != 0)
			continue;
		if (items)
			return SIZE_MAX;
		items = value;
	}
	if (!json_is_array(items))
		return items ? SIZE_MAX : 0;
	for (struct json_it it = json_each(items); json_next(&it, NULL, &value);)
		n += json_is_object(value);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum split_mode mode = size > 0 && data[0] & 1 ? SPLIT_LIST : SPLIT_EVENTS;
	size_t piece = size > 0 ? (size_t)(data[0] >> 1) + 1 : 1;
	struct parts whole = { 0 };
	struct parts pieces = { 0 };
	autojson struct json_doc *doc = NULL;
	bool is_whole;
	bool is_pieces;
	struct err err;
	int r;

	if (size < 2)
		return 0;
	r = run(mode, (const char *)data + 1, size - 1, size, &whole, &is_whole);
	assert(run(mode, (const char *)data + 1, size - 1, piece, &pieces, &is_pieces) == r);
	assert(is_whole == is_pieces && whole.text.len == pieces.text.len);
	assert(strcmp(str_get(&whole.text), str_get(&pieces.text)) == 0);
	if (mode == SPLIT_LIST && !memchr(data + 1, '\\', size - 1) &&
	    json_parse((const char *)data + 1, size - 1, &doc, &err) == 0 &&
	    json_is_object(json_root(doc))) {
		size_t n = count_items(json_root(doc));

		assert(r == 0 && is_whole && (n == SIZE_MAX || n == whole.n_items));
	}
	str_done(&whole.text);
	str_done(&pieces.text);
	return 0;
}
