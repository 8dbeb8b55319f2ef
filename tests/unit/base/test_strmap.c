/* SPDX-License-Identifier: Apache-2.0 */
#include "base/strmap.h"

#include "../check.h"

#include "base/mem.h"

static const struct strpair pairs[] = { { "z", "1" }, { "a", "2" }, { "m", "3" },
					{ "a", "4" }, { "z", "5" }, { "a", "6" } };

TEST(pairs_are_sorted_and_the_last_of_equals_wins)
{
	autoarena struct arena *a = arena_new();
	struct strmap m = strmap_from(a, pairs, ARRAY_LEN(pairs));

	ASSERT_EQ(m.n, 3);
	ASSERT_STR(m.v[0].key, "a");
	ASSERT_STR(m.v[0].value, "6");
	ASSERT_STR(m.v[1].key, "m");
	ASSERT_STR(m.v[2].key, "z");
	ASSERT_STR(m.v[2].value, "5");
}

TEST(strings_are_copied)
{
	autoarena struct arena *a = arena_new();
	char key[] = "k";
	char value[] = "v";
	struct strmap m = strmap_from(a, &(struct strpair){ key, value }, 1);
	struct strmap copy = strmap_from(a, m.v, m.n);

	key[0] = value[0] = 'x';
	ASSERT_STR(strmap_find(&m, "k"), "v");
	ASSERT_TRUE(strmap_is_equal(&m, &copy));
	ASSERT_TRUE(m.v[0].key != copy.v[0].key);
}

TEST(with_makes_a_new_map)
{
	autoarena struct arena *a = arena_new();
	struct strmap old = strmap_from(a, pairs, ARRAY_LEN(pairs));
	struct strmap more = strmap_with(a, &old, "b", "7");
	struct strmap other = strmap_with(a, &old, "m", "8");

	ASSERT_EQ(old.n, 3);
	ASSERT_EQ(more.n, 4);
	ASSERT_STR(strmap_find(&more, "b"), "7");
	ASSERT_TRUE(strmap_find(&old, "b") == NULL);
	ASSERT_EQ(other.n, 3);
	ASSERT_STR(strmap_find(&other, "m"), "8");
	ASSERT_STR(strmap_find(&old, "m"), "3");
}

TEST(equality_and_subsets_look_at_keys_and_values)
{
	autoarena struct arena *a = arena_new();
	struct strmap whole = strmap_from(a, pairs, ARRAY_LEN(pairs));
	struct strmap part = strmap_from(a, pairs + 2, 1);
	struct strmap wrong = strmap_from(a, pairs, 1);
	struct strmap none = STRMAP_EMPTY;

	ASSERT_TRUE(strmap_is_subset(&part, &whole));
	ASSERT_FALSE(strmap_is_subset(&whole, &part));
	ASSERT_FALSE(strmap_is_subset(&wrong, &whole));
	ASSERT_TRUE(strmap_is_subset(&none, &part));
	ASSERT_TRUE(strmap_is_subset(&none, &none));
	ASSERT_TRUE(strmap_is_equal(&whole, &whole));
	ASSERT_FALSE(strmap_is_equal(&whole, &part));
	ASSERT_TRUE(strmap_is_equal(&none, &none));
}

TEST(an_empty_map_is_a_map)
{
	autoarena struct arena *a = arena_new();
	struct strmap none = strmap_from(a, NULL, 0);
	struct strmap one = strmap_with(a, &none, "k", NULL);

	ASSERT_EQ(none.n, 0);
	ASSERT_TRUE(strmap_find(&none, "k") == NULL);
	ASSERT_STR(strmap_find(&one, "k"), "");
}

TEST(bytes_are_those_of_keys_and_values)
{
	autoarena struct arena *a = arena_new();
	struct strmap m = strmap_from(a, &(struct strpair){ "key", "value" }, 1);
	struct strmap none = STRMAP_EMPTY;

	ASSERT_EQ(strmap_bytes(&m), 8);
	ASSERT_EQ(strmap_bytes(&none), 0);
}

RUN_TESTS(UNIT(pairs_are_sorted_and_the_last_of_equals_wins), UNIT(strings_are_copied),
	  UNIT(with_makes_a_new_map), UNIT(equality_and_subsets_look_at_keys_and_values),
	  UNIT(an_empty_map_is_a_map), UNIT(bytes_are_those_of_keys_and_values))
