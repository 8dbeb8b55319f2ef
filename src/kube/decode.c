/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one JSON item to one allocation.
 *
 * Each kind has one function that says which fields are kept. It runs twice
 * over the same item: first it only adds up what strings and arrays will take,
 * then, with memory of exactly that size, it writes them. So an object costs
 * one malloc and no slack (a claim or a volume about 500 bytes), and a field is
 * named in one place only.
 *
 *   [ count | struct kube_xxx | arrays … | strings … ]
 *
 * Words that Kubernetes itself uses (phases, modes, the usual finalizers and
 * annotation keys) are not copied but point at the constants below.
 */
#include "kube/object.h"

#include "base/mem.h"
#include "base/str.h"
#include "kube/object-internal.h"
#include "kube/quantity.h"

#include <assert.h>

struct packer {
	size_t arrays_size;
	size_t strings_size;
	char *arrays; /* NULL while measuring */
	char *strings;
};

/* Sorted. Annotations that some controller reads; the others are left out. */
static const char *const used_annotations[] = {
	"pv.kubernetes.io/migrated-to",
	"pv.kubernetes.io/provisioned-by",
	"volume.beta.kubernetes.io/storage-provisioner",
	"volume.kubernetes.io/provisioner-deletion-secret-name",
	"volume.kubernetes.io/provisioner-deletion-secret-namespace",
	"volume.kubernetes.io/selected-node",
	"volume.kubernetes.io/storage-provisioner",
};

/* Sorted. */
static const char *const common_words[] = {
	"Available",
	"Block",
	"Bound",
	"Delete",
	"Failed",
	"Filesystem",
	"Lost",
	"Pending",
	"PersistentVolumeClaim",
	"ReadOnlyMany",
	"ReadWriteMany",
	"ReadWriteOnce",
	"ReadWriteOncePod",
	"Released",
	"Retain",
	"VolumeSnapshot",
	"default",
	"external-provisioner.volume.kubernetes.io/finalizer",
	"kubernetes.io/hostname",
	"kubernetes.io/pv-protection",
	"kubernetes.io/pvc-protection",
	"snapshot.storage.k8s.io",
};

static int compare_words(const void *key, const void *element)
{
	return strcmp(key, *(const char *const *)element);
}

static const char *find_word(const char *const *words, size_t n, const char *word)
{
	const char *const *found = bsearch(word, words, n, sizeof(*words), compare_words);

	return found ? *found : NULL;
}

static const char *pack_string(struct packer *p, const char *s)
{
	const char *word;
	char *copy;
	size_t size;

	if (str_is_empty(s))
		return "";
	word = find_word(common_words, ARRAY_LEN(common_words), s);
	if (!word)
		word = find_word(used_annotations, ARRAY_LEN(used_annotations), s);
	if (word)
		return word;
	size = strlen(s) + 1;
	copy = p->strings ? p->strings + p->strings_size : NULL;
	p->strings_size += size;
	return copy ? memcpy(copy, s, size) : "";
}

/* Memory for n elements, NULL while measuring. */
static void *pack_array(struct packer *p, size_t n, size_t size)
{
	char *at = p->arrays ? p->arrays + p->arrays_size : NULL;

	assert(size % sizeof(void *) == 0);
	p->arrays_size += n * size;
	return at;
}

static const char *pack_get(struct packer *p, const struct json *v, const char *key)
{
	return pack_string(p, json_get_string(v, key));
}

static const char *pack_path(struct packer *p, const struct json *v, const char *dotted)
{
	return pack_string(p, json_path_string(v, dotted));
}

static struct kube_string_list pack_strings(struct packer *p, const struct json *array)
{
	size_t n = json_is_array(array) ? json_count(array) : 0;
	const char **v = pack_array(p, n, sizeof(*v));
	const struct json *element;
	size_t i = 0;

	if (n == 0)
		return (struct kube_string_list){ 0 };
	for (struct json_it it = json_each(array); json_next(&it, NULL, &element);) {
		const char *s = pack_string(p, json_string(element));

		if (v)
			v[i++] = s;
	}
	return (struct kube_string_list){ .v = v, .n = n };
}

static int compare_pairs(const void *a, const void *b)
{
	return strcmp(((const struct strpair *)a)->key, ((const struct strpair *)b)->key);
}

/* An object of strings as a strmap (sorted, without duplicates); only_used: annotations that are
 * used. */
static struct strmap pack_map(struct packer *p, const struct json *object, bool only_used)
{
	const struct json *value;
	const char *key;
	struct strpair *v;
	size_t n = 0;
	size_t i = 0;

	if (!json_is_object(object))
		return STRMAP_EMPTY;
	for (struct json_it it = json_each(object); json_next(&it, &key, &value);)
		n += json_string(value) &&
		     (!only_used || find_word(used_annotations, ARRAY_LEN(used_annotations), key));
	v = pack_array(p, n, sizeof(*v));
	for (struct json_it it = json_each(object); json_next(&it, &key, &value);) {
		struct strpair pair;

		if (!json_string(value) ||
		    (only_used && !find_word(used_annotations, ARRAY_LEN(used_annotations), key)))
			continue;
		pair.key = pack_string(p, key);
		pair.value = pack_string(p, json_string(value));
		if (v)
			v[i++] = pair;
	}
	if (!v || n == 0)
		return STRMAP_EMPTY;
	qsort(v, n, sizeof(*v), compare_pairs);
	n = 1;
	for (size_t from = 1; from < i; from++)
		if (strcmp(v[from].key, v[n - 1].key) != 0)
			v[n++] = v[from];
	return (struct strmap){ .v = v, .n = n };
}

/* A quantity field: text, or a bare number. False if it is absent, no quantity, or too large. */
static bool read_quantity(const struct json *v, uint64_t *ret_value)
{
	const char *text = json_string(v);
	autofree char *number = NULL;

	if (!text && !json_is_null(v) && !json_is_object(v) && !json_is_array(v))
		text = number = json_text(v);
	return text && kube_quantity_parse(text, ret_value) == 0;
}

static void decode_meta(struct packer *p, const struct json *item, struct kube_object *o)
{
	const struct json *meta = json_get(item, "metadata");
	struct kube_string_list finalizers = pack_strings(p, json_get(meta, "finalizers"));

	o->ns = pack_get(p, meta, "namespace");
	o->name = pack_get(p, meta, "name");
	o->uid = pack_get(p, meta, "uid");
	o->resource_version = pack_get(p, meta, "resourceVersion");
	o->is_deleting = !json_is_null(json_get(meta, "deletionTimestamp"));
	o->finalizers = finalizers.v;
	o->n_finalizers = finalizers.n;
	o->annotations = pack_map(p, json_get(meta, "annotations"), true);
	if (o->kind == KUBE_NODE)
		o->labels = pack_map(p, json_get(meta, "labels"), false);
}

/* The annotation that came before the field still goes before it, as for Kubernetes' own
 * controllers. */
static const char *pack_class(struct packer *p, const struct json *item)
{
	static const char key[] = "volume.beta.kubernetes.io/storage-class";
	const struct json *annotations = json_path(item, "metadata.annotations");

	if (json_get_string(annotations, key))
		return pack_get(p, annotations, key);
	return pack_get(p, json_get(item, "spec"), "storageClassName");
}

static void decode_pvc(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct kube_pvc *c = (struct kube_pvc *)o;
	const struct json *spec = json_get(item, "spec");
	const struct json *source = json_get(spec, "dataSource");
	const char *mode = json_get_string(spec, "volumeMode");

	if (!json_is_object(source))
		source = json_get(spec, "dataSourceRef");
	c->volume_name = pack_get(p, spec, "volumeName");
	c->class_name = pack_class(p, item);
	c->volume_mode = pack_string(p, str_or(mode, "Filesystem"));
	c->access_modes = pack_strings(p, json_get(spec, "accessModes"));
	c->has_bad_request =
		!read_quantity(json_path(spec, "resources.requests.storage"), &c->request_bytes);
	c->has_selector = json_is_object(json_get(spec, "selector"));
	c->source_kind = pack_get(p, source, "kind");
	c->source_api_group = pack_get(p, source, "apiGroup");
	c->source_name = pack_get(p, source, "name");
	c->source_namespace = pack_get(p, source, "namespace");
	c->attributes_class = pack_get(p, spec, "volumeAttributesClassName");
	c->phase = pack_path(p, item, "status.phase");
}

static void decode_pv(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct kube_pv *v = (struct kube_pv *)o;
	const struct json *spec = json_get(item, "spec");
	const struct json *csi = json_get(spec, "csi");
	const struct json *claim = json_get(spec, "claimRef");

	v->driver = pack_get(p, csi, "driver");
	v->handle = pack_get(p, csi, "volumeHandle");
	v->class_name = pack_class(p, item);
	v->reclaim_policy = pack_get(p, spec, "persistentVolumeReclaimPolicy");
	v->claim_ns = pack_get(p, claim, "namespace");
	v->claim_name = pack_get(p, claim, "name");
	v->claim_uid = pack_get(p, claim, "uid");
	v->phase = pack_path(p, item, "status.phase");
	(void)read_quantity(json_path(spec, "capacity.storage"),
			    &v->capacity_bytes); /* 0: unknown */
}

static struct kube_topology_terms decode_term(struct packer *p, const struct json *term)
{
	const struct json *keys = json_get(term, "matchLabelExpressions");
	size_t n = json_is_array(keys) ? json_count(keys) : 0;
	struct kube_topology_term *v = pack_array(p, n, sizeof(*v));
	const struct json *key;
	size_t i = 0;

	if (n == 0)
		return (struct kube_topology_terms){ 0 };
	for (struct json_it it = json_each(keys); json_next(&it, NULL, &key);) {
		struct kube_topology_term t;

		t.key = pack_get(p, key, "key");
		t.values = pack_strings(p, json_get(key, "values"));
		if (v)
			v[i++] = t;
	}
	return (struct kube_topology_terms){ .v = v, .n = n };
}

static void decode_class(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct kube_storage_class *c = (struct kube_storage_class *)o;
	const struct json *allowed = json_get(item, "allowedTopologies");
	size_t n = json_is_array(allowed) ? json_count(allowed) : 0;
	struct kube_topology_terms *terms = pack_array(p, n, sizeof(*terms));
	const char *binding = json_get_string(item, "volumeBindingMode");
	const char *reclaim = json_get_string(item, "reclaimPolicy");
	const struct json *term;
	size_t i = 0;

	c->provisioner = pack_get(p, item, "provisioner");
	c->parameters = pack_map(p, json_get(item, "parameters"), false);
	c->reclaim_policy = pack_string(p, str_or(reclaim, "Delete"));
	c->mount_options = pack_strings(p, json_get(item, "mountOptions"));
	c->is_wait_for_first_consumer = str_is_equal(binding, "WaitForFirstConsumer");
	if (n == 0)
		return;
	for (struct json_it it = json_each(allowed); json_next(&it, NULL, &term);) {
		struct kube_topology_terms t = decode_term(p, term);

		if (terms)
			terms[i++] = t;
	}
	c->allowed = terms;
	c->n_allowed = n;
}

static void decode_node(struct packer *p, const struct json *item, struct kube_object *o)
{
	/* All that is used of a Node is in its metadata. */
}

static void decode_csi_node(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct kube_csi_node *c = (struct kube_csi_node *)o;
	const struct json *drivers = json_path(item, "spec.drivers");
	size_t n = json_is_array(drivers) ? json_count(drivers) : 0;
	struct kube_csi_driver_entry *v = pack_array(p, n, sizeof(*v));
	const struct json *driver;
	size_t i = 0;

	if (n == 0)
		return;
	for (struct json_it it = json_each(drivers); json_next(&it, NULL, &driver);) {
		struct kube_csi_driver_entry e;

		e.name = pack_get(p, driver, "name");
		e.node_id = pack_get(p, driver, "nodeID");
		e.topology_keys = pack_strings(p, json_get(driver, "topologyKeys"));
		if (v)
			v[i++] = e;
	}
	c->drivers = v;
	c->n_drivers = n;
}

static void decode_attachment(struct packer *p, const struct json *item, struct kube_object *o)
{
	struct kube_volume_attachment *a = (struct kube_volume_attachment *)o;
	const struct json *spec = json_get(item, "spec");

	a->attacher = pack_get(p, spec, "attacher");
	a->node_name = pack_get(p, spec, "nodeName");
	a->pv_name = pack_path(p, spec, "source.persistentVolumeName");
}

union any_object {
	struct kube_object meta;
	struct kube_pvc pvc;
	struct kube_pv pv;
	struct kube_storage_class class;
	struct kube_node node;
	struct kube_csi_node csi_node;
	struct kube_volume_attachment attachment;
};

static const struct {
	size_t size;
	void (*decode)(struct packer *p, const struct json *item, struct kube_object *o);
} decoders[KUBE_KINDS] = {
	[KUBE_PVC] = { sizeof(struct kube_pvc), decode_pvc },
	[KUBE_PV] = { sizeof(struct kube_pv), decode_pv },
	[KUBE_STORAGE_CLASS] = { sizeof(struct kube_storage_class), decode_class },
	[KUBE_NODE] = { sizeof(struct kube_node), decode_node },
	[KUBE_CSI_NODE] = { sizeof(struct kube_csi_node), decode_csi_node },
	[KUBE_VOLUME_ATTACHMENT] = { sizeof(struct kube_volume_attachment), decode_attachment },
};

struct kube_object *kube_object_decode(enum kube_kind kind, const struct json *item)
{
	union any_object scratch = { .meta.kind = kind };
	struct packer p = { 0 };
	size_t size = decoders[kind].size;
	struct object_head *h;
	struct kube_object *o;

	if (str_is_empty(json_path_string(item, "metadata.name")))
		return NULL;
	decode_meta(&p, item, &scratch.meta);
	decoders[kind].decode(&p, item, &scratch.meta);

	h = xmalloc(sizeof(*h) + size + p.arrays_size + p.strings_size);
	o = (struct kube_object *)(void *)(h + 1);
	p = (struct packer){ .arrays = (char *)o + size,
			     .strings = (char *)o + size + p.arrays_size };
	atomic_init(&h->refs, 1);
	memset(o, 0, size);
	o->kind = kind;
	decode_meta(&p, item, o);
	decoders[kind].decode(&p, item, o);
	return o;
}
