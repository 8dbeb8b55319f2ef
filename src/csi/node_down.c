/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NodeUnpublishVolume and NodeUnstageVolume.
 *
 *   unpublish  look → umount → remove target → note
 *   unstage    look → umount → detach → note
 *
 * What goes down needs nothing: not the pool (its disk may be dead, or not here any more), not the
 * volume's file (a person may have removed it), not the note and no free byte to write one. As long
 * as the pool answers, the device is known by the inode behind it. When it does not, the kernel's
 * own numbers still do: the device below the mount, and the name of the file behind that device,
 * which is the volume's token. A device that another, living pool knows as its own is never taken
 * for it. Bookkeeping that fails on the way down is a warning: an entry of the note counts only
 * while its mount or device is there.
 *
 * Without the note it is not known which mounts are targets, so all of the device's count.
 */
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "csi/driver-internal.h"
#include "csi/validate.h"
#include "host/loopdev.h"

#define STACKED_MAX 16

struct down {
	struct node_state state; /* ref.pool is NULL if it is not here */
	bool is_blind;           /* the device is known by its name, and the note not at all */
	struct host_loop_seen seen;
	struct host_loop_seen brother; /* if state.has_reader */
};

struct look_for {
	struct csi_driver *d;
	struct ctx *ctx;
	const struct csi_ref *ref;
	dev_t at; /* the device that the path names; 0: none */
	bool is_found;
	struct host_loop_seen found;
};

static bool is_of_another_pool(const struct look_for *look, dev_t devno)
{
	struct backend_device dev;
	struct err why;

	const struct registry_pools pools = registry_pools(look->d->pools, look->ctx->arena);

	for (size_t i = 0; i < pools.n; i++) {
		struct backend *pool = pools.v[i];

		if (!(pool->caps & BACKEND_ATTACH) || pool == look->ref->pool)
			continue;
		if ((backend_find_device(pool, look->ctx, look->ref->token, &dev, &why) == 0 &&
		     dev.devno == devno) ||
		    (backend_find_reader(pool, look->ctx, look->ref->token, &dev, &why) == 0 &&
		     dev.devno == devno))
			return true;
	}
	return false;
}

static int see_device(void *arg, const struct host_loop_seen *seen)
{
	struct look_for *look = arg;

	if (is_of_another_pool(look, seen->devno))
		return 0;
	look->is_found = true;
	look->found = *seen;
	return look->at == seen->devno; /* that one it is; else a better one may come */
}

/* A second device over the same file is the reader, or what the reader is beside. */
static int see_brother(void *arg, const struct host_loop_seen *seen)
{
	struct down *down = arg;

	if (seen->devno == down->seen.devno || !str_is_equal(seen->file, down->seen.file))
		return 0;
	down->state.has_reader = true;
	down->brother = *seen;
	down->state.reader = (struct backend_device){ .devno = seen->devno };
	memcpy(down->state.reader.path, seen->path, sizeof(seen->path));
	return 1;
}

/* The device by the kernel alone. */
static int find_by_kernel(struct csi_driver *d, struct ctx *ctx, const char *path,
			  struct down *down, struct err *err)
{
	struct look_for look = { .d = d, .ctx = ctx, .ref = &down->state.ref };
	struct host_mount_at at;

	if (host_mount_look(path, &at, err) < 0)
		return -1;
	if (at.is_mount_root)
		look.at = at.is_block_device ? at.rdev : at.device;
	if (host_loop_each_named(down->state.ref.token, see_device, &look, err) < 0)
		return -1;
	if (!look.is_found)
		return 0;
	down->is_blind = true;
	down->seen = look.found;
	down->state.is_attached = true;
	down->state.device = (struct backend_device){ .devno = look.found.devno };
	memcpy(down->state.device.path, look.found.path, sizeof(look.found.path));
	return host_loop_each_named(down->state.ref.token, see_brother, down, err);
}

/* ret is too big for a copy of it on the stack. */
static int down_load(struct csi_driver *d, struct ctx *ctx, const char *volume_id, const char *path,
		     struct down *ret, struct err *err)
{
	struct csi_ref ref;
	struct err why;

	memset(ret, 0, sizeof(*ret));
	if (driver_resolve(d, volume_id, &ref, err) < 0)
		return -1;
	ret->state.ref = ref;
	if (driver_find_pool(d, volume_id, &ref, &why) < 0) {
		log_warn("taking a volume down whose pool is not here",
			 log_str("volume", volume_id), log_err(&why));
	} else if (node_state_load(d, ctx, &ref, &ret->state, &why) < 0) {
		memset(&ret->state, 0, sizeof(ret->state));
		ret->state.ref = ref;
		log_warn("taking a volume down whose pool does not answer",
			 log_str("volume", volume_id), log_err(&why));
	}
	if (ctx_check(ctx, err) < 0 ||
	    (!ret->state.is_attached && find_by_kernel(d, ctx, path, ret, err) < 0))
		return -1;
	return 0;
}

static void save_note(struct csi_driver *d, struct ctx *ctx, const struct down *down)
{
	struct err err;

	if (down->is_blind || !down->state.ref.pool)
		return;
	if (node_state_save_note(d, ctx, &down->state, &err) < 0)
		log_warn("a volume is taken down, but its note could not be changed",
			 log_str("volume", down->state.ref.token), log_err(&err));
}

/* Mounts of this volume at the path, as many as lie on each other. ret_exists: the path is there.
 */
static int umount_all(struct ctx *ctx, const struct down *down, const char *field, const char *path,
		      bool *ret_exists, struct err *err)
{
	struct host_mount_at at;

	for (int i = 0; i < STACKED_MAX; i++) {
		if (host_mount_look(path, &at, err) < 0)
			return -1;
		*ret_exists = at.exists;
		if (at.is_symlink)
			return err_set(err, ERR_INVALID_ARGUMENT, "%s: '%.300s' is a symbolic link",
				       field, path);
		if (!at.exists || !at.is_mount_root)
			return 0;
		if (!node_is_mount_of(&down->state, &at))
			return err_set(err, ERR_FAILED_PRECONDITION,
				       "%s: something that is not volume '%s' is mounted at "
				       "'%.300s'; it is left alone",
				       field, down->state.ref.token, path);
		if (ctx_check(ctx, err) < 0 || host_mount_umount(ctx, path, err) < 0)
			return -1;
	}
	return err_set(err, ERR_ABORTED, "%s: '%.300s' is being mounted again and again", field,
		       path);
}

static void drop_idle_reader(struct ctx *ctx, struct down *down)
{
	struct err err;

	if (!down->is_blind && node_drop_idle_reader(&down->state, ctx, &err) < 0)
		log_warn(
			"a target is taken down, but the device for reading stays until the volume "
			"is unstaged",
			log_str("volume", down->state.ref.token), log_err(&err));
}

static int unpublish(struct csi_driver *d, struct ctx *ctx, const char *volume_id, const char *path,
		     struct err *err)
{
	uint64_t hash = note_hash_path(path);
	struct down down;
	bool exists;

	if (down_load(d, ctx, volume_id, path, &down, err) < 0 ||
	    umount_all(ctx, &down, "target_path", path, &exists, err) < 0)
		return -1;
	if (exists && (ctx_check(ctx, err) < 0 || host_mount_remove_target(path, err) < 0))
		return -1;
	drop_idle_reader(ctx, &down);
	if (!note_find(&down.state.note, hash))
		return 0;
	note_remove(&down.state.note, hash);
	save_note(d, ctx, &down);
	return 0;
}

/* An id that is none of ours: its target goes if nothing is mounted there. */
static int refuse_unknown(const char *volume_id, const char *path, struct host_mount_at *ret_at,
			  struct err *err)
{
	struct err why = *err;

	if (host_mount_look(path, ret_at, err) < 0)
		return -1;
	if (!ret_at->is_mount_root)
		return 0;
	*err = why;
	return err_wrap(err, "something is mounted at '%.100s', but not volume '%.128s'", path,
			volume_id);
}

int driver_node_unpublish_volume(void *impl, struct ctx *ctx,
				 const struct csi_node_unpublish_volume_request *req,
				 struct csi_node_unpublish_volume_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct host_mount_at at;
	const char *path;
	struct csi_ref ref;
	int r;

	if (validate_unpublish(req, err) < 0 ||
	    driver_resolve_path(d, ctx, "target_path", req->target_path, &path, err) < 0)
		return -1;
	if (driver_resolve(d, req->volume_id, &ref, err) < 0) {
		if (refuse_unknown(req->volume_id, path, &at, err) < 0)
			return -1;
		return at.exists ? host_mount_remove_target(path, err) : 0;
	}
	if (inflight_begin(d->inflight, ref.token, "NodeUnpublishVolume", err) < 0)
		return -1;
	r = unpublish(d, ctx, req->volume_id, path, err);
	inflight_end(d->inflight, ref.token);
	return r;
}

static int check_unpublished(struct ctx *ctx, const struct down *down, const char *except,
			     struct err *err)
{
	bool has_note = !down->is_blind && down->state.note.is_staged;
	const char *target;

	if (node_find_mount(&down->state, ctx, has_note ? NODE_MOUNT_TARGET : NODE_MOUNT_ANY,
			    except, &target, err) < 0)
		return -1;
	if (target)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "volume '%s' is still published at '%.300s'", down->state.ref.token,
			       target);
	return 0;
}

/* A pool that does not answer lets go of what it holds; the device then goes by its name. */
static int let_go(struct ctx *ctx, const struct down *down, struct err *err)
{
	const struct csi_ref *ref = &down->state.ref;
	struct err why;

	if (!down->is_blind)
		return backend_detach(ref->pool, ctx, ref->token, err);
	if (ref->pool)
		(void)backend_detach(ref->pool, ctx, ref->token, &why); /* said in down_load */
	if (down->state.has_reader && host_loop_let_go(&down->brother, ref->token, err) < 0)
		return -1;
	return host_loop_let_go(&down->seen, ref->token, err);
}

static int unstage(struct csi_driver *d, struct ctx *ctx, const char *volume_id, const char *path,
		   struct err *err)
{
	const char *staged_at = NULL;
	struct host_mount_at at;
	struct down down;
	bool exists;

	if (down_load(d, ctx, volume_id, path, &down, err) < 0 ||
	    host_mount_look(path, &at, err) < 0 ||
	    (node_is_mount_of(&down.state, &at) && check_unpublished(ctx, &down, path, err) < 0) ||
	    umount_all(ctx, &down, "staging_target_path", path, &exists, err) < 0)
		return -1;
	if (!down.state.is_attached)
		return 0;
	if (node_find_staging(&down.state, ctx, &staged_at, err) < 0)
		return -1;
	if (staged_at && down.state.note.staging != note_hash_path(path))
		return 0; /* staged at another path, which this call does not name */
	if (check_unpublished(ctx, &down, NULL, err) < 0 || ctx_check(ctx, err) < 0 ||
	    let_go(ctx, &down, err) < 0)
		return -1;
	note_unstage(&down.state.note);
	save_note(d, ctx, &down);
	return 0;
}

int driver_node_unstage_volume(void *impl, struct ctx *ctx,
			       const struct csi_node_unstage_volume_request *req,
			       struct csi_node_unstage_volume_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct host_mount_at at;
	const char *path;
	struct csi_ref ref;
	int r;

	if (validate_unstage(req, err) < 0 ||
	    driver_resolve_path(d, ctx, "staging_target_path", req->staging_target_path, &path,
				err) < 0)
		return -1;
	if (driver_resolve(d, req->volume_id, &ref, err) < 0)
		return refuse_unknown(req->volume_id, path, &at, err);
	if (inflight_begin(d->inflight, ref.token, "NodeUnstageVolume", err) < 0)
		return -1;
	r = unstage(d, ctx, req->volume_id, path, err);
	inflight_end(d->inflight, ref.token);
	return r;
}
