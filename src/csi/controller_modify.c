/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ControllerModifyVolume: new limits of I/O, kept with the volume first and then, since the pool's
 * node is this one, held against the pods that have it. Of storage that is elsewhere the nodes are
 * others: what serves a volume there follows by itself, or reads the limits when it comes.
 * Everything is judged before anything is changed. What the node cannot do is INVALID_ARGUMENT, by
 * which Kubernetes marks the change as infeasible and tries again slowly; limits can be lifted
 * anywhere.
 */
#include "csi/driver-internal.h"
#include "csi/fields.h"

/* What is published now. That it cannot be looked at does not undo what was asked. */
static void apply(struct csi_driver *d, struct ctx *ctx, const struct csi_ref *ref,
		  const struct vol_limits *limits)
{
	struct node_state state;
	struct err ignored;

	if (d->serve_node && node_state_load(d, ctx, ref, &state, &ignored) == 0)
		node_limits_apply(d, &state, limits, true);
}

static int modify(struct csi_driver *d, struct ctx *ctx,
		  const struct csi_controller_modify_volume_request *req, struct err *err)
{
	struct backend_volume vol;
	struct vol_limits limits;
	struct csi_ref ref;

	if (driver_find_volume(d, ctx, req->volume_id, &req->secrets, &ref, &vol, err) < 0)
		return -1;
	limits = vol.limits;
	if (vol_limits_merge(&limits, "mutable_parameters", &req->mutable_parameters, err) < 0 ||
	    driver_check_limits(d, ref.pool, &limits, err) < 0 || ctx_check(ctx, err) < 0)
		return -1;
	if (!(ref.pool->caps & BACKEND_MODIFY))
		return 0; /* none had, none asked */
	if (backend_modify(ref.pool, ctx, ref.token, &limits, &req->secrets, err) < 0)
		return err_wrap(err, "modify volume '%s'", req->volume_id);
	if (!(ref.pool->caps & BACKEND_ELSEWHERE))
		apply(d, ctx, &ref, &limits);
	return 0;
}

int driver_controller_modify_volume(void *impl, struct ctx *ctx,
				    const struct csi_controller_modify_volume_request *req,
				    struct csi_controller_modify_volume_response *ret,
				    struct err *err)
{
	struct csi_driver *d = impl;
	struct vol_limits judged = { 0 };
	struct csi_ref ref;
	int r;

	if (fields_check(&csi_controller_modify_volume_request_type, req, err) < 0 ||
	    vol_limits_merge(&judged, "mutable_parameters", &req->mutable_parameters, err) < 0 ||
	    driver_resolve(d, req->volume_id, &ref, err) < 0 ||
	    inflight_begin(d->inflight, ref.token, "ControllerModifyVolume", err) < 0)
		return -1;
	r = modify(d, ctx, req, err);
	inflight_end(d->inflight, ref.token);
	return r;
}
