/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Allocation that aborts instead of returning NULL; sizes from outside are bounded before they get
 * here. */
void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1)));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1, 2)));
void *xrealloc(void *p, size_t size) __attribute__((returns_nonnull, alloc_size(2)));
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n) __attribute__((returns_nonnull));
char *xasprintf(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), returns_nonnull, nonnull(1)));

/* After a burst of short-lived memory: gives what is free back to the system. A no-op where libc
 * has no such call. */
void mem_trim(void);

void mem_freep(void *p); /* void ** */
#define autofree __attribute__((cleanup(mem_freep)))

#define TAKE_PTR(p)                            \
	({                                     \
		typeof(p) *take_ptr_ = &(p);   \
		typeof(p) taken_ = *take_ptr_; \
		*take_ptr_ = NULL;             \
		taken_;                        \
	})

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
