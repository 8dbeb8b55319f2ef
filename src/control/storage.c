/* SPDX-License-Identifier: Apache-2.0 */
/* Which fields of the kinds of storage.k8s.io are kept; how that is done is kube/pack.h's. */
#include "control/storage.h"

#include <stdio.h>

#include "base/sha256.h"
#include "base/str.h"
#include "kube/pack.h"

static struct storage_terms decode_term(struct packer *p, const struct json *term)
{
	const struct json *keys = json_get(term, "matchLabelExpressions");
	size_t n = json_is_array(keys) ? json_count(keys) : 0;
	struct storage_term *v = pack_array(p, n, sizeof(*v));
	const struct json *key;
	size_t i = 0;

	if (n == 0)
		return (struct storage_terms){ 0 };
	for (struct json_it it = json_each(keys); json_next(&it, NULL, &key);) {
		struct storage_term t;

		t.key = pack_get(p, key, "key");
		t.values = pack_strings(p, json_get(key, "values"));
		if (v)
			v[i++] = t;
	}
	return (struct storage_terms){ .v = v, .n = n };
}

static void decode_class(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct storage_class *c = (struct storage_class *)o;
	const struct json *allowed = json_get(item, "allowedTopologies");
	size_t n = json_is_array(allowed) ? json_count(allowed) : 0;
	struct storage_terms *terms = pack_array(p, n, sizeof(*terms));
	const char *binding = json_get_string(item, "volumeBindingMode");
	const char *reclaim = json_get_string(item, "reclaimPolicy");
	const struct json *term;
	size_t i = 0;

	c->provisioner = pack_get(p, item, "provisioner");
	c->parameters = pack_map(p, json_get(item, "parameters"));
	c->reclaim_policy = pack_string(p, str_or(reclaim, "Delete"));
	c->mount_options = pack_strings(p, json_get(item, "mountOptions"));
	c->is_wait_for_first_consumer = str_is_equal(binding, "WaitForFirstConsumer");
	if (n == 0)
		return;
	for (struct json_it it = json_each(allowed); json_next(&it, NULL, &term);) {
		struct storage_terms t = decode_term(p, term);

		if (terms)
			terms[i++] = t;
	}
	c->allowed = terms;
	c->n_allowed = n;
}

static void decode_csi_node(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct storage_csi_node *c = (struct storage_csi_node *)o;
	const struct json *drivers = json_path(item, "spec.drivers");
	size_t n = json_is_array(drivers) ? json_count(drivers) : 0;
	struct storage_csi_driver *v = pack_array(p, n, sizeof(*v));
	const struct json *driver;
	size_t i = 0;

	if (n == 0)
		return;
	for (struct json_it it = json_each(drivers); json_next(&it, NULL, &driver);) {
		struct storage_csi_driver e;

		e.name = pack_get(p, driver, "name");
		e.node_id = pack_get(p, driver, "nodeID");
		e.topology_keys = pack_strings(p, json_get(driver, "topologyKeys"));
		e.has_topology_keys = json_is_array(json_get(driver, "topologyKeys"));
		if (v)
			v[i++] = e;
	}
	c->drivers = v;
	c->n_drivers = n;
}

static void decode_attachment(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct storage_attachment *a = (struct storage_attachment *)o;
	const struct json *spec = json_get(item, "spec"), *status = json_get(item, "status");
	const struct json *own = json_path(spec, "source.inlineVolumeSpec");

	a->attacher = pack_get(p, spec, "attacher");
	a->node_name = pack_get(p, spec, "nodeName");
	a->pv_name = pack_path(p, spec, "source.persistentVolumeName");
	a->inline_handle = pack_path(p, own, "csi.volumeHandle");
	a->has_inline = json_is_object(own);
	a->is_attached = json_bool(json_get(status, "attached"), false);
	a->has_metadata = json_count(json_get(status, "attachmentMetadata")) > 0;
}

/* ---- capacities ---- */

static void append_word(struct str *s, const char *word)
{
	str_append_n(s, word, strlen(word) + 1); /* its end stays in, so no two lists are one */
}

void storage_slot(const char *class_name, const struct strmap *segment,
		  char ret_slot[STORAGE_SLOT_BYTES])
{
	autostr struct str words = STR_INIT;
	uint8_t hash[SHA256_BYTES];

	append_word(&words, class_name);
	for (size_t i = 0; i < segment->n; i++) {
		append_word(&words, segment->v[i].key);
		append_word(&words, segment->v[i].value);
	}
	sha256(words.buf, words.len, hash);
	for (size_t i = 0; i < (STORAGE_SLOT_BYTES - 1) / 2; i++)
		(void)snprintf(ret_slot + 2 * i, 3, "%02x", hash[i]);
}

/* The labels of a nodeTopology that asks for these and nothing else; false of any other. */
static bool read_segment(struct arena *arena, const struct json *topology,
			 struct strmap *ret_segment)
{
	const struct json *labels = json_get(topology, "matchLabels"), *value;
	struct strpair *pairs = arena_array(arena, json_count(labels), sizeof(*pairs));
	const char *key;
	size_t n = 0;

	if (!json_is_object(topology) || (labels && !json_is_object(labels)) ||
	    json_count(json_get(topology, "matchExpressions")) > 0)
		return false;
	for (struct json_it it = json_each(labels); json_next(&it, &key, &value);) {
		if (!json_string(value))
			return false;
		pairs[n++] = (struct strpair){ key, json_string(value) };
	}
	*ret_segment = strmap_from(arena, pairs, n);
	return true;
}

static const char *pack_slot(struct packer *p, const struct json *item)
{
	autoarena struct arena *arena = arena_new();
	const char *name = str_or(json_path_string(item, "metadata.name"), "");
	char slot[STORAGE_SLOT_BYTES];
	struct strmap segment;

	if (!read_segment(arena, json_get(item, "nodeTopology"), &segment))
		return pack_string(p, arena_printf(arena, "?%s", name));
	storage_slot(str_or(json_get_string(item, "storageClassName"), ""), &segment, slot);
	return pack_string(p, slot);
}

static void decode_capacity(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct storage_capacity *c = (struct storage_capacity *)o;
	const struct json *owner;

	c->slot = pack_slot(p, item);
	if (*c->slot != '?')
		c->segment = pack_map(p, json_path(item, "nodeTopology.matchLabels"));
	c->owner_uid = "";
	for (struct json_it it = json_each(json_path(item, "metadata.ownerReferences"));
	     json_next(&it, NULL, &owner);)
		if (json_bool(json_get(owner, "controller"), false))
			c->owner_uid = pack_get(p, owner, "uid");
	c->has_capacity = pack_quantity(json_get(item, "capacity"), &c->capacity_bytes);
	c->has_maximum = pack_quantity(json_get(item, "maximumVolumeSize"), &c->maximum_bytes);
}

const struct storage_capacity *storage_capacity_of(const struct kube_object *o)
{
	return kube_object_as(o, &storage_capacity_type);
}

const char *storage_capacity_slot(const struct kube_object *capacity, size_t i)
{
	return i == 0 ? storage_capacity_of(capacity)->slot : NULL;
}

const char *storage_capacity_driver(const struct kube_object *capacity, size_t i)
{
	return i == 0 ? strmap_find(&capacity->labels, STORAGE_LABEL_DRIVER) : NULL;
}

const char *storage_class_driver(const struct kube_object *class_obj, size_t i)
{
	return i == 0 ? storage_class_of(class_obj)->provisioner : NULL;
}

const struct storage_class *storage_class_of(const struct kube_object *o)
{
	return kube_object_as(o, &storage_class_type);
}

const struct storage_csi_node *storage_csi_node_of(const struct kube_object *o)
{
	return kube_object_as(o, &storage_csi_node_type);
}

const struct storage_attachment *storage_attachment_of(const struct kube_object *o)
{
	return kube_object_as(o, &storage_attachment_type);
}

const struct storage_csi_driver *storage_csi_node_find(const struct storage_csi_node *csi_node,
						       const char *driver)
{
	for (size_t i = 0; csi_node && i < csi_node->n_drivers; i++)
		if (str_is_equal(csi_node->drivers[i].name, driver))
			return &csi_node->drivers[i];
	return NULL;
}

const char *storage_csi_node_driver(const struct kube_object *csi_node, size_t i)
{
	const struct storage_csi_node *n = storage_csi_node_of(csi_node);

	return i < n->n_drivers ? n->drivers[i].name : NULL;
}

const char *storage_attachment_pv(const struct kube_object *attachment, size_t i)
{
	const char *name = storage_attachment_of(attachment)->pv_name;

	return i == 0 && *name ? name : NULL;
}

const char *storage_attachment_driver(const struct kube_object *attachment, size_t i)
{
	return i == 0 ? storage_attachment_of(attachment)->attacher : NULL;
}

const char *storage_attachment_waiting(const struct kube_object *attachment, size_t i)
{
	const struct storage_attachment *a = storage_attachment_of(attachment);

	return i == 0 && !a->is_attached ? a->node_name : NULL;
}

const struct kube_type storage_class_type = {
	.kind = "StorageClass",
	.resource = "storageclasses",
	.group_version = "storage.k8s.io/v1",
	.size = sizeof(struct storage_class),
	.decode = decode_class,
	.words = KUBE_WORDS("Delete", "Retain"),
};

const struct kube_type storage_csi_node_type = {
	.kind = "CSINode",
	.resource = "csinodes",
	.group_version = "storage.k8s.io/v1",
	.size = sizeof(struct storage_csi_node),
	.decode = decode_csi_node,
	.words = KUBE_WORDS("kubernetes.io/hostname"),
};

const struct kube_type storage_attachment_type = {
	.kind = "VolumeAttachment",
	.resource = "volumeattachments",
	.group_version = "storage.k8s.io/v1",
	.size = sizeof(struct storage_attachment),
	.decode = decode_attachment,
	.annotations = KUBE_WORDS(ANN_NODE_ID),
};

const struct kube_type storage_attributes_class_type = {
	.kind = "VolumeAttributesClass",
	.resource = "volumeattributesclasses",
	.group_version = "storage.k8s.io/v1", /* since Kubernetes 1.34 */
	.is_custom = true,
};

const struct kube_type storage_capacity_type = {
	.kind = "CSIStorageCapacity",
	.resource = "csistoragecapacities",
	.group_version = "storage.k8s.io/v1",
	.is_namespaced = true,
	.size = sizeof(struct storage_capacity),
	.decode = decode_capacity,
	.keeps_labels = true,
};

const struct kube_type storage_driver_type = {
	.kind = "CSIDriver",
	.resource = "csidrivers",
	.group_version = "storage.k8s.io/v1",
};
