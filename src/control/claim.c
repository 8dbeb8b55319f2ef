/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reconcile of a claim: from what the cache and the journal say to one next act.
 *
 *   look ── nothing to do ──────────────────────────────────────────────────────► done
 *    ├─── wants a volume:  build request → journal → CreateVolume → save PV → out of the journal
 *    ├─── wants one, in the journal:       the request on record, the same way
 *    ├─── has its PV, in the journal:      out of the journal
 *    └─── deleted, or bound elsewhere, in the journal:
 *              PV saved:  out of the journal
 *              else:      CreateVolume as on record → DeleteVolume → out of the journal
 *
 * The cache is enough, though it may show a claim that was deleted, bound and cleaned up long ago:
 * what is then made gets a PV for a claim that is no more, which is Released at once and goes the
 * way of all such. Only before a volume in doubt is deleted for want of its claim is the API server
 * asked. Every step may be the last one of this process: the next one begins at the top, and each
 * step finds what it did before (journal.c says why nothing is lost).
 */
#include "control/provision-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/num.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/path.h"
#include "kube/recorder.h"

#define JOURNAL_WAIT_NS (50 * NS_PER_MS)
/* While it cannot be opened, each claim that waits for it is told so. */
#define JOURNAL_TROUBLE_NS (15 * NS_PER_S)

enum claim_need {
	NEED_NOTHING,
	NEED_VOLUME,
	NEED_NODE, /* of several that could make it */
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

	return o && str_is_equal(core_pv_of(o)->claim_uid, a->uid);
}

static void find_class(struct attempt *a)
{
	const char *name = attempt_claim(a)->class_name;

	kube_object_unref(a->class_obj);
	a->class_obj = *name ? informer_get(a->p->caches.classes, "", name) : NULL;
}

/* By its class and by whether a node is chosen. */
static bool is_class_ready(const struct provisioner *p, const struct kube_object *claim,
			   const struct storage_class *class)
{
	const char *node = strmap_find(&claim->annotations, ANN_SELECTED_NODE);

	if (!class || !str_is_equal(class->provisioner, p->driver))
		return false;
	if (p->node_name)
		return own_node_is_for(p, claim, class);
	return !(class->is_wait_for_first_consumer && str_is_empty(node));
}

static bool may_start(const struct attempt *a)
{
	return a->was_in_doubt ||
	       (is_class_ready(a->p, a->claim.obj, attempt_class(a)) && !is_pv_cached(a));
}

/*
 * Each node has a driver and a journal of its own, so that there is a PV of the name does not say
 * that it is of the volume that stands in this one; nor is it this node's to make any more when
 * another one is chosen.
 */
static enum claim_need look_at_doubt(const struct attempt *a)
{
	bool is_saved = str_is_equal(attempt_claim(a)->volume_name, a->pv_name) || is_pv_cached(a);

	if (!a->p->node_name)
		return is_saved ? NEED_SETTLE : NEED_VOLUME;
	return is_saved || !own_node_is_selected(a->p, a->claim.obj) ? NEED_CLEANUP : NEED_VOLUME;
}

static enum claim_need look(struct attempt *a)
{
	enum claim_need doubt;

	const struct core_pvc *claim = attempt_claim(a);
	bool is_over = a->claim.obj->is_deleting || *claim->volume_name;

	if (!a->was_in_doubt && (is_over || !is_ours(a->p, a->claim.obj)))
		return NEED_NOTHING;
	a->pv_name = object_asked_name(a->ctx->arena, a->p->prefix, a->uid, a->p->name_digits);
	find_class(a);
	doubt = a->was_in_doubt ? look_at_doubt(a) : NEED_VOLUME;
	if (doubt != NEED_VOLUME)
		return doubt;
	if (is_over || !is_ours(a->p, a->claim.obj))
		return NEED_CLEANUP;
	if (!may_start(a))
		return NEED_NOTHING;
	return a->p->node_name && !own_node_is_selected(a->p, a->claim.obj) ? NEED_NODE
									    : NEED_VOLUME;
}

static int build(struct attempt *a, struct err *err)
{
	a->state = ATTEMPT_NO_CHANGE;
	if (driver_ask(&a->p->csi, a->ctx, &a->caps, err) < 0)
		return -1;
	return request_build(a, err);
}

/* The API server's trouble, or another's write: no word on the claim. */
static enum queue_verdict retry_later(const struct attempt *a, const struct err *err)
{
	if (err->code == ERR_ABORTED || fence_is_cut_off(a->p->fence, a->ctx))
		log_debug("claim left for later", log_str("claim", a->key), log_err(err));
	else
		log_warn("claim not reconciled", log_str("claim", a->key), log_err(err));
	return QUEUE_RETRY;
}

/* Of the claim, or as on record if that is gone. */
static const char *class_name(const struct attempt *a)
{
	return a->claim.obj ? attempt_claim(a)->class_name : str_or(a->it.class_name, "");
}

/* Kind of the data source, "" without one. */
static const char *source_label(const struct attempt *a)
{
	switch (a->it.request.volume_content_source.kind) {
	case CSI_SOURCE_SNAPSHOT:
		return "VolumeSnapshot";
	case CSI_SOURCE_VOLUME:
		return "PersistentVolumeClaim";
	default:
		return a->claim.obj ? attempt_claim(a)->source_kind : "";
	}
}

static void report_failure(const struct attempt *a, const struct err *err)
{
	const char *what = a->state == ATTEMPT_INFEASIBLE
				   ? "Volume provisioning failed with infeasible error. "
				     "Retries will be delayed. "
				   : ""; /* as external-provisioner */

	metric_add(METRIC_PROVISION_FAILED, 1, METRIC_ARGS(class_name(a), source_label(a)));
	log_warn("volume not provisioned", log_str("claim", a->key), log_str("volume", a->pv_name),
		 log_err(err));
	if (a->claim.obj)
		recorder_event(a->p->recorder, a->claim.obj, RECORDER_WARNING, "ProvisioningFailed",
			       "%s%s", what, err->msg);
}

static enum queue_verdict give_back(struct attempt *a)
{
	struct err err;

	return attempt_unselect_node(a, &err) < 0 ? retry_later(a, &err) : QUEUE_DONE;
}

static enum queue_verdict fail_attempt(struct attempt *a, const struct err *err,
				       int64_t *ret_after_ns)
{
	if (fence_is_cut_off(a->p->fence, a->ctx))
		return QUEUE_RETRY;
	report_failure(a, err);
	switch (a->state) {
	case ATTEMPT_NO_CHANGE:
	case ATTEMPT_IN_BACKGROUND:
		break;
	case ATTEMPT_FINISHED:
		attempt_drop_intent(a);
		break;
	case ATTEMPT_RESCHEDULE:
		/* Said by the driver it also is final; said by us (no such node) an older doubt
		 * stays. */
		if (err->code == ERR_RESOURCE_EXHAUSTED)
			attempt_drop_intent(a);
		return give_back(a);
	case ATTEMPT_INFEASIBLE:
		memo_set_infeasible(a->p, a->uid, a->class_obj ? a->class_obj->uid : "");
		*ret_after_ns = INFEASIBLE_REST_NS;
		if (!a->was_in_doubt)
			attempt_drop_intent(a);
		return QUEUE_RETRY_AFTER;
	}
	return QUEUE_RETRY;
}

static bool has_foreign_source(const struct core_pvc *claim)
{
	return *claim->source_kind && !core_pvc_is_of_snapshot(claim) &&
	       !core_pvc_is_of_claim(claim);
}

static enum queue_verdict finish(struct attempt *a, const struct csi_volume *volume,
				 int64_t began_ns)
{
	int64_t took_ns = clock_now_ns() - began_ns;

	attempt_drop_intent(a);
	metric_add(METRIC_PROVISION_TOTAL, 1, METRIC_ARGS(class_name(a), source_label(a)));
	metric_observe(METRIC_PROVISION_SECONDS, (double)took_ns / NS_PER_S,
		       METRIC_ARGS(class_name(a), source_label(a)));
	log_info("volume provisioned", log_str("claim", a->key), log_str("pv", a->pv_name),
		 log_str("volume", volume->volume_id), log_u64("bytes", volume->capacity_bytes),
		 log_duration("took", took_ns));
	recorder_event(a->p->recorder, a->claim.obj, RECORDER_NORMAL, "ProvisioningSucceeded",
		       "Successfully provisioned volume %s", a->pv_name);
	memo_forget(a->p, a->uid);
	return QUEUE_DONE;
}

/* a->it: as on record, or built and then recorded. -1: *ret_verdict says what comes next. */
static int prepare(struct attempt *a, int64_t *ret_after_ns, enum queue_verdict *ret_verdict)
{
	struct err err;

	a->state = ATTEMPT_NO_CHANGE;
	if (a->was_in_doubt) {
		if (driver_ask(&a->p->csi, a->ctx, &a->caps, &err) == 0 &&
		    attempt_load_intent(a, &err) == 0)
			return 0;
		*ret_verdict = fail_attempt(a, &err, ret_after_ns);
		return -1;
	}
	if (build(a, &err) < 0) {
		*ret_verdict = fail_attempt(a, &err, ret_after_ns);
		return -1;
	}
	attempt_fill_intent(a);
	if (journal_put(a->p->journal, a->ctx, &a->it, &err) == 0)
		return 0;
	a->state = ATTEMPT_NO_CHANGE;
	*ret_verdict = err.code == ERR_RESOURCE_EXHAUSTED || err.code == ERR_FAILED_PRECONDITION
			       ? fail_attempt(a, &err, ret_after_ns)
			       : retry_later(a, &err);
	return -1;
}

static enum queue_verdict provision(struct attempt *a, int64_t *ret_after_ns)
{
	int64_t began_ns = memo_began_ns(a->p, a->uid);
	enum queue_verdict verdict = QUEUE_RETRY;
	struct csi_volume volume;
	struct err err;

	if (has_foreign_source(attempt_claim(a))) {
		recorder_event(a->p->recorder, a->claim.obj, RECORDER_NORMAL, "Provisioning",
			       "Assuming an external populator will provision the volume");
		return QUEUE_DONE;
	}
	metric_expect(METRIC_PROVISION_TOTAL, METRIC_ARGS(class_name(a), source_label(a)));
	metric_expect(METRIC_PROVISION_FAILED, METRIC_ARGS(class_name(a), source_label(a)));
	recorder_event(a->p->recorder, a->claim.obj, RECORDER_NORMAL, "Provisioning",
		       "External provisioner is provisioning volume for claim \"%s\"", a->key);
	if (prepare(a, ret_after_ns, &verdict) < 0)
		return verdict;
	if (claim_create_volume(a, &volume, &err) < 0)
		return fail_attempt(a, &err, ret_after_ns);
	if (pv_save(a, &volume, &err) < 0) {
		a->state = ATTEMPT_IN_BACKGROUND;
		return fail_attempt(a, &err, ret_after_ns);
	}
	return finish(a, &volume, began_ns);
}

static enum queue_verdict fail_cleanup(struct attempt *a, const struct err *err)
{
	if (fence_is_cut_off(a->p->fence, a->ctx))
		return QUEUE_RETRY;
	if (a->state != ATTEMPT_FINISHED && a->state != ATTEMPT_RESCHEDULE) {
		report_failure(a, err);
		return QUEUE_RETRY;
	}
	attempt_drop_intent(a);
	return QUEUE_DONE;
}

/* Nobody needs the volume any more, but one may have been made: ask for it, by the very request
 * that may have made it, so as to delete it. */
static enum queue_verdict clean_up(struct attempt *a)
{
	struct csi_volume volume;
	struct err err;
	int saved;

	a->state = ATTEMPT_NO_CHANGE;
	a->is_cleanup = true;
	if (driver_ask(&a->p->csi, a->ctx, &a->caps, &err) < 0 || attempt_load_intent(a, &err) < 0)
		return fail_cleanup(a, &err);
	saved = pv_is_saved(a, NULL, &err);
	if (saved > 0 && a->p->node_name)
		saved = own_node_has_saved(a, &err);
	if (saved == 0 && claim_create_volume(a, &volume, &err) < 0)
		return fail_cleanup(a, &err);
	/* No volume is deleted that a PV tells of, whatever that says of where it is. */
	if (saved == 0 && a->p->node_name) {
		saved = pv_is_saved(a, volume.volume_id, &err);
		saved = saved < 0 && err.code == ERR_ALREADY_EXISTS ? 0 : saved;
	}
	if (saved < 0)
		return retry_later(a, &err);
	if (saved > 0) {
		attempt_drop_intent(a);
		return QUEUE_DONE;
	}
	if (provision_delete_volume(a->p, a->ctx, volume.volume_id, &a->it.request.secrets, &err) <
	    0) {
		a->state = ATTEMPT_IN_BACKGROUND;
		return fail_cleanup(a, &err);
	}
	log_info("volume of a claim that is gone deleted", log_str("claim", a->key),
		 log_str("volume", volume.volume_id));
	attempt_drop_intent(a);
	return QUEUE_DONE;
}

/* A bound claim that asks for more than its volume, which is of our driver, has; a reference to
 * that, or NULL. */
static const struct kube_object *find_outgrown(struct provisioner *p, const struct kube_object *obj)
{
	const struct core_pvc *claim = core_pvc_of(obj);
	const struct kube_object *o =
		*claim->volume_name ? informer_get(p->caches.pvs, "", claim->volume_name) : NULL;
	const struct core_pv *pv = core_pv_of(o);

	if (pv && !obj->is_deleting && !claim->has_bad_request && pv->capacity_bytes &&
	    claim->request_bytes > pv->capacity_bytes && str_is_equal(pv->driver, p->driver))
		return o;
	kube_object_unref(o);
	return NULL;
}

/* Of a driver that cannot give more: nobody else would say so. */
static void tell_growth(struct attempt *a)
{
	autokobj const struct kube_object *o = find_outgrown(a->p, a->claim.obj);
	char text[NUM_QUANTITY_MAX];
	struct err err;

	if (!o || a->p->grows_on_node || driver_ask(&a->p->csi, a->ctx, &a->caps, &err) < 0 ||
	    (a->caps.controller & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME)))
		return;
	num_format_quantity(core_pv_of(o)->capacity_bytes, text);
	recorder_event(a->p->recorder, a->claim.obj, RECORDER_WARNING, "VolumeResizeFailed",
		       "driver %s does not expand volumes: the volume keeps its %s", a->p->driver,
		       text);
}

bool claim_is_wanted(struct provisioner *p, const struct kube_object *claim)
{
	const struct core_pvc *pvc = core_pvc_of(claim);
	autokobj const struct kube_object *other = NULL;

	if (journal_has(p->journal, claim->uid))
		return true;
	if (*pvc->volume_name) {
		other = find_outgrown(p, claim);
		return other;
	}
	if (claim->is_deleting || !is_ours(p, claim) || !*pvc->class_name)
		return false;
	other = informer_get(p->caches.classes, "", pvc->class_name);
	return is_class_ready(p, claim, storage_class_of(other));
}

static enum queue_verdict reconcile(struct attempt *a, int64_t *ret_after_ns)
{
	enum claim_need need = look(a);

	switch (need) {
	case NEED_NOTHING:
		tell_growth(a);
		break;
	case NEED_VOLUME:
		*ret_after_ns = memo_rest_ns(a->p, a->uid, a->class_obj ? a->class_obj->uid : "");
		return *ret_after_ns > 0 ? QUEUE_RETRY_AFTER : provision(a, ret_after_ns);
	case NEED_NODE:
		return own_node_race(a, ret_after_ns);
	case NEED_SETTLE:
		attempt_drop_intent(a);
		break;
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

/* 1 if the API server has no such claim any more, 0 if it has; the cache may be behind. */
static int is_gone(struct provisioner *p, struct ctx *ctx, const char *key, const char *uid,
		   struct err *err)
{
	const char *slash = strchr(key, '/');
	const char *ns = arena_strndup(ctx->arena, key, (size_t)(slash - key));
	autofree char *path = NULL;
	autojson struct json_doc *doc = NULL;

	if (kube_object_path(&core_pvc_type, ns, slash + 1, &path, err) < 0)
		return -1;
	if (kube_get(p->client, ctx, path, &doc, err) < 0)
		return err->code == ERR_NOT_FOUND ? 1 : -1;
	return !str_is_equal(json_path_string(json_root(doc), "metadata.uid"), uid);
}

/* An intent for a claim that the cache does not have. */
static enum queue_verdict reconcile_orphan(struct provisioner *p, struct ctx *ctx, const char *key,
					   const char *uid)
{
	struct attempt a = { .p = p, .ctx = ctx, .key = key, .uid = uid, .was_in_doubt = true };
	struct err err;
	int gone = is_gone(p, ctx, key, uid, &err);

	a.pv_name = object_asked_name(ctx->arena, p->prefix, uid, p->name_digits);
	if (gone == 0)
		(void)err_set(&err, ERR_ABORTED, "the cache does not have the claim yet");
	return gone > 0 ? clean_up(&a) : retry_later(&a, &err);
}

static enum queue_verdict reconcile_cached(struct provisioner *p, struct ctx *ctx, const char *key,
					   const struct kube_object *obj, int64_t *ret_after_ns)
{
	struct attempt a = { .p = p, .ctx = ctx, .key = key, .claim.obj = kube_object_ref(obj) };
	enum queue_verdict verdict;

	a.uid = arena_strdup(ctx->arena, obj->uid);
	a.was_in_doubt = journal_has(p->journal, a.uid);
	verdict = reconcile(&a, ret_after_ns);
	object_whole_done(&a.claim);
	kube_object_unref(a.class_obj);
	return verdict;
}

/* Nothing is made before there is a record of it. */
static enum queue_verdict wait_for_journal(struct provisioner *p, struct ctx *ctx, const char *key,
					   int64_t *ret_after_ns)
{
	const char *trouble = memo_trouble(p, ctx->arena);
	autokobj const struct kube_object *obj = NULL;

	*ret_after_ns = JOURNAL_WAIT_NS;
	queue_add(p->claims, JOURNAL_KEY);
	if (!*trouble)
		return QUEUE_RETRY_AFTER;
	*ret_after_ns = JOURNAL_TROUBLE_NS;
	obj = find_cached(p, ctx, key);
	if (obj)
		recorder_event(p->recorder, obj, RECORDER_WARNING, "ProvisioningFailed",
			       "waiting until what is being made can be put on record: %s",
			       trouble);
	return QUEUE_RETRY_AFTER;
}

enum queue_verdict claim_reconcile(void *arg, struct ctx *ctx, const char *key,
				   int64_t *ret_after_ns)
{
	struct provisioner *p = arg;
	autokobj const struct kube_object *obj = NULL;
	enum queue_verdict verdict = QUEUE_DONE;
	struct intent_strings uids;

	if (str_is_equal(key, JOURNAL_KEY))
		return attempt_reconcile_journal(p, ctx, ret_after_ns);
	if (!journal_is_open(p->journal))
		return wait_for_journal(p, ctx, key, ret_after_ns);
	obj = find_cached(p, ctx, key);
	if (obj)
		verdict = reconcile_cached(p, ctx, key, obj, ret_after_ns);
	uids = journal_uids(p->journal, ctx->arena, key);
	for (size_t i = 0; i < uids.n; i++)
		if (!obj || !str_is_equal(uids.v[i], obj->uid))
			if (reconcile_orphan(p, ctx, key, uids.v[i]) != QUEUE_DONE)
				verdict = QUEUE_RETRY;
	return verdict;
}
