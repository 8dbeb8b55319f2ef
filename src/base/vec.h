/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include "base/mem.h"

#include <stddef.h>

/* A growing array of any type: VEC(struct foo) foos = VEC_INIT; vec_push(&foos, foo); foos.v[i];
 * vec_done(&foos). */
#define VEC(type)           \
	struct {            \
		type *v;    \
		size_t n;   \
		size_t cap; \
	}
#define VEC_INIT           \
	{                  \
		NULL, 0, 0 \
	}

#define vec_push(vec, value)                                                       \
	do {                                                                       \
		typeof(vec) vec_ = (vec);                                          \
		if (vec_->n == vec_->cap)                                          \
			vec_->v = vec_grow(vec_->v, &vec_->cap, sizeof(*vec_->v)); \
		vec_->v[vec_->n++] = (value);                                      \
	} while (0)

#define vec_done(vec)                     \
	do {                              \
		typeof(vec) vec_ = (vec); \
		free(vec_->v);            \
		vec_->v = NULL;           \
		vec_->n = 0;              \
		vec_->cap = 0;            \
	} while (0)

void *vec_grow(void *v, size_t *cap, size_t elem_size) __attribute__((returns_nonnull));

#endif
