/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nghttp2's memory. Each session has a buffer of 16 KiB for the frame that it is writing, and most
 * sessions only ever write short ones; from malloc it is memory that somebody else has used, all of
 * its pages there. So it gets pages of its own, which come when a frame is that long.
 */
#include <sys/mman.h>

#include "base/mem.h"
#include "net/h2-internal.h"

#define LARGE (16u << 10)

static void *get(size_t n, void *user)
{
	struct h2 *h = user;
	void *p = NULL;

	if (n < LARGE || h->frame_buf)
		return malloc(n);
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	h->frame_buf = p;
	h->frame_buf_size = n;
	return p;
}

static void put(void *p, void *user)
{
	struct h2 *h = user;

	if (p != h->frame_buf || !p) {
		free(p);
		return;
	}
	(void)munmap(p, h->frame_buf_size);
	h->frame_buf = NULL;
}

static void *get_zeroed(size_t n, size_t size, void *user)
{
	(void)user;
	return calloc(n, size);
}

static void *resize(void *p, size_t n, void *user)
{
	struct h2 *h = user;
	void *moved = NULL;

	if (!p)
		return get(n, h);
	if (p != h->frame_buf)
		return realloc(p, n);
	moved = malloc(n);
	if (!moved)
		return NULL;
	memcpy(moved, p, n < h->frame_buf_size ? n : h->frame_buf_size);
	put(p, h);
	return moved;
}

nghttp2_mem h2_memory(struct h2 *h)
{
	return (nghttp2_mem){ h, get, put, get_zeroed, resize };
}
