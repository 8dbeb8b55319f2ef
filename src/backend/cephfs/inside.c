/* SPDX-License-Identifier: Apache-2.0 */
/* The first mount is taken down also after a call's time was up. */
#include "backend/cephfs/inside.h"

#include <stdio.h>
#include <string.h>

#define LOG_ROOM "backend.cephfs"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "host/fs.h"
#include "host/mount.h"
#include "host/resolve.h"

#define INSIDE "inside"
#define SNAPSHOTS ".snap/"
#define CLEAR_NS (30 * NS_PER_S)

int cephfs_inside_check(const char *text, struct err *err)
{
	const char *name = text + strlen(SNAPSHOTS);
	const char *last = str_has_prefix(text, SNAPSHOTS) ? strchr(name, '/') : NULL;

	if (last && last != name && last[1] && !strchr(last + 1, '/') && name[0] != '.' &&
	    last[1] != '.' && strlen(text) < PATH_MAX / 2)
		return 0;
	return err_set(
		err, ERR_INVALID_ARGUMENT,
		"volume_context: backingSnapshotRoot: '%.200s' is no directory of a snapshot "
		"(.snap/NAME/UUID)",
		text);
}

static int join(const char *dir, const char *name, char ret_path[PATH_MAX], struct err *err)
{
	if (snprintf(ret_path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT, "the path '%.200s' is too long", dir);
}

static int take_down(struct ctx *ctx, const char *path, struct err *err)
{
	return host_mount_umount(ctx, path, err) < 0 ? -1 : host_mount_remove_target(path, err);
}

int cephfs_inside_begin_in(struct ctx *ctx, const char *dir, struct cephfs_inside *ret,
			   struct err *err)
{
	struct cephfs_inside in;
	bool is_made;

	if (join(dir, INSIDE, in.path, err) < 0 || host_mount_umount(ctx, in.path, err) < 0 ||
	    host_mount_make_target(in.path, true, &is_made, err) < 0)
		return -1;
	*ret = in;
	return 0;
}

int cephfs_inside_begin(struct ctx *ctx, const char *state_dir, const char *token,
			struct cephfs_inside *ret, struct err *err)
{
	char real[PATH_MAX], dir[PATH_MAX];
	autohostfd int state_fd = -1;
	autohostfd int dir_fd = -1;

	if (!state_dir[0])
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "this process stages nothing: it has no directory for what it "
			       "stages");
	if (host_path_resolve(-1, "", state_dir, real, err) < 0 ||
	    host_dir_open(real, &state_fd, err) < 0 ||
	    host_dir_make(state_fd, token, &dir_fd, err) < 0 || join(real, token, dir, err) < 0)
		return -1;
	return cephfs_inside_begin_in(ctx, dir, ret, err);
}

int cephfs_inside_show(struct ctx *ctx, const struct cephfs_inside *in, const char *inside,
		       const char *target, struct err *err)
{
	char path[PATH_MAX];

	if (join(in->path, inside, path, err) < 0 ||
	    host_mount_bind(ctx, path, target, false, NULL, 0, err) < 0)
		return err_wrap(err, "the snapshot's directory '%s'", inside);
	return 0;
}

void cephfs_inside_end(struct ctx *ctx, const struct cephfs_inside *in)
{
	struct err err;

	if (take_down(ctx, in->path, &err) < 0)
		log_warn("what a snapshot was shown from stays mounted for now",
			 log_str("path", in->path), log_err(&err));
}

int cephfs_inside_clear(const char *state_dir, const char *token, struct err *err)
{
	char real[PATH_MAX], dir[PATH_MAX], path[PATH_MAX];
	struct ctx ctx;
	int rc;

	if (!state_dir[0] || host_path_resolve(-1, "", state_dir, real, err) < 0)
		return !state_dir[0] || err->code == ERR_NOT_FOUND ? 0 : -1;
	if (join(real, token, dir, err) < 0 || join(dir, INSIDE, path, err) < 0)
		return -1;
	ctx_init(&ctx, CLEAR_NS);
	rc = take_down(&ctx, path, err);
	ctx_done(&ctx);
	return rc;
}
