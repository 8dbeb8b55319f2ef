/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nghttp2's memory. Two pieces of a session are large and of no use while it rests: a buffer of
 * 16 KiB for the frame that it is writing, of which most sessions only ever use the first page, and
 * the table of streams, which is all zeros while there are none. From malloc they are memory that
 * somebody else has used, all of it there. So both get pages of their own, which come when they are
 * written to and go when the session rests. What is read there then is zeros: that is what the
 * table had, and the buffer is written anew for each frame.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/h2-internal.h"

#define LARGE (16u << 10)

static bool map_pages(struct h2_pages *pages, size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return false;
	*pages = (struct h2_pages){ p, n };
	return true;
}

static bool unmap_pages(struct h2_pages *pages, const void *p)
{
	if (!p || p != pages->p)
		return false;
	(void)munmap(pages->p, pages->n);
	*pages = (struct h2_pages){ 0 };
	return true;
}

static void *get(size_t n, void *user)
{
	struct h2 *h = user;

	if (n < LARGE || h->frame_buf.p)
		return malloc(n);
	return map_pages(&h->frame_buf, n) ? h->frame_buf.p : NULL;
}

static void put(void *p, void *user)
{
	struct h2 *h = user;

	if (!unmap_pages(&h->frame_buf, p) && !unmap_pages(&h->table, p))
		free(p);
}

/* The table of streams is the one thing of whole pages that nghttp2 wants zeroed. */
static void *get_zeroed(size_t n, size_t size, void *user)
{
	struct h2 *h = user;
	size_t bytes = 0;

	if (h->table.p || __builtin_mul_overflow(n, size, &bytes) || bytes == 0 ||
	    bytes % (size_t)sysconf(_SC_PAGESIZE) != 0)
		return calloc(n, size);
	return map_pages(&h->table, bytes) ? h->table.p : NULL;
}

static void *resize(void *p, size_t n, void *user)
{
	struct h2 *h = user;
	const struct h2_pages *old = p == h->table.p ? &h->table : &h->frame_buf;
	void *moved = NULL;

	if (!p)
		return get(n, h);
	if (p != old->p)
		return realloc(p, n);
	moved = malloc(n);
	if (!moved)
		return NULL;
	memcpy(moved, p, n < old->n ? n : old->n);
	put(p, h);
	return moved;
}

nghttp2_mem h2_memory(struct h2 *h)
{
	return (nghttp2_mem){ h, get, put, get_zeroed, resize };
}

static void drop_pages(const struct h2_pages *pages)
{
	if (pages->p)
		(void)madvise(pages->p, pages->n, MADV_DONTNEED);
}

static bool is_zero(const struct h2_pages *pages)
{
	const uint64_t *words = pages->p;

	for (size_t i = 0; i < pages->n / sizeof(*words); i++)
		if (words[i] != 0)
			return false;
	return true;
}

void h2_memory_rest(struct h2 *h)
{
	drop_pages(&h->frame_buf);
	/* Whatever nghttp2 keeps in it, zeros are zeros. */
	if (h->table.p && is_zero(&h->table))
		drop_pages(&h->table);
	vec_done(&h->events);
	if (h->fields.n == 0 && h->text.len == 0) {
		vec_done(&h->fields);
		str_done(&h->text);
	}
}
