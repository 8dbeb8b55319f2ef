/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte chooses the kind, the rest is an item of the API. Decoded twice
 * it must say the same; every string of it is read to its end, so that a string
 * outside of the object's one allocation is found.
 */
#include "control/core.h"
#include "control/discovery.h"
#include "control/group_snapshots.h"
#include "control/snapshots.h"
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
	size_t n = 0;

	for (size_t i = 0; i < v->n_place; i++)
		n += (size_t)v->place[i];
	return n + strlen(v->driver) + strlen(v->handle) + strlen(v->class_name) +
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

static size_t read_capacity(const struct storage_capacity *c)
{
	assert(*c->slot == '?' || strlen(c->slot) == STORAGE_SLOT_BYTES - 1);
	return strlen(c->slot) + strlen(c->owner_uid) + c->capacity_bytes + c->maximum_bytes;
}

static size_t read_snapshot(const struct snapshot *s)
{
	return strlen(s->claim) + strlen(s->content) + strlen(s->class_name) +
	       strlen(s->bound_content) + strlen(s->creation_time) + strlen(s->group_name) +
	       strlen(s->error_message) + s->restore_bytes;
}

static size_t read_content(const struct snapshot_content *c)
{
	assert(c->creation_ns >= 0);
	return strlen(c->ref_ns) + strlen(c->ref_name) + strlen(c->ref_uid) +
	       strlen(c->deletion_policy) + strlen(c->driver) + strlen(c->class_name) +
	       strlen(c->volume_handle) + strlen(c->source_handle) + strlen(c->volume_mode) +
	       strlen(c->handle) + strlen(c->group_handle) + strlen(c->error_message) +
	       strlen(c->error_time) + c->restore_bytes + (size_t)c->creation_ns;
}

static size_t read_group(const struct group_snapshot *g)
{
	return read_map(&g->labels) + strlen(g->content) + strlen(g->class_name) +
	       strlen(g->bound_content) + strlen(g->creation_time) + strlen(g->error_message);
}

static size_t read_group_content(const struct group_content *c)
{
	size_t n = strlen(c->ref_ns) + strlen(c->ref_name) + strlen(c->ref_uid) +
		   strlen(c->deletion_policy) + strlen(c->driver) + strlen(c->class_name) +
		   read_list(&c->volume_handles) + strlen(c->source_handle) +
		   read_list(&c->snapshot_handles) + strlen(c->handle) + strlen(c->creation_time) +
		   strlen(c->error_message) + strlen(c->error_time);

	for (size_t i = 0; i < c->n_members; i++)
		n += strlen(c->members[i].volume_handle) + strlen(c->members[i].handle) +
		     c->members[i].restore_bytes + (size_t)c->members[i].creation_ns;
	return n;
}

static size_t read_snapshot_kind(const struct kube_object *o)
{
	if (o->type == &snapshot_type)
		return read_snapshot(snapshot_of(o));
	if (o->type == &snapshot_content_type)
		return read_content(snapshot_content_of(o));
	if (o->type == &snapshot_class_type || o->type == &group_class_type)
		return strlen(snapshot_class_of(o)->driver) +
		       strlen(snapshot_class_of(o)->deletion_policy) +
		       read_map(&snapshot_class_of(o)->parameters);
	if (o->type == &group_snapshot_type)
		return read_group(group_snapshot_of(o));
	if (o->type == &group_content_type)
		return read_group_content(group_content_of(o));
	return 0;
}

static size_t read_slice(const struct discovery_slice *s)
{
	size_t n = strlen(s->address_type);

	for (size_t i = 0; i < s->n_endpoints; i++)
		n += strlen(s->endpoints[i].address) + strlen(s->endpoints[i].node_name);
	for (size_t i = 0; i < s->n_ports; i++)
		n += strlen(s->ports[i].name);
	return n;
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
	else if (o->type == &storage_capacity_type)
		n += read_capacity(storage_capacity_of(o));
	else if (o->type == &discovery_slice_type)
		n += read_slice(discovery_slice_of(o));
	return n + read_snapshot_kind(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autojson struct json_doc *doc = NULL;
	autokobj const struct kube_object *a = NULL;
	autokobj const struct kube_object *b = NULL;
	static const struct kube_type *const types[] = {
		&core_pvc_type,        &core_pv_type,          &storage_class_type,
		&core_node_type,       &storage_csi_node_type, &storage_attachment_type,
		&snapshot_type,        &snapshot_content_type, &snapshot_class_type,
		&group_snapshot_type,  &group_content_type,    &group_class_type,
		&discovery_slice_type, &storage_capacity_type,
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
