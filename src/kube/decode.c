/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one JSON item to one allocation.
 *
 * Each type has one function that says which fields are kept. It runs twice
 * over the same item: first it only adds up what strings and arrays will take,
 * then, with memory of exactly that size, it writes them. So an object costs
 * one malloc and no slack (a claim or a volume about 500 bytes), and a field is
 * named in one place only.
 *
 *   [ count | the type's struct | arrays … | strings … ]
 */
#include "kube/object.h"

#include "base/mem.h"
#include "base/str.h"
#include "kube/object-internal.h"
#include "kube/pack.h"

#include <assert.h>

static void decode_meta(struct packer *p, const struct json *item, struct kube_object *o)
{
	const struct json *meta = json_get(item, "metadata");
	struct kube_string_list finalizers = pack_strings(p, json_get(meta, "finalizers"));

	o->type = p->type;
	o->ns = pack_get(p, meta, "namespace");
	o->name = pack_get(p, meta, "name");
	o->uid = pack_get(p, meta, "uid");
	o->resource_version = pack_get(p, meta, "resourceVersion");
	o->is_deleting = !json_is_null(json_get(meta, "deletionTimestamp"));
	o->finalizers = finalizers.v;
	o->n_finalizers = finalizers.n;
	o->annotations = pack_map_of(p, json_get(meta, "annotations"), &p->type->annotations);
	if (p->type->keeps_labels)
		o->labels = pack_map(p, json_get(meta, "labels"));
}

static void decode(struct packer *p, const struct json *item, struct kube_object *o)
{
	decode_meta(p, item, o);
	if (p->type->decode)
		p->type->decode(p, item, o);
}

struct kube_object *kube_object_decode(const struct kube_type *type, const struct json *item)
{
	union {
		struct kube_object meta;
		char bytes[KUBE_TYPE_SIZE_MAX];
	} scratch = { 0 };
	size_t size = type->size ? type->size : sizeof(scratch.meta);
	struct packer p = { .type = type };
	struct object_head *h;
	struct kube_object *o;

	assert(size >= sizeof(scratch.meta) && size <= sizeof(scratch));
	if (str_is_empty(json_path_string(item, "metadata.name")))
		return NULL;
	decode(&p, item, &scratch.meta);

	h = xmalloc(sizeof(*h) + size + p.arrays_size + p.strings_size);
	o = (struct kube_object *)(void *)(h + 1);
	p = (struct packer){ .type = type,
			     .arrays = (char *)o + size,
			     .strings = (char *)o + size + p.arrays_size };
	atomic_init(&h->refs, 1);
	memset(o, 0, size);
	decode(&p, item, o);
	return o;
}
