/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of finalizers have no patch of their own on custom resources, so the whole list is written
 * with the version that it was read at. */
#include "control/finalizer.h"

#include "base/mem.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/path.h"

static void write_meta(struct json_writer *w, const struct json *meta, const char *name,
		       bool is_wanted)
{
	const struct json *value;
	const char *key;

	json_begin_object(w);
	for (struct json_it it = json_each(meta); json_next(&it, &key, &value);) {
		if (str_is_equal(key, "finalizers"))
			continue;
		json_key(w, key);
		json_put_value(w, value);
	}
	json_key(w, "finalizers");
	json_begin_array(w);
	for (struct json_it it = json_each(json_get(meta, "finalizers"));
	     json_next(&it, &key, &value);)
		if (!str_is_equal(json_string(value), name))
			json_put_value(w, value);
	if (is_wanted)
		json_put_string(w, name);
	json_end_array(w);
	json_end_object(w);
}

int finalizer_update(struct kube_client *client, struct ctx *ctx, const struct kube_type *type,
		     const struct json *root, const char *name, bool is_wanted,
		     struct json_doc **ret, struct err *err)
{
	const struct json *meta = json_get(root, "metadata"), *value;
	autofree char *path = NULL;
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);
	const char *key;

	if (kube_object_path(type, json_get_string(meta, "namespace"),
			     str_or(json_get_string(meta, "name"), ""), &path, err) < 0)
		return -1;
	json_begin_object(&w);
	for (struct json_it it = json_each(root); json_next(&it, &key, &value);) {
		if (str_is_equal(key, "metadata") || str_is_equal(key, "status"))
			continue; /* the status is another endpoint's */
		json_key(&w, key);
		json_put_value(&w, value);
	}
	json_key(&w, "metadata");
	write_meta(&w, meta, name, is_wanted);
	json_end_object(&w);
	return kube_update(client, ctx, path, str_get(&body), ret, err);
}

bool finalizer_is_so(const struct kube_object *o, const struct finalizer_change *changes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (kube_object_has_finalizer(o, changes[i].name) != changes[i].is_wanted)
			return false;
	return true;
}

static bool is_among(const struct finalizer_change *changes, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (str_is_equal(changes[i].name, name))
			return true;
	return false;
}

/* One that is being deleted gets no finalizer any more, so whoever takes his off need not know who
 * else does so at the same moment. Custom resources have no such patch. */
static bool is_end(const struct kube_object *o, const struct finalizer_change *changes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (changes[i].is_wanted)
			return false;
	return o->is_deleting && !o->type->is_custom;
}

static void put_end(struct json_writer *w, const struct kube_object *o,
		    const struct finalizer_change *changes, size_t n)
{
	json_field_string(w, "uid", o->uid);
	json_key(w, "$deleteFromPrimitiveList/finalizers");
	json_begin_array(w);
	for (size_t i = 0; i < n; i++)
		json_put_string(w, changes[i].name);
	json_end_array(w);
}

static void put_list(struct json_writer *w, const struct kube_object *o,
		     const struct finalizer_change *changes, size_t n)
{
	json_field_string(w, "resourceVersion", o->resource_version);
	json_key(w, "finalizers");
	json_begin_array(w);
	for (size_t i = 0; i < o->n_finalizers; i++)
		if (!is_among(changes, n, o->finalizers[i]))
			json_put_string(w, o->finalizers[i]);
	for (size_t i = 0; i < n; i++)
		if (changes[i].is_wanted)
			json_put_string(w, changes[i].name);
	json_end_array(w);
}

int finalizer_patch(struct kube_client *client, struct ctx *ctx, const struct kube_object *o,
		    const struct finalizer_change *changes, size_t n, struct json_doc **ret,
		    struct err *err)
{
	bool ends = is_end(o, changes, n);
	autofree char *path = NULL;
	autostr struct str body = STR_INIT;
	struct json_writer w = JSON_WRITER(&body);

	if (kube_object_path(o->type, o->ns, o->name, &path, err) < 0)
		return -1;
	json_begin_object(&w);
	json_key(&w, "metadata");
	json_begin_object(&w);
	if (ends)
		put_end(&w, o, changes, n);
	else
		put_list(&w, o, changes, n);
	json_end_object(&w);
	json_end_object(&w);
	return kube_patch(client, ctx, path, ends ? KUBE_STRATEGIC : KUBE_MERGE, str_get(&body),
			  ret, err);
}
