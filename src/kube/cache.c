/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three sources tell about an object: a list, a watch, and the answers to our
 * own writes, which overtake the watch. Which of two states is newer is decided
 * by resource version alone, so it does not matter who comes first:
 *
 *   an event at or below the cached version     is old news
 *   a deletion below the cached version         is about its predecessor
 *   an object missing in a list                 is gone, unless it is newer than the list
 *   a write's answer for an uncached object     is news only above the position of the watch;
 *                                               below it, the object was deleted meanwhile
 *
 * Same name and another uid: the old one is reported as gone first.
 *
 * Two locks, never held together: one for the objects, one that keeps handlers
 * from running once their owner wants to go.
 */
#include "kube/cache.h"

#include "base/vec.h"
#include "event/sync.h"
#include "kube/object-internal.h"

#include <errno.h>

void cache_init(struct cache *c)
{
	*c = (struct cache){ 0 };
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->report, NULL);
	store_init(&c->store);
}

void cache_done(struct cache *c)
{
	store_done(&c->store);
	store_done(&c->seen);
	str_done(&c->position);
	pthread_mutex_destroy(&c->report);
	pthread_mutex_destroy(&c->lock);
}

int cache_add_handler(struct cache *c, informer_change_fn fn, void *arg)
{
	LOCK_SCOPE(&c->report);
	if (c->n_handlers == CACHE_HANDLERS_MAX)
		return -ENOSPC;
	c->handlers[c->n_handlers++] = (struct cache_handler){ fn, arg };
	return 0;
}

/* Its place, or n_handlers. Under report. */
static unsigned find_handler(const struct cache *c, informer_change_fn fn, const void *arg)
{
	unsigned i = 0;

	while (i < c->n_handlers && (c->handlers[i].fn != fn || c->handlers[i].arg != arg))
		i++;
	return i;
}

void cache_drop_handler(struct cache *c, informer_change_fn fn, void *arg)
{
	LOCK_SCOPE(&c->report);
	unsigned i = find_handler(c, fn, arg);

	if (i < c->n_handlers)
		c->handlers[i] = c->handlers[--c->n_handlers];
}

void cache_drop_handlers(struct cache *c)
{
	LOCK_SCOPE(&c->report);
	c->n_handlers = 0;
}

static bool is_same(const struct kube_object *a, const struct kube_object *b)
{
	return strcmp(a->uid, b->uid) == 0;
}

static void tell(const struct cache *c, const struct kube_object *old_obj,
		 const struct kube_object *new_obj)
{
	for (unsigned i = 0; i < c->n_handlers; i++)
		c->handlers[i].fn(c->handlers[i].arg, old_obj, new_obj);
}

void cache_report(struct cache *c, const struct kube_object *old_obj,
		  const struct kube_object *new_obj)
{
	LOCK_SCOPE(&c->report);
	if (old_obj && new_obj && !is_same(old_obj, new_obj)) {
		tell(c, old_obj, NULL);
		old_obj = NULL;
	}
	tell(c, old_obj, new_obj);
}

void cache_replay(struct cache *c, informer_change_fn fn, void *arg)
{
	VEC(const struct kube_object *) all = VEC_INIT;
	const struct kube_object *o;

	pthread_mutex_lock(&c->lock);
	for (size_t it = 0; (o = store_next(&c->store, &it));)
		vec_push(&all, kube_object_ref(o));
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_lock(&c->report);
	for (size_t i = 0; i < all.n; i++) {
		/* Unless its owner has gone meanwhile. */
		if (find_handler(c, fn, arg) < c->n_handlers)
			fn(arg, NULL, all.v[i]);
		kube_object_unref(all.v[i]);
	}
	pthread_mutex_unlock(&c->report);
	vec_done(&all);
}

static bool is_newer(const struct kube_object *o, const struct kube_object *than)
{
	return kube_version_compare(o->resource_version, than->resource_version) > 0;
}

static void mark_seen(struct cache *c, const struct kube_object *o)
{
	kube_object_unref(store_put(&c->seen, kube_object_ref(o)));
}

void cache_apply(struct cache *c, const struct kube_object *o)
{
	const struct kube_object *old;

	if (c->is_syncing)
		mark_seen(c, o);
	pthread_mutex_lock(&c->lock);
	old = store_find(&c->store, o->ns, o->name);
	if (old && !is_newer(o, old)) {
		pthread_mutex_unlock(&c->lock);
		kube_object_unref(o);
		return;
	}
	(void)kube_object_ref(o); /* for the report */
	old = store_put(&c->store, o);
	pthread_mutex_unlock(&c->lock);
	cache_report(c, old, o);
	kube_object_unref(old);
	kube_object_unref(o);
}

void cache_remove(struct cache *c, const struct kube_object *o)
{
	const struct kube_object *old;

	pthread_mutex_lock(&c->lock);
	old = store_find(&c->store, o->ns, o->name);
	if (old && !is_newer(old, o))
		(void)store_take(&c->store, o->ns, o->name); /* it is old, and now ours */
	else
		old = NULL;
	pthread_mutex_unlock(&c->lock);
	if (!old)
		return;
	cache_report(c, old, NULL);
	kube_object_unref(old);
}

void cache_begin_sync(struct cache *c)
{
	store_done(&c->seen);
	store_init(&c->seen);
	c->is_syncing = true;
}

void cache_end_sync(struct cache *c, const char *version)
{
	VEC(const struct kube_object *) gone = VEC_INIT;
	const struct kube_object *o;

	pthread_mutex_lock(&c->lock);
	for (size_t it = 0; (o = store_next(&c->store, &it));)
		if (!store_find(&c->seen, o->ns, o->name) &&
		    kube_version_compare(o->resource_version, version) <= 0)
			vec_push(&gone, o);
	for (size_t i = 0; i < gone.n; i++)
		(void)store_take(&c->store, gone.v[i]->ns, gone.v[i]->name); /* now ours */
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < gone.n; i++) {
		cache_report(c, gone.v[i], NULL);
		kube_object_unref(gone.v[i]);
	}
	vec_done(&gone);
	store_done(&c->seen);
	c->is_syncing = false;
	cache_set_position(c, version);
}

void cache_set_position(struct cache *c, const char *version)
{
	LOCK_SCOPE(&c->lock);
	str_reset(&c->position);
	str_append(&c->position, version);
}

bool cache_note(struct cache *c, const struct kube_object *o, const struct kube_object **ret_old)
{
	const struct kube_object *old;

	LOCK_SCOPE(&c->lock);
	old = store_find(&c->store, o->ns, o->name);
	if (old ? !is_newer(o, old)
		: c->position.len == 0 ||
			    kube_version_compare(o->resource_version, str_get(&c->position)) <= 0)
		return false;
	(void)kube_object_ref(o); /* for the report */
	*ret_old = store_put(&c->store, kube_object_ref(o));
	return true;
}

const struct kube_object *cache_get(struct cache *c, const char *ns, const char *name)
{
	const struct kube_object *o;

	LOCK_SCOPE(&c->lock);
	o = store_find(&c->store, ns, name);
	return o ? kube_object_ref(o) : NULL;
}
