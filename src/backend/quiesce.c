/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes in use hold still for a moment, all of them at the same one.
 *
 * What is mounted is written out through one of its mounts (syncfs), which also tells of errors
 * that nobody was told before, or frozen there. Any mount of a directory will do; the device says
 * which filesystem it is, not the path. One that is attached and has no mount in this namespace (it
 * is about to be mounted, or a container keeps it) is written out through its device, whose flush
 * reaches the filesystem wherever that is mounted. A raw device's page cache is shared by all who
 * have it open. An xfs that has just grown is frozen whether that was asked or not, since nothing
 * less makes what is on its disk whole (host/grow.h).
 */
#include "backend/quiesce.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/blockdev.h"
#include "host/freeze.h"
#include "host/grow.h"
#include "host/mount.h"

#define LOG_ROOM "backend"
#include "base/log.h"

#define FREEZE_NS (60 * NS_PER_S)
static_assert(QUIESCE_MAX <= HOST_FREEZE_MAX, "all of them are frozen at once");

/* What is to be frozen. */
struct frost {
	int *dir_fds;
	size_t n;
	struct {
		const struct quiesce_what *what;
		char *path;
	} * of;
};

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

static int name_it(const struct quiesce_what *what, struct err *err)
{
	return what->token ? err_wrap(err, "volume '%s'", what->token) : -1;
}

/* The codes of a filesystem that is ill are those of one that has to be seen to first. */
static int fail(struct err *err, const char *verb, const char *path)
{
	if (err->code == ERR_INTERNAL || err->code == ERR_NOT_FOUND)
		err->code = ERR_FAILED_PRECONDITION;
	return err_wrap(err, "its filesystem at '%s' cannot be %s", path, verb);
}

/* One that has just grown is no copy's without: its log alone says so. */
static int has_to_freeze(const struct quiesce_what *what, const char *path, bool *ret_freeze,
			 struct err *err)
{
	*ret_freeze = what->freeze || what->hold;
	if (*ret_freeze || !str_is_equal(what->fs, "xfs"))
		return 0;
	return host_xfs_growth_is_in_log(path, ret_freeze, err);
}

static int still_mounted(const struct quiesce_what *what, const struct find *at,
			 struct frost *frost, struct err *err)
{
	autohostfd int fd = -1;
	struct host_file root;
	bool freeze;

	if (host_dir_open(at->path, &fd, err) < 0 || host_file_look(fd, &root, err) < 0)
		return fail(err, "opened", at->path);
	if (root.device != at->devno)
		return err_set(err, ERR_UNAVAILABLE, "'%s' was unmounted meanwhile", at->path);
	if (has_to_freeze(what, at->path, &freeze, err) < 0)
		return fail(err, "looked at", at->path);
	if (!freeze)
		return host_fs_sync(fd, err) < 0 ? fail(err, "written out", at->path) : 0;
	frost->of[frost->n].what = what;
	frost->of[frost->n].path = xstrdup(at->path);
	frost->dir_fds[frost->n++] = fd;
	fd = -1;
	return 0;
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

static int still(const struct quiesce_what *what, struct frost *frost, struct err *err)
{
	struct backend_device dev;
	struct find at = { 0 };
	int rc = filedev_find(FILEDEV_MAIN, what->fd, &what->file, what->name, &dev, err);

	if (rc <= 0 || dev.is_read_only)
		return rc < 0 ? -1 : 0;
	at.devno = dev.devno;
	if (what->fs[0] && host_mount_each(at.devno, is_mounted_at, &at, err) < 0)
		return -1;
	return at.path[0] ? still_mounted(what, &at, frost, err)
			  : still_unmounted(what, dev.path, err);
}

/* The one that the message is about: they are told by their paths. */
static int fail_freeze(const struct frost *frost, struct err *err)
{
	size_t found = frost->n == 1 ? 0 : frost->n;

	for (size_t i = 0; i < frost->n && frost->n > 1; i++) {
		if (strstr(err->msg, frost->of[i].path) &&
		    (found == frost->n ||
		     strlen(frost->of[i].path) > strlen(frost->of[found].path)))
			found = i;
	}
	if (found == frost->n) {
		if (err->code == ERR_INTERNAL || err->code == ERR_NOT_FOUND)
			err->code = ERR_FAILED_PRECONDITION;
		return err_wrap(err, "their filesystems cannot be frozen");
	}
	(void)fail(err, "frozen", frost->of[found].path);
	return name_it(frost->of[found].what, err);
}

static int freeze(struct ctx *ctx, const struct quiesce_plan *plan, const struct frost *frost,
		  struct host_freeze **ret_freeze, struct err *err)
{
	autofree const char **names = xcalloc(frost->n + 1, sizeof(*names));

	for (size_t i = 0; i < frost->n; i++)
		names[i] = frost->of[i].what->name;
	if (frost->n == 0)
		return 0;
	if (plan->note && plan->note(plan->arg, names, frost->n, err) < 0)
		return -1;
	return host_freeze_begin(ctx, ret_freeze, frost->dir_fds, frost->n, FREEZE_NS, err) < 0
		       ? fail_freeze(frost, err)
		       : 0;
}

static void close_all(int *dir_fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		host_fd_close(dir_fds[i]);
	free(dir_fds);
}

int quiesce_begin(struct ctx *ctx, const struct quiesce_plan *plan, struct quiesce *ret_quiesce,
		  struct err *err)
{
	struct frost frost = { .dir_fds = xcalloc(plan->n, sizeof(*frost.dir_fds)),
			       .of = xcalloc(plan->n, sizeof(*frost.of)) };
	struct host_freeze *frozen = NULL;
	int rc = 0;

	assert(plan->n > 0 && plan->n <= QUIESCE_MAX);
	for (size_t i = 0; i < plan->n && rc == 0; i++) {
		rc = still(&plan->volumes[i], &frost, err);
		if (rc < 0)
			(void)name_it(&plan->volumes[i], err);
	}
	if (rc == 0)
		rc = freeze(ctx, plan, &frost, &frozen, err);
	for (size_t i = 0; i < frost.n; i++)
		free(frost.of[i].path);
	free(frost.of);
	if (rc < 0) {
		close_all(frost.dir_fds, frost.n);
		return -1;
	}
	*ret_quiesce = (struct quiesce){ frost.dir_fds, frost.n, frozen };
	return 0;
}

int quiesce_end(struct quiesce *q, int rc, bool *ret_is_thawed, struct err *err)
{
	bool is_thawed = true;
	struct err second;

	if (q->freeze && host_freeze_end(q->freeze, &second) < 0) {
		/* the others say that it was thawed too early */
		is_thawed = second.code == ERR_DEADLINE_EXCEEDED || second.code == ERR_ABORTED;
		if (rc == 0)
			*err = second;
		else
			log_warn("a filesystem that was frozen for a step that failed",
				 log_err(&second));
		rc = -1;
	}
	close_all(q->dir_fds, q->n);
	*q = (struct quiesce){ 0 };
	if (ret_is_thawed)
		*ret_is_thawed = is_thawed;
	return rc;
}
