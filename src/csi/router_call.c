/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways of a router's calls, one row each:
 *
 *   by_id       to the member with the pool of an id of the request. What is no id of ours, or of a
 *               pool that was forgotten, is NOT_FOUND, or done where the call is a removal; so a
 *               driver of ours has it
 *   by_group    the same of several ids, which have to be of one pool (INVALID_ARGUMENT)
 *   by_filter   a list that an id narrows to one pool; else of all
 *   router_…    to a place that is chosen (router_place.c), or to all (router_list.c)
 *   tell_…      answered here, by what members have said
 *
 * Rows without a way are UNIMPLEMENTED. Capabilities are those of any member, so that a call for a
 * member which lacks one is refused by that member, which the error names.
 */
#include "csi/router-internal.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "event/sync.h"

typedef int (*way_fn)(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
		      const void *req, void *ret, struct err *err);

struct way {
	way_fn fn;
	const char *field; /* of the id */
	enum vol_kind kind;
	bool is_removal;
};

static const struct way ways[CSI_N_RPCS];

static const struct way *way_of(const struct csi_rpc *rpc)
{
	return &ways[rpc - csi_rpcs];
}

/* The string in the field of that name, "" if it is not there. */
static const char *string_of(const struct csi_rpc *rpc, const char *name, const void *req)
{
	const struct msg_field *field = message_find(rpc->request, name);

	return message_count(field, req) ? message_string(message_value(field, req, 0)) : "";
}

int router_forward(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
		   const struct uuid *pool, const void *req, void *ret, struct err *err)
{
	struct router_visit v;
	int rc;

	if (router_enter_pool(r, pool, &v, err) < 0)
		return -1;
	rc = rpc->call(&v.member->service, ctx, req, ret, err);
	if (rc < 0)
		(void)router_blame(v.member, err);
	router_leave(r, &v);
	return rc;
}

static int by_id(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx, const void *req,
		 void *ret, struct err *err)
{
	const struct way *way = way_of(rpc);
	struct vol_id id;

	if (vol_id_parse(way->kind, string_of(rpc, way->field, req), &id, err) < 0)
		return way->is_removal && err->code == ERR_NOT_FOUND ? 0 : -1;
	if (way->is_removal && csi_router_has_forgotten(r, &id.pool))
		return 0;
	return router_forward(r, rpc, ctx, &id.pool, req, ret, err);
}

static int stream_by_id(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
			const void *req, struct csi_stream *out, struct err *err)
{
	const struct way *way = way_of(rpc);
	struct router_visit v;
	struct vol_id id;
	int rc;

	if (vol_id_parse(way->kind, string_of(rpc, way->field, req), &id, err) < 0 ||
	    router_enter_pool(r, &id.pool, &v, err) < 0)
		return -1;
	rc = rpc->stream(&v.member->service, ctx, req, out, err);
	if (rc < 0)
		(void)router_blame(v.member, err);
	router_leave(r, &v);
	return rc;
}

static int by_group(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
		    const void *req, void *ret, struct err *err)
{
	const struct csi_create_volume_group_snapshot_request *group = req;
	struct vol_id first, id;

	if (group->n_source_volume_ids == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "source_volume_ids: required");
	if (vol_id_parse(VOL_KIND_VOLUME, group->source_volume_ids[0], &first, err) < 0)
		return -1;
	for (size_t i = 1; i < group->n_source_volume_ids; i++) {
		if (vol_id_parse(VOL_KIND_VOLUME, group->source_volume_ids[i], &id, err) < 0)
			return -1;
		if (memcmp(&id.pool, &first.pool, sizeof(id.pool)) != 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "source_volume_ids: a group lies in one pool; '%s' and '%s' "
				       "are of two",
				       group->source_volume_ids[0], group->source_volume_ids[i]);
	}
	return router_forward(r, rpc, ctx, &first.pool, req, ret, err);
}

/* By snapshot, or by the volume that they are of. Nobody has what is no id of ours. */
static int by_filter(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
		     const void *req, void *ret, struct err *err)
{
	const struct csi_list_snapshots_request *list = req;
	bool is_one = !str_is_empty(list->snapshot_id);
	const char *text = is_one ? list->snapshot_id : list->source_volume_id;
	struct vol_id id;

	if (str_is_empty(text))
		return router_list(r, rpc, ctx, req, ret, err);
	if (vol_id_parse(is_one ? VOL_KIND_SNAPSHOT : VOL_KIND_VOLUME, text, &id, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (csi_router_has_forgotten(r, &id.pool))
		return 0;
	return router_forward(r, rpc, ctx, &id.pool, req, ret, err);
}

/* ---- answered here ---- */

static int tell_info(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
		     const void *req, void *ret, struct err *err)
{
	struct csi_get_plugin_info_response *info = ret;
	struct router_facts facts;

	(void)rpc;
	(void)req;
	if (router_name(r, ctx->arena, &info->name, err) < 0 || router_facts(r, &facts, err) < 0)
		return -1;
	info->vendor_version = arena_strdup(ctx->arena, facts.version);
	return 0;
}

/* It is of use as long as one member is. */
static int tell_probe(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
		      const void *req, void *ret, struct err *err)
{
	struct router_facts facts;

	(void)rpc;
	(void)ctx;
	(void)req;
	(void)ret; /* ready where it does not say otherwise */
	return router_facts(r, &facts, err);
}

static int tell_plugin(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
		       const void *req, void *ret, struct err *err)
{
	struct csi_get_plugin_capabilities_response *reply = ret;
	struct router_facts facts;

	(void)rpc;
	(void)req;
	if (router_facts(r, &facts, err) < 0)
		return -1;
	reply->capabilities = csi_capabilities(ctx->arena, facts.plugin, &reply->n_capabilities);
	return 0;
}

static int tell_controller(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
			   const void *req, void *ret, struct err *err)
{
	struct csi_controller_get_capabilities_response *reply = ret;
	struct router_facts facts;

	(void)rpc;
	(void)req;
	if (router_facts(r, &facts, err) < 0)
		return -1;
	reply->capabilities =
		csi_capabilities(ctx->arena, facts.controller, &reply->n_capabilities);
	return 0;
}

static int tell_group(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
		      const void *req, void *ret, struct err *err)
{
	struct csi_group_controller_get_capabilities_response *reply = ret;
	struct router_facts facts;

	(void)rpc;
	(void)req;
	if (router_facts(r, &facts, err) < 0)
		return -1;
	reply->capabilities = csi_capabilities(ctx->arena, facts.group, &reply->n_capabilities);
	return 0;
}

/* ---- the table ---- */

/* clang-format off */
#define BY(kind_, field_) { .fn = by_id, .kind = VOL_KIND_##kind_, .field = field_ }
#define GONE(kind_, field_) { .fn = by_id, .kind = VOL_KIND_##kind_, .field = field_, .is_removal = true }
static const struct way ways[CSI_N_RPCS] = {
	[CSI_RPC_GetPluginInfo] = { .fn = tell_info },
	[CSI_RPC_GetPluginCapabilities] = { .fn = tell_plugin },
	[CSI_RPC_Probe] = { .fn = tell_probe },

	[CSI_RPC_ControllerGetCapabilities] = { .fn = tell_controller },
	[CSI_RPC_CreateVolume] = { .fn = router_create_volume },
	[CSI_RPC_DeleteVolume] = GONE(VOLUME, "volume_id"),
	[CSI_RPC_ControllerPublishVolume] = BY(VOLUME, "volume_id"),
	[CSI_RPC_ControllerUnpublishVolume] = GONE(VOLUME, "volume_id"),
	[CSI_RPC_ValidateVolumeCapabilities] = BY(VOLUME, "volume_id"),
	[CSI_RPC_ListVolumes] = { .fn = router_list },
	[CSI_RPC_ControllerListVolumeHealth] = { .fn = router_list },
	[CSI_RPC_ControllerGetVolumeHealth] = BY(VOLUME, "volume_id"),
	[CSI_RPC_GetCapacity] = { .fn = router_get_capacity },
	[CSI_RPC_CreateSnapshot] = BY(VOLUME, "source_volume_id"),
	[CSI_RPC_DeleteSnapshot] = GONE(SNAPSHOT, "snapshot_id"),
	[CSI_RPC_ListSnapshots] = { .fn = by_filter },
	[CSI_RPC_GetSnapshot] = BY(SNAPSHOT, "snapshot_id"),
	[CSI_RPC_ControllerExpandVolume] = BY(VOLUME, "volume_id"),
	[CSI_RPC_ControllerGetVolume] = BY(VOLUME, "volume_id"),
	[CSI_RPC_ControllerModifyVolume] = BY(VOLUME, "volume_id"),

	[CSI_RPC_GroupControllerGetCapabilities] = { .fn = tell_group },
	[CSI_RPC_CreateVolumeGroupSnapshot] = { .fn = by_group },
	[CSI_RPC_DeleteVolumeGroupSnapshot] = GONE(GROUP, "group_snapshot_id"),
	[CSI_RPC_GetVolumeGroupSnapshot] = BY(GROUP, "group_snapshot_id"),

	[CSI_RPC_GetMetadataAllocated] = { .kind = VOL_KIND_SNAPSHOT, .field = "snapshot_id" },
	[CSI_RPC_GetMetadataDelta] = { .kind = VOL_KIND_SNAPSHOT, .field = "target_snapshot_id" },
};
/* clang-format on */

#define CSI_RPC(service, Method, name, ...)                                         \
	static int route_##name(void *impl, struct ctx *ctx,                        \
				const struct csi_##name##_request *req,             \
				struct csi_##name##_response *ret, struct err *err) \
	{                                                                           \
		const struct csi_rpc *rpc = &csi_rpcs[CSI_RPC_##Method];            \
		way_fn fn = way_of(rpc)->fn;                                        \
                                                                                    \
		return fn ? fn(impl, rpc, ctx, req, ret, err)                       \
			  : err_set(err, ERR_UNIMPLEMENTED,                         \
				    #Method " is a call to a node, not to all");    \
	}
#define CSI_RPC_STREAM(service, Method, name, ...)                                              \
	static int route_##name(void *impl, struct ctx *ctx,                                    \
				const struct csi_##name##_request *req, struct csi_stream *out, \
				struct err *err)                                                \
	{                                                                                       \
		return stream_by_id(impl, &csi_rpcs[CSI_RPC_##Method], ctx, req, out, err);     \
	}
#include "csi/rpc.def"

static uint64_t link_changes(void *impl)
{
	struct csi_router *r = impl;
	LOCK_SCOPE(&r->lock);

	return r->changes;
}

static const struct csi_service_ops router_ops = {
	.link_changes = link_changes,
#define CSI_RPC(service, Method, name, ...) .name = route_##name,
#define CSI_RPC_STREAM CSI_RPC
#include "csi/rpc.def"
};

struct csi_service csi_router_service(struct csi_router *r)
{
	return (struct csi_service){ &router_ops, r };
}
