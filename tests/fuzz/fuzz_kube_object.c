/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte chooses the kind, the rest is an item of the API. Decoded twice
 * it must say the same; every string of it is read to its end, so that a string
 * outside of the object's one allocation is found.
 */
#include "control/core.h"
#include "control/storage.h"

#include <assert.h>
#include <string.h>

static size_t read_list(const struct kube_string_list *list)
{
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++)
		n += strlen(list->v[i]);
	return n;
}

static size_t read_map(const struct strmap *m)
{
	for (size_t i = 1; i < m->n; i++)
		assert(strcmp(m->v[i - 1].key, m->v[i].key) < 0);
	return strmap_bytes(m);
}

static size_t read_meta(const struct kube_object *o)
{
	struct kube_string_list finalizers = { o->finalizers, o->n_finalizers };

	assert(*o->name);
	return strlen(o->ns) + strlen(o->name) + strlen(o->uid) + strlen(o->resource_version) +
	       read_list(&finalizers) + read_map(&o->annotations) + read_map(&o->labels);
}

static size_t read_pvc(const struct core_pvc *c)
{
	return strlen(c->volume_name) + strlen(c->class_name) + strlen(c->volume_mode) +
	       read_list(&c->access_modes) + strlen(c->source_kind) + strlen(c->source_api_group) +
	       strlen(c->source_name) + strlen(c->source_namespace) + strlen(c->attributes_class) +
	       strlen(c->phase);
}

static size_t read_pv(const struct core_pv *v)
{
	return strlen(v->driver) + strlen(v->handle) + strlen(v->class_name) +
	       strlen(v->reclaim_policy) + strlen(v->claim_ns) + strlen(v->claim_name) +
	       strlen(v->claim_uid) + strlen(v->phase);
}

static size_t read_class(const struct storage_class *c)
{
	size_t n = strlen(c->provisioner) + read_map(&c->parameters) + strlen(c->reclaim_policy) +
		   read_list(&c->mount_options);

	for (size_t i = 0; i < c->n_allowed; i++)
		for (size_t k = 0; k < c->allowed[i].n; k++)
			n += strlen(c->allowed[i].v[k].key) + read_list(&c->allowed[i].v[k].values);
	return n;
}

static size_t read_csi_node(const struct storage_csi_node *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_drivers; i++)
		n += strlen(c->drivers[i].name) + strlen(c->drivers[i].node_id) +
		     read_list(&c->drivers[i].topology_keys);
	return n;
}

static size_t read_attachment(const struct storage_attachment *a)
{
	return strlen(a->attacher) + strlen(a->node_name) + strlen(a->pv_name) +
	       strlen(a->inline_handle);
}

static size_t read_all(const struct kube_object *o)
{
	size_t n = read_meta(o);

	if (o->type == &core_pvc_type)
		n += read_pvc(core_pvc_of(o));
	else if (o->type == &core_pv_type)
		n += read_pv(core_pv_of(o));
	else if (o->type == &storage_class_type)
		n += read_class(storage_class_of(o));
	else if (o->type == &storage_csi_node_type)
		n += read_csi_node(storage_csi_node_of(o));
	else if (o->type == &storage_attachment_type)
		n += read_attachment(storage_attachment_of(o));
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autojson struct json_doc *doc = NULL;
	autokobj const struct kube_object *a = NULL;
	autokobj const struct kube_object *b = NULL;
	static const struct kube_type *const types[] = {
		&core_pvc_type,  &core_pv_type,          &storage_class_type,
		&core_node_type, &storage_csi_node_type, &storage_attachment_type,
	};
	const struct kube_type *type;
	struct err err;

	if (size < 2)
		return 0;
	type = types[data[0] % (sizeof(types) / sizeof(types[0]))];
	if (json_parse((const char *)data + 1, size - 1, &doc, &err) < 0)
		return 0;
	a = kube_object_decode(type, json_root(doc));
	b = kube_object_decode(type, json_root(doc));
	json_free(doc);
	doc = NULL;
	assert(!a == !b);
	if (a)
		assert(read_all(a) == read_all(b));
	return 0;
}
