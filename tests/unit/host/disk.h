/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_HOST_DISK_H
#define TESTS_UNIT_HOST_DISK_H

/*
 * A real filesystem for one test: a sparse file, a loop device over it, mounted. As root, in a
 * mount namespace of the test's own (disk_enter), so that mounts and AUTOCLEAR devices go with the
 * process whatever happens to it.
 */
#include "check.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/fs.h"
#include "host/loopdev.h"
#include "host/mkfs.h"
#include "host/mount.h"
#include "host/spawn.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

struct disk {
	char dir[64];
	char point[80];
	int dir_fd;
	int fd; /* of the image */
	struct host_file file;
	struct host_loop loop;
	int hold;
	int root; /* of the mounted filesystem; -1 */
	struct ctx ctx;
	struct err err;
};

/* NULL, or what is missing here. */
static inline const char *disk_enter(void)
{
	if (geteuid() != 0 || access("/dev/loop-control", R_OK | W_OK) < 0)
		return "root and loop devices";
	if (access("/usr/sbin/mkfs.xfs", X_OK) < 0 && access("/sbin/mkfs.xfs", X_OK) < 0)
		return "mkfs.xfs";
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "a mount namespace (CAP_SYS_ADMIN)";
	return NULL;
}

static inline int disk_run(struct disk *d, const char *package, const char *const *argv)
{
	return host_spawn(&d->ctx,
			  &(struct host_spawn){ .tool = argv[0],
						.package = package,
						.argv = argv,
						.pass_fd = d->fd,
						.timeout_ns = 60 * NS_PER_S },
			  &d->err);
}

static inline void disk_close(struct disk *d)
{
	host_fd_close(d->root);
	host_fd_close(d->hold);
	host_fd_close(d->fd);
	host_fd_close(d->dir_fd);
	(void)rmdir(d->point);
	ASSERT_EQ(rmdir(d->dir), 0);
	ctx_done(&d->ctx);
}

/* The image with the filesystem in it, attached and not mounted: false (and nothing left) if this
 * machine has no tool to make one. */
static inline bool disk_make(struct disk *d, const char *fs, uint64_t bytes)
{
	const char *const mkfs_btrfs[] = { "mkfs.btrfs", "-q", HOST_SPAWN_FD_PATH, NULL };
	const struct host_loop_options opts = { .allow_buffered = true };
	struct uuid uuid;
	int rc;

	uuid_make(&uuid);
	ctx_init(&d->ctx, 0);
	d->root = d->hold = -1;
	(void)snprintf(d->dir, sizeof(d->dir), "/var/tmp/cleat-disk-XXXXXX");
	assert_non_null(mkdtemp(d->dir));
	(void)snprintf(d->point, sizeof(d->point), "%s/mnt", d->dir);
	ASSERT_EQ(mkdir(d->point, 0700), 0);
	ASSERT_OK(host_dir_open(d->dir, &d->dir_fd, &d->err), &d->err);
	ASSERT_OK(host_file_make(d->dir_fd, &d->fd, &d->err), &d->err);
	ASSERT_OK(host_file_resize(d->fd, bytes, &d->err), &d->err);
	ASSERT_OK(host_file_look(d->fd, &d->file, &d->err), &d->err);
	rc = str_is_equal(fs, "xfs")    ? host_mkfs_xfs(&d->ctx, d->fd, &uuid, NULL, &d->err)
	     : str_is_equal(fs, "ext4") ? host_mkfs_ext4(&d->ctx, d->fd, bytes, &d->err)
					: disk_run(d, "btrfs-progs", mkfs_btrfs);
	if (rc < 0 && d->err.code == ERR_FAILED_PRECONDITION) {
		print_message("SKIPPED: %s\n", d->err.msg);
		disk_close(d);
		return false;
	}
	ASSERT_OK(rc, &d->err);
	ASSERT_OK(host_file_resize(d->fd, bytes, &d->err), &d->err);
	ASSERT_OK(host_loop_attach(&d->ctx, d->fd, &opts, &d->loop, &d->hold, &d->err), &d->err);
	return true;
}

static inline void disk_mount(struct disk *d, const char *fs)
{
	const struct host_mount_options opts = { .fs = fs };

	ASSERT_OK(host_mount_device(&d->ctx, d->loop.path, d->point, &opts, &d->err), &d->err);
	ASSERT_OK(host_dir_open(d->point, &d->root, &d->err), &d->err);
}

static inline void disk_umount(struct disk *d)
{
	host_fd_close(d->root);
	d->root = -1;
	ASSERT_OK(host_mount_umount(&d->ctx, d->point, &d->err), &d->err);
}

static inline bool disk_open(struct disk *d, const char *fs, uint64_t bytes)
{
	if (!disk_make(d, fs, bytes))
		return false;
	disk_mount(d, fs);
	return true;
}

static inline void disk_done(struct disk *d)
{
	if (d->root >= 0)
		disk_umount(d);
	disk_close(d);
}

#endif
