/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_STRMAP_H
#define BASE_STRMAP_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * A small read-mostly map<string, string>: CSI parameters, contexts, topology segments, Kubernetes
 * annotations. A plain array sorted by key (byte order), no duplicates; memory is the arena's that
 * built it.
 */
struct strpair {
	const char *key;
	const char *value;
};

struct strmap {
	struct strpair *v;
	size_t n;
};
#define STRMAP_EMPTY ((struct strmap){ 0 })

/* Sorted copy of n pairs, strings copied too; of equal keys the last one wins (as in protobuf
 * maps). */
struct strmap strmap_from(struct arena *a, const struct strpair *pairs, size_t n);
/* A new map with key set; the old one is untouched. */
struct strmap strmap_with(struct arena *a, const struct strmap *m, const char *key,
			  const char *value);
const char *strmap_find(const struct strmap *m, const char *key); /* NULL if absent */
bool strmap_is_equal(const struct strmap *a, const struct strmap *b);
/* True if every pair of part is also in whole. */
bool strmap_is_subset(const struct strmap *part, const struct strmap *whole);
/* Sum of the lengths of keys and values: CSI bounds it at 4 KiB. */
size_t strmap_bytes(const struct strmap *m);

#endif
