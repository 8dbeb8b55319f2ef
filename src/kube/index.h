/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_INDEX_H
#define KUBE_INDEX_H

#include "kube/object.h"

#include <stddef.h>
#include <stdint.h>

/*
 * struct index - which objects of a store have a key, so that nobody has to look through them all
 *
 * Keys are strings inside of the objects, any number an object; every operation takes the same time
 * however many objects share a key. About 50 bytes a key of an object. Borrows the objects: whoever
 * has them removes them here before they go. Not thread-safe.
 */

struct index_node;

/* Open addressing over node numbers; 0: free. */
struct index_table {
	uint32_t *v;
	size_t cap; /* power of two, or 0 */
	size_t n;
};

struct index {
	kube_key_fn key;
	uint64_t seed;
	struct index_node *nodes; /* [0] is not used */
	uint32_t n_nodes, cap_nodes;
	uint32_t spare;            /* first of those that are free */
	struct index_table groups; /* the first node of each key */
	struct index_table places; /* each node by key and object */
};

void index_init(struct index *x, kube_key_fn key);
void index_done(struct index *x);

void index_add(struct index *x, const struct kube_object *o);    /* that is not in it */
void index_remove(struct index *x, const struct kube_object *o); /* that was added */

/* for (uint32_t it = index_first(x, key); (o = index_next(x, &it));) - the index must not change
 * meanwhile. In no order. */
uint32_t index_first(const struct index *x, const char *key);
const struct kube_object *index_next(const struct index *x, uint32_t *it);

#endif
