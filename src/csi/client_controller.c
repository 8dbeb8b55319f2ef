/* SPDX-License-Identifier: Apache-2.0 */
/* Controller calls to the other side of a channel. */
#include "csi/client-internal.h"

int client_controller_get_capabilities(void *impl, struct ctx *ctx, uint64_t *ret_caps,
				       struct err *err)
{
	Csi__V1__ControllerGetCapabilitiesResponse *out;
	uint64_t caps = 0;

	if (client_call(
		    impl, ctx, "/csi.v1.Controller/ControllerGetCapabilities",
		    wire_new(ctx->arena, &csi__v1__controller_get_capabilities_request__descriptor),
		    &csi__v1__controller_get_capabilities_response__descriptor, &out, err) < 0)
		return -1;
	for (size_t i = 0; i < out->n_capabilities; i++) {
		const Csi__V1__ControllerServiceCapability *cap = out->capabilities[i];

		if (cap->type_case == CSI__V1__CONTROLLER_SERVICE_CAPABILITY__TYPE_RPC &&
		    (unsigned)cap->rpc->type > 0 && (unsigned)cap->rpc->type < 64)
			caps |= CSI_CAP_BIT(cap->rpc->type);
	}
	*ret_caps = caps;
	return 0;
}

static Csi__V1__TopologyRequirement *put_requirement(struct arena *a,
						     const struct csi_create_volume *req)
{
	Csi__V1__TopologyRequirement *pb;

	if (req->requisite.n == 0 && req->preferred.n == 0)
		return NULL;
	pb = wire_new(a, &csi__v1__topology_requirement__descriptor);
	pb->requisite = codec_put_topologies(a, &req->requisite);
	pb->n_requisite = req->requisite.n;
	pb->preferred = codec_put_topologies(a, &req->preferred);
	pb->n_preferred = req->preferred.n;
	return pb;
}

int client_create_volume(void *impl, struct ctx *ctx, const struct csi_create_volume *req,
			 struct csi_volume *ret, struct err *err)
{
	static const char path[] = "/csi.v1.Controller/CreateVolume";
	struct arena *a = ctx->arena;
	Csi__V1__CreateVolumeRequest *in = wire_new(a, &csi__v1__create_volume_request__descriptor);
	Csi__V1__CreateVolumeResponse *out;

	in->name = codec_lend(req->name);
	in->capacity_range = codec_put_range(a, &req->capacity_range);
	in->volume_capabilities = codec_put_capabilities(a, req->n_capabilities, req->capabilities);
	in->n_volume_capabilities = req->n_capabilities;
	in->parameters =
		codec_put_map(a, &csi__v1__create_volume_request__parameters_entry__descriptor,
			      &req->parameters, &in->n_parameters);
	in->secrets = codec_put_map(a, &csi__v1__create_volume_request__secrets_entry__descriptor,
				    &req->secrets.map, &in->n_secrets);
	in->mutable_parameters = codec_put_map(
		a, &csi__v1__create_volume_request__mutable_parameters_entry__descriptor,
		&req->mutable_parameters, &in->n_mutable_parameters);
	in->volume_content_source = codec_put_source(a, &req->content_source);
	in->accessibility_requirements = put_requirement(a, req);
	if (client_call(impl, ctx, path, in, &csi__v1__create_volume_response__descriptor, &out,
			err) < 0)
		return -1;
	if (codec_get_volume(a, out->volume, ret, err) < 0)
		return client_refuse_reply(path, err);
	return 0;
}

int client_delete_volume(void *impl, struct ctx *ctx, const char *volume_id,
			 const struct secrets *secrets, struct err *err)
{
	struct arena *a = ctx->arena;
	Csi__V1__DeleteVolumeRequest *in = wire_new(a, &csi__v1__delete_volume_request__descriptor);
	Csi__V1__DeleteVolumeResponse *out;

	in->volume_id = codec_lend(volume_id);
	in->secrets = codec_put_map(a, &csi__v1__delete_volume_request__secrets_entry__descriptor,
				    &secrets->map, &in->n_secrets);
	return client_call(impl, ctx, "/csi.v1.Controller/DeleteVolume", in,
			   &csi__v1__delete_volume_response__descriptor, &out, err);
}

int client_validate_volume_capabilities(void *impl, struct ctx *ctx, const struct csi_validate *req,
					struct csi_validated *ret, struct err *err)
{
	struct arena *a = ctx->arena;
	Csi__V1__ValidateVolumeCapabilitiesRequest *in =
		wire_new(a, &csi__v1__validate_volume_capabilities_request__descriptor);
	Csi__V1__ValidateVolumeCapabilitiesResponse *out;

	in->volume_id = codec_lend(req->volume_id);
	in->volume_capabilities = codec_put_capabilities(a, req->n_capabilities, req->capabilities);
	in->n_volume_capabilities = req->n_capabilities;
	in->volume_context = codec_put_map(
		a, &csi__v1__validate_volume_capabilities_request__volume_context_entry__descriptor,
		&req->volume_context, &in->n_volume_context);
	in->parameters = codec_put_map(
		a, &csi__v1__validate_volume_capabilities_request__parameters_entry__descriptor,
		&req->parameters, &in->n_parameters);
	in->mutable_parameters = codec_put_map(
		a,
		&csi__v1__validate_volume_capabilities_request__mutable_parameters_entry__descriptor,
		&req->mutable_parameters, &in->n_mutable_parameters);
	in->secrets = codec_put_map(
		a, &csi__v1__validate_volume_capabilities_request__secrets_entry__descriptor,
		&req->secrets.map, &in->n_secrets);
	if (client_call(impl, ctx, "/csi.v1.Controller/ValidateVolumeCapabilities", in,
			&csi__v1__validate_volume_capabilities_response__descriptor, &out, err) < 0)
		return -1;
	*ret = (struct csi_validated){ .is_confirmed = out->confirmed != NULL,
				       .message = out->message };
	return 0;
}

static const char *const *get_node_ids(char *const *ids)
{
	return (const char *const *)ids;
}

int client_list_volumes(void *impl, struct ctx *ctx, uint32_t max_entries,
			const char *starting_token, struct csi_volume_list *ret, struct err *err)
{
	static const char path[] = "/csi.v1.Controller/ListVolumes";
	struct arena *a = ctx->arena;
	Csi__V1__ListVolumesRequest *in = wire_new(a, &csi__v1__list_volumes_request__descriptor);
	Csi__V1__ListVolumesResponse *out;
	struct csi_volume_list list = { 0 };

	in->max_entries = max_entries > INT32_MAX ? INT32_MAX : (int32_t)max_entries;
	in->starting_token = codec_lend(starting_token);
	if (client_call(impl, ctx, path, in, &csi__v1__list_volumes_response__descriptor, &out,
			err) < 0)
		return -1;
	list.n = out->n_entries;
	list.v = arena_array(a, list.n, sizeof(*list.v));
	list.next_token = out->next_token;
	for (size_t i = 0; i < list.n; i++) {
		const Csi__V1__ListVolumesResponse__Entry *entry = out->entries[i];

		if (codec_get_volume(a, entry->volume, &list.v[i].volume, err) < 0)
			return client_refuse_reply(path, err);
		if (!entry->status)
			continue;
		list.v[i].published_node_ids = get_node_ids(entry->status->published_node_ids);
		list.v[i].n_published_node_ids = entry->status->n_published_node_ids;
	}
	*ret = list;
	return 0;
}

static int get_int64(const char *field, const Google__Protobuf__Int64Value *pb, uint64_t *ret_value,
		     struct err *err)
{
	return pb ? codec_get_bytes(field, pb->value, ret_value, err) : 0;
}

int client_get_capacity(void *impl, struct ctx *ctx, const struct csi_get_capacity *req,
			struct csi_capacity *ret, struct err *err)
{
	static const char path[] = "/csi.v1.Controller/GetCapacity";
	struct arena *a = ctx->arena;
	Csi__V1__GetCapacityRequest *in = wire_new(a, &csi__v1__get_capacity_request__descriptor);
	Csi__V1__GetCapacityResponse *out;
	struct csi_capacity capacity = { 0 };

	in->volume_capabilities = codec_put_capabilities(a, req->n_capabilities, req->capabilities);
	in->n_volume_capabilities = req->n_capabilities;
	in->parameters =
		codec_put_map(a, &csi__v1__get_capacity_request__parameters_entry__descriptor,
			      &req->parameters, &in->n_parameters);
	if (req->has_topology)
		in->accessible_topology = codec_put_topology(a, &req->accessible_topology);
	if (client_call(impl, ctx, path, in, &csi__v1__get_capacity_response__descriptor, &out,
			err) < 0)
		return -1;
	if (codec_get_bytes("available_capacity", out->available_capacity,
			    &capacity.available_bytes, err) < 0 ||
	    get_int64("maximum_volume_size", out->maximum_volume_size,
		      &capacity.maximum_volume_bytes, err) < 0 ||
	    get_int64("minimum_volume_size", out->minimum_volume_size,
		      &capacity.minimum_volume_bytes, err) < 0)
		return client_refuse_reply(path, err);
	*ret = capacity;
	return 0;
}

int client_controller_get_volume(void *impl, struct ctx *ctx, const char *volume_id,
				 struct csi_volume_status *ret, struct err *err)
{
	static const char path[] = "/csi.v1.Controller/ControllerGetVolume";
	struct arena *a = ctx->arena;
	Csi__V1__ControllerGetVolumeRequest *in =
		wire_new(a, &csi__v1__controller_get_volume_request__descriptor);
	Csi__V1__ControllerGetVolumeResponse *out;
	struct csi_volume_status status = { 0 };

	in->volume_id = codec_lend(volume_id);
	if (client_call(impl, ctx, path, in, &csi__v1__controller_get_volume_response__descriptor,
			&out, err) < 0)
		return -1;
	if (codec_get_volume(a, out->volume, &status.volume, err) < 0)
		return client_refuse_reply(path, err);
	if (out->status) {
		status.published_node_ids = get_node_ids(out->status->published_node_ids);
		status.n_published_node_ids = out->status->n_published_node_ids;
	}
	*ret = status;
	return 0;
}
