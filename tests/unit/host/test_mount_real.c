/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts on this machine, as root, in a mount namespace of the test's own. tmpfs stands for any
 * filesystem: what is tried here is ours, not the filesystem's.
 */
#include "base/mem.h"
#include "base/path.h"
#include "host/fs.h"
#include "host/mount.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

struct place {
	struct scratch s;
	struct ctx ctx;
	struct err err;
	struct host_mount_at at;
	char *a;
	char *b;
};

static void place_init(struct place *p)
{
	bool is_made;

	scratch_init(&p->s);
	ctx_init(&p->ctx, 0);
	p->a = path_join(p->s.path, "a");
	p->b = path_join(p->s.path, "b");
	ASSERT_OK(host_mount_make_target(p->a, true, &is_made, &p->err), &p->err);
	ASSERT_OK(host_mount_make_target(p->b, true, &is_made, &p->err), &p->err);
}

static void place_done(struct place *p)
{
	ASSERT_OK(host_mount_umount(&p->ctx, p->b, &p->err), &p->err);
	ASSERT_OK(host_mount_umount(&p->ctx, p->a, &p->err), &p->err);
	ASSERT_OK(host_mount_remove_target(p->b, &p->err), &p->err);
	ASSERT_OK(host_mount_remove_target(p->a, &p->err), &p->err);
	free(p->a);
	free(p->b);
	ctx_done(&p->ctx);
	scratch_done(&p->s);
}

static int mount_tmpfs(struct place *p, const char *const *flags, size_t n, bool read_only)
{
	const struct host_mount_options opts = {
		.fs = "tmpfs", .flags = flags, .n_flags = n, .read_only = read_only
	};

	return host_mount_device(&p->ctx, "cleat-test", p->a, &opts, &p->err);
}

static unsigned long flags_of(const char *path)
{
	struct statvfs st;

	ASSERT_EQ(statvfs(path, &st), 0);
	return st.f_flag;
}

TEST(sets_flags_of_the_mount_and_of_the_filesystem)
{
	static const char *const flags[] = { "noexec", "nosuid", "noatime", "size=1m" };
	struct place p;
	struct statvfs st;

	place_init(&p);
	ASSERT_OK(mount_tmpfs(&p, flags, ARRAY_LEN(flags), false), &p.err);
	ASSERT_EQ(flags_of(p.a) & (ST_NOEXEC | ST_NOSUID | ST_NOATIME | ST_RDONLY | ST_NODEV),
		  ST_NOEXEC | ST_NOSUID | ST_NOATIME);
	ASSERT_EQ(statvfs(p.a, &st), 0);
	ASSERT_EQ(st.f_blocks * st.f_frsize, 1 << 20);
	ASSERT_OK(host_mount_look(p.a, &p.at, &p.err), &p.err);
	ASSERT_TRUE(p.at.is_mount_root);
	ASSERT_FALSE(p.at.is_read_only);
	place_done(&p);
}

/* As kubelet quotes an SELinux context: context="system_u:object_r:container_file_t:s0:c1,c2". */
TEST(a_quoted_value_is_given_without_its_quotes)
{
	static const char *const flags[] = { "size=\"1m\"" };
	struct place p;
	struct statvfs st;

	place_init(&p);
	ASSERT_OK(mount_tmpfs(&p, flags, ARRAY_LEN(flags), false), &p.err);
	ASSERT_EQ(statvfs(p.a, &st), 0);
	ASSERT_EQ(st.f_blocks * st.f_frsize, 1 << 20);
	place_done(&p);
}

TEST(names_the_option_that_is_refused)
{
	static const char *const flags[] = { "noexec", "frobnicate" };
	struct place p;

	place_init(&p);
	ASSERT_ERR(mount_tmpfs(&p, flags, ARRAY_LEN(flags), false), &p.err, ERR_INVALID_ARGUMENT,
		   "'frobnicate'");
	ASSERT_OK(host_mount_look(p.a, &p.at, &p.err), &p.err);
	ASSERT_FALSE(p.at.is_mount_root);
	place_done(&p);
}

TEST(mounts_read_only)
{
	struct place p;

	place_init(&p);
	ASSERT_OK(mount_tmpfs(&p, NULL, 0, true), &p.err);
	ASSERT_OK(host_mount_look(p.a, &p.at, &p.err), &p.err);
	ASSERT_TRUE(p.at.is_read_only);
	place_done(&p);
}

TEST(binds_with_flags_of_its_own)
{
	static const char *const flags[] = { "noexec", "discard" };
	struct place p;

	place_init(&p);
	ASSERT_OK(mount_tmpfs(&p, NULL, 0, false), &p.err);
	ASSERT_OK(host_mount_bind(&p.ctx, p.a, p.b, true, flags, ARRAY_LEN(flags), &p.err), &p.err);
	ASSERT_EQ(flags_of(p.b) & (ST_RDONLY | ST_NOEXEC), ST_RDONLY | ST_NOEXEC);
	ASSERT_EQ(flags_of(p.a) & (ST_RDONLY | ST_NOEXEC), 0);
	autofree char *file = path_join(p.b, "x");
	ASSERT_EQ(open(file, O_CREAT | O_WRONLY, 0600), -1);
	ASSERT_EQ(errno, EROFS);
	place_done(&p);
}

static int count(void *arg, const char *path, bool read_only)
{
	(void)path;
	*(int *)arg += read_only ? 100 : 1;
	return 0;
}

TEST(finds_every_mount_of_a_filesystem)
{
	struct place p;
	int n = 0;

	place_init(&p);
	ASSERT_OK(mount_tmpfs(&p, NULL, 0, false), &p.err);
	ASSERT_OK(host_mount_bind(&p.ctx, p.a, p.b, true, NULL, 0, &p.err), &p.err);
	ASSERT_OK(host_mount_look(p.a, &p.at, &p.err), &p.err);
	ASSERT_OK(host_mount_each(p.at.device, count, &n, &p.err), &p.err);
	ASSERT_EQ(n, 101);
	place_done(&p);
}

static void mount_from(struct place *p, const char *source, const char *at)
{
	const struct host_mount_options opts = { .fs = "tmpfs" };

	ASSERT_OK(host_mount_device(&p->ctx, source, at, &opts, &p->err), &p->err);
}

static void assert_top(struct place *p, const char *at, const char *source)
{
	struct host_mountinfo info;
	char *line = NULL;
	int r = host_mountinfo_find_top(at, &line, &info, &p->err);

	ASSERT_OK(r, &p->err);
	ASSERT_EQ(r, source != NULL);
	if (r > 0)
		ASSERT_STR(info.source, source);
	free(line);
}

/* The moved one is older than what it lies on, and the table is in the order of age. */
TEST(finds_what_is_on_top_whatever_the_order_of_the_table)
{
	struct place p;

	place_init(&p);
	assert_top(&p, p.a, NULL);
	mount_from(&p, "server:/old", p.b);
	mount_from(&p, "server:/low", p.a);
	assert_top(&p, p.a, "server:/low");
	mount_from(&p, "server:/middle", p.a);
	ASSERT_EQ(mount(p.b, p.a, NULL, MS_MOVE, NULL), 0);
	assert_top(&p, p.a, "server:/old");
	ASSERT_OK(host_mount_umount(&p.ctx, p.a, &p.err), &p.err);
	assert_top(&p, p.a, "server:/middle");
	ASSERT_OK(host_mount_umount(&p.ctx, p.a, &p.err), &p.err);
	assert_top(&p, p.a, "server:/low");
	place_done(&p);
}

TEST(tells_what_a_path_lies_on_and_from_where_that_is_mounted)
{
	struct place p;
	struct host_mountinfo info;
	autofree char *sub = NULL;
	char *line = NULL;
	bool is_made;

	place_init(&p);
	mount_from(&p, "server:/a b", p.a);
	sub = path_join(p.a, "sub");
	ASSERT_OK(host_mount_make_target(sub, true, &is_made, &p.err), &p.err);
	ASSERT_OK(host_mount_bind(&p.ctx, sub, p.b, true, NULL, 0, &p.err), &p.err);
	ASSERT_EQ(host_mountinfo_find_under(sub, &line, &info, &p.err), 1);
	ASSERT_STR(info.source, "server:/a b");
	ASSERT_STR(info.point, p.a);
	free(line);
	ASSERT_EQ(host_mountinfo_find_under(p.b, &line, &info, &p.err), 1);
	ASSERT_STR(info.source, "server:/a b");
	ASSERT_TRUE(info.read_only && strcmp(info.root, "/sub") == 0);
	free(line);
	ASSERT_EQ(host_mountinfo_find_under("/no/such/path", &line, &info, &p.err), 0);
	place_done(&p);
}

TEST(does_not_unmount_what_is_busy)
{
	struct place p;
	int fd;

	place_init(&p);
	ASSERT_OK(mount_tmpfs(&p, NULL, 0, false), &p.err);
	ASSERT_OK(host_dir_open(p.a, &fd, &p.err), &p.err);
	ASSERT_ERR(host_mount_umount(&p.ctx, p.a, &p.err), &p.err, ERR_FAILED_PRECONDITION, p.a);
	ASSERT_ERR(host_mount_remove_target(p.a, &p.err), &p.err, ERR_FAILED_PRECONDITION,
		   "mount point");
	host_fd_close(fd);
	place_done(&p);
}

TEST(never_mounts_through_a_symlink)
{
	struct place p;

	place_init(&p);
	ASSERT_EQ(rmdir(p.a), 0);
	ASSERT_EQ(symlink(p.b, p.a), 0);
	ASSERT_ERR(mount_tmpfs(&p, NULL, 0, false), &p.err, ERR_FAILED_PRECONDITION, "symlink");
	ASSERT_ERR(host_mount_bind(&p.ctx, p.b, p.a, false, NULL, 0, &p.err), &p.err,
		   ERR_FAILED_PRECONDITION, "symlink");
	ASSERT_ERR(host_mount_bind(&p.ctx, p.a, p.b, false, NULL, 0, &p.err), &p.err,
		   ERR_FAILED_PRECONDITION, "symlink");
	ASSERT_EQ(unlink(p.a), 0);
	place_done(&p);
}

/* s/link → s, so that s/link/a is s/a. */
TEST(never_mounts_through_a_symlink_on_the_way)
{
	const struct host_mount_options opts = { .fs = "tmpfs" };
	struct place p;

	place_init(&p);
	autofree char *link = path_join(p.s.path, "link");
	autofree char *a = path_join(link, "a");

	ASSERT_EQ(symlink(".", link), 0);
	ASSERT_ERR(host_mount_device(&p.ctx, "cleat-test", a, &opts, &p.err), &p.err,
		   ERR_FAILED_PRECONDITION, "symlink");
	ASSERT_ERR(host_mount_bind(&p.ctx, p.b, a, false, NULL, 0, &p.err), &p.err,
		   ERR_FAILED_PRECONDITION, "symlink");
	ASSERT_ERR(host_mount_bind(&p.ctx, a, p.b, false, NULL, 0, &p.err), &p.err,
		   ERR_FAILED_PRECONDITION, "symlink");
	ASSERT_OK(mount_tmpfs(&p, NULL, 0, false), &p.err);
	ASSERT_ERR(host_mount_umount(&p.ctx, a, &p.err), &p.err, ERR_FAILED_PRECONDITION, a);
	ASSERT_OK(host_mount_look(p.a, &p.at, &p.err), &p.err);
	ASSERT_TRUE(p.at.is_mount_root);
	ASSERT_EQ(unlink(link), 0);
	place_done(&p);
}

TEST(binds_a_device_node_onto_a_file_and_finds_it)
{
	struct host_mount_at null;
	struct place p;
	bool is_made;
	int n = 0;

	place_init(&p);
	autofree char *file = path_join(p.s.path, "dev");

	/* null is no block device, so the node is one of our own: loop 0's, which is only named and
	 * never opened */
	autofree char *node = path_join(p.a, "node");

	ASSERT_OK(mount_tmpfs(&p, NULL, 0, false), &p.err);
	ASSERT_EQ(mknod(node, S_IFBLK | 0600, 7 << 8), 0);
	ASSERT_OK(host_mount_look(node, &null, &p.err), &p.err);
	ASSERT_TRUE(null.is_block_device);
	ASSERT_OK(host_mount_make_target(file, false, &is_made, &p.err), &p.err);
	ASSERT_OK(host_mount_bind(&p.ctx, node, file, false, NULL, 0, &p.err), &p.err);
	ASSERT_OK(host_mount_look(file, &p.at, &p.err), &p.err);
	ASSERT_TRUE(p.at.is_mount_root && p.at.is_block_device);
	ASSERT_EQ(p.at.rdev, null.rdev);
	ASSERT_OK(host_mount_each(null.rdev, count, &n, &p.err), &p.err);
	ASSERT_TRUE(n >= 1);
	ASSERT_OK(host_mount_umount(&p.ctx, file, &p.err), &p.err);
	ASSERT_OK(host_mount_remove_target(file, &p.err), &p.err);
	place_done(&p);
}

static bool is_fs_root(const char *path)
{
	struct err err;
	bool is_root;
	int fd;

	ASSERT_OK(host_dir_open(path, &fd, &err), &err);
	ASSERT_OK(host_dir_is_fs_root(fd, &is_root, &err), &err);
	host_fd_close(fd);
	return is_root;
}

TEST(tells_the_root_of_a_filesystem_from_a_bind_of_something_deeper)
{
	autofree char *deep = NULL;
	struct place p;
	bool is_covered;
	int fd;

	place_init(&p);
	ASSERT_FALSE(is_fs_root(p.a));
	ASSERT_OK(host_dir_open(p.a, &fd, &p.err), &p.err);
	ASSERT_OK(host_dir_is_covered(fd, p.a, &is_covered, &p.err), &p.err);
	ASSERT_FALSE(is_covered);
	ASSERT_OK(mount_tmpfs(&p, NULL, 0, false), &p.err);
	ASSERT_OK(host_dir_is_covered(fd, p.a, &is_covered, &p.err), &p.err);
	ASSERT_TRUE(is_covered);
	host_fd_close(fd);
	ASSERT_TRUE(is_fs_root(p.a));
	deep = path_join(p.a, "deep");
	ASSERT_EQ(mkdir(deep, 0700), 0);
	ASSERT_FALSE(is_fs_root(deep));
	ASSERT_EQ(mount(deep, p.b, NULL, MS_BIND, NULL), 0);
	ASSERT_FALSE(is_fs_root(p.b));
	ASSERT_EQ(umount(p.b), 0);
	ASSERT_EQ(mount(p.a, p.b, NULL, MS_BIND, NULL), 0);
	ASSERT_TRUE(is_fs_root(p.b));
	ASSERT_EQ(umount(p.b), 0);
	ASSERT_OK(host_dir_open(p.a, &fd, &p.err), &p.err);
	ASSERT_EQ(umount2(p.a, MNT_DETACH), 0);
	ASSERT_OK(host_dir_is_covered(fd, p.a, &is_covered, &p.err), &p.err);
	ASSERT_FALSE(is_covered); /* the bare mount point */
	host_fd_close(fd);
	place_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(sets_flags_of_the_mount_and_of_the_filesystem),
		UNIT(a_quoted_value_is_given_without_its_quotes),
		UNIT(names_the_option_that_is_refused),
		UNIT(mounts_read_only),
		UNIT(binds_with_flags_of_its_own),
		UNIT(finds_every_mount_of_a_filesystem),
		UNIT(finds_what_is_on_top_whatever_the_order_of_the_table),
		UNIT(tells_what_a_path_lies_on_and_from_where_that_is_mounted),
		UNIT(does_not_unmount_what_is_busy),
		UNIT(never_mounts_through_a_symlink),
		UNIT(never_mounts_through_a_symlink_on_the_way),
		UNIT(binds_a_device_node_onto_a_file_and_finds_it),
		UNIT(tells_the_root_of_a_filesystem_from_a_bind_of_something_deeper),
	};

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		(void)fprintf(stderr, "SKIPPED: mounts need root and CAP_SYS_ADMIN\n");
		return 77;
	}
	return cmocka_run_group_tests_name("mount", tests, NULL, NULL);
}
