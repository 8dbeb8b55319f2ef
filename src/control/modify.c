/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A claim that names another VolumeAttributesClass than its volume has:
 *
 *   claim: modifyVolumeStatus = InProgress, target → ControllerModifyVolume
 *     → PV: volumeAttributesClassName → claim: currentVolumeAttributesClassName, status gone
 *
 * What is InProgress and has not failed for good may be under way at the driver, so it is asked for
 * again until it is settled, also when the claim names a third class by now. A class that does not
 * exist yet is waited for (Pending); its cache wakes the claim. The class is read from the API
 * server when it is used: a cache might have one that was deleted and made anew.
 */
#include "control/resizer-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/storage.h"
#include "kube/client.h"
#include "kube/fence.h"
#include "kube/path.h"
#include "kube/recorder.h"

bool modify_is_wanted(const struct resizer *r, const struct core_pvc *claim)
{
	if (!r->modifies)
		return false;
	if (claim->modify != CORE_MODIFY_NONE)
		return true;
	return *claim->attributes_class &&
	       !str_is_equal(claim->attributes_class, claim->current_attributes_class);
}

static const char *recorded_target(const struct claim_work *w)
{
	return arena_strdup(
		w->ctx->arena,
		str_or(json_path_string(work_status(w), "modifyVolumeStatus."
							"targetVolumeAttributesClassName"),
		       ""));
}

/* The class to go to. What is under way at the driver goes on to what it was begun for. */
static const char *find_target(const struct claim_work *w, const struct resize_memo *memo)
{
	const struct core_pvc *claim = work_claim(w);
	const char *begun = recorded_target(w);

	if (claim->modify == CORE_MODIFY_IN_PROGRESS && *begun &&
	    (!memo->is_modify_final || !*claim->attributes_class))
		return begun;
	return arena_strdup(w->ctx->arena, claim->attributes_class);
}

/* ---- what is told ---- */

static enum queue_verdict fail(struct claim_work *w, const char *class, const struct err *err)
{
	if (fence_is_cut_off(w->r->fence, w->ctx))
		return QUEUE_RETRY;
	log_warn("volume not modified", log_str("claim", w->key), log_str("class", class),
		 log_err(err));
	recorder_event(w->r->recorder, w->claim.obj, RECORDER_WARNING, "VolumeModifyFailed", "%s",
		       err->msg);
	return QUEUE_RETRY;
}

/* Nobody wants another class any more, and the driver is not at one. */
static enum queue_verdict roll_back(struct claim_work *w)
{
	const struct claim_status status = { .modify_status = "",
					     .drops = { COND_MODIFYING, COND_MODIFY_ERROR } };
	struct resize_memo memo = resize_memo_get(w->r, w->uid);
	struct err err;

	if (claim_status_write(w, &status, &err) < 0)
		return err.code == ERR_ABORTED ? QUEUE_RETRY : fail(w, "", &err);
	memo.is_modify_final = false;
	memo.modify_rest_until_ns = 0;
	resize_memo_set(w, &memo);
	recorder_event(w->r->recorder, w->claim.obj, RECORDER_NORMAL, "VolumeModifyCanceled",
		       "Cancelled modify of volume %s: its claim names no class any more",
		       w->pv.obj->name);
	return QUEUE_DONE;
}

static enum queue_verdict wait_for_class(struct claim_work *w, const struct resize_memo *memo,
					 const char *class)
{
	const struct claim_status status = { .modify_status =
						     core_modify_text(CORE_MODIFY_PENDING) };
	bool is_begun = work_claim(w)->modify == CORE_MODIFY_IN_PROGRESS && !memo->is_modify_final;
	struct err err;

	/* what may be under way stays so: its class being gone says nothing about that */
	if (!is_begun && claim_status_write(w, &status, &err) < 0)
		return err.code == ERR_ABORTED ? QUEUE_RETRY : fail(w, class, &err);
	err_set(&err, ERR_NOT_FOUND, "VAC \"%s\" does not exist.", class);
	return fail(w, class, &err);
}

static struct claim_condition modifying(const struct claim_work *w, const char *class,
					const char *state)
{
	return (struct claim_condition){
		.type = COND_MODIFYING,
		.message =
			arena_printf(w->ctx->arena, "Modifying volume to \"%s\" %s", class, state),
		.is_probed = true,
	};
}

/* The failure as a condition, and whether more of the same is pointless. */
static void record_failure(struct claim_work *w, const char *class, const struct err *why)
{
	struct claim_status status = {
		.conditions = {
			modifying(w, class, driver_is_in_doubt(why->code) ? "is still in progress."
						: "failed. Waiting for retry."),
			{
				.type = COND_MODIFY_ERROR,
				.reason = err_code_camel(why->code),
				.message = arena_strdup(w->ctx->arena, why->msg),
				.is_probed = true,
			},
		},
	};
	struct err err;

	if (why->code == ERR_INVALID_ARGUMENT) {
		status.modify_status = core_modify_text(CORE_MODIFY_INFEASIBLE);
		status.modify_target = class;
	}
	if (claim_status_settle(w, &status, &err) < 0 && !fence_is_cut_off(w->r->fence, w->ctx))
		log_warn("failure of modification not recorded", log_str("claim", w->key),
			 log_err(&err));
}

static enum queue_verdict fail_call(struct claim_work *w, struct resize_memo *memo,
				    const char *class, const struct err *err, int64_t *ret_after_ns)
{
	enum queue_verdict verdict = QUEUE_RETRY;

	if (fence_is_cut_off(w->r->fence, w->ctx))
		return QUEUE_RETRY;
	memo->is_modify_final = !driver_is_in_doubt(err->code);
	record_failure(w, class, err);
	if (err->code == ERR_INVALID_ARGUMENT) {
		memo->modify_rest_until_ns = clock_now_ns() + w->r->rest_ns;
		*ret_after_ns = w->r->rest_ns;
		verdict = QUEUE_RETRY_AFTER;
	}
	resize_memo_set(w, memo);
	(void)fail(w, class, err);
	return verdict;
}

/* ---- the call ---- */

static int find_secrets(struct claim_work *w, struct secrets *ret_secrets, struct err *err)
{
	const struct json *root = json_root(w->pv.doc);
	const struct json *annotations = json_path(root, "metadata.annotations");
	const struct json *expand = json_path(root, "spec.csi.controllerExpandSecretRef");
	struct secret_ref ref =
		secret_ref_at(annotations, ANN_MODIFY_SECRET_NAME, ANN_MODIFY_SECRET_NS);

	if (!secret_ref_is_set(&ref))
		ref = secret_ref_at(expand, "name", "namespace");
	return secret_fetch(w->r->client, w->ctx, &ref, ret_secrets, err);
}

static int read_class(struct claim_work *w, const char *name, struct json_doc **ret,
		      struct err *err)
{
	autofree char *path = NULL;

	if (kube_object_path(&storage_attributes_class_type, NULL, name, &path, err) < 0 ||
	    kube_get(w->r->client, w->ctx, path, ret, err) < 0)
		return err_wrap(err, "volumeAttributesClass %s", name);
	return 0;
}

static struct strmap make_parameters(const struct claim_work *w, const struct json *class)
{
	struct arena *arena = w->ctx->arena;
	struct strmap params = json_strmap(arena, json_get(class, "parameters"));

	if (!w->r->extra_modify_metadata)
		return params;
	params = strmap_with(arena, &params, PARAM_PREFIX "pvc/name", w->claim.obj->name);
	params = strmap_with(arena, &params, PARAM_PREFIX "pvc/namespace", w->claim.obj->ns);
	return strmap_with(arena, &params, PARAM_PREFIX "pv/name", w->pv.obj->name);
}

/* *ret_is_answer: whether what failed is one, the driver's or the class's. */
static int call(struct claim_work *w, const char *name, const struct json *class,
		bool *ret_is_answer, struct err *err)
{
	const char *driver = str_or(json_get_string(class, "driverName"), "");
	struct csi_controller_modify_volume_request req = {
		.volume_id = arena_strdup(w->ctx->arena, work_pv(w)->handle),
	};
	struct csi_controller_modify_volume_response reply;
	int64_t deadline_ns;
	int r;

	*ret_is_answer = false;
	if (find_secrets(w, &req.secrets, err) < 0)
		return -1;
	req.mutable_parameters = make_parameters(w, class);
	*ret_is_answer = true;
	if (!str_is_equal(driver, work_driver(w)))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volumeAttributesClass %s is of driver '%s'", name, driver);
	if (fence_check(w->r->fence, w->ctx, err) < 0)
		return -1;
	deadline_ns = driver_limit_to(w->ctx, w->r->modify_timeout_ns);
	r = csi_controller_modify_volume(&w->r->csi.service, w->ctx, &req, &reply, err);
	w->ctx->deadline_ns = deadline_ns;
	return r;
}

/* ---- the way ---- */

static int mark(struct claim_work *w, const char *class, struct err *err)
{
	const struct claim_status status = {
		.modify_status = core_modify_text(CORE_MODIFY_IN_PROGRESS),
		.modify_target = class,
		.conditions = { modifying(w, class, "is in progress.") },
	};
	bool is_news = work_claim(w)->modify != CORE_MODIFY_IN_PROGRESS ||
		       !str_is_equal(recorded_target(w), class);

	if (claim_status_write(w, &status, err) < 0)
		return -1;
	if (is_news)
		recorder_event(w->r->recorder, w->claim.obj, RECORDER_NORMAL, "VolumeModify",
			       "external resizer is modifying volume %s with vac %s",
			       w->claim.obj->name, class);
	return 0;
}

static int record(struct claim_work *w, const char *class, struct err *err)
{
	const struct claim_status status = { .modify_status = "",
					     .current_class = class,
					     .drops = { COND_MODIFYING, COND_MODIFY_ERROR } };

	if (claim_work_write_pv(w, &(struct pv_fields){ .attributes_class = class }, err) < 0)
		return -1;
	return claim_status_settle(w, &status, err);
}

static enum queue_verdict modify(struct claim_work *w, struct resize_memo *memo, const char *class,
				 const struct json *object, int64_t *ret_after_ns)
{
	bool is_answer;
	struct err err;

	if (mark(w, class, &err) < 0)
		return err.code == ERR_ABORTED ? QUEUE_RETRY : fail(w, class, &err);
	memo->is_modify_final = false; /* from here on, whatever becomes of the call */
	memo->modify_rest_until_ns = 0;
	resize_memo_set(w, memo);
	if (call(w, class, object, &is_answer, &err) < 0)
		return is_answer ? fail_call(w, memo, class, &err, ret_after_ns)
				 : fail(w, class, &err);
	if (record(w, class, &err) < 0)
		return err.code == ERR_ABORTED ? QUEUE_RETRY : fail(w, class, &err);
	log_info("volume modified", log_str("claim", w->key), log_str("pv", w->pv.obj->name),
		 log_str("class", class));
	recorder_event(w->r->recorder, w->claim.obj, RECORDER_NORMAL, "VolumeModifySuccessful",
		       "external resizer modified volume %s with vac %s successfully",
		       w->claim.obj->name, class);
	/* what was begun is done; the claim may name another by now, and nobody else says so */
	return modify_is_wanted(w->r, work_claim(w)) ? QUEUE_RETRY_AFTER : QUEUE_DONE;
}

/* Whether this very class was infeasible a moment ago. */
static bool is_resting(const struct claim_work *w, const struct resize_memo *memo,
		       const char *class, int64_t *ret_after_ns)
{
	int64_t now_ns = clock_now_ns();

	if (memo->modify_rest_until_ns <= now_ns ||
	    work_claim(w)->modify != CORE_MODIFY_INFEASIBLE ||
	    !str_is_equal(recorded_target(w), class))
		return false;
	*ret_after_ns = memo->modify_rest_until_ns - now_ns;
	return true;
}

enum queue_verdict modify_reconcile(struct claim_work *w, int64_t *ret_after_ns)
{
	struct resize_memo memo = resize_memo_get(w->r, w->uid);
	autojson struct json_doc *doc = NULL;
	const char *class;
	struct err err;

	if (!modify_is_wanted(w->r, work_claim(w)) ||
	    !(w->caps.controller & CSI_CAP_BIT(CSI_CTRL_MODIFY_VOLUME)))
		return QUEUE_DONE;
	class = find_target(w, &memo);
	if (!*class)
		return roll_back(w);
	if (is_resting(w, &memo, class, ret_after_ns))
		return QUEUE_RETRY_AFTER;
	if (read_class(w, class, &doc, &err) < 0)
		return err.code == ERR_NOT_FOUND ? wait_for_class(w, &memo, class)
						 : fail(w, class, &err);
	return modify(w, &memo, class, json_root(doc), ret_after_ns);
}
