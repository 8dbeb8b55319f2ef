/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include "../check.h"

#include "base/mem.h"

#include <errno.h>

static struct json_doc *parse(const char *text)
{
	struct json_doc *doc = NULL;
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	return doc;
}

TEST(values_are_found_by_key_and_path)
{
	autojson struct json_doc *doc = parse("{\"spec\":{\"resources\":{\"requests\":{\"storage\":"
					      "\"8Gi\"}},\"n\":-3,\"ro\":true}}");
	const struct json *root = json_root(doc);
	int64_t n = 0;

	ASSERT_STR(json_path_string(root, "spec.resources.requests.storage"), "8Gi");
	ASSERT_EQ(json_int(json_path(root, "spec.n"), &n), 0);
	ASSERT_EQ(n, -3);
	ASSERT_TRUE(json_bool(json_path(root, "spec.ro"), false));
	ASSERT_TRUE(json_is_object(json_get(root, "spec")));
	ASSERT_EQ(json_count(json_get(root, "spec")), 3);
}

TEST(what_is_absent_or_of_another_type_is_nothing)
{
	autojson struct json_doc *doc =
		parse("{\"a\":[1,2.5,18446744073709551615,\"x\"],\"z\":null}");
	const struct json *root = json_root(doc);
	const struct json *a = json_get(root, "a");
	int64_t n = 7;

	ASSERT_TRUE(json_path(root, "no.such.thing") == NULL);
	ASSERT_TRUE(json_path(root, "a.b") == NULL);
	ASSERT_TRUE(json_path(root, "") == NULL);
	ASSERT_TRUE(json_get_string(root, "a") == NULL);
	ASSERT_TRUE(json_get(NULL, "a") == NULL);
	ASSERT_TRUE(json_is_null(json_get(root, "z")));
	ASSERT_TRUE(json_is_null(NULL));
	ASSERT_TRUE(json_bool(a, true));
	ASSERT_EQ(json_count(json_at(a, 0)), 0);
	ASSERT_TRUE(json_at(a, 4) == NULL);
	ASSERT_EQ(json_int(json_at(a, 1), &n), -EINVAL);
	ASSERT_EQ(json_int(json_at(a, 2), &n), -EINVAL);
	ASSERT_EQ(json_int(json_at(a, 3), &n), -EINVAL);
	ASSERT_EQ(n, 7);
	ASSERT_TRUE(json_root(NULL) == NULL);
}

TEST(bad_texts_are_refused_with_their_place)
{
	static const struct {
		const char *text;
		const char *says;
	} cases[] = {
		{ "", "empty" },
		{ "{", "at byte 1" },
		{ "{\"a\":1,}", "at byte" },
		{ "{} {}", "at byte 3" },
		{ "[1 2]", "at byte 3" },
		{ "nul", "not JSON" },
		{ "'a'", "at byte 0" },
		{ "[01]", "at byte" },
		{ "[\"\x01\"]", "at byte" },
		{ "[\"\xff\"]", "at byte" },
		{ "[\"\\ud800\"]", "at byte" },
		{ "[NaN]", "at byte" },
		{ "// x\n1", "at byte 0" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct json_doc *doc = NULL;
		struct err err;

		ASSERT_ERR(json_parse(cases[i].text, strlen(cases[i].text), &doc, &err), &err,
			   ERR_INVALID_ARGUMENT, cases[i].says);
		ASSERT_TRUE(doc == NULL);
	}
}

static void append_times(struct str *s, const char *text, int n)
{
	for (; n > 0; n--)
		str_append(s, text);
}

TEST(depth_is_bounded_at_64)
{
	autostr struct str text = STR_INIT;
	struct json_doc *doc = NULL;
	struct err err;

	append_times(&text, "[", 64);
	append_times(&text, "]", 64);
	ASSERT_OK(json_parse(text.buf, text.len, &doc, &err), &err);
	json_free(doc);
	str_reset(&text);
	append_times(&text, "{\"a\":", 65);
	append_times(&text, "}", 65);
	doc = NULL;
	ASSERT_ERR(json_parse(text.buf, text.len, &doc, &err), &err, ERR_INVALID_ARGUMENT,
		   "at byte 320");
	ASSERT_TRUE(doc == NULL);
}

TEST(brackets_in_strings_are_not_depth)
{
	autostr struct str text = STR_INIT;
	struct json_doc *doc = NULL;
	struct err err;

	str_append(&text, "\"\\\"");
	append_times(&text, "[{", 100);
	str_append(&text, "\\\\\"");
	ASSERT_OK(json_parse(text.buf, text.len, &doc, &err), &err);
	ASSERT_EQ(strlen(json_string(json_root(doc))), 202);
	json_free(doc);
}

TEST(arrays_and_objects_are_walked_in_order)
{
	autojson struct json_doc *doc = parse("{\"b\":1,\"a\":[true,\"x\",null],\"c\":{}}");
	autostr struct str seen = STR_INIT;
	const struct json *v;
	const char *key;

	for (struct json_it it = json_each(json_root(doc)); json_next(&it, &key, &v);)
		str_appendf(&seen, "%s%zu ", key, json_count(v));
	ASSERT_STR(seen.buf, "b0 a3 c0 ");
	str_reset(&seen);
	for (struct json_it it = json_each(json_path(json_root(doc), "a"));
	     json_next(&it, &key, &v);) {
		autofree char *text = json_text(v);

		ASSERT_TRUE(key == NULL);
		str_append(&seen, text);
	}
	ASSERT_STR(seen.buf, "true\"x\"null");
	for (struct json_it it = json_each(NULL); json_next(&it, NULL, NULL);)
		fail_msg("nothing has members");
}

TEST(strings_with_nul_are_no_strings)
{
	autojson struct json_doc *doc =
		parse("{\"a\":\"x\\u0000y\",\"k\\u0000\":\"z\",\"b\":\"c\"}");
	autofree char *text = json_text(json_root(doc));
	const char *key = NULL;
	const struct json *v;
	int n = 0;

	ASSERT_TRUE(json_get_string(json_root(doc), "a") == NULL);
	ASSERT_TRUE(json_get(json_root(doc), "k") == NULL);
	for (struct json_it it = json_each(json_root(doc)); json_next(&it, &key, &v); n++)
		ASSERT_TRUE(strcmp(key, "a") == 0 || strcmp(key, "b") == 0);
	ASSERT_EQ(n, 2);
	ASSERT_STR(text, "{\"a\":\"x\\u0000y\",\"k\\u0000\":\"z\",\"b\":\"c\"}");
}

TEST(an_object_of_strings_is_a_strmap)
{
	autojson struct json_doc *doc = parse("{\"z\":\"1\",\"n\":5,\"a\":\"2\",\"z\":\"3\"}");
	autoarena struct arena *a = arena_new();
	struct strmap m = json_strmap(a, json_root(doc));
	struct strmap none = json_strmap(a, NULL);

	ASSERT_EQ(m.n, 2);
	ASSERT_STR(m.v[0].key, "a");
	ASSERT_STR(strmap_find(&m, "z"), "3");
	ASSERT_EQ(none.n, 0);
}

TEST(the_writer_puts_commas_by_itself)
{
	autojson struct json_doc *doc = parse("[1, {\"x\": 2}]");
	autostr struct str out = STR_INIT;
	struct json_writer w = JSON_WRITER(&out);
	struct strpair pairs[] = { { "k", "v" } };

	json_begin_object(&w);
	json_field_string(&w, "a", "x");
	json_field_string(&w, "b", NULL);
	json_key(&w, "c");
	json_begin_array(&w);
	json_put_i64(&w, -1);
	json_put_u64(&w, UINT64_MAX);
	json_begin_object(&w);
	json_end_object(&w);
	json_end_array(&w);
	json_field_i64(&w, "d", INT64_MIN);
	json_field_u64(&w, "e", 0);
	json_field_bool(&w, "f", false);
	json_key(&w, "g");
	json_put_value(&w, json_root(doc));
	json_key(&w, "h");
	json_put_strmap(&w, &(struct strmap){ pairs, 1 });
	json_key(&w, "i");
	json_put_raw(&w, "[]");
	json_end_object(&w);
	ASSERT_STR(out.buf, "{\"a\":\"x\",\"b\":null,\"c\":[-1,18446744073709551615,{}],"
			    "\"d\":-9223372036854775808,\"e\":0,\"f\":false,\"g\":[1,{\"x\":2}],"
			    "\"h\":{\"k\":\"v\"},"
			    "\"i\":[]}");
}

TEST(strings_are_escaped_and_made_utf8)
{
	autostr struct str out = STR_INIT;
	struct json_writer w = JSON_WRITER(&out);
	struct json_doc *doc = NULL;
	struct err err;

	json_put_string(&w, "q\" b\\ n\n t\t r\r f\f b\b v\v e\x1b \xff €");
	ASSERT_STR(out.buf,
		   "\"q\\\" b\\\\ n\\n t\\t r\\r f\\f b\\b v\\u000b e\\u001b \xef\xbf\xbd €\"");
	ASSERT_OK(json_parse(out.buf, out.len, &doc, &err), &err);
	ASSERT_STR(json_string(json_root(doc)),
		   "q\" b\\ n\n t\t r\r f\f b\b v\v e\x1b \xef\xbf\xbd €");
	json_free(doc);
}

RUN_TESTS(UNIT(values_are_found_by_key_and_path),
	  UNIT(what_is_absent_or_of_another_type_is_nothing),
	  UNIT(bad_texts_are_refused_with_their_place), UNIT(depth_is_bounded_at_64),
	  UNIT(brackets_in_strings_are_not_depth), UNIT(arrays_and_objects_are_walked_in_order),
	  UNIT(strings_with_nul_are_no_strings), UNIT(an_object_of_strings_is_a_strmap),
	  UNIT(the_writer_puts_commas_by_itself), UNIT(strings_are_escaped_and_made_utf8))
