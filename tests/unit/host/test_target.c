/* SPDX-License-Identifier: Apache-2.0 */
/* Mount targets, as far as nobody needs root for them. */
#include "base/mem.h"
#include "base/path.h"
#include "host/condition.h"
#include "host/mount.h"
#include "needs.h"
#include "scratch.h"

#include <fcntl.h>
#include <sys/stat.h>

TEST(looks_without_following)
{
	struct host_mount_at at;
	struct scratch s;
	struct err err;

	scratch_init(&s);
	autofree char *none = path_join(s.path, "none");
	autofree char *link = path_join(s.path, "link");

	ASSERT_EQ(symlink("/", link), 0);
	ASSERT_OK(host_mount_look(none, &at, &err), &err);
	ASSERT_FALSE(at.exists);
	ASSERT_OK(host_mount_look(link, &at, &err), &err);
	ASSERT_TRUE(at.is_symlink);
	ASSERT_FALSE(at.is_dir || at.is_mount_root);
	ASSERT_OK(host_mount_look(s.path, &at, &err), &err);
	ASSERT_TRUE(at.is_dir);
	ASSERT_FALSE(at.is_mount_root);
	ASSERT_OK(host_mount_look("/proc", &at, &err), &err);
	ASSERT_TRUE(at.is_mount_root);
	ASSERT_EQ(unlink(link), 0);
	scratch_done(&s);
}

TEST(makes_and_removes_targets)
{
	struct scratch s;
	struct err err;
	bool is_made;

	scratch_init(&s);
	autofree char *dir = path_join(s.path, "dir");
	autofree char *file = path_join(s.path, "file");

	ASSERT_OK(host_mount_make_target(dir, true, &is_made, &err), &err);
	ASSERT_TRUE(is_made);
	ASSERT_OK(host_mount_make_target(dir, true, &is_made, &err), &err);
	ASSERT_FALSE(is_made);
	ASSERT_OK(host_mount_make_target(file, false, &is_made, &err), &err);
	ASSERT_TRUE(is_made);
	ASSERT_ERR(host_mount_make_target(file, true, &is_made, &err), &err,
		   ERR_FAILED_PRECONDITION, "directory");
	ASSERT_ERR(host_mount_make_target(dir, false, &is_made, &err), &err,
		   ERR_FAILED_PRECONDITION, "a directory");
	ASSERT_OK(host_mount_remove_target(dir, &err), &err);
	ASSERT_OK(host_mount_remove_target(file, &err), &err);
	ASSERT_OK(host_mount_remove_target(file, &err), &err);
	scratch_done(&s);
}

TEST(removes_nothing_that_holds_something)
{
	struct scratch s;
	struct err err;
	bool is_made;
	int fd;

	scratch_init(&s);
	autofree char *dir = path_join(s.path, "dir");
	autofree char *inner = path_join(dir, "data");
	autofree char *link = path_join(s.path, "link");

	ASSERT_OK(host_mount_make_target(dir, true, &is_made, &err), &err);
	fd = open(inner, O_CREAT | O_WRONLY, 0600);
	ASSERT_EQ(write(fd, "x", 1), 1);
	host_fd_close(fd);
	ASSERT_EQ(symlink(inner, link), 0);
	ASSERT_ERR(host_mount_remove_target(dir, &err), &err, ERR_FAILED_PRECONDITION, dir);
	ASSERT_ERR(host_mount_remove_target(inner, &err), &err, ERR_FAILED_PRECONDITION,
		   "empty file");
	ASSERT_ERR(host_mount_remove_target(link, &err), &err, ERR_FAILED_PRECONDITION,
		   "empty file");
	ASSERT_EQ(unlink(link), 0);
	ASSERT_EQ(unlink(inner), 0);
	ASSERT_EQ(rmdir(dir), 0);
	scratch_done(&s);
}

TEST(unmounting_what_is_not_mounted_is_done_already)
{
	struct scratch s;
	struct ctx ctx;
	struct err err;

	scratch_init(&s);
	ctx_init(&ctx, 0);
	if (geteuid() == 0) {
		ASSERT_OK(host_mount_umount(&ctx, s.path, &err), &err);
		ASSERT_OK(host_mount_umount(&ctx, "/var/tmp/cleat-never-was", &err), &err);
	} else {
		ASSERT_ERR(host_mount_umount(&ctx, s.path, &err), &err, ERR_PERMISSION_DENIED,
			   s.path);
	}
	ctx_done(&ctx);
	scratch_done(&s);
}

/* As if a component had been swapped for one after the caller looked. */
TEST(a_symlink_on_the_way_is_refused)
{
	struct host_mount_at at;
	struct scratch s;
	struct ctx ctx;
	struct err err;
	bool is_made;

	scratch_init(&s);
	ctx_init(&ctx, 0);
	autofree char *link = path_join(s.path, "link");
	autofree char *real = path_join(s.path, "real");
	autofree char *below = path_join(link, "x");
	autofree char *there = path_join(real, "x");

	ASSERT_EQ(mkdir(real, 0700), 0);
	ASSERT_EQ(symlink("real", link), 0);
	ASSERT_ERR(host_mount_look(below, &at, &err), &err, ERR_FAILED_PRECONDITION, below);
	ASSERT_ERR(host_mount_make_target(below, true, &is_made, &err), &err,
		   ERR_FAILED_PRECONDITION, below);
	ASSERT_ERR(host_mount_make_target(below, false, &is_made, &err), &err,
		   ERR_FAILED_PRECONDITION, below);
	ASSERT_OK(host_mount_make_target(there, true, &is_made, &err), &err);
	ASSERT_ERR(host_mount_remove_target(below, &err), &err, ERR_FAILED_PRECONDITION, below);
	ASSERT_ERR(host_mount_umount(&ctx, below, &err), &err, ERR_FAILED_PRECONDITION, below);
	ASSERT_OK(host_mount_remove_target(there, &err), &err);
	ASSERT_EQ(unlink(link), 0);
	ASSERT_EQ(rmdir(real), 0);
	ctx_done(&ctx);
	scratch_done(&s);
}

static int note_root(void *arg, const char *path, bool read_only)
{
	(void)read_only;
	*(bool *)arg |= strcmp(path, "/") == 0;
	return 0;
}

TEST(finds_the_root_of_this_machine)
{
	struct host_mount_at at;
	bool is_found = false;
	struct err err;

	ASSERT_OK(host_mount_look("/", &at, &err), &err);
	ASSERT_OK(host_mount_each(at.device, note_root, &is_found, &err), &err);
	ASSERT_TRUE(is_found);
}

TEST(a_mount_is_well_by_its_options)
{
	struct host_condition is;
	struct err err;

	ASSERT_OK(host_condition_of_mount("/proc", &is, &err), &err);
	ASSERT_FALSE(is.is_shut_down);
	ASSERT_ERR(host_condition_of_mount("/proc/absent", &is, &err), &err, ERR_NOT_FOUND,
		   "/proc/absent");
}

RUN_TESTS_WITH(has_openat2(), "no openat2 here", UNIT(a_symlink_on_the_way_is_refused),
	       UNIT(looks_without_following), UNIT(makes_and_removes_targets),
	       UNIT(removes_nothing_that_holds_something),
	       UNIT(unmounting_what_is_not_mounted_is_done_already),
	       UNIT(finds_the_root_of_this_machine), UNIT(a_mount_is_well_by_its_options))
