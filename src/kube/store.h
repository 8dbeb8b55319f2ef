/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_STORE_H
#define KUBE_STORE_H

#include "kube/object.h"

#include <stddef.h>
#include <stdint.h>

/*
 * struct store - a set of objects of one kind by namespace and name, 8 bytes an object beside the
 * object itself
 *
 * Owns one reference of each object in it. Not thread-safe.
 */
struct store {
	const struct kube_object **v; /* open addressing; NULL: free */
	size_t cap;                   /* power of two, or 0 */
	size_t n;
	uint64_t seed;
};

void store_init(struct store *s);
void store_done(struct store *s); /* drops all references */
const struct kube_object *store_find(const struct store *s, const char *ns,
				     const char *name); /* borrowed, or NULL */
/* Takes the reference. Returns what stood there before, whose reference is the caller's now; NULL
 * if nothing. */
const struct kube_object *store_put(struct store *s, const struct kube_object *o);
const struct kube_object *store_take(struct store *s, const char *ns, const char *name);
/* for (size_t it = 0; (o = store_next(s, &it));) — the store must not change meanwhile. */
const struct kube_object *store_next(const struct store *s, size_t *it);

#endif
