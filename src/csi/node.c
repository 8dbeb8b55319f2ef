/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Node calls that only look. VOLUME_MOUNT_GROUP is not offered: neither ext4 nor xfs has a mount
 * option for a group, and kubelet then changes the group itself (fsGroupPolicy).
 *
 * NodeGetVolumeStats takes any path that lies on the volume by device identity, so it works for the
 * staging path, for a target, and for the bind mount of a raw device that kubelet makes for itself.
 */
#include <inttypes.h>

#include "base/path.h"
#include "base/str.h"
#include "csi/driver-internal.h"
#include "csi/validate.h"
#include "host/usage.h"
#include "volume/topology.h"

int node_get_capabilities(void *impl, struct ctx *ctx, uint64_t *ret_caps, struct err *err)
{
	*ret_caps = CSI_CAP_BIT(CSI_NODE_STAGE_UNSTAGE_VOLUME) |
		    CSI_CAP_BIT(CSI_NODE_GET_VOLUME_STATS) |
		    CSI_CAP_BIT(CSI_NODE_SINGLE_NODE_MULTI_WRITER);
	return 0;
}

int node_get_info(void *impl, struct ctx *ctx, struct csi_node_info *ret, struct err *err)
{
	struct csi_driver *d = impl;
	const struct registry_pools pools = registry_pools(d->pools, ctx->arena);
	struct strpair *pairs = arena_array(ctx->arena, pools.n, sizeof(*pairs));
	size_t n = 0;

	for (size_t i = 0; i < pools.n; i++) {
		struct backend_info info;
		struct err why;

		/* a pool that does not answer is not where new volumes can be made */
		if (backend_info(pools.v[i], ctx, &info, &why) < 0)
			continue;
		pairs[n++] = driver_pool_topology(d, ctx->arena, pools.v[i]).segments.v[0];
	}
	*ret = (struct csi_node_info){ .node_id = d->node_id,
				       .max_volumes_per_node = d->max_volumes,
				       .accessible_topology = { strmap_from(ctx->arena, pairs, n) },
				       .has_topology = n > 0 };
	return 0;
}

static int refuse_path(const char *volume_id, const char *path, struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, "volume '%s' is not at volume_path '%.200s'", volume_id,
		       path);
}

static int stat_filesystem(const char *path, struct csi_stats *ret, struct err *err)
{
	struct host_usage usage;

	if (host_usage_look(path, &usage, err) < 0)
		return -1;
	*ret = (struct csi_stats){ .n = 2 };
	ret->v[0] = (struct csi_usage){ .has_used = true,
					.total = usage.total_bytes,
					.used = usage.used_bytes,
					.available = usage.available_bytes };
	ret->v[1] = (struct csi_usage){ .is_inodes = true,
					.has_used = true,
					.total = usage.total_inodes,
					.used = usage.used_inodes,
					.available = usage.available_inodes };
	return 0;
}

int node_get_volume_stats(void *impl, struct ctx *ctx, const char *volume_id,
			  const char *volume_path, const char *staging_target_path,
			  struct csi_stats *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct host_mount_at at;
	struct node_state state;
	struct backend_volume vol;
	struct csi_ref ref;

	if (validate_stats(volume_id, volume_path, staging_target_path, err) < 0 ||
	    driver_find_volume(d, ctx, volume_id, &ref, &vol, err) < 0)
		return -1;
	if (!path_is_clean(volume_path))
		return refuse_path(volume_id, volume_path, err);
	if (driver_resolve_path(d, ctx, "volume_path", volume_path, &volume_path, err) < 0 ||
	    node_state_load(d, ctx, &ref, &state, err) < 0 || ctx_check(ctx, err) < 0 ||
	    host_mount_look(volume_path, &at, err) < 0)
		return -1;
	if (!state.is_attached || !at.exists)
		return refuse_path(volume_id, volume_path, err);
	if (at.is_block_device && node_is_device_of(&state, at.rdev)) {
		*ret = (struct csi_stats){ .v = { { .total = vol.bytes } }, .n = 1 };
		return 0;
	}
	if (at.is_block_device || at.is_symlink || at.device != state.device.devno)
		return refuse_path(volume_id, volume_path, err);
	return stat_filesystem(volume_path, ret, err);
}
