/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attacher's frame: changes in the caches become keys, keys become reconciles on workers
 * (attach_lane.c, attach_volume.c). Nothing is kept here that matters: what is under way stands in
 * finalizers.
 *
 * A change that only tells how an attachment fails is no reason to try again, or the backoff would
 * be for nothing; caches do not even keep it. What an attachment may be waiting for is watched: its
 * PV, its node's CSINode, and the driver's coming back.
 */
#include "control/attach-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"
#include "kube/informer.h"

#define DEFAULT_WORKERS 10
#define DEFAULT_TIMEOUT_NS (15 * NS_PER_S)
#define LINK_POLL_NS NS_PER_S
/* A reconcile asks the driver once what it can and calls it once, and has a dozen API calls. */
#define RECONCILE_API_NS (60 * NS_PER_S)
#define RECONCILE_CALLS 2
/* The list of a large driver has many pages. */
#define LIST_NS (600 * NS_PER_S)

static bool is_ours(const struct attacher *a, const struct kube_object *attachment)
{
	return str_is_equal(storage_attachment_of(attachment)->attacher, a->csi.name);
}

bool attach_is_wanted(const struct attacher *a, const struct kube_object *attachment)
{
	return is_ours(a, attachment) && !attachment->is_deleting &&
	       !storage_attachment_of(attachment)->is_attached;
}

bool detach_is_wanted(const struct attacher *a, const struct kube_object *attachment)
{
	return is_ours(a, attachment) && attachment->is_deleting && attach_is_marked(a, attachment);
}

static void add_attachment(struct attacher *a, const struct kube_object *o)
{
	if (attach_is_wanted(a, o))
		queue_add(a->attaches, o->name);
	else if (detach_is_wanted(a, o))
		queue_add(a->detaches, o->name);
}

/* ---- what changes ---- */

static bool is_changed(const struct attacher *a, const struct kube_object *old,
		       const struct kube_object *new)
{
	return !str_is_equal(old->uid, new->uid) || old->is_deleting != new->is_deleting ||
	       attach_is_marked(a, old) != attach_is_marked(a, new) ||
	       storage_attachment_of(old)->is_attached != storage_attachment_of(new)->is_attached;
}

static void on_attachment(void *arg, const struct kube_object *old_obj,
			  const struct kube_object *new_obj)
{
	struct attacher *a = arg;
	autokobj const struct kube_object *pv = NULL;

	if (new_obj && (!old_obj || is_changed(a, old_obj, new_obj)))
		add_attachment(a, new_obj);
	if (!old_obj || (new_obj && str_is_equal(old_obj->uid, new_obj->uid)))
		return;
	pv = informer_get(a->pvs, "", storage_attachment_of(old_obj)->pv_name);
	if (pv && attach_volume_is_wanted(a, pv))
		queue_add(a->volumes, pv->name);
}

/* Those of the index's key, and of these what is to be done, at once and not at the end of a
 * backoff. */
static void wake(struct attacher *a, const char *index, const char *key)
{
	autokobjs struct kube_objects list = { 0 };

	informer_each_in(a->attachments, index, key, kube_objects_add, &list);
	for (size_t i = 0; i < list.n; i++)
		add_attachment(a, list.v[i]);
}

static void on_pv(void *arg, const struct kube_object *old_obj, const struct kube_object *new_obj)
{
	struct attacher *a = arg;

	if (new_obj && attach_volume_is_wanted(a, new_obj))
		queue_add(a->volumes, new_obj->name);
	if (new_obj && (!old_obj || !str_is_equal(old_obj->uid, new_obj->uid)))
		wake(a, STORAGE_ATTACHMENTS_BY_PV, new_obj->name);
}

static const char *find_id(const struct attacher *a, const struct kube_object *csi_node)
{
	const struct storage_csi_driver *found =
		storage_csi_node_find(storage_csi_node_of(csi_node), a->csi.name);

	return found ? found->node_id : NULL;
}

static void on_csi_node(void *arg, const struct kube_object *old_obj,
			const struct kube_object *new_obj)
{
	struct attacher *a = arg;
	const char *id = find_id(a, new_obj);

	if (!str_is_empty(id) && !str_is_equal(id, find_id(a, old_obj)))
		wake(a, STORAGE_WAITING_BY_NODE, new_obj->name);
}

/* ---- start and end ---- */

static void on_link_timer(void *arg)
{
	struct attacher *a = arg;
	uint64_t link = csi_link_changes(&a->csi.service);

	if (link == a->link)
		return;
	a->link = link;
	wake(a, STORAGE_ATTACHMENTS_BY_DRIVER, a->csi.name);
}

static void start_on_loop(void *arg)
{
	struct attacher *a = arg;

	a->link = csi_link_changes(&a->csi.service);
	ev_timer_start(a->link_timer, LINK_POLL_NS, LINK_POLL_NS);
}

static void pause_on_loop(void *arg)
{
	struct attacher *a = arg;

	ev_timer_stop(a->link_timer);
}

static void make_timer(void *arg)
{
	struct attacher *a = arg;

	a->link_timer = ev_timer_new(a->loop, on_link_timer, a);
}

static void free_timer(void *arg)
{
	struct attacher *a = arg;

	ev_timer_free(a->link_timer);
}

static void fill_gate(struct attacher *a)
{
	sync_gate_init(&a->gate, a->loop);
	a->gate.caches[0] = a->pvs;
	a->gate.caches[1] = a->csi_nodes;
	a->gate.caches[2] = a->attachments;
	a->gate.queues[0] = a->attaches;
	a->gate.queues[1] = a->detaches;
	a->gate.queues[2] = a->volumes;
}

static void watch_caches(struct attacher *a)
{
	informer_add_index(a->attachments, STORAGE_ATTACHMENTS_BY_PV, storage_attachment_pv);
	informer_add_index(a->attachments, STORAGE_ATTACHMENTS_BY_DRIVER,
			   storage_attachment_driver);
	informer_add_index(a->attachments, STORAGE_WAITING_BY_NODE, storage_attachment_waiting);
	informer_on_change(a->attachments, on_attachment, a);
	informer_on_change(a->pvs, on_pv, a);
	informer_on_change(a->csi_nodes, on_csi_node, a);
}

static void unwatch_caches(struct attacher *a)
{
	informer_off_change(a->attachments, on_attachment, a);
	informer_off_change(a->pvs, on_pv, a);
	informer_off_change(a->csi_nodes, on_csi_node, a);
}

/* "external-attacher/pool-cleat-csi": as the driver's name would be part of a label. */
static char *make_finalizer(const char *driver)
{
	char *name =
		xasprintf("external-attacher/%s%s", driver, str_has_suffix(driver, "-") ? "X" : "");

	for (char *p = strchr(name, '/') + 1; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9')))
			*p = '-';
	return name;
}

static struct queue *make_queue(struct attacher *a, const struct attach_options *opts,
				const char *name, int64_t timeout_ns, queue_reconcile_fn fn)
{
	const struct queue_options options = {
		.name = name,
		.workers = opts->workers ? opts->workers : DEFAULT_WORKERS,
		.lane = opts->lane,
		.backoff_base_ns = opts->retry_base_ns,
		.backoff_max_ns = opts->retry_max_ns,
		.timeout_ns = timeout_ns,
		.fence = a->fence,
	};

	return queue_new(opts->loop, opts->work, &options, fn, a);
}

struct attacher *attacher_new(const struct attach_options *opts)
{
	struct attacher *a = xcalloc(1, sizeof(*a));
	int64_t timeout_ns = opts->timeout_ns ? opts->timeout_ns : DEFAULT_TIMEOUT_NS;
	int64_t reconcile_ns = RECONCILE_API_NS + RECONCILE_CALLS * timeout_ns;

	*a = (struct attacher){
		.loop = opts->loop,
		.client = opts->client,
		.fence = opts->fence,
		.pvs = opts->pvs,
		.csi_nodes = opts->csi_nodes,
		.attachments = opts->attachments,
		.finalizer = make_finalizer(opts->driver_name),
		.default_fs = xstrdup(str_or(opts->default_fs, "")),
		.lends_expand_secret = opts->lends_expand_secret,
		.max_entries = opts->max_entries,
		.list_interval_ns = opts->list_interval_ns,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.at_work = map_new(),
		.forced = map_new(),
	};
	driver_init(&a->csi, &opts->service, opts->driver_name, timeout_ns);
	a->attaches = make_queue(a, opts, "csi-attacher-va", reconcile_ns, attach_reconcile);
	a->detaches = make_queue(a, opts, "csi-attacher-va-detach", reconcile_ns, detach_reconcile);
	a->volumes = make_queue(a, opts, "csi-attacher-pv", LIST_NS, attach_volume_reconcile);
	fill_gate(a);
	ev_call(a->loop, make_timer, a);
	watch_caches(a);
	return a;
}

void attacher_start(struct attacher *a)
{
	if (a->list_interval_ns)
		queue_add_after(a->volumes, LIST_KEY, a->list_interval_ns);
	ev_call(a->loop, start_on_loop, a);
	sync_gate_start(&a->gate);
}

void attacher_pause(struct attacher *a)
{
	ev_call(a->loop, pause_on_loop, a);
	sync_gate_pause(&a->gate);
}

void attacher_free(struct attacher *a)
{
	if (!a)
		return;
	unwatch_caches(a);
	ev_call(a->loop, free_timer, a);
	sync_gate_done(&a->gate);
	queue_free(a->attaches);
	queue_free(a->detaches);
	queue_free(a->volumes);
	map_free(a->at_work);
	map_free(a->forced);
	driver_done(&a->csi);
	pthread_mutex_destroy(&a->lock);
	free(a->finalizer);
	free(a->default_fs);
	free(a);
}
