/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service over a gRPC channel: plain request → generated type → bytes, and back. What the other
 * side answers is checked like any input: malformed bytes, negative sizes or a missing volume id
 * are its fault, so INTERNAL.
 *
 * Fields that an older driver (CSI 1.12 and before) sends and 1.13 does not know are skipped by
 * csi/wire; enum values that this version does not know are left out of the capability bits.
 */
#include "csi/client.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "csi/client-internal.h"
#include "event/sync.h"
#include "grpc/client.h"

/* A driver that never said its name has no series: one under a made-up name would stay for ever. */
static void observe(struct csi_client *c, const char *path, int64_t begin_ns, enum err_code code)
{
	char name[DRIVER_NAME_MAX];

	{
		LOCK_SCOPE(&c->lock);
		memcpy(name, c->driver_name, sizeof(name));
	}
	if (*name)
		metric_observe(METRIC_SIDECAR_OPERATIONS,
			       (double)(clock_now_ns() - begin_ns) / (double)NS_PER_S,
			       METRIC_ARGS(name, path, err_code_camel(code)));
}

static int call_unobserved(struct csi_client *c, struct ctx *ctx, const char *path,
			   const void *request, const ProtobufCMessageDescriptor *reply_type,
			   void *ret_reply, struct err *err)
{
	struct wire_bytes out = wire_pack(ctx->arena, request);
	struct wire_bytes in = { 0 };
	ProtobufCMessage *reply = NULL;

	if (grpc_channel_call(c->channel, ctx, path, out.data, out.n, &in.data, &in.n, err) < 0)
		return -1;
	if (wire_unpack(ctx->arena, reply_type, &in, WIRE_FIELDS_REPLY, &reply, err) < 0)
		return client_refuse_reply(path, err);
	memcpy(ret_reply, &reply, sizeof(reply));
	return 0;
}

int client_call(struct csi_client *c, struct ctx *ctx, const char *path, const void *request,
		const ProtobufCMessageDescriptor *reply_type, void *ret_reply, struct err *err)
{
	int64_t begin_ns = clock_now_ns();
	int r = call_unobserved(c, ctx, path, request, reply_type, ret_reply, err);

	observe(c, path, begin_ns, r < 0 ? err->code : ERR_OK);
	return r;
}

int client_refuse_reply(const char *path, struct err *err)
{
	err->code = ERR_INTERNAL;
	return err_wrap(err, "reply of %s", path);
}

static int get_plugin_info(void *impl, struct ctx *ctx, struct csi_plugin_info *ret,
			   struct err *err)
{
	const char *path = "/csi.v1.Identity/GetPluginInfo";
	struct csi_client *c = impl;
	struct arena *a = ctx->arena;
	int64_t begin_ns = clock_now_ns();
	Csi__V1__GetPluginInfoResponse *out;

	if (call_unobserved(c, ctx, path,
			    wire_new(a, &csi__v1__get_plugin_info_request__descriptor),
			    &csi__v1__get_plugin_info_response__descriptor, &out, err) < 0) {
		observe(c, path, begin_ns, err->code);
		return -1;
	}
	*ret = (struct csi_plugin_info){
		.name = out->name,
		.vendor_version = out->vendor_version,
		.manifest = codec_get_map(a, out->n_manifest, out->manifest),
	};
	if (*out->name && strlen(out->name) < DRIVER_NAME_MAX) {
		LOCK_SCOPE(&c->lock);
		memcpy(c->driver_name, out->name, strlen(out->name) + 1);
	}
	observe(c, path, begin_ns, ERR_OK);
	return 0;
}

static void get_plugin_capability(const Csi__V1__PluginCapability *pb,
				  struct csi_plugin_capabilities *caps)
{
	if (pb->type_case == CSI__V1__PLUGIN_CAPABILITY__TYPE_SERVICE) {
		int type = (int)pb->service->type;

		caps->controller_service |=
			type == CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__CONTROLLER_SERVICE;
		caps->accessibility_constraints |=
			type ==
			CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__VOLUME_ACCESSIBILITY_CONSTRAINTS;
		caps->group_controller_service |=
			type == CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__GROUP_CONTROLLER_SERVICE;
		caps->snapshot_metadata_service |=
			type ==
			CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__SNAPSHOT_METADATA_SERVICE;
	} else if (pb->type_case == CSI__V1__PLUGIN_CAPABILITY__TYPE_VOLUME_EXPANSION) {
		int type = (int)pb->volume_expansion->type;

		caps->expand_online |=
			type == CSI__V1__PLUGIN_CAPABILITY__VOLUME_EXPANSION__TYPE__ONLINE;
		caps->expand_offline |=
			type == CSI__V1__PLUGIN_CAPABILITY__VOLUME_EXPANSION__TYPE__OFFLINE;
	}
}

static int get_plugin_capabilities(void *impl, struct ctx *ctx, struct csi_plugin_capabilities *ret,
				   struct err *err)
{
	Csi__V1__GetPluginCapabilitiesResponse *out;

	if (client_call(impl, ctx, "/csi.v1.Identity/GetPluginCapabilities",
			wire_new(ctx->arena, &csi__v1__get_plugin_capabilities_request__descriptor),
			&csi__v1__get_plugin_capabilities_response__descriptor, &out, err) < 0)
		return -1;
	*ret = (struct csi_plugin_capabilities){ 0 };
	for (size_t i = 0; i < out->n_capabilities; i++)
		get_plugin_capability(out->capabilities[i], ret);
	return 0;
}

static int probe(void *impl, struct ctx *ctx, bool *ret_ready, struct err *err)
{
	Csi__V1__ProbeResponse *out;

	if (client_call(impl, ctx, "/csi.v1.Identity/Probe",
			wire_new(ctx->arena, &csi__v1__probe_request__descriptor),
			&csi__v1__probe_response__descriptor, &out, err) < 0)
		return -1;
	*ret_ready = !out->ready || out->ready->value;
	return 0;
}

static uint64_t link_changes(void *impl)
{
	const struct csi_client *c = impl;

	return grpc_channel_changes(c->channel);
}

/* clang-format off */
static const struct csi_service_ops client_ops = {
	.link_changes                 = link_changes,
	.get_plugin_info              = get_plugin_info,
	.get_plugin_capabilities      = get_plugin_capabilities,
	.probe                        = probe,
	.controller_get_capabilities  = client_controller_get_capabilities,
	.create_volume                = client_create_volume,
	.delete_volume                = client_delete_volume,
	.validate_volume_capabilities = client_validate_volume_capabilities,
	.list_volumes                 = client_list_volumes,
	.get_capacity                 = client_get_capacity,
	.controller_get_volume        = client_controller_get_volume,
	.node_get_capabilities        = client_node_get_capabilities,
	.node_get_info                = client_node_get_info,
	.node_stage_volume            = client_node_stage_volume,
	.node_unstage_volume          = client_node_unstage_volume,
	.node_publish_volume          = client_node_publish_volume,
	.node_unpublish_volume        = client_node_unpublish_volume,
	.node_get_volume_stats        = client_node_get_volume_stats,
};
/* clang-format on */

struct csi_client *csi_client_new(struct grpc_channel *channel)
{
	struct csi_client *c = xcalloc(1, sizeof(*c));

	c->channel = channel;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

void csi_client_free(struct csi_client *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct csi_service csi_client_service(struct csi_client *c)
{
	return (struct csi_service){ &client_ops, c };
}
