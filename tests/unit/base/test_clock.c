/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include "../check.h"

#include "base/mem.h"

#include <errno.h>

#define T(seconds) (INT64_C(seconds) * NS_PER_S)

TEST(right_times_are_parsed)
{
	static const struct {
		const char *text;
		int64_t ns;
	} cases[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "1970-01-01T00:00:01.5Z", 1500000000 },
		{ "2026-11-23T10:00:00Z", T(1795428000) },
		{ "2026-11-23T11:30:00+01:30", T(1795428000) },
		{ "2026-11-23T05:00:00-05:00", T(1795428000) },
		{ "2026-11-23t10:00:00z", T(1795428000) },
		{ "2026-11-23T10:00:00.000000Z", T(1795428000) },
		{ "2026-11-23T10:00:00.123456789123Z", T(1795428000) + 123456789 },
		{ "2000-02-29T00:00:00Z", T(951782400) },
		{ "2024-02-29T23:59:59Z", T(1709251199) },
		{ "2016-12-31T23:59:60Z", T(1483228800) },
		{ "1969-12-31T23:59:59Z", T(-1) },
		{ "1900-03-01T00:00:00Z", T(-2203891200) },
		{ "2262-04-11T23:47:16Z", T(9223372036) },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t ns = -7;

		if (clock_parse(cases[i].text, &ns) < 0 || ns != cases[i].ns)
			fail_msg("%s: %lld, expected %lld", cases[i].text, (long long)ns,
				 (long long)cases[i].ns);
	}
}

TEST(wrong_times_are_refused)
{
	static const char *const cases[] = {
		"",
		"2026",
		"2026-11-23",
		"2026-11-23T10:00:00",
		"2026-11-23 10:00:00Z",
		"2026-11-23T10:00Z",
		"2026-13-01T00:00:00Z",
		"2026-00-01T00:00:00Z",
		"2026-01-00T00:00:00Z",
		"2026-02-29T00:00:00Z",
		"1900-02-29T00:00:00Z",
		"2026-04-31T00:00:00Z",
		"2026-11-23T24:00:00Z",
		"2026-11-23T10:60:00Z",
		"2026-11-23T10:00:61Z",
		"2026-11-23T10:00:00.Z",
		"2026-11-23T10:00:00,5Z",
		"2026-11-23T10:00:00+0100",
		"2026-11-23T10:00:00+24:00",
		"2026-11-23T10:00:00+01:00x",
		"2026-11-23T10:00:00Zx",
		"+026-11-23T10:00:00Z",
		"2026-11-23T10:00:00+",
		"2262-04-11T23:47:17Z",
		"9999-12-31T23:59:59Z",
		"0000-01-01T00:00:00Z",
		"1600-01-01T00:00:00Z",
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t ns = -7;

		if (clock_parse(cases[i], &ns) != -EINVAL || ns != -7)
			fail_msg("accepted: '%s'", cases[i]);
	}
}

TEST(times_are_formatted_in_utc)
{
	char text[CLOCK_TEXT_MAX];

	clock_format(T(1795428000) + 999999999, text);
	ASSERT_STR(text, "2026-11-23T10:00:00Z");
	clock_format_micro(T(1795428000) + 123456789, text);
	ASSERT_STR(text, "2026-11-23T10:00:00.123456Z");
	clock_format_micro(-1000, text);
	ASSERT_STR(text, "1969-12-31T23:59:59.999999Z");
	clock_format(INT64_MAX, text);
	ASSERT_STR(text, "2262-04-11T23:47:16Z");
	clock_format(INT64_MIN, text);
	ASSERT_STR(text, "1677-09-21T00:12:43Z");
}

TEST(what_is_formatted_is_parsed_back)
{
	for (int64_t day = -100000; day < 100000; day += 37) {
		char text[CLOCK_TEXT_MAX];
		int64_t ns = day * 86400 * NS_PER_S + day * 1000;
		int64_t back = 0;

		clock_format_micro(ns, text);
		ASSERT_EQ(clock_parse(text, &back), 0);
		ASSERT_EQ(back, ns);
	}
}

TEST(a_faked_clock_stands_still_until_moved)
{
	clock_fake_set(T(5));
	ASSERT_EQ(clock_now_ns(), T(5));
	ASSERT_EQ(clock_wall_ns(), T(5));
	clock_fake_advance(3);
	ASSERT_EQ(clock_now_ns(), T(5) + 3);
	clock_fake_set(-1);
	ASSERT_TRUE(clock_wall_ns() > T(1700000000));
	ASSERT_TRUE(clock_now_ns() <= clock_now_ns());
}

RUN_TESTS(UNIT(right_times_are_parsed), UNIT(wrong_times_are_refused),
	  UNIT(times_are_formatted_in_utc), UNIT(what_is_formatted_is_parsed_back),
	  UNIT(a_faked_clock_stands_still_until_moved))
