/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resizer's frame: changes in the caches become keys, a key becomes a reconcile that first
 * grows the claim's volume and then modifies it (resize.c, modify.c). Both are of one claim and one
 * volume, so they are done one after the other: two writers of one status would be in each other's
 * way, and so would two calls for one volume at the driver.
 *
 * A claim is queued for what its user changed, for a volume that it was given, and when kubelet is
 * done with it; not for what is written here. Where kubelet found that a volume cannot grow on its
 * node, the driver is asked once more after ten minutes, which is what upstream's resync comes to.
 */
#include "control/resizer-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/fence.h"
#include "kube/informer.h"

#define DEFAULT_WORKERS 10
#define DEFAULT_TIMEOUT_NS (10 * NS_PER_S)
#define DEFAULT_REST_NS (300 * NS_PER_S)
#define NODE_RETRY_NS (600 * NS_PER_S)
/* A reconcile asks the driver what it can, grows, modifies (which has a time limit of its own), and
 * has two dozen API calls. */
#define RECONCILE_API_NS (90 * NS_PER_S)
#define RECONCILE_CALLS 2

static bool is_of(const struct core_pv *pv, const struct kube_object *claim)
{
	return str_is_equal(pv->claim_ns, claim->ns) && str_is_equal(pv->claim_uid, claim->uid);
}

static bool is_wanted(const struct resizer *r, const struct kube_object *o,
		      const struct kube_object *pv_obj)
{
	const struct core_pvc *claim = core_pvc_of(o);
	const struct core_pv *pv = core_pv_of(pv_obj);

	return pv && str_is_equal(claim->phase, "Bound") && str_is_equal(pv->driver, r->csi.name) &&
	       is_of(pv, o) && (resize_is_wanted(r, claim, pv) || modify_is_wanted(r, claim));
}

static bool is_wanted_in_caches(struct resizer *r, const struct kube_object *claim)
{
	const char *name = core_pvc_of(claim)->volume_name;
	autokobj const struct kube_object *pv = *name ? informer_get(r->pvs, "", name) : NULL;

	return is_wanted(r, claim, pv);
}

static void add_if_wanted(struct resizer *r, const struct kube_object *claim, int64_t after_ns)
{
	autofree char *key = NULL;

	if (!is_wanted_in_caches(r, claim))
		return;
	key = xasprintf("%s/%s", claim->ns, claim->name);
	if (after_ns)
		queue_add_after(r->claims, key, after_ns);
	else
		queue_add(r->claims, key);
}

/* ---- changes ---- */

static bool is_claim_changed(const struct kube_object *a, const struct kube_object *b)
{
	const struct core_pvc *old = core_pvc_of(a), *new = core_pvc_of(b);

	return !str_is_equal(a->uid, b->uid) || old->request_bytes != new->request_bytes ||
	       old->capacity_bytes != new->capacity_bytes ||
	       !str_is_equal(old->phase, new->phase) ||
	       !str_is_equal(old->volume_name, new->volume_name) ||
	       !str_is_equal(old->attributes_class, new->attributes_class) ||
	       !str_is_equal(old->current_attributes_class, new->current_attributes_class);
}

static bool is_given_up(const struct kube_object *a, const struct kube_object *b)
{
	return core_pvc_of(b)->resize == CORE_RESIZE_NODE_INFEASIBLE &&
	       core_pvc_of(a)->resize != CORE_RESIZE_NODE_INFEASIBLE;
}

static void on_claim(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct resizer *r = arg;

	if (old_obj && (!new_obj || !str_is_equal(old_obj->uid, new_obj->uid)))
		resize_memo_forget(r, old_obj->uid);
	if (!new_obj)
		return;
	if (!old_obj || is_claim_changed(old_obj, new_obj))
		add_if_wanted(r, new_obj, 0);
	else if (is_given_up(old_obj, new_obj))
		add_if_wanted(r, new_obj, NODE_RETRY_NS);
}

/* A PV that comes after its claim, or becomes another claim's. */
static void on_pv(void *arg, const struct kube_object *old_obj, const struct kube_object *new_obj)
{
	struct resizer *r = arg;
	const struct core_pv *pv = core_pv_of(new_obj), *old = core_pv_of(old_obj);
	autokobj const struct kube_object *claim = NULL;

	if (!pv || !str_is_equal(pv->driver, r->csi.name) ||
	    (old && str_is_equal(old->claim_uid, pv->claim_uid)))
		return;
	claim = informer_get(r->pvcs, pv->claim_ns, pv->claim_name);
	if (claim)
		add_if_wanted(r, claim, 0);
}

/* A class that comes, or is made anew, is news for the claims that wait for it. */
static void on_class(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	autokobjs struct kube_objects claims = { 0 };
	struct resizer *r = arg;

	if (!new_obj || (old_obj && str_is_equal(old_obj->uid, new_obj->uid)))
		return;
	informer_each_in(r->pvcs, CORE_MODIFIED_BY_CLASS, new_obj->name, kube_objects_add, &claims);
	for (size_t i = 0; i < claims.n; i++)
		add_if_wanted(r, claims.v[i], 0);
}

/* ---- the reconcile ---- */

/* What both halves want of the key: to fail is more than to wait. */
static enum queue_verdict join(enum queue_verdict a, int64_t a_ns, enum queue_verdict b,
			       int64_t b_ns, int64_t *ret_after_ns)
{
	if (a == QUEUE_RETRY || b == QUEUE_RETRY)
		return QUEUE_RETRY;
	if (a == QUEUE_DONE && b == QUEUE_DONE)
		return QUEUE_DONE;
	if (a == QUEUE_DONE || (b != QUEUE_DONE && b_ns < a_ns))
		a_ns = b_ns;
	*ret_after_ns = a_ns;
	return QUEUE_RETRY_AFTER;
}

static enum queue_verdict do_both(struct claim_work *w, int64_t *ret_after_ns)
{
	int64_t resize_ns = 0, modify_ns = 0;
	enum queue_verdict resize, modify;

	if (!is_wanted(w->r, w->claim.obj, w->pv.obj))
		return QUEUE_DONE;
	resize = resize_reconcile(w, &resize_ns);
	if (resize == QUEUE_RETRY && fence_is_cut_off(w->r->fence, w->ctx))
		return QUEUE_RETRY;
	modify = modify_reconcile(w, &modify_ns);
	return join(resize, resize_ns, modify, modify_ns, ret_after_ns);
}

static enum queue_verdict reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	struct resizer *r = arg;
	const char *slash = strchr(key, '/');
	autofree char *ns = xstrndup(key, (size_t)(slash - key));
	struct claim_work w = { .r = r, .ctx = ctx, .key = key };
	enum queue_verdict verdict = QUEUE_RETRY;
	struct err err;

	w.claim.obj = informer_get(r->pvcs, ns, slash + 1);
	if (!w.claim.obj || !is_wanted_in_caches(r, w.claim.obj)) {
		claim_work_done(&w);
		return QUEUE_DONE;
	}
	if (driver_ask(&r->csi, ctx, &w.caps, &err) == 0 && claim_work_read(&w, &err) == 0)
		verdict = do_both(&w, ret_after_ns);
	else if (err.code == ERR_NOT_FOUND)
		verdict = QUEUE_DONE;
	else if (!fence_is_cut_off(r->fence, ctx))
		log_warn("claim not looked at", log_str("claim", key), log_err(&err));
	claim_work_done(&w);
	return verdict;
}

/* ---- start and end ---- */

static void watch_caches(struct resizer *r)
{
	informer_add_index(r->pvcs, CORE_MODIFIED_BY_CLASS, core_wanted_attributes);
	informer_on_change(r->pvcs, on_claim, r);
	informer_on_change(r->pvs, on_pv, r);
	if (r->classes)
		informer_on_change(r->classes, on_class, r);
}

static void unwatch_caches(struct resizer *r)
{
	informer_off_change(r->pvcs, on_claim, r);
	informer_off_change(r->pvs, on_pv, r);
	if (r->classes)
		informer_off_change(r->classes, on_class, r);
}

static struct queue *make_queue(struct resizer *r, const struct resizer_options *opts)
{
	autofree char *name = xasprintf("%s-pvc", opts->driver_name);
	const struct queue_options options = {
		.name = name,
		.workers = opts->workers ? opts->workers : DEFAULT_WORKERS,
		.lane = opts->lane,
		.backoff_base_ns = opts->retry_base_ns,
		.backoff_max_ns = opts->retry_max_ns,
		.timeout_ns = RECONCILE_API_NS + RECONCILE_CALLS * r->csi.timeout_ns +
			      r->modify_timeout_ns,
		.fence = r->fence,
	};

	return queue_new(opts->loop, opts->work, &options, reconcile, r);
}

struct resizer *resizer_new(const struct resizer_options *opts)
{
	struct resizer *r = xcalloc(1, sizeof(*r));

	*r = (struct resizer){
		.client = opts->client,
		.fence = opts->fence,
		.pvcs = opts->pvcs,
		.pvs = opts->pvs,
		.classes = opts->classes,
		.recorder = opts->recorder,
		.default_fs = xstrdup(str_or(opts->default_fs, "")),
		.grows = opts->grows || opts->grows_on_node,
		.grows_on_node = opts->grows_on_node,
		.modifies = opts->modifies,
		.extra_modify_metadata = opts->extra_modify_metadata,
		.ignores_use = opts->ignores_use,
		.rest_ns = opts->retry_max_ns ? opts->retry_max_ns : DEFAULT_REST_NS,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.memos = map_new(),
	};
	driver_init(&r->csi, &opts->service, opts->driver_name,
		    opts->timeout_ns ? opts->timeout_ns : DEFAULT_TIMEOUT_NS);
	r->modify_timeout_ns =
		opts->modify_timeout_ns ? opts->modify_timeout_ns : r->csi.timeout_ns;
	r->claims = make_queue(r, opts);
	sync_gate_init(&r->gate, opts->loop);
	r->gate.caches[0] = r->pvcs;
	r->gate.caches[1] = r->pvs;
	r->gate.queues[0] = r->claims;
	watch_caches(r);
	return r;
}

void resizer_start(struct resizer *r)
{
	resize_memo_begin_anew(r);
	sync_gate_start(&r->gate);
}

void resizer_pause(struct resizer *r)
{
	sync_gate_pause(&r->gate);
}

void resizer_free(struct resizer *r)
{
	if (!r)
		return;
	unwatch_caches(r);
	sync_gate_done(&r->gate);
	queue_free(r->claims);
	driver_done(&r->csi);
	resize_memo_free_all(r);
	pthread_mutex_destroy(&r->lock);
	free(r->default_fs);
	free(r);
}
