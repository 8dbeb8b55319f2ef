/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_OBJECT_H
#define KUBE_OBJECT_H

#include "base/json.h"
#include "base/strmap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Objects as caches hold them: only the fields that some controller uses. One object is one
 * allocation (all strings and arrays inside it), immutable, counted by reference since watchers
 * replace it while a reconcile still reads it. Strings are never NULL.
 */
enum kube_kind {
	KUBE_PVC,
	KUBE_PV,
	KUBE_STORAGE_CLASS,
	KUBE_NODE,
	KUBE_CSI_NODE,
	KUBE_VOLUME_ATTACHMENT,
	KUBE_KINDS,
};

struct kube_object {
	enum kube_kind kind;
	const char *ns; /* "" for cluster-scoped */
	const char *name;
	const char *uid;
	const char *resource_version;
	bool is_deleting; /* deletionTimestamp set */
	const char *const *finalizers;
	size_t n_finalizers;
	struct strmap annotations; /* only those that object.c lists as used */
	struct strmap labels;      /* KUBE_NODE only */
};

struct kube_string_list {
	const char *const *v;
	size_t n;
};

struct kube_pvc {
	struct kube_object meta;
	const char *volume_name;
	const char *class_name;  /* "" when nil or empty */
	const char *volume_mode; /* "Filesystem" (default) or "Block" */
	struct kube_string_list access_modes;
	uint64_t request_bytes;
	bool has_bad_request; /* the quantity does not parse or overflows */
	bool has_selector;
	const char *source_kind; /* of dataSource, else dataSourceRef; "" none */
	const char *source_api_group;
	const char *source_name;
	const char *source_namespace;
	const char *attributes_class; /* volumeAttributesClassName */
	const char *phase;
};

struct kube_pv {
	struct kube_object meta;
	const char *driver; /* spec.csi.driver, "" if no CSI volume */
	const char *handle;
	const char *class_name;
	const char *reclaim_policy;
	const char *claim_ns, *claim_name, *claim_uid;
	const char *phase;
	uint64_t capacity_bytes;
};

struct kube_topology_term { /* one key of a StorageClass's allowedTopologies term */
	const char *key;
	struct kube_string_list values;
};
struct kube_topology_terms {
	const struct kube_topology_term *v;
	size_t n;
};

struct kube_storage_class {
	struct kube_object meta;
	const char *provisioner;
	struct strmap parameters;
	const char *reclaim_policy; /* "Delete" when absent */
	struct kube_string_list mount_options;
	bool is_wait_for_first_consumer;
	const struct kube_topology_terms *allowed; /* OR of terms, AND of keys */
	size_t n_allowed;
};

struct kube_node {
	struct kube_object meta;
};

struct kube_csi_driver_entry {
	const char *name;
	const char *node_id;
	struct kube_string_list topology_keys;
};
struct kube_csi_node {
	struct kube_object meta;
	const struct kube_csi_driver_entry *drivers;
	size_t n_drivers;
};

struct kube_volume_attachment {
	struct kube_object meta;
	const char *attacher;
	const char *node_name;
	const char *pv_name;
};

/* Decodes one item; NULL if it lacks a name. The caller owns one reference. Thread-safe. */
struct kube_object *kube_object_decode(enum kube_kind kind, const struct json *item);
struct kube_object *kube_object_ref(const struct kube_object *o);
void kube_object_unref(const struct kube_object *o); /* NULL is fine */
void kube_object_unrefp(const struct kube_object **o);
#define autokobj __attribute__((cleanup(kube_object_unrefp)))

static inline bool kube_object_has_finalizer(const struct kube_object *o, const char *name)
{
	for (size_t i = 0; i < o->n_finalizers; i++)
		if (__builtin_strcmp(o->finalizers[i], name) == 0)
			return true;
	return false;
}

/* Checked downcasts; the kind is asserted. NULL gives NULL. */
const struct kube_pvc *kube_as_pvc(const struct kube_object *o);
const struct kube_pv *kube_as_pv(const struct kube_object *o);
const struct kube_storage_class *kube_as_class(const struct kube_object *o);
const struct kube_node *kube_as_node(const struct kube_object *o);
const struct kube_csi_node *kube_as_csi_node(const struct kube_object *o);
const struct kube_volume_attachment *kube_as_attachment(const struct kube_object *o);

/* Collection path ("/api/v1/persistentvolumeclaims"), object path (malloc'ed), resource word
 * ("persistentvolumeclaims"). */
const char *kube_kind_path(enum kube_kind kind);
char *kube_object_path(enum kube_kind kind, const char *ns, const char *name);
const char *kube_kind_resource(enum kube_kind kind);

#endif
