/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lifetime and names of cached objects. What each kind keeps is in decode.c.
 *
 * The count of references sits before the object in the same allocation, so
 * that struct kube_object itself is plain data and all of it is const to users.
 */
#include "kube/object.h"

#include "base/mem.h"
#include "base/str.h"
#include "kube/object-internal.h"

#include <assert.h>

/* clang-format off */
static const struct {
	const char *path;
	const char *resource; /* the path's last component */
	const char *name;
	const char *api_version;
	bool is_namespaced;
} kinds[KUBE_KINDS] = {
	[KUBE_PVC] = { "/api/v1/persistentvolumeclaims", "persistentvolumeclaims", "PersistentVolumeClaim", "v1", true },
	[KUBE_PV] = { "/api/v1/persistentvolumes", "persistentvolumes", "PersistentVolume", "v1", false },
	[KUBE_STORAGE_CLASS] = { "/apis/storage.k8s.io/v1/storageclasses", "storageclasses", "StorageClass",
				 "storage.k8s.io/v1", false },
	[KUBE_NODE] = { "/api/v1/nodes", "nodes", "Node", "v1", false },
	[KUBE_CSI_NODE] = { "/apis/storage.k8s.io/v1/csinodes", "csinodes", "CSINode", "storage.k8s.io/v1", false },
	[KUBE_VOLUME_ATTACHMENT] = { "/apis/storage.k8s.io/v1/volumeattachments", "volumeattachments",
				     "VolumeAttachment", "storage.k8s.io/v1", false },
};
/* clang-format on */

const char *kube_kind_path(enum kube_kind kind)
{
	return kinds[kind].path;
}

const char *kube_kind_resource(enum kube_kind kind)
{
	return kinds[kind].resource;
}

const char *kube_kind_name(enum kube_kind kind)
{
	return kinds[kind].name;
}

const char *kube_kind_api_version(enum kube_kind kind)
{
	return kinds[kind].api_version;
}

char *kube_object_path(enum kube_kind kind, const char *ns, const char *name)
{
	const char *path = kinds[kind].path;
	size_t n = strlen(path) - strlen(kinds[kind].resource);

	if (kinds[kind].is_namespaced)
		return xasprintf("%.*snamespaces/%s/%s/%s", (int)n, path, ns, kinds[kind].resource,
				 name);
	return xasprintf("%s/%s", path, name);
}

static struct object_head *head_of(const struct kube_object *o)
{
	union {
		const struct kube_object *in;
		char *out;
	} u = { .in = o };

	/* Readers share a const object; its count is the one thing that changes. */
	return (struct object_head *)(void *)(u.out - sizeof(struct object_head));
}

struct kube_object *kube_object_ref(const struct kube_object *o)
{
	struct object_head *h = head_of(o);

	atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
	return (struct kube_object *)(void *)(h + 1);
}

void kube_object_unref(const struct kube_object *o)
{
	struct object_head *h;

	if (!o)
		return;
	h = head_of(o);
	if (atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) == 1)
		free(h);
}

void kube_object_unrefp(const struct kube_object **o)
{
	kube_object_unref(*o);
}

static const void *downcast(const struct kube_object *o, enum kube_kind kind)
{
	assert(!o || o->kind == kind);
	return o;
}

const struct kube_pvc *kube_as_pvc(const struct kube_object *o)
{
	return downcast(o, KUBE_PVC);
}

const struct kube_pv *kube_as_pv(const struct kube_object *o)
{
	return downcast(o, KUBE_PV);
}

const struct kube_storage_class *kube_as_class(const struct kube_object *o)
{
	return downcast(o, KUBE_STORAGE_CLASS);
}

const struct kube_node *kube_as_node(const struct kube_object *o)
{
	return downcast(o, KUBE_NODE);
}

const struct kube_csi_node *kube_as_csi_node(const struct kube_object *o)
{
	return downcast(o, KUBE_CSI_NODE);
}

const struct kube_volume_attachment *kube_as_attachment(const struct kube_object *o)
{
	return downcast(o, KUBE_VOLUME_ATTACHMENT);
}

/* "12" < "100": digits compare by length first, anything else as text. */
int kube_version_compare(const char *a, const char *b)
{
	size_t n_a = strlen(a);
	size_t n_b = strlen(b);
	bool are_numbers = strspn(a, "0123456789") == n_a && strspn(b, "0123456789") == n_b;

	if (are_numbers && n_a != n_b)
		return n_a < n_b ? -1 : 1;
	return strcmp(a, b);
}
