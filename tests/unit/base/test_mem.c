/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include "../check.h"

struct outer {
	int before;
	int inner;
};

TEST(size_zero_is_a_pointer)
{
	void *a = xmalloc(0);
	void *b = xcalloc(0, 8);
	void *c = xrealloc(NULL, 0);

	ASSERT_TRUE(a && b && c);
	free(a);
	free(b);
	free(c);
}

TEST(copies_of_text_are_whole)
{
	autofree char *whole = xstrdup("volume");
	autofree char *part = xstrndup("volume", 3);
	autofree char *empty = xstrndup("", 0);
	autofree char *made = xasprintf("%s-%d", "pvc", 7);

	ASSERT_STR(whole, "volume");
	ASSERT_STR(part, "vol");
	ASSERT_STR(empty, "");
	ASSERT_STR(made, "pvc-7");
	ASSERT_TRUE(xstrdup(NULL) == NULL);
}

TEST(taking_a_pointer_leaves_null)
{
	autofree char *mine = xstrdup("x");
	char *theirs = TAKE_PTR(mine);

	ASSERT_TRUE(mine == NULL);
	ASSERT_STR(theirs, "x");
	free(theirs);
}

TEST(container_of_finds_the_whole)
{
	struct outer o = { 0 };
	int *inner = &o.inner;

	ASSERT_TRUE(container_of(inner, struct outer, inner) == &o);
	ASSERT_EQ(ARRAY_LEN(((int[]){ 1, 2, 3 })), 3);
}

RUN_TESTS(UNIT(size_zero_is_a_pointer), UNIT(copies_of_text_are_whole),
	  UNIT(taking_a_pointer_leaves_null), UNIT(container_of_finds_the_whole))
