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

TEST(bytes_become_base64_and_come_back)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *text;
	} cases[] = {
		{ "", 0, "" },
		{ "f", 1, "Zg==" },
		{ "of", 2, "b2Y=" },
		{ "foo", 3, "Zm9v" },
		{ "foob", 4, "Zm9vYg==" },
		{ "\0", 1, "AA==" },
		{ "\xff\xfe\xfd", 3, "//79" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autofree char *text = base64_encode(cases[i].bytes, cases[i].n);
		autofree char *back = NULL;
		size_t n = 0;

		ASSERT_STR(text, cases[i].text);
		back = base64_decode(text, &n);
		ASSERT_EQ(n, cases[i].n);
		assert_memory_equal(back, cases[i].bytes, n);
	}
}

RUN_TESTS(UNIT(base64_becomes_its_bytes), UNIT(what_is_no_base64_is_refused),
	  UNIT(bytes_become_base64_and_come_back))
