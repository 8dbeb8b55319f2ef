/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CreateVolume for a claim, and what its answer means.
 *
 * What a driver's error means is external-provisioner's table, with more doubts, since forgetting
 * the intent is what leaks: ALREADY_EXISTS says that a volume with our name and other properties
 * does exist; and after an earlier call whose end is unknown, an error that a driver may give
 * without having looked for the name (a parameter refused, a size out of range, INTERNAL and the
 * like) says nothing about that earlier call. Of all errors only RESOURCE_EXHAUSTED speaks of it:
 * who looks for room has looked for the name.
 */
#include "control/provision-internal.h"

#include "base/num.h"
#include "base/str.h"
#include "kube/fence.h"

#define UNDO_TRIES 5

static enum attempt_state classify(const struct attempt *a, enum err_code code)
{
	bool has_node = a->claim.obj &&
			!str_is_empty(strmap_find(&a->claim.obj->annotations, ANN_SELECTED_NODE));

	switch (code) {
	case ERR_CANCELLED:
	case ERR_DEADLINE_EXCEEDED:
	case ERR_UNAVAILABLE:
	case ERR_ABORTED:
	case ERR_ALREADY_EXISTS:
		return ATTEMPT_IN_BACKGROUND;
	case ERR_INVALID_ARGUMENT:
		return ATTEMPT_INFEASIBLE;
	case ERR_RESOURCE_EXHAUSTED:
		return attempt_has_topology(a) && has_node ? ATTEMPT_RESCHEDULE : ATTEMPT_FINISHED;
	case ERR_OK:
	case ERR_OUT_OF_RANGE:
	case ERR_UNIMPLEMENTED:
	case ERR_UNKNOWN:
	case ERR_NOT_FOUND:
	case ERR_PERMISSION_DENIED:
	case ERR_FAILED_PRECONDITION:
	case ERR_INTERNAL:
	case ERR_DATA_LOSS:
	case ERR_UNAUTHENTICATED:
		break;
	}
	return a->was_in_doubt ? ATTEMPT_IN_BACKGROUND : ATTEMPT_FINISHED;
}

/* A volume that must not be handed out, for what err says: deleted at once; what remains in doubt
 * stays on record. */
static int undo_volume(struct attempt *a, const struct csi_volume *volume, struct err *err)
{
	struct err why;
	int r = -1;

	for (int i = 0; i < UNDO_TRIES && r < 0; i++)
		r = provision_delete_volume(a->p, a->ctx, volume->volume_id, &a->it.request.secrets,
					    &why);
	a->state = r < 0 ? ATTEMPT_IN_BACKGROUND : ATTEMPT_FINISHED;
	if (r < 0)
		return err_set(err, err->code, "%s; it is still there: %s",
			       arena_strdup(a->ctx->arena, err->msg), why.msg);
	return -1;
}

static int refuse_size(struct attempt *a, const struct csi_volume *volume, struct err *err)
{
	char got[NUM_QUANTITY_MAX], wanted[NUM_QUANTITY_MAX];

	num_format_quantity(volume->capacity_bytes, got);
	num_format_quantity(a->it.request.capacity_range.required_bytes, wanted);
	(void)err_set(err, ERR_OUT_OF_RANGE,
		      "created volume capacity %s less than requested capacity %s", got, wanted);
	return undo_volume(a, volume, err);
}

/* A driver that knows nothing of sources makes an empty volume. */
static int refuse_empty(struct attempt *a, const struct csi_volume *volume, struct err *err)
{
	(void)err_set(err, ERR_INTERNAL,
		      "the driver made a volume and does not say that it is made of the data "
		      "source (no content_source in its answer)");
	return undo_volume(a, volume, err);
}

static int check_volume(struct attempt *a, struct csi_volume *volume, struct err *err)
{
	if (str_is_empty(volume->volume_id)) {
		a->state = ATTEMPT_IN_BACKGROUND;
		return err_set(err, ERR_INTERNAL,
			       "the driver answered CreateVolume without a volume_id");
	}
	if (volume->capacity_bytes == 0)
		volume->capacity_bytes = a->it.request.capacity_range.required_bytes;
	if (a->is_cleanup)
		return 0;
	if (volume->capacity_bytes < a->it.request.capacity_range.required_bytes)
		return refuse_size(a, volume, err);
	return a->it.request.has_volume_content_source && !volume->has_content_source
		       ? refuse_empty(a, volume, err)
		       : 0;
}

int claim_create_volume(struct attempt *a, struct csi_volume *ret_volume, struct err *err)
{
	struct csi_create_volume_response reply;
	int64_t deadline_ns;
	int r;

	if (fence_check(a->p->fence, a->ctx, err) < 0)
		return -1;
	deadline_ns = driver_limit(&a->p->csi, a->ctx);
	r = csi_create_volume(&a->p->csi.service, a->ctx, &a->it.request, &reply, err);
	a->ctx->deadline_ns = deadline_ns;
	if (r < 0) {
		a->state = classify(a, err->code);
		return err_set(err, err->code, "rpc error: code = %s desc = %s",
			       err_code_camel(err->code), arena_strdup(a->ctx->arena, err->msg));
	}
	if (check_volume(a, &reply.volume, err) < 0)
		return -1;
	*ret_volume = reply.volume;
	return 0;
}
