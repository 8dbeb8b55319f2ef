/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/base64.h"
#include "base/mem.h"

TEST(base64_becomes_its_bytes)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "Zg==", "f" },
		{ "Zm9vYmE=", "fooba" },
		{ "Zm9v", "foo" },
		{ "Zm9vYg==", "foob" },
		{ "Zm9v\n  YmE=\n", "fooba" },
		{ "+/+/", "\xfb\xff\xbf" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = 99;
		autofree char *out = base64_decode(cases[i].in, &n);

		assert_non_null(out);
		ASSERT_STR(out, cases[i].out);
		ASSERT_EQ(n, strlen(cases[i].out));
	}
}

TEST(what_is_no_base64_is_refused)
{
	static const char *const cases[] = { "Z",     "Zm9vY", "Zm9-",     "Zg", "Zg==x",
					     "Zg===", "Z===",  "Zg==Zg==", "ü" };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = 0;

		assert_null(base64_decode(cases[i], &n));
	}
}

RUN_TESTS(UNIT(base64_becomes_its_bytes), UNIT(what_is_no_base64_is_refused))
