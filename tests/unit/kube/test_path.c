/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/mem.h"
#include "kube/path.h"
#include "thing.h"

static const struct kube_type node = { .kind = "Node", .resource = "nodes", .group_version = "v1" };

TEST(paths_are_those_of_the_api)
{
	autofree char *all = NULL, *some = NULL, *one = NULL, *wide = NULL, *sub = NULL;
	struct err err;

	ASSERT_OK(kube_collection_path(&thing_type, NULL, &all, &err), &err);
	ASSERT_STR(all, "/apis/test/v1/things");
	ASSERT_OK(kube_collection_path(&thing_type, "web", &some, &err), &err);
	ASSERT_STR(some, "/apis/test/v1/namespaces/web/things");
	ASSERT_OK(kube_object_path(&thing_type, "web", "data-0", &one, &err), &err);
	ASSERT_STR(one, "/apis/test/v1/namespaces/web/things/data-0");
	ASSERT_OK(kube_object_path(&node, "", "system:n.1_x", &wide, &err), &err);
	ASSERT_STR(wide, "/api/v1/nodes/system:n.1_x");
	ASSERT_OK(kube_subresource_path(one, "status", &sub, &err), &err);
	ASSERT_STR(sub, "/apis/test/v1/namespaces/web/things/data-0/status");
}

/* Each alone, and in each place where a name can stand. */
TEST(what_is_no_name_is_refused_and_named)
{
	char longest[255];
	const char *const names[] = {
		"",     ".",     "..",    "/",        "a/b", "../../secrets/x",
		"a/..", "a%2fb", "a?b",   "a#b",      "a b", "a\nb",
		"a\tb", "\x01",  "a\x7f", "\xc3\xa4", NULL,  longest,
	};
	struct err err;

	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char *path = NULL;

		ASSERT_ERR(kube_object_path(&thing_type, "web", names[i], &path, &err), &err,
			   ERR_INVALID_ARGUMENT, "name of a Thing '");
		ASSERT_ERR(kube_object_path(&thing_type, names[i], "x", &path, &err), &err,
			   ERR_INVALID_ARGUMENT, "namespace '");
		ASSERT_ERR(kube_subresource_path("/api/v1/nodes/n", names[i], &path, &err), &err,
			   ERR_INVALID_ARGUMENT, "subresource '");
		if (names[i])
			ASSERT_ERR(kube_collection_path(&thing_type, names[i], &path, &err), &err,
				   ERR_INVALID_ARGUMENT, "namespace '");
		assert_null(path);
	}
	ASSERT_OK(kube_name_check("name", longest + 1, &err), &err);
}

RUN_TESTS(UNIT(paths_are_those_of_the_api), UNIT(what_is_no_name_is_refused_and_named))
