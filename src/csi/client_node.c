/* SPDX-License-Identifier: Apache-2.0 */
/* Node calls to the other side of a channel. */
#include "csi/client-internal.h"

int client_node_get_capabilities(void *impl, struct ctx *ctx, uint64_t *ret_caps, struct err *err)
{
	Csi__V1__NodeGetCapabilitiesResponse *out;
	uint64_t caps = 0;

	if (client_call(impl, ctx, "/csi.v1.Node/NodeGetCapabilities",
			wire_new(ctx->arena, &csi__v1__node_get_capabilities_request__descriptor),
			&csi__v1__node_get_capabilities_response__descriptor, &out, err) < 0)
		return -1;
	for (size_t i = 0; i < out->n_capabilities; i++) {
		const Csi__V1__NodeServiceCapability *cap = out->capabilities[i];

		if (cap->type_case == CSI__V1__NODE_SERVICE_CAPABILITY__TYPE_RPC &&
		    (unsigned)cap->rpc->type > 0 && (unsigned)cap->rpc->type < 64)
			caps |= CSI_CAP_BIT(cap->rpc->type);
	}
	*ret_caps = caps;
	return 0;
}

int client_node_get_info(void *impl, struct ctx *ctx, struct csi_node_info *ret, struct err *err)
{
	static const char path[] = "/csi.v1.Node/NodeGetInfo";
	struct arena *a = ctx->arena;
	Csi__V1__NodeGetInfoResponse *out;
	struct csi_node_info info = { 0 };

	if (client_call(impl, ctx, path, wire_new(a, &csi__v1__node_get_info_request__descriptor),
			&csi__v1__node_get_info_response__descriptor, &out, err) < 0)
		return -1;
	if (codec_get_bytes("max_volumes_per_node", out->max_volumes_per_node,
			    &info.max_volumes_per_node, err) < 0)
		return client_refuse_reply(path, err);
	info.node_id = out->node_id;
	if (out->accessible_topology) {
		info.has_topology = true;
		info.accessible_topology = codec_get_topology(a, out->accessible_topology);
	}
	*ret = info;
	return 0;
}

int client_node_stage_volume(void *impl, struct ctx *ctx, const struct csi_stage *req,
			     struct err *err)
{
	struct arena *a = ctx->arena;
	Csi__V1__NodeStageVolumeRequest *in =
		wire_new(a, &csi__v1__node_stage_volume_request__descriptor);
	Csi__V1__NodeStageVolumeResponse *out;

	in->volume_id = codec_lend(req->volume_id);
	in->staging_target_path = codec_lend(req->staging_target_path);
	in->volume_capability = codec_put_capability(a, &req->capability);
	in->publish_context = codec_put_map(
		a, &csi__v1__node_stage_volume_request__publish_context_entry__descriptor,
		&req->publish_context, &in->n_publish_context);
	in->volume_context = codec_put_map(
		a, &csi__v1__node_stage_volume_request__volume_context_entry__descriptor,
		&req->volume_context, &in->n_volume_context);
	in->secrets =
		codec_put_map(a, &csi__v1__node_stage_volume_request__secrets_entry__descriptor,
			      &req->secrets.map, &in->n_secrets);
	return client_call(impl, ctx, "/csi.v1.Node/NodeStageVolume", in,
			   &csi__v1__node_stage_volume_response__descriptor, &out, err);
}

int client_node_unstage_volume(void *impl, struct ctx *ctx, const char *volume_id,
			       const char *staging_target_path, struct err *err)
{
	Csi__V1__NodeUnstageVolumeRequest *in =
		wire_new(ctx->arena, &csi__v1__node_unstage_volume_request__descriptor);
	Csi__V1__NodeUnstageVolumeResponse *out;

	in->volume_id = codec_lend(volume_id);
	in->staging_target_path = codec_lend(staging_target_path);
	return client_call(impl, ctx, "/csi.v1.Node/NodeUnstageVolume", in,
			   &csi__v1__node_unstage_volume_response__descriptor, &out, err);
}

int client_node_publish_volume(void *impl, struct ctx *ctx, const struct csi_publish *req,
			       struct err *err)
{
	struct arena *a = ctx->arena;
	Csi__V1__NodePublishVolumeRequest *in =
		wire_new(a, &csi__v1__node_publish_volume_request__descriptor);
	Csi__V1__NodePublishVolumeResponse *out;

	in->volume_id = codec_lend(req->volume_id);
	in->staging_target_path = codec_lend(req->staging_target_path);
	in->target_path = codec_lend(req->target_path);
	in->volume_capability = codec_put_capability(a, &req->capability);
	in->readonly = req->readonly;
	in->publish_context = codec_put_map(
		a, &csi__v1__node_publish_volume_request__publish_context_entry__descriptor,
		&req->publish_context, &in->n_publish_context);
	in->volume_context = codec_put_map(
		a, &csi__v1__node_publish_volume_request__volume_context_entry__descriptor,
		&req->volume_context, &in->n_volume_context);
	in->secrets =
		codec_put_map(a, &csi__v1__node_publish_volume_request__secrets_entry__descriptor,
			      &req->secrets.map, &in->n_secrets);
	return client_call(impl, ctx, "/csi.v1.Node/NodePublishVolume", in,
			   &csi__v1__node_publish_volume_response__descriptor, &out, err);
}

int client_node_unpublish_volume(void *impl, struct ctx *ctx, const char *volume_id,
				 const char *target_path, struct err *err)
{
	Csi__V1__NodeUnpublishVolumeRequest *in =
		wire_new(ctx->arena, &csi__v1__node_unpublish_volume_request__descriptor);
	Csi__V1__NodeUnpublishVolumeResponse *out;

	in->volume_id = codec_lend(volume_id);
	in->target_path = codec_lend(target_path);
	return client_call(impl, ctx, "/csi.v1.Node/NodeUnpublishVolume", in,
			   &csi__v1__node_unpublish_volume_response__descriptor, &out, err);
}

static int get_usage(const Csi__V1__VolumeUsage *pb, struct csi_usage *ret_usage, struct err *err)
{
	struct csi_usage usage = { .is_inodes = pb->unit == CSI__V1__VOLUME_USAGE__UNIT__INODES };

	if (codec_get_bytes("usage.total", pb->total, &usage.total, err) < 0 ||
	    codec_get_bytes("usage.used", pb->used, &usage.used, err) < 0 ||
	    codec_get_bytes("usage.available", pb->available, &usage.available, err) < 0)
		return -1;
	usage.has_used = usage.used > 0 || usage.available > 0;
	*ret_usage = usage;
	return 0;
}

int client_node_get_volume_stats(void *impl, struct ctx *ctx, const char *volume_id,
				 const char *volume_path, const char *staging_target_path,
				 struct csi_stats *ret, struct err *err)
{
	static const char path[] = "/csi.v1.Node/NodeGetVolumeStats";
	Csi__V1__NodeGetVolumeStatsRequest *in =
		wire_new(ctx->arena, &csi__v1__node_get_volume_stats_request__descriptor);
	Csi__V1__NodeGetVolumeStatsResponse *out;
	struct csi_stats stats = { 0 };

	in->volume_id = codec_lend(volume_id);
	in->volume_path = codec_lend(volume_path);
	in->staging_target_path = codec_lend(staging_target_path);
	if (client_call(impl, ctx, path, in, &csi__v1__node_get_volume_stats_response__descriptor,
			&out, err) < 0)
		return -1;
	/* Two units exist; what a driver sends beyond them has no place to go. */
	for (size_t i = 0; i < out->n_usage && stats.n < 2; i++) {
		if (get_usage(out->usage[i], &stats.v[stats.n], err) < 0)
			return client_refuse_reply(path, err);
		stats.n++;
	}
	*ret = stats;
	return 0;
}
