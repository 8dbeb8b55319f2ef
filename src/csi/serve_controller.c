/* SPDX-License-Identifier: Apache-2.0 */
/* Controller from the wire to the service and back. */
#include "base/mem.h"
#include "base/str.h"
#include "csi/codec.h"

static int serve_create_volume(struct codec_call *call, ProtobufCMessage **ret_reply,
			       struct err *err)
{
	const Csi__V1__CreateVolumeRequest *in =
		(const Csi__V1__CreateVolumeRequest *)call->request;
	struct arena *a = call->ctx->arena;
	struct csi_create_volume req = {
		.name = in->name,
		.n_capabilities = in->n_volume_capabilities,
		.parameters = codec_get_map(a, in->n_parameters, in->parameters),
		.mutable_parameters =
			codec_get_map(a, in->n_mutable_parameters, in->mutable_parameters),
		.secrets = { codec_get_map(a, in->n_secrets, in->secrets) },
	};
	Csi__V1__CreateVolumeResponse *pb;
	struct csi_volume vol;

	call->volume = in->name;
	if (codec_get_range(in->capacity_range, &req.capacity_range, err) < 0 ||
	    codec_get_capabilities(a, in->n_volume_capabilities, in->volume_capabilities,
				   &req.capabilities, err) < 0 ||
	    codec_get_source(in->volume_content_source, &req.content_source, err) < 0)
		return -1;
	if (in->accessibility_requirements) {
		const Csi__V1__TopologyRequirement *t = in->accessibility_requirements;

		req.requisite = codec_get_topologies(a, t->n_requisite, t->requisite);
		req.preferred = codec_get_topologies(a, t->n_preferred, t->preferred);
	}
	if (csi_create_volume(call->service, call->ctx, &req, &vol, err) < 0)
		return -1;
	pb = wire_new(a, &csi__v1__create_volume_response__descriptor);
	pb->volume = codec_put_volume(a, &vol);
	*ret_reply = &pb->base;
	return 0;
}

static int serve_delete_volume(struct codec_call *call, ProtobufCMessage **ret_reply,
			       struct err *err)
{
	const Csi__V1__DeleteVolumeRequest *in =
		(const Csi__V1__DeleteVolumeRequest *)call->request;
	struct arena *a = call->ctx->arena;
	struct secrets secrets = { codec_get_map(a, in->n_secrets, in->secrets) };

	call->volume = in->volume_id;
	if (csi_delete_volume(call->service, call->ctx, in->volume_id, &secrets, err) < 0)
		return -1;
	*ret_reply = wire_new(a, &csi__v1__delete_volume_response__descriptor);
	return 0;
}

/* The CO compares the confirmation with what it asked, so it gets exactly that back. */
static Csi__V1__ValidateVolumeCapabilitiesResponse__Confirmed *
put_confirmed(struct arena *a, const struct csi_validate *req)
{
	Csi__V1__ValidateVolumeCapabilitiesResponse__Confirmed *pb =
		wire_new(a, &csi__v1__validate_volume_capabilities_response__confirmed__descriptor);

	pb->volume_capabilities = codec_put_capabilities(a, req->n_capabilities, req->capabilities);
	pb->n_volume_capabilities = req->n_capabilities;
	pb->volume_context = codec_put_map(
		a,
		&csi__v1__validate_volume_capabilities_response__confirmed__volume_context_entry__descriptor,
		&req->volume_context, &pb->n_volume_context);
	pb->parameters = codec_put_map(
		a,
		&csi__v1__validate_volume_capabilities_response__confirmed__parameters_entry__descriptor,
		&req->parameters, &pb->n_parameters);
	pb->mutable_parameters = codec_put_map(
		a,
		&csi__v1__validate_volume_capabilities_response__confirmed__mutable_parameters_entry__descriptor,
		&req->mutable_parameters, &pb->n_mutable_parameters);
	return pb;
}

static int serve_validate(struct codec_call *call, ProtobufCMessage **ret_reply, struct err *err)
{
	const Csi__V1__ValidateVolumeCapabilitiesRequest *in =
		(const Csi__V1__ValidateVolumeCapabilitiesRequest *)call->request;
	struct arena *a = call->ctx->arena;
	struct csi_validate req = {
		.volume_id = in->volume_id,
		.n_capabilities = in->n_volume_capabilities,
		.volume_context = codec_get_map(a, in->n_volume_context, in->volume_context),
		.parameters = codec_get_map(a, in->n_parameters, in->parameters),
		.mutable_parameters =
			codec_get_map(a, in->n_mutable_parameters, in->mutable_parameters),
		.secrets = { codec_get_map(a, in->n_secrets, in->secrets) },
	};
	Csi__V1__ValidateVolumeCapabilitiesResponse *pb;
	struct csi_validated validated;

	call->volume = in->volume_id;
	if (codec_get_capabilities(a, in->n_volume_capabilities, in->volume_capabilities,
				   &req.capabilities, err) < 0 ||
	    csi_validate_volume_capabilities(call->service, call->ctx, &req, &validated, err) < 0)
		return -1;
	pb = wire_new(a, &csi__v1__validate_volume_capabilities_response__descriptor);
	if (validated.is_confirmed)
		pb->confirmed = put_confirmed(a, &req);
	pb->message = codec_lend(validated.message);
	*ret_reply = &pb->base;
	return 0;
}

static char **put_strings(struct arena *a, const char *const *v, size_t n)
{
	char **pb = arena_array(a, n, sizeof(*pb));

	for (size_t i = 0; i < n; i++)
		pb[i] = codec_lend(v[i]);
	return pb;
}

static Csi__V1__ListVolumesResponse__Entry *put_entry(struct arena *a,
						      const struct csi_volume_status *status)
{
	Csi__V1__ListVolumesResponse__Entry *pb =
		wire_new(a, &csi__v1__list_volumes_response__entry__descriptor);

	pb->volume = codec_put_volume(a, &status->volume);
	if (status->n_published_node_ids == 0)
		return pb;
	pb->status = wire_new(a, &csi__v1__list_volumes_response__volume_status__descriptor);
	pb->status->published_node_ids =
		put_strings(a, status->published_node_ids, status->n_published_node_ids);
	pb->status->n_published_node_ids = status->n_published_node_ids;
	return pb;
}

static int serve_list_volumes(struct codec_call *call, ProtobufCMessage **ret_reply,
			      struct err *err)
{
	const Csi__V1__ListVolumesRequest *in = (const Csi__V1__ListVolumesRequest *)call->request;
	struct arena *a = call->ctx->arena;
	Csi__V1__ListVolumesResponse *pb;
	struct csi_volume_list list;
	uint64_t max;

	if (codec_get_bytes("max_entries", in->max_entries, &max, err) < 0 ||
	    csi_list_volumes(call->service, call->ctx, (uint32_t)max, in->starting_token, &list,
			     err) < 0)
		return -1;
	pb = wire_new(a, &csi__v1__list_volumes_response__descriptor);
	pb->entries = arena_array(a, list.n, sizeof(*pb->entries));
	for (size_t i = 0; i < list.n; i++)
		pb->entries[i] = put_entry(a, &list.v[i]);
	pb->n_entries = list.n;
	pb->next_token = codec_lend(list.next_token);
	*ret_reply = &pb->base;
	return 0;
}

static Google__Protobuf__Int64Value *put_int64(struct arena *a, uint64_t value)
{
	Google__Protobuf__Int64Value *pb;

	if (value == 0)
		return NULL;
	pb = wire_new(a, &google__protobuf__int64_value__descriptor);
	pb->value = codec_put_bytes(value);
	return pb;
}

static int serve_get_capacity(struct codec_call *call, ProtobufCMessage **ret_reply,
			      struct err *err)
{
	const Csi__V1__GetCapacityRequest *in = (const Csi__V1__GetCapacityRequest *)call->request;
	struct arena *a = call->ctx->arena;
	struct csi_get_capacity req = {
		.n_capabilities = in->n_volume_capabilities,
		.parameters = codec_get_map(a, in->n_parameters, in->parameters),
	};
	Csi__V1__GetCapacityResponse *pb;
	struct csi_capacity capacity;

	if (codec_get_capabilities(a, in->n_volume_capabilities, in->volume_capabilities,
				   &req.capabilities, err) < 0)
		return -1;
	if (in->accessible_topology) {
		req.has_topology = true;
		req.accessible_topology = codec_get_topology(a, in->accessible_topology);
	}
	if (csi_get_capacity(call->service, call->ctx, &req, &capacity, err) < 0)
		return -1;
	pb = wire_new(a, &csi__v1__get_capacity_response__descriptor);
	pb->available_capacity = codec_put_bytes(capacity.available_bytes);
	pb->maximum_volume_size = put_int64(a, capacity.maximum_volume_bytes);
	pb->minimum_volume_size = put_int64(a, capacity.minimum_volume_bytes);
	*ret_reply = &pb->base;
	return 0;
}

static int serve_get_volume(struct codec_call *call, ProtobufCMessage **ret_reply, struct err *err)
{
	const Csi__V1__ControllerGetVolumeRequest *in =
		(const Csi__V1__ControllerGetVolumeRequest *)call->request;
	struct arena *a = call->ctx->arena;
	Csi__V1__ControllerGetVolumeResponse *pb;
	struct csi_volume_status status;

	call->volume = in->volume_id;
	if (csi_controller_get_volume(call->service, call->ctx, in->volume_id, &status, err) < 0)
		return -1;
	pb = wire_new(a, &csi__v1__controller_get_volume_response__descriptor);
	pb->volume = codec_put_volume(a, &status.volume);
	pb->status =
		wire_new(a, &csi__v1__controller_get_volume_response__volume_status__descriptor);
	pb->status->published_node_ids =
		put_strings(a, status.published_node_ids, status.n_published_node_ids);
	pb->status->n_published_node_ids = status.n_published_node_ids;
	*ret_reply = &pb->base;
	return 0;
}

static int serve_get_capabilities(struct codec_call *call, ProtobufCMessage **ret_reply,
				  struct err *err)
{
	struct arena *a = call->ctx->arena;
	Csi__V1__ControllerGetCapabilitiesResponse *pb;
	Csi__V1__ControllerServiceCapability **v;
	uint64_t caps;
	size_t n = 0;

	if (csi_controller_get_capabilities(call->service, call->ctx, &caps, err) < 0)
		return -1;
	v = arena_array(a, 64, sizeof(*v));
	for (unsigned bit = 1; bit < 64; bit++) {
		if (!(caps & CSI_CAP_BIT(bit)))
			continue;
		v[n] = wire_new(a, &csi__v1__controller_service_capability__descriptor);
		v[n]->type_case = CSI__V1__CONTROLLER_SERVICE_CAPABILITY__TYPE_RPC;
		v[n]->rpc = wire_new(a, &csi__v1__controller_service_capability__rpc__descriptor);
		v[n]->rpc->type = (Csi__V1__ControllerServiceCapability__RPC__Type)bit;
		n++;
	}
	pb = wire_new(a, &csi__v1__controller_get_capabilities_response__descriptor);
	pb->capabilities = v;
	pb->n_capabilities = n;
	*ret_reply = &pb->base;
	return 0;
}

/* clang-format off */
const struct codec_method codec_controller_methods[] = {
	{ "/csi.v1.Controller/CreateVolume", CODEC_CHANGES, false,
	  &csi__v1__create_volume_request__descriptor, serve_create_volume },
	{ "/csi.v1.Controller/DeleteVolume", CODEC_CHANGES, false,
	  &csi__v1__delete_volume_request__descriptor, serve_delete_volume },
	{ "/csi.v1.Controller/ValidateVolumeCapabilities", CODEC_READS, false,
	  &csi__v1__validate_volume_capabilities_request__descriptor, serve_validate },
	{ "/csi.v1.Controller/ListVolumes", CODEC_READS, false,
	  &csi__v1__list_volumes_request__descriptor, serve_list_volumes },
	{ "/csi.v1.Controller/GetCapacity", CODEC_READS, false,
	  &csi__v1__get_capacity_request__descriptor, serve_get_capacity },
	{ "/csi.v1.Controller/ControllerGetVolume", CODEC_READS, false,
	  &csi__v1__controller_get_volume_request__descriptor, serve_get_volume },
	{ "/csi.v1.Controller/ControllerGetCapabilities", CODEC_ASKS, false,
	  &csi__v1__controller_get_capabilities_request__descriptor, serve_get_capabilities },
};
/* clang-format on */
const size_t codec_n_controller_methods = ARRAY_LEN(codec_controller_methods);
