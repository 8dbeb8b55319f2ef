/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes of single objects, as most controllers make them. A patch names the UID, so that
 * it never meets another object of the same name; one of a list names the version too, since lists
 * are written whole.
 */
#include "control/object.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/informer.h"
#include "kube/path.h"

const char *object_asked_name(struct arena *a, const char *prefix, const char *uid,
			      unsigned n_digits)
{
	autostr struct str digits = STR_INIT;

	if (n_digits == 0)
		return arena_printf(a, "%s-%s", prefix, uid);
	for (const char *p = uid; *p && digits.len < n_digits; p++)
		if (*p != '-')
			str_append_char(&digits, *p);
	return arena_printf(a, "%s-%s", prefix, str_get(&digits));
}

#define WRITE_TRIES 4

/* Of a reply. */
static int take(const struct object_store *s, const struct json_doc *doc,
		const struct kube_object **ret, struct err *err)
{
	struct kube_object *o = kube_object_decode(s->type, json_root(doc));

	if (!o)
		return err_set(err, ERR_INTERNAL, "the API server's answer is no %s",
			       s->type->kind);
	if (s->cache)
		informer_note_write(s->cache, o);
	*ret = o;
	return 0;
}

int object_read(const struct object_store *s, struct ctx *ctx, const char *ns, const char *name,
		const struct kube_object **ret, struct err *err)
{
	autofree char *path = NULL;
	autojson struct json_doc *doc = NULL;

	if (kube_object_path(s->type, ns, name, &path, err) < 0 ||
	    kube_get(s->client, ctx, path, &doc, err) < 0)
		return -1;
	return take(s, doc, ret, err);
}

void object_whole_done(struct object_whole *w)
{
	kube_object_unref(w->obj);
	json_free(w->doc);
	*w = (struct object_whole){ 0 };
}

int object_take_whole(const struct object_store *s, struct json_doc *reply, struct object_whole *w,
		      struct err *err)
{
	struct object_whole now = { .doc = reply };

	if (take(s, reply, &now.obj, err) < 0) {
		json_free(reply);
		return -1;
	}
	object_whole_done(w);
	*w = now;
	return 0;
}

int object_read_whole(const struct object_store *s, struct ctx *ctx, const char *ns,
		      const char *name, struct object_whole *w, struct err *err)
{
	autofree char *path = NULL;
	struct json_doc *doc = NULL;

	if (kube_object_path(s->type, ns, name, &path, err) < 0 ||
	    kube_get(s->client, ctx, path, &doc, err) < 0)
		return -1;
	return object_take_whole(s, doc, w, err);
}

/* Whether it is what the cache knows, or newer. */
static bool is_recent(const struct kube_object *o, const struct kube_object *known)
{
	return str_is_equal(o->uid, known->uid) &&
	       kube_version_compare(o->resource_version, known->resource_version) >= 0;
}

int object_read_recent(const struct object_store *s, struct ctx *ctx, const char *ns,
		       const char *name, struct object_whole *w, struct err *err)
{
	autokobj const struct kube_object *known = informer_get(s->cache, ns ? ns : "", name);
	autofree char *path = NULL, *query = NULL;
	autowhole struct object_whole now = { 0 };
	struct json_doc *doc = NULL;

	if (kube_object_path(s->type, ns, name, &path, err) < 0)
		return -1;
	query = xasprintf("%s?resourceVersion=0", path); /* any that it has */
	if (known && kube_get(s->client, ctx, query, &doc, err) == 0 &&
	    object_take_whole(s, doc, &now, err) == 0 && is_recent(now.obj, known)) {
		object_whole_done(w);
		*w = now;
		now = (struct object_whole){ 0 };
		return 0;
	}
	return object_read_whole(s, ctx, ns, name, w, err);
}

int object_create(const struct object_store *s, struct ctx *ctx, const char *ns, const char *body,
		  const struct kube_object **ret, struct err *err)
{
	autofree char *path = NULL;
	autojson struct json_doc *doc = NULL;

	if (kube_collection_path(s->type, s->type->is_namespaced ? ns : NULL, &path, err) < 0 ||
	    kube_create(s->client, ctx, path, body, &doc, err) < 0)
		return -1;
	return take(s, doc, ret, err);
}

/* What a write gave back in place of what there was. A deleted object may come back as a Status. */
static void replace(const struct object_store *s, const struct kube_object **obj,
		    const struct json_doc *doc)
{
	const struct kube_object *now = NULL;
	struct err none;

	(void)take(s, doc, &now, &none); /* then the old one is as good as any */
	if (!now)
		return;
	kube_object_unref(*obj);
	*obj = now;
}

int object_patch(const struct object_store *s, struct ctx *ctx, const struct kube_object **obj,
		 const char *subresource, const char *part, const char *meta, struct err *err)
{
	autofree char *path = NULL;
	autofree char *body = xasprintf("{\"metadata\":{\"uid\":\"%s\"%s%s}%s%s}", (*obj)->uid,
					*meta ? "," : "", meta, *part ? "," : "", part);
	autojson struct json_doc *doc = NULL;

	if (kube_object_path(s->type, (*obj)->ns, (*obj)->name, &path, err) < 0 ||
	    kube_write(s->client, ctx,
		       &(struct kube_write){ .verb = KUBE_MERGE,
					     .path = path,
					     .subresource = subresource,
					     .body = body },
		       &doc, err) < 0)
		return -1;
	replace(s, obj, doc);
	return 0;
}

int object_annotate(const struct object_store *s, struct ctx *ctx, const struct kube_object **obj,
		    const char *key, const char *value, struct err *err)
{
	const char *old = strmap_find(&(*obj)->annotations, key);
	autostr struct str meta = STR_INIT;
	struct json_writer w = JSON_WRITER(&meta);

	if (value ? str_is_equal(old, value) : !old)
		return 0;
	str_append(&meta, "\"annotations\":");
	json_begin_object(&w);
	json_field_string(&w, key, value); /* NULL is null */
	json_end_object(&w);
	return object_patch(s, ctx, obj, NULL, "", str_get(&meta), err);
}

static void drop(const struct kube_object **obj)
{
	kube_object_unref(*obj);
	*obj = NULL;
}

/* 1: the same object is there in its newest version. 0: it is gone. */
static int read_again(const struct object_store *s, struct ctx *ctx, const struct kube_object **obj,
		      struct err *err)
{
	const struct kube_object *now;

	if (object_read(s, ctx, (*obj)->ns, (*obj)->name, &now, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (!str_is_equal(now->uid, (*obj)->uid)) {
		kube_object_unref(now);
		return 0;
	}
	kube_object_unref(*obj);
	*obj = now;
	return 1;
}

static bool are_last(const struct kube_object *o, const struct finalizer_change *changes, size_t n)
{
	size_t left = o->n_finalizers;

	for (size_t i = 0; i < n; i++) {
		if (changes[i].is_wanted)
			return false;
		left -= kube_object_has_finalizer(o, changes[i].name);
	}
	return o->is_deleting && left == 0;
}

/* 1: done. 0: it was changed meanwhile and is read anew, or is gone. */
static int try_finalizers(const struct object_store *s, struct ctx *ctx,
			  const struct kube_object **obj, const struct finalizer_change *changes,
			  size_t n, struct err *err)
{
	bool goes = are_last(*obj, changes, n);
	autojson struct json_doc *doc = NULL;
	int r;

	if (finalizer_patch(s->client, ctx, *obj, changes, n, &doc, err) == 0) {
		if (goes)
			drop(obj);
		else
			replace(s, obj, doc);
		return 1;
	}
	if (err->code != ERR_NOT_FOUND && err->code != ERR_ABORTED)
		return -1;
	r = err->code == ERR_NOT_FOUND ? 0 : read_again(s, ctx, obj, err);
	if (r == 0)
		drop(obj);
	return r < 0 ? -1 : 0;
}

int object_change_finalizers(const struct object_store *s, struct ctx *ctx,
			     const struct kube_object **obj, const struct finalizer_change *changes,
			     size_t n, struct err *err)
{
	for (unsigned tries = 0; tries < WRITE_TRIES; tries++) {
		int r;

		if (!*obj || finalizer_is_so(*obj, changes, n))
			return 0;
		r = try_finalizers(s, ctx, obj, changes, n, err);
		if (r < 0)
			return err_wrap(err, "finalizers of %s %s", s->type->kind, (*obj)->name);
		if (r > 0)
			return 0;
	}
	return *obj ? err_set(err, ERR_ABORTED, "%s %s is changed by others all the time",
			      s->type->kind, (*obj)->name)
		    : 0;
}

int object_protect(const struct object_store *s, struct ctx *ctx, const struct kube_object **obj,
		   const char *finalizer, bool is_wanted, struct err *err)
{
	const struct finalizer_change change = { finalizer, is_wanted };

	return object_change_finalizers(s, ctx, obj, &change, 1, err);
}

static int put_finalizer(const struct object_store *s, struct ctx *ctx, const char *path,
			 const char *uid, const char *finalizer, bool is_wanted, struct err *err)
{
	autojson struct json_doc *doc = NULL, *reply = NULL;
	autokobj const struct kube_object *o = NULL, *now = NULL;
	struct err none;

	if (kube_get(s->client, ctx, path, &doc, err) < 0 || take(s, doc, &o, err) < 0)
		return -1;
	if (!str_is_equal(o->uid, uid))
		return err_set(err, ERR_NOT_FOUND, "another %s has the name %s", s->type->kind,
			       o->name);
	if (kube_object_has_finalizer(o, finalizer) == is_wanted)
		return 0;
	if (finalizer_update(s->client, ctx, s->type, json_root(doc), finalizer, is_wanted, &reply,
			     err) < 0)
		return -1;
	(void)take(s, reply, &now, &none); /* a Status, if it went with that */
	return 0;
}

int object_put_finalizer(const struct object_store *s, struct ctx *ctx, const char *ns,
			 const char *name, const char *uid, const char *finalizer, bool is_wanted,
			 struct err *err)
{
	autofree char *path = NULL;

	if (kube_object_path(s->type, ns, name, &path, err) < 0)
		return -1;
	for (unsigned tries = 1;; tries++) {
		if (put_finalizer(s, ctx, path, uid, finalizer, is_wanted, err) == 0)
			return 0;
		if (err->code != ERR_ABORTED || tries == WRITE_TRIES)
			return err_wrap(err, "finalizer of %s %s", s->type->kind, name);
	}
}

int object_delete(const struct object_store *s, struct ctx *ctx, const struct kube_object *obj,
		  struct err *err)
{
	autofree char *path = NULL;

	if (kube_object_path(s->type, obj->ns, obj->name, &path, err) < 0)
		return -1;
	return kube_delete(s->client, ctx, path, obj->uid, err);
}
