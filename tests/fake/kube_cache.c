/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Informers that look at the API only when told, and the recorder. A cache takes our own write at
 * once, silently: the watch then brings nothing new and no handler is called, which is the worst
 * that the real one may do.
 */
#include "fake/kube-internal.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "kube/informer.h"
#include "kube/recorder.h"

#include <assert.h>

struct handler {
	informer_change_fn fn;
	void *arg;
};

struct named_key {
	const char *name;
	kube_key_fn key;
};

struct informer {
	const struct kube_type *type;
	struct map *objects; /* "ns/name" → object, one reference each */
	struct map *untold;  /* "ns/name" → what handlers last heard of it, or &nothing */
	VEC(struct handler) handlers;
	VEC(struct named_key) indexes;
	bool has_synced, is_frozen, is_started;
	char *only; /* by a field selector "metadata.name=…"; NULL: all */
	struct informer *next;
};

static struct {
	struct informer *all;
	struct str events;
	bool notes_writes, tells_writes;
} cache;
static char nothing;

void fake_cache_reset(void)
{
	str_done(&cache.events);
	cache.all = NULL;
	cache.notes_writes = true;
	cache.tells_writes = false;
}

struct informer *informer_new(struct kube_client *client, const struct kube_type *type,
			      const struct informer_options *opts)
{
	struct informer *i = xcalloc(1, sizeof(*i));

	i->type = type;
	if (opts && !str_is_empty(opts->field_selector))
		i->only = xstrdup(strchr(opts->field_selector, '=') + 1);
	i->objects = map_new();
	i->untold = map_new();
	i->next = cache.all;
	cache.all = i;
	return i;
}

void informer_free(struct informer *i)
{
	struct informer **at = &cache.all;
	const char *key;
	void *o;

	if (!i)
		return;
	while (*at != i)
		at = &(*at)->next;
	*at = i->next;
	for (size_t it = 0; map_next(i->objects, &it, &key, &o);)
		kube_object_unref(o);
	map_free(i->objects);
	for (size_t it = 0; map_next(i->untold, &it, &key, &o);)
		if (o != &nothing)
			kube_object_unref(o);
	map_free(i->untold);
	vec_done(&i->handlers);
	vec_done(&i->indexes);
	free(i->only);
	free(i);
}

void informer_on_change(struct informer *i, informer_change_fn fn, void *arg)
{
	vec_push(&i->handlers, ((struct handler){ fn, arg }));
}

void informer_start(struct informer *i)
{
	i->is_started = true;
}

void informer_off_change(struct informer *i, informer_change_fn fn, void *arg)
{
	for (size_t h = 0; h < i->handlers.n; h++)
		if (i->handlers.v[h].fn == fn && i->handlers.v[h].arg == arg)
			i->handlers.v[h] = i->handlers.v[--i->handlers.n];
}

bool informer_has_synced(const struct informer *i)
{
	return i->has_synced;
}

bool informer_is_absent(struct informer *i)
{
	return false;
}

static char *object_key(const struct kube_object *o)
{
	return xasprintf("%s/%s", o->ns, o->name);
}

const struct kube_object *informer_get(struct informer *i, const char *ns, const char *name)
{
	autofree char *key = xasprintf("%s/%s", ns, name);
	const struct kube_object *o = map_find(i->objects, key);

	return o ? kube_object_ref(o) : NULL;
}

void informer_add_index(struct informer *i, const char *name, kube_key_fn key)
{
	vec_push(&i->indexes, ((struct named_key){ name, key }));
}

static bool has_key(const struct kube_object *o, kube_key_fn fn, const char *wanted)
{
	const char *key;

	for (size_t i = 0; (key = fn(o, i)); i++)
		if (str_is_equal(key, wanted))
			return true;
	return false;
}

void informer_each_in(struct informer *i, const char *index, const char *key, informer_each_fn fn,
		      void *arg)
{
	kube_key_fn key_of = NULL;
	const char *name;
	void *o;

	for (size_t k = 0; k < i->indexes.n; k++)
		if (str_is_equal(i->indexes.v[k].name, index))
			key_of = i->indexes.v[k].key;
	assert(key_of);
	for (size_t it = 0; map_next(i->objects, &it, &name, &o);)
		if (has_key(o, key_of, key) && fn(arg, o))
			return;
}

static bool is_newer(const struct kube_object *a, const struct kube_object *b)
{
	uint64_t left = 0, right = 0;

	(void)str_parse_u64(a->resource_version, &left);
	(void)str_parse_u64(b->resource_version, &right);
	return left > right;
}

void informer_note_write(struct informer *i, const struct kube_object *o)
{
	autofree char *key = object_key(o);
	const struct kube_object *old = map_find(i->objects, key);

	if (!cache.notes_writes || (old && !is_newer(o, old)))
		return;
	if (cache.tells_writes && !map_find(i->untold, key))
		map_put(i->untold, key, old ? (void *)kube_object_ref(old) : &nothing);
	kube_object_unref(map_put(i->objects, key, kube_object_ref(o)));
}

static void change(struct informer *i, const struct kube_object *old, const struct kube_object *new)
{
	for (size_t h = 0; h < i->handlers.n; h++)
		i->handlers.v[h].fn(i->handlers.v[h].arg, old, new);
}

static void take(struct informer *i, struct kube_object *o)
{
	autofree char *key = object_key(o);
	const struct kube_object *old = map_find(i->objects, key);

	if (old && !is_newer(o, old)) {
		kube_object_unref(o);
		return;
	}
	map_put(i->objects, key, o);
	change(i, old, o);
	kube_object_unref(old);
}

static bool drop_one(struct informer *i, struct map *seen)
{
	const char *key;
	void *o;

	for (size_t it = 0; map_next(i->objects, &it, &key, &o);) {
		if (map_find(seen, key))
			continue;
		map_take(i->objects, key);
		change(i, o, NULL);
		kube_object_unref(o);
		return true;
	}
	return false;
}

static void tell_one(struct informer *i)
{
	const char *path;
	void *old;

	for (size_t it = 0; map_next(i->untold, &it, &path, &old);) {
		autofree char *key = xstrdup(path);

		map_take(i->untold, key);
		if (map_find(i->objects, key))
			change(i, old == &nothing ? NULL : old, map_find(i->objects, key));
		if (old != &nothing)
			kube_object_unref(old);
		it = 0;
	}
}

static void sync_one(struct informer *i)
{
	struct map *seen = map_new();
	const char *path;
	void *text;

	tell_one(i);

	for (size_t it = 0; map_next(fake_objects(), &it, &path, &text);) {
		autojson struct json_doc *doc = NULL;
		autofree char *key = NULL;
		struct kube_object *o;
		struct err err;

		if (fake_type(text) != i->type || json_parse(text, strlen(text), &doc, &err) < 0)
			continue;
		o = kube_object_decode(i->type, json_root(doc));
		if (i->only && !str_is_equal(i->only, o->name)) {
			kube_object_unref(o);
			continue;
		}
		key = object_key(o);
		map_put(seen, key, i);
		take(i, o);
	}
	while (drop_one(i, seen))
		continue;
	map_free(seen);
	i->has_synced = true;
}

void fake_sync(void)
{
	for (struct informer *i = cache.all; i; i = i->next)
		if (!i->is_frozen)
			sync_one(i);
}

void fake_note_writes(bool is_on)
{
	cache.notes_writes = is_on;
}

void fake_tell_writes(bool is_on)
{
	cache.tells_writes = is_on;
}

void fake_freeze_one(struct informer *i)
{
	i->is_frozen = true;
}

void fake_freeze(bool is_frozen)
{
	for (struct informer *i = cache.all; i; i = i->next)
		i->is_frozen = is_frozen;
}

struct recorder *recorder_new(struct work *work, unsigned lane, struct kube_client *client,
			      const char *component, const char *instance)
{
	str_appendf(&cache.events, "recorder of '%s'\n", component);
	return NULL;
}

void recorder_free(struct recorder *r)
{
}

void recorder_event(struct recorder *r, const struct kube_object *about, enum recorder_type type,
		    const char *reason, const char *fmt, ...)
{
	va_list ap;

	str_appendf(&cache.events, "%s %s: ", type == RECORDER_WARNING ? "Warning" : "Normal",
		    reason);
	va_start(ap, fmt);
	str_vappendf(&cache.events, fmt, ap);
	va_end(ap);
	str_append_char(&cache.events, '\n');
}

const char *fake_events(void)
{
	return str_get(&cache.events);
}
