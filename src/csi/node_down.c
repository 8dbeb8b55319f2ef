/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NodeUnpublishVolume and NodeUnstageVolume.
 *
 *   unpublish  look → umount → remove target → note
 *   unstage    look → umount → detach → note → (node_place.c: remove the place)
 *
 * What goes down needs nothing: not the pool (its disk may be dead, or not here any more), not the
 * volume's file (a person may have removed it), not the note and no free byte to write one. As long
 * as the pool answers, it says which device is the volume's. When it does not, the kernel's tables
 * still do (node_way's find_blind). Bookkeeping that fails on the way down is a warning: an entry
 * of the note counts only while its mount or device is there.
 *
 * A raw device that somebody unbound under its target leaves a bind of its node, which the note
 * knows.
 *
 * Without the note it is not known which mounts are targets, so all of the volume's count.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "csi/driver-internal.h"
#include "csi/validate.h"

#define STACKED_MAX 16

struct down {
	struct node_state state; /* ref.pool is NULL if it is not here */
	struct node_blind blind;
	bool is_last; /* nothing of the volume is mounted elsewhere */
};

/* By the kernel alone. A pool that is not here does not say which way its volumes came. */
static int find_blind(struct csi_driver *d, struct ctx *ctx, const char *path, struct down *down,
		      struct err *err)
{
	const struct node_way *const ways[] = { &node_way_mount, &node_way_device };
	const struct backend *pool = down->state.ref.pool;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(ways) && r == 0; i++) {
		if (pool && !(pool->caps & BACKEND_MOUNT) != (ways[i] == &node_way_device))
			continue;
		down->state.way = ways[i];
		r = ways[i]->find_blind(d, ctx, path, &down->state, &down->blind, err);
	}
	down->blind.is_blind = r > 0;
	return r < 0 ? -1 : 0;
}

/* ret is too big for a copy of it on the stack. */
static int down_load(struct csi_driver *d, struct ctx *ctx, const char *volume_id, const char *path,
		     struct down *ret, struct err *err)
{
	const char *said = NULL;
	struct csi_ref ref;
	struct err why;

	memset(ret, 0, sizeof(*ret));
	if (driver_resolve(d, volume_id, &ref, err) < 0)
		return -1;
	if (driver_find_pool(d, volume_id, &ref, &why) < 0)
		said = "taking a volume down whose pool is not here";
	else if (node_state_load(d, ctx, &ref, &ret->state, &why) < 0)
		said = "taking a volume down whose pool does not answer";
	if (said) {
		log_warn(said, log_str("volume", volume_id), log_err(&why));
		memset(&ret->state, 0, sizeof(ret->state));
		ret->state.ref = ref;
		ret->state.pools = d->pools;
	}
	if (ctx_check(ctx, err) < 0 ||
	    (!ret->state.is_attached && find_blind(d, ctx, path, ret, err) < 0))
		return -1;
	if (!said && !ret->state.is_attached) /* for is_left_over, which is false without it */
		(void)node_state_load_note(d, ctx, &ret->state, &why);
	return 0;
}

static void save_note(struct csi_driver *d, struct ctx *ctx, const struct down *down)
{
	struct err err;

	if (down->blind.is_blind || !down->state.ref.pool)
		return;
	if (node_state_save_note(d, ctx, &down->state, &err) < 0)
		log_warn("a volume is taken down, but its note could not be changed",
			 log_str("volume", down->state.ref.token), log_err(&err));
}

/* A raw device can be taken away while its target is there. What is left is a bind of the node of a
 * device that is bound to nothing, or to another volume by now: no device tells whose it is, but
 * the note does, by which it was made in this boot. */
static bool is_left_over(const struct node_state *state, const char *path, const struct node_at *is)
{
	const struct note *note = &state->note;
	uint64_t hash = note_hash_path(path);

	return !state->is_attached && note->is_block && is->at.is_block_device &&
	       (note_find(note, hash) || note->staging == hash);
}

/* A bind of a target is unmounted without the server. 1: it is unmounted by that. */
static int loosen(struct ctx *ctx, const struct down *down, const char *path,
		  const struct node_at *is, struct err *err)
{
	const struct node_way *way = down->state.way;

	return down->is_last && is->is_mount && way->loosen ? way->loosen(ctx, path, is, err) : 0;
}

/* Mounts of this volume at the path, as many as lie on each other. ret_exists: the path is there.
 */
static int umount_all(struct ctx *ctx, const struct down *down, const char *field, const char *path,
		      bool *ret_exists, struct err *err)
{
	const struct node_state *state = &down->state;
	struct node_at is;
	int r;

	for (int i = 0; i < STACKED_MAX; i++) {
		if (state->way->look_down(state, path, &is, err) < 0)
			return -1;
		*ret_exists = is.at.exists;
		if (is.at.is_symlink)
			return err_set(err, ERR_INVALID_ARGUMENT, "%s: '%.300s' is a symbolic link",
				       field, path);
		if (!is.at.exists || !is.at.is_mount_root)
			return 0;
		if (!is.is_mount && !is_left_over(state, path, &is))
			return err_set(err, ERR_FAILED_PRECONDITION,
				       "%s: something that is not volume '%s' is mounted at "
				       "'%.300s'; it is left alone",
				       field, state->ref.token, path);
		r = ctx_check(ctx, err) < 0 ? -1 : loosen(ctx, down, path, &is, err);
		if (r < 0 || (r == 0 && host_mount_umount(ctx, path, err) < 0))
			return -1;
	}
	return err_set(err, ERR_ABORTED, "%s: '%.300s' is being mounted again and again", field,
		       path);
}

static void drop_idle_reader(struct ctx *ctx, struct down *down)
{
	struct err err;

	if (!down->blind.is_blind && node_drop_idle_reader(&down->state, ctx, &err) < 0)
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
	node_limits_lift(d, &down.state, path);
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
	bool has_note = !down->blind.is_blind && down->state.note.is_staged;
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

/* A pool that does not answer lets go of what it holds; the rest goes by what was seen. */
static int let_go(struct ctx *ctx, const struct down *down, struct err *err)
{
	const struct node_state *state = &down->state;
	struct err why;

	if (!down->blind.is_blind)
		return node_detach(ctx, state, err);
	if (state->ref.pool)
		(void)node_detach(ctx, state, &why); /* said in down_load */
	return state->way->detach_blind ? state->way->detach_blind(state, &down->blind, err) : 0;
}

/* Of a volume that is down: whoever took it down was killed before its note. */
static void forget_staging(struct csi_driver *d, struct ctx *ctx, const char *path,
			   struct down *down)
{
	struct note *note = &down->state.note;

	if (!note->is_staged || note->staging != note_hash_path(path))
		return;
	note_unstage(note);
	save_note(d, ctx, down);
}

/* Once it is unmounted. */
static int detach(struct csi_driver *d, struct ctx *ctx, const char *path, struct down *down,
		  struct err *err)
{
	const char *staged_at = NULL;

	if (!down->state.is_attached) {
		forget_staging(d, ctx, path, down);
		return 0;
	}
	if (node_find_staging(&down->state, ctx, &staged_at, err) < 0)
		return -1;
	if (staged_at && down->state.note.staging != note_hash_path(path))
		return 0; /* staged at another path, which this call does not name */
	if (check_unpublished(ctx, down, NULL, err) < 0 || ctx_check(ctx, err) < 0)
		return -1;
	node_limits_apply(d, &down->state, NULL, false); /* before the number is another's */
	if (let_go(ctx, down, err) < 0)
		return -1;
	note_unstage(&down->state.note);
	save_note(d, ctx, down);
	return 0;
}

static int unstage(struct csi_driver *d, struct ctx *ctx, const char *volume_id,
		   const struct csi_ref *ref, const struct node_place *place, struct err *err)
{
	const char *path = place->path;
	struct node_at is;
	struct down down;
	bool exists;

	if (place->dir && backend_staging_take(ref->pool, ctx, ref->token, place->dir, err) < 0)
		return -1;
	if (down_load(d, ctx, volume_id, path, &down, err) < 0 ||
	    down.state.way->look_down(&down.state, path, &is, err) < 0 ||
	    (is.is_mount && check_unpublished(ctx, &down, path, err) < 0))
		return -1;
	down.is_last = true;
	if (umount_all(ctx, &down, "staging_target_path", path, &exists, err) < 0 ||
	    detach(d, ctx, path, &down, err) < 0)
		return -1;
	return node_place_clear(ref, ctx, place, err);
}

int driver_node_unstage_volume(void *impl, struct ctx *ctx,
			       const struct csi_node_unstage_volume_request *req,
			       struct csi_node_unstage_volume_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct node_place place;
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
	if (node_place_of(&ref, ctx->arena, req->volume_id, path, &place, err) < 0 ||
	    inflight_begin(d->inflight, ref.token, "NodeUnstageVolume", err) < 0)
		return -1;
	r = unstage(d, ctx, req->volume_id, &ref, &place, err);
	inflight_end(d->inflight, ref.token);
	return r;
}
