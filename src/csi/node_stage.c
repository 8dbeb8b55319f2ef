/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NodeStageVolume (its opposite is in node_down.c).
 *
 *   look → attach → note → condition → mount → settle          (raw block: look → attach → note)
 *
 * A filesystem whose superblock says that errors were found is not mounted: ext4 would take more
 * writes, and lose more. It is looked at again after the mount, since ext4 learns only from its
 * journal what happened last. Repair is a person's decision (cleat ctl volume check).
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
#include "host/condition.h"

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

static int settle(struct ctx *ctx, const struct node_state *state, const char *path,
		  struct err *err)
{
	return backend_settle(state->ref.pool, ctx, state->ref.token, path, err);
}

/*
 * What is there already: 1 = staged as asked, 0 = free to stage, -1 = in the way. A kill between
 * mount and settle is mended here.
 */
static int look_before_stage(struct csi_driver *d, struct ctx *ctx,
			     const struct csi_node_stage_volume_request *req,
			     const struct vol_capability *cap, struct node_state *state,
			     struct err *err)
{
	struct host_mount_at at;
	const char *staged_at;

	if (host_mount_look(req->staging_target_path, &at, err) < 0 ||
	    check_staging_dir(req->staging_target_path, &at, err) < 0 ||
	    node_find_staging(state, ctx, &staged_at, err) < 0 ||
	    (staged_at && node_compare_capability(state, req->staging_target_path, cap,
						  ERR_ALREADY_EXISTS, err) < 0))
		return -1;
	if (node_is_mount_of(state, &at)) {
		if (cap->access == VOL_ACCESS_BLOCK)
			return err_set(err, ERR_ALREADY_EXISTS,
				       "volume '%s' is staged at '%.200s' as a mount",
				       req->volume_id, req->staging_target_path);
		note_stage(&state->note, req->staging_target_path, cap);
		if (node_state_save_note(d, ctx, state, err) < 0 ||
		    settle(ctx, state, req->staging_target_path, err) < 0)
			return -1;
		return 1;
	}
	if (at.is_mount_root)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "staging_target_path: something that is not volume '%s' is mounted "
			       "at '%.200s'",
			       req->volume_id, req->staging_target_path);
	if (!staged_at)
		return 0;
	if (state->note.is_block && state->note.staging == note_hash_path(req->staging_target_path))
		return 1;
	return err_set(err, ERR_FAILED_PRECONDITION, "volume '%s' is staged at '%.300s'",
		       req->volume_id, staged_at);
}

/* "ro" and "rw" belong to the workload's mounts. */
static struct host_mount_options staging_options(struct arena *a, const struct vol_capability *cap)
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
static void undo_stage(struct csi_driver *d, struct node_state *state, const char *path,
		       bool is_mounted)
{
	struct ctx ctx;
	struct err err;
	bool is_undone = true;

	ctx_init(&ctx, UNDO_NS);
	if (is_mounted && host_mount_umount(&ctx, path, &err) < 0)
		is_undone = false;
	if (is_undone) {
		note_unstage(&state->note);
		if (node_state_save_note(d, &ctx, state, &err) < 0 ||
		    backend_detach(state->ref.pool, &ctx, state->ref.token, &err) < 0)
			is_undone = false;
	}
	if (!is_undone)
		log_warn("failed staging is not undone; it will be at the next stage or unstage",
			 log_str("volume", state->ref.token), log_str("path", path), log_err(&err));
	ctx_done(&ctx);
}

/* err says what is wrong. */
static int refuse_damaged(const struct node_state *state, const char *fs, struct err *err)
{
	struct err why = *err;
	char id[VOL_ID_MAX];

	backend_format_id(state->ref.pool, VOL_KIND_VOLUME, state->ref.token, id);
	return err_set(
		err, ERR_FAILED_PRECONDITION,
		"volume '%s' is not mounted before its %s is repaired (%.200s); run 'cleat ctl "
		"volume check --pool=DIR %s' on this node, DIR being that of pool '%s'",
		id, fs, why.msg, id, state->ref.pool->pool_name);
}

static int check_condition(const struct node_state *state, const char *fs, struct err *err)
{
	bool has_errors = false;

	if (host_condition_of_device(state->device.path, fs, &has_errors, err) < 0)
		return err->code == ERR_DATA_LOSS ? refuse_damaged(state, fs, err) : -1;
	if (!has_errors)
		return 0;
	(void)err_set(err, ERR_DATA_LOSS, "its superblock records errors");
	return refuse_damaged(state, fs, err);
}

static int mount_staging(struct ctx *ctx, const struct node_state *state,
			 const struct vol_capability *cap, const char *path, bool *ret_mounted,
			 struct err *err)
{
	struct host_mount_options opts = staging_options(ctx->arena, cap);

	if (ctx_check(ctx, err) < 0 || check_condition(state, cap->fs_type, err) < 0)
		return -1;
	if (host_mount_device(ctx, state->device.path, path, &opts, err) < 0)
		return err->code == ERR_DATA_LOSS ? refuse_damaged(state, cap->fs_type, err) : -1;
	*ret_mounted = true;
	if (check_condition(state, cap->fs_type, err) < 0)
		return -1;
	return settle(ctx, state, path, err);
}

static int stage_new(struct csi_driver *d, struct ctx *ctx,
		     const struct csi_node_stage_volume_request *req,
		     const struct vol_capability *cap, struct node_state *state, struct err *err)
{
	bool is_block = cap->access == VOL_ACCESS_BLOCK;
	struct backend_attach_options opts = { .secrets = &req->secrets,
					       .volume_context = &req->volume_context,
					       .publish_context = &req->publish_context,
					       .hold = is_block,
					       .read_only = is_block &&
							    vol_mode_is_reader_only(cap->mode) };
	bool is_mounted = false;

	if (ctx_check(ctx, err) < 0 ||
	    backend_attach(state->ref.pool, ctx, state->ref.token, &opts, &state->device, err) < 0)
		return -1;
	state->is_attached = true;
	note_stage(&state->note, req->staging_target_path, cap);
	if (node_state_save_note(d, ctx, state, err) == 0 &&
	    (is_block ||
	     mount_staging(ctx, state, cap, req->staging_target_path, &is_mounted, err) == 0))
		return 0;
	undo_stage(d, state, req->staging_target_path, is_mounted);
	return -1;
}

static int stage(struct csi_driver *d, struct ctx *ctx,
		 const struct csi_node_stage_volume_request *req, struct err *err)
{
	struct vol_capability cap = req->volume_capability;
	struct node_state state;
	struct backend_volume vol;
	struct csi_ref ref;
	int r;

	if (driver_find_volume(d, ctx, req->volume_id, &ref, &vol, err) < 0 ||
	    driver_check_capability(&vol, &cap, err) < 0)
		return -1;
	if (!(ref.pool->caps & BACKEND_ATTACH))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "pool '%s' (%s) has no block devices to stage", ref.pool->pool_name,
			       ref.pool->ops->name);
	if (node_state_load(d, ctx, &ref, &state, err) < 0)
		return -1;
	r = look_before_stage(d, ctx, req, &cap, &state, err);
	if (r < 0)
		return -1;
	return r > 0 ? 0 : stage_new(d, ctx, req, &cap, &state, err);
}

int driver_node_stage_volume(void *impl, struct ctx *ctx,
			     const struct csi_node_stage_volume_request *req,
			     struct csi_node_stage_volume_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_node_stage_volume_request real = *req;
	struct csi_ref ref;
	int r;

	if (validate_stage(req, err) < 0 ||
	    driver_resolve_path(d, ctx, "staging_target_path", req->staging_target_path,
				&real.staging_target_path, err) < 0 ||
	    driver_resolve(d, req->volume_id, &ref, err) < 0 ||
	    inflight_begin(d->inflight, ref.token, "NodeStageVolume", err) < 0)
		return -1;
	r = stage(d, ctx, &real, err);
	inflight_end(d->inflight, ref.token);
	return r;
}
