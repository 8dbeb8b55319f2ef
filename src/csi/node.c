/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Node calls that only look. VOLUME_MOUNT_GROUP is not offered: neither ext4 nor xfs has a mount
 * option for a group, and kubelet then changes the group itself (fsGroupPolicy).
 *
 * NodeGetVolumeStats takes any path that lies on the volume by device identity, so it works for the
 * staging path, for a target, and for the bind mount of a raw device that kubelet makes for itself.
 * kubelet asks each minute for each pod and volume, also for what hangs: that keeps one worker of a
 * lane of its own (looks.h), and the calls that come after it are refused.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "csi/driver-internal.h"
#include "csi/fields.h"
#include "csi/validate.h"
#include "host/blockdev.h"
#include "host/usage.h"
#include "volume/topology.h"

int driver_node_get_capabilities(void *impl, struct ctx *ctx,
				 const struct csi_node_get_capabilities_request *req,
				 struct csi_node_get_capabilities_response *ret, struct err *err)
{
	static const struct driver_capability table[] = {
		{ CSI_CAP_BIT(CSI_NODE_STAGE_UNSTAGE_VOLUME) |
			  CSI_CAP_BIT(CSI_NODE_GET_VOLUME_STATS) |
			  CSI_CAP_BIT(CSI_NODE_GET_VOLUME_HEALTH) |
			  CSI_CAP_BIT(CSI_NODE_GET_STORAGE_HEALTH) |
			  CSI_CAP_BIT(CSI_NODE_SINGLE_NODE_MULTI_WRITER),
		  0, 0 },
		/* what is no device here has its new size by itself */
		{ CSI_CAP_BIT(CSI_NODE_EXPAND_VOLUME), BACKEND_GROW, BACKEND_MOUNT },
	};

	ret->capabilities = driver_capabilities(impl, ctx->arena, table, ARRAY_LEN(table),
						&ret->n_capabilities);
	return 0;
}

int driver_node_get_info(void *impl, struct ctx *ctx, const struct csi_node_get_info_request *req,
			 struct csi_node_get_info_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	const struct registry_pools pools = registry_pools(d->pools, ctx->arena);
	struct strpair *pairs = arena_array(ctx->arena, pools.n, sizeof(*pairs));
	size_t n = 0;

	for (size_t i = 0; i < pools.n; i++) {
		struct backend_info info;
		struct err why;

		/* a pool that does not answer is not where new volumes can be made */
		if ((pools.v[i]->caps & BACKEND_ELSEWHERE) ||
		    backend_info(pools.v[i], ctx, &info, &why) < 0)
			continue;
		pairs[n++] = driver_pool_topology(d, ctx->arena, pools.v[i]).segments.v[0];
	}
	ret->node_id = d->node_id;
	ret->max_volumes_per_node = d->max_volumes;
	ret->has_accessible_topology = n > 0;
	ret->accessible_topology.segments = strmap_from(ctx->arena, pairs, n);
	return 0;
}

static int refuse_path(const char *volume_id, const char *path, struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, "volume '%s' is not at volume_path '%.200s'", volume_id,
		       path);
}

static void put_usage(struct arena *a, const struct csi_volume_usage *usage, size_t n,
		      struct csi_node_get_volume_stats_response *ret)
{
	ret->usage = arena_memdup(a, usage, n * sizeof(*usage));
	ret->n_usage = n;
}

static int stat_filesystem(struct arena *a, const char *path,
			   struct csi_node_get_volume_stats_response *ret, struct err *err)
{
	struct host_usage usage;

	if (host_usage_look(path, &usage, err) < 0)
		return -1;
	put_usage(a,
		  (const struct csi_volume_usage[]){ { .unit = CSI_VOLUME_USAGE_UNIT_BYTES,
						       .total = usage.total_bytes,
						       .used = usage.used_bytes,
						       .available = usage.available_bytes },
						     { .unit = CSI_VOLUME_USAGE_UNIT_INODES,
						       .total = usage.total_inodes,
						       .used = usage.used_inodes,
						       .available = usage.available_inodes } },
		  2, ret);
	return 0;
}

/* What a call for stats is about; filled step by step. */
struct stats {
	struct csi_driver *d;
	struct ctx *ctx;
	const struct csi_node_get_volume_stats_request *req;
	struct csi_node_get_volume_stats_response *ret;
	struct csi_ref ref;
	struct backend_volume vol;
	struct node_state state;
};

static int look_in_pool(struct stats *s, struct err *err)
{
	if (driver_find_volume(s->d, s->ctx, s->req->volume_id, NULL, &s->ref, &s->vol, err) < 0)
		return -1;
	return node_state_load(s->d, s->ctx, &s->ref, &s->state, err);
}

/* What the device shows, which after growth is not yet what the volume has. */
static int stat_device(struct stats *s, dev_t devno, struct err *err)
{
	const struct node_state *state = &s->state;
	bool is_reader = state->has_reader && devno == state->reader.devno;
	uint64_t bytes;

	if (host_block_size(is_reader ? state->reader.path : state->device.path, &bytes, err) < 0)
		return -1;
	put_usage(s->ctx->arena,
		  &(struct csi_volume_usage){ .unit = CSI_VOLUME_USAGE_UNIT_BYTES, .total = bytes },
		  1, s->ret);
	return 0;
}

static int look_at_path(struct stats *s, struct err *err)
{
	const char *path = s->req->volume_path;
	struct node_at is;

	if (s->state.way->check_answers && s->state.is_attached &&
	    s->state.way->check_answers(s->ctx, path, err) < 0)
		return -1;
	if (driver_resolve_path(s->d, s->ctx, "volume_path", path, &path, err) < 0 ||
	    node_place_look(&s->ref, s->ctx->arena, s->req->volume_id, &path, err) < 0 ||
	    node_look(&s->state, path, &is, err) < 0)
		return -1;
	if (!is.is_on_volume || is.at.is_symlink)
		return refuse_path(s->req->volume_id, path, err);
	if (!is.at.is_block_device)
		return stat_filesystem(s->ctx->arena, path, s->ret, err);
	return stat_device(s, is.at.rdev, err);
}

/* As the two looks of node_health.c. */
static int look_once(struct stats *s, const char *key, int (*look)(struct stats *, struct err *),
		     struct err *err)
{
	int r;

	if (looks_begin(s->d->looks, key, err) < 0)
		return err_wrap(err, "volume '%s'", s->req->volume_id);
	r = look(s, err);
	looks_end(s->d->looks, key);
	return r;
}

int driver_node_get_volume_stats(void *impl, struct ctx *ctx,
				 const struct csi_node_get_volume_stats_request *req,
				 struct csi_node_get_volume_stats_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct stats s = { .d = d, .ctx = ctx, .req = req, .ret = ret };
	char pool[UUID_TEXT_MAX];

	if (fields_check(&csi_node_get_volume_stats_request_type, req, err) < 0 ||
	    driver_find_pool(d, req->volume_id, &s.ref, err) < 0)
		return -1;
	driver_pool_look_key(s.ref.pool, pool);
	if (look_once(&s, pool, look_in_pool, err) < 0)
		return -1;
	if (!path_is_clean(req->volume_path))
		return refuse_path(req->volume_id, req->volume_path, err);
	if (ctx_check(ctx, err) < 0)
		return -1;
	return look_once(&s, s.ref.token, look_at_path, err);
}
