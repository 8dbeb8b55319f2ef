/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bucket.h"

#include "../check.h"

#define START 1000000

static const struct bucket_rule three = { .size = 3, .every_ns = 100 };

TEST(takes_what_is_there_and_then_one_as_each_comes)
{
	struct bucket b;

	bucket_init(&b, &three, START);
	for (int i = 0; i < 3; i++)
		ASSERT_TRUE(bucket_take(&b, &three, START));
	ASSERT_FALSE(bucket_take(&b, &three, START));
	ASSERT_FALSE(bucket_take(&b, &three, START + 50));
	ASSERT_TRUE(bucket_take(&b, &three, START + 100));
	ASSERT_FALSE(bucket_take(&b, &three, START + 100));
}

TEST(never_holds_more_than_its_size)
{
	struct bucket b;

	bucket_init(&b, &three, START);
	for (int i = 0; i < 3; i++)
		ASSERT_TRUE(bucket_take(&b, &three, START + 1000000));
	ASSERT_FALSE(bucket_take(&b, &three, START + 1000000));
}

TEST(promises_are_kept_one_after_the_other)
{
	struct bucket b;

	bucket_init(&b, &three, START);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(bucket_promise(&b, &three, START), START);
	ASSERT_EQ(bucket_promise(&b, &three, START), START + 100);
	ASSERT_EQ(bucket_promise(&b, &three, START), START + 200);
	ASSERT_EQ(bucket_promise(&b, &three, START + 150), START + 300);
	ASSERT_FALSE(bucket_take(&b, &three, START + 300)); /* it is whose it was promised to */
	ASSERT_TRUE(bucket_take(&b, &three, START + 400));
}

RUN_TESTS(UNIT(takes_what_is_there_and_then_one_as_each_comes),
	  UNIT(never_holds_more_than_its_size), UNIT(promises_are_kept_one_after_the_other))
