/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What wakes whom in the snapshot-controller: each change in a cache becomes the keys of those
 * objects that a reconcile could act upon because of it.
 */
#include "control/snapshot_controller-internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "kube/informer.h"

static const char *source_claim(const struct kube_object *snapshot, size_t i)
{
	const char *claim = snapshot_of(snapshot)->claim;

	return i == 0 && *claim ? claim : NULL;
}

static const char *waiting_class(const struct kube_object *snapshot, size_t i)
{
	const struct snapshot *s = snapshot_of(snapshot);

	if (i > 0 || s->is_ready || *s->bound_content)
		return NULL;
	return str_or(s->class_name, SNAPSHOT_NO_CLASS);
}

static const char *default_mark(const struct kube_object *class, size_t i)
{
	return i == 0 ? strmap_find(&class->annotations, ANN_DEFAULT_SNAPSHOT_CLASS) : NULL;
}

static void add_key(struct queue *q, const char *ns, const char *name)
{
	autofree char *key = xasprintf("%s/%s", ns, name);

	queue_add(q, key);
}

struct key_list {
	const char *ns; /* NULL: any */
	VEC(char *) keys;
};

static int collect_key(void *arg, const struct kube_object *o)
{
	struct key_list *list = arg;

	if (!list->ns || str_is_equal(list->ns, o->ns))
		vec_push(&list->keys, xasprintf("%s/%s", o->ns, o->name));
	return 0;
}

static void add_collected(struct key_list *list, struct queue *queue)
{
	for (size_t i = 0; i < list->keys.n; i++) {
		queue_add(queue, list->keys.v[i]);
		free(list->keys.v[i]);
	}
	vec_done(&list->keys);
}

static void add_snapshots_in(struct snapshot_controller *s, const char *index, const char *key,
			     const char *ns)
{
	struct key_list list = { .ns = ns, .keys = VEC_INIT };

	informer_each_in(s->caches.snapshots, index, key, collect_key, &list);
	add_collected(&list, s->snapshot_queue);
}

static bool is_snapshot_changed(const struct kube_object *a, const struct kube_object *b)
{
	const struct snapshot *old = snapshot_of(a), *new = snapshot_of(b);

	return !str_is_equal(a->uid, b->uid) || a->is_deleting != b->is_deleting ||
	       a->n_finalizers != b->n_finalizers ||
	       !str_is_equal(old->class_name, new->class_name) ||
	       !str_is_equal(old->bound_content, new->bound_content) ||
	       old->is_ready != new->is_ready;
}

static void on_snapshot(void *arg, const struct kube_object *old_obj,
			const struct kube_object *new_obj)
{
	struct snapshot_controller *s = arg;
	const struct snapshot *is = snapshot_of(new_obj ? new_obj : old_obj);
	bool is_done = !new_obj || is->is_ready || new_obj->is_deleting;

	if (!new_obj && *is->bound_content)
		queue_add(s->content_queue, is->bound_content);
	if (new_obj && (!old_obj || is_snapshot_changed(old_obj, new_obj)))
		add_key(s->snapshot_queue, new_obj->ns, new_obj->name);
	if (is_done && *is->claim)
		add_key(s->claim_queue, is->meta.ns, is->claim);
}

static bool is_content_changed(const struct kube_object *a, const struct kube_object *b)
{
	const struct snapshot_content *old = snapshot_content_of(a), *new = snapshot_content_of(b);

	return !str_is_equal(a->uid, b->uid) || a->is_deleting != b->is_deleting ||
	       !str_is_equal(old->ref_uid, new->ref_uid) ||
	       !str_is_equal(old->ref_name, new->ref_name) ||
	       !str_is_equal(old->deletion_policy, new->deletion_policy) ||
	       !str_is_equal(old->error_message, new->error_message) ||
	       old->creation_ns != new->creation_ns || old->is_ready != new->is_ready ||
	       old->restore_bytes != new->restore_bytes;
}

static void on_content(void *arg, const struct kube_object *old_obj,
		       const struct kube_object *new_obj)
{
	struct snapshot_controller *s = arg;
	const struct snapshot_content *is = snapshot_content_of(new_obj ? new_obj : old_obj);

	if (new_obj && snapshot_content_is_wanted(s, new_obj))
		queue_add(s->content_queue, new_obj->name);
	if ((!new_obj || !old_obj || is_content_changed(old_obj, new_obj) ||
	     content_is_not_let_go(new_obj, &snapshot_let_go)) &&
	    *is->ref_name && *is->ref_ns)
		add_key(s->snapshot_queue, is->ref_ns, is->ref_name);
}

/* A class that appears, or becomes the default. */
static void on_class(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct snapshot_controller *s = arg;

	if (!new_obj)
		return;
	add_snapshots_in(s, SNAPSHOTS_BY_CLASS, new_obj->name, NULL);
	add_snapshots_in(s, SNAPSHOTS_BY_CLASS, SNAPSHOT_NO_CLASS, NULL);
}

static bool is_bound(const struct kube_object *claim)
{
	return claim && str_is_equal(core_pvc_of(claim)->phase, "Bound");
}

/* A claim as a source, and as one that is made of a snapshot and no more waits for it. */
static void on_claim(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct snapshot_controller *s = arg;

	if (is_bound(new_obj) && !is_bound(old_obj))
		add_snapshots_in(s, SNAPSHOTS_BY_CLAIM, new_obj->name, new_obj->ns);
	if (new_obj && new_obj->is_deleting &&
	    kube_object_has_finalizer(new_obj, CLAIM_SOURCE_FINALIZER))
		add_key(s->claim_queue, new_obj->ns, new_obj->name);
	if (old_obj && !*core_pvc_of(old_obj)->volume_name &&
	    core_pvc_is_of_snapshot(core_pvc_of(old_obj)) &&
	    (!new_obj || *core_pvc_of(new_obj)->volume_name))
		add_key(s->snapshot_queue, old_obj->ns, core_pvc_of(old_obj)->source_name);
}

/* ---- groups ---- */

static const char *waiting_group_class(const struct kube_object *group, size_t i)
{
	const struct group_snapshot *g = group_snapshot_of(group);

	if (i > 0 || g->is_ready || *g->bound_content)
		return NULL;
	return str_or(g->class_name, SNAPSHOT_NO_CLASS);
}

static const char *default_group_mark(const struct kube_object *class, size_t i)
{
	return i == 0 ? strmap_find(&class->annotations, ANN_DEFAULT_GROUP_CLASS) : NULL;
}

static bool is_group_changed(const struct kube_object *a, const struct kube_object *b)
{
	const struct group_snapshot *old = group_snapshot_of(a), *new = group_snapshot_of(b);

	return !str_is_equal(a->uid, b->uid) || a->is_deleting != b->is_deleting ||
	       a->n_finalizers != b->n_finalizers ||
	       !str_is_equal(old->class_name, new->class_name) ||
	       !str_is_equal(old->bound_content, new->bound_content) ||
	       old->is_ready != new->is_ready;
}

static void on_group(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct snapshot_controller *s = arg;

	if (!new_obj && *group_snapshot_of(old_obj)->bound_content)
		queue_add(s->group_content_queue, group_snapshot_of(old_obj)->bound_content);
	if (new_obj && (!old_obj || is_group_changed(old_obj, new_obj)))
		add_key(s->group_queue, new_obj->ns, new_obj->name);
}

static bool is_group_content_changed(const struct kube_object *a, const struct kube_object *b)
{
	const struct group_content *old = group_content_of(a), *new = group_content_of(b);

	return !str_is_equal(a->uid, b->uid) || a->is_deleting != b->is_deleting ||
	       !str_is_equal(old->ref_uid, new->ref_uid) ||
	       !str_is_equal(old->ref_name, new->ref_name) ||
	       !str_is_equal(old->deletion_policy, new->deletion_policy) ||
	       !str_is_equal(old->error_message, new->error_message) ||
	       !str_is_equal(old->handle, new->handle) || old->n_members != new->n_members ||
	       old->is_ready != new->is_ready;
}

static void on_group_content(void *arg, const struct kube_object *old_obj,
			     const struct kube_object *new_obj)
{
	struct snapshot_controller *s = arg;
	const struct group_content *is = group_content_of(new_obj ? new_obj : old_obj);

	if (new_obj && snapshot_group_content_is_wanted(s, new_obj))
		queue_add(s->group_content_queue, new_obj->name);
	if ((!new_obj || !old_obj || is_group_content_changed(old_obj, new_obj) ||
	     content_is_not_let_go(new_obj, &group_let_go)) &&
	    *is->ref_name && *is->ref_ns)
		add_key(s->group_queue, is->ref_ns, is->ref_name);
}

static void add_groups_in(struct snapshot_controller *s, const char *class)
{
	struct key_list list = { .ns = NULL, .keys = VEC_INIT };

	informer_each_in(s->caches.groups, GROUPS_BY_CLASS, class, collect_key, &list);
	add_collected(&list, s->group_queue);
}

static void on_group_class(void *arg, const struct kube_object *old_obj,
			   const struct kube_object *new_obj)
{
	struct snapshot_controller *s = arg;

	(void)old_obj;
	if (!new_obj)
		return;
	add_groups_in(s, new_obj->name);
	add_groups_in(s, SNAPSHOT_NO_CLASS);
}

void snapshot_controller_watch(struct snapshot_controller *s)
{
	informer_add_index(s->caches.snapshots, SNAPSHOTS_BY_CLAIM, source_claim);
	informer_add_index(s->caches.snapshots, SNAPSHOTS_BY_CLASS, waiting_class);
	informer_add_index(s->caches.classes, SNAPSHOT_DEFAULT_CLASSES, default_mark);
	informer_add_index(s->caches.pvcs, CORE_WAITING_BY_SOURCE, core_waiting_source);
	informer_on_change(s->caches.snapshots, on_snapshot, s);
	informer_on_change(s->caches.contents, on_content, s);
	informer_on_change(s->caches.classes, on_class, s);
	informer_on_change(s->caches.pvcs, on_claim, s);
	informer_add_index(s->caches.pvs, GROUP_VOLUMES_BY_HANDLE, group_volume_handle);
	if (s->caches.nodes)
		informer_add_index(s->caches.nodes, CORE_ALL_NODES, core_node_any);
	informer_add_index(s->caches.groups, GROUPS_BY_CLASS, waiting_group_class);
	informer_add_index(s->caches.group_classes, SNAPSHOT_DEFAULT_CLASSES, default_group_mark);
	informer_on_change(s->caches.groups, on_group, s);
	informer_on_change(s->caches.group_contents, on_group_content, s);
	informer_on_change(s->caches.group_classes, on_group_class, s);
}

void snapshot_controller_unwatch(struct snapshot_controller *s)
{
	informer_off_change(s->caches.snapshots, on_snapshot, s);
	informer_off_change(s->caches.contents, on_content, s);
	informer_off_change(s->caches.classes, on_class, s);
	informer_off_change(s->caches.pvcs, on_claim, s);
	informer_off_change(s->caches.groups, on_group, s);
	informer_off_change(s->caches.group_contents, on_group_content, s);
	informer_off_change(s->caches.group_classes, on_group_class, s);
}
