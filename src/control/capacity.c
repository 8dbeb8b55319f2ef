/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame: changes in the caches become keys, keys become reconciles on workers (capacity_plan.c,
 * capacity_publish.c).
 *
 * What moves a value is seen by what it leaves in the API: a PV that comes, grows or goes tells
 * where by its node affinity, a claim whose selected node was taken off by that node. So it does
 * not matter which process made the volume. A slot that is to be looked at waits for a moment, in
 * which others of a burst join it.
 */
#include "control/capacity-internal.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/core.h"
#include "event/sync.h"
#include "kube/informer.h"

#define DEFAULT_WORKERS 4
#define DEFAULT_TIMEOUT_NS (10 * NS_PER_S)
#define DEFAULT_POLL_NS (60 * NS_PER_S)
/* Published within a second of what moved it. Where that was done a moment ago more is on its way,
 * and each time costs a call and a write: of many nodes each, hardly anything is gathered. */
#define REFRESH_NS (400 * NS_PER_MS)
#define REFRESH_BUSY_NS (800 * NS_PER_MS)
#define BUSY_NS (5 * NS_PER_S)
#define PLAN_NS (100 * NS_PER_MS)
/* A reconcile makes one CSI call and a handful of API calls. */
#define RECONCILE_API_NS (60 * NS_PER_S)
#define HASH_AND_DASHES 10

/* ---- which slots something touches ---- */

struct touch {
	const char *class_name;    /* "": of any */
	const uint64_t *place;     /* a PV's; NULL: anywhere */
	const struct strmap *node; /* labels; NULL: any */
	size_t n_place;
};

static bool has_label(const struct slot *s, uint64_t hash)
{
	for (size_t i = 0; i < s->segment.n; i++)
		if (s->place[i] == hash)
			return true;
	return false;
}

static bool is_touched(const struct slot *s, const struct touch *t)
{
	if (*t->class_name && !str_is_equal(t->class_name, s->class_name))
		return false;
	for (size_t i = 0; i < t->n_place; i++)
		if (!has_label(s, t->place[i]))
			return false;
	return !t->node || strmap_is_subset(&s->segment, t->node);
}

static int64_t refresh_ns(const struct slot *s, int64_t now_ns)
{
	return s->is_published && now_ns - s->good_ns < BUSY_NS ? REFRESH_BUSY_NS : REFRESH_NS;
}

static void refresh(struct capacity *c, const struct touch *t)
{
	int64_t now_ns = clock_now_ns();
	const char *key;
	void *slot;

	LOCK_SCOPE(&c->lock);
	for (size_t it = 0; map_next(c->slots, &it, &key, &slot);)
		if (is_touched(slot, t))
			queue_add_after(c->queue, key, refresh_ns(slot, now_ns));
}

static void replan(struct capacity *c)
{
	{
		LOCK_SCOPE(&c->lock);
		c->is_stale = true;
	}
	queue_add_after(c->queue, PLAN_KEY, PLAN_NS);
}

/* ---- what changes ---- */

/* Where a volume is, any class may lose room; of one that is anywhere, its own. */
static void on_pv(void *arg, const struct kube_object *old_obj, const struct kube_object *new_obj)
{
	struct capacity *c = arg;
	const struct core_pv *pv = core_pv_of(new_obj ? new_obj : old_obj);

	if (!str_is_equal(pv->driver, c->csi.name) ||
	    (old_obj && new_obj && str_is_equal(old_obj->uid, new_obj->uid) &&
	     core_pv_of(old_obj)->capacity_bytes == pv->capacity_bytes))
		return;
	refresh(c, &(const struct touch){ .class_name = pv->n_place ? "" : pv->class_name,
					  .place = pv->place,
					  .n_place = pv->n_place });
}

static const char *selected_node(const struct kube_object *claim)
{
	return str_or(strmap_find(&claim->annotations, ANN_SELECTED_NODE), "");
}

/* A claim that is sent away from a node: there is less room than was said. */
static void on_claim(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct capacity *c = arg;
	autokobj const struct kube_object *node = NULL;

	if (!old_obj || !new_obj || !*selected_node(old_obj) || *selected_node(new_obj))
		return;
	node = informer_get(c->nodes, "", selected_node(old_obj));
	if (node)
		refresh(c, &(const struct touch){ .class_name = "", .node = &node->labels });
}

static bool is_mine(const struct capacity *c, const struct kube_object *class)
{
	return class && str_is_equal(storage_class_of(class)->provisioner, c->csi.name);
}

static void on_class(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct capacity *c = arg;

	if (!is_mine(c, old_obj) && !is_mine(c, new_obj))
		return;
	replan(c);
	if (old_obj && new_obj && !str_is_equal(old_obj->uid, new_obj->uid))
		refresh(c, &(const struct touch){ .class_name = new_obj->name });
}

static bool are_same_keys(const struct storage_csi_driver *a, const struct storage_csi_driver *b)
{
	if (!a || !b || a->topology_keys.n != b->topology_keys.n ||
	    a->has_topology_keys != b->has_topology_keys)
		return a == b;
	for (size_t i = 0; i < a->topology_keys.n; i++)
		if (!str_is_equal(a->topology_keys.v[i], b->topology_keys.v[i]))
			return false;
	return true;
}

static void on_csi_node(void *arg, const struct kube_object *old_obj,
			const struct kube_object *new_obj)
{
	struct capacity *c = arg;

	if (!are_same_keys(storage_csi_node_find(storage_csi_node_of(old_obj), c->csi.name),
			   storage_csi_node_find(storage_csi_node_of(new_obj), c->csi.name)))
		replan(c);
}

/* kubelet writes to it every few seconds, hardly ever labels. */
static void on_node(void *arg, const struct kube_object *old_obj, const struct kube_object *new_obj)
{
	struct capacity *c = arg;

	if (!old_obj || !new_obj || !strmap_is_equal(&old_obj->labels, &new_obj->labels))
		replan(c);
}

/* Our own write, as it was noted, is no news. */
static bool is_as_published(struct capacity *c, const struct kube_object *o)
{
	const struct storage_capacity *now = storage_capacity_of(o);
	const struct slot *s;

	LOCK_SCOPE(&c->lock);
	s = map_find(c->slots, now->slot);
	return s && s->is_published && !o->is_deleting && now->has_capacity &&
	       now->capacity_bytes == s->capacity_bytes && now->has_maximum == s->has_maximum &&
	       (!s->has_maximum || now->maximum_bytes == s->maximum_bytes) &&
	       (!c->owner.uid || str_is_equal(now->owner_uid, c->owner.uid));
}

/* One that went, or was changed by others, is made as it is to be; so is one that is too many. */
static void on_capacity(void *arg, const struct kube_object *old_obj,
			const struct kube_object *new_obj)
{
	struct capacity *c = arg;

	if (old_obj && capacity_is_ours(c, old_obj) &&
	    (!new_obj || !capacity_is_ours(c, new_obj) ||
	     !str_is_equal(old_obj->uid, new_obj->uid)))
		queue_add(c->queue, storage_capacity_of(old_obj)->slot);
	if (new_obj && capacity_is_ours(c, new_obj) && (!old_obj || !is_as_published(c, new_obj)))
		queue_add(c->queue, storage_capacity_of(new_obj)->slot);
}

static enum queue_verdict reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	struct capacity *c = arg;

	return *key ? capacity_publish(c, ctx, key, ret_after_ns) : capacity_plan(c, ctx);
}

/* ---- life ---- */

static void watch_caches(struct capacity *c)
{
	informer_add_index(c->objects.cache, STORAGE_CAPACITIES_BY_SLOT, storage_capacity_slot);
	informer_add_index(c->objects.cache, STORAGE_CAPACITIES_BY_DRIVER, storage_capacity_driver);
	informer_add_index(c->classes, STORAGE_CLASSES_BY_DRIVER, storage_class_driver);
	informer_add_index(c->nodes, CORE_ALL_NODES, core_node_any);
	informer_add_index(c->csi_nodes, STORAGE_NODES_BY_DRIVER, storage_csi_node_driver);
	informer_on_change(c->objects.cache, on_capacity, c);
	informer_on_change(c->classes, on_class, c);
	informer_on_change(c->csi_nodes, on_csi_node, c);
	informer_on_change(c->nodes, on_node, c);
	informer_on_change(c->pvs, on_pv, c);
	informer_on_change(c->pvcs, on_claim, c);
}

static void unwatch_caches(struct capacity *c)
{
	informer_off_change(c->objects.cache, on_capacity, c);
	informer_off_change(c->classes, on_class, c);
	informer_off_change(c->csi_nodes, on_csi_node, c);
	informer_off_change(c->nodes, on_node, c);
	informer_off_change(c->pvs, on_pv, c);
	informer_off_change(c->pvcs, on_claim, c);
}

static void fill_gate(struct capacity *c, struct ev_loop *loop)
{
	sync_gate_init(&c->gate, loop);
	c->gate.caches[0] = c->objects.cache;
	c->gate.caches[1] = c->classes;
	c->gate.caches[2] = c->csi_nodes;
	c->gate.caches[3] = c->nodes;
	c->gate.queues[0] = c->queue;
}

static struct queue *make_queue(struct capacity *c, const struct capacity_options *opts)
{
	const struct queue_options options = {
		.name = "csistoragecapacity",
		.workers = opts->workers ? opts->workers : DEFAULT_WORKERS,
		.lane = opts->lane,
		.backoff_base_ns = opts->retry_base_ns,
		.backoff_max_ns = opts->retry_max_ns,
		.timeout_ns = RECONCILE_API_NS + c->csi.timeout_ns,
		.fence = c->fence,
	};

	return queue_new(opts->loop, opts->work, &options, reconcile, c);
}

static void bound_writes(struct capacity *c, double qps, unsigned burst)
{
	if (qps <= 0)
		return;
	c->write_gap_ns = (int64_t)((double)NS_PER_S / qps);
	c->write_slack_ns = c->write_gap_ns * (burst > 0 ? (int64_t)burst - 1 : (int64_t)qps);
}

/* A label's value has 63 bytes. A node's name that leaves no room for the front part takes from it,
 * and one that is longer still is a hash: as external-provisioner calls them. */
void capacity_manager(const char *node, char ret_manager[CAPACITY_MANAGER_BYTES])
{
	static const char base[] = CAPACITY_MANAGER;
	const size_t max = CAPACITY_MANAGER_BYTES - 1, n = strlen(node);
	autofree char *whole = xasprintf("%s-%s", base, node);
	autofree char *name = NULL;

	if (n == 0)
		name = xstrdup(base);
	else if (strlen(whole) <= max)
		name = xstrdup(whole);
	else if (n + HASH_AND_DASHES < max)
		name = xasprintf("%.*s-%08x-%s", (int)(max - HASH_AND_DASHES - n), base,
				 hash_fnv1a_32(base, strlen(base)), node);
	else
		name = xasprintf("%s-%08x", base, hash_fnv1a_32(whole, strlen(whole)));
	(void)snprintf(ret_manager, CAPACITY_MANAGER_BYTES, "%s", name);
}

struct capacity *capacity_new(const struct capacity_options *opts)
{
	struct capacity *c = xcalloc(1, sizeof(*c));

	*c = (struct capacity){
		.fence = opts->fence,
		.objects = { opts->client, opts->capacities, &storage_capacity_type },
		.classes = opts->classes,
		.pvs = opts->pvs,
		.pvcs = opts->pvcs,
		.nodes = opts->nodes,
		.csi_nodes = opts->csi_nodes,
		.ns = xstrdup(opts->ns),
		.manager = xstrdup(str_or(opts->manager, CAPACITY_MANAGER)),
		.pod_name = xstrdup(str_or(opts->pod_name, "")),
		.owner_level = opts->owner_level,
		.covers_immediate = opts->covers_immediate,
		.poll_ns = opts->poll_ns ? opts->poll_ns : DEFAULT_POLL_NS,
		.keep_ns = opts->keep_ns,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.slots = map_new(),
	};
	bound_writes(c, opts->write_qps, opts->write_burst);
	driver_init(&c->csi, &opts->service, opts->driver_name,
		    opts->timeout_ns ? opts->timeout_ns : DEFAULT_TIMEOUT_NS);
	c->queue = make_queue(c, opts);
	fill_gate(c, opts->loop);
	watch_caches(c);
	return c;
}

void capacity_start(struct capacity *c)
{
	queue_add(c->queue, PLAN_KEY);
	sync_gate_start(&c->gate);
}

void capacity_pause(struct capacity *c)
{
	sync_gate_pause(&c->gate);
	capacity_tell_none();
	LOCK_SCOPE(&c->lock);
	c->has_plan = false; /* while another one leads, nobody looks */
}

void capacity_free(struct capacity *c)
{
	const char *key;
	void *slot;

	if (!c)
		return;
	unwatch_caches(c);
	sync_gate_done(&c->gate);
	queue_free(c->queue);
	for (size_t it = 0; map_next(c->slots, &it, &key, &slot);)
		capacity_slot_free(slot);
	map_free(c->slots);
	driver_done(&c->csi);
	pthread_mutex_destroy(&c->lock);
	free(c->owner.json);
	free(c->owner.uid);
	free(c->ns);
	free(c->manager);
	free(c->pod_name);
	free(c);
}
