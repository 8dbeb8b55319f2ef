/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A claim that asks for more than it has, until kubelet has it or it is done:
 *
 *   claim: allocatedResources = target, ControllerResizeInProgress
 *     → ControllerExpandVolume → PV: capacity
 *       → claim: NodeResizePending (kubelet goes on), or its capacity
 *
 * Each step stands in the API before the next begins, and each may be made again, so whatever is
 * killed in between, the next one goes on from the status (resize_target.c). The first write is
 * conditional on what was read: two that believe to lead cannot both begin.
 *
 * A final failure is told as a condition and, if more of the same is pointless (infeasible), in the
 * status; then only another request, or a long rest, brings a new call. A failure in doubt changes
 * nothing: the next call asks for the same.
 */
#include "control/resizer-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "kube/fence.h"
#include "kube/pack.h"
#include "kube/recorder.h"

bool resize_is_wanted(const struct resizer *r, const struct core_pvc *claim,
		      const struct core_pv *pv)
{
	bool is_grown = pv->capacity_bytes >= claim->request_bytes;
	bool is_kubelets = claim->resize == CORE_RESIZE_NODE_PENDING ||
			   claim->resize == CORE_RESIZE_NODE_IN_PROGRESS;

	if (!r->grows || claim->has_bad_request || !claim->capacity_bytes)
		return false;
	if (claim->request_bytes > claim->capacity_bytes)
		return !is_grown || !is_kubelets;
	return claim->capacity_bytes >= pv->capacity_bytes &&
	       strmap_find(&pv->meta.annotations, ANN_PRE_RESIZE);
}

static uint64_t allocated_bytes(const struct claim_work *w)
{
	uint64_t bytes = 0;

	(void)pack_quantity(json_path(work_status(w), "allocatedResources.storage"), &bytes);
	return bytes;
}

static uint64_t find_target(const struct claim_work *w, const struct resize_memo *memo)
{
	const struct core_pvc *claim = work_claim(w);

	return resize_target(&(struct resize_facts){
		.request_bytes = claim->request_bytes,
		.pv_bytes = work_pv(w)->capacity_bytes,
		.allocated_bytes = allocated_bytes(w),
		.status = claim->resize,
		.is_final = memo->is_final,
		.grows_on_node = !(w->caps.controller & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME)),
		.is_fs_pending = claim_has_condition(w, COND_FS_PENDING),
	});
}

/* The quantity as its author wrote it, if it is that of the request. */
static const char *target_text(const struct claim_work *w, uint64_t target)
{
	const struct json *spec = json_get(json_root(w->claim.doc), "spec");
	const char *asked = json_path_string(spec, "resources.requests.storage");
	char text[NUM_QUANTITY_MAX];

	if (asked && target == work_claim(w)->request_bytes)
		return arena_strdup(w->ctx->arena, asked);
	num_format_quantity(target, text);
	return arena_strdup(w->ctx->arena, text);
}

static const char *quantity(const struct claim_work *w, uint64_t bytes)
{
	char text[NUM_QUANTITY_MAX];

	num_format_quantity(bytes, text);
	return arena_strdup(w->ctx->arena, text);
}

/* The status says that a call is under way, and to what, before it is. */
static int mark(struct claim_work *w, uint64_t target, struct err *err)
{
	bool is_other = allocated_bytes(w) != target;
	enum core_resize now = work_claim(w)->resize;
	struct claim_status status = {
		.node_not_required = "",
		.conditions = { { .type = COND_RESIZING } },
	};

	if (is_other) {
		status.allocated = target_text(w, target);
		status.drops[0] = COND_FS_PENDING;
		status.drops[1] = COND_RESIZE_ERROR;
		status.drops[2] = COND_NODE_ERROR;
	}
	if (is_other || now == CORE_RESIZE_NONE || now == CORE_RESIZE_INFEASIBLE ||
	    now == CORE_RESIZE_OTHER)
		status.resize_status = core_resize_text(CORE_RESIZE_IN_PROGRESS);
	return claim_status_write(w, &status, err);
}

static int record_pv(struct claim_work *w, const struct resize_answer *answer, struct err *err)
{
	const char *old = json_path_string(work_status(w), "capacity.storage");
	struct pv_fields fields = { .capacity = quantity(w, answer->capacity_bytes) };

	if (answer->needs_node && !strmap_find(&w->pv.obj->annotations, ANN_PRE_RESIZE))
		fields.pre_resize = arena_strdup(w->ctx->arena, old);
	return claim_work_write_pv(w, &fields, err);
}

static int record_claim(struct claim_work *w, const struct resize_answer *answer, struct err *err)
{
	struct claim_status status = { .drops = { COND_RESIZE_ERROR, COND_NODE_ERROR } };

	if (answer->needs_node) {
		status.resize_status = core_resize_text(CORE_RESIZE_NODE_PENDING);
		/* it is being resized until kubelet is done, who takes off both */
		status.conditions[0] = (struct claim_condition){
			.type = COND_FS_PENDING,
			.message = "Waiting for user to (re-)start a pod to finish file system "
				   "resize of volume on node.",
		};
	} else {
		status.resize_status = "";
		status.capacity = quantity(w, answer->capacity_bytes);
		status.node_not_required = "true";
		status.drops[2] = COND_RESIZING;
		status.drops[3] = COND_FS_PENDING;
	}
	return claim_status_settle(w, &status, err);
}

static void tell_success(struct claim_work *w, const struct resize_answer *answer)
{
	log_info("volume grown", log_str("claim", w->key), log_str("pv", w->pv.obj->name),
		 log_u64("bytes", answer->capacity_bytes),
		 log_bool("nodeExpansion", answer->needs_node));
	if (answer->needs_node)
		recorder_event(w->r->recorder, w->claim.obj, RECORDER_NORMAL,
			       "FileSystemResizeRequired",
			       "Require file system resize of volume on node");
	else
		recorder_event(w->r->recorder, w->claim.obj, RECORDER_NORMAL,
			       "VolumeResizeSuccessful", "Resize volume succeeded");
}

/* ---- failures ---- */

static bool is_infeasible(enum err_code code)
{
	return code == ERR_INVALID_ARGUMENT || code == ERR_OUT_OF_RANGE || code == ERR_NOT_FOUND;
}

static enum queue_verdict fail(struct claim_work *w, const struct err *err)
{
	if (fence_is_cut_off(w->r->fence, w->ctx))
		return QUEUE_RETRY;
	log_warn("volume not grown", log_str("claim", w->key), log_str("pv", w->pv.obj->name),
		 log_err(err));
	recorder_event(w->r->recorder, w->claim.obj, RECORDER_WARNING, "VolumeResizeFailed",
		       "resize volume \"%s\" by resizer \"%s\" failed: %s", w->pv.obj->name,
		       work_driver(w), err->msg);
	return QUEUE_RETRY;
}

/* What the driver said for good goes into the status. That it could not be written there does not
 * change what it said. */
static void record_failure(struct claim_work *w, const struct err *why)
{
	struct claim_status status = {
		.conditions = { { .type = COND_RESIZE_ERROR,
				  .message = arena_printf(w->ctx->arena,
							  "failed to expand pvc with %s",
							  why->msg) } },
	};
	struct err err;

	if (is_infeasible(why->code))
		status.resize_status = core_resize_text(CORE_RESIZE_INFEASIBLE);
	if (claim_status_settle(w, &status, &err) < 0 && !fence_is_cut_off(w->r->fence, w->ctx))
		log_warn("failure of growth not recorded", log_str("claim", w->key), log_err(&err));
}

static enum queue_verdict fail_call(struct claim_work *w, struct resize_memo *memo,
				    const struct err *err, int64_t *ret_after_ns)
{
	enum queue_verdict verdict = QUEUE_RETRY;

	if (fence_is_cut_off(w->r->fence, w->ctx))
		return QUEUE_RETRY;
	memo->is_final = !driver_is_in_doubt(err->code);
	memo->is_in_use = err->code == ERR_FAILED_PRECONDITION;
	if (memo->is_final)
		record_failure(w, err);
	if (is_infeasible(err->code)) {
		memo->rest_until_ns = clock_now_ns() + w->r->rest_ns;
		*ret_after_ns = w->r->rest_ns;
		verdict = QUEUE_RETRY_AFTER;
	}
	resize_memo_set(w, memo);
	(void)fail(w, err);
	return verdict;
}

/* ---- the way ---- */

/* 0 if the driver may be asked although it said that the volume is in use. */
static int check_use(struct claim_work *w, const struct resize_memo *memo, struct err *err)
{
	int found;

	if (!memo->is_in_use || w->r->ignores_use)
		return 0;
	found = resize_look_for_pods(w, err);
	if (found <= 0)
		return found;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "Unable to expand %s because CSI driver %s only supports offline expansion "
		       "and volume is currently in-use",
		       w->key, work_driver(w));
}

static enum queue_verdict fail_use(struct claim_work *w, const struct err *err)
{
	if (err->code != ERR_FAILED_PRECONDITION || fence_is_cut_off(w->r->fence, w->ctx))
		return fail(w, err);
	recorder_event(w->r->recorder, w->claim.obj, RECORDER_WARNING, "VolumeResizeFailed", "%s",
		       err->msg);
	return QUEUE_RETRY;
}

static int record(struct claim_work *w, const struct resize_answer *answer, struct err *err)
{
	if (record_pv(w, answer, err) < 0)
		return -1;
	return record_claim(w, answer, err);
}

static enum queue_verdict grow(struct claim_work *w, struct resize_memo *memo, uint64_t target,
			       int64_t *ret_after_ns)
{
	struct resize_answer answer;
	bool is_asked;
	struct err err;

	if (mark(w, target, &err) < 0)
		return err.code == ERR_ABORTED ? QUEUE_RETRY : fail(w, &err);
	if (check_use(w, memo, &err) < 0)
		return fail_use(w, &err);
	recorder_event(w->r->recorder, w->claim.obj, RECORDER_NORMAL, "Resizing",
		       "External resizer is resizing volume %s", w->pv.obj->name);
	memo->is_final = memo->is_in_use = false; /* from here on, whatever becomes of the call */
	memo->rest_until_ns = 0;
	resize_memo_set(w, memo);
	if (resize_call(w, target, &answer, &is_asked, &err) < 0)
		return is_asked ? fail_call(w, memo, &err, ret_after_ns) : fail(w, &err);
	if (record(w, &answer, &err) < 0)
		return err.code == ERR_ABORTED ? QUEUE_RETRY : fail(w, &err);
	tell_success(w, &answer);
	/* what was begun is done; the claim may ask for more by now, and nobody else says so */
	return resize_is_wanted(w->r, work_claim(w), work_pv(w)) ? QUEUE_RETRY_AFTER : QUEUE_DONE;
}

/* The note of how large the claim was has done its duty once the claim is as large as its PV. */
static enum queue_verdict drop_note(struct claim_work *w)
{
	struct err err;

	if (!strmap_find(&w->pv.obj->annotations, ANN_PRE_RESIZE) ||
	    work_claim(w)->capacity_bytes < work_pv(w)->capacity_bytes)
		return QUEUE_DONE;
	if (claim_work_write_pv(w, &(struct pv_fields){ .pre_resize = "" }, &err) == 0)
		return QUEUE_DONE;
	if (err.code != ERR_ABORTED && !fence_is_cut_off(w->r->fence, w->ctx))
		log_warn("annotation not taken off", log_str("pv", w->pv.obj->name), log_err(&err));
	return QUEUE_RETRY;
}

enum queue_verdict resize_reconcile(struct claim_work *w, int64_t *ret_after_ns)
{
	struct resize_memo memo = resize_memo_get(w->r, w->uid);
	int64_t now_ns = clock_now_ns();
	uint64_t target;

	if (!resize_is_wanted(w->r, work_claim(w), work_pv(w)))
		return QUEUE_DONE;
	if (work_claim(w)->request_bytes <= work_claim(w)->capacity_bytes)
		return drop_note(w);
	target = find_target(w, &memo);
	if (target == 0)
		return QUEUE_DONE;
	if (allocated_bytes(w) == target && memo.rest_until_ns > now_ns) {
		*ret_after_ns = memo.rest_until_ns - now_ns;
		return QUEUE_RETRY_AFTER;
	}
	return grow(w, &memo, target, ret_after_ns);
}
