/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include "../check.h"

#include <malloc.h>
#include <stdbool.h>

static bool is_zero(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i])
			return false;
	}
	return true;
}

TEST(memory_is_zeroed_aligned_and_does_not_overlap)
{
	static const size_t sizes[] = { 0, 1, 15, 16, 17, 500, 2000, 2032, 2033, 5000, 70000 };
	struct arena *a = arena_new();

	for (int round = 0; round < 40; round++) {
		size_t size = sizes[(size_t)round % (sizeof(sizes) / sizeof(sizes[0]))];
		char *p = arena_alloc(a, size);

		ASSERT_EQ((uintptr_t)p % 16, 0);
		ASSERT_TRUE(is_zero(p, size));
		memset(p, 0xff, size);
	}
	arena_free(a);
}

TEST(a_small_one_is_small_and_grows_all_the_same)
{
	struct arena *a = arena_new_small(100);
	char *texts[200];

	ASSERT_TRUE(malloc_usable_size(a) < 256);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 200; i++)
			texts[i] = arena_printf(a, "%0*d", i + 1, i);
		for (int i = 0; i < 200; i++)
			ASSERT_EQ(strlen(texts[i]), i < 1 ? 1 : i + 1);
		arena_reset(a);
	}
	arena_free(a);
	a = arena_new_small(0);
	ASSERT_TRUE(is_zero(arena_alloc(a, 16), 16));
	arena_free(a);
}

TEST(empty_allocations_are_distinct)
{
	autoarena struct arena *a = arena_new();

	ASSERT_TRUE(arena_alloc(a, 0) != arena_alloc(a, 0));
}

TEST(memory_is_zero_again_after_a_reset)
{
	autoarena struct arena *a = arena_new();
	char *first = arena_alloc(a, 100);
	char *second;

	memset(first, 'x', 100);
	memset(arena_alloc(a, 100000), 'x', 100000);
	arena_reset(a);
	second = arena_alloc(a, 100);
	ASSERT_TRUE(second == first);
	ASSERT_TRUE(is_zero(second, 100));
}

TEST(earlier_allocations_survive_later_ones)
{
	autoarena struct arena *a = arena_new();
	char *texts[300];

	for (int i = 0; i < 300; i++)
		texts[i] = arena_printf(a, "%0*d", i + 1, i);
	for (int i = 0; i < 300; i++) {
		ASSERT_EQ(strlen(texts[i]), i < 1 ? 1 : i + 1);
		ASSERT_EQ(texts[i][i], '0' + i % 10);
	}
}

TEST(copies_are_copies)
{
	autoarena struct arena *a = arena_new();
	char text[] = "volume";
	char *whole = arena_strdup(a, text);
	char *part = arena_strndup(a, text, 3);
	int *number = arena_memdup(a, &(int){ 7 }, sizeof(int));
	int *numbers = arena_array(a, 3, sizeof(*numbers));

	text[0] = 'x';
	ASSERT_STR(whole, "volume");
	ASSERT_STR(part, "vol");
	ASSERT_EQ(*number, 7);
	ASSERT_EQ(numbers[2], 0);
	ASSERT_TRUE(arena_strdup(a, NULL) == NULL);
	ASSERT_STR(arena_strndup(a, "", 0), "");
}

RUN_TESTS(UNIT(memory_is_zeroed_aligned_and_does_not_overlap),
	  UNIT(a_small_one_is_small_and_grows_all_the_same), UNIT(empty_allocations_are_distinct),
	  UNIT(memory_is_zero_again_after_a_reset), UNIT(earlier_allocations_survive_later_ones),
	  UNIT(copies_are_copies))
