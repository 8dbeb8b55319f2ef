/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/mem.h"
#include "kube/split.h"

/* Parts as text, each behind 'i' or 'm' and before '|'. */
static int gather(void *arg, enum split_part part, const char *text, size_t n, struct err *err)
{
	str_append_char(arg, part == SPLIT_META ? 'm' : 'i');
	str_append_n(arg, text, n);
	str_append_char(arg, '|');
	return 0;
}

static int run(enum split_mode mode, const char *text, size_t piece, struct str *out,
	       bool *ret_complete, struct err *err)
{
	size_t n = strlen(text);
	struct split s;
	int r = 0;

	split_init(&s, mode, gather, out);
	for (size_t at = 0; at < n && r == 0; at += piece)
		r = split_feed(&s, text + at, piece < n - at ? piece : n - at, err);
	*ret_complete = split_is_complete(&s);
	split_done(&s);
	return r;
}

/* However the input is cut, the parts are the same. */
static void expect(enum split_mode mode, const char *text, const char *want, bool complete)
{
	for (size_t piece = 1; piece <= strlen(text); piece++) {
		autostr struct str out = STR_INIT;
		struct err err;
		bool is_complete;

		ASSERT_OK(run(mode, text, piece, &out, &is_complete, &err), &err);
		ASSERT_STR(str_get(&out), want);
		ASSERT_EQ(is_complete, complete);
	}
}

static void expect_error(enum split_mode mode, const char *text, const char *words)
{
	for (size_t piece = 1; piece <= strlen(text); piece++) {
		autostr struct str out = STR_INIT;
		struct err err;
		bool is_complete;

		ASSERT_ERR(run(mode, text, piece, &out, &is_complete, &err), &err, ERR_INTERNAL,
			   words);
	}
}

TEST(events_come_one_by_one)
{
	expect(SPLIT_EVENTS, "{\"a\":1}\n{\"b\":[{},[{}]]}\r\n", "i{\"a\":1}|i{\"b\":[{},[{}]]}|",
	       true);
	expect(SPLIT_EVENTS, "{}{}", "i{}|i{}|", true);
	expect(SPLIT_EVENTS, "{\"a\":1}\n{\"b\"", "i{\"a\":1}|", false);
	expect(SPLIT_EVENTS, "\n", "", true);
}

TEST(brackets_in_strings_do_not_count)
{
	expect(SPLIT_EVENTS, "{\"a\":\"}{\\\"}\\\\\"}{\"]\":\"\\u007d\"}",
	       "i{\"a\":\"}{\\\"}\\\\\"}|i{\"]\":\"\\u007d\"}|", true);
}

TEST(a_list_gives_metadata_and_items)
{
	expect(SPLIT_LIST,
	       "{\"kind\":\"L\",\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[{\"x\":[1]},"
	       " {\"metadata\":{\"items\":[{}]}} ]}\n",
	       "m{\"resourceVersion\":\"5\"}|i{\"x\":[1]}|i{\"metadata\":{\"items\":[{}]}}|", true);
}

TEST(order_and_other_fields_do_not_matter)
{
	expect(SPLIT_LIST,
	       "{\"items\":[{\"a\":1}],\"x\":{\"items\":[{\"no\":1}],\"metadata\":{}},\"y\":[{"
	       "\"no\":1},"
	       "[{}]],\"z\":\"items\",\"metadata\":{}}",
	       "i{\"a\":1}|m{}|", true);
	expect(SPLIT_LIST, "{\"items\":null,\"metadata\":{\"a\":null}}", "m{\"a\":null}|", true);
	expect(SPLIT_LIST, "{\"metadata\":7,\"items\":[],\"itemsitemsitemsitems\":[{}]}", "", true);
	expect(SPLIT_LIST, "{\"\\\"items\":[{}]}", "", true);
	expect(SPLIT_LIST, "{\"items\":[{\"a\":1}", "i{\"a\":1}|", false);
}

TEST(what_is_no_such_reply_is_refused)
{
	expect_error(SPLIT_EVENTS, "<html>", "no JSON");
	expect_error(SPLIT_EVENTS, "{}}", "bracket");
	expect_error(SPLIT_EVENTS, "{} \"a\"", "no JSON");
	expect_error(SPLIT_LIST, "[{}]", "no list");
	expect_error(SPLIT_LIST, "{\"items\":[]}{", "no list");
	expect_error(SPLIT_LIST, "{\"items\":[]}]", "bracket");
}

TEST(an_object_that_never_ends_is_given_up)
{
	autofree char *piece = xmalloc(65536);
	autostr struct str out = STR_INIT;
	struct split s;
	struct err err;
	int r;

	memset(piece, '[', 65536);
	split_init(&s, SPLIT_EVENTS, gather, &out);
	ASSERT_OK(split_feed(&s, "{\"a\":\"", 6, &err), &err);
	for (unsigned i = 0; i < 1000; i++) {
		r = split_feed(&s, piece, 65536, &err);
		if (r < 0)
			break;
	}
	ASSERT_ERR(r, &err, ERR_INTERNAL, "larger than");
	split_done(&s);
}

static int stop(void *arg, enum split_part part, const char *text, size_t n, struct err *err)
{
	return err_set(err, ERR_ABORTED, "enough");
}

TEST(the_callback_can_stop_it)
{
	struct split s;
	struct err err;

	split_init(&s, SPLIT_EVENTS, stop, NULL);
	ASSERT_ERR(split_feed(&s, "{}{}", 4, &err), &err, ERR_ABORTED, "enough");
	split_done(&s);
}

RUN_TESTS(UNIT(events_come_one_by_one), UNIT(brackets_in_strings_do_not_count),
	  UNIT(a_list_gives_metadata_and_items), UNIT(order_and_other_fields_do_not_matter),
	  UNIT(what_is_no_such_reply_is_refused), UNIT(an_object_that_never_ends_is_given_up),
	  UNIT(the_callback_can_stop_it))
