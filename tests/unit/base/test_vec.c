/* SPDX-License-Identifier: Apache-2.0 */
#include "base/vec.h"

#include "../check.h"

struct point {
	int x;
	int y;
};

TEST(elements_keep_their_order_and_values)
{
	VEC(struct point) points = VEC_INIT;

	for (int i = 0; i < 1000; i++)
		vec_push(&points, ((struct point){ i, -i }));
	ASSERT_EQ(points.n, 1000);
	ASSERT_TRUE(points.cap >= 1000);
	for (int i = 0; i < 1000; i++) {
		ASSERT_EQ(points.v[i].x, i);
		ASSERT_EQ(points.v[i].y, -i);
	}
	vec_done(&points);
	ASSERT_TRUE(points.v == NULL);
	ASSERT_EQ(points.n, 0);
	ASSERT_EQ(points.cap, 0);
}

TEST(an_emptied_vector_is_filled_again)
{
	VEC(const char *) words = VEC_INIT;

	vec_push(&words, "a");
	vec_done(&words);
	vec_push(&words, "b");
	ASSERT_EQ(words.n, 1);
	ASSERT_STR(words.v[0], "b");
	vec_done(&words);
}

RUN_TESTS(UNIT(elements_keep_their_order_and_values), UNIT(an_emptied_vector_is_filled_again))
