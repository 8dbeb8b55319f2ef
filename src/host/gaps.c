/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zeros into what of a file nobody wrote.
 *
 * fallocate() gives blocks that read as zero because the filesystem notes that they were never
 * written. Each first write into them changes that note: a transaction of XFS's log a write, and a
 * random one cuts an extent into three. Only writing ends it: an extent size hint does not (the
 * conversion goes by write, whatever the hint), and FALLOC_FL_WRITE_ZEROES, by which a disk could
 * do it without moving bytes, is EOPNOTSUPP on XFS of Linux 6.18.
 *
 * SEEK_HOLE takes unwritten blocks for holes, so how far an earlier call came is asked of the file.
 * The zeros are one anonymous mapping that is never written to, so it has no memory of its own.
 * They go past the page cache, which would be full of them otherwise: a GiB costs 0.02 to 0.04 s of
 * CPU.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/num.h"
#include "host/err-internal.h"
#include "host/fs.h"

#define CHUNK ((size_t)4 << 20)
/* What the caller of a call that runs out of time has left to say so. */
#define LEFT_NS (NS_PER_S / 2)

struct gaps {
	int fd;
	int direct_fd;
	const void *zeros;
	off_t end; /* the file's size */
};

/* Another opening of the same file, since O_DIRECT is the opening's and not the file's. */
static int open_direct(int fd, int *ret_fd, struct err *err)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*ret_fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
	return *ret_fd < 0 ? host_err(err, errno, "open a file for direct I/O") : 0;
}

static int check_time(struct ctx *ctx, const struct gaps *gaps, off_t at, struct err *err)
{
	if (ctx_check(ctx, err) < 0)
		return -1;
	if (ctx_remaining_ns(ctx) > LEFT_NS)
		return 0;
	return err_set(err, ERR_DEADLINE_EXCEEDED, "%llu of %llu MiB are written",
		       (unsigned long long)((uint64_t)at / MIB),
		       (unsigned long long)((uint64_t)gaps->end / MIB));
}

static int write_gap(struct ctx *ctx, const struct gaps *gaps, off_t at, off_t end, struct err *err)
{
	while (at < end) {
		size_t want = end - at < (off_t)CHUNK ? (size_t)(end - at) : CHUNK;
		ssize_t n = pwrite(gaps->direct_fd, gaps->zeros, want, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return host_err(err, n < 0 ? errno : EIO, "write zeros at %lld",
					(long long)at);
		at += n;
		/* after a chunk, not before it: however short the calls, each comes farther */
		if (at < gaps->end && check_time(ctx, gaps, at, err) < 0)
			return -1;
	}
	return 0;
}

static int write_gaps(struct ctx *ctx, const struct gaps *gaps, struct err *err)
{
	off_t at = 0;

	while (at < gaps->end) {
		off_t hole = lseek(gaps->fd, at, SEEK_HOLE);

		if (hole < 0)
			return host_err(err, errno, "find a hole after %lld", (long long)at);
		if (hole >= gaps->end)
			return 0;
		at = lseek(gaps->fd, hole, SEEK_DATA);
		if (at < 0 && errno != ENXIO)
			return host_err(err, errno, "find data after %lld", (long long)hole);
		if (at < 0)
			at = gaps->end;
		if (write_gap(ctx, gaps, hole, at, err) < 0)
			return -1;
	}
	return 0;
}

int host_file_write_gaps(struct ctx *ctx, int fd, struct err *err)
{
	autofd int direct_fd = -1;
	struct gaps gaps = { .fd = fd };
	struct host_file file;
	void *zeros;
	int rc;

	if (host_file_look(fd, &file, err) < 0 || open_direct(fd, &direct_fd, err) < 0)
		return -1;
	zeros = mmap(NULL, CHUNK, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (zeros == MAP_FAILED)
		return host_err(err, errno, "map zeros");
	gaps.direct_fd = direct_fd;
	gaps.zeros = zeros;
	gaps.end = (off_t)file.bytes;
	rc = write_gaps(ctx, &gaps, err);
	(void)munmap(zeros, CHUNK); /* fails only for what was not mapped */
	return rc;
}
