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
#include "kube/informer.h"
#include "kube/recorder.h"

#define HANDLERS_MAX 8

struct informer {
	const struct kube_type *type;
	struct map *objects; /* "ns/name" → object, one reference each */
	struct {
		informer_change_fn fn;
		void *arg;
	} handlers[HANDLERS_MAX];
	unsigned n_handlers;
	bool has_synced, is_frozen;
	struct informer *next;
};

static struct {
	struct informer *all;
	struct str events;
	bool notes_writes;
} cache;

void fake_cache_reset(void)
{
	str_done(&cache.events);
	cache.all = NULL;
	cache.notes_writes = true;
}

struct informer *informer_new(struct kube_client *client, const struct kube_type *type,
			      const struct informer_options *opts)
{
	struct informer *i = xcalloc(1, sizeof(*i));

	i->type = type;
	i->objects = map_new();
	i->next = cache.all;
	cache.all = i;
	return i;
}

void informer_free(struct informer *i)
{
	struct informer **at = &cache.all;
	const char *key;
	void *o;

	while (*at != i)
		at = &(*at)->next;
	*at = i->next;
	for (size_t it = 0; map_next(i->objects, &it, &key, &o);)
		kube_object_unref(o);
	map_free(i->objects);
	free(i);
}

int informer_on_change(struct informer *i, informer_change_fn fn, void *arg)
{
	if (i->n_handlers == HANDLERS_MAX)
		return -1;
	i->handlers[i->n_handlers].fn = fn;
	i->handlers[i->n_handlers++].arg = arg;
	return 0;
}

void informer_off_change(struct informer *i, informer_change_fn fn, void *arg)
{
	for (unsigned h = 0; h < i->n_handlers; h++)
		if (i->handlers[h].fn == fn && i->handlers[h].arg == arg)
			i->handlers[h] = i->handlers[--i->n_handlers];
}

bool informer_has_synced(const struct informer *i)
{
	return i->has_synced;
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

void informer_each(struct informer *i, informer_each_fn fn, void *arg)
{
	const char *key;
	void *o;

	for (size_t it = 0; map_next(i->objects, &it, &key, &o);)
		if (fn(arg, o))
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
	kube_object_unref(map_put(i->objects, key, kube_object_ref(o)));
}

static void change(struct informer *i, const struct kube_object *old, const struct kube_object *new)
{
	for (unsigned h = 0; h < i->n_handlers; h++)
		i->handlers[h].fn(i->handlers[h].arg, old, new);
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

static void sync_one(struct informer *i)
{
	struct map *seen = map_new();
	const char *path;
	void *text;

	for (size_t it = 0; map_next(fake_objects(), &it, &path, &text);) {
		autojson struct json_doc *doc = NULL;
		autofree char *key = NULL;
		struct kube_object *o;
		struct err err;

		if (fake_type(text) != i->type || json_parse(text, strlen(text), &doc, &err) < 0)
			continue;
		o = kube_object_decode(i->type, json_root(doc));
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

void fake_freeze(bool is_frozen)
{
	for (struct informer *i = cache.all; i; i = i->next)
		i->is_frozen = is_frozen;
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
