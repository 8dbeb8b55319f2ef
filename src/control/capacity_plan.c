/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which objects there are to be: a slot for each segment of the driver's nodes and each of its
 * classes. The table is made anew of the caches when nodes or classes change, in one go, so a slot
 * in it is to be and any other is not: there is no third state that a restart could forget.
 *
 * A node that lacks a label of the driver's keys is left out: it is registered by halves. One from
 * whose CSINode the driver has gone, as kubelet does it while an agent is replaced, keeps what is
 * published of its segment for as long as a value may be kept: the labels stay, and so do the
 * places of volumes. That it was there say the objects themselves, so also to another process.
 */
#include "control/capacity-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "control/core.h"
#include "event/sync.h"
#include "kube/fence.h"
#include "kube/informer.h"

struct segment {
	struct strmap labels;
	bool is_away;
};

struct segments {
	VEC(struct segment) list;
	struct map *seen;
};

void capacity_slot_free(struct slot *s)
{
	if (s)
		arena_free(s->arena);
}

bool capacity_is_ours(const struct capacity *c, const struct kube_object *o)
{
	return str_is_equal(o->ns, c->ns) &&
	       str_is_equal(strmap_find(&o->labels, STORAGE_LABEL_DRIVER), c->csi.name) &&
	       str_is_equal(strmap_find(&o->labels, STORAGE_LABEL_MANAGER), c->manager);
}

/* ---- segments ---- */

static bool has_segment(const struct segments *segments, const struct strmap *labels)
{
	char slot[STORAGE_SLOT_BYTES];

	storage_slot("", labels, slot);
	return map_find(segments->seen, slot);
}

static void add_segment(struct segments *segments, struct strmap labels, bool is_away)
{
	char slot[STORAGE_SLOT_BYTES];

	if (has_segment(segments, &labels))
		return;
	storage_slot("", &labels, slot);
	map_put(segments->seen, slot, segments);
	vec_push(&segments->list, ((struct segment){ labels, is_away }));
}

/* The node's labels for the driver's keys. False: it is not so far. */
static bool read_segment(struct capacity *c, struct arena *arena,
			 const struct kube_object *csi_node, struct strmap *ret_segment)
{
	const struct storage_csi_driver *driver =
		storage_csi_node_find(storage_csi_node_of(csi_node), c->csi.name);
	autokobj const struct kube_object *node = informer_get(c->nodes, "", csi_node->name);
	const struct kube_string_list *keys = &driver->topology_keys;
	struct strpair *pairs = arena_array(arena, keys->n, sizeof(*pairs));

	if (!node || !driver->has_topology_keys)
		return false;
	for (size_t i = 0; i < keys->n; i++) {
		pairs[i] = (struct strpair){ keys->v[i], strmap_find(&node->labels, keys->v[i]) };
		if (!pairs[i].value)
			return false;
	}
	*ret_segment = strmap_from(arena, pairs, keys->n);
	return true;
}

static void collect_segments(struct capacity *c, struct arena *arena, struct segments *segments)
{
	autokobjs struct kube_objects csi_nodes = { 0 };
	struct strmap segment;

	informer_each_in(c->csi_nodes, STORAGE_NODES_BY_DRIVER, c->csi.name, kube_objects_add,
			 &csi_nodes);
	for (size_t i = 0; i < csi_nodes.n; i++)
		if (read_segment(c, arena, csi_nodes.v[i], &segment))
			add_segment(segments, segment, false);
}

/* There is a node of the segment, and the driver is not registered there. */
static bool is_away(struct capacity *c, const struct kube_objects *nodes,
		    const struct strmap *labels)
{
	for (size_t i = 0; i < nodes->n; i++) {
		autokobj const struct kube_object *csi_node = NULL;

		if (!strmap_is_subset(labels, &nodes->v[i]->labels))
			continue;
		csi_node = informer_get(c->csi_nodes, "", nodes->v[i]->name);
		if (!storage_csi_node_find(storage_csi_node_of(csi_node), c->csi.name))
			return true;
	}
	return false;
}

static void collect_away(struct capacity *c, struct arena *arena,
			 const struct kube_objects *objects, struct segments *segments)
{
	autokobjs struct kube_objects nodes = { 0 };

	for (size_t i = 0; i < objects->n; i++) {
		const struct strmap *labels = &storage_capacity_of(objects->v[i])->segment;

		if (labels->n == 0 || !capacity_is_ours(c, objects->v[i]) ||
		    has_segment(segments, labels))
			continue;
		if (nodes.n == 0)
			informer_each_in(c->nodes, CORE_ALL_NODES, core_node_type.kind,
					 kube_objects_add, &nodes);
		if (is_away(c, &nodes, labels))
			add_segment(segments, strmap_from(arena, labels->v, labels->n), true);
	}
}

/* ---- slots ---- */

/* What one mostly takes: there is one a node and class. */
#define SLOT_BYTES 368

static struct slot *make_slot(const char *class_name, const struct strmap *segment)
{
	struct arena *arena = arena_new_small(SLOT_BYTES);
	struct slot *s = arena_alloc(arena, sizeof(*s));
	uint64_t *place = arena_array(arena, segment->n, sizeof(*place));

	for (size_t i = 0; i < segment->n; i++)
		place[i] = core_label_hash(segment->v[i].key, segment->v[i].value);
	*s = (struct slot){
		.arena = arena,
		.class_name = arena_strdup(arena, class_name),
		.segment = strmap_from(arena, segment->v, segment->n),
		.place = place,
		.good_ns = clock_now_ns(),
	};
	return s;
}

static bool is_covered(const struct capacity *c, const struct storage_class *class)
{
	return class->is_wait_for_first_consumer || c->covers_immediate;
}

/* Those that there were keep what is known of them. Under the lock. */
static void move_slot(struct capacity *c, struct map *slots, const char *class_name,
		      const struct segment *segment)
{
	char key[STORAGE_SLOT_BYTES];
	struct slot *old;

	storage_slot(class_name, &segment->labels, key);
	old = map_take(c->slots, key);
	if (!old || old->is_away != segment->is_away)
		queue_add(c->queue, key);
	if (!old)
		old = make_slot(class_name, &segment->labels);
	old->is_away = segment->is_away;
	map_put(slots, key, old);
}

static void drop_slots(struct capacity *c, struct map *slots)
{
	const char *key;
	void *slot;

	for (size_t it = 0; map_next(slots, &it, &key, &slot);) {
		queue_add(c->queue, key);
		capacity_slot_free(slot);
	}
	map_free(slots);
}

/* The first plan of a term: what was queued before was passed over, and whoever led before knew how
 * old a value was. */
static void begin_slots(struct capacity *c)
{
	const char *key;
	void *slot;

	for (size_t it = 0; map_next(c->slots, &it, &key, &slot);) {
		((struct slot *)slot)->good_ns = clock_now_ns();
		queue_add(c->queue, key);
	}
}

static void remake(struct capacity *c, const struct segments *segments,
		   const struct kube_objects *classes)
{
	struct map *slots = map_new(), *old;

	LOCK_SCOPE(&c->lock);
	for (size_t i = 0; i < classes->n; i++)
		for (size_t k = 0; k < segments->list.n; k++)
			if (is_covered(c, storage_class_of(classes->v[i])))
				move_slot(c, slots, classes->v[i]->name, &segments->list.v[k]);
	old = c->slots;
	c->slots = slots;
	drop_slots(c, old);
	if (!c->has_plan)
		begin_slots(c);
	c->has_plan = true;
}

/* ---- objects ---- */

struct tally {
	size_t wanted, current, obsolete;
};

/* Queues those that are not to be. */
static struct tally look_at_objects(struct capacity *c, const struct kube_objects *objects)
{
	struct tally tally = { 0 };

	LOCK_SCOPE(&c->lock);
	tally.wanted = map_count(c->slots);
	for (size_t i = 0; i < objects->n; i++) {
		const struct storage_capacity *o = storage_capacity_of(objects->v[i]);

		if (!capacity_is_ours(c, objects->v[i]) || o->meta.is_deleting)
			continue;
		if (map_find(c->slots, o->slot)) {
			tally.current++;
			continue;
		}
		tally.obsolete++;
		queue_add(c->queue, o->slot);
	}
	return tally;
}

static void tell(struct tally tally)
{
	metric_set(METRIC_CAPACITIES_GOAL, (double)tally.wanted, NULL);
	metric_set(METRIC_CAPACITIES_CURRENT, (double)tally.current, NULL);
	metric_set(METRIC_CAPACITIES_OBSOLETE, (double)tally.obsolete, NULL);
}

void capacity_tell_none(void)
{
	tell((struct tally){ 0 });
	metric_set(METRIC_CAPACITY_AGE, 0, NULL);
}

enum queue_verdict capacity_plan(struct capacity *c, struct ctx *ctx)
{
	autokobjs struct kube_objects classes = { 0 }, objects = { 0 };
	struct segments segments = { .list = VEC_INIT, .seen = map_new() };
	struct err err;

	if (capacity_find_owner(c, ctx, &err) < 0) {
		log_warn("capacities are not published", log_err(&err));
		map_free(segments.seen);
		return QUEUE_RETRY;
	}
	{
		LOCK_SCOPE(&c->lock);
		c->is_stale = false;
	}
	informer_each_in(c->classes, STORAGE_CLASSES_BY_DRIVER, c->csi.name, kube_objects_add,
			 &classes);
	informer_each_in(c->objects.cache, STORAGE_CAPACITIES_BY_DRIVER, c->csi.name,
			 kube_objects_add, &objects);
	collect_segments(c, ctx->arena, &segments);
	collect_away(c, ctx->arena, &objects, &segments);
	remake(c, &segments, &classes);
	tell(look_at_objects(c, &objects));
	if (fence_is_cut_off(c->fence, ctx))
		tell((struct tally){ 0 });
	vec_done(&segments.list);
	map_free(segments.seen);
	return QUEUE_DONE;
}
