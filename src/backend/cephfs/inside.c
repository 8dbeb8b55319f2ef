/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first mount is taken down also after a call's time was up.
 *
 * One whose ceph-fuse was killed may be busy for ever: that runs mount(8) to have the kernel forget
 * names, which then waits for it and has its end of /dev/fuse, so the kernel does not see that
 * nobody answers any more. It is told by force.
 */
#include "backend/cephfs/inside.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define LOG_ROOM "backend.cephfs"
#include "backend/cephfs/serve.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/fs.h"
#include "host/mount.h"
#include "host/probe.h"
#include "host/resolve.h"

#define INSIDE "inside"
#define SNAPSHOTS ".snap/"
#define CLEAR_NS (30 * NS_PER_S)
#define FORCE_NS (5 * NS_PER_S)
#define LOOKS 50
#define LOOK_AGAIN_MS 100

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

/* Never of the kernel's client, whose mounts of one filesystem wait for the same requests. */
static bool is_servers(const char *path)
{
	struct host_mountinfo info;
	autofree char *line = NULL;
	struct err ignored;

	return host_mountinfo_find_top(path, &line, &info, &ignored) > 0 &&
	       str_is_equal(info.fs, "fuse." CEPHFS_SUBTYPE);
}

/* Nobody shows anything from it any more. Whoever waited there ends by and by. */
static int let_go(struct ctx *ctx, const char *path, struct err *err)
{
	int rc = host_mount_umount(ctx, path, err);
	struct err ignored;

	if (rc == 0 || err->code != ERR_FAILED_PRECONDITION || !is_servers(path))
		return rc;
	(void)host_mount_force(ctx, path, FORCE_NS, &ignored);
	for (int i = 0; i < LOOKS && rc < 0 && ctx_check(ctx, &ignored) == 0; i++) {
		(void)poll(NULL, 0, i ? LOOK_AGAIN_MS : 0);
		rc = host_mount_umount(ctx, path, err);
	}
	return rc;
}

int cephfs_inside_begin_in(struct ctx *ctx, const char *dir, struct cephfs_inside *ret,
			   struct err *err)
{
	struct cephfs_inside in;
	bool is_made;

	if (join(dir, INSIDE, in.path, err) < 0 || let_go(ctx, in.path, err) < 0 ||
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
	rc = let_go(&ctx, path, err) < 0 ? -1 : host_mount_remove_target(path, err);
	ctx_done(&ctx);
	return rc;
}
