/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes through json_parse; what it takes is walked whole, and written out
 * must be JSON again with the same text.
 */
#include "base/json.h"
#include "base/mem.h"

#include <assert.h>

static size_t walk(const struct json *v, unsigned depth)
{
	const struct json *member;
	const char *key;
	int64_t number;
	size_t n = 1;

	assert(depth <= 64);
	(void)json_int(v, &number); /* most values are no integers */
	(void)json_string(v);
	(void)json_path(v, "a.b");
	for (struct json_it it = json_each(v); json_next(&it, &key, &member);)
		n += walk(member, depth + 1);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autojson struct json_doc *doc = NULL;
	autojson struct json_doc *again = NULL;
	autoarena struct arena *arena = arena_new();
	autostr struct str out = STR_INIT;
	autofree char *text = NULL;
	struct json_writer w = JSON_WRITER(&out);
	struct strmap map;
	struct err err;

	if (json_parse((const char *)data, size, &doc, &err) < 0) {
		assert(err.code == ERR_INVALID_ARGUMENT && err.msg[0]);
		return 0;
	}
	assert(walk(json_root(doc), 0) > 0);
	map = json_strmap(arena, json_root(doc));
	json_begin_array(&w);
	json_put_value(&w, json_root(doc));
	json_put_strmap(&w, &map);
	json_end_array(&w);
	/* One level more than what was read may be one too many. */
	if (json_parse(out.buf, out.len, &again, &err) < 0) {
		assert(strstr(err.msg, "nested deeper"));
		return 0;
	}
	text = json_text(json_at(json_root(again), 0));
	assert(strncmp(out.buf + 1, text, strlen(text)) == 0);
	return 0;
}
