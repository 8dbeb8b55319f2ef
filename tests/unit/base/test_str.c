/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include "../check.h"

#include "base/mem.h"

#include <errno.h>
#include <math.h>

TEST(appending_grows_and_terminates)
{
	autostr struct str s = STR_INIT;

	ASSERT_STR(str_get(&s), "");
	for (int i = 0; i < 1000; i++) {
		str_append_char(&s, 'c');
		str_append(&s, "ab");
		str_append_n(&s, "xyz", 2);
		ASSERT_EQ(s.len, 5 * ((size_t)i + 1));
		ASSERT_EQ(strlen(s.buf), s.len);
	}
	ASSERT_TRUE(str_has_suffix(s.buf, "cabxycabxy"));
	str_reset(&s);
	ASSERT_STR(str_get(&s), "");
}

TEST(formats_of_any_length_are_whole)
{
	for (int width = 0; width < 200; width++) {
		autostr struct str s = STR_INIT;

		str_append(&s, "<");
		str_appendf(&s, "%*d>", width, 7);
		ASSERT_EQ(s.len, (width ? width : 1) + 2);
		ASSERT_EQ(s.buf[s.len - 2], '7');
		ASSERT_EQ(s.buf[s.len - 1], '>');
	}
}

TEST(numbers_are_written_short)
{
	static const struct {
		double v;
		const char *text;
	} cases[] = {
		{ 0, "0" },
		{ 0.1, "0.1" },
		{ 2.5, "2.5" },
		{ 600, "600" },
		{ -1.5, "-1.5" },
		{ 1.0 / 3, "0.333333333333333" },
		{ 1e21, "1e+21" },
		{ 8589934592, "8589934592" },
		{ 9007199254740991, "9007199254740991" },
		{ NAN, "NaN" },
		{ INFINITY, "+Inf" },
		{ -INFINITY, "-Inf" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autostr struct str s = STR_INIT;

		str_append_double(&s, cases[i].v);
		ASSERT_STR(s.buf, cases[i].text);
	}
}

TEST(the_front_is_consumed)
{
	autostr struct str s = STR_INIT;

	str_append(&s, "frame rest");
	str_consume(&s, 6);
	ASSERT_STR(s.buf, "rest");
	str_consume(&s, 99);
	ASSERT_EQ(s.len, 0);
	str_append(&s, "x");
	ASSERT_STR(s.buf, "x");
}

TEST(take_hands_the_buffer_over)
{
	struct str s = STR_INIT;
	autofree char *empty = str_take(&s);
	autofree char *text = NULL;

	str_append(&s, "abc");
	text = str_take(&s);
	ASSERT_STR(empty, "");
	ASSERT_STR(text, "abc");
	ASSERT_TRUE(s.buf == NULL && s.len == 0 && s.cap == 0);
}

TEST(questions_about_strings_are_answered)
{
	ASSERT_TRUE(str_is_equal("a", "a"));
	ASSERT_FALSE(str_is_equal("a", "b"));
	ASSERT_FALSE(str_is_equal("a", NULL));
	ASSERT_FALSE(str_is_equal(NULL, ""));
	ASSERT_TRUE(str_is_equal(NULL, NULL));
	ASSERT_TRUE(str_is_empty(NULL) && str_is_empty("") && !str_is_empty("a"));
	ASSERT_TRUE(str_has_prefix("abc", "ab") && str_has_prefix("a", "") &&
		    !str_has_prefix("a", "ab"));
	ASSERT_TRUE(str_has_suffix("abc", "bc") && str_has_suffix("a", "") &&
		    !str_has_suffix("c", "bc"));
	ASSERT_STR(str_or(NULL, "f"), "f");
	ASSERT_STR(str_or("", "f"), "f");
	ASSERT_STR(str_or("a", "f"), "a");
}

TEST(utf8_is_strict)
{
	static const char *const good[] = { "",
					    "abc",
					    "\x7f",
					    "\xc2\x80",
					    "\xdf\xbf",
					    "\xe0\xa0\x80",
					    "\xed\x9f\xbf",
					    "\xee\x80\x80",
					    "\xef\xbf\xbf",
					    "\xf0\x90\x80\x80",
					    "\xf4\x8f\xbf\xbf" };
	static const char *const bad[] = { "\x80",
					   "\xbf",
					   "\xc0\x80",
					   "\xc1\xbf",
					   "\xc2",
					   "\xc2\x7f",
					   "\xc2\xc0",
					   "\xe0\x9f\xbf",
					   "\xe1\x80",
					   "\xe1\x80\x7f",
					   "\xed\xa0\x80",
					   "\xed\xbf\xbf",
					   "\xf0\x8f\xbf\xbf",
					   "\xf4\x90\x80\x80",
					   "\xf5\x80\x80\x80",
					   "\xf1\x80\x80",
					   "\xf1\x80\x80\x7f",
					   "\xfe",
					   "\xff",
					   "ok\xff" };

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (!str_is_utf8(good[i], strlen(good[i])))
			fail_msg("refused case %zu", i);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (str_is_utf8(bad[i], strlen(bad[i])))
			fail_msg("accepted case %zu", i);
	ASSERT_FALSE(str_is_utf8("a\0b", 3));
}

/* Text is looked at eight bytes at a time: no byte of a long one may be passed over. */
TEST(utf8_is_strict_at_every_place_of_a_long_text)
{
	char text[40];

	memset(text, 'a', sizeof(text));
	ASSERT_TRUE(str_is_utf8(text, sizeof(text)));
	for (size_t i = 0; i < sizeof(text); i++) {
		text[i] = '\0';
		ASSERT_FALSE(str_is_utf8(text, sizeof(text)));
		text[i] = '\x80';
		ASSERT_FALSE(str_is_utf8(text, sizeof(text)));
		text[i] = '\x01';
		ASSERT_TRUE(str_is_utf8(text, sizeof(text)));
		text[i] = '\x7f';
		ASSERT_TRUE(str_is_utf8(text, sizeof(text)));
		text[i] = 'a';
	}
}

TEST(numbers_are_digits_only_and_fit)
{
	static const struct {
		const char *text;
		uint64_t v;
		int result;
	} cases[] = {
		{ "0", 0, 0 },
		{ "007", 7, 0 },
		{ "18446744073709551615", UINT64_MAX, 0 },
		{ "18446744073709551616", 5, -ERANGE },
		{ "99999999999999999999999", 5, -ERANGE },
		{ "99999999999999999999999x", 5, -EINVAL },
		{ "", 5, -EINVAL },
		{ NULL, 5, -EINVAL },
		{ " 1", 5, -EINVAL },
		{ "1 ", 5, -EINVAL },
		{ "+1", 5, -EINVAL },
		{ "-1", 5, -EINVAL },
		{ "0x1", 5, -EINVAL },
		{ "1.0", 5, -EINVAL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t v = 5;

		if (str_parse_u64(cases[i].text, &v) != cases[i].result || v != cases[i].v)
			fail_msg("case %zu: '%s'", i, str_or(cases[i].text, ""));
	}
}

TEST(numbers_with_a_bound_end_there)
{
	uint32_t v = 5;

	ASSERT_EQ(str_parse_u32("65535", UINT16_MAX, &v), 0);
	ASSERT_EQ(v, 65535);
	ASSERT_EQ(str_parse_u32("4294967295", UINT32_MAX, &v), 0);
	ASSERT_TRUE(v == UINT32_MAX);
	v = 5;
	ASSERT_EQ(str_parse_u32("65536", UINT16_MAX, &v), -ERANGE);
	ASSERT_EQ(str_parse_u32("4294967296", UINT32_MAX, &v), -ERANGE);
	ASSERT_EQ(str_parse_u32("18446744073709551616", UINT32_MAX, &v), -ERANGE);
	ASSERT_EQ(str_parse_u32("", UINT32_MAX, &v), -EINVAL);
	ASSERT_EQ(str_parse_u32("1x", UINT32_MAX, &v), -EINVAL);
	ASSERT_EQ(v, 5);
}

TEST(signed_numbers_reach_both_ends)
{
	int64_t v = 5;

	ASSERT_EQ(str_parse_i64("-9223372036854775808", &v), 0);
	ASSERT_TRUE(v == INT64_MIN);
	ASSERT_EQ(str_parse_i64("9223372036854775807", &v), 0);
	ASSERT_TRUE(v == INT64_MAX);
	v = 5;
	ASSERT_EQ(str_parse_i64("9223372036854775808", &v), -ERANGE);
	ASSERT_EQ(str_parse_i64("-9223372036854775809", &v), -ERANGE);
	ASSERT_EQ(str_parse_i64("-", &v), -EINVAL);
	ASSERT_EQ(str_parse_i64("--1", &v), -EINVAL);
	ASSERT_EQ(str_parse_i64(NULL, &v), -EINVAL);
	ASSERT_EQ(v, 5);
}

TEST(distance_counts_edits)
{
	char longest[66] = "";

	ASSERT_EQ(str_distance("", ""), 0);
	ASSERT_EQ(str_distance("abc", ""), 3);
	ASSERT_EQ(str_distance("", "abc"), 3);
	ASSERT_EQ(str_distance("kitten", "sitting"), 3);
	ASSERT_EQ(str_distance("flaw", "lawn"), 2);
	memset(longest, 'x', 64);
	ASSERT_EQ(str_distance(longest, longest), 0);
	longest[64] = 'x';
	ASSERT_TRUE(str_distance(longest, "x") == SIZE_MAX);
	ASSERT_TRUE(str_distance("x", longest) == SIZE_MAX);
}

TEST(reserved_room_is_used_before_more_is_taken)
{
	struct str s = STR_INIT;
	const char *buf;

	str_append(&s, "ab");
	str_reserve(&s, 1000);
	buf = s.buf;
	for (int i = 0; i < 998; i++)
		str_append_char(&s, 'x');
	ASSERT_TRUE(s.buf == buf && s.len == 1000 && s.cap == 1001);
	str_reserve(&s, 10);
	ASSERT_EQ(s.cap, 1001);
	str_append_char(&s, 'y');
	ASSERT_EQ(strlen(str_get(&s)), 1001);
	str_done(&s);
}

RUN_TESTS(UNIT(appending_grows_and_terminates), UNIT(formats_of_any_length_are_whole),
	  UNIT(numbers_are_written_short), UNIT(the_front_is_consumed),
	  UNIT(take_hands_the_buffer_over), UNIT(questions_about_strings_are_answered),
	  UNIT(utf8_is_strict), UNIT(utf8_is_strict_at_every_place_of_a_long_text),
	  UNIT(numbers_are_digits_only_and_fit), UNIT(numbers_with_a_bound_end_there),
	  UNIT(signed_numbers_reach_both_ends), UNIT(distance_counts_edits),
	  UNIT(reserved_room_is_used_before_more_is_taken))
