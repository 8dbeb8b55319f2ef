/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CreateVolume where the storage is other machines' (BACKEND_ELSEWHERE).
 *
 * There is one place, which every node reaches, and the class's parameters are its own; so of all
 * that controller_create.c weighs only the size, the access and the source are left. The backend
 * finds a volume of this name by itself, since it takes the request's secrets to ask: what it
 * answers may have been there before, and is compared here.
 */
#include "base/num.h"
#include "csi/driver-internal.h"
#include "csi/source.h"
#include "volume/params.h"
#include "volume/size.h"

/* Its filesystem is made when it is staged first, and has to be one that a node can make. */
static int check_capabilities(const struct backend *b, const struct csi_create_volume_request *req,
			      struct err *err)
{
	bool is_shared = b->caps & BACKEND_MOUNT;

	for (size_t i = 0; i < req->n_volume_capabilities; i++) {
		const struct vol_capability *cap = &req->volume_capabilities[i];

		if ((is_shared ? vol_capability_check_shared : vol_capability_check)(cap, err) < 0)
			return -1;
	}
	return 0;
}

static uint64_t least_bytes(const struct backend *b, const struct csi_create_volume_request *req)
{
	uint64_t least = 0;

	if (b->caps & BACKEND_MOUNT)
		return vol_size_min("");
	for (size_t i = 0; i < req->n_volume_capabilities; i++) {
		const struct vol_capability *cap = &req->volume_capabilities[i];
		uint64_t bytes = vol_size_min(
			cap->access == VOL_ACCESS_MOUNT ? vol_fs_resolve(cap->fs_type) : "");

		if (bytes > least)
			least = bytes;
	}
	return least;
}

/* 0: the source's size, which the backend learns when it opens it. */
static int choose_size(const struct backend *b, const struct csi_create_volume_request *req,
		       enum backend_source source, uint64_t *ret_bytes, struct err *err)
{
	uint64_t least = least_bytes(b, req);

	if (vol_size_choose(&req->capacity_range, "", ret_bytes, err) < 0)
		return -1;
	if (source != BACKEND_SOURCE_NONE && req->capacity_range.required_bytes == 0)
		*ret_bytes = 0;
	else if (*ret_bytes < least)
		*ret_bytes = least;
	if (req->capacity_range.limit_bytes > 0 && *ret_bytes > req->capacity_range.limit_bytes)
		return err_set(
			err, ERR_OUT_OF_RANGE,
			"capacity_range: limit_bytes %llu is less than the filesystem needs, "
			"%llu",
			(unsigned long long)req->capacity_range.limit_bytes,
			(unsigned long long)*ret_bytes);
	return 0;
}

/* A class of attributes is for those who can change them later (MODIFY_VOLUME). */
static int check_mutable(const struct csi_create_volume_request *req, struct err *err)
{
	if (req->mutable_parameters.n == 0)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "mutable_parameters: '%.64s' (value '%.64s') is asked, and these volumes "
		       "have no attributes that can be changed; use a claim without "
		       "volumeAttributesClassName",
		       req->mutable_parameters.v[0].key, req->mutable_parameters.v[0].value);
}

/* Of the rest of the class's parameters the backend is the judge. */
static int read_limits(const struct backend *b, const struct csi_create_volume_request *req,
		       struct vol_limits *ret_limits, struct err *err)
{
	struct vol_limits limits = { 0 };

	if (!(b->caps & BACKEND_MODIFY)) {
		*ret_limits = limits;
		return check_mutable(req, err);
	}
	for (size_t i = 0; i < req->parameters.n; i++) {
		const struct strpair *pair = &req->parameters.v[i];

		if (vol_limits_is_key(pair->key) &&
		    vol_limits_set(&limits, "parameters", pair->key, pair->value, err) < 0)
			return -1;
	}
	if (vol_limits_merge(&limits, "mutable_parameters", &req->mutable_parameters, err) < 0)
		return -1;
	*ret_limits = limits;
	return 0;
}

static int check_source(const struct backend *b, const struct source *source, struct err *err)
{
	unsigned needs = source->kind == BACKEND_SOURCE_SNAPSHOT ? BACKEND_SNAPSHOT : BACKEND_CLONE;

	if (source->kind == BACKEND_SOURCE_NONE || (source->ref.pool == b && (b->caps & needs)))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "volume_content_source: '%s' cannot be copied by '%s'", source->id,
		       b->ops->name);
}

static int check_size(const struct csi_create_volume_request *req, const struct backend_volume *vol,
		      struct err *err)
{
	char text[NUM_QUANTITY_MAX];

	if (vol_size_is_within(vol->bytes, &req->capacity_range))
		return 0;
	num_format_quantity(vol->bytes, text);
	return err_set(err, ERR_ALREADY_EXISTS,
		       "name '%s': the volume exists with %s, outside the capacity_range of now",
		       req->name, text);
}

static bool is_read_only(const struct csi_create_volume_request *req)
{
	for (size_t i = 0; i < req->n_volume_capabilities; i++) {
		if (!vol_mode_is_reader_only(req->volume_capabilities[i].mode))
			return false;
	}
	return req->n_volume_capabilities > 0;
}

static int create(struct csi_driver *d, struct ctx *ctx, struct backend *b,
		  const struct csi_create_volume_request *req, const struct source *source,
		  const struct vol_limits *limits, struct csi_volume *ret, struct err *err)
{
	char token[VOL_TOKEN_MAX];
	struct backend_spec spec = { .name = req->name,
				     .token = token,
				     .fs = "",
				     .allow_buffered = true,
				     .is_read_only = is_read_only(req),
				     .source_kind = source->kind,
				     .source = source->kind == BACKEND_SOURCE_NONE
						       ? NULL
						       : source->ref.token,
				     .limits = *limits,
				     .secrets = &req->secrets,
				     .owner = { .cluster = d->cluster_id },
				     .parameters = &req->parameters };
	struct backend_volume vol;

	vol_token_from_name(req->name, token);
	if (choose_size(b, req, source->kind, &spec.bytes, err) < 0 || ctx_check(ctx, err) < 0 ||
	    backend_create(b, ctx, &spec, &vol, err) < 0 || check_size(req, &vol, err) < 0 ||
	    driver_compare_limits(req->name, limits, &vol.limits, err) < 0)
		return -1;
	driver_fill_volume(d, ctx->arena, b, &vol, ret);
	return 0;
}

int driver_create_elsewhere(struct csi_driver *d, struct ctx *ctx, struct backend *b,
			    const struct csi_create_volume_request *req, struct csi_volume *ret,
			    struct err *err)
{
	char token[VOL_TOKEN_MAX];
	struct vol_limits limits;
	struct source source;
	int r;

	if (check_capabilities(b, req, err) < 0 || read_limits(b, req, &limits, err) < 0 ||
	    source_resolve(d, &req->volume_content_source, &source, err) < 0 ||
	    check_source(b, &source, err) < 0)
		return -1;
	vol_token_from_name(req->name, token);
	if (inflight_begin(d->inflight, token, "CreateVolume", err) < 0)
		return -1;
	r = create(d, ctx, b, req, &source, &limits, ret, err);
	inflight_end(d->inflight, token);
	return r;
}
