/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ControllerPublishVolume and ControllerUnpublishVolume: nothing is attached by them, since every
 * node reaches the storage by itself; but they are the moments at which a node that was lost is
 * shut out of it, and let in again (backend_publish, backend_unpublish). What is known of nodes
 * comes through a door that whoever made the driver has opened (csi_driver_options.nodes); without
 * it neither call is served.
 */
#include "csi/driver-internal.h"
#include "csi/fields.h"
#include "csi/validate.h"

static const struct secrets *given(const struct secrets *secrets)
{
	return secrets->map.n > 0 ? secrets : NULL;
}

static struct backend_use use_of(const struct csi_driver *d, const char *node_id,
				 const struct secrets *secrets)
{
	return (struct backend_use){ .node_id = str_or(node_id, ""),
				     .nodes = &d->nodes,
				     .secrets = given(secrets) };
}

static int publish(struct csi_driver *d, struct ctx *ctx,
		   const struct csi_controller_publish_volume_request *req, struct err *err)
{
	const struct backend_use use = use_of(d, req->node_id, &req->secrets);
	struct vol_capability cap = req->volume_capability;
	struct backend_volume vol;
	struct csi_ref ref;

	if (driver_find_volume(d, ctx, req->volume_id, use.secrets, &ref, &vol, err) < 0)
		return -1;
	if (driver_check_capability(ref.pool, &vol, &cap, err) < 0) {
		err->code = ERR_INVALID_ARGUMENT;
		return -1;
	}
	if (!(ref.pool->caps & BACKEND_FENCE))
		return 0;
	return backend_publish(ref.pool, ctx, ref.token, &use, err);
}

int driver_controller_publish_volume(void *impl, struct ctx *ctx,
				     const struct csi_controller_publish_volume_request *req,
				     struct csi_controller_publish_volume_response *ret,
				     struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_ref ref;
	int r;

	(void)ret;
	if (validate_controller_publish(req, err) < 0 ||
	    driver_resolve(d, req->volume_id, &ref, err) < 0 ||
	    inflight_begin(d->inflight, ref.token, "ControllerPublishVolume", err) < 0)
		return -1;
	r = publish(d, ctx, req, err);
	inflight_end(d->inflight, ref.token);
	return r < 0 ? err_wrap(err, "publish volume '%s' to node '%s'", req->volume_id,
				req->node_id)
		     : 0;
}

static int unpublish(struct csi_driver *d, struct ctx *ctx,
		     const struct csi_controller_unpublish_volume_request *req, struct err *err)
{
	const struct backend_use use = use_of(d, req->node_id, &req->secrets);
	struct csi_ref ref;

	if (driver_find_pool(d, req->volume_id, &ref, err) < 0)
		return -1;
	if (!(ref.pool->caps & BACKEND_FENCE))
		return 0;
	return backend_unpublish(ref.pool, ctx, ref.token, &use, err);
}

int driver_controller_unpublish_volume(void *impl, struct ctx *ctx,
				       const struct csi_controller_unpublish_volume_request *req,
				       struct csi_controller_unpublish_volume_response *ret,
				       struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_ref ref;
	int r;

	(void)ret;
	if (fields_check(&csi_controller_unpublish_volume_request_type, req, err) < 0)
		return -1;
	if (driver_resolve(d, req->volume_id, &ref, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1; /* it is on no node */
	if (inflight_begin(d->inflight, ref.token, "ControllerUnpublishVolume", err) < 0)
		return -1;
	r = unpublish(d, ctx, req, err);
	inflight_end(d->inflight, ref.token);
	return r < 0 ? err_wrap(err, "unpublish volume '%s' from node '%s'", req->volume_id,
				req->node_id)
		     : 0;
}
