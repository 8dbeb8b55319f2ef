/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing of devices and filesystems.
 *
 * Mounted ones grow by their ioctls, with no tool: xfs_growfs and resize2fs do the same after
 * looking up the mount by its path. XFS wants its limit of inode space said again with the size;
 * told the size that it has, it writes the copies of its superblock and no more (xfs_growfs_data in
 * fs/xfs/xfs_fsops.c).
 * ext4 wants CAP_SYS_RESOURCE, which many containers lack even as root, and refuses with the same
 * EPERM a filesystem with errors; which of the two it was is found by asking for the capability.
 *
 * An ext4 that is not mounted grows by resize2fs, which takes only what e2fsck has just checked and
 * marks the filesystem as one with errors while it works. It writes in no order: of 26 runs that
 * were killed at work, e2fsck -p left 7 to a person (the resize inode names blocks that are not
 * there yet). But what it writes is descriptors, bitmaps and the resize inode, no file's, as long
 * as it moves nothing. So one that was killed at work, which is known for sure
 * (host_ext4_is_half_grown), is mended without asking (-y), which makes those anew, and one that
 * would have blocks moved is not begun.
 */
#include "host/grow.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/caps.h"
#include "host/condition.h"
#include "host/err-internal.h"
#include "host/ext4-internal.h"
#include "host/grow-internal.h"
#include "host/spawn.h"
#include "host/xfs-internal.h"

#define EXT4_RESIZE _IOW('f', 16, uint64_t)
#define LOOP_BLOCK 512u
#define NO_LIMIT_NS (INT64_C(1000) * 24 * 3600 * NS_PER_S)
#define E2FSCK_MENDED 3 /* 1 mended, 2 and the machine is to be started anew if it was its root */
#define E2FSCK_LEFT 4
#define E2FSCK_OPERATIONAL 8

int host_loop_set_capacity(const struct host_loop *loop, dev_t device, uint64_t inode,
			   uint64_t bytes, struct err *err)
{
	struct loop_info64 info = { 0 };
	autofd int fd = open(loop->path, O_RDONLY | O_CLOEXEC);
	uint64_t now = 0;

	if (fd < 0)
		return err_os(err,
			      errno == ENXIO || errno == ENODEV ? ERR_NOT_FOUND : host_code(errno),
			      errno, "open '%s'", loop->path);
	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0 && errno != ENXIO)
		return host_err(err, errno, "ask '%s' what is behind it", loop->path);
	if (info.lo_device != (uint64_t)device || info.lo_inode != inode)
		return err_set(err, ERR_NOT_FOUND, "'%s' is not over this file any more",
			       loop->path);
	if (ioctl(fd, BLKGETSIZE64, &now) < 0)
		return host_err(err, errno, "ask '%s' for its size", loop->path);
	bytes -= bytes % LOOP_BLOCK;
	if (now >= bytes)
		return 0;
	if (ioctl(fd, LOOP_SET_CAPACITY) < 0 || ioctl(fd, BLKGETSIZE64, &now) < 0)
		return host_err(err, errno, "make '%s' as big as its file", loop->path);
	if (now < bytes)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s' has %llu bytes and not %llu: its file is smaller, or it is a "
			       "part of it",
			       loop->path, (unsigned long long)now, (unsigned long long)bytes);
	return 0;
}

/* What the kernel's refusal means. */
static int growing_failed(int errnum, const char *path, const char *fs, struct err *err)
{
	if (errnum == EAGAIN || errnum == EBUSY)
		return err_os(err, ERR_ABORTED, errnum, "the %s at '%s' is being grown", fs, path);
	return host_err(err, errnum, "grow the %s at '%s'", fs, path);
}

static int grow_xfs(const struct grow_mounted *mounted, const char *path, struct err *err)
{
	struct xfs_geometry geometry = { 0 };
	struct xfs_growth growth = { .newblocks = mounted->usable_blocks };

	if (ioctl(mounted->fd, XFS_GEOMETRY, &geometry) < 0)
		return host_err(err, errno, "ask the XFS at '%s' for its geometry", path);
	growth.imaxpct = geometry.imaxpct;
	if (ioctl(mounted->fd, XFS_GROW_DATA, &growth) == 0)
		return 0;
	/* its copies are for who mounts it for writing */
	if (errno == EROFS && mounted->usable_blocks <= mounted->super.n_blocks)
		return 0;
	return growing_failed(errno, path, "xfs", err);
}

static int grow_ext4(const struct grow_mounted *mounted, const char *path, struct err *err)
{
	const struct host_cap_need need = { CAP_SYS_RESOURCE, "to grow a mounted ext4" };
	uint64_t blocks = mounted->usable_blocks;

	if (ioctl(mounted->fd, EXT4_RESIZE, &blocks) == 0)
		return 0;
	if (errno != EPERM)
		return growing_failed(errno, path, "ext4", err);
	if (host_caps_check(&need, 1, err) < 0)
		return err_wrap(err,
				"grow the ext4 at '%s' (not mounted, it grows without that: stop "
				"all that use it)",
				path);
	return err_os(err, ERR_FAILED_PRECONDITION, EPERM,
		      "grow the ext4 at '%s' (it has errors: unmount it and have it checked)",
		      path);
}

int host_fs_grow_mounted(struct ctx *ctx, const char *path, const char *fs, struct err *err)
{
	struct grow_mounted mounted;
	bool is_smaller = true;
	int rc = 0;

	if (ctx_check(ctx, err) < 0 || grow_look(path, fs, &mounted, err) < 0)
		return -1;
	if (mounted.usable_blocks > mounted.super.n_blocks || mounted.copies_lag)
		rc = str_is_equal(fs, "xfs") ? grow_xfs(&mounted, path, err)
					     : grow_ext4(&mounted, path, err);
	(void)close(mounted.fd);
	if (rc < 0 || host_fs_mount_is_smaller(path, fs, &is_smaller, err) < 0)
		return -1;
	return is_smaller ? err_set(err, ERR_INTERNAL, "the %s at '%s' did not grow", fs, path) : 0;
}

/* The last line that says something, without its end. */
static const char *last_line(struct str *output)
{
	char *last = output->buf;

	while (output->len && output->buf[output->len - 1] == '\n')
		output->buf[--output->len] = '\0';
	if (!output->len)
		return "(it said nothing)";
	last = strrchr(output->buf, '\n');
	return last ? last + 1 : output->buf;
}

static int run(struct ctx *ctx, int fd, const char *const *argv, struct str *output,
	       int *ret_status, struct err *err)
{
	return host_spawn(ctx,
			  &(struct host_spawn){
				  .tool = argv[0],
				  .package = "e2fsprogs",
				  .argv = argv,
				  .pass_fd = fd,
				  .timeout_ns = NO_LIMIT_NS,
				  .output = output,
				  .ret_status = ret_status,
			  },
			  err);
}

static int mend(struct ctx *ctx, int fd, const char *device, bool is_half_grown, struct err *err)
{
	const char *const argv[] = { "e2fsck", "-f", is_half_grown ? "-y" : "-p",
				     HOST_SPAWN_FD_PATH, NULL };
	autostr struct str output = STR_INIT;
	int status = 0;

	if (run(ctx, fd, argv, &output, &status, err) < 0)
		return -1;
	if ((status & ~E2FSCK_MENDED) == 0)
		return 0;
	if (status & E2FSCK_LEFT && status < E2FSCK_OPERATIONAL)
		return err_set(err, ERR_DATA_LOSS,
			       "the ext4 on '%s' has errors that a person has to decide on "
			       "(e2fsck): %s",
			       device, last_line(&output));
	return err_set(err, status == E2FSCK_OPERATIONAL ? ERR_FAILED_PRECONDITION : ERR_INTERNAL,
		       "e2fsck of '%s' exited %d: %s", device, status, last_line(&output));
}

struct ext4_state {
	bool is_smaller;
	bool has_errors;
	bool is_half_grown;
	bool is_in_place;
};

static int look_at_ext4(const char *device, struct ext4_state *ret, struct err *err)
{
	struct ext4_state is = { 0 };

	if (host_fs_device_is_smaller(device, "ext4", &is.is_smaller, err) < 0 ||
	    host_condition_of_device(device, "ext4", &is.has_errors, err) < 0 ||
	    host_ext4_is_half_grown(device, &is.is_half_grown, err) < 0 ||
	    host_ext4_grows_in_place(device, &is.is_in_place, err) < 0)
		return -1;
	*ret = is;
	return 0;
}

int host_ext4_grow_offline(struct ctx *ctx, const char *device, struct err *err)
{
	static const char *const argv[] = { "resize2fs", HOST_SPAWN_FD_PATH, NULL };
	struct ext4_state is;
	autofd int fd = -1;

	if (look_at_ext4(device, &is, err) < 0)
		return -1;
	if (!is.is_smaller && !is.has_errors && !is.is_half_grown)
		return 0;
	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return host_err(err, errno, "open '%s'", device);
	if (is.is_half_grown && host_ext4_end_torn_write(fd, err) < 0)
		return err_wrap(err, "'%s'", device);
	if ((is.is_in_place || is.is_half_grown) &&
	    mend(ctx, fd, device, is.is_half_grown, err) < 0)
		return -1;
	if (!is.is_in_place)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the ext4 on '%s' has no room for so many descriptors; it can "
			       "become as big only while it is mounted",
			       device);
	if (run(ctx, fd, argv, NULL, NULL, err) < 0)
		return err_wrap(err, "grow the ext4 on '%s'", device);
	if (host_fs_device_is_smaller(device, "ext4", &is.is_smaller, err) < 0)
		return -1;
	return is.is_smaller ? err_set(err, ERR_INTERNAL, "the ext4 on '%s' did not grow", device)
			     : 0;
}
