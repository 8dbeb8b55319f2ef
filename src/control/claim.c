/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reconcile of a claim: from what the API server says to one next act.
 *
 *   look ── nothing to do ───────────────────────────────────────────────────► done
 *    ├─── wants a volume:  build request → record intent → CreateVolume → save PV
 *    ├─── bound, intent still recorded:  take it off
 *    └─── deleted, or bound elsewhere, intent recorded:
 *              PV saved:  take it off
 *              else:      CreateVolume → DeleteVolume → take it off
 *
 * It looks twice: at the cache, to let the many claims that need nothing go by, then at the API
 * server, because a cache may show a claim that was deleted, bound and cleaned up long ago. Every
 * step may be the last one of this process: the next one begins at the top, and each step finds
 * what it did before (intent.c says why nothing is lost).
 *
 * What a driver's error means is external-provisioner's table, with more doubts, since forgetting
 * the intent is what leaks: ALREADY_EXISTS says that a volume with our name and other properties
 * does exist; and after an earlier call whose end is unknown, an error that a driver may give
 * without having looked for the name (a parameter refused, a size out of range, INTERNAL and the
 * like) says nothing about that earlier call. Of all errors only RESOURCE_EXHAUSTED speaks of it:
 * who looks for room has looked for the name.
 */
#include "control/provision-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/str.h"
#include "kube/informer.h"
#include "kube/recorder.h"

#define UNDO_TRIES 5

enum claim_need {
	NEED_NOTHING,
	NEED_VOLUME,
	NEED_SETTLE,
	NEED_CLEANUP,
};

static bool is_ours(const struct provisioner *p, const struct kube_object *claim)
{
	const char *name = strmap_find(&claim->annotations, ANN_PROVISIONER);

	if (!name)
		name = strmap_find(&claim->annotations, ANN_PROVISIONER_BETA);
	return str_is_equal(name, p->driver) ||
	       str_is_equal(strmap_find(&claim->annotations, ANN_MIGRATED_TO), p->driver);
}

static bool is_pv_cached(const struct attempt *a)
{
	autokobj const struct kube_object *o = informer_get(a->p->caches.pvs, "", a->pv_name);

	return o && str_is_equal(kube_as_pv(o)->claim_uid, a->obj->uid);
}

static void find_class(struct attempt *a)
{
	const char *name = attempt_claim(a)->class_name;

	kube_object_unref(a->class_obj);
	a->class_obj = *name ? informer_get(a->p->caches.classes, "", name) : NULL;
}

static bool may_start(const struct attempt *a)
{
	const struct kube_storage_class *class = attempt_class(a);
	const char *node = strmap_find(&a->obj->annotations, ANN_SELECTED_NODE);

	return class && str_is_equal(class->provisioner, a->p->driver) &&
	       !(class->is_wait_for_first_consumer && str_is_empty(node)) && !is_pv_cached(a);
}

static enum claim_need look(struct attempt *a)
{
	const struct kube_pvc *claim = attempt_claim(a);
	bool is_recorded = intent_is_recorded(a->obj);
	bool is_over = a->obj->is_deleting || *claim->volume_name;

	if (!is_ours(a->p, a->obj) || (is_over && !is_recorded))
		return NEED_NOTHING;
	a->pv_name = arena_printf(a->ctx->arena, "%s-%s", a->p->prefix, a->obj->uid);
	find_class(a);
	if (str_is_equal(claim->volume_name, a->pv_name))
		return a->obj->is_deleting || str_is_equal(claim->phase, "Bound") ? NEED_SETTLE
										  : NEED_NOTHING;
	if (is_over)
		return NEED_CLEANUP;
	return may_start(a) ? NEED_VOLUME : NEED_NOTHING;
}

static enum attempt_state classify(const struct attempt *a, enum err_code code)
{
	bool has_node = !str_is_empty(strmap_find(&a->obj->annotations, ANN_SELECTED_NODE));

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

/* A volume that must not be handed out: deleted at once; what remains in doubt stays on record. */
static int undo_volume(struct attempt *a, const struct csi_volume *volume, struct err *err)
{
	struct err why;
	int r = -1;

	for (int i = 0; i < UNDO_TRIES && r < 0; i++)
		r = provision_delete_volume(a->p, a->ctx, volume->volume_id, &a->req.secrets, &why);
	a->state = r < 0 ? ATTEMPT_IN_BACKGROUND : ATTEMPT_FINISHED;
	return err_set(err, ERR_OUT_OF_RANGE,
		       "created volume capacity %llu less than requested capacity %llu%s%s",
		       (unsigned long long)volume->capacity_bytes,
		       (unsigned long long)a->req.capacity_range.required_bytes,
		       r < 0 ? "; it is still there: " : "", r < 0 ? why.msg : "");
}

static int check_volume(struct attempt *a, struct csi_volume *volume, struct err *err)
{
	if (str_is_empty(volume->volume_id)) {
		a->state = ATTEMPT_IN_BACKGROUND;
		return err_set(err, ERR_INTERNAL,
			       "the driver answered CreateVolume without a volume_id");
	}
	if (volume->capacity_bytes == 0)
		volume->capacity_bytes = a->req.capacity_range.required_bytes;
	if (volume->capacity_bytes < a->req.capacity_range.required_bytes && !a->is_cleanup)
		return undo_volume(a, volume, err);
	return 0;
}

static int create_volume(struct attempt *a, struct csi_volume *ret_volume, struct err *err)
{
	struct csi_volume volume = { 0 };
	int64_t deadline_ns;
	int r;

	if (provision_may_act(a->p, err) < 0)
		return -1;
	deadline_ns = provision_limit(a->p, a->ctx);
	r = csi_create_volume(&a->p->service, a->ctx, &a->req, &volume, err);
	a->ctx->deadline_ns = deadline_ns;
	if (r < 0) {
		a->state = classify(a, err->code);
		return err_set(err, err->code, "rpc error: code = %s desc = %s",
			       err_code_camel(err->code), arena_strdup(a->ctx->arena, err->msg));
	}
	if (check_volume(a, &volume, err) < 0)
		return -1;
	*ret_volume = volume;
	return 0;
}

static int build(struct attempt *a, struct err *err)
{
	a->state = ATTEMPT_NO_CHANGE;
	if (provision_caps(a->p, a->ctx, &a->caps, err) < 0)
		return -1;
	return request_build(a, err);
}

/* The API server's trouble, or another's write: no word on the claim. */
static enum queue_verdict retry_later(const struct attempt *a, const struct err *err)
{
	if (err->code == ERR_ABORTED)
		log_debug("claim changed meanwhile", log_str("claim", a->key), log_err(err));
	else
		log_warn("claim not reconciled", log_str("claim", a->key), log_err(err));
	return QUEUE_RETRY;
}

static enum queue_verdict settle(struct attempt *a, bool drop, bool unselect,
				 enum queue_verdict verdict)
{
	struct err err;

	if (intent_settle(a, drop, unselect, &err) < 0)
		return retry_later(a, &err);
	return verdict;
}

static void report_failure(const struct attempt *a, const struct err *err)
{
	const char *class = attempt_claim(a)->class_name;
	const char *what =
		a->state == ATTEMPT_INFEASIBLE ? "infeasible, tried again in 5 minutes: " : "";

	metric_add(METRIC_PROVISION_FAILED, 1, METRIC_ARGS(class, ""));
	log_warn("volume not provisioned", log_str("claim", a->key), log_str("volume", a->pv_name),
		 log_err(err));
	recorder_event(a->p->recorder, a->obj, RECORDER_WARNING, "ProvisioningFailed",
		       "failed to provision volume with StorageClass \"%s\": %s%s", class, what,
		       err->msg);
}

static enum queue_verdict fail_attempt(struct attempt *a, const struct err *err,
				       int64_t *ret_after_ns)
{
	struct err lost;

	if (provision_may_act(a->p, &lost) < 0)
		return QUEUE_RETRY;
	report_failure(a, err);
	switch (a->state) {
	case ATTEMPT_NO_CHANGE:
	case ATTEMPT_IN_BACKGROUND:
		break;
	case ATTEMPT_FINISHED:
		return settle(a, true, false, QUEUE_RETRY);
	case ATTEMPT_RESCHEDULE:
		/* Said by the driver it also is final; said by us (no such node) an older doubt
		 * stays. */
		return settle(a, err->code == ERR_RESOURCE_EXHAUSTED, true, QUEUE_DONE);
	case ATTEMPT_INFEASIBLE:
		note_infeasible(a->p, a->obj->uid, a->class_obj->uid);
		*ret_after_ns = INFEASIBLE_REST_NS;
		return settle(a, !a->was_in_doubt, false, QUEUE_RETRY_AFTER);
	}
	return QUEUE_RETRY;
}

static bool has_foreign_source(const struct kube_pvc *claim)
{
	bool is_snapshot = str_is_equal(claim->source_kind, "VolumeSnapshot") &&
			   str_is_equal(claim->source_api_group, "snapshot.storage.k8s.io");
	bool is_claim = str_is_equal(claim->source_kind, "PersistentVolumeClaim") &&
			!*claim->source_api_group;

	return *claim->source_kind && !is_snapshot && !is_claim;
}

static enum queue_verdict finish(struct attempt *a, const struct csi_volume *volume,
				 int64_t began_ns)
{
	const char *class = attempt_claim(a)->class_name;
	int64_t took_ns = clock_now_ns() - began_ns;

	metric_add(METRIC_PROVISION_TOTAL, 1, METRIC_ARGS(class, ""));
	metric_observe(METRIC_PROVISION_SECONDS, (double)took_ns / NS_PER_S,
		       METRIC_ARGS(class, ""));
	log_info("volume provisioned", log_str("claim", a->key), log_str("pv", a->pv_name),
		 log_str("volume", volume->volume_id), log_u64("bytes", volume->capacity_bytes),
		 log_duration("took", took_ns));
	recorder_event(a->p->recorder, a->obj, RECORDER_NORMAL, "ProvisioningSucceeded",
		       "Successfully provisioned volume %s", a->pv_name);
	note_forget(a->p, a->obj->uid);
	return QUEUE_DONE;
}

static enum queue_verdict provision(struct attempt *a, int64_t *ret_after_ns)
{
	int64_t began_ns = note_first_attempt(a->p, a->obj->uid);
	struct csi_volume volume;
	struct err err;

	if (has_foreign_source(attempt_claim(a))) {
		recorder_event(a->p->recorder, a->obj, RECORDER_NORMAL, "Provisioning",
			       "Assuming an external populator will provision the volume");
		return QUEUE_DONE;
	}
	recorder_event(a->p->recorder, a->obj, RECORDER_NORMAL, "Provisioning",
		       "External provisioner is provisioning volume for claim \"%s\"", a->key);
	if (build(a, &err) < 0)
		return fail_attempt(a, &err, ret_after_ns);
	if (intent_record(a, &err) < 0)
		return err.code == ERR_NOT_FOUND ? QUEUE_DONE : retry_later(a, &err);
	if (create_volume(a, &volume, &err) < 0)
		return fail_attempt(a, &err, ret_after_ns);
	if (pv_save(a, &volume, &err) < 0) {
		a->state = ATTEMPT_IN_BACKGROUND;
		return fail_attempt(a, &err, ret_after_ns);
	}
	return finish(a, &volume, began_ns);
}

static enum queue_verdict fail_cleanup(struct attempt *a, const struct err *err)
{
	if (a->state == ATTEMPT_FINISHED || a->state == ATTEMPT_RESCHEDULE)
		return settle(a, true, false, QUEUE_DONE);
	report_failure(a, err);
	return QUEUE_RETRY;
}

/* The claim needs no volume any more, but one may have been made: ask for it by name, so as to
 * delete it. */
static enum queue_verdict clean_up(struct attempt *a)
{
	struct csi_volume volume;
	struct err err;
	int saved = pv_is_saved(a, NULL, &err);

	if (saved < 0)
		return retry_later(a, &err);
	if (saved)
		return settle(a, true, false, QUEUE_DONE);
	a->is_cleanup = true;
	if (!a->class_obj) {
		a->state = ATTEMPT_NO_CHANGE;
		(void)err_set(&err, ERR_FAILED_PRECONDITION,
			      "a volume %s may have been made and cannot be deleted without the "
			      "class's parameters",
			      a->pv_name);
		return fail_cleanup(a, &err);
	}
	if (build(a, &err) < 0 || create_volume(a, &volume, &err) < 0)
		return fail_cleanup(a, &err);
	if (provision_delete_volume(a->p, a->ctx, volume.volume_id, &a->req.secrets, &err) < 0) {
		a->state = ATTEMPT_IN_BACKGROUND;
		return fail_cleanup(a, &err);
	}
	log_info("volume of a claim that is gone deleted", log_str("claim", a->key),
		 log_str("volume", volume.volume_id));
	return settle(a, true, false, QUEUE_DONE);
}

static enum queue_verdict reconcile(struct attempt *a, int64_t *ret_after_ns)
{
	enum claim_need need = look(a);
	struct err err;

	if (need == NEED_VOLUME)
		*ret_after_ns = note_rest_ns(a->p, a->obj->uid, a->class_obj->uid);
	if (need == NEED_VOLUME && *ret_after_ns > 0)
		return QUEUE_RETRY_AFTER;
	if (need == NEED_NOTHING)
		return QUEUE_DONE;
	if (intent_read(a, &err) < 0)
		return err.code == ERR_NOT_FOUND ? QUEUE_DONE : retry_later(a, &err);
	a->was_in_doubt = intent_is_recorded(a->obj);
	switch (look(a)) {
	case NEED_NOTHING:
		break;
	case NEED_VOLUME:
		return provision(a, ret_after_ns);
	case NEED_SETTLE:
		return settle(a, true, false, QUEUE_DONE);
	case NEED_CLEANUP:
		return clean_up(a);
	}
	return QUEUE_DONE;
}

static const struct kube_object *find_cached(struct provisioner *p, struct ctx *ctx,
					     const char *key)
{
	const char *slash = strchr(key, '/');
	const char *ns = arena_strndup(ctx->arena, key, (size_t)(slash - key));

	return informer_get(p->caches.pvcs, ns, slash + 1);
}

enum queue_verdict claim_reconcile(void *arg, struct ctx *ctx, const char *key,
				   int64_t *ret_after_ns)
{
	struct attempt a = { .p = arg, .ctx = ctx, .key = key };
	enum queue_verdict verdict = QUEUE_DONE;

	a.obj = find_cached(a.p, ctx, key);
	if (a.obj)
		verdict = reconcile(&a, ret_after_ns);
	kube_object_unref(a.obj);
	kube_object_unref(a.class_obj);
	json_free(a.doc);
	return verdict;
}
