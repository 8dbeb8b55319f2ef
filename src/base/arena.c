/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack of chunks with a bump pointer. Requests are small: the first chunk,
 * which is of one allocation with the arena, holds a CreateVolume and its reply;
 * further chunks double up to 64 KiB. An allocation that
 * would waste a chunk gets one of its own, put behind the current one so that
 * the current one goes on being filled.
 *
 * Memory is zeroed when handed out, not when the chunk is made: after a reset
 * the first chunk is used again. What was used is zeroed again when it is given
 * back: a call's arena has its secrets in every form they went through, and a
 * rule for which arenas have some would be forgotten one day.
 */
#include "base/arena.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>

#define ALIGN ((size_t)16)
#define FIRST_SIZE ((size_t)4000)
#define LARGEST_SIZE ((size_t)65536)

struct chunk {
	struct chunk *next; /* made earlier */
	size_t size;
	size_t used;
	_Alignas(16) char data[];
};

struct arena {
	struct chunk *current;
	struct chunk *first; /* behind this struct */
	size_t next_size;
};
#define HEAD_SIZE ((sizeof(struct arena) + ALIGN - 1) & ~(ALIGN - 1))

static struct chunk *make_chunk(size_t size)
{
	struct chunk *c = xmalloc(sizeof(*c) + size);

	*c = (struct chunk){ .size = size };
	return c;
}

static void *take_from(struct chunk *c, size_t size)
{
	void *p = c->data + c->used;

	c->used += size;
	return memset(p, 0, size);
}

struct arena *arena_new(void)
{
	return arena_new_small(FIRST_SIZE);
}

struct arena *arena_new_small(size_t size)
{
	struct arena *a;

	size &= ~(ALIGN - 1);
	a = xmalloc(HEAD_SIZE + sizeof(struct chunk) + size);
	a->first = a->current = (struct chunk *)(void *)((char *)a + HEAD_SIZE);
	a->next_size = size * 2;
	*a->first = (struct chunk){ .size = size };
	return a;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	arena_reset(a);
	free(a);
}

void arena_reset(struct arena *a)
{
	for (struct chunk *c = a->current; c;) {
		struct chunk *next = c->next;

		explicit_bzero(c->data, c->used);
		if (c != a->first)
			free(c);
		c = next;
	}
	a->first->next = NULL;
	a->first->used = 0;
	a->current = a->first;
	a->next_size = a->first->size * 2;
}

void *arena_alloc(struct arena *a, size_t size)
{
	struct chunk *c = a->current;

	if (size > SIZE_MAX / 2)
		abort();
	size = (size ? size + ALIGN - 1 : ALIGN) & ~(ALIGN - 1);
	if (size <= c->size - c->used)
		return take_from(c, size);
	if (size > a->next_size / 4) {
		struct chunk *own = make_chunk(size);

		own->next = c->next;
		c->next = own;
		return take_from(own, size);
	}
	c = make_chunk(a->next_size);
	c->next = a->current;
	a->current = c;
	if (a->next_size < LARGEST_SIZE)
		a->next_size *= 2;
	return take_from(c, size);
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		abort();
	return arena_alloc(a, bytes);
}

char *arena_strdup(struct arena *a, const char *s)
{
	return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *copy = arena_alloc(a, n + 1);

	if (n)
		memcpy(copy, s, n);
	return copy;
}

void *arena_memdup(struct arena *a, const void *p, size_t n)
{
	void *copy = arena_alloc(a, n);

	if (n)
		memcpy(copy, p, n);
	return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	va_list again;
	char *text;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	text = arena_alloc(a, (size_t)n + 1);
	(void)vsnprintf(text, (size_t)n + 1, fmt, again); /* as long as just measured */
	va_end(again);
	return text;
}

void arena_freep(struct arena **a)
{
	arena_free(*a);
}
