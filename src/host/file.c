/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular files: nameless birth, allocation, attributes, locks.
 *
 * A file is made by O_TMPFILE, filled, written out and only then linked, so that a crash at any
 * instruction leaves either nothing or the whole. linkat() goes through /proc/self/fd because
 * AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH.
 *
 * host_file_allocate() calls fallocate() over the whole range again after something wrote into the
 * file: it is a no-op where blocks are, and fills what a tool punched out. Two ways of putting a
 * prepared filesystem into a thick file were measured on XFS (100 GiB ext4 template, 5 MiB of
 * data): FICLONE + FALLOC_FL_UNSHARE_RANGE + fallocate 22 ms and 7 MiB too many blocks; fallocate +
 * copying the blocks that are not zero 8–12 ms and an unfragmented file. Hence copy_blocks.
 */
#include "host/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "host/err-internal.h"

#define DIGEST_FACTOR UINT64_C(0x9e3779b97f4a7c15)
#define COPY_BLOCK 4096
#define COPY_CHUNK ((size_t)1 << 16)
#define WRITE_OUT (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)

int host_file_look(int fd, struct host_file *ret_file, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return host_err(err, errno, "look at the file");
	*ret_file = (struct host_file){
		.bytes = (uint64_t)st.st_size,
		.allocated_bytes = (uint64_t)st.st_blocks * 512,
		.device = st.st_dev,
		.inode = st.st_ino,
		.is_regular = S_ISREG(st.st_mode),
		.n_links = st.st_nlink,
		.changed_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec,
	};
	return 0;
}

int host_file_make(int dirfd, int *ret_fd, struct err *err)
{
	int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		return host_err(err, errno, "make a nameless file");
	*ret_fd = fd;
	return 0;
}

int host_file_link(int fd, int dirfd, const char *name, struct err *err)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW) < 0)
		return host_err(err, errno, "link file '%s'", name);
	return 0;
}

static int open_regular(int dirfd, const char *name, int flags, int *ret_fd, struct err *err)
{
	autofd int fd = openat(dirfd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	struct stat st;

	/* somebody has a lease on it (for 2 µs, if it is loopfind.c): so it is a regular file, and
	 * waiting for it ends */
	if (fd < 0 && errno == EWOULDBLOCK)
		fd = openat(dirfd, name, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return host_err(err, errno, "open '%s'", name);
	if (fstat(fd, &st) < 0)
		return host_err(err, errno, "look at '%s'", name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' is not a regular file", name);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int host_file_open(int dirfd, const char *name, bool read_only, int *ret_fd, struct err *err)
{
	return open_regular(dirfd, name, read_only ? O_RDONLY : O_RDWR, ret_fd, err);
}

int host_file_open_or_make(int dirfd, const char *name, int *ret_fd, struct err *err)
{
	return open_regular(dirfd, name, O_RDWR | O_CREAT, ret_fd, err);
}

int host_file_rename(int dirfd, const char *name, const char *new_name, struct err *err)
{
	if (renameat(dirfd, name, dirfd, new_name) < 0)
		return host_err(err, errno, "rename '%s' to '%s'", name, new_name);
	return 0;
}

int host_file_unlink(int dirfd, const char *name, struct err *err)
{
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return host_err(err, errno, "unlink '%s'", name);
	return 0;
}

int host_file_resize(int fd, uint64_t bytes, struct err *err)
{
	if (bytes > INT64_MAX)
		return err_set(err, ERR_OUT_OF_RANGE,
			       "file of %llu bytes is beyond what files hold",
			       (unsigned long long)bytes);
	if (ftruncate(fd, (off_t)bytes) < 0)
		return host_err(err, errno, "set size %llu", (unsigned long long)bytes);
	return 0;
}

int host_file_allocate(int fd, uint64_t bytes, struct err *err)
{
	int rc;

	if (host_file_resize(fd, bytes, err) < 0)
		return -1;
	do
		rc = fallocate(fd, 0, 0, (off_t)bytes);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return host_err(err, errno, "allocate %llu bytes", (unsigned long long)bytes);
	return 0;
}

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
	int to_fd;
	uint64_t digest;
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

static int copy_range(struct ctx *ctx, int from_fd, struct copy *copy, char *buf, off_t at,
		      off_t end, struct err *err)
{
	while (at < end) {
		size_t want = end - at < (off_t)COPY_CHUNK ? (size_t)(end - at) : COPY_CHUNK;
		ssize_t n = pread(from_fd, buf, want, at);
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return host_err(err, errno, "read at %lld", (long long)at);
		if (n == 0)
			return 0;
		rc = copy_data(copy, buf, (size_t)n, at);
		if (rc < 0)
			return host_err(err, -rc, "write at %lld", (long long)at);
		at += n;
		if (ctx_check(ctx, err) < 0)
			return -1;
	}
	return 0;
}

int host_file_copy_blocks(struct ctx *ctx, int from_fd, int to_fd, uint64_t *ret_digest,
			  struct err *err)
{
	autofree char *buf = xmalloc(COPY_CHUNK);
	struct copy copy = { .to_fd = to_fd };
	off_t at = 0;

	for (;;) {
		off_t data = lseek(from_fd, at, SEEK_DATA);
		off_t hole;

		if (data < 0 && errno == ENXIO)
			break;
		hole = data < 0 ? -1 : lseek(from_fd, data, SEEK_HOLE);
		if (hole < 0)
			return host_err(err, errno, "find data after %lld", (long long)at);
		if (copy_range(ctx, from_fd, &copy, buf, data, hole, err) < 0)
			return -1;
		at = hole;
	}
	*ret_digest = copy.digest;
	return 0;
}

int host_file_sync(int fd, struct err *err)
{
	if (fsync(fd) < 0)
		return host_err(err, errno, "sync file");
	return 0;
}

int host_file_write_out(int fd, struct err *err)
{
	if (sync_file_range(fd, 0, 0, WRITE_OUT) < 0)
		return host_err(err, errno, "write out file");
	return 0;
}

int host_file_touch(int fd, struct err *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };

	if (futimens(fd, times) < 0)
		return host_err(err, errno, "set the time of a file");
	return 0;
}

int host_file_get_attr(int fd, const char *name, char *ret_text, size_t cap, struct err *err)
{
	ssize_t n = fgetxattr(fd, name, ret_text, cap - 1);

	if (n < 0 && errno == ENODATA)
		return err_set(err, ERR_NOT_FOUND, "no attribute '%s'", name);
	if (n < 0 && errno == ERANGE)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "attribute '%s' is longer than %zu bytes", name, cap - 1);
	if (n < 0)
		return host_err(err, errno, "read attribute '%s'", name);
	ret_text[n] = '\0';
	if (strlen(ret_text) != (size_t)n)
		return err_set(err, ERR_FAILED_PRECONDITION, "attribute '%s' has a NUL byte inside",
			       name);
	return 0;
}

int host_file_set_attr(int fd, const char *name, const char *text, struct err *err)
{
	if (fsetxattr(fd, name, text, strlen(text), 0) < 0)
		return host_err(err, errno, "set attribute '%s'", name);
	return 0;
}

int host_file_claim(int fd, bool alone, struct err *err)
{
	if (flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_os(err, ERR_ABORTED, errno, "somebody else has claimed it");
	return host_err(err, errno, "claim a file");
}

int host_file_get_text(int fd, char *ret_text, size_t cap, struct err *err)
{
	ssize_t n = pread(fd, ret_text, cap - 1, 0);

	if (n < 0)
		return host_err(err, errno, "read file");
	ret_text[n] = '\0';
	return 0;
}

int host_file_set_text(int fd, const char *text, struct err *err)
{
	size_t n = strlen(text);

	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, n, 0) != (ssize_t)n)
		return host_err(err, errno, "write file");
	return 0;
}

int host_file_make_memory(const char *name, uint64_t bytes, int *ret_fd, struct err *err)
{
	autofd int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0)
		return host_err(err, errno, "make a file in memory");
	if (host_file_resize(fd, bytes, err) < 0)
		return -1;
	*ret_fd = TAKE_FD(fd);
	return 0;
}
