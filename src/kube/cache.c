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
 * A write is noted by whatever thread made it, handlers run on the feeding thread alone. So each
 * change is queued under the lock that made it true, and told from the queue: handlers hear of
 * changes in the order in which readers could see them, whoever was quicker. A deletion moves the
 * position in the same moment, else the late answer to an older write would bring the dead back.
 *
 * An API server whose etcd was restored from a backup counts from an earlier version again. By the
 * rules above everything it says would be old news for ever; a list that is older than what was
 * told before shows it, and the next one is then believed whatever its versions. A sync remembers
 * what was listed by references to what the store has, so it holds no object twice.
 *
 * Two locks: one for the objects, and one that keeps handlers from running once their owner wants
 * to go. The first is taken inside the second by handlers that look into caches, this one or
 * others; never the second inside the first.
 */
#include "kube/cache.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "event/sync.h"
#include "kube/object-internal.h"

#include <assert.h>

/* Both are references of its own; either may be NULL. */
struct cache_change {
	struct cache_change *next;
	const struct kube_object *old_obj;
	const struct kube_object *new_obj;
};

void cache_init(struct cache *c)
{
	*c = (struct cache){ 0 };
	c->last = &c->first;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->report, NULL);
	store_init(&c->store);
}

static void change_free(struct cache_change *change)
{
	kube_object_unref(change->old_obj);
	kube_object_unref(change->new_obj);
	free(change);
}

void cache_done(struct cache *c)
{
	for (struct cache_change *change = c->first, *next; change; change = next) {
		next = change->next;
		change_free(change);
	}
	store_done(&c->store);
	store_done(&c->seen);
	for (size_t i = 0; i < c->indexes.n; i++)
		index_done(&c->indexes.v[i].index);
	vec_done(&c->indexes);
	vec_done(&c->handlers);
	str_done(&c->position);
	pthread_mutex_destroy(&c->report);
	pthread_mutex_destroy(&c->lock);
}

void cache_add_handler(struct cache *c, informer_change_fn fn, void *arg)
{
	LOCK_SCOPE(&c->report);
	vec_push(&c->handlers, ((struct cache_handler){ fn, arg }));
}

/* Its place, or how many there are. Under report. */
static size_t find_handler(const struct cache *c, informer_change_fn fn, const void *arg)
{
	size_t i = 0;

	while (i < c->handlers.n && (c->handlers.v[i].fn != fn || c->handlers.v[i].arg != arg))
		i++;
	return i;
}

void cache_drop_handler(struct cache *c, informer_change_fn fn, void *arg)
{
	LOCK_SCOPE(&c->report);
	size_t i = find_handler(c, fn, arg);

	if (i < c->handlers.n)
		c->handlers.v[i] = c->handlers.v[--c->handlers.n];
}

void cache_drop_handlers(struct cache *c)
{
	LOCK_SCOPE(&c->report);
	c->handlers.n = 0;
}

static bool is_same(const struct kube_object *a, const struct kube_object *b)
{
	return strcmp(a->uid, b->uid) == 0;
}

static void tell(const struct cache *c, const struct kube_object *old_obj,
		 const struct kube_object *new_obj)
{
	for (size_t i = 0; i < c->handlers.n; i++)
		c->handlers.v[i].fn(c->handlers.v[i].arg, old_obj, new_obj);
}

static void report(struct cache *c, const struct cache_change *change)
{
	const struct kube_object *old_obj = change->old_obj;
	LOCK_SCOPE(&c->report);

	if (old_obj && change->new_obj && !is_same(old_obj, change->new_obj)) {
		tell(c, old_obj, NULL);
		old_obj = NULL;
	}
	tell(c, old_obj, change->new_obj);
}

void cache_tell(struct cache *c)
{
	struct cache_change *change;
	struct cache_change *next;

	pthread_mutex_lock(&c->lock);
	change = TAKE_PTR(c->first);
	c->last = &c->first;
	pthread_mutex_unlock(&c->lock);
	for (; change; change = next) {
		next = change->next;
		report(c, change);
		change_free(change);
	}
}

/* Under lock; takes both references. */
static void queue_change(struct cache *c, const struct kube_object *old_obj,
			 const struct kube_object *new_obj)
{
	struct cache_change *change = xmalloc(sizeof(*change));

	*change = (struct cache_change){ .old_obj = old_obj, .new_obj = new_obj };
	*c->last = change;
	c->last = &change->next;
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
		if (find_handler(c, fn, arg) < c->handlers.n)
			fn(arg, NULL, all.v[i]);
		kube_object_unref(all.v[i]);
	}
	pthread_mutex_unlock(&c->report);
	vec_done(&all);
}

/* Under lock. As store_put and store_take, for store and indexes. */
static const struct kube_object *put(struct cache *c, const struct kube_object *o)
{
	const struct kube_object *old = store_put(&c->store, o);

	for (size_t i = 0; i < c->indexes.n; i++) {
		if (old)
			index_remove(&c->indexes.v[i].index, old);
		index_add(&c->indexes.v[i].index, o);
	}
	return old;
}

static const struct kube_object *take(struct cache *c, const struct kube_object *like)
{
	const struct kube_object *old = store_take(&c->store, like->ns, like->name);

	for (size_t i = 0; old && i < c->indexes.n; i++)
		index_remove(&c->indexes.v[i].index, old);
	return old;
}

static bool is_newer(const struct kube_object *o, const struct kube_object *than)
{
	return kube_version_compare(o->resource_version, than->resource_version) > 0;
}

/* Under lock. */
static void advance(struct cache *c, const char *version)
{
	if (kube_version_compare(version, str_get(&c->position)) <= 0)
		return;
	str_reset(&c->position);
	str_append(&c->position, version);
}

/* Under lock: whether a listed or told object is news beside what is there. */
static bool is_news(const struct cache *c, const struct kube_object *o,
		    const struct kube_object *old)
{
	if (!old || is_newer(o, old))
		return true;
	return c->is_replacing && !str_is_equal(o->resource_version, old->resource_version);
}

void cache_apply(struct cache *c, const struct kube_object *o)
{
	const struct kube_object *old;
	bool is_taken;

	pthread_mutex_lock(&c->lock);
	old = store_find(&c->store, o->ns, o->name);
	is_taken = is_news(c, o, old);
	if (is_taken) {
		old = put(c, kube_object_ref(o));
		queue_change(c, old, kube_object_ref(o));
	}
	if (c->is_syncing)
		kube_object_unref(store_put(&c->seen, kube_object_ref(is_taken ? o : old)));
	else
		advance(c, o->resource_version);
	pthread_mutex_unlock(&c->lock);
	kube_object_unref(o);
	cache_tell(c);
}

void cache_remove(struct cache *c, const struct kube_object *o)
{
	const struct kube_object *old;

	pthread_mutex_lock(&c->lock);
	old = store_find(&c->store, o->ns, o->name);
	if (old && (c->is_replacing || !is_newer(old, o)))
		queue_change(c, take(c, o), NULL);
	if (!c->is_syncing)
		advance(c, o->resource_version);
	pthread_mutex_unlock(&c->lock);
	cache_tell(c);
}

void cache_begin_sync(struct cache *c, bool replace)
{
	LOCK_SCOPE(&c->lock);
	store_done(&c->seen);
	store_init(&c->seen);
	c->is_syncing = true;
	c->is_replacing = replace;
}

/* Under lock: what was not listed is gone. */
static void drop_unseen(struct cache *c, const char *version)
{
	VEC(const struct kube_object *) gone = VEC_INIT;
	const struct kube_object *o;

	for (size_t it = 0; (o = store_next(&c->store, &it));) {
		if (!store_find(&c->seen, o->ns, o->name) &&
		    (c->is_replacing || kube_version_compare(o->resource_version, version) <= 0))
			vec_push(&gone, o);
	}
	for (size_t i = 0; i < gone.n; i++)
		queue_change(c, take(c, gone.v[i]), NULL);
	vec_done(&gone);
}

bool cache_end_sync(struct cache *c, const char *version)
{
	bool is_believed;

	pthread_mutex_lock(&c->lock);
	is_believed = c->is_replacing || kube_version_compare(version, str_get(&c->position)) >= 0;
	if (is_believed) {
		drop_unseen(c, version);
		str_reset(&c->position);
		str_append(&c->position, version);
	}
	store_done(&c->seen);
	c->is_syncing = c->is_replacing = false;
	pthread_mutex_unlock(&c->lock);
	cache_tell(c);
	return is_believed;
}

void cache_set_position(struct cache *c, const char *version)
{
	LOCK_SCOPE(&c->lock);
	advance(c, version);
}

bool cache_note(struct cache *c, const struct kube_object *o)
{
	const struct kube_object *old;

	LOCK_SCOPE(&c->lock);
	old = store_find(&c->store, o->ns, o->name);
	if (old ? !is_newer(o, old)
		: c->position.len == 0 ||
			    kube_version_compare(o->resource_version, str_get(&c->position)) <= 0)
		return false;
	old = put(c, kube_object_ref(o));
	queue_change(c, old, kube_object_ref(o));
	return true;
}

const struct kube_object *cache_get(struct cache *c, const char *ns, const char *name)
{
	const struct kube_object *o;

	LOCK_SCOPE(&c->lock);
	o = store_find(&c->store, ns, name);
	return o ? kube_object_ref(o) : NULL;
}

/* Under lock; NULL: there is none. */
static struct index *find_index(const struct cache *c, const char *name)
{
	for (size_t i = 0; i < c->indexes.n; i++)
		if (str_is_equal(c->indexes.v[i].name, name))
			return &c->indexes.v[i].index;
	return NULL;
}

void cache_add_index(struct cache *c, const char *name, kube_key_fn key)
{
	struct cache_index added = { .name = name };
	const struct kube_object *o;
	const struct index *there;

	LOCK_SCOPE(&c->lock);
	there = find_index(c, name);
	assert(!there || there->key == key);
	if (there)
		return;
	index_init(&added.index, key);
	for (size_t it = 0; (o = store_next(&c->store, &it));)
		index_add(&added.index, o);
	vec_push(&c->indexes, added);
}

void cache_each_in(struct cache *c, const char *name, const char *key, informer_each_fn fn,
		   void *arg)
{
	const struct kube_object *o;
	const struct index *x;

	LOCK_SCOPE(&c->lock);
	x = find_index(c, name);
	assert(x);
	for (uint32_t it = index_first(x, key); (o = index_next(x, &it));)
		if (fn(arg, o) != 0)
			return;
}
