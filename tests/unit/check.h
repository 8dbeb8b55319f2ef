/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

/*
 * cmocka with asserts that print both sides, and the words of struct err. A test file is a row of
 * TEST(says_what_is_true) functions and one RUN_TESTS(UNIT(a), UNIT(b)) at its end.
 */
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEST(name) static void name(__attribute__((unused)) void **state)
#define UNIT(name) cmocka_unit_test(name)
#define RUN_TESTS(...)                                              \
	int main(void)                                              \
	{                                                           \
		const struct CMUnitTest tests_[] = { __VA_ARGS__ }; \
		return cmocka_run_group_tests(tests_, NULL, NULL);  \
	}

#define ASSERT_OK(expr, err)                                                             \
	do {                                                                             \
		if ((expr) < 0)                                                          \
			fail_msg("%s failed: %s: %s", #expr, err_code_name((err)->code), \
				 (err)->msg);                                            \
	} while (0)
/* Fails with exactly this code, and its message contains text. */
#define ASSERT_ERR(expr, err, want_code, text)                                                   \
	do {                                                                                     \
		if ((expr) >= 0)                                                                 \
			fail_msg("%s succeeded, expected %s", #expr, err_code_name(want_code));  \
		if ((err)->code != (want_code))                                                  \
			fail_msg("%s: expected %s, got %s: %s", #expr, err_code_name(want_code), \
				 err_code_name((err)->code), (err)->msg);                        \
		if (!strstr((err)->msg, (text)))                                                 \
			fail_msg("%s: no '%s' in: %s", #expr, (text), (err)->msg);               \
	} while (0)
#define ASSERT_EQ(got, want) assert_int_equal((got), (want))
#define ASSERT_STR(got, want) assert_string_equal((got), (want))
#define ASSERT_TRUE(x) assert_true(x)
#define ASSERT_FALSE(x) assert_false(x)

#endif
