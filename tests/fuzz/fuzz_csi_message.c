/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CSI request as it comes from the wire: the first byte chooses the method, the rest is the
 * message. It is checked, unpacked, translated, validated and dumped; what is well-formed must pack
 * and unpack again.
 */
#include "base/mem.h"
#include "base/str.h"
#include "csi/codec.h"
#include "csi/dump.h"
#include "csi/validate.h"

static int refuse(int r, struct err *err)
{
	return r < 0 ? -1 : err_set(err, ERR_UNIMPLEMENTED, "valid");
}

static int create_volume(void *impl, struct ctx *ctx, const struct csi_create_volume *req,
			 struct csi_volume *ret, struct err *err)
{
	return refuse(validate_create_volume(req, err), err);
}

static int delete_volume(void *impl, struct ctx *ctx, const char *volume_id,
			 const struct secrets *secrets, struct err *err)
{
	return refuse(validate_delete_volume(volume_id, secrets, err), err);
}

static int validate(void *impl, struct ctx *ctx, const struct csi_validate *req,
		    struct csi_validated *ret, struct err *err)
{
	if (validate_validate(req, err) < 0)
		return -1;
	*ret = (struct csi_validated){ .is_confirmed = true, .message = "" };
	return 0;
}

static int list_volumes(void *impl, struct ctx *ctx, uint32_t max_entries,
			const char *starting_token, struct csi_volume_list *ret, struct err *err)
{
	return refuse(validate_list_volumes(starting_token, err), err);
}

static int get_capacity(void *impl, struct ctx *ctx, const struct csi_get_capacity *req,
			struct csi_capacity *ret, struct err *err)
{
	return refuse(validate_get_capacity(req, err), err);
}

static int get_volume(void *impl, struct ctx *ctx, const char *volume_id,
		      struct csi_volume_status *ret, struct err *err)
{
	return refuse(validate_volume_id(volume_id, err), err);
}

static int stage(void *impl, struct ctx *ctx, const struct csi_stage *req, struct err *err)
{
	return validate_stage(req, err);
}

static int unstage(void *impl, struct ctx *ctx, const char *volume_id, const char *path,
		   struct err *err)
{
	return validate_unstage(volume_id, path, err);
}

static int publish(void *impl, struct ctx *ctx, const struct csi_publish *req, struct err *err)
{
	return validate_publish(req, err);
}

static int unpublish(void *impl, struct ctx *ctx, const char *volume_id, const char *path,
		     struct err *err)
{
	return validate_unpublish(volume_id, path, err);
}

static int get_stats(void *impl, struct ctx *ctx, const char *volume_id, const char *path,
		     const char *staging, struct csi_stats *ret, struct err *err)
{
	return refuse(validate_stats(volume_id, path, staging, err), err);
}

static const struct csi_service_ops ops = {
	.create_volume = create_volume,
	.delete_volume = delete_volume,
	.validate_volume_capabilities = validate,
	.list_volumes = list_volumes,
	.get_capacity = get_capacity,
	.controller_get_volume = get_volume,
	.node_stage_volume = stage,
	.node_unstage_volume = unstage,
	.node_publish_volume = publish,
	.node_unpublish_volume = unpublish,
	.node_get_volume_stats = get_stats,
};

static const struct codec_method *choose(uint8_t byte)
{
	size_t i = byte % (codec_n_controller_methods + codec_n_node_methods);

	if (i < codec_n_controller_methods)
		return &codec_controller_methods[i];
	return &codec_node_methods[i - codec_n_controller_methods];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct csi_service service = { &ops, NULL };
	const struct codec_method *method;
	autostr struct str text = STR_INIT;
	struct wire_bytes bytes = { data + 1, size - 1 };
	struct codec_call call = { .service = &service, .volume = "" };
	ProtobufCMessage *request;
	ProtobufCMessage *reply;
	struct ctx ctx;
	struct err err;

	if (size == 0)
		return 0;
	method = choose(data[0]);
	ctx_init(&ctx, 0);
	call.ctx = &ctx;
	if (wire_unpack(ctx.arena, method->request, &bytes, WIRE_FIELDS_REQUEST, &request, &err) ==
	    0) {
		call.request = request;
		if (method->serve(&call, &reply, &err) == 0)
			(void)wire_pack(ctx.arena, reply);
		dump_message(request, &text);
		bytes = wire_pack(ctx.arena, request);
		if (wire_check(method->request, &bytes, 2 * WIRE_FIELDS_REQUEST, &err) < 0)
			abort();
	}
	ctx_done(&ctx);
	return 0;
}
