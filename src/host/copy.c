/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of sparse files, data only.
 *
 * Two ways of putting a prepared filesystem into a thick file were measured on XFS (100 GiB ext4
 * template, 5 MiB of data): FICLONE + FALLOC_FL_UNSHARE_RANGE + fallocate 22 ms and 7 MiB too many
 * blocks; fallocate + copying the blocks that are not zero 8–12 ms and an unfragmented file. Hence
 * host_file_copy_blocks.
 *
 * host_file_copy_data is for a copy that must share nothing with its source, as a fragmented file
 * gets whole again by it and a thick one has its own space. copy_file_range(2) is no choice: within
 * one filesystem that can share blocks the kernel shares them instead (proven by
 * test_extent_real.c), and no flag forbids it. sendfile and splice save one copy in memory and
 * cannot leave out zeros. So it is pread and pwrite. Each piece is written out at its end and
 * dropped from the page cache: dirty memory stays within one piece, the time that a piece takes is
 * the disk's, the sync at the very end has nothing left to do, and gigabytes that nobody reads
 * again push nothing else out of memory. That goes by the piece and not by the chunk, so that the
 * disk has a queue.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "host/err-internal.h"
#include "host/extent.h"
#include "host/fs.h"

#define DIGEST_FACTOR UINT64_C(0x9e3779b97f4a7c15)
#define COPY_BLOCK 4096
#define SMALL_CHUNK ((size_t)1 << 16)
#define BIG_CHUNK ((size_t)1 << 20)
#define WRITE_OUT (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)

static int write_at(int fd, const char *buf, size_t n, off_t at)
{
	while (n) {
		ssize_t w = pwrite(fd, buf, n, at);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? -errno : -EIO;
		buf += w;
		n -= (size_t)w;
		at += w;
	}
	return 0;
}

/* Where a copy goes, and the digest of what went there. */
struct copy {
	int to_fd; /* -1: nowhere */
	bool wants_digest;
	uint64_t digest;
	char *buf;
	size_t buf_bytes;
};

/* A changed bit, or a block at another place, shows. */
static void digest_run(struct copy *copy, const char *buf, size_t n, uint64_t at)
{
	for (size_t i = 0; i < n; i += COPY_BLOCK) {
		size_t len = n - i < COPY_BLOCK ? n - i : COPY_BLOCK;

		copy->digest =
			(copy->digest ^ XXH3_64bits_withSeed(buf + i, len, at + i)) * DIGEST_FACTOR;
	}
}

static int copy_run(struct copy *copy, const char *buf, size_t n, off_t at)
{
	if (n == 0)
		return 0;
	if (copy->wants_digest)
		digest_run(copy, buf, n, (uint64_t)at);
	return copy->to_fd < 0 ? 0 : write_at(copy->to_fd, buf, n, at);
}

/* Copies the runs of blocks that are not zero. */
static int copy_data(struct copy *copy, const char *buf, size_t n, off_t at)
{
	static const char zero[COPY_BLOCK];
	size_t from = 0; /* where the present run began */
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i += COPY_BLOCK) {
		size_t len = n - i < COPY_BLOCK ? n - i : COPY_BLOCK;

		if (memcmp(buf + i, zero, len) != 0)
			continue;
		rc = copy_run(copy, buf + from, i - from, at + (off_t)from);
		from = i + len;
	}
	return rc < 0 ? rc : copy_run(copy, buf + from, n - from, at + (off_t)from);
}

static int copy_range(struct ctx *ctx, int from_fd, struct copy *copy, off_t at, off_t end,
		      struct err *err)
{
	while (at < end) {
		size_t want =
			end - at < (off_t)copy->buf_bytes ? (size_t)(end - at) : copy->buf_bytes;
		ssize_t n = pread(from_fd, copy->buf, want, at);
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return host_err(err, errno, "read at %lld", (long long)at);
		if (n == 0)
			return 0;
		rc = copy_data(copy, copy->buf, (size_t)n, at);
		if (rc < 0)
			return host_err(err, -rc, "write at %lld", (long long)at);
		at += n;
		if (ctx_check(ctx, err) < 0)
			return -1;
	}
	return 0;
}

/* The next data: 1 and its place, or 0 when there is only a hole up to the end. */
static int find_data(int fd, off_t at, off_t *ret_data, off_t *ret_hole, struct err *err)
{
	off_t data = lseek(fd, at, SEEK_DATA);
	off_t hole;

	if (data < 0 && errno == ENXIO)
		return 0;
	hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
	if (hole < 0)
		return host_err(err, errno, "find data after %lld", (long long)at);
	*ret_data = data;
	*ret_hole = hole;
	return 1;
}

int host_file_copy_blocks(struct ctx *ctx, int from_fd, int to_fd, uint64_t *ret_digest,
			  struct err *err)
{
	autofree char *buf = xmalloc(SMALL_CHUNK);
	struct copy copy = {
		.to_fd = to_fd, .wants_digest = true, .buf = buf, .buf_bytes = SMALL_CHUNK
	};
	off_t data;
	off_t hole = 0;
	int rc;

	for (;;) {
		rc = find_data(from_fd, hole, &data, &hole, err);
		if (rc == 0)
			break;
		if (rc < 0 || copy_range(ctx, from_fd, &copy, data, hole, err) < 0)
			return -1;
	}
	*ret_digest = copy.digest;
	return 0;
}

static int make_as_long(int to_fd, uint64_t bytes, struct err *err)
{
	struct stat st;

	if (fstat(to_fd, &st) < 0)
		return host_err(err, errno, "look at the file to copy into");
	return (uint64_t)st.st_size < bytes ? host_file_resize(to_fd, bytes, err) : 0;
}

static int finish_piece(int from_fd, int to_fd, off_t from, off_t end, struct err *err)
{
	if (sync_file_range(to_fd, from, end - from, WRITE_OUT) < 0)
		return host_err(err, errno, "write out a copy");
	(void)posix_fadvise(from_fd, from, end - from, POSIX_FADV_DONTNEED); /* only advice */
	(void)posix_fadvise(to_fd, from, end - from, POSIX_FADV_DONTNEED);
	return 0;
}

int host_file_copy_data(struct ctx *ctx, int from_fd, int to_fd, uint64_t from, uint64_t max_bytes,
			uint64_t *ret_next, struct err *err)
{
	autofree char *buf = xmalloc(BIG_CHUNK);
	struct copy copy = { .to_fd = to_fd, .buf = buf, .buf_bytes = BIG_CHUNK };
	off_t left = max_bytes < INT64_MAX ? (off_t)max_bytes : INT64_MAX;
	off_t at = (off_t)from;
	struct stat st;

	if (fstat(from_fd, &st) < 0)
		return host_err(err, errno, "look at the file to copy");
	if (make_as_long(to_fd, (uint64_t)st.st_size, err) < 0)
		return -1;
	while (left > 0 && at < st.st_size) {
		off_t data;
		off_t hole;
		int rc = find_data(from_fd, at, &data, &hole, err);

		if (rc < 0 || ctx_check(ctx, err) < 0)
			return -1;
		if (rc == 0)
			data = hole = st.st_size;
		if (hole - data > left)
			hole = data + left;
		if (copy_range(ctx, from_fd, &copy, data, hole, err) < 0)
			return -1;
		left -= hole - data;
		at = hole;
	}
	if (at > (off_t)from && finish_piece(from_fd, to_fd, (off_t)from, at, err) < 0)
		return -1;
	*ret_next = (uint64_t)at;
	return 0;
}
