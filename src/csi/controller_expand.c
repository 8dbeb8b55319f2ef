/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ControllerExpandVolume: the volume and its device become larger, whether it is in use or not.
 *
 * What has the size that is asked is answered as it is, since the CO says what it wants at least;
 * with the same call a growth that a kill cut short is finished. Only a limit below what the volume
 * has is refused.
 *
 * A raw block volume is done with that: whoever has its device open sees the new size. The
 * filesystem of another grows on the node, by NodeExpandVolume or when it is staged next.
 */
#include "base/str.h"
#include "csi/driver-internal.h"
#include "csi/validate.h"
#include "volume/size.h"

/* CSI 1.13: what the volume cannot do is INVALID_ARGUMENT here; FAILED_PRECONDITION would be read
 * as "in use". */
static int check_capability(const struct csi_ref *ref, const struct backend_volume *vol,
			    const struct csi_controller_expand_volume_request *req, struct err *err)
{
	struct vol_capability cap = req->volume_capability;

	if (!validate_is_capability_said(&cap) ||
	    driver_check_capability(ref->pool, vol, &cap, err) == 0)
		return 0;
	err->code = ERR_INVALID_ARGUMENT;
	return -1;
}

static int check_pool(const struct backend *pool, struct err *err)
{
	if (pool->caps & BACKEND_GROW)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT, "volumes of pool '%s' (%s) cannot grow",
		       pool->pool_name, pool->ops->name);
}

/* Whether a filesystem of ours lies between the device and the workload. */
static bool has_fs(const struct csi_ref *ref, const struct backend_volume *vol,
		   const struct csi_controller_expand_volume_request *req)
{
	if (req->volume_capability.access == VOL_ACCESS_BLOCK)
		return false;
	/* What of other machines has on it is known where it is staged, which need not be here. */
	if (ref->pool->caps & BACKEND_ELSEWHERE)
		return !(ref->pool->caps & BACKEND_MOUNT);
	return (ref->pool->caps & BACKEND_ATTACH) && !str_is_empty(vol->fs);
}

static int expand(struct csi_driver *d, struct ctx *ctx,
		  const struct csi_controller_expand_volume_request *req,
		  struct csi_controller_expand_volume_response *ret, struct err *err)
{
	struct backend_volume vol;
	struct csi_ref ref;
	uint64_t bytes = 0;

	/* storage elsewhere is asked once, by growing it: its size and what it lacks come with that
	 */
	if (driver_find_volume(d, ctx, req->volume_id, NULL, &ref, &vol, err) < 0 ||
	    check_capability(&ref, &vol, req, err) < 0 || check_pool(ref.pool, err) < 0 ||
	    vol_size_choose_grown(&req->capacity_range, vol.bytes, &bytes, err) < 0 ||
	    backend_grow(ref.pool, ctx, ref.token, bytes, &req->secrets, &vol, err) < 0 ||
	    vol_size_choose_grown(&req->capacity_range, vol.bytes, &bytes, err) < 0)
		return -1;
	ret->capacity_bytes = vol.bytes;
	ret->node_expansion_required = has_fs(&ref, &vol, req);
	return 0;
}

int driver_controller_expand_volume(void *impl, struct ctx *ctx,
				    const struct csi_controller_expand_volume_request *req,
				    struct csi_controller_expand_volume_response *ret,
				    struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_ref ref;
	int r;

	if (validate_controller_expand(req, err) < 0 ||
	    driver_resolve(d, req->volume_id, &ref, err) < 0 ||
	    inflight_begin(d->inflight, ref.token, "ControllerExpandVolume", err) < 0)
		return -1;
	r = expand(d, ctx, req, ret, err);
	inflight_end(d->inflight, ref.token);
	return r < 0 ? err_wrap(err, "expand volume '%s'", req->volume_id) : 0;
}
