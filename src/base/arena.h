/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

/*
 * Memory that lives as long as one call: allocated singly, freed together. Not thread-safe: one
 * thread at a time. Out of memory aborts. What was in it is zeroed when it is given back. Sizes
 * that come from outside are bounded by the caller before they get here.
 */
struct arena;

struct arena *arena_new(void);
/* For little that lives long: what is needed beyond size bytes comes in chunks as small. */
struct arena *arena_new_small(size_t size);
void arena_free(struct arena *a); /* NULL is fine */

/* Forgets every allocation but keeps the first chunk for the next round. */
void arena_reset(struct arena *a);

/* Zeroed, aligned to 16 (UBSan and SSE want it). size 0 gives a unique valid pointer. Never NULL.
 */
void *arena_alloc(struct arena *a, size_t size) __attribute__((returns_nonnull, alloc_size(2)));

/* n elements of size; overflow aborts. */
void *arena_array(struct arena *a, size_t n, size_t size)
	__attribute__((returns_nonnull, alloc_size(2, 3)));

/* Copies; NULL in gives NULL out. */
char *arena_strdup(struct arena *a, const char *s);
/* Exactly n bytes of s, then NUL. */
char *arena_strndup(struct arena *a, const char *s, size_t n) __attribute__((returns_nonnull));
void *arena_memdup(struct arena *a, const void *p, size_t n) __attribute__((returns_nonnull));
char *arena_printf(struct arena *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), returns_nonnull, nonnull(2)));

void arena_freep(struct arena **a);
#define autoarena __attribute__((cleanup(arena_freep)))

#endif
