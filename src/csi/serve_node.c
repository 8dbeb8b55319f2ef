/* SPDX-License-Identifier: Apache-2.0 */
/* Node from the wire to the service and back. */
#include "base/mem.h"
#include "csi/codec.h"

static int serve_stage(struct codec_call *call, ProtobufCMessage **ret_reply, struct err *err)
{
	const Csi__V1__NodeStageVolumeRequest *in =
		(const Csi__V1__NodeStageVolumeRequest *)call->request;
	struct arena *a = call->ctx->arena;
	struct csi_stage req = {
		.volume_id = in->volume_id,
		.staging_target_path = in->staging_target_path,
		.publish_context = codec_get_map(a, in->n_publish_context, in->publish_context),
		.volume_context = codec_get_map(a, in->n_volume_context, in->volume_context),
		.secrets = { codec_get_map(a, in->n_secrets, in->secrets) },
	};

	call->volume = in->volume_id;
	if (codec_get_capability(in->volume_capability, &req.capability, err) < 0 ||
	    csi_node_stage_volume(call->service, call->ctx, &req, err) < 0)
		return -1;
	*ret_reply = wire_new(a, &csi__v1__node_stage_volume_response__descriptor);
	return 0;
}

static int serve_unstage(struct codec_call *call, ProtobufCMessage **ret_reply, struct err *err)
{
	const Csi__V1__NodeUnstageVolumeRequest *in =
		(const Csi__V1__NodeUnstageVolumeRequest *)call->request;

	call->volume = in->volume_id;
	if (csi_node_unstage_volume(call->service, call->ctx, in->volume_id,
				    in->staging_target_path, err) < 0)
		return -1;
	*ret_reply = wire_new(call->ctx->arena, &csi__v1__node_unstage_volume_response__descriptor);
	return 0;
}

static int serve_publish(struct codec_call *call, ProtobufCMessage **ret_reply, struct err *err)
{
	const Csi__V1__NodePublishVolumeRequest *in =
		(const Csi__V1__NodePublishVolumeRequest *)call->request;
	struct arena *a = call->ctx->arena;
	struct csi_publish req = {
		.volume_id = in->volume_id,
		.staging_target_path = in->staging_target_path,
		.target_path = in->target_path,
		.readonly = in->readonly,
		.publish_context = codec_get_map(a, in->n_publish_context, in->publish_context),
		.volume_context = codec_get_map(a, in->n_volume_context, in->volume_context),
		.secrets = { codec_get_map(a, in->n_secrets, in->secrets) },
	};

	call->volume = in->volume_id;
	if (codec_get_capability(in->volume_capability, &req.capability, err) < 0 ||
	    csi_node_publish_volume(call->service, call->ctx, &req, err) < 0)
		return -1;
	*ret_reply = wire_new(a, &csi__v1__node_publish_volume_response__descriptor);
	return 0;
}

static int serve_unpublish(struct codec_call *call, ProtobufCMessage **ret_reply, struct err *err)
{
	const Csi__V1__NodeUnpublishVolumeRequest *in =
		(const Csi__V1__NodeUnpublishVolumeRequest *)call->request;

	call->volume = in->volume_id;
	if (csi_node_unpublish_volume(call->service, call->ctx, in->volume_id, in->target_path,
				      err) < 0)
		return -1;
	*ret_reply =
		wire_new(call->ctx->arena, &csi__v1__node_unpublish_volume_response__descriptor);
	return 0;
}

static Csi__V1__VolumeUsage *put_usage(struct arena *a, const struct csi_usage *usage)
{
	Csi__V1__VolumeUsage *pb = wire_new(a, &csi__v1__volume_usage__descriptor);

	pb->unit = usage->is_inodes ? CSI__V1__VOLUME_USAGE__UNIT__INODES
				    : CSI__V1__VOLUME_USAGE__UNIT__BYTES;
	pb->total = codec_put_bytes(usage->total);
	if (usage->has_used) {
		pb->used = codec_put_bytes(usage->used);
		pb->available = codec_put_bytes(usage->available);
	}
	return pb;
}

static int serve_stats(struct codec_call *call, ProtobufCMessage **ret_reply, struct err *err)
{
	const Csi__V1__NodeGetVolumeStatsRequest *in =
		(const Csi__V1__NodeGetVolumeStatsRequest *)call->request;
	struct arena *a = call->ctx->arena;
	Csi__V1__NodeGetVolumeStatsResponse *pb;
	struct csi_stats stats;

	call->volume = in->volume_id;
	if (csi_node_get_volume_stats(call->service, call->ctx, in->volume_id, in->volume_path,
				      in->staging_target_path, &stats, err) < 0)
		return -1;
	pb = wire_new(a, &csi__v1__node_get_volume_stats_response__descriptor);
	pb->usage = arena_array(a, stats.n, sizeof(*pb->usage));
	for (size_t i = 0; i < stats.n; i++)
		pb->usage[i] = put_usage(a, &stats.v[i]);
	pb->n_usage = stats.n;
	*ret_reply = &pb->base;
	return 0;
}

static int serve_get_capabilities(struct codec_call *call, ProtobufCMessage **ret_reply,
				  struct err *err)
{
	struct arena *a = call->ctx->arena;
	Csi__V1__NodeGetCapabilitiesResponse *pb;
	Csi__V1__NodeServiceCapability **v;
	uint64_t caps;
	size_t n = 0;

	if (csi_node_get_capabilities(call->service, call->ctx, &caps, err) < 0)
		return -1;
	v = arena_array(a, 64, sizeof(*v));
	for (unsigned bit = 1; bit < 64; bit++) {
		if (!(caps & CSI_CAP_BIT(bit)))
			continue;
		v[n] = wire_new(a, &csi__v1__node_service_capability__descriptor);
		v[n]->type_case = CSI__V1__NODE_SERVICE_CAPABILITY__TYPE_RPC;
		v[n]->rpc = wire_new(a, &csi__v1__node_service_capability__rpc__descriptor);
		v[n]->rpc->type = (Csi__V1__NodeServiceCapability__RPC__Type)bit;
		n++;
	}
	pb = wire_new(a, &csi__v1__node_get_capabilities_response__descriptor);
	pb->capabilities = v;
	pb->n_capabilities = n;
	*ret_reply = &pb->base;
	return 0;
}

static int serve_get_info(struct codec_call *call, ProtobufCMessage **ret_reply, struct err *err)
{
	struct arena *a = call->ctx->arena;
	Csi__V1__NodeGetInfoResponse *pb;
	struct csi_node_info info;

	if (csi_node_get_info(call->service, call->ctx, &info, err) < 0)
		return -1;
	pb = wire_new(a, &csi__v1__node_get_info_response__descriptor);
	pb->node_id = codec_lend(info.node_id);
	pb->max_volumes_per_node = codec_put_bytes(info.max_volumes_per_node);
	if (info.has_topology)
		pb->accessible_topology = codec_put_topology(a, &info.accessible_topology);
	*ret_reply = &pb->base;
	return 0;
}

/* clang-format off */
const struct codec_method codec_node_methods[] = {
	{ "/csi.v1.Node/NodeStageVolume", CODEC_CHANGES, true,
	  &csi__v1__node_stage_volume_request__descriptor, serve_stage },
	{ "/csi.v1.Node/NodeUnstageVolume", CODEC_CHANGES, true,
	  &csi__v1__node_unstage_volume_request__descriptor, serve_unstage },
	{ "/csi.v1.Node/NodePublishVolume", CODEC_CHANGES, true,
	  &csi__v1__node_publish_volume_request__descriptor, serve_publish },
	{ "/csi.v1.Node/NodeUnpublishVolume", CODEC_CHANGES, true,
	  &csi__v1__node_unpublish_volume_request__descriptor, serve_unpublish },
	{ "/csi.v1.Node/NodeGetVolumeStats", CODEC_READS, true,
	  &csi__v1__node_get_volume_stats_request__descriptor, serve_stats },
	{ "/csi.v1.Node/NodeGetCapabilities", CODEC_ASKS, true,
	  &csi__v1__node_get_capabilities_request__descriptor, serve_get_capabilities },
	{ "/csi.v1.Node/NodeGetInfo", CODEC_ASKS, true,
	  &csi__v1__node_get_info_request__descriptor, serve_get_info },
};
/* clang-format on */
const size_t codec_n_node_methods = ARRAY_LEN(codec_node_methods);
