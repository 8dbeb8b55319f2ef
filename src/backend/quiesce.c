/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume in use holds still for a moment.
 *
 * What is mounted is written out through one of its mounts (syncfs), which also tells of errors
 * that nobody was told before, or frozen there. Any mount of a directory will do; the device says
 * which filesystem it is, not the path. One that is attached and has no mount in this namespace (it
 * is about to be mounted, or a container keeps it) is written out through its device, whose flush
 * reaches the filesystem wherever that is mounted. A raw device's page cache is shared by all who
 * have it open.
 */
#include "backend/quiesce.h"

#include <limits.h>

#include "base/clock.h"
#include "base/str.h"
#include "host/blockdev.h"
#include "host/freeze.h"
#include "host/mount.h"

#define LOG_ROOM "backend"
#include "base/log.h"

#define FREEZE_NS (60 * NS_PER_S)

struct find {
	dev_t devno;
	char path[PATH_MAX];
};

static int is_mounted_at(void *arg, const char *path, bool read_only)
{
	struct find *find = arg;
	struct host_mount_at at;
	struct err err;

	(void)read_only;
	if (host_mount_look(path, &at, &err) < 0 || !at.is_mount_root || at.device != find->devno)
		return 0;
	if (!at.is_dir && !at.is_dead)
		return 0; /* one file of it */
	(void)snprintf(find->path, sizeof(find->path), "%s", path);
	return 1;
}

/* The codes of a filesystem that is ill are those of one that has to be seen to first. */
static int fail(struct err *err, const char *verb, const char *path)
{
	if (err->code == ERR_INTERNAL || err->code == ERR_NOT_FOUND)
		err->code = ERR_FAILED_PRECONDITION;
	return err_wrap(err, "its filesystem at '%s' cannot be %s", path, verb);
}

static int still_mounted(struct ctx *ctx, const struct quiesce_what *what, const struct find *at,
			 struct quiesce *q, struct err *err)
{
	struct host_file root;

	if (host_dir_open(at->path, &q->dir_fd, err) < 0 ||
	    host_file_look(q->dir_fd, &root, err) < 0)
		return fail(err, "opened", at->path);
	if (root.device != at->devno)
		return err_set(err, ERR_UNAVAILABLE, "'%s' was unmounted meanwhile", at->path);
	if (!what->freeze && !what->hold)
		return host_fs_sync(q->dir_fd, err) < 0 ? fail(err, "written out", at->path) : 0;
	return host_freeze_begin(ctx, &q->freeze, &q->dir_fd, 1, FREEZE_NS, err) < 0
		       ? fail(err, "frozen", at->path)
		       : 0;
}

static int still_unmounted(const struct quiesce_what *what, const char *device, struct err *err)
{
	if (what->hold || (what->freeze && what->fs[0]))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it is attached as '%s' and not mounted where that can be seen, so "
			       "nothing can hold it still; detach it first",
			       device);
	if (what->fs[0] && host_block_flush(device, err) < 0)
		return -1;
	return host_block_sync(device, err);
}

static int still(struct ctx *ctx, const struct quiesce_what *what, const char *device,
		 struct find *at, struct quiesce *q, struct err *err)
{
	if (what->fs[0] && host_mount_each(at->devno, is_mounted_at, at, err) < 0)
		return -1;
	return at->path[0] ? still_mounted(ctx, what, at, q, err)
			   : still_unmounted(what, device, err);
}

int quiesce_begin(struct ctx *ctx, const struct quiesce_what *what, struct quiesce *ret_quiesce,
		  struct err *err)
{
	struct quiesce q = { .dir_fd = -1 };
	struct backend_device dev;
	struct find at = { 0 };
	int rc = filedev_find(FILEDEV_MAIN, what->fd, &what->file, what->name, &dev, err);

	if (rc > 0 && !dev.is_read_only) {
		at.devno = dev.devno;
		rc = still(ctx, what, dev.path, &at, &q, err);
	}
	if (rc < 0) {
		host_fd_close(q.dir_fd);
		return -1;
	}
	*ret_quiesce = q;
	return 0;
}

int quiesce_end(struct quiesce *q, int rc, struct err *err)
{
	struct err second;

	if (q->freeze && host_freeze_end(q->freeze, &second) < 0) {
		if (rc == 0)
			*err = second;
		else
			log_warn("a filesystem that was frozen for a step that failed",
				 log_err(&second));
		rc = -1;
	}
	host_fd_close(q->dir_fd);
	q->freeze = NULL;
	q->dir_fd = -1;
	return rc;
}
