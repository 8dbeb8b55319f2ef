/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"

#include "../check.h"

TEST(sums_and_products_that_fit_are_given)
{
	uint64_t v = 7;

	ASSERT_TRUE(num_add_u64(UINT64_MAX - 1, 1, &v) && v == UINT64_MAX);
	ASSERT_TRUE(num_mul_u64(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &v) &&
		    v == 0xffffffff00000000);
	ASSERT_TRUE(num_mul_u64(0, UINT64_MAX, &v) && v == 0);
}

TEST(overflow_leaves_the_result_alone)
{
	uint64_t v = 7;

	ASSERT_FALSE(num_add_u64(UINT64_MAX, 1, &v));
	ASSERT_FALSE(num_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &v));
	ASSERT_FALSE(num_round_up_u64(UINT64_MAX, 4096, &v));
	ASSERT_EQ(v, 7);
}

TEST(rounding_goes_up_to_the_next_multiple)
{
	uint64_t v;

	ASSERT_TRUE(num_round_up_u64(0, 4096, &v) && v == 0);
	ASSERT_TRUE(num_round_up_u64(1, 4096, &v) && v == 4096);
	ASSERT_TRUE(num_round_up_u64(4096, 4096, &v) && v == 4096);
	ASSERT_TRUE(num_round_up_u64(4097, 4096, &v) && v == 8192);
	ASSERT_TRUE(num_round_up_u64(UINT64_MAX, 1, &v) && v == UINT64_MAX);
	ASSERT_TRUE(num_round_up_u64(UINT64_MAX - MIB + 1, MIB, &v) && v == UINT64_MAX - MIB + 1);
}

RUN_TESTS(UNIT(sums_and_products_that_fit_are_given), UNIT(overflow_leaves_the_result_alone),
	  UNIT(rounding_goes_up_to_the_next_multiple))
