/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pretty - JSON with indentation, and YAML
 *
 * Both are written from one parsed document, so they cannot differ in what they say. Recursion is
 * bounded by the parser's depth.
 */
#include "cmd/pretty.h"

#include "base/mem.h"

static void indent(struct str *out, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		str_append(out, "  ");
}

static bool is_nested(const struct json *v)
{
	return (json_is_object(v) || json_is_array(v)) && json_count(v) > 0;
}

/* A scalar, {} or []. */
static void put_flat(const struct json *v, struct str *out)
{
	autofree char *text = json_text(v);

	str_append(out, text);
}

static void put_key(const char *key, struct str *out)
{
	struct json_writer w = JSON_WRITER(out);

	json_put_string(&w, key);
	str_append(out, ":");
}

static void put_json(const struct json *v, unsigned depth, struct str *out)
{
	const char *key;
	const struct json *e;
	bool is_first = true;

	if (!is_nested(v)) {
		put_flat(v, out);
		return;
	}
	str_append(out, json_is_object(v) ? "{" : "[");
	for (struct json_it it = json_each(v); json_next(&it, &key, &e); is_first = false) {
		str_append(out, is_first ? "\n" : ",\n");
		indent(out, depth + 1);
		if (key) {
			put_key(key, out);
			str_append_char(out, ' ');
		}
		put_json(e, depth + 1, out);
	}
	str_append(out, "\n");
	indent(out, depth);
	str_append(out, json_is_object(v) ? "}" : "]");
}

void pretty_json(const struct json *v, struct str *out)
{
	put_json(v, 0, out);
	str_append(out, "\n");
}

/* The members of a nested value, each on lines of its own; the first one goes where out stands. */
static void put_yaml(const struct json *v, unsigned depth, struct str *out)
{
	const char *key;
	const struct json *e;
	bool is_first = true;

	for (struct json_it it = json_each(v); json_next(&it, &key, &e); is_first = false) {
		if (!is_first)
			indent(out, depth);
		if (key)
			put_key(key, out);
		else
			str_append(out, "- ");
		if (!is_nested(e)) {
			str_append(out, key ? " " : "");
			put_flat(e, out);
			str_append(out, "\n");
			continue;
		}
		if (key) {
			str_append(out, "\n");
			indent(out, depth + 1);
		}
		put_yaml(e, depth + 1, out);
	}
}

void pretty_yaml(const struct json *v, struct str *out)
{
	if (is_nested(v)) {
		put_yaml(v, 0, out);
		return;
	}
	put_flat(v, out);
	str_append(out, "\n");
}
