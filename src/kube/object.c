/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lifetime of cached objects. What each type keeps its own decoder says.
 *
 * The count of references sits before the object in the same allocation, so
 * that struct kube_object itself is plain data and all of it is const to users.
 */
#include "kube/object.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "kube/object-internal.h"

#include <assert.h>

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

int kube_objects_add(void *objects, const struct kube_object *o)
{
	struct kube_objects *list = objects;

	vec_push(list, kube_object_ref(o));
	return 0;
}

void kube_objects_done(struct kube_objects *objects)
{
	for (size_t i = 0; i < objects->n; i++)
		kube_object_unref(objects->v[i]);
	vec_done(objects);
}

const void *kube_object_as(const struct kube_object *o, const struct kube_type *type)
{
	assert(!o || o->type == type);
	return o;
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
