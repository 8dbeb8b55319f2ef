/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hex.h"

#include "../check.h"

#include "base/mem.h"

#include <errno.h>

TEST(bytes_go_both_ways)
{
	static const uint8_t bytes[] = { 0x00, 0x0f, 0xf0, 0xa5, 0xff };
	uint8_t back[sizeof(bytes)];
	char text[2 * sizeof(bytes) + 1];

	hex_format(bytes, sizeof(bytes), text);
	ASSERT_STR(text, "000ff0a5ff");
	ASSERT_EQ(hex_parse(text, sizeof(back), back), 0);
	assert_memory_equal(back, bytes, sizeof(bytes));
	ASSERT_EQ(hex_parse("0102 and more", 2, back), 0);
	ASSERT_EQ(back[1], 2);
}

TEST(other_digits_are_refused)
{
	static const char *const cases[] = {
		"", "0", "012", "01 2", "0x12", "01fg", "01FF", "+123"
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t bytes[2] = { 7, 7 };

		if (hex_parse(cases[i], 2, bytes) != -EINVAL || bytes[0] != 7)
			fail_msg("accepted: '%s'", cases[i]);
	}
}

TEST(a_digit_may_have_any_case)
{
	ASSERT_EQ(hex_digit('0'), 0);
	ASSERT_EQ(hex_digit('b'), 11);
	ASSERT_EQ(hex_digit('F'), 15);
	ASSERT_EQ(hex_digit('g'), -1);
	ASSERT_EQ(hex_digit('\0'), -1);
}

RUN_TESTS(UNIT(bytes_go_both_ways), UNIT(other_digits_are_refused), UNIT(a_digit_may_have_any_case))
