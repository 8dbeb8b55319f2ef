/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where files differ, by their bytes: for files that never shared blocks, of which the map
 * (extent.c) says nothing. It goes from data to data of either (SEEK_DATA), so what costs is data
 * and not size.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "host/err-internal.h"
#include "host/extent.h"

#define BLOCK UINT64_C(4096)
#define CHUNK (UINT64_C(64) << 10)

/* Where the next data is, not before at; UINT64_MAX: there is none. */
static int find_next_data(int fd, uint64_t at, uint64_t *ret_at, struct err *err)
{
	off_t data = fd < 0 ? -1 : lseek(fd, (off_t)at, SEEK_DATA);

	if (fd >= 0 && data < 0 && errno != ENXIO)
		return host_err(err, errno, "find data after %llu", (unsigned long long)at);
	*ret_at = data < 0 ? UINT64_MAX : (uint64_t)data;
	return 0;
}

static int skip_holes(int fd, int other_fd, uint64_t *at, struct err *err)
{
	uint64_t a;
	uint64_t b;

	if (find_next_data(fd, *at, &a, err) < 0 || find_next_data(other_fd, *at, &b, err) < 0)
		return -1;
	a = a < b ? a : b;
	if (a > *at)
		*at = a == UINT64_MAX ? a : a - a % BLOCK;
	return 0;
}

/* All n bytes, with zeros beyond the end of the file. */
static int read_all(int fd, char *buf, size_t n, uint64_t at, struct err *err)
{
	size_t done = 0;

	while (fd >= 0 && done < n) {
		ssize_t r = pread(fd, buf + done, n - done, (off_t)(at + done));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return host_err(err, errno, "read at %llu", (unsigned long long)at);
		if (r == 0)
			break;
		done += (size_t)r;
	}
	memset(buf + done, 0, n - done);
	return 0;
}

/* 1: fn has had enough. */
static int tell_blocks(const char *a, const char *b, size_t n, uint64_t at, host_range_fn fn,
		       void *arg)
{
	size_t from = 0; /* where the present run of blocks began that differ */

	for (size_t i = 0; i < n; i += BLOCK) {
		size_t len = n - i < BLOCK ? n - i : BLOCK;

		if (memcmp(a + i, b + i, len) != 0)
			continue;
		if (i > from && fn(arg, at + from, i - from) != 0)
			return 1;
		from = i + len;
	}
	return n > from && fn(arg, at + from, n - from) != 0;
}

int host_file_each_difference(struct ctx *ctx, int fd, int other_fd, uint64_t from, uint64_t end,
			      host_range_fn fn, void *arg, struct err *err)
{
	autofree char *buf = xmalloc(2 * CHUNK);
	uint64_t at = from - from % BLOCK;

	for (;;) {
		size_t n;

		if (ctx_check(ctx, err) < 0 || skip_holes(fd, other_fd, &at, err) < 0)
			return -1;
		if (at >= end)
			return 0;
		n = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		if (read_all(fd, buf, n, at, err) < 0 ||
		    read_all(other_fd, buf + CHUNK, n, at, err) < 0)
			return -1;
		if (tell_blocks(buf, buf + CHUNK, n, at, fn, arg) != 0)
			return 0;
		at += n;
	}
}
