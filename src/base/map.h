/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * String → pointer, open addressing, keys copied. Seeded hash (getrandom), so keys may come from
 * outside. Not thread-safe. Values are borrowed: the owner of the map frees them.
 */
struct map;

/* The hash of a key under a seed: for tables of fixed size that need no map. */
uint64_t map_hash(const uint64_t seed[2], const char *key);

struct map *map_new(void);
void map_free(struct map *m);                         /* NULL is fine; values are left alone */
void *map_find(const struct map *m, const char *key); /* may be NULL */
/* Returns the value that was there before, NULL if none. value must not be NULL. */
void *map_put(struct map *m, const char *key, void *value);
void *map_take(struct map *m, const char *key); /* removes; NULL if absent */
size_t map_count(const struct map *m);

/* for (size_t it = 0; map_next(m, &it, &key, &value);) — any order; the map must not change
 * meanwhile. */
bool map_next(const struct map *m, size_t *it, const char **ret_key, void **ret_value);

#endif
