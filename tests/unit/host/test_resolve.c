/* SPDX-License-Identifier: Apache-2.0 */
/* Names of paths, in a real directory with real links. */
#include "base/path.h"
#include "host/resolve.h"
#include "needs.h"
#include "scratch.h"

#include <fcntl.h>
#include <sys/stat.h>

struct tree {
	struct scratch s;
	char *real; /* the scratch directory as the kernel calls it */
	char path[PATH_MAX + 128];
	struct err err;
	int root;
};

/* real/a/b, link → a, out → /, top → the directory itself, beside it */
static void begin(struct tree *t)
{
	scratch_init(&t->s);
	t->real = realpath(t->s.path, NULL);
	assert_non_null(t->real);
	ASSERT_EQ(mkdirat(t->s.fd, "k", 0700), 0);
	ASSERT_EQ(mkdirat(t->s.fd, "k/a", 0700), 0);
	ASSERT_EQ(symlinkat("a", t->s.fd, "k/link"), 0);
	ASSERT_EQ(symlinkat("/", t->s.fd, "k/out"), 0);
	ASSERT_EQ(symlinkat("k", t->s.fd, "top"), 0);
	t->root = -1;
}

static void end(struct tree *t)
{
	static const char *const files[] = { "top", "k/out", "k/link" };

	host_fd_close(t->root);
	for (size_t i = 0; i < 3; i++)
		ASSERT_EQ(unlinkat(t->s.fd, files[i], 0), 0);
	ASSERT_EQ(unlinkat(t->s.fd, "k/a", AT_REMOVEDIR), 0);
	ASSERT_EQ(unlinkat(t->s.fd, "k", AT_REMOVEDIR), 0);
	free(t->real);
	scratch_done(&t->s);
}

static const char *at(struct tree *t, const char *below)
{
	(void)snprintf(t->path, sizeof(t->path), "%s/%s", t->real, below);
	return t->path;
}

static int resolve(struct tree *t, const char *below, char ret_path[PATH_MAX])
{
	char root[PATH_MAX + 128];

	(void)snprintf(root, sizeof(root), "%s/top", t->real);
	return host_path_resolve(t->root, root, at(t, below), ret_path, &t->err);
}

TEST(a_path_through_a_link_gets_the_name_without)
{
	struct tree t;
	char got[PATH_MAX];

	begin(&t);
	ASSERT_OK(resolve(&t, "top/link/x", got), &t.err);
	ASSERT_STR(got, at(&t, "k/a/x"));
	ASSERT_OK(resolve(&t, "k/a/x", got), &t.err);
	ASSERT_STR(got, at(&t, "k/a/x"));
	ASSERT_OK(resolve(&t, "k/link", got), &t.err); /* the last one is not followed */
	ASSERT_STR(got, at(&t, "k/link"));
	ASSERT_OK(resolve(&t, "k/absent/x", got), &t.err);
	ASSERT_STR(got, at(&t, "k/absent/x"));
	ASSERT_OK(resolve(&t, "top/link/absent/y/x", got), &t.err); /* as far as it is there */
	ASSERT_STR(got, at(&t, "k/a/absent/y/x"));
	ASSERT_OK(host_path_resolve(-1, "", "/x", got, &t.err), &t.err);
	ASSERT_STR(got, "/x");
	end(&t);
}

TEST(the_root_may_be_a_link_and_nothing_below_it)
{
	struct tree t;
	char got[PATH_MAX];

	begin(&t);
	ASSERT_OK(host_root_open(at(&t, "top"), &t.root, &t.err), &t.err);
	ASSERT_OK(resolve(&t, "top/a/x", got), &t.err);
	ASSERT_STR(got, at(&t, "k/a/x"));
	ASSERT_OK(resolve(&t, "k/a/x", got), &t.err); /* by its real name */
	ASSERT_STR(got, at(&t, "k/a/x"));
	ASSERT_OK(resolve(&t, "top/x", got), &t.err);
	ASSERT_STR(got, at(&t, "k/x"));
	ASSERT_OK(resolve(&t, "top/absent/y/x", got), &t.err);
	ASSERT_STR(got, at(&t, "k/absent/y/x"));
	ASSERT_ERR(resolve(&t, "top/out/absent/y/x", got), &t.err, ERR_INVALID_ARGUMENT,
		   "symbolic link");
	ASSERT_ERR(resolve(&t, "top/link/x", got), &t.err, ERR_INVALID_ARGUMENT, "symbolic link");
	ASSERT_ERR(resolve(&t, "top/out/etc/x", got), &t.err, ERR_INVALID_ARGUMENT,
		   "symbolic link");
	ASSERT_ERR(resolve(&t, "other/x", got), &t.err, ERR_INVALID_ARGUMENT, "is not below");
	ASSERT_ERR(resolve(&t, "top", got), &t.err, ERR_INVALID_ARGUMENT, "is not below");
	ASSERT_ERR(resolve(&t, "topple/x", got), &t.err, ERR_INVALID_ARGUMENT, "is not below");
	end(&t);
}

/* It is opened once: what its name means later does not count. */
TEST(the_root_is_the_directory_and_not_its_name)
{
	struct tree t;
	char got[PATH_MAX];

	begin(&t);
	ASSERT_OK(host_root_open(at(&t, "top"), &t.root, &t.err), &t.err);
	ASSERT_EQ(unlinkat(t.s.fd, "top", 0), 0);
	ASSERT_EQ(symlinkat("/", t.s.fd, "top"), 0);
	ASSERT_OK(resolve(&t, "top/a/x", got), &t.err);
	ASSERT_STR(got, at(&t, "k/a/x"));
	end(&t);
}

TEST(a_root_that_is_none_is_named)
{
	struct tree t;

	begin(&t);
	ASSERT_ERR(host_root_open(at(&t, "absent"), &t.root, &t.err), &t.err, ERR_NOT_FOUND,
		   "absent");
	end(&t);
}

RUN_TESTS_WITH(has_openat2(), "no openat2 here", UNIT(a_path_through_a_link_gets_the_name_without),
	       UNIT(the_root_may_be_a_link_and_nothing_below_it),
	       UNIT(the_root_is_the_directory_and_not_its_name), UNIT(a_root_that_is_none_is_named))
