/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NodePublishVolume (its opposite is in node_down.c).
 *
 *   prove staging → condition → look at target → make target → note → bind → prove target
 *
 * Staging is proven by device identity, not by path: after a reboot the staging directory is an
 * empty directory of the root disk, and a bind mount of it would send the workload's data there.
 * The proof is repeated on the finished target, because staging might go away in between.
 *
 * Raw block: a bind mount of a device node cannot forbid writing, since that is no writing to the
 * filesystem that the node lies on. So a read-only target is of another device: the reader, a
 * second loop device over the same file that was bound read-only, which is there from the first
 * read-only target to the last. Its page cache is its own, therefore the caches are flushed at each
 * publish.
 *
 * A target is only ever a directory or file of our own or an empty one that is already there; what
 * is mounted there and is not this volume is left alone. Failures undo what was done, as in
 * node_stage.c.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "csi/driver-internal.h"
#include "csi/validate.h"
#include "host/blockdev.h"
#include "host/fs.h"

#define UNDO_NS (30 * NS_PER_S)

/* A bind begins with the attributes of what it binds; these make it one without any. */
static const char *const plain_flags[] = {
	"suid", "dev", "exec", "diratime", "relatime", "symfollow",
};

struct publish {
	const struct csi_node_publish_volume_request *req;
	struct vol_capability cap;
	bool is_block;
	bool read_only;
	uint64_t args; /* hash of all arguments that must be equal in a second call */
};

static bool has_flag(const struct vol_capability *cap, const char *flag)
{
	for (size_t i = 0; i < cap->n_mount_flags; i++) {
		if (str_is_equal(cap->mount_flags[i], flag))
			return true;
	}
	return false;
}

/* A bind of the device where the place is one for it; elsewhere the note alone tells. */
static bool is_block_staged(const struct node_state *state, const char *path,
			    const struct node_at *is)
{
	const struct note *note = &state->note;

	if (state->ref.pool->ops->staging_take)
		return is->is_mount && is->at.is_block_device;
	return state->is_attached && note->is_staged && note->is_block &&
	       note->staging == note_hash_path(path);
}

static int prove_staging(const struct publish *p, const struct node_state *state, struct err *err)
{
	const char *path = p->req->staging_target_path;
	struct node_at is;

	if (node_look(state, path, &is, err) < 0)
		return -1;
	if (p->is_block) {
		if (!is_block_staged(state, path, &is))
			return err_set(err, ERR_FAILED_PRECONDITION,
				       "volume '%s' is not staged as a block device at "
				       "staging_target_path '%.200s'",
				       p->req->volume_id, path);
	} else if (!is.is_mount || is.at.is_block_device) {
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "staging_target_path '%.200s' is not a mount of volume '%s'; stage "
			       "it first",
			       path, p->req->volume_id);
	}
	return node_compare_capability(state, path, &p->cap, ERR_FAILED_PRECONDITION, err);
}

static int see_entry(void *arg, const char *name, bool is_regular)
{
	bool *has_entry = arg;

	(void)name;
	(void)is_regular;
	*has_entry = true;
	return 1;
}

/* A mount would hide what is in it, and unpublish would have to leave it behind. */
static int check_is_empty_dir(const char *path, struct err *err)
{
	autohostfd int fd = -1;
	bool has_entry = false;

	if (host_dir_open(path, &fd, err) < 0 || host_dir_each(fd, see_entry, &has_entry, err) < 0)
		return -1;
	if (has_entry)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "target_path: directory '%.300s' is not empty", path);
	return 0;
}

static int check_is_empty_file(const char *parent, const char *path, struct err *err)
{
	autohostfd int dirfd = -1;
	autohostfd int fd = -1;
	struct host_file file;

	if (host_dir_open(parent, &dirfd, err) < 0 ||
	    host_file_open(dirfd, path_last(path), true, &fd, err) < 0 ||
	    host_file_look(fd, &file, err) < 0)
		return -1;
	if (!file.is_regular || file.bytes > 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "target_path: '%.300s' is not an empty file", path);
	return 0;
}

/* There is nothing mounted: the target is absent in an existing directory, or empty and of the
 * right kind. */
static int check_free_target(const struct publish *p, const struct host_mount_at *at,
			     struct err *err)
{
	const char *path = p->req->target_path;
	autofree char *parent = path_parent(path);
	struct host_mount_at above;

	if (!at->exists) {
		if (host_mount_look(parent, &above, err) < 0)
			return -1;
		if (!above.is_dir)
			return err_set(
				err, ERR_FAILED_PRECONDITION,
				"target_path: '%.300s' is no directory; the CO has to make it",
				parent);
		return 0;
	}
	if (at->is_dir == p->is_block)
		return err_set(err, ERR_FAILED_PRECONDITION, "target_path: '%.200s' is a %s", path,
			       at->is_dir ? "directory, block access wants a file"
					  : "file, mount access wants a directory");
	return at->is_dir ? check_is_empty_dir(path, err) : check_is_empty_file(parent, path, err);
}

/* A device that was attached read-only, for a reader-only mode, is as good as its reader. */
static bool is_of_reader(const struct publish *p, const struct node_state *state)
{
	return p->is_block && p->read_only && !state->device.is_read_only;
}

/* 1: published there with the same arguments, 0: free, -1: in the way. */
static int look_at_target(const struct publish *p, const struct node_state *state, struct err *err)
{
	const char *path = p->req->target_path;
	const struct note_target *known = note_find(&state->note, note_hash_path(path));
	struct host_mount_at at;
	struct node_at is;

	if (node_look(state, path, &is, err) < 0)
		return -1;
	at = is.at;
	if (at.is_symlink)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "target_path: '%.300s' is a symbolic link", path);
	if (is.is_mount) {
		if (at.is_block_device != p->is_block || at.is_read_only != p->read_only ||
		    (known && known->args != p->args))
			return err_set(err, ERR_ALREADY_EXISTS,
				       "volume '%s' is published at '%.200s' with other arguments",
				       p->req->volume_id, path);
		if (is_of_reader(p, state) && at.rdev == state->device.devno)
			return err_set(
				err, ERR_FAILED_PRECONDITION,
				"volume '%s' is published at '%.200s' on a device that can be "
				"written to, by an older version; unpublish it first",
				p->req->volume_id, path);
		return 1;
	}
	if (at.is_mount_root)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "target_path: something that is not volume '%s' is mounted at "
			       "'%.200s'",
			       p->req->volume_id, path);
	return check_free_target(p, &at, err);
}

/* Modes for one workload: the volume may have no other target (CSI 1.13, table of
 * NodePublishVolume). */
static int check_only_target(const struct publish *p, struct ctx *ctx,
			     const struct node_state *state, struct err *err)
{
	const char *other;

	if (vol_mode_has_many_targets(p->cap.mode) || state->note.n_targets == 0)
		return 0;
	if (node_find_mount(state, ctx, NODE_MOUNT_TARGET, p->req->target_path, &other, err) < 0)
		return -1;
	if (other)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "volume '%s' is published at '%.200s' already, and access mode %s "
			       "allows one target",
			       p->req->volume_id, other, vol_mode_name(p->cap.mode));
	return 0;
}

/* Entries of targets that went without an unpublish would fill the note in time. */
struct alive {
	const struct note *note;
	struct note kept;
};

static int keep_alive(void *arg, const char *path, bool read_only)
{
	struct alive *alive = arg;
	const struct note_target *target = note_find(alive->note, note_hash_path(path));

	(void)read_only;
	if (target)
		(void)note_add(&alive->kept, path, target->args); /* fits: it is a subset */
	return 0;
}

/* Where kubelet's path does not tell the pod, its word does (CSIDriver, podInfoOnMount). */
static void note_pod(const struct publish *p, struct note *note)
{
	const char *uid = strmap_find(&p->req->volume_context, "csi.storage.k8s.io/pod.uid");
	char of_path[HOST_POD_UID_MAX];

	if (uid && !node_pod_of(note, p->req->target_path, of_path))
		note_set_pod(note, p->req->target_path, uid);
}

static int note_target(struct csi_driver *d, struct ctx *ctx, const struct publish *p,
		       struct node_state *state, struct err *err)
{
	if (!note_add(&state->note, p->req->target_path, p->args)) {
		struct alive alive = { .note = &state->note, .kept = state->note };

		alive.kept.n_targets = 0;
		if (node_each_mount(state, keep_alive, &alive, err) < 0)
			return -1;
		memcpy(state->note.targets, alive.kept.targets, sizeof(alive.kept.targets));
		state->note.n_targets = alive.kept.n_targets;
		if (!note_add(&state->note, p->req->target_path, p->args))
			return 0; /* full of living ones: this target works without a line */
	}
	note_pod(p, &state->note);
	return node_state_save_note(d, ctx, state, err);
}

/* What the target shall be, whatever the staging mount is: the later flag wins. */
static size_t list_flags(struct arena *a, const struct publish *p, const char ***ret_flags)
{
	size_t n = 0;

	*ret_flags =
		arena_array(a, ARRAY_LEN(plain_flags) + p->cap.n_mount_flags, sizeof(**ret_flags));
	if (p->is_block)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(plain_flags); i++)
		(*ret_flags)[n++] = plain_flags[i];
	for (size_t i = 0; i < p->cap.n_mount_flags; i++) {
		if (vol_flag_is_of_mount(p->cap.mount_flags[i]))
			(*ret_flags)[n++] = p->cap.mount_flags[i];
	}
	return n;
}

static int bind_target(struct ctx *ctx, const struct publish *p, const struct node_state *state,
		       bool *ret_bound, struct err *err)
{
	const struct backend_device *device =
		is_of_reader(p, state) ? &state->reader : &state->device;
	const char *source = p->is_block ? device->path : p->req->staging_target_path;
	struct node_at is;
	const char **flags;
	size_t n = list_flags(ctx->arena, p, &flags);

	if (ctx_check(ctx, err) < 0 ||
	    host_mount_bind(ctx, source, p->req->target_path, p->read_only, flags, n, err) < 0)
		return -1;
	*ret_bound = true;
	if (node_look(state, p->req->target_path, &is, err) < 0)
		return -1;
	if (!is.is_mount || is.at.is_block_device != p->is_block ||
	    (p->is_block && is.at.rdev != device->devno))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "volume '%s' went away from '%.200s' while it was being published",
			       p->req->volume_id, p->req->staging_target_path);
	return 0;
}

static void undo_publish(struct csi_driver *d, struct node_state *state, const char *path,
			 bool is_bound, bool is_made)
{
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, UNDO_NS);
	note_remove(&state->note, note_hash_path(path));
	if ((is_bound && host_mount_umount(&ctx, path, &err) < 0) ||
	    (is_made && host_mount_remove_target(path, &err) < 0) ||
	    node_drop_idle_reader(state, &ctx, &err) < 0 ||
	    node_state_save_note(d, &ctx, state, &err) < 0)
		log_warn("failed publishing is not undone; it will be at the next unpublish",
			 log_str("volume", state->ref.token), log_str("path", path), log_err(&err));
	ctx_done(&ctx);
}

/* The device that the target will be of, and what was written so far on it. */
static int ready_device(struct ctx *ctx, const struct publish *p, struct node_state *state,
			struct err *err)
{
	const struct backend_attach_options opts = { .secrets = &p->req->secrets,
						     .volume_context = &p->req->volume_context,
						     .publish_context = &p->req->publish_context,
						     .read_only = true,
						     .hold = true,
						     .reader = true };

	if (!p->is_block)
		return 0;
	if (!p->read_only && host_block_make_writable(state->device.path, err) < 0)
		return -1;
	if (is_of_reader(p, state) && !state->has_reader) {
		if (backend_attach(state->ref.pool, ctx, state->ref.token, &opts, &state->reader,
				   err) < 0)
			return -1;
		state->has_reader = true;
	}
	if (host_block_flush(state->device.path, err) < 0)
		return -1;
	return state->has_reader ? host_block_flush(state->reader.path, err) : 0;
}

static int publish_new(struct csi_driver *d, struct ctx *ctx, const struct publish *p,
		       struct node_state *state, struct err *err)
{
	bool is_bound = false;
	bool is_made = false;

	if (ctx_check(ctx, err) < 0 ||
	    host_mount_make_target(p->req->target_path, !p->is_block, &is_made, err) < 0)
		return -1;
	if (note_target(d, ctx, p, state, err) == 0 && ready_device(ctx, p, state, err) == 0 &&
	    bind_target(ctx, p, state, &is_bound, err) == 0)
		return 0;
	undo_publish(d, state, p->req->target_path, is_bound, is_made);
	return -1;
}

static int publish(struct csi_driver *d, struct ctx *ctx,
		   const struct csi_node_publish_volume_request *req, struct err *err)
{
	struct publish p = { .req = req, .cap = req->volume_capability };
	struct node_state state;
	struct backend_volume vol;
	struct csi_ref ref;
	int r;

	if (driver_find_volume(d, ctx, req->volume_id, NULL, &ref, &vol, err) < 0 ||
	    driver_check_capability(ref.pool, &vol, &p.cap, err) < 0 ||
	    node_state_load(d, ctx, &ref, &state, err) < 0)
		return -1;
	p.is_block = p.cap.access == VOL_ACCESS_BLOCK;
	p.read_only = req->readonly || vol_mode_is_reader_only(p.cap.mode) ||
		      (!p.is_block && has_flag(&p.cap, "ro"));
	p.args = note_hash_publish(&p.cap, req->readonly);
	if (prove_staging(&p, &state, err) < 0 ||
	    (!p.is_block && state.way->check_staged(&state, req->staging_target_path,
						    req->volume_id, p.read_only, err) < 0))
		return -1;
	r = look_at_target(&p, &state, err);
	if (r < 0 || (r == 0 && (check_only_target(&p, ctx, &state, err) < 0 ||
				 publish_new(d, ctx, &p, &state, err) < 0)))
		return -1;
	node_limits_apply(d, &state,
			  ref.pool->caps & BACKEND_ELSEWHERE ? &state.device.limits : &vol.limits,
			  false);
	return 0;
}

int driver_node_publish_volume(void *impl, struct ctx *ctx,
			       const struct csi_node_publish_volume_request *req,
			       struct csi_node_publish_volume_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_node_publish_volume_request real = *req;
	struct node_place place;
	struct csi_ref ref;
	int r;

	/* the second time: two names may be of one place */
	if (validate_publish(req, err) < 0 ||
	    driver_resolve_path(d, ctx, "staging_target_path", req->staging_target_path,
				&real.staging_target_path, err) < 0 ||
	    driver_resolve_path(d, ctx, "target_path", req->target_path, &real.target_path, err) <
		    0 ||
	    validate_publish(&real, err) < 0 || driver_resolve(d, req->volume_id, &ref, err) < 0 ||
	    node_place_of(&ref, ctx->arena, req->volume_id, real.staging_target_path, &place, err) <
		    0)
		return -1;
	real.staging_target_path = place.path;
	if (inflight_begin(d->inflight, ref.token, "NodePublishVolume", err) < 0)
		return -1;
	r = publish(d, ctx, &real, err);
	inflight_end(d->inflight, ref.token);
	return r;
}
