/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provisioner's frame: changes in the caches become keys, keys become reconciles on workers
 * (claim.c, release.c). No state that matters is kept here: what is under way stands in the
 * journal, so a new leader, or this process after a crash, goes on from the API alone.
 *
 * Changes of a claim that no reconcile decides by do not wake it, or a refused one would be asked
 * for again at each of them.
 *
 * A reconcile that is under way when the lease is lost is cancelled by its ctx, as everything is
 * (kube/fence.h), and the client refuses its writes; the fence is asked before each call that makes
 * or deletes a volume.
 */
#include "control/provision-internal.h"

#define LOG_ROOM "control"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/str.h"
#include "control/snapshots.h"
#include "kube/fence.h"
#include "kube/informer.h"

#define DEFAULT_WORKERS 16
#define DEFAULT_TIMEOUT_NS (10 * NS_PER_S)
#define SETTLE_NS (2 * NS_PER_S)
#define DEFAULT_OWN_BASE_NS (20 * NS_PER_S)
#define DEFAULT_OWN_MAX_NS (60 * NS_PER_S)
/* A reconcile makes at most one CreateVolume, five DeleteVolumes and a dozen API calls. */
#define RECONCILE_API_NS (60 * NS_PER_S)
#define RECONCILE_CALLS 6

int provision_delete_volume(struct provisioner *p, struct ctx *ctx, const char *volume_id,
			    const struct secrets *secrets, struct err *err)
{
	const struct csi_delete_volume_request req = { .volume_id = volume_id,
						       .secrets = *secrets };
	struct csi_delete_volume_response reply;
	int64_t deadline_ns;
	int r;

	if (fence_check(p->fence, ctx, err) < 0)
		return -1;
	deadline_ns = driver_limit(&p->csi, ctx);
	r = csi_delete_volume(&p->csi.service, ctx, &req, &reply, err);
	ctx->deadline_ns = deadline_ns;
	return r < 0 ? err_wrap(err, "delete volume %s", volume_id) : 0;
}

static bool is_same_annotation(const struct kube_object *a, const struct kube_object *b,
			       const char *key)
{
	const char *left = strmap_find(&a->annotations, key);
	const char *right = strmap_find(&b->annotations, key);

	return str_is_equal(str_or(left, ""), str_or(right, ""));
}

static bool is_claim_changed(const struct kube_object *a, const struct kube_object *b)
{
	const struct core_pvc *old = core_pvc_of(a), *new = core_pvc_of(b);

	return !str_is_equal(a->uid, b->uid) || a->is_deleting != b->is_deleting ||
	       !str_is_equal(old->volume_name, new->volume_name) ||
	       !str_is_equal(old->phase, new->phase) || old->request_bytes != new->request_bytes ||
	       !str_is_equal(old->class_name, new->class_name) ||
	       !str_is_equal(old->attributes_class, new->attributes_class) ||
	       !is_same_annotation(a, b, ANN_PROVISIONER) ||
	       !is_same_annotation(a, b, ANN_PROVISIONER_BETA) ||
	       !is_same_annotation(a, b, ANN_MIGRATED_TO) ||
	       !is_same_annotation(a, b, ANN_SELECTED_NODE);
}

static void add_claim(struct provisioner *p, const char *ns, const char *name)
{
	autofree char *key = xasprintf("%s/%s", ns, name);

	queue_add(p->claims, key);
}

static void add_if_wanted(struct provisioner *p, const struct kube_object *claim)
{
	if (claim_is_wanted(p, claim))
		add_claim(p, claim->ns, claim->name);
	else if (p->node_name)
		memo_forget(p, claim->uid); /* of the race for it, which another node has won */
}

static void add_source(struct provisioner *p, const char *kind, const char *ns, const char *name)
{
	autofree char *key = xasprintf("%s/%s/%s", kind, ns, name);

	queue_add(p->sources, key);
}

static bool is_waiting(const struct kube_object *claim)
{
	return claim && !*core_pvc_of(claim)->volume_name;
}

/* Of those in the index's key that are wanted. */
static void add_all_in(struct provisioner *p, const char *index, const char *key)
{
	autokobjs struct kube_objects claims = { 0 };

	informer_each_in(p->caches.pvcs, index, key, kube_objects_add, &claims);
	for (size_t i = 0; i < claims.n; i++)
		add_if_wanted(p, claims.v[i]);
}

/* The source has come so far that volumes can be made of it. */
static void add_waiting_for(struct provisioner *p, const struct kube_object *source)
{
	add_all_in(p, CORE_WAITING_BY_SOURCE, source->name);
}

/* A claim as a source, and as one that has no more need of its own. */
static void look_at_sources(struct provisioner *p, const struct kube_object *old_obj,
			    const struct kube_object *new_obj)
{
	const struct core_pvc *old = core_pvc_of(old_obj), *new = core_pvc_of(new_obj);

	if (is_waiting(old_obj) && (core_pvc_is_of_snapshot(old) || core_pvc_is_of_claim(old)) &&
	    (!is_waiting(new_obj) || !str_is_equal(old_obj->uid, new_obj->uid)))
		add_source(p, old->source_kind, core_pvc_source_ns(old_obj), old->source_name);
	if (!new)
		return;
	if (source_is_wanted(new_obj))
		add_source(p, core_pvc_type.kind, new_obj->ns, new_obj->name);
	if (str_is_equal(new->phase, "Bound") && (!old || !str_is_equal(old->phase, "Bound")))
		add_waiting_for(p, new_obj);
}

static void on_snapshot(void *arg, const struct kube_object *old_obj,
			const struct kube_object *new_obj)
{
	struct provisioner *p = arg;

	if (!new_obj)
		return;
	if (source_is_wanted(new_obj))
		add_source(p, snapshot_type.kind, new_obj->ns, new_obj->name);
	if (snapshot_of(new_obj)->is_ready && (!old_obj || !snapshot_of(old_obj)->is_ready))
		add_waiting_for(p, new_obj);
}

static void on_claim(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct provisioner *p = arg;

	if (old_obj && (!new_obj || !str_is_equal(old_obj->uid, new_obj->uid)))
		memo_forget(p, old_obj->uid);
	if (!new_obj && journal_has(p->journal, old_obj->uid))
		add_claim(p, old_obj->ns, old_obj->name);
	if (new_obj && (!old_obj || is_claim_changed(old_obj, new_obj)))
		add_if_wanted(p, new_obj);
	look_at_sources(p, old_obj, new_obj);
}

/* A PV that comes tells whether its claim asks for more; one that goes while its claim still waits
 * for it must be made again. */
static void on_pv(void *arg, const struct kube_object *old_obj, const struct kube_object *new_obj)
{
	struct provisioner *p = arg;
	const struct core_pv *pv = core_pv_of(new_obj ? new_obj : old_obj);
	autokobj const struct kube_object *claim = NULL;

	if (!new_obj)
		memo_forget(p, pv->meta.uid);
	else if (pv_is_wanted(p, new_obj))
		queue_add(p->pvs, new_obj->name);
	if (!str_is_equal(pv->driver, p->driver) || (old_obj && new_obj))
		return;
	claim = informer_get(p->caches.pvcs, pv->claim_ns, pv->claim_name);
	if (claim)
		add_if_wanted(p, claim);
}

/* A class that appears, or is made anew, is news for the claims that wait for it. */
static void on_class(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct provisioner *p = arg;

	if (!new_obj || (old_obj && str_is_equal(old_obj->uid, new_obj->uid)) ||
	    !str_is_equal(storage_class_of(new_obj)->provisioner, p->driver))
		return;
	add_all_in(p, CORE_WAITING_BY_CLASS, new_obj->name);
}

static void on_attachment(void *arg, const struct kube_object *old_obj,
			  const struct kube_object *new_obj)
{
	struct provisioner *p = arg;
	autokobj const struct kube_object *pv = NULL;

	if (new_obj)
		return;
	pv = informer_get(p->caches.pvs, "", storage_attachment_of(old_obj)->pv_name);
	if (pv && pv_is_wanted(p, pv))
		queue_add(p->pvs, pv->name);
}

static void fill_gate(struct provisioner *p, struct ev_loop *loop)
{
	sync_gate_init(&p->gate, loop);
	p->gate.caches[0] = p->caches.pvcs;
	p->gate.caches[1] = p->caches.pvs;
	p->gate.caches[2] = p->caches.classes;
	p->gate.caches[3] = p->caches.nodes;
	p->gate.caches[4] = p->caches.csi_nodes;
	p->gate.caches[5] = p->caches.attachments;
	p->gate.queues[0] = p->claims;
	p->gate.queues[1] = p->pvs;
	p->gate.queues[2] = p->sources;
}

static void watch_caches(struct provisioner *p)
{
	informer_add_index(p->caches.pvcs, CORE_WAITING_BY_CLASS, core_waiting_class);
	informer_add_index(p->caches.pvcs, CORE_WAITING_BY_SOURCE, core_waiting_source);
	if (p->caches.csi_nodes)
		informer_add_index(p->caches.csi_nodes, STORAGE_NODES_BY_DRIVER,
				   storage_csi_node_driver);
	if (p->caches.attachments)
		informer_add_index(p->caches.attachments, STORAGE_ATTACHMENTS_BY_PV,
				   storage_attachment_pv);
	informer_on_change(p->caches.pvcs, on_claim, p);
	informer_on_change(p->caches.pvs, on_pv, p);
	informer_on_change(p->caches.classes, on_class, p);
	if (p->caches.attachments)
		informer_on_change(p->caches.attachments, on_attachment, p);
	if (p->caches.snapshots)
		informer_on_change(p->caches.snapshots, on_snapshot, p);
}

static void unwatch_caches(struct provisioner *p)
{
	informer_off_change(p->caches.pvcs, on_claim, p);
	informer_off_change(p->caches.pvs, on_pv, p);
	informer_off_change(p->caches.classes, on_class, p);
	if (p->caches.attachments)
		informer_off_change(p->caches.attachments, on_attachment, p);
	if (p->caches.snapshots)
		informer_off_change(p->caches.snapshots, on_snapshot, p);
}

static char *make_identity(const char *driver, const char *node)
{
	return xasprintf("%lld-%llu-%s%s%s", (long long)(clock_wall_ns() / NS_PER_MS),
			 (unsigned long long)random_below(10000), driver, node ? "-" : "",
			 str_or(node, ""));
}

static struct queue *make_queue(struct provisioner *p, const struct provision_options *opts,
				const char *name, queue_reconcile_fn fn)
{
	const struct queue_options options = {
		.name = name,
		.workers = opts->workers ? opts->workers : DEFAULT_WORKERS,
		.lane = opts->lane,
		.backoff_base_ns = opts->retry_base_ns,
		.backoff_max_ns = opts->retry_max_ns,
		.timeout_ns = RECONCILE_API_NS + RECONCILE_CALLS * p->csi.timeout_ns,
		.fence = p->fence,
	};

	return queue_new(opts->loop, opts->work, &options, fn, p);
}

struct provisioner *provisioner_new(const struct provision_options *opts)
{
	struct provisioner *p = xcalloc(1, sizeof(*p));
	unsigned workers = opts->workers ? opts->workers : DEFAULT_WORKERS;

	*p = (struct provisioner){
		.client = opts->client,
		.fence = opts->fence,
		.caches = opts->caches,
		.recorder = opts->recorder,
		.prefix = xstrdup(str_or(opts->volume_name_prefix, "pvc")),
		.name_digits = opts->name_digits,
		.default_fs = xstrdup(str_or(opts->default_fs, "")),
		.identity = make_identity(opts->driver_name, opts->node_name),
		.grows_on_node = opts->grows_on_node,
		.extra_create_metadata = opts->extra_create_metadata,
		.strict_topology = opts->strict_topology,
		.no_immediate_topology = opts->no_immediate_topology,
		.allow_mode_conversion = opts->allow_mode_conversion,
		.cross_namespace = opts->cross_namespace,
		.publish_readonly = opts->publish_readonly,
		.node_name = str_is_empty(opts->node_name) ? NULL : xstrdup(opts->node_name),
		.owns_immediate = opts->owns_immediate,
		.own_base_ns = opts->own_base_ns ? opts->own_base_ns : DEFAULT_OWN_BASE_NS,
		.own_max_ns = opts->own_max_ns ? opts->own_max_ns : DEFAULT_OWN_MAX_NS,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.memos = map_new(),
	};
	driver_init(&p->csi, &opts->service, opts->driver_name,
		    opts->timeout_ns ? opts->timeout_ns : DEFAULT_TIMEOUT_NS);
	p->driver = p->csi.name;
	p->journal = journal_new(&(struct journal_options){
		.client = opts->client,
		.ns = str_or(opts->journal_ns, "default"),
		.name = str_or(opts->journal_name, "cleat-intents"),
		.node = opts->journal_node,
		.holder = str_or(opts->holder, "cleat"),
		.gather_ns = opts->gather_ns,
		.crowd = (workers + 1) / 2,
	});
	p->claims = make_queue(p, opts, "claims", claim_reconcile);
	p->pvs = make_queue(p, opts, "volumes", pv_reconcile);
	p->sources = make_queue(p, opts, "sources", source_reconcile);
	fill_gate(p, opts->loop);
	watch_caches(p);
	return p;
}

void provisioner_start(struct provisioner *p)
{
	queue_add(p->claims, JOURNAL_KEY); /* before the caches bring claims */
	sync_gate_start(&p->gate);
}

void provisioner_settle(struct provisioner *p)
{
	struct fence_member member;
	struct ctx ctx;
	struct err err;
	int rc;

	if (!journal_is_open(p->journal))
		return;
	ctx_init(&ctx, SETTLE_NS);
	rc = fence_join(p->fence, &member, &ctx, &err);
	if (rc == 0) {
		rc = journal_flush(p->journal, &ctx, &err);
		fence_leave(p->fence, &member);
	}
	if (rc < 0)
		log_info("what is over stays in the journal, for the next leader", log_err(&err));
	ctx_done(&ctx);
}

void provisioner_pause(struct provisioner *p)
{
	sync_gate_pause(&p->gate);
	journal_close(p->journal); /* after what could open it was cancelled */
}

void provisioner_free(struct provisioner *p)
{
	if (!p)
		return;
	unwatch_caches(p);
	sync_gate_done(&p->gate);
	queue_free(p->claims);
	queue_free(p->pvs);
	queue_free(p->sources);
	journal_free(p->journal);
	memo_free_all(p);
	pthread_mutex_destroy(&p->lock);
	driver_done(&p->csi);
	free(p->prefix);
	free(p->default_fs);
	free(p->identity);
	free(p->node_name);
	free(p);
}
