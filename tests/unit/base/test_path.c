/* SPDX-License-Identifier: Apache-2.0 */
#include "base/path.h"

#include "../check.h"

#include "base/mem.h"

#include <limits.h>

TEST(only_one_spelling_of_a_path_is_clean)
{
	static const char *const clean[] = {
		"/", "/a", "/a/b", "/a/.b", "/a/b.", "/...", "/a b/ö"
	};
	static const char *const unclean[] = { "",       "a",     "a/b",   "./a",  "//",
					       "/a/",    "/a//b", "/.",    "/..",  "/a/.",
					       "/a/./b", "/a/..", "/../a", "//a/b" };

	for (size_t i = 0; i < ARRAY_LEN(clean); i++)
		if (!path_is_clean(clean[i]))
			fail_msg("refused: '%s'", clean[i]);
	for (size_t i = 0; i < ARRAY_LEN(unclean); i++)
		if (path_is_clean(unclean[i]))
			fail_msg("accepted: '%s'", unclean[i]);
	ASSERT_FALSE(path_is_clean(NULL));
}

TEST(lengths_are_bounded)
{
	char path[PATH_MAX + 2];
	char name[300] = "";

	memset(name, 'n', 255);
	ASSERT_TRUE(path_is_name(name));
	name[255] = 'n';
	ASSERT_FALSE(path_is_name(name));
	for (size_t i = 0; i < sizeof(path); i++)
		path[i] = i % 100 ? 'p' : '/';
	path[PATH_MAX - 1] = '\0';
	ASSERT_TRUE(path_is_clean(path));
	path[PATH_MAX - 1] = 'p';
	path[PATH_MAX] = '\0';
	ASSERT_FALSE(path_is_clean(path));
}

TEST(a_name_is_one_component)
{
	ASSERT_TRUE(path_is_name("a"));
	ASSERT_TRUE(path_is_name(".hidden"));
	ASSERT_FALSE(path_is_name(NULL));
	ASSERT_FALSE(path_is_name(""));
	ASSERT_FALSE(path_is_name("."));
	ASSERT_FALSE(path_is_name(".."));
	ASSERT_FALSE(path_is_name("a/b"));
	ASSERT_FALSE(path_is_name("/"));
}

TEST(below_goes_by_components)
{
	ASSERT_TRUE(path_is_below("/a/b", "/a"));
	ASSERT_TRUE(path_is_below("/a", "/a"));
	ASSERT_TRUE(path_is_below("/a", "/"));
	ASSERT_FALSE(path_is_below("/ab", "/a"));
	ASSERT_FALSE(path_is_below("/a", "/a/b"));
}

TEST(paths_are_taken_apart_and_joined)
{
	autofree char *parent = path_parent("/a/b");
	autofree char *top = path_parent("/a");
	autofree char *joined = path_join("/a", "b");
	autofree char *rooted = path_join("/", "b");

	ASSERT_STR(parent, "/a");
	ASSERT_STR(top, "/");
	ASSERT_TRUE(path_parent("/") == NULL);
	ASSERT_STR(joined, "/a/b");
	ASSERT_STR(rooted, "/b");
	ASSERT_STR(path_last("/a/b"), "b");
	ASSERT_STR(path_last("b"), "b");
}

RUN_TESTS(UNIT(only_one_spelling_of_a_path_is_clean), UNIT(lengths_are_bounded),
	  UNIT(a_name_is_one_component), UNIT(below_goes_by_components),
	  UNIT(paths_are_taken_apart_and_joined))
