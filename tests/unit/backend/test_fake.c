/* SPDX-License-Identifier: Apache-2.0 */
/* The fake host where others rely on it as on the kernel: what tests/unit/host shows of real
 * filesystems is true of the fake one. */
#include "base/num.h"
#include "check.h"
#include "fake/host.h"
#include "fake/host_extent.h"
#include "fake/host_freeze.h"
#include "fake/host_grow.h"
#include "host/extent.h"
#include "host/freeze.h"
#include "host/fs.h"
#include "host/grow.h"
#include "host/loopdev.h"
#include "host/mkfs.h"
#include "host/mount.h"

struct place {
	int dir;
	int from;
	int to;
	struct ctx ctx;
	struct err err;
};

/* "from" of 8 MiB with 2 MiB written, and the empty "to". */
static void begin(struct place *p, bool thick)
{
	fake_host_reset(100 * MIB);
	ctx_init(&p->ctx, 0);
	ASSERT_OK(host_dir_open("/pool", &p->dir, &p->err), &p->err);
	ASSERT_OK(host_file_open_or_make(p->dir, "from", &p->from, &p->err), &p->err);
	ASSERT_OK(host_file_open_or_make(p->dir, "to", &p->to, &p->err), &p->err);
	if (thick)
		ASSERT_OK(host_file_allocate(p->from, 8 * MIB, &p->err), &p->err);
	else
		ASSERT_OK(host_file_resize(p->from, 8 * MIB, &p->err), &p->err);
	ASSERT_OK(host_file_set_attr(p->from, "user.x", "x", &p->err), &p->err);
	fake_host_write("from", MIB, 2 * MIB);
}

static void end(struct place *p)
{
	host_fd_close(p->to);
	host_fd_close(p->from);
	host_fd_close(p->dir);
	ctx_done(&p->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	fake_host_reset(0);
}

static uint64_t shared(struct place *p, int fd)
{
	uint64_t n;

	ASSERT_OK(host_file_shared_bytes(&p->ctx, fd, &n, &p->err), &p->err);
	return n;
}

static uint64_t extents(struct place *p, int fd)
{
	uint64_t n;

	ASSERT_OK(host_file_count_extents(fd, &n, &p->err), &p->err);
	return n;
}

TEST(a_clone_shares_and_takes_no_space)
{
	struct host_file file;
	struct place p;
	char text[8];

	begin(&p, true);
	ASSERT_EQ(fake_host_used_bytes(), 8 * MIB);
	ASSERT_EQ(extents(&p, p.from), 3);
	ASSERT_OK(host_file_clone(p.from, p.to, &p.err), &p.err);
	ASSERT_TRUE(fake_host_reads_same("from", "to"));
	ASSERT_EQ(fake_host_used_bytes(), 8 * MIB);
	ASSERT_OK(host_file_look(p.to, &file, &p.err), &p.err);
	ASSERT_EQ(file.bytes, 8 * MIB);
	ASSERT_EQ(file.allocated_bytes, 2 * MIB);
	ASSERT_EQ(shared(&p, p.from), 2 * MIB);
	ASSERT_EQ(shared(&p, p.to), 2 * MIB);
	ASSERT_ERR(host_file_get_attr(p.to, "user.x", text, sizeof(text), &p.err), &p.err,
		   ERR_NOT_FOUND, "");
	ASSERT_ERR(host_file_clone(p.from, p.to, &p.err), &p.err, ERR_FAILED_PRECONDITION, "");
	end(&p);
}

TEST(what_is_written_into_either_is_its_own)
{
	struct place p;

	begin(&p, false);
	ASSERT_OK(host_file_clone(p.from, p.to, &p.err), &p.err);
	ASSERT_EQ(fake_host_used_bytes(), 2 * MIB);
	fake_host_write("from", MIB + 64 * KIB, 4 * KIB);
	ASSERT_FALSE(fake_host_reads_same("from", "to"));
	ASSERT_EQ(fake_host_used_bytes(), 2 * MIB + 4 * KIB);
	ASSERT_EQ(shared(&p, p.to), 2 * MIB - 4 * KIB);
	ASSERT_EQ(shared(&p, p.from), 2 * MIB - 4 * KIB);
	ASSERT_EQ(extents(&p, p.from), 3);
	fake_host_punch("to", MIB + 64 * KIB, 4 * KIB);
	ASSERT_EQ(fake_host_used_bytes(), 2 * MIB);
	ASSERT_OK(host_file_resize(p.from, 0, &p.err), &p.err);
	ASSERT_EQ(shared(&p, p.to), 0);
	ASSERT_EQ(fake_host_used_bytes(), 2 * MIB - 4 * KIB);
	end(&p);
}

TEST(a_copy_in_pieces_shares_nothing)
{
	struct place p;
	uint64_t next = 0;
	unsigned n = 0;

	begin(&p, false);
	for (; next < 8 * MIB; n++)
		ASSERT_OK(host_file_copy_data(&p.ctx, p.from, p.to, next, 300 * KIB, &next, &p.err),
			  &p.err);
	ASSERT_EQ(n, 7);
	ASSERT_TRUE(fake_host_reads_same("from", "to"));
	ASSERT_EQ(shared(&p, p.to), 0);
	ASSERT_EQ(fake_host_used_bytes(), 4 * MIB);
	end(&p);
}

TEST(a_clone_that_was_not_synced_is_lost_with_the_power)
{
	struct place p;

	begin(&p, false);
	ASSERT_OK(host_file_sync(p.from, &p.err), &p.err);
	ASSERT_OK(host_file_clone(p.from, p.to, &p.err), &p.err);
	fake_host_power_cut();
	ASSERT_FALSE(fake_host_reads_same("from", "to"));
	ASSERT_EQ(fake_host_used_bytes(), 2 * MIB);
	ctx_done(&p.ctx);
	fake_host_reset(0);
}

TEST(a_file_of_uncertain_places_says_so)
{
	struct place p;

	begin(&p, false);
	fake_host_blur("from");
	fake_host_set_n_extents("from", 70000);
	ASSERT_EQ(extents(&p, p.from), 70000);
	fake_host_set_fs("ext4", false, false);
	ASSERT_ERR(host_file_clone(p.from, p.to, &p.err), &p.err, ERR_FAILED_PRECONDITION, "");
	end(&p);
}

/* An attached and mounted ext4 in "v". */
static void mount_v(struct place *p, struct host_loop *loop)
{
	const struct host_loop_options opts = { 0 };
	const struct host_mount_options mount = { .fs = "ext4" };
	struct host_file file;
	int hold;
	int fd;

	begin(p, false);
	fake_host_add_dir("/mnt");
	ASSERT_OK(host_file_make(p->dir, &fd, &p->err), &p->err);
	ASSERT_OK(host_file_resize(fd, 16 * MIB, &p->err), &p->err);
	ASSERT_OK(host_mkfs_ext4(&p->ctx, fd, 16 * MIB, &p->err), &p->err);
	ASSERT_OK(host_file_link(fd, p->dir, "v", &p->err), &p->err);
	ASSERT_OK(host_loop_attach(&p->ctx, fd, &opts, loop, &hold, &p->err), &p->err);
	ASSERT_OK(host_mount_device(&p->ctx, loop->path, "/mnt", &mount, &p->err), &p->err);
	ASSERT_OK(host_file_resize(fd, 32 * MIB, &p->err), &p->err);
	ASSERT_EQ(fake_host_device_bytes("v"), 16 * MIB);
	ASSERT_OK(host_file_look(fd, &file, &p->err), &p->err);
	ASSERT_ERR(host_loop_set_capacity(loop, file.device, file.inode + 1, 32 * MIB, &p->err),
		   &p->err, ERR_NOT_FOUND, "");
	ASSERT_OK(host_loop_set_capacity(loop, file.device, file.inode, 32 * MIB, &p->err),
		  &p->err);
	ASSERT_EQ(fake_host_device_bytes("v"), 32 * MIB);
	ASSERT_EQ(fake_host_fs_bytes("v"), 16 * MIB);
	host_fd_close(hold);
	host_fd_close(fd);
}

TEST(a_filesystem_is_smaller_until_it_grew)
{
	struct host_loop loop;
	struct place p;
	bool is_smaller;

	mount_v(&p, &loop);
	ASSERT_OK(host_fs_mount_is_smaller("/mnt", "ext4", &is_smaller, &p.err), &p.err);
	ASSERT_TRUE(is_smaller);
	fake_host_set_can_grow_ext4(false);
	ASSERT_ERR(host_fs_grow_mounted(&p.ctx, "/mnt", "ext4", &p.err), &p.err,
		   ERR_PERMISSION_DENIED, "CAP_SYS_RESOURCE");
	ASSERT_ERR(host_ext4_grow_offline(&p.ctx, loop.path, &p.err), &p.err,
		   ERR_FAILED_PRECONDITION, "mounted");
	fake_host_set_can_grow_ext4(true);
	ASSERT_OK(host_fs_grow_mounted(&p.ctx, "/mnt", "ext4", &p.err), &p.err);
	ASSERT_OK(host_fs_device_is_smaller(loop.path, "ext4", &is_smaller, &p.err), &p.err);
	ASSERT_FALSE(is_smaller);
	ASSERT_EQ(fake_host_fs_bytes("v"), 32 * MIB);
	ASSERT_OK(host_mount_umount(&p.ctx, "/mnt", &p.err), &p.err);
	end(&p);
}

static int freeze(struct place *p, struct host_freeze **ret)
{
	int fd;
	int rc;

	ASSERT_OK(host_dir_open("/mnt", &fd, &p->err), &p->err);
	rc = host_freeze_begin(&p->ctx, ret, &fd, 1, 1, &p->err);
	host_fd_close(fd);
	return rc;
}

TEST(a_frozen_filesystem_is_thawed_by_somebody)
{
	struct host_freeze *f = NULL;
	struct host_loop loop;
	struct place p;
	int fd;

	mount_v(&p, &loop);
	ASSERT_OK(freeze(&p, &f), &p.err);
	ASSERT_EQ(fake_host_n_frozen(), 1);
	ASSERT_OK(host_freeze_end(f, &p.err), &p.err);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	ASSERT_OK(freeze(&p, &f), &p.err);
	fake_host_freeze_times_out();
	ASSERT_ERR(host_freeze_end(f, &p.err), &p.err, ERR_DEADLINE_EXCEEDED, "");
	ASSERT_OK(freeze(&p, &f), &p.err);
	fake_host_thaw_all();
	ASSERT_ERR(host_freeze_end(f, &p.err), &p.err, ERR_ABORTED, "");
	fake_host_leave_frozen("/mnt");
	ASSERT_ERR(freeze(&p, &f), &p.err, ERR_ABORTED, "");
	ASSERT_EQ(fake_host_n_frozen(), 1);
	ASSERT_OK(host_dir_open("/mnt", &fd, &p.err), &p.err);
	ASSERT_OK(host_freeze_thaw(fd, &p.err), &p.err);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	ASSERT_OK(host_fs_sync(fd, &p.err), &p.err);
	host_fd_close(fd);
	ASSERT_OK(host_mount_umount(&p.ctx, "/mnt", &p.err), &p.err);
	end(&p);
}

TEST(a_guard_outlives_its_parent)
{
	struct host_freeze *f = NULL;
	struct host_loop loop;
	struct place p;

	mount_v(&p, &loop);
	ASSERT_OK(freeze(&p, &f), &p.err);
	fake_host_fail_from(1);
	ASSERT_ERR(host_freeze_end(f, &p.err), &p.err, ERR_INTERNAL, "made to fail");
	ASSERT_EQ(fake_host_n_frozen(), 1);
	fake_host_kill();
	ASSERT_EQ(fake_host_n_frozen(), 0);
	ctx_done(&p.ctx);
	fake_host_reset(0);
}

RUN_TESTS(UNIT(a_clone_shares_and_takes_no_space), UNIT(what_is_written_into_either_is_its_own),
	  UNIT(a_copy_in_pieces_shares_nothing),
	  UNIT(a_clone_that_was_not_synced_is_lost_with_the_power),
	  UNIT(a_file_of_uncertain_places_says_so), UNIT(a_filesystem_is_smaller_until_it_grew),
	  UNIT(a_frozen_filesystem_is_thawed_by_somebody), UNIT(a_guard_outlives_its_parent))
