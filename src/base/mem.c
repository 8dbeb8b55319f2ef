/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Allocation that aborts. The state that matters is on disk and in the API, a
 * container restarts in a moment, and paths for failing malloc that no test
 * ever walks are worse than none. size 0 is asked for as 1, so that the answer
 * is always a pointer of its own.
 */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

void *xmalloc(size_t size)
{
	void *p = malloc(size ? size : 1);

	if (!p)
		abort();
	return p;
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	if (!p)
		abort();
	return p;
}

void *xrealloc(void *p, size_t size)
{
	p = realloc(p, size ? size : 1);
	if (!p)
		abort();
	return p;
}

char *xstrdup(const char *s)
{
	return s ? xstrndup(s, strlen(s)) : NULL;
}

char *xstrndup(const char *s, size_t n)
{
	char *copy = xmalloc(n + 1);

	if (n)
		memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *xasprintf(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0 || !text)
		abort();
	return text;
}

void mem_freep(void *p)
{
	free(*(void **)p);
}

#ifdef __GLIBC__
#include <malloc.h>

void mem_trim(void)
{
	(void)malloc_trim(0); /* whether there was anything to give does not matter */
}
#else
void mem_trim(void)
{
}
#endif
