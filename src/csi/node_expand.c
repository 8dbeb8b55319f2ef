/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filesystem gets as big as its device: by NodeExpandVolume in use, and at each NodeStage that
 * finds it smaller, since the volume may have grown while it was not staged, or have been made of a
 * smaller snapshot.
 *
 * What may be grown while it is mounted is (XFS; ext4 with CAP_SYS_RESOURCE): that reads no more
 * than the superblock, however many files there are, and has the journal's safety. The ext4 of a
 * process without that capability is grown before it is mounted, by e2fsck and resize2fs, which
 * takes as long as a check of all its inodes. A resize2fs that was killed leaves a filesystem that
 * says that it has errors; it is known by what it has not (host_ext4_is_half_grown), and is not
 * left to a person as real errors are.
 *
 * NodeExpandVolume may come with no more than the path of one of the volume's mounts, which is
 * proven by what is mounted there. It grows by the staging mount, as the mount at the path may be
 * read-only. Before, the device is given its size once more: whoever was killed in
 * ControllerExpandVolume may have left it behind.
 */
#include <stdio.h>

#include <linux/capability.h>
#include <linux/magic.h>

#define LOG_ROOM "csi"
#include "base/log.h"
#include "base/num.h"
#include "base/path.h"
#include "base/str.h"
#include "csi/driver-internal.h"
#include "csi/validate.h"
#include "host/blockdev.h"
#include "host/caps.h"
#include "host/condition.h"
#include "host/grow.h"
#include "volume/size.h"

static bool may_grow_mounted(const char *fs)
{
	const struct host_cap_need need = { CAP_SYS_RESOURCE, "to grow a mounted ext4" };
	struct err ignored;

	return !str_is_equal(fs, "ext4") || host_caps_check(&need, 1, &ignored) == 0;
}

static bool grows_in_place(const char *device)
{
	bool is_in_place = true;
	struct err ignored;

	return host_ext4_grows_in_place(device, &is_in_place, &ignored) < 0 || is_in_place;
}

/* One that cannot grow here is of use as it is. err says why. */
static int accept_small(const char *device, struct err *err)
{
	if (grows_in_place(device))
		return -1;
	log_warn("the filesystem stays smaller than its volume", log_str("device", device),
		 log_err(err));
	return 0;
}

static int grow_ext4_unmounted(struct ctx *ctx, const char *device, bool is_half_grown,
			       struct err *err)
{
	bool has_errors = false;

	if (!is_half_grown && host_condition_of_device(device, "ext4", &has_errors, err) < 0)
		return -1;
	if (has_errors || host_ext4_grow_offline(ctx, device, err) == 0)
		return 0;
	return err->code == ERR_FAILED_PRECONDITION ? accept_small(device, err) : -1;
}

int node_grow_unmounted(struct ctx *ctx, const char *device, const char *fs, bool *ret_is_left,
			struct err *err)
{
	bool is_ext4 = str_is_equal(fs, "ext4");
	bool is_smaller = false;
	bool is_half_grown = false;
	bool is_half_told = false;

	if (host_fs_device_is_smaller(device, fs, &is_smaller, err) < 0 ||
	    (is_ext4 ? host_ext4_is_half_grown(device, &is_half_grown, err)
		     : host_xfs_copies_lag(device, &is_half_told, err)) < 0)
		return -1;
	*ret_is_left = is_half_told || (is_smaller && may_grow_mounted(fs));
	if (is_half_grown || (is_smaller && !*ret_is_left))
		return grow_ext4_unmounted(ctx, device, is_half_grown, err);
	return 0;
}

void node_grow_staged(struct ctx *ctx, const struct node_state *state, const char *path,
		      const char *fs)
{
	struct err err;

	if (state->way->grow && may_grow_mounted(fs) &&
	    state->way->grow(ctx, state, path, fs, &err) < 0)
		log_warn("the filesystem stays smaller than its volume",
			 log_str("volume", state->ref.token), log_err(&err));
}

int node_device_grow(struct ctx *ctx, const struct node_state *state, const char *path,
		     const char *fs, struct err *err)
{
	if (host_fs_grow_mounted(ctx, path, fs, err) == 0)
		return backend_settle_growth(state->ref.pool, ctx, state->ref.token, err);
	if (err->code != ERR_PERMISSION_DENIED)
		return -1;
	err->code = ERR_FAILED_PRECONDITION;
	return err_wrap(err, "volume '%s' has its new size, its filesystem %s", state->ref.token,
			grows_in_place(state->device.path)
				? "gets it when it is staged next"
				: "cannot become so much larger without that capability");
}

static int refuse_path(const struct csi_node_expand_volume_request *req, struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, "volume '%s' is not at volume_path '%.200s'",
		       req->volume_id, req->volume_path);
}

/* CSI 1.13 wants INVALID_ARGUMENT for what the volume cannot do; FAILED_PRECONDITION would be read
 * as "in use". */
static int check_volume(const struct csi_ref *ref, const struct backend_volume *vol,
			const struct csi_node_expand_volume_request *req, struct err *err)
{
	struct vol_capability cap = req->volume_capability;
	char has[NUM_QUANTITY_MAX];

	if (!(ref->pool->caps & BACKEND_GROW))
		return err_set(err, ERR_INVALID_ARGUMENT, "volumes of pool '%s' (%s) cannot grow",
			       ref->pool->pool_name, ref->pool->ops->name);
	if (validate_is_capability_said(&cap) &&
	    driver_check_capability(ref->pool, vol, &cap, err) < 0) {
		err->code = ERR_INVALID_ARGUMENT;
		return -1;
	}
	if ((ref->pool->caps & BACKEND_ELSEWHERE) ||
	    vol_size_is_within(vol->bytes, &req->capacity_range))
		return 0;
	num_format_quantity(vol->bytes, has);
	return err_set(err, ERR_OUT_OF_RANGE,
		       "capacity_range: the volume has %s; ControllerExpandVolume makes it larger, "
		       "nothing makes it smaller",
		       has);
}

static int grow_fs(struct ctx *ctx, const struct node_state *state,
		   const struct backend_volume *vol,
		   const struct csi_node_expand_volume_request *req, struct err *err)
{
	const char *path = NULL;

	if (!state->way->grow)
		return 0;
	if (node_find_mount(state, ctx, NODE_MOUNT_STAGING, NULL, &path, err) < 0)
		return -1;
	path = str_or(path, req->volume_path);
	if (state->way->check_staged(state, path, req->volume_id, false, err) < 0)
		return -1;
	return state->way->grow(ctx, state, path, vol->fs, err);
}

/*
 * The device as large as the volume. What is elsewhere was grown there by the controller, with
 * secrets that a node has no need of; its device got its size when it was looked for, unless word
 * of it has not come to this node yet.
 */
static int grow_device(struct ctx *ctx, const struct node_state *state, struct backend_volume *vol,
		       const struct csi_node_expand_volume_request *req, struct err *err)
{
	const struct csi_ref *ref = &state->ref;
	struct backend_volume grown;
	char has[NUM_QUANTITY_MAX];

	if (!(ref->pool->caps & BACKEND_ELSEWHERE))
		return backend_grow(ref->pool, ctx, ref->token, vol->bytes, &req->secrets, &grown,
				    err);
	if (ref->pool->caps & BACKEND_MOUNT)
		return 0;
	if (!state->is_attached)
		return refuse_path(req, err);
	if (host_block_size(state->device.path, &vol->bytes, err) < 0)
		return -1;
	if (vol->bytes >= (uint64_t)req->capacity_range.required_bytes)
		return 0;
	num_format_quantity(vol->bytes, has);
	return err_set(err, ERR_UNAVAILABLE,
		       "volume '%s': its device '%s' has %s as yet, and gets the rest when its "
		       "image has been grown by ControllerExpandVolume",
		       ref->token, state->device.path, has);
}

/* Of what is elsewhere nobody has kept what filesystem it got. */
static const char *name_fs(unsigned long magic)
{
	return magic == EXT4_SUPER_MAGIC ? "ext4" : magic == XFS_SUPER_MAGIC ? "xfs" : "";
}

static int expand_at(struct csi_driver *d, struct ctx *ctx, const struct csi_ref *ref,
		     struct backend_volume *vol, const struct csi_node_expand_volume_request *req,
		     struct err *err)
{
	enum vol_access access = req->volume_capability.access;
	struct node_state state;
	struct node_at is;

	if (node_state_load(d, ctx, ref, &state, err) < 0 || ctx_check(ctx, err) < 0 ||
	    node_look(&state, req->volume_path, &is, err) < 0)
		return -1;
	if (!is.is_mount || is.at.is_symlink)
		return refuse_path(req, err);
	if (access != VOL_ACCESS_NONE && (access == VOL_ACCESS_BLOCK) != is.at.is_block_device)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability: volume '%s' is at '%.200s' as a %s",
			       req->volume_id, req->volume_path,
			       is.at.is_block_device ? "block device" : "mount");
	if (grow_device(ctx, &state, vol, req, err) < 0)
		return -1;
	if (ref->pool->caps & BACKEND_ELSEWHERE)
		(void)snprintf(vol->fs, sizeof(vol->fs), "%s", name_fs(is.at.fs_magic));
	return is.at.is_block_device ? 0 : grow_fs(ctx, &state, vol, req, err);
}

static int expand(struct csi_driver *d, struct ctx *ctx,
		  const struct csi_node_expand_volume_request *req,
		  struct csi_node_expand_volume_response *ret, struct err *err)
{
	struct csi_node_expand_volume_request real = *req;
	struct backend_volume vol;
	struct csi_ref ref;

	if (driver_find_volume(d, ctx, req->volume_id, NULL, &ref, &vol, err) < 0)
		return -1;
	if (!path_is_clean(req->volume_path))
		return refuse_path(req, err);
	if (check_volume(&ref, &vol, req, err) < 0 ||
	    driver_resolve_path(d, ctx, "volume_path", req->volume_path, &real.volume_path, err) <
		    0 ||
	    node_place_look(&ref, ctx->arena, req->volume_id, &real.volume_path, err) < 0 ||
	    expand_at(d, ctx, &ref, &vol, &real, err) < 0)
		return -1;
	ret->capacity_bytes = vol.bytes;
	return 0;
}

int driver_node_expand_volume(void *impl, struct ctx *ctx,
			      const struct csi_node_expand_volume_request *req,
			      struct csi_node_expand_volume_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_ref ref;
	int r;

	if (validate_node_expand(req, err) < 0 ||
	    driver_resolve(d, req->volume_id, &ref, err) < 0 ||
	    inflight_begin(d->inflight, ref.token, "NodeExpandVolume", err) < 0)
		return -1;
	r = expand(d, ctx, req, ret, err);
	inflight_end(d->inflight, ref.token);
	return r;
}
