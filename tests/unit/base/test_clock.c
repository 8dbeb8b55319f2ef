/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include "../check.h"

#define T(seconds) (INT64_C(seconds) * NS_PER_S)

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

RUN_TESTS(UNIT(times_are_formatted_in_utc), UNIT(a_faked_clock_stands_still_until_moved))
