/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"
#include "check.h"

#include "kube/quantity.h"

#include <errno.h>

TEST(reads_every_family)
{
	static const struct {
		const char *text;
		uint64_t value;
	} cases[] = {
		{ "0", 0 },
		{ "1Gi", 1073741824 },
		{ "+1Gi", 1073741824 },
		{ "5.", 5 },
		{ ".5", 1 },
		{ "1.5", 2 },
		{ "1.5Gi", 1610612736 },
		{ "0.5Gi", 536870912 },
		{ "1.0001Ki", 1025 },
		{ "1Ki", 1024 },
		{ "3000Mi", 3145728000 },
		{ "1k", 1000 },
		{ "1M", 1000000 },
		{ "1G", 1000000000 },
		{ "2T", 2000000000000 },
		{ "3P", 3000000000000000 },
		{ "9E", 9000000000000000000u },
		{ "1e3", 1000 },
		{ "12E6", 12000000 },
		{ "1e-3", 1 },
		{ "1E+2", 100 },
		{ "1500m", 2 },
		{ "1n", 1 },
		{ "1.2n", 1 },
		{ "1000000000n", 1 },
		{ "0n", 0 },
		{ "-0", 0 },
		{ "0e99999999999999999999", 0 },
		{ "1e-99999999999999999999", 1 },
		{ "000000000000000000000000000000000001", 1 },
		{ "1.00000000000000000000000000000000000", 1 },
		{ "1.00000000000000000000000000000000001", 2 },
		{ "0.99999999999999999999999999999999999Ki", 1024 },
		{ "7Ei", 8070450532247928832u },
		{ "9223372036854775807", 9223372036854775807u },
		{ "8Ei", 9223372036854775807u },
		{ "100Ei", 9223372036854775807u },
		{ "7.999999999999999999999Ei", 9223372036854775807u },
		{ "99999999999999999999999Ki", 9223372036854775807u },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t value = 42;

		if (kube_quantity_parse(cases[i].text, &value) != 0 || value != cases[i].value)
			fail_msg("%s: %llu, expected %llu", cases[i].text,
				 (unsigned long long)value, (unsigned long long)cases[i].value);
	}
}

TEST(refuses_what_is_no_quantity)
{
	static const char *const cases[] = {
		"",    "+",  "-",    ".",    "Gi",   " 1",   "1 ",    "1 Gi", "1ki",
		"1K",  "1e", "1ex",  "1e+",  "0x10", "1Gib", "1.2.3", "1,5",  "1e1.5",
		"--1", "-1", "-1Gi", "-0.1", "1Mi1", "1\n",  "inf",   "1e3k", "1eKi",
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t value = 42;
		int r = kube_quantity_parse(cases[i], &value);

		if (r != -EINVAL || value != 42)
			fail_msg("'%s' gives %d, %llu", cases[i], r, (unsigned long long)value);
	}
}

TEST(decimal_overflow_is_an_error_and_not_a_number)
{
	static const char *const cases[] = {
		"9223372036854775808",
		"10E",
		"1e19",
		"99999999999999999999",
		"1e99999999999999999999",
		"9223372036854775807.1",
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t value = 42;

		if (kube_quantity_parse(cases[i], &value) != -ERANGE || value != 42)
			fail_msg("'%s' gives %llu", cases[i], (unsigned long long)value);
	}
}

TEST(writes_the_canonical_form)
{
	static const struct {
		uint64_t value;
		const char *text;
	} cases[] = {
		{ 0, "0" },
		{ 1023, "1023" },
		{ 1024, "1Ki" },
		{ 1073741824, "1Gi" },
		{ 1073741825, "1073741825" },
		{ 1610612736, "1536Mi" },
		{ UINT64_C(1) << 60, "1Ei" },
		{ UINT64_MAX, "18446744073709551615" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[NUM_QUANTITY_MAX];
		uint64_t back;

		num_format_quantity(cases[i].value, text);
		ASSERT_STR(text, cases[i].text);
		if (cases[i].value <= INT64_MAX) {
			ASSERT_EQ(kube_quantity_parse(text, &back), 0);
			ASSERT_EQ(back, cases[i].value);
		}
	}
}

RUN_TESTS(UNIT(reads_every_family), UNIT(refuses_what_is_no_quantity),
	  UNIT(decimal_overflow_is_an_error_and_not_a_number), UNIT(writes_the_canonical_form))
