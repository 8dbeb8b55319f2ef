/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte chooses the kind, the rest is an item of the API. Decoded twice
 * it must say the same; every string of it is read to its end, so that a string
 * outside of the object's one allocation is found.
 */
#include "kube/object.h"

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

static size_t read_pvc(const struct kube_pvc *c)
{
	return strlen(c->volume_name) + strlen(c->class_name) + strlen(c->volume_mode) +
	       read_list(&c->access_modes) + strlen(c->source_kind) + strlen(c->source_api_group) +
	       strlen(c->source_name) + strlen(c->source_namespace) + strlen(c->attributes_class) +
	       strlen(c->phase);
}

static size_t read_pv(const struct kube_pv *v)
{
	return strlen(v->driver) + strlen(v->handle) + strlen(v->class_name) +
	       strlen(v->reclaim_policy) + strlen(v->claim_ns) + strlen(v->claim_name) +
	       strlen(v->claim_uid) + strlen(v->phase);
}

static size_t read_class(const struct kube_storage_class *c)
{
	size_t n = strlen(c->provisioner) + read_map(&c->parameters) + strlen(c->reclaim_policy) +
		   read_list(&c->mount_options);

	for (size_t i = 0; i < c->n_allowed; i++)
		for (size_t k = 0; k < c->allowed[i].n; k++)
			n += strlen(c->allowed[i].v[k].key) + read_list(&c->allowed[i].v[k].values);
	return n;
}

static size_t read_csi_node(const struct kube_csi_node *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_drivers; i++)
		n += strlen(c->drivers[i].name) + strlen(c->drivers[i].node_id) +
		     read_list(&c->drivers[i].topology_keys);
	return n;
}

static size_t read_all(const struct kube_object *o)
{
	size_t n = read_meta(o);

	switch (o->kind) {
	case KUBE_PVC:
		return n + read_pvc(kube_as_pvc(o));
	case KUBE_PV:
		return n + read_pv(kube_as_pv(o));
	case KUBE_STORAGE_CLASS:
		return n + read_class(kube_as_class(o));
	case KUBE_CSI_NODE:
		return n + read_csi_node(kube_as_csi_node(o));
	case KUBE_VOLUME_ATTACHMENT:
		return n + strlen(kube_as_attachment(o)->attacher) +
		       strlen(kube_as_attachment(o)->node_name) +
		       strlen(kube_as_attachment(o)->pv_name);
	case KUBE_NODE:
	case KUBE_KINDS:
		break;
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autojson struct json_doc *doc = NULL;
	autokobj const struct kube_object *a = NULL;
	autokobj const struct kube_object *b = NULL;
	enum kube_kind kind;
	struct err err;

	if (size < 2)
		return 0;
	kind = (enum kube_kind)(data[0] % KUBE_KINDS);
	if (json_parse((const char *)data + 1, size - 1, &doc, &err) < 0)
		return 0;
	a = kube_object_decode(kind, json_root(doc));
	b = kube_object_decode(kind, json_root(doc));
	json_free(doc);
	doc = NULL;
	assert(!a == !b);
	if (a)
		assert(read_all(a) == read_all(b));
	return 0;
}
