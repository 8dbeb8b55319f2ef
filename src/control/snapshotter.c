/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The snapshotter's frame: changes of contents become keys, keys become reconciles on workers
 * (content.c), of both kinds alike. Changes that no reconcile decides by, those of the status above
 * all, which are its own, do not wake it: what failed waits for its backoff.
 */
#include "control/snapshotter-internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "control/content_view.h"
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
	const struct content_view v = content_view(content);

	return i == 0 && !v.is_ready && *v.class_name ? v.class_name : NULL;
}

static bool is_same_annotation(const struct kube_object *a, const struct kube_object *b,
			       const char *key)
{
	const char *left = strmap_find(&a->annotations, key);
	const char *right = strmap_find(&b->annotations, key);

	return str_is_equal(str_or(left, ""), str_or(right, ""));
}

static bool is_changed(const struct content_kind *kind, const struct kube_object *a,
		       const struct kube_object *b)
{
	const struct content_view old = content_view(a), new = content_view(b);

	return !str_is_equal(a->uid, b->uid) || a->is_deleting != b->is_deleting ||
	       !str_is_equal(old.ref_uid, new.ref_uid) ||
	       !str_is_equal(old.class_name, new.class_name) ||
	       !str_is_equal(old.deletion_policy, new.deletion_policy) ||
	       (!old.is_ready && new.is_ready) || !is_same_annotation(a, b, kind->being_deleted) ||
	       !is_same_annotation(a, b, kind->secret_name) ||
	       !is_same_annotation(a, b, kind->secret_ns) ||
	       !is_same_annotation(a, b, ANN_GROUP_HANDLE);
}

static void on_content(void *arg, const struct kube_object *old_obj,
		       const struct kube_object *new_obj)
{
	struct cutter *k = arg;

	if (new_obj && (!old_obj || is_changed(k->kind, old_obj, new_obj)) &&
	    content_is_wanted(k, new_obj))
		queue_add(k->queue, new_obj->name);
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

/* A class that appears, or is made anew, is news for the contents that wait for it. */
static void on_class(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct cutter *k = arg;
	struct name_list list = { .names = VEC_INIT };

	if (!new_obj || (old_obj && str_is_equal(old_obj->uid, new_obj->uid)))
		return;
	informer_each_in(k->contents.cache, CONTENTS_BY_CLASS, new_obj->name, collect_name, &list);
	for (size_t i = 0; i < list.names.n; i++) {
		queue_add(k->queue, list.names.v[i]);
		free(list.names.v[i]);
	}
	vec_done(&list.names);
}

/* ---- life ---- */

/* Its kind, caches and prefix are there. */
static void cutter_begin(struct cutter *k, const struct snapshotter_options *opts)
{
	const struct queue_options options = {
		.name = k->kind->queue_name,
		.workers = opts->workers ? opts->workers : DEFAULT_WORKERS,
		.lane = opts->lane,
		.backoff_base_ns = opts->retry_base_ns,
		.backoff_max_ns = opts->retry_max_ns,
		.timeout_ns = RECONCILE_API_NS + RECONCILE_CALLS * k->s->csi.timeout_ns,
		.fence = opts->fence,
	};

	k->queue = queue_new(opts->loop, opts->work, &options, content_reconcile, k);
	sync_gate_init(&k->gate, opts->loop);
	if (!k->contents.cache)
		return;
	k->gate.caches[0] = k->contents.cache;
	k->gate.caches[1] = k->classes;
	k->gate.queues[0] = k->queue;
	informer_add_index(k->contents.cache, CONTENTS_BY_CLASS, waiting_class);
	informer_on_change(k->contents.cache, on_content, k);
	informer_on_change(k->classes, on_class, k);
}

static void cutter_leave(struct cutter *k)
{
	if (!k->contents.cache)
		return;
	informer_off_change(k->contents.cache, on_content, k);
	informer_off_change(k->classes, on_class, k);
}

static void cutter_done(struct cutter *k)
{
	sync_gate_done(&k->gate);
	queue_free(k->queue);
	free(k->prefix);
}

static struct cutter make_cutter(struct snapshotter *s, const struct content_kind *kind,
				 struct informer *contents, struct informer *classes,
				 const char *prefix, unsigned name_digits)
{
	return (struct cutter){
		.kind = kind,
		.s = s,
		.contents = { s->client, contents, kind->type },
		.classes = classes,
		.prefix = xstrdup(str_or(prefix, kind->default_prefix)),
		.name_digits = name_digits,
	};
}

struct snapshotter *snapshotter_new(const struct snapshotter_options *opts)
{
	struct snapshotter *s = xcalloc(1, sizeof(*s));

	*s = (struct snapshotter){
		.client = opts->client,
		.fence = opts->fence,
		.recorder = opts->recorder,
		.extra_create_metadata = opts->extra_create_metadata,
	};
	driver_init(&s->csi, &opts->service, opts->driver_name,
		    opts->timeout_ns ? opts->timeout_ns : DEFAULT_TIMEOUT_NS);
	s->single = make_cutter(s, &content_kind_single, opts->contents, opts->classes,
				opts->name_prefix, opts->name_digits);
	s->groups = make_cutter(s, &content_kind_group, opts->group_contents, opts->group_classes,
				opts->group_name_prefix, opts->group_name_digits);
	cutter_begin(&s->single, opts);
	cutter_begin(&s->groups, opts);
	return s;
}

void snapshotter_start(struct snapshotter *s)
{
	sync_gate_start(&s->single.gate);
	if (s->groups.contents.cache)
		sync_gate_start(&s->groups.gate);
}

void snapshotter_pause(struct snapshotter *s)
{
	sync_gate_pause(&s->single.gate);
	sync_gate_pause(&s->groups.gate);
}

void snapshotter_free(struct snapshotter *s)
{
	if (!s)
		return;
	cutter_leave(&s->single);
	cutter_leave(&s->groups);
	cutter_done(&s->single);
	cutter_done(&s->groups);
	driver_done(&s->csi);
	free(s);
}
