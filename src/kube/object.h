/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_OBJECT_H
#define KUBE_OBJECT_H

#include "base/json.h"
#include "base/strmap.h"
#include "kube/type.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Objects as caches hold them: only the fields that some controller uses. One object is one
 * allocation (all strings and arrays inside it), immutable, counted by reference since watchers
 * replace it while a reconcile still reads it. Strings are never NULL.
 */
struct kube_object {
	const struct kube_type *type;
	const char *ns; /* "" for cluster-scoped */
	const char *name;
	const char *uid;
	const char *resource_version;
	bool is_deleting; /* deletionTimestamp set */
	const char *const *finalizers;
	size_t n_finalizers;
	struct strmap annotations; /* those that the type keeps */
	struct strmap labels;      /* none unless the type keeps them */
};

struct kube_string_list {
	const char *const *v;
	size_t n;
};

/* The i-th key of an object in an index, NULL after the last: a string inside of it, the same each
 * time. */
typedef const char *(*kube_key_fn)(const struct kube_object *o, size_t i);

/* Decodes one item; NULL if it lacks a name. The caller owns one reference. Thread-safe. */
struct kube_object *kube_object_decode(const struct kube_type *type, const struct json *item);
struct kube_object *kube_object_ref(const struct kube_object *o);
void kube_object_unref(const struct kube_object *o); /* NULL is fine */
void kube_object_unrefp(const struct kube_object **o);
#define autokobj __attribute__((cleanup(kube_object_unrefp)))

/* Some of a cache's objects, with a reference to each. {0} is none. _add is what informer_each_in()
 * calls, with the list as its arg. */
struct kube_objects {
	const struct kube_object **v;
	size_t n, cap;
};
int kube_objects_add(void *objects, const struct kube_object *o); /* 0 */
void kube_objects_done(struct kube_objects *objects);
#define autokobjs __attribute__((cleanup(kube_objects_done)))

static inline bool kube_object_has_finalizer(const struct kube_object *o, const char *name)
{
	for (size_t i = 0; i < o->n_finalizers; i++)
		if (__builtin_strcmp(o->finalizers[i], name) == 0)
			return true;
	return false;
}

/* Which of two resource versions of one kind is newer: <0, 0, >0 as strcmp. */
int kube_version_compare(const char *a, const char *b);

/* For checked downcasts: o itself, whose type is asserted. NULL gives NULL. */
const void *kube_object_as(const struct kube_object *o, const struct kube_type *type);

#endif
