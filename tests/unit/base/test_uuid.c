/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"

#include "../check.h"

#include "base/mem.h"

#include <errno.h>

TEST(text_goes_both_ways_in_lower_case)
{
	char text[UUID_TEXT_MAX];
	struct uuid u;

	ASSERT_EQ(uuid_parse("01234567-89AB-cdef-FEDC-ba9876543210", &u), 0);
	ASSERT_EQ(u.b[0], 0x01);
	ASSERT_EQ(u.b[15], 0x10);
	uuid_format(&u, text);
	ASSERT_STR(text, "01234567-89ab-cdef-fedc-ba9876543210");
}

TEST(other_texts_are_refused)
{
	static const char *const cases[] = {
		"",
		"01234567",
		"0123456789abcdeffedcba9876543210",
		"01234567-89ab-cdef-fedc-ba987654321",
		"01234567-89ab-cdef-fedc-ba98765432100",
		"01234567-89ab-cdef-fedc-ba987654321g",
		"0123456-789ab-cdef-fedc-ba9876543210",
		"{1234567-89ab-cdef-fedc-ba9876543210",
		"01234567-89ab-cdef-fedc_ba9876543210",
		" 1234567-89ab-cdef-fedc-ba9876543210",
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct uuid u = { .b = { 7 } };

		if (uuid_parse(cases[i], &u) != -EINVAL || u.b[0] != 7)
			fail_msg("accepted: '%s'", cases[i]);
	}
}

TEST(made_ones_are_version_4_and_differ)
{
	char a[UUID_TEXT_MAX];
	char b[UUID_TEXT_MAX];
	struct uuid u;

	uuid_make(&u);
	uuid_format(&u, a);
	ASSERT_EQ(a[14], '4');
	ASSERT_TRUE(strchr("89ab", a[19]) != NULL);
	uuid_make(&u);
	uuid_format(&u, b);
	ASSERT_TRUE(strcmp(a, b) != 0);
}

RUN_TESTS(UNIT(text_goes_both_ways_in_lower_case), UNIT(other_texts_are_refused),
	  UNIT(made_ones_are_version_4_and_differ))
