/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one function behind the VEC macros: doubling, from 8 elements on. A
 * count that overflows can only be a bug (elements come one at a time), so it
 * aborts like a failing allocation.
 */
#include "base/vec.h"

void *vec_grow(void *v, size_t *cap, size_t elem_size)
{
	size_t n = *cap ? *cap : 4;
	size_t bytes;

	if (__builtin_mul_overflow(n, 2, &n) || __builtin_mul_overflow(n, elem_size, &bytes))
		abort();
	*cap = n;
	return xrealloc(v, bytes);
}
