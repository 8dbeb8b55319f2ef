/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way by block devices: the backend gives a device, we mount it. Staging is
 *
 *   attach → (note) → mkfs, of a blank volume that is elsewhere → condition → mount → condition →
 * settle
 *
 * A filesystem whose superblock says that errors were found is not mounted: ext4 would take more
 * writes, and lose more. It is looked at again after the mount, since ext4 learns only from its
 * journal what happened last. Repair is a person's decision (cleat ctl volume check).
 *
 * A mount is the volume's if it lies on its device, by number. As long as the pool answers, the
 * device is known by the inode behind it. When it does not, the kernel's own numbers still do: the
 * device below the mount, and the name of the file behind that device, which is the volume's token.
 * A device that another, living pool knows as its own is never taken for it.
 */
#include <string.h>

#include "base/str.h"
#include "csi/driver-internal.h"
#include "host/condition.h"
#include "host/grow.h"
#include "host/mkfs.h"

/* Of raw volumes, or when the note does not say. */
static int find_reader(struct ctx *ctx, struct node_state *state, struct err *err)
{
	int r;

	if (state->note.is_staged && !state->note.is_block)
		return 0;
	r = backend_find_reader(state->ref.pool, ctx, state->ref.token, &state->reader, err);
	if (r < 0 && err->code != ERR_NOT_FOUND)
		return -1;
	state->has_reader = r == 0;
	return 0;
}

static int load(struct csi_driver *d, struct ctx *ctx, struct node_state *state, struct err *err)
{
	const struct csi_ref *ref = &state->ref;
	int r;

	if (!(ref->pool->caps & BACKEND_ATTACH))
		return 0;
	r = backend_find_device(ref->pool, ctx, ref->token, &state->device, err);
	if (r < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	state->is_attached = true;
	if (node_state_load_note(d, ctx, state, err) < 0)
		return -1;
	return find_reader(ctx, state, err);
}

static bool is_on_device(const struct node_state *state, const struct host_mount_at *at)
{
	if (!state->is_attached || !at->exists)
		return false;
	if (!at->is_block_device)
		return at->device == state->device.devno;
	return at->rdev == state->device.devno ||
	       (state->has_reader && at->rdev == state->reader.devno);
}

static int look(const struct node_state *state, const char *path, struct node_at *ret_at,
		struct err *err)
{
	struct node_at is;

	if (host_mount_look(path, &is.at, err) < 0)
		return -1;
	is.is_on_volume = is_on_device(state, &is.at);
	is.is_mount = is.is_on_volume && is.at.is_mount_root;
	*ret_at = is;
	return 0;
}

struct each_mount {
	host_mount_fn fn;
	void *arg;
	bool is_stopped;
};

static int pass_on(void *arg, const char *path, bool read_only)
{
	struct each_mount *each = arg;
	int r = each->fn(each->arg, path, read_only);

	each->is_stopped = r != 0;
	return r;
}

static int each_mount(const struct node_state *state, host_mount_fn fn, void *arg, struct err *err)
{
	struct each_mount each = { .fn = fn, .arg = arg };

	if (host_mount_each(state->device.devno, pass_on, &each, err) < 0)
		return -1;
	if (state->has_reader && !each.is_stopped)
		return host_mount_each(state->reader.devno, pass_on, &each, err);
	return 0;
}

static int stop_at_once(void *arg, const char *path, bool read_only)
{
	bool *is_found = arg;

	(void)path;
	(void)read_only;
	*is_found = true;
	return 1;
}

int node_drop_idle_reader(struct node_state *state, struct ctx *ctx, struct err *err)
{
	bool is_mounted = false;

	if (!state->has_reader)
		return 0;
	if (host_mount_each(state->reader.devno, stop_at_once, &is_mounted, err) < 0)
		return -1;
	if (is_mounted)
		return 0;
	if (backend_drop_reader(state->ref.pool, ctx, state->ref.token, err) < 0)
		return -1;
	state->has_reader = false;
	return 0;
}

/* ---- staging ---- */

static int attach(struct ctx *ctx, struct node_state *state, const struct node_staging *what,
		  struct err *err)
{
	bool is_block = what->cap->access == VOL_ACCESS_BLOCK;
	const struct backend_attach_options opts = {
		.secrets = &what->req->secrets,
		.volume_context = &what->req->volume_context,
		.publish_context = &what->req->publish_context,
		.node_id = what->node_id,
		.boot_id = what->boot_id,
		.hold = is_block,
		.staging = what->place.dir,
		.read_only = is_block && vol_mode_is_reader_only(what->cap->mode),
	};
	struct backend *pool = state->ref.pool;

	if (!(pool->caps & BACKEND_ATTACH))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "pool '%s' (%s) has nothing to stage on a node", pool->pool_name,
			       pool->ops->name);
	if (backend_attach(pool, ctx, state->ref.token, &opts, &state->device, err) < 0)
		return -1;
	state->is_attached = true;
	return 0;
}

static int detach(struct ctx *ctx, const struct node_state *state, struct err *err)
{
	return backend_detach(state->ref.pool, ctx, state->ref.token, err);
}

static int settle(struct ctx *ctx, const struct node_state *state, const char *path,
		  struct err *err)
{
	return backend_settle(state->ref.pool, ctx, state->ref.token, path, err);
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

/* Before it is mounted. */
static int ready_fs(struct ctx *ctx, const struct node_state *state, const char *fs,
		    bool *ret_is_small, struct err *err)
{
	if (node_grow_unmounted(ctx, state->device.path, fs, ret_is_small, err) < 0)
		return err->code == ERR_DATA_LOSS ? refuse_damaged(state, fs, err) : -1;
	return check_condition(state, fs, err);
}

/* Of two XFS filesystems with one UUID the kernel mounts one, unless the other is mounted with
 * nouuid. A copy is; the UUID that its bytes have stays. */
static struct host_mount_options device_options(struct arena *a, const struct node_state *state,
						const struct vol_capability *cap)
{
	struct host_mount_options opts = node_staging_options(a, cap);
	const char **flags = arena_array(a, opts.n_flags + 1, sizeof(*flags));

	if (!state->is_copy || !str_is_equal(cap->fs_type, "xfs"))
		return opts;
	flags[0] = "nouuid";
	for (size_t i = 0; i < opts.n_flags; i++)
		flags[i + 1] = opts.flags[i];
	opts.flags = flags;
	opts.n_flags++;
	return opts;
}

/* The first time that a volume of other machines is staged anywhere. */
static int make_fs(struct ctx *ctx, const struct node_state *state, const struct node_staging *what,
		   struct err *err)
{
	if (!(state->ref.pool->caps & BACKEND_ELSEWHERE))
		return 0;
	return host_mkfs_device(ctx, state->device.path, what->cap->fs_type,
				str_or(strmap_find(&what->req->volume_context, "mkfsOptions"), ""),
				err);
}

static int mount_device(struct ctx *ctx, const struct node_state *state,
			const struct node_staging *what, bool *ret_mounted, struct err *err)
{
	struct host_mount_options opts = device_options(ctx->arena, state, what->cap);
	const char *path = what->req->staging_target_path;
	const char *fs = what->cap->fs_type;
	bool is_small = false;

	if (ctx_check(ctx, err) < 0 || make_fs(ctx, state, what, err) < 0 ||
	    ready_fs(ctx, state, fs, &is_small, err) < 0)
		return -1;
	if (host_mount_device(ctx, state->device.path, path, &opts, err) < 0)
		return err->code == ERR_DATA_LOSS ? refuse_damaged(state, fs, err) : -1;
	*ret_mounted = true;
	if (check_condition(state, fs, err) < 0 ||
	    (is_small && node_device_grow(ctx, state, path, fs, err) < 0))
		return -1;
	return settle(ctx, state, path, err);
}

/* A filesystem that went read-only can be read from, and no more; it does not say so to a workload
 * that is told that it may write. */
static int check_staged(const struct node_state *state, const char *path, const char *volume_id,
			bool read_only, struct err *err)
{
	struct host_condition is;

	if (host_condition_of_mount(path, &is, err) < 0)
		return -1;
	if (!is.is_shut_down && (!is.is_read_only || read_only))
		return 0;
	return err_set(
		err, ERR_FAILED_PRECONDITION,
		"the filesystem of volume '%s' (on '%s') %s after an error, the kernel's log says "
		"which; take the volume down on this node, then run 'cleat ctl volume check "
		"--pool=DIR %s' there, DIR being that of pool '%s'",
		volume_id, state->device.path, is.is_shut_down ? "was shut down" : "went read-only",
		volume_id, state->ref.pool->pool_name);
}

static int condition(const struct node_state *state, const char *path, struct host_condition *ret,
		     struct err *err)
{
	(void)state;
	return host_condition_of_mount(path, ret, err);
}

/* ---- down, by the kernel alone ---- */

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

struct look_for_brother {
	struct node_state *state;
	struct node_blind *blind;
};

/* A second device over the same file is the reader, or what the reader is beside. */
static int see_brother(void *arg, const struct host_loop_seen *seen)
{
	const struct look_for_brother *look = arg;
	struct node_state *state = look->state;

	if (seen->devno == look->blind->seen.devno ||
	    !str_is_equal(seen->file, look->blind->seen.file))
		return 0;
	look->blind->brother = *seen;
	state->has_reader = true;
	state->reader = (struct backend_device){ .devno = seen->devno };
	memcpy(state->reader.path, seen->path, sizeof(seen->path));
	return 1;
}

static int find_blind(struct csi_driver *d, struct ctx *ctx, const char *path,
		      struct node_state *state, struct node_blind *blind, struct err *err)
{
	struct look_for look = { .d = d, .ctx = ctx, .ref = &state->ref };
	struct look_for_brother brother = { state, blind };
	struct host_mount_at at;

	if (host_mount_look(path, &at, err) < 0)
		return -1;
	if (at.is_mount_root)
		look.at = at.is_block_device ? at.rdev : at.device;
	if (host_loop_each_named(state->ref.token, see_device, &look, err) < 0)
		return -1;
	if (!look.is_found)
		return 0;
	blind->seen = look.found;
	state->is_attached = true;
	state->device = (struct backend_device){ .devno = look.found.devno };
	memcpy(state->device.path, look.found.path, sizeof(look.found.path));
	return host_loop_each_named(state->ref.token, see_brother, &brother, err) < 0 ? -1 : 1;
}

static int detach_blind(const struct node_state *state, const struct node_blind *blind,
			struct err *err)
{
	if (state->has_reader && host_loop_let_go(&blind->brother, state->ref.token, err) < 0)
		return -1;
	return host_loop_let_go(&blind->seen, state->ref.token, err);
}

const struct node_way node_way_device = {
	.load = load,
	.look = look,
	.look_down = look,
	.each_mount = each_mount,
	.attach = attach,
	.mount = mount_device,
	.settle = settle,
	.detach = detach,
	.check_staged = check_staged,
	.grow = node_device_grow,
	.condition = condition,
	.find_blind = find_blind,
	.detach_blind = detach_blind,
};
