/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NodeStageVolume (its opposite is in node_down.c).
 *
 *   look → attach → note → mount                    (raw block: look → attach → note)
 *
 * What attaching and mounting are is node_way's; where it is done, and that a raw device is bound
 * there, node_place.c's.
 *
 * A SIGKILL between any two steps leaves something that the same call, or the opposite one, finds
 * by looking: a device found by its backing file, a mount found by its device. The note is written
 * before the mount, so a mount never has a note that does not describe it. A failure undoes the
 * steps that were taken, with a time limit of its own, since the call's may be what ran out.
 *
 * The staging mount is always read-write: "ro" among the flags, readonly and the reader-only modes
 * make the mounts that workloads see read-only. (A raw device is attached read-only for reader-only
 * modes; a bind mount of a device node cannot forbid writing.) For raw block the staging directory
 * stays empty, as kubelet removes it with rmdir.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "csi/driver-internal.h"
#include "csi/validate.h"

#define UNDO_NS (30 * NS_PER_S)

static int check_staging_dir(const char *path, const struct host_mount_at *at, struct err *err)
{
	if (at->is_symlink)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "staging_target_path: '%.300s' is a symbolic link", path);
	if (!at->exists)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"staging_target_path: '%.300s' does not exist; the CO has to make it",
			path);
	if (!at->is_dir)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "staging_target_path: '%.300s' is not a directory", path);
	return 0;
}

/* What is to be there already: the path that the CO gives. */
static int check_dir(const struct node_place *place, const struct node_at *is, struct err *err)
{
	struct host_mount_at at;

	if (!place->dir)
		return check_staging_dir(place->path, &is->at, err);
	if (host_mount_look(place->dir, &at, err) < 0)
		return -1;
	return check_staging_dir(place->dir, &at, err);
}

/* A mount of the volume is there. */
static int take_staged(struct csi_driver *d, struct ctx *ctx, const struct node_staging *what,
		       bool is_block, struct node_state *state, struct err *err)
{
	const char *path = what->place.path;

	if (is_block != (what->cap->access == VOL_ACCESS_BLOCK))
		return err_set(err, ERR_ALREADY_EXISTS, "volume '%s' is staged at '%.200s' as a %s",
			       what->req->volume_id, path, is_block ? "block device" : "mount");
	note_stage(&state->note, path, what->cap);
	if (node_state_save_note(d, ctx, state, err) < 0)
		return -1;
	if (is_block)
		return 1;
	if (state->way->settle && state->way->settle(ctx, state, path, err) < 0)
		return -1;
	node_grow_staged(ctx, state, path, what->cap->fs_type);
	return 1;
}

/*
 * What is there already: 1 = staged as asked, 0 = free to stage, -1 = in the way. A kill between
 * mount and settle is mended here.
 */
static int look_before_stage(struct csi_driver *d, struct ctx *ctx, const struct node_staging *what,
			     struct node_state *state, struct err *err)
{
	const struct csi_node_stage_volume_request *req = what->req;
	struct node_at is;
	const char *staged_at;

	if (node_look(state, req->staging_target_path, &is, err) < 0 ||
	    check_dir(&what->place, &is, err) < 0 ||
	    node_find_staging(state, ctx, &staged_at, err) < 0 ||
	    (staged_at && node_compare_capability(state, req->staging_target_path, what->cap,
						  ERR_ALREADY_EXISTS, err) < 0))
		return -1;
	if (is.is_mount)
		return take_staged(d, ctx, what, is.at.is_block_device, state, err);
	if (is.at.is_mount_root)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "staging_target_path: something that is not volume '%s' is mounted "
			       "at '%.200s'",
			       req->volume_id, req->staging_target_path);
	if (!staged_at)
		return 0;
	if (state->note.is_block && state->note.staging == note_hash_path(req->staging_target_path))
		return what->place.dir ? 0 : 1; /* 0: not bound yet */
	return err_set(err, ERR_FAILED_PRECONDITION, "volume '%s' is staged at '%.300s'",
		       req->volume_id, staged_at);
}

struct host_mount_options node_staging_options(struct arena *a, const struct vol_capability *cap)
{
	const char **flags = arena_array(a, cap->n_mount_flags, sizeof(*flags));
	size_t n = 0;

	for (size_t i = 0; i < cap->n_mount_flags; i++) {
		if (!str_is_equal(cap->mount_flags[i], "ro") &&
		    !str_is_equal(cap->mount_flags[i], "rw"))
			flags[n++] = cap->mount_flags[i];
	}
	return (struct host_mount_options){ .fs = cap->fs_type, .flags = flags, .n_flags = n };
}

/* Takes back what stage_new did; what cannot be is logged, and the next stage or unstage finds it.
 */
static void undo_stage(struct csi_driver *d, struct node_state *state,
		       const struct node_place *place, bool is_mounted)
{
	const char *path = place->path;
	struct ctx ctx;
	struct err err;
	bool is_undone = true;

	ctx_init(&ctx, UNDO_NS);
	if (is_mounted && host_mount_umount(&ctx, path, &err) < 0)
		is_undone = false;
	if (is_undone) {
		note_unstage(&state->note);
		if (node_state_save_note(d, &ctx, state, &err) < 0 ||
		    node_detach(&ctx, state, &err) < 0 ||
		    node_place_clear(&state->ref, &ctx, place, &err) < 0)
			is_undone = false;
	}
	if (!is_undone)
		log_warn("failed staging is not undone; it will be at the next stage or unstage",
			 log_str("volume", state->ref.token), log_str("path", path), log_err(&err));
	ctx_done(&ctx);
}

static int bind_block(struct ctx *ctx, const struct node_state *state,
		      const struct node_staging *what, bool *ret_mounted, struct err *err)
{
	if (!what->place.dir)
		return 0;
	if (ctx_check(ctx, err) < 0 ||
	    host_mount_bind(ctx, state->device.path, what->place.path, false, NULL, 0, err) < 0)
		return -1;
	*ret_mounted = true;
	return 0;
}

static int stage_new(struct csi_driver *d, struct ctx *ctx, const struct node_staging *what,
		     struct node_state *state, struct err *err)
{
	bool is_block = what->cap->access == VOL_ACCESS_BLOCK;
	bool is_mounted = false;
	int r;

	if (ctx_check(ctx, err) < 0)
		return -1;
	if (state->way->attach(ctx, state, what, err) < 0) {
		if (what->place.dir && !state->is_attached)
			undo_stage(d, state, &what->place, false);
		return -1;
	}
	state->is_attached = true;
	note_stage(&state->note, what->place.path, what->cap);
	r = node_state_save_note(d, ctx, state, err);
	if (r == 0)
		r = node_place_make(&what->place, is_block, err);
	if (r == 0)
		r = is_block ? bind_block(ctx, state, what, &is_mounted, err)
			     : state->way->mount(ctx, state, what, &is_mounted, err);
	if (r == 0)
		return 0;
	undo_stage(d, state, &what->place, is_mounted);
	return -1;
}

static int stage(struct csi_driver *d, struct ctx *ctx,
		 const struct csi_node_stage_volume_request *req, const struct node_place *place,
		 struct err *err)
{
	struct vol_capability cap = req->volume_capability;
	const struct node_staging what = { req, &cap, *place, d->node_id, d->boot_id };
	struct node_state state;
	struct backend_volume vol;
	struct csi_ref ref;
	int r;

	if (driver_find_volume(d, ctx, req->volume_id, NULL, &ref, &vol, err) < 0 ||
	    driver_check_capability(ref.pool, &vol, &cap, err) < 0 ||
	    node_state_load(d, ctx, &ref, &state, err) < 0)
		return -1;
	state.is_copy =
		vol.source_kind != BACKEND_SOURCE_NONE || (ref.pool->caps & BACKEND_ELSEWHERE);
	r = look_before_stage(d, ctx, &what, &state, err);
	if (r < 0)
		return -1;
	return r > 0 ? 0 : stage_new(d, ctx, &what, &state, err);
}

int driver_node_stage_volume(void *impl, struct ctx *ctx,
			     const struct csi_node_stage_volume_request *req,
			     struct csi_node_stage_volume_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_node_stage_volume_request real = *req;
	struct node_place place;
	struct csi_ref ref;
	int r;

	if (validate_stage(req, err) < 0 ||
	    driver_resolve_path(d, ctx, "staging_target_path", req->staging_target_path,
				&real.staging_target_path, err) < 0 ||
	    driver_resolve(d, req->volume_id, &ref, err) < 0 ||
	    node_place_of(&ref, ctx->arena, req->volume_id, real.staging_target_path, &place, err) <
		    0)
		return -1;
	real.staging_target_path = place.path;
	if (inflight_begin(d->inflight, ref.token, "NodeStageVolume", err) < 0)
		return -1;
	r = stage(d, ctx, &real, &place, err);
	inflight_end(d->inflight, ref.token);
	return r;
}
