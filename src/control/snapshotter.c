/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The snapshotter's frame: changes of contents become keys, keys become reconciles on workers
 * (snapshot_content.c). Changes that no reconcile decides by, those of the status above all, which
 * are its own, do not wake it: what failed waits for its backoff.
 */
#include "control/snapshotter-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "kube/informer.h"

#define DEFAULT_WORKERS 16
#define DEFAULT_TIMEOUT_NS (60 * NS_PER_S)
/* A reconcile makes two CSI calls and a handful of API calls. */
#define RECONCILE_API_NS (60 * NS_PER_S)
#define RECONCILE_CALLS 2

#define CONTENTS_BY_CLASS "contents by class"

/* Those that may wait for their class. */
static const char *waiting_class(const struct kube_object *content, size_t i)
{
	const struct snapshot_content *c = snapshot_content_of(content);

	return i == 0 && !c->is_ready && *c->class_name ? c->class_name : NULL;
}

static bool is_same_annotation(const struct kube_object *a, const struct kube_object *b,
			       const char *key)
{
	const char *left = strmap_find(&a->annotations, key);
	const char *right = strmap_find(&b->annotations, key);

	return str_is_equal(str_or(left, ""), str_or(right, ""));
}

static bool is_changed(const struct kube_object *a, const struct kube_object *b)
{
	const struct snapshot_content *old = snapshot_content_of(a), *new = snapshot_content_of(b);

	return !str_is_equal(a->uid, b->uid) || a->is_deleting != b->is_deleting ||
	       !str_is_equal(old->ref_uid, new->ref_uid) ||
	       !str_is_equal(old->class_name, new->class_name) ||
	       !str_is_equal(old->deletion_policy, new->deletion_policy) ||
	       (!old->is_ready && new->is_ready) || !is_same_annotation(a, b, ANN_BEING_DELETED) ||
	       !is_same_annotation(a, b, ANN_SNAPSHOT_SECRET_NAME) ||
	       !is_same_annotation(a, b, ANN_SNAPSHOT_SECRET_NS) ||
	       !is_same_annotation(a, b, ANN_GROUP_HANDLE);
}

static void on_content(void *arg, const struct kube_object *old_obj,
		       const struct kube_object *new_obj)
{
	struct snapshotter *s = arg;

	if (new_obj && (!old_obj || is_changed(old_obj, new_obj)) && content_is_wanted(s, new_obj))
		queue_add(s->queue, new_obj->name);
}

struct name_list {
	VEC(char *) names;
};

static int collect_name(void *arg, const struct kube_object *o)
{
	struct name_list *list = arg;

	vec_push(&list->names, xstrdup(o->name));
	return 0;
}

static void wake_waiting(struct informer *contents, const char *class, struct queue *queue)
{
	struct name_list list = { .names = VEC_INIT };

	informer_each_in(contents, CONTENTS_BY_CLASS, class, collect_name, &list);
	for (size_t i = 0; i < list.names.n; i++) {
		queue_add(queue, list.names.v[i]);
		free(list.names.v[i]);
	}
	vec_done(&list.names);
}

/* A class that appears, or is made anew, is news for the contents that wait for it. */
static void on_class(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct snapshotter *s = arg;

	if (new_obj && !(old_obj && str_is_equal(old_obj->uid, new_obj->uid)))
		wake_waiting(s->contents.cache, new_obj->name, s->queue);
}

/* ---- groups ---- */

static const char *waiting_group_class(const struct kube_object *content, size_t i)
{
	const struct group_content *c = group_content_of(content);

	return i == 0 && !c->is_ready && *c->class_name ? c->class_name : NULL;
}

static bool is_group_changed(const struct kube_object *a, const struct kube_object *b)
{
	const struct group_content *old = group_content_of(a), *new = group_content_of(b);

	return !str_is_equal(a->uid, b->uid) || a->is_deleting != b->is_deleting ||
	       !str_is_equal(old->ref_uid, new->ref_uid) ||
	       !str_is_equal(old->class_name, new->class_name) ||
	       !str_is_equal(old->deletion_policy, new->deletion_policy) ||
	       (!old->is_ready && new->is_ready) ||
	       !is_same_annotation(a, b, ANN_GROUP_BEING_DELETED) ||
	       !is_same_annotation(a, b, ANN_GROUP_SECRET_NAME) ||
	       !is_same_annotation(a, b, ANN_GROUP_SECRET_NS);
}

static void on_group_content(void *arg, const struct kube_object *old_obj,
			     const struct kube_object *new_obj)
{
	struct snapshotter *s = arg;

	if (new_obj && (!old_obj || is_group_changed(old_obj, new_obj)) &&
	    group_content_is_wanted(s, new_obj))
		queue_add(s->group_queue, new_obj->name);
}

static void on_group_class(void *arg, const struct kube_object *old_obj,
			   const struct kube_object *new_obj)
{
	struct snapshotter *s = arg;

	if (new_obj && !(old_obj && str_is_equal(old_obj->uid, new_obj->uid)))
		wake_waiting(s->group_contents.cache, new_obj->name, s->group_queue);
}

static void begin_groups(struct snapshotter *s, const struct snapshotter_options *opts)
{
	sync_gate_init(&s->group_gate, opts->loop);
	if (!opts->group_contents)
		return;
	s->group_gate.caches[0] = opts->group_contents;
	s->group_gate.caches[1] = opts->group_classes;
	s->group_gate.queues[0] = s->group_queue;
	informer_add_index(opts->group_contents, CONTENTS_BY_CLASS, waiting_group_class);
	informer_on_change(opts->group_contents, on_group_content, s);
	informer_on_change(opts->group_classes, on_group_class, s);
}

/* ---- life ---- */

struct snapshotter *snapshotter_new(const struct snapshotter_options *opts)
{
	struct snapshotter *s = xcalloc(1, sizeof(*s));
	int64_t timeout_ns = opts->timeout_ns ? opts->timeout_ns : DEFAULT_TIMEOUT_NS;
	struct queue_options options = {
		.name = "contents",
		.workers = opts->workers ? opts->workers : DEFAULT_WORKERS,
		.lane = opts->lane,
		.backoff_base_ns = opts->retry_base_ns,
		.backoff_max_ns = opts->retry_max_ns,
		.timeout_ns = RECONCILE_API_NS + RECONCILE_CALLS * timeout_ns,
		.fence = opts->fence,
	};

	*s = (struct snapshotter){
		.client = opts->client,
		.fence = opts->fence,
		.contents = { opts->client, opts->contents, &snapshot_content_type },
		.classes = opts->classes,
		.group_contents = { opts->client, opts->group_contents, &group_content_type },
		.group_classes = opts->group_classes,
		.recorder = opts->recorder,
		.prefix = xstrdup(str_or(opts->name_prefix, "snapshot")),
		.group_prefix = xstrdup(str_or(opts->group_name_prefix, "groupsnapshot")),
		.extra_create_metadata = opts->extra_create_metadata,
	};
	driver_init(&s->csi, &opts->service, opts->driver_name, timeout_ns);
	s->queue = queue_new(opts->loop, opts->work, &options, content_reconcile, s);
	options.name = "group-contents";
	s->group_queue = queue_new(opts->loop, opts->work, &options, group_content_reconcile, s);
	sync_gate_init(&s->gate, opts->loop);
	s->gate.caches[0] = opts->contents;
	s->gate.caches[1] = opts->classes;
	s->gate.queues[0] = s->queue;
	informer_add_index(opts->contents, CONTENTS_BY_CLASS, waiting_class);
	informer_on_change(opts->contents, on_content, s);
	informer_on_change(opts->classes, on_class, s);
	begin_groups(s, opts);
	return s;
}

void snapshotter_start(struct snapshotter *s)
{
	sync_gate_start(&s->gate);
	if (s->group_contents.cache)
		sync_gate_start(&s->group_gate);
}

void snapshotter_pause(struct snapshotter *s)
{
	sync_gate_pause(&s->gate);
	sync_gate_pause(&s->group_gate);
}

void snapshotter_free(struct snapshotter *s)
{
	if (!s)
		return;
	informer_off_change(s->contents.cache, on_content, s);
	informer_off_change(s->classes, on_class, s);
	if (s->group_contents.cache) {
		informer_off_change(s->group_contents.cache, on_group_content, s);
		informer_off_change(s->group_classes, on_group_class, s);
	}
	sync_gate_done(&s->gate);
	sync_gate_done(&s->group_gate);
	queue_free(s->queue);
	queue_free(s->group_queue);
	driver_done(&s->csi);
	free(s->prefix);
	free(s->group_prefix);
	free(s);
}
