/* SPDX-License-Identifier: Apache-2.0 */
/* Identity from the wire to the service and back. */
#include "base/mem.h"
#include "csi/codec.h"

static int serve_get_plugin_info(struct codec_call *call, ProtobufCMessage **ret_reply,
				 struct err *err)
{
	struct arena *a = call->ctx->arena;
	Csi__V1__GetPluginInfoResponse *pb;
	struct csi_plugin_info info;

	if (csi_get_plugin_info(call->service, call->ctx, &info, err) < 0)
		return -1;
	pb = wire_new(a, &csi__v1__get_plugin_info_response__descriptor);
	pb->name = codec_lend(info.name);
	pb->vendor_version = codec_lend(info.vendor_version);
	pb->manifest =
		codec_put_map(a, &csi__v1__get_plugin_info_response__manifest_entry__descriptor,
			      &info.manifest, &pb->n_manifest);
	*ret_reply = &pb->base;
	return 0;
}

static Csi__V1__PluginCapability *
put_service_capability(struct arena *a, Csi__V1__PluginCapability__Service__Type type)
{
	Csi__V1__PluginCapability *pb = wire_new(a, &csi__v1__plugin_capability__descriptor);

	pb->type_case = CSI__V1__PLUGIN_CAPABILITY__TYPE_SERVICE;
	pb->service = wire_new(a, &csi__v1__plugin_capability__service__descriptor);
	pb->service->type = type;
	return pb;
}

static Csi__V1__PluginCapability *
put_expansion_capability(struct arena *a, Csi__V1__PluginCapability__VolumeExpansion__Type type)
{
	Csi__V1__PluginCapability *pb = wire_new(a, &csi__v1__plugin_capability__descriptor);

	pb->type_case = CSI__V1__PLUGIN_CAPABILITY__TYPE_VOLUME_EXPANSION;
	pb->volume_expansion =
		wire_new(a, &csi__v1__plugin_capability__volume_expansion__descriptor);
	pb->volume_expansion->type = type;
	return pb;
}

static int serve_get_plugin_capabilities(struct codec_call *call, ProtobufCMessage **ret_reply,
					 struct err *err)
{
	struct arena *a = call->ctx->arena;
	Csi__V1__GetPluginCapabilitiesResponse *pb;
	struct csi_plugin_capabilities caps;
	Csi__V1__PluginCapability **v;
	size_t n = 0;

	if (csi_get_plugin_capabilities(call->service, call->ctx, &caps, err) < 0)
		return -1;
	v = arena_array(a, 6, sizeof(*v));
#define SERVICE(x) put_service_capability(a, CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__##x)
#define EXPANSION(x) \
	put_expansion_capability(a, CSI__V1__PLUGIN_CAPABILITY__VOLUME_EXPANSION__TYPE__##x)
	if (caps.controller_service)
		v[n++] = SERVICE(CONTROLLER_SERVICE);
	if (caps.accessibility_constraints)
		v[n++] = SERVICE(VOLUME_ACCESSIBILITY_CONSTRAINTS);
	if (caps.group_controller_service)
		v[n++] = SERVICE(GROUP_CONTROLLER_SERVICE);
	if (caps.snapshot_metadata_service)
		v[n++] = SERVICE(SNAPSHOT_METADATA_SERVICE);
	if (caps.expand_online)
		v[n++] = EXPANSION(ONLINE);
	if (caps.expand_offline)
		v[n++] = EXPANSION(OFFLINE);
#undef SERVICE
#undef EXPANSION
	pb = wire_new(a, &csi__v1__get_plugin_capabilities_response__descriptor);
	pb->capabilities = v;
	pb->n_capabilities = n;
	*ret_reply = &pb->base;
	return 0;
}

static int serve_probe(struct codec_call *call, ProtobufCMessage **ret_reply, struct err *err)
{
	struct arena *a = call->ctx->arena;
	Csi__V1__ProbeResponse *pb;
	bool is_ready;

	if (csi_probe(call->service, call->ctx, &is_ready, err) < 0)
		return -1;
	pb = wire_new(a, &csi__v1__probe_response__descriptor);
	pb->ready = wire_new(a, &google__protobuf__bool_value__descriptor);
	pb->ready->value = is_ready;
	*ret_reply = &pb->base;
	return 0;
}

/* clang-format off */
const struct codec_method codec_identity_methods[] = {
	{ "/csi.v1.Identity/GetPluginInfo", CODEC_ASKS, false,
	  &csi__v1__get_plugin_info_request__descriptor, serve_get_plugin_info },
	{ "/csi.v1.Identity/GetPluginCapabilities", CODEC_ASKS, false,
	  &csi__v1__get_plugin_capabilities_request__descriptor, serve_get_plugin_capabilities },
	{ "/csi.v1.Identity/Probe", CODEC_ASKS, false,
	  &csi__v1__probe_request__descriptor, serve_probe },
};
/* clang-format on */
const size_t codec_n_identity_methods = ARRAY_LEN(codec_identity_methods);
